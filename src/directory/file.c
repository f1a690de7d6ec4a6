/* file.c: a directory in a text file (file_text.h), for those who keep few mailboxes and like an editor.
 *
 * The whole file is held in memory and read again when its identity, size or time changes. A file that is wrong answers
 * nothing until it is right again: the old content would hide the mistake, and half a file would make mailboxes
 * vanish; meanwhile mail waits. Half a file may also look right. So for a second after it was changed where it lies
 * (and not replaced by a rename), or while it is that young and ends within a line, a name that it does not have is not
 * called absent, and its last line is not believed: an editor may still be writing. A time that did not change with the
 * size is not believed either: ext4 shows a file that is being emptied empty with its old time for a moment. A change
 * writes the whole file beside the old one and renames it, under a lock in PATH.lock; lines that it does not concern
 * stay as they are, comments with them. The price is that a change costs as much as the file is large: who has tens of
 * thousands of mailboxes uses SQLite. */
#include "directory/backend.h"
#include "directory/file_text.h"

#include "base/map.h"
#include "io/file.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MAX = 64 << 20, /* octets */
    MEMORY_MAX = 512 << 20,
    ARENA_CHUNK = 256 << 10,
    LOCK_POLL_MS = 20,
    SETTLED_MS = 50, /* a file younger than this when it was read may have changed again without a sign */
    WHOLE_MS = 1000, /* and one younger than this may not be written to its end */
};

struct line {
    struct str              text; /* with its end, if it has one */
    struct str              comment;
    struct directory_entry *entry; /* NULL: none */
    struct str              name;  /* "domain\nkey" */
    size_t                  number;
};

struct table {
    struct arena arena;
    struct buf   text;
    struct line *lines;
    size_t       count;
    struct map   by_name;
    struct stat  st;
    bool         settled;
    int64_t      born_s, born_ns; /* 0: the file system does not say; numbers of files are used again */
    bool         in_place;        /* changed without a rename */
};

struct file_directory {
    struct directory base;
    char            *path;
    struct table    *table;  /* NULL: the file could not be read */
    bool             spoilt; /* the last time it was read it was wrong */
    struct stat      seen;
    uint64_t         doubted_ms; /* when its time was last found not to be that of its last change; 0: never */
};

static void table_free(struct table *t)
{
    if (!t)
        return;
    map_done(&t->by_name);
    buf_done(&t->text);
    arena_done(&t->arena);
    free(t);
}

static struct str name_of(struct str domain, struct str key, struct arena *arena)
{
    char *name = arena_alloc(arena, domain.len + 1 + key.len);

    if (!name)
        return STR_NONE;
    if (domain.len)
        memcpy(name, domain.data, domain.len);
    name[domain.len] = '\n';
    if (key.len)
        memcpy(name + domain.len + 1, key.data, key.len);
    return str_of(name, domain.len + 1 + key.len);
}

/* ---- reading the file ---- */

static bool no_memory(struct err *err)
{
    return err_set(err, ERR_LIMIT, "the file needs more memory than a directory may take");
}

static bool line_load(struct table *t, struct line *line, struct err *err)
{
    struct directory_entry entry;
    struct line           *other;
    bool                   has_entry;
    struct str             bare = line->text, key;

    if (str_ends(bare, STR("\n")))
        bare.len--;
    if (!directory_line_parse(bare, &t->arena, &has_entry, &entry, &line->comment, err))
        return false;
    if (!has_entry)
        return true;
    if (!directory_entry_check(&entry, err))
        return false;
    key = mail_local_key(entry.local, 0, &t->arena);
    line->name = key.data ? name_of(entry.domain, key, &t->arena) : STR_NONE;
    line->entry = arena_new(&t->arena, struct directory_entry);
    if (!line->name.data || !line->entry)
        return no_memory(err);
    *line->entry = entry;
    other = map_get(&t->by_name, line->name);
    if (other)
        return err_set(err, ERR_CONFIG, "the address stands already in line %zu", other->number);
    return map_put(&t->by_name, line->name, line) ? true : no_memory(err);
}

