/* power.c: the calls that record.
 *
 * Files are known by their inode, names by their path below the root. A log keeps what the files held when it began,
 * and what was done since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "power_log.h"

#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char              *power_root;
enum power_sync          power_muted;
unsigned                 power_muted_hits, power_die_at, power_fail_at, power_changes, power_syncs;
static bool              dead;
static struct power_log *log_now;

static struct op *note(enum op_kind kind)
{
    struct op *op = &log_now->ops[log_now->count];

    assert_true(log_now->count < OPS_MAX);
    log_now->count++;
    *op = (struct op){.kind = kind, .file = -1, .dir = -1};
    return op;
}

/* The path below the root of what is open. False: it lies elsewhere. */
static bool path_of(int fd, char out[NAME_SIZE])
{
    char    link[64], path[PATH_MAX];
    size_t  len = strlen(power_root);
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    if (strncmp(path, power_root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return false;
    snprintf(out, NAME_SIZE, "%s", path[len] == '/' ? path + len + 1 : "");
    return true;
}

static void join(char out[NAME_SIZE], const char *dir, const char *name)
{
    int n = snprintf(out, NAME_SIZE, "%s%s%s", dir, *dir ? "/" : "", name);

    assert_true(n < NAME_SIZE);
}

static int dir_known(const char *path)
{
    for (int i = 0; i < log_now->dir_count; i++)
        if (strcmp(log_now->dirs[i], path) == 0)
            return i;
    return -1;
}

static int dir_add(const char *path)
{
    assert_true(log_now->dir_count < DIRS_MAX);
    snprintf(log_now->dirs[log_now->dir_count], NAME_SIZE, "%s", path);
    return log_now->dir_count++;
}

static bool is_dir(const char *path)
{
    char        full[PATH_MAX];
    struct stat st;

    snprintf(full, sizeof full, "%s/%s", power_root, path);
    return stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Directories are not made through the table: a new one is noted when it is first used, and those in it with it. */
static void dir_made(const char *path, int parent)
{
    struct op *op = note(OP_MKDIR);
    char       body[NAME_SIZE];
    int        at = dir_add(path);

    op->dir = parent;
    snprintf(op->name, sizeof op->name, "%s", path);
    join(body, path, "body");
    if (is_dir(body) && dir_known(body) < 0)
        dir_made(body, at);
}

static int dir_at(const char *path)
{
    char  parent[NAME_SIZE];
    char *slash;
    int   at = dir_known(path);

    if (at >= 0)
        return at;
    snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    *(slash ? slash : parent) = '\0';
    assert_true(dir_known(parent) >= 0);
    dir_made(path, dir_known(parent));
    return dir_known(path);
}

static int dir_of(int fd)
{
    char path[NAME_SIZE];

    return path_of(fd, path) ? dir_at(path) : -1;
}

/* The directory that a name is in, and the name's path below the root. */
static int dir_of_name(int dirfd, const char *name, char out[NAME_SIZE])
{
    size_t len = strlen(power_root);
    char   dir[NAME_SIZE];
    char  *slash;

    if (dirfd != AT_FDCWD) {
        int at = dir_of(dirfd);

        join(out, log_now->dirs[at], name);
        return at;
    }
    assert_true(strncmp(name, power_root, len) == 0 && name[len] == '/');
    join(out, "", name + len + 1);
    memcpy(dir, out, sizeof dir);
    slash = strrchr(dir, '/');
    *(slash ? slash : dir) = '\0';
    return dir_at(dir);
}

static int file_add(ino_t inode)
{
    assert_true(log_now->files < FILES_MAX);
    log_now->inodes[log_now->files] = inode;
    return log_now->files++;
}

static int file_by(ino_t inode)
{
    for (int i = log_now->files; i-- > 0;) /* an inode number may be used again: the newest counts */
        if (log_now->inodes[i] == inode)
            return i;
    fail_msg("a file that nobody made");
    return -1;
}

static int file_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return file_by(st.st_ino);
}

/* Before each change: whether the process still lives. */
static bool alive(void)
{
    if (!dead && ++power_changes == power_die_at) {
        dead = true;
        log_now->failed = log_now->count;
    }
    if (dead)
        errno = EIO;
    return !dead;
}

static int r_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    struct stat st;
    int         fd;

    if (!(flags & O_CREAT) || strcmp(name, "lock") == 0) {
        if (!dead)
            return openat(dirfd, name, flags, mode);
        errno = EIO;
        return -1;
    }
    if (!alive())
        return -1;
    fd = openat(dirfd, name, flags, mode);
    if (fd >= 0) {
        char       path[NAME_SIZE];
        int        dir = dir_of_name(dirfd, name, path);
        struct op *op = note(OP_CREATE);

        assert_int_equal(fstat(fd, &st), 0);
        op->file = file_add(st.st_ino);
        op->dir = dir;
        memcpy(op->name, path, sizeof path);
    }
    return fd;
}

static ssize_t r_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct op *op;

    if (!alive())
        return -1;
    op = note(OP_WRITE);
    op->file = file_of(fd);
    op->offset = (uint64_t)offset;
    for (int i = 0; i < count; i++)
        op->len += parts[i].iov_len;
    op->data = malloc(op->len + 1);
    assert_non_null(op->data);
    op->len = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(op->data + op->len, parts[i].iov_base, parts[i].iov_len);
        op->len += parts[i].iov_len;
    }
    return pwritev(fd, parts, count, offset);
}

