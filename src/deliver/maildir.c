/* maildir.c: one delivery: write to tmp/, sync, rename into new/, sync the directory.
 *
 * Names are time.MmicrosPpidQcounter.host,S=size,W=vsize: unique by O_EXCL and by what they are made of; the sizes let
 * readers and quota do without a look at each file (W counts line ends as CRLF). The sizes are known only when the
 * message is written, so it gets them with the rename; a hard link from tmp/ (as the first description of Maildir has
 * it) was rejected: it costs one operation more and file systems without links. */
#include "deliver/maildir.h"

#include "deliver/quota.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, HOST_MAX = 64, NAME_MAX_LEN = 200 };

struct sink {
    int      fd;
    bool     binary;
    bool     cr_waits; /* a CR of which the next octet is not known yet */
    char     last;
    uint64_t size, lone_lf; /* octets written; LFs without CR, which W counts twice */
    size_t   used;
    char     out[PIECE];
};

static bool flush(struct sink *s, struct err *err)
{
    bool ok = io_fd_write_all(s->fd, str_of(s->out, s->used), err);

    s->used = 0;
    return ok;
}

static bool put(struct sink *s, char c, struct err *err)
{
    if (s->used == sizeof s->out && !flush(s, err))
        return false;
    s->lone_lf += c == '\n' && s->last != '\r';
    s->last = c;
    s->out[s->used++] = c;
    s->size++;
    return true;
}

static bool put_piece(struct sink *s, struct str piece, struct err *err)
{
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.data[i];

        if (s->binary) {
            if (!put(s, c, err))
                return false;
            continue;
        }
        if (s->cr_waits && c != '\n' && !put(s, '\r', err))
            return false;
        s->cr_waits = c == '\r';
        if (!s->cr_waits && !put(s, c, err))
            return false;
    }
    return true;
}

static bool put_fd(struct sink *s, int fd, const char *path, struct err *err)
{
    char *piece = malloc(PIECE);
    off_t at = 0;
    bool  ok = piece || err_set(err, ERR_LIMIT, "out of memory");

    while (ok) {
        ssize_t len = pread(fd, piece, PIECE, at);

        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            ok = err_set_os(err, errno, "reading the body for %s", path);
        if (len <= 0)
            break;
        ok = put_piece(s, str_of(piece, (size_t)len), err);
        at += len;
    }
    free(piece);
    return ok;
}

static bool write_message(struct sink *s, const struct maildir_delivery *d, struct err *err)
{
    return put_piece(s, d->head, err) && put_piece(s, d->content, err) &&
           (d->content_fd < 0 || put_fd(s, d->content_fd, d->path, err)) && (!s->cr_waits || put(s, '\r', err)) &&
           flush(s, err);
}

/* Makes the directory and those above it; each new name is made durable in its parent. */
static bool make_dirs(const char *path, struct err *err)
{
    char  parent[PATH_MAX];
    int   len = snprintf(parent, sizeof parent, "%s", path);
    char *slash;

    if (len < 0 || len >= PATH_MAX)
        return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", path);
    if (mkdir(path, 0700) < 0) {
        if (errno == EEXIST)
            return true;
        slash = strrchr(parent, '/');
        if (errno != ENOENT || !slash || slash == parent)
            return err_set_os(err, errno, "making directory %s", path);
        *slash = 0;
        if (!make_dirs(parent, err))
            return false;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return err_set_os(err, errno, "making directory %s", path);
    }
    slash = strrchr(parent, '/');
    if (slash && slash != parent)
        *slash = 0;
    return io_dir_sync(slash == parent ? "/" : slash ? parent : ".", err);
}

static bool make_maildir(const char *path, struct err *err)
{
    static const char *const parts[] = {"tmp", "new", "cur"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char at[PATH_MAX];
        int  len = snprintf(at, sizeof at, "%s/%s", path, parts[i]);

        if (len < 0 || len >= PATH_MAX)
            return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", path);
        if (!make_dirs(at, err))
            return false;
    }
    return true;
}

static void unique_name(const char *hostname, char ret_name[NAME_MAX_LEN])
{
    static atomic_ulong counter;
    struct timespec     now;
    char                host[HOST_MAX * 4 + 1];
    size_t              used = 0;

    for (size_t i = 0; i < HOST_MAX && hostname[i]; i++) {
        unsigned char c = (unsigned char)hostname[i];

        if (c == '/' || c == ':' || c == ',' || c < 33 || c > 126)
            used += (size_t)snprintf(host + used, sizeof host - used, "\\%03o", c);
        else
            host[used++] = (char)c;
    }
    host[used] = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(ret_name, NAME_MAX_LEN, "%lld.M%ldP%ldQ%lu.%.*s", (long long)now.tv_sec, now.tv_nsec / 1000,
             (long)getpid(), atomic_fetch_add(&counter, 1), 120, used ? host : "localhost");
}