static bool lines_load(struct table *t, const char *path, struct err *err)
{
    struct str rest = buf_str(&t->text);
    size_t     count = 0;

    for (size_t i = 0; i < rest.len; i++)
        count += rest.data[i] == '\n' || i + 1 == rest.len;
    if (count && !(t->lines = arena_alloc(&t->arena, count * sizeof *t->lines)))
        return no_memory(err) || err_prefix(err, "%s", path);
    for (; rest.len; t->count++) {
        struct line *line = &t->lines[t->count];
        size_t       end = str_find_byte(rest, '\n');

        line->text = str_part(rest, 0, end == STR_NOT_FOUND ? rest.len : end + 1);
        line->number = t->count + 1;
        rest = str_skip(rest, line->text.len);
        if (!line_load(t, line, err))
            return err_prefix(err, "%s:%zu", path, line->number);
    }
    return true;
}

/* A time in the future says nothing. */
static bool is_recent(uint64_t time_ms, uint64_t ms)
{
    uint64_t now_ms = io_wall_ms();

    return now_ms <= time_ms + ms && time_ms <= now_ms + ms;
}

static bool is_younger(const struct stat *st, uint64_t ms)
{
    return is_recent((uint64_t)st->st_mtim.tv_sec * 1000 + (uint64_t)st->st_mtim.tv_nsec / 1000000, ms);
}

static void note_birth(struct table *t, int fd)
{
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) == 0 && (st.stx_mask & STATX_BTIME)) {
        t->born_s = st.stx_btime.tv_sec;
        t->born_ns = st.stx_btime.tv_nsec;
    }
}

static bool is_same_file(const struct table *a, const struct table *b)
{
    return a->st.st_dev == b->st.st_dev && a->st.st_ino == b->st.st_ino && a->born_s == b->born_s &&
           a->born_ns == b->born_ns;
}

static struct table *table_load(const char *path, struct err *err)
{
    struct table *t = calloc(1, sizeof *t);
    uint64_t      seed;
    int           fd;
    bool          ok;

    if (!t) {
        err_set_os(err, ENOMEM, "directory %s", path);
        return NULL;
    }
    io_random(&seed, sizeof seed);
    map_init(&t->by_name, seed);
    buf_init(&t->text, FILE_MAX);
    arena_init(&t->arena, ARENA_CHUNK, MEMORY_MAX);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    ok = (fd >= 0 && fstat(fd, &t->st) == 0) || directory_fail_open(path, errno, err);
    if (ok)
        note_birth(t, fd);
    ok = ok && io_fd_read_all(fd, path, &t->text, err) && lines_load(t, path, err);
    if (fd >= 0)
        close(fd);
    if (!ok) {
        table_free(t);
        return NULL;
    }
    t->settled = !is_younger(&t->st, SETTLED_MS);
    return t;
}