static int resize(int fd, uint64_t len)
{
    struct op *op = note(OP_RESIZE);

    op->file = file_of(fd);
    op->len = len;
    return ftruncate(fd, (off_t)len);
}

static int r_fallocate(int fd, int mode, off_t offset, off_t len)
{
    struct stat st;

    assert_int_equal(mode, 0);
    if (!alive())
        return -1;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size >= offset + len ? 0 : resize(fd, (uint64_t)(offset + len));
}
static int r_ftruncate(int fd, off_t len) { return alive() ? resize(fd, (uint64_t)len) : -1; }

/* What a sync of a lane's directory is for: the changes that wait there. */
static enum power_sync why_dir(int dir)
{
    enum power_sync why = POWER_SYNC_OTHER;

    if (log_now->dirs[dir][0] == '\0')
        return POWER_SYNC_PARENT;
    if (strncmp(log_now->dirs[dir], "mail", 4) == 0)
        return strstr(log_now->dirs[dir], "/new") ? POWER_SYNC_NEW : POWER_SYNC_MAILBOX;
    if (strstr(log_now->dirs[dir], "body"))
        return POWER_SYNC_BODY_DIR;
    for (unsigned i = log_now->count; i-- > 0;) {
        const struct op *op = &log_now->ops[i];
        const char      *name = strrchr(op->name, '/'), *to = strrchr(op->to, '/');

        if (op->dir != dir)
            continue;
        if (op->kind == OP_SYNC_DIR)
            break;
        if (op->kind == OP_MKDIR)
            why = POWER_SYNC_LANE;
        else if (op->kind == OP_RENAME && to && strncmp(to, "/spare-", 7) != 0)
            return POWER_SYNC_BEGUN;
        else if ((op->kind == OP_RENAME || op->kind == OP_UNLINK) && name && strncmp(name, "/spare-", 7) != 0 &&
                 strncmp(name, "/new-", 5) != 0)
            return POWER_SYNC_GONE;
    }
    return why;
}

static enum power_sync why_file(int fd, bool data_only)
{
    char        path[NAME_SIZE];
    const char *name;

    assert_true(path_of(fd, path));
    if (strstr(path, "body/"))
        return POWER_SYNC_BODY;
    if (strncmp(path, "mail/", 5) == 0)
        return POWER_SYNC_LETTER;
    if (data_only)
        return POWER_SYNC_RECORDS;
    name = strrchr(path, '/');
    return name && strncmp(name, "/new-", 5) == 0 ? POWER_SYNC_OTHER : POWER_SYNC_CUT;
}

static int do_sync(int fd, bool data_only)
{
    struct stat     st;
    enum power_sync why;
    bool            dir;
    int             at;

    if (!alive())
        return -1;
    assert_int_equal(fstat(fd, &st), 0);
    dir = S_ISDIR(st.st_mode);
    at = dir ? dir_of(fd) : file_of(fd);
    if (at < 0)
        return 0; /* outside */
    why = dir ? why_dir(at) : why_file(fd, data_only);
    if (++power_syncs == power_fail_at) {
        log_now->failed = log_now->count;
        if (!dir)
            note(OP_SYNC_FAILED)->file = at;
        errno = EIO;
        return -1;
    }
    if (power_muted != POWER_SYNC_NONE && why == power_muted) {
        power_muted_hits++;
        return 0;
    }
    if (dir)
        note(OP_SYNC_DIR)->dir = at;
    else
        note(OP_SYNC)->file = at;
    return 0;
}
static int r_fdatasync(int fd) { return do_sync(fd, true); }
static int r_fsync(int fd) { return do_sync(fd, false); }

/* A name goes. */
static void note_unlink(int dir, const char *path)
{
    struct op *op = note(OP_UNLINK);

    op->dir = dir;
    memcpy(op->name, path, sizeof op->name);
}

