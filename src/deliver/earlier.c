/* earlier.c: see earlier.h. new/ is read before cur/, for readers move messages in this direction. If one of ours was
 * found the directory is synced: whoever put it there may have ended before it did that. A look that fails leaves
 * nothing behind; the next one begins anew. */
#include "deliver/earlier.h"

#include "base/array.h"
#include "base/map.h"
#include "queue/record.h"
#include "spool/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct key {
    uint64_t id, hash;
};

struct mailbox {
    pthread_mutex_t lock; /* held while it is read: others who want to know wait */
    bool            read;
    struct key     *keys; /* sorted */
    size_t          count, room;
    char            path[];
};

struct maildir_earlier {
    pthread_mutex_t lock;
    struct map      mailboxes; /* path -> struct mailbox */
    uint64_t        oldest_id;
};

struct maildir_earlier *maildir_earlier_new(uint64_t oldest_id)
{
    struct maildir_earlier *e = calloc(1, sizeof *e);

    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    map_init(&e->mailboxes, 0);
    e->oldest_id = oldest_id;
    return e;
}

void maildir_earlier_free(struct maildir_earlier *e)
{
    struct mailbox *m;

    if (!e)
        return;
    for (size_t at = 0; (m = map_next(&e->mailboxes, &at));) {
        pthread_mutex_destroy(&m->lock);
        free(m->keys);
        free(m);
    }
    map_done(&e->mailboxes);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* ---- names ---- */

size_t maildir_stem(uint64_t id, uint64_t mailbox_hash, char ret_stem[MAILDIR_STEM_MAX])
{
    uint64_t ms = message_id_time_ms(id);
    char     text[MESSAGE_ID_TEXT + 1];

    message_id_text(id, text);
    return (size_t)snprintf(ret_stem, MAILDIR_STEM_MAX, "%llu.M%03u000Q%sR%016llx.", (unsigned long long)(ms / 1000),
                            (unsigned)(ms % 1000), text, (unsigned long long)mailbox_hash);
}

static bool stem_parse(struct str name, struct key *ret_key)
{
    enum { HASH_TEXT = 16 };
    size_t     q = str_find_byte(name, 'Q');
    struct str id = str_part(name, q == STR_NOT_FOUND ? name.len : q + 1, MESSAGE_ID_TEXT);
    struct str rest = str_skip(name, q == STR_NOT_FOUND ? name.len : q + 1 + MESSAGE_ID_TEXT);

    if (rest.len < 1 + HASH_TEXT + 1 || rest.data[0] != 'R' || rest.data[1 + HASH_TEXT] != '.' ||
        !message_id_parse(id, &ret_key->id))
        return false;
    ret_key->hash = 0;
    for (size_t i = 1; i <= HASH_TEXT; i++) {
        int digit = char_hex_value(rest.data[i]);

        if (digit < 0)
            return false;
        ret_key->hash = ret_key->hash << 4 | (unsigned)digit;
    }
    return true;
}

/* ---- reading ---- */

static bool keep(struct mailbox *m, struct key key, struct err *err)
{
    if (!ARRAY_ROOM(m->keys, m->count, m->room, 16))
        return err_set(err, ERR_LIMIT, "out of memory");
    m->keys[m->count++] = key;
    return true;
}

static bool read_names(struct mailbox *m, DIR *dir, uint64_t oldest_id, struct err *err)
{
    struct dirent *entry;

    while ((entry = spool_readdir(dir))) {
        struct key key;

        if (stem_parse(str_from(entry->d_name), &key) && key.id >= oldest_id && !keep(m, key, err))
            return false;
    }
    return errno == 0 || err_set_os(err, errno, "directory %s", m->path);
}

static bool read_part(struct mailbox *m, const char *part, uint64_t oldest_id, struct err *err)
{
    char   path[PATH_MAX];
    size_t before = m->count;
    int    fd;
    DIR   *dir;
    bool   ok;

    if (snprintf(path, sizeof path, "%s/%s", m->path, part) >= PATH_MAX)
        return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", m->path);
    fd = SPOOL_UNINTERRUPTED(spool_sys->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    if (fd < 0)
        return errno == ENOENT || err_set_os(err, errno, "directory %s", path);
    dir = fdopendir(fd);
    if (!dir) {
        err_set_os(err, errno, "directory %s", path);
        spool_close(fd);
        return false;
    }
    ok = read_names(m, dir, oldest_id, err) &&
         (m->count == before || spool_sync(fd) == 0 || err_set_os(err, errno, "directory %s", path));
    closedir(dir);
    return ok;
}

static int by_key(const void *x, const void *y)
{
    const struct key *a = x, *b = y;

    return a->id != b->id ? (a->id > b->id) - (a->id < b->id) : (a->hash > b->hash) - (a->hash < b->hash);
}

static bool read_mailbox(struct mailbox *m, uint64_t oldest_id, struct err *err)
{
    m->count = 0;
    if (!read_part(m, "new", oldest_id, err) || !read_part(m, "cur", oldest_id, err))
        return false;
    if (m->count)
        qsort(m->keys, m->count, sizeof *m->keys, by_key);
    m->read = true;
    return true;
}

static struct mailbox *mailbox_get(struct maildir_earlier *e, const char *path)
{
    struct mailbox *m;

    pthread_mutex_lock(&e->lock);
    m = map_get(&e->mailboxes, str_from(path));
    if (!m && (m = calloc(1, sizeof *m + strlen(path) + 1))) {
        memcpy(m->path, path, strlen(path) + 1);
        pthread_mutex_init(&m->lock, NULL);
        if (!map_put(&e->mailboxes, str_from(m->path), m)) {
            pthread_mutex_destroy(&m->lock);
            free(m);
            m = NULL;
        }
    }
    pthread_mutex_unlock(&e->lock);
    return m;
}

bool maildir_earlier_find(struct maildir_earlier *e, const char *maildir, uint64_t id, uint64_t mailbox_hash,
                          bool *ret_found, struct err *err)
{
    struct key      key = {id, mailbox_hash};
    struct mailbox *m = mailbox_get(e, maildir);
    bool            ok;

    if (!m)
        return err_set(err, ERR_LIMIT, "out of memory");
    pthread_mutex_lock(&m->lock);
    ok = m->read || read_mailbox(m, e->oldest_id, err);
    *ret_found = ok && m->count && bsearch(&key, m->keys, m->count, sizeof *m->keys, by_key);
    pthread_mutex_unlock(&m->lock);
    return ok;
}