static bool stat_eq(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void see(struct file_directory *f, const struct stat *st)
{
    struct stat resized = f->seen;

    resized.st_size = st->st_size;
    if (st->st_ino != f->seen.st_ino || st->st_dev != f->seen.st_dev)
        f->doubted_ms = 0;
    else if (stat_eq(&resized, st) && st->st_size != f->seen.st_size)
        f->doubted_ms = io_wall_ms();
    f->seen = *st;
}

static bool reload(struct file_directory *f, struct err *err)
{
    struct table *old = f->table;
    struct table *t = table_load(f->path, err);

    if (t) {
        bool torn = t->text.len != (size_t)t->st.st_size; /* it changed while it was read */

        see(f, &t->st);
        if (torn)
            f->doubted_ms = io_wall_ms();
        t->in_place = torn || (old ? is_same_file(old, t) && (old->in_place || !stat_eq(&old->st, &t->st))
                                   : f->spoilt); /* what could not be read a moment ago is being edited */
    }
    table_free(old);
    f->table = t;
    f->spoilt = !t;
    return t != NULL;
}

static bool refresh(struct file_directory *f, struct err *err)
{
    const struct stat *old = f->table ? &f->table->st : NULL;
    struct stat        st;

    if (stat(f->path, &st) != 0)
        return directory_fail_open(f->path, errno, err);
    see(f, &st);
    if (old && f->table->settled && stat_eq(&st, old))
        return true;
    return reload(f, err);
}

/* ---- looking up ---- */

static bool text_copy(struct str *s, struct arena *arena)
{
    *s = arena_str(arena, *s);
    return s->data != NULL;
}

static bool entry_copy(const struct directory_entry *from, struct arena *arena, struct directory_entry *ret_entry)
{
    struct directory_entry e = *from;

    if (e.target_count && !(e.targets = arena_alloc(arena, e.target_count * sizeof *e.targets)))
        return false;
    for (size_t i = 0; i < e.target_count; i++) {
        e.targets[i] = from->targets[i];
        if (!text_copy(&e.targets[i], arena))
            return false;
    }
    if (!text_copy(&e.local, arena) || !text_copy(&e.domain, arena) || !text_copy(&e.password, arena) ||
        !text_copy(&e.owner, arena))
        return false;
    *ret_entry = e;
    return true;
}

/* Whether the file may still be being written, so that `line` (NULL: none) is not the last word. */
static bool is_unsure(const struct file_directory *f, const struct line *line)
{
    const struct table *t = f->table;
    bool                cut = !str_ends(buf_str(&t->text), STR("\n"));
    bool                is_last = t->count && line == &t->lines[t->count - 1];

    return (line ? cut && is_last : cut || t->in_place) &&
           (is_younger(&t->st, WHOLE_MS) || is_recent(f->doubted_ms, WHOLE_MS));
}

static enum directory_find file_get(struct directory *d, struct str key, struct str domain, struct arena *arena,
                                    struct directory_entry *ret_entry, struct err *err)
{
    struct file_directory *f = (struct file_directory *)d;
    struct str             name = name_of(domain, key, arena);
    const struct line     *line;

    if (!refresh(f, err))
        return DIRECTORY_FAILED;
    line = name.data ? map_get(&f->table->by_name, name) : NULL;
    if (name.data && is_unsure(f, line)) {
        err_set(err, ERR_TEMPORARY, "directory %s: it has just been changed and may not be whole yet", f->path);
        return DIRECTORY_FAILED;
    }
    if (name.data && !line)
        return DIRECTORY_ABSENT;
    if (line && entry_copy(line->entry, arena, ret_entry))
        return DIRECTORY_FOUND;
    err_set(err, ERR_LIMIT, "directory %s: an entry needs more memory than one look-up may take", f->path);
    return DIRECTORY_FAILED;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct line *const *)a)->name, (*(const struct line *const *)b)->name);
}

static bool file_each(struct directory *d, struct str                                     domain,
                      bool (*each)(const struct directory_entry *entry, void *arg), void *arg, struct err *err)
{
    struct file_directory *f = (struct file_directory *)d;
    const struct line    **sorted;
    size_t                 count = 0;

    if (!refresh(f, err))
        return false;
    sorted = calloc(f->table->count + 1, sizeof *sorted);
    if (!sorted)
        return err_set_os(err, ENOMEM, "directory %s", f->path);
    for (size_t i = 0; i < f->table->count; i++)
        if (f->table->lines[i].entry && (!domain.len || str_eq(domain, f->table->lines[i].entry->domain)))
            sorted[count++] = &f->table->lines[i];
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count && each(sorted[i]->entry, arg); i++)
        continue;
    free(sorted);
    return true;
}

/* ---- changing ---- */

/* Returns a descriptor that holds the lock until it is closed, or -1. */
static int lock(const struct file_directory *f, struct err *err)
{
    char path[PATH_MAX];
    int  fd, len = snprintf(path, sizeof path, "%s.lock", f->path);

    if (len < 0 || (size_t)len >= sizeof path) {
        err_set_os(err, ENAMETOOLONG, "directory %.200s", f->path);
        return -1;
    }
    if (!directory_file_create(path, err))
        return -1;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        err_set_os(err, errno, "directory %s", path);
        return -1;
    }
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += LOCK_POLL_MS) {
        struct timespec pause = {.tv_nsec = LOCK_POLL_MS * 1000000L};

        if (errno != EWOULDBLOCK && errno != EINTR)
            err_set_os(err, errno, "directory %s", path);
        else if (waited < DIRECTORY_WAIT_MS) {
            nanosleep(&pause, NULL);
            continue;
        } else
            err_set(err, ERR_TEMPORARY, "directory %s: another process is changing it", f->path);
        close(fd);
        return -1;
    }
    return fd;
}