static int r_renameat(int a, const char *from, int b, const char *to)
{
    char        old[NAME_SIZE], new[NAME_SIZE];
    struct stat st;
    struct op  *op;
    int         old_dir, new_dir, result, saved;

    if (!alive())
        return -1;
    result = renameat(a, from, b, to);
    saved = errno;
    if (result == 0) {
        old_dir = dir_of_name(a, from, old);
        new_dir = dir_of_name(b, to, new);
        op = note(old_dir == new_dir ? OP_RENAME : OP_CREATE);
        op->dir = new_dir;
        memcpy(op->name, old_dir == new_dir ? old : new, sizeof op->name);
        memcpy(op->to, new, sizeof op->to);
        if (old_dir != new_dir) { /* two directories: one may have changed without the other */
            assert_int_equal(fstatat(b, to, &st, 0), 0);
            op->file = file_by(st.st_ino);
            note_unlink(old_dir, old);
        }
    }
    errno = saved;
    return result;
}

static int r_unlinkat(int dirfd, const char *name, int flags)
{
    char path[NAME_SIZE];
    int  result, saved;

    if (!alive())
        return -1;
    result = unlinkat(dirfd, name, flags);
    saved = errno;
    if (result == 0) {
        int dir = dir_of_name(dirfd, name, path);

        note_unlink(dir, path);
    }
    errno = saved;
    return result;
}

static int r_mkdirat(int dirfd, const char *name, mode_t mode)
{
    char path[NAME_SIZE];
    int  result, saved;

    if (!alive())
        return -1;
    result = mkdirat(dirfd, name, mode);
    saved = errno;
    if (result == 0) {
        int parent = dir_of_name(dirfd, name, path);

        dir_made(path, parent);
    }
    errno = saved;
    return result;
}

static ssize_t r_write(int fd, const void *data, size_t len)
{
    struct iovec part = {(void *)(uintptr_t)data, len};
    struct stat  st;

    assert_int_equal(fstat(fd, &st), 0); /* only used to append */
    return r_pwritev(fd, &part, 1, st.st_size);
}

/* ---- what the log begins with ---- */

static int take_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    const char *name = path + strlen(power_root) + (at->level > 0);

    if (kind == FTW_D || kind == FTW_DP) {
        dir_add(name);
    } else if (strcmp(path + at->base, "lock") != 0) {
        struct entry   *e = &log_now->base_names[log_now->base_name_count++];
        struct content *c = &log_now->base[log_now->files];
        int             fd = open(path, O_RDONLY);

        e->file = file_add(st->st_ino);
        snprintf(e->name, sizeof e->name, "%s", name);
        c->len = c->size = (uint64_t)st->st_size;
        c->data = malloc(c->len + 1);
        assert_true(c->data && fd >= 0);
        assert_int_equal(read(fd, c->data, c->len), c->len);
        close(fd);
    }
    return 0;
}

struct power_log *power_record(void)
{
    static struct spool_sys recording;

    log_now = calloc(1, sizeof *log_now);
    assert_non_null(log_now);
    power_changes = power_syncs = 0;
    dead = false;
    assert_int_equal(nftw(power_root, take_one, 8, FTW_PHYS), 0);
    recording = spool_sys_real;
    recording.openat = r_openat;
    recording.pwritev = r_pwritev;
    recording.fallocate = r_fallocate;
    recording.ftruncate = r_ftruncate;
    recording.fdatasync = r_fdatasync;
    recording.fsync = r_fsync;
    recording.renameat = r_renameat;
    recording.unlinkat = r_unlinkat;
    recording.mkdirat = r_mkdirat;
    recording.write = r_write;
    spool_sys = &recording;
    return log_now;
}

void power_revive(void)
{
    dead = false;
    power_die_at = 0;
}

static int no_sync(int fd) { return (void)fd, 0; }

static const struct spool_sys *quiet_calls(void)
{
    static struct spool_sys quiet;

    quiet = spool_sys_real;
    quiet.fdatasync = quiet.fsync = no_sync;
    return &quiet;
}

void power_stop(void)
{
    log_now = NULL;
    dead = false;
    power_die_at = power_fail_at = 0;
    spool_sys = quiet_calls();
}

void power_log_free(struct power_log *log)
{
    for (unsigned i = 0; i < log->count; i++)
        free(log->ops[i].data);
    for (int i = 0; i < log->files; i++) {
        free(log->base[i].data);
        free(log->now[i].data);
    }
    free(log);
}

size_t power_moments(const struct power_log *log) { return log->count + 1; }
size_t power_failed(const struct power_log *log) { return log->failed; }

void power_mark(unsigned what, unsigned from, unsigned to)
{
    struct op *op = note(OP_MARK);

    op->what = what;
    op->from = from;
    op->until = to;
}

void power_each_mark(const struct power_log *log, size_t                                       moment,
                     void (*each)(unsigned what, unsigned from, unsigned to, void *arg), void *arg)
{
    for (size_t i = 0; i < moment; i++)
        if (log->ops[i].kind == OP_MARK)
            each(log->ops[i].what, log->ops[i].from, log->ops[i].until, arg);
}