static int create(const char *path, int *ret_error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    *ret_error = errno;
    return fd;
}

static int create_tmp(const struct maildir_delivery *d, char ret_name[NAME_MAX_LEN], char ret_tmp[PATH_MAX],
                      struct err *err)
{
    int fd = -1, error = 0;

    for (int tries = 0; fd < 0 && tries < 5; tries++) {
        int len;

        unique_name(d->hostname, ret_name);
        len = snprintf(ret_tmp, PATH_MAX, "%s/tmp/%s", d->path, ret_name);
        if (len < 0 || len + 80 >= PATH_MAX) { /* the name in new/ is longer */
            err_set_os(err, ENAMETOOLONG, "mailbox %.200s", d->path);
            return -1;
        }
        fd = create(ret_tmp, &error);
        if (fd < 0 && error == ENOENT && !make_maildir(d->path, err))
            return -1;
        if (fd < 0 && error != ENOENT && error != EEXIST && error != EINTR)
            break;
    }
    if (fd < 0)
        err_set_os(err, error, "creating %s", ret_tmp);
    return fd;
}

static enum maildir_result over_quota(const struct maildir_delivery *d, uint64_t size, struct err *err)
{
    bool     fits = true;
    uint64_t used = 0;

    if (!d->quota)
        return MAILDIR_DELIVERED;
    if (!quota_fits(d->path, d->quota, size, &fits, &used, err))
        return MAILDIR_FAILED;
    if (fits)
        return MAILDIR_DELIVERED;
    err_set(err, ERR_LIMIT, "the mailbox is full: %llu of %llu octets used, the message has %llu",
            (unsigned long long)used, (unsigned long long)d->quota, (unsigned long long)size);
    return MAILDIR_OVER_QUOTA;
}

static enum maildir_result publish(const struct maildir_delivery *d, const struct sink *s, const char *tmp,
                                   const char *name, struct err *err)
{
    char                to[PATH_MAX], dir[PATH_MAX];
    enum maildir_result result = over_quota(d, s->size, err);

    if (result != MAILDIR_DELIVERED)
        return result;
    if (fsync(s->fd) < 0) {
        err_set_os(err, errno, "syncing %s", tmp);
        return MAILDIR_FAILED;
    }
    if (snprintf(to, sizeof to, "%s/new/%s,S=%llu,W=%llu", d->path, name, (unsigned long long)s->size,
                 (unsigned long long)(s->size + s->lone_lf)) >= PATH_MAX ||
        snprintf(dir, sizeof dir, "%s/new", d->path) >= PATH_MAX) {
        err_set_os(err, ENAMETOOLONG, "mailbox %.200s", d->path);
        return MAILDIR_FAILED;
    }
    if (rename(tmp, to) < 0 && (errno != ENOENT || !make_maildir(d->path, err) || rename(tmp, to) < 0)) {
        err_set_os(err, errno, "moving the message to %s", to);
        return MAILDIR_FAILED;
    }
    if (!io_dir_sync(dir, err)) {
        unlink(to); /* whether it would survive is not known: it is delivered again, so it must not stay */
        return MAILDIR_FAILED;
    }
    quota_add(d->path, d->quota, s->size);
    return MAILDIR_DELIVERED;
}

enum maildir_result maildir_deliver(const struct maildir_delivery *d, struct err *err)
{
    char                name[NAME_MAX_LEN], tmp[PATH_MAX];
    enum maildir_result result = MAILDIR_DELIVERED;
    struct sink        *s;

    if (access(d->path, F_OK) == 0)
        result = over_quota(d, 1, err); /* full to the brim: not even written */
    if (result != MAILDIR_DELIVERED)
        return result;
    s = malloc(sizeof *s);
    if (!s) {
        err_set(err, ERR_LIMIT, "out of memory");
        return MAILDIR_FAILED;
    }
    memset(s, 0, offsetof(struct sink, out));
    s->binary = d->binary;
    s->fd = create_tmp(d, name, tmp, err);
    if (s->fd < 0) {
        free(s);
        return MAILDIR_FAILED;
    }
    result = write_message(s, d, err) ? publish(d, s, tmp, name, err) : MAILDIR_FAILED;
    if (result != MAILDIR_DELIVERED)
        unlink(tmp);
    close(s->fd);
    free(s);
    return result;
}