static void put_line(enum directory_change how, const struct line *line, const struct directory_entry *entry,
                     struct buf *out)
{
    struct directory_entry changed = *entry;

    if (how == DIRECTORY_REMOVE)
        return;
    changed.local = line->entry->local;
    directory_line_format(&changed, line->comment, out);
}

static bool rewrite(struct file_directory *f, enum directory_change how, const struct line *line,
                    const struct directory_entry *entry, struct err *err)
{
    const struct table *t = f->table;
    struct buf          out;
    bool                ok;

    buf_init(&out, FILE_MAX);
    for (size_t i = 0; i < t->count; i++)
        if (&t->lines[i] == line)
            put_line(how, line, entry, &out);
        else
            buf_append(&out, t->lines[i].text);
    if (how == DIRECTORY_ADD) {
        if (out.len && buf_ok(&out) && out.data[out.len - 1] != '\n')
            buf_append_byte(&out, '\n');
        directory_line_format(entry, STR_NONE, &out);
    }
    ok = buf_ok(&out)
             ? io_file_replace(f->path, buf_str(&out), err)
             : err_set(err, ERR_LIMIT, "directory %s: it would become larger than %d octets", f->path, FILE_MAX);
    buf_done(&out);
    return ok;
}

static bool change_locked(struct file_directory *f, enum directory_change how, struct str key,
                          const struct directory_entry *entry, struct err *err)
{
    struct arena       arena;
    struct str         name;
    const struct line *line;

    if (!reload(f, err))
        return false;
    arena_init(&arena, 1024, 4096);
    name = name_of(entry->domain, key, &arena);
    line = name.data ? map_get(&f->table->by_name, name) : NULL;
    arena_done(&arena);
    if (line && how == DIRECTORY_ADD)
        return directory_fail_exists(entry, err);
    if (!line && how != DIRECTORY_ADD)
        return directory_fail_absent(entry, err);
    return rewrite(f, how, line, entry, err) && reload(f, err);
}

static bool file_change(struct directory *d, enum directory_change how, struct str key,
                        const struct directory_entry *entry, struct err *err)
{
    struct file_directory *f = (struct file_directory *)d;
    int                    fd = lock(f, err);
    bool                   ok;

    if (fd < 0)
        return false;
    ok = change_locked(f, how, key, entry, err);
    close(fd);
    return ok;
}

/* ---- opening ---- */

static void file_close(struct directory *d)
{
    struct file_directory *f = (struct file_directory *)d;

    table_free(f->table);
    free(f->path);
    free(f);
}

static bool create_file(struct file_directory *f, struct err *err)
{
    struct stat st;
    int         fd;
    bool        ok;

    if (stat(f->path, &st) == 0)
        return true;
    fd = lock(f, err);
    if (fd < 0)
        return false;
    ok = stat(f->path, &st) == 0 ||
         (directory_file_create(f->path, err) && io_file_replace(f->path, directory_file_header, err));
    close(fd);
    return ok;
}

static struct directory *file_open(const char *path, unsigned flags, struct err *err)
{
    struct file_directory *f = calloc(1, sizeof *f);

    if (!f || !(f->path = strdup(path))) {
        err_set_os(err, ENOMEM, "directory %s", path);
        free(f);
        return NULL;
    }
    f->base.backend = &directory_file;
    if ((((flags & DIRECTORY_CREATE) && !create_file(f, err)) || !reload(f, err)) && !(flags & DIRECTORY_PATIENT)) {
        file_close(&f->base);
        return NULL;
    }
    return &f->base;
}

const struct directory_backend directory_file = {
    .name = "file",
    .open = file_open,
    .close = file_close,
    .get = file_get,
    .change = file_change,
    .each = file_each,
};
