/* maildir.c: one delivery: write to tmp/, sync, rename into new/, sync the directory.
 *
 * Names are TIME.MmicrosQidRhash.host,S=size,W=vsize: id is the message's and TIME its, hash is of the mailbox. So a
 * second delivery of the same message to the same mailbox has the same name up to the host: it finds what the first
 * one left half-written in tmp/, and what it left whole in new/ or a reader moved to cur/. Random names, and a note of
 * each delivery in the spool before it begins, were rejected: that is one sync more for each message, and the name
 * costs nothing. The sizes let readers and quota do without a look at each file (W counts line ends as CRLF). They are
 * known only when the message is written, so it gets them with the rename; a hard link from tmp/ (as the first
 * description of Maildir has it) was rejected: it costs one operation more and file systems without links.
 *
 * After a sync that failed nothing is synced again: the kernel may have dropped the pages and call them clean. The file
 * goes, and the next attempt writes it anew. All calls go through the table of spool/sys.h, so that tests let each of
 * them fail. */
#include "deliver/maildir.h"

#include "deliver/quota.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { PIECE = 64 * 1024, HOST_MAX = 64, NAME_MAX_LEN = 200, SIZES_MAX = 64 };

struct sink {
    int         fd;
    bool        binary;
    bool        cr_waits; /* a CR of which the next octet is not known yet */
    char        last;
    uint64_t    size, lone_lf; /* octets put; LFs without CR, which W counts twice */
    uint64_t    written;
    const char *path;
    size_t      used;
    char        out[PIECE];
};

static bool flush(struct sink *s, struct err *err)
{
    struct iovec part = {s->out, s->used};

    if (spool_write(s->fd, &part, 1, s->written) != 0)
        return err_set_os(err, errno, "writing %s", s->path);
    s->written += s->used;
    s->used = 0;
    return true;
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
    char    *piece = malloc(PIECE);
    uint64_t at = 0;
    bool     ok = piece || err_set(err, ERR_LIMIT, "out of memory");

    while (ok) {
        ssize_t len = spool_read(fd, piece, PIECE, at);

        if (len < 0)
            ok = err_set_os(err, errno, "reading the body for %s", path);
        if (len <= 0)
            break;
        ok = put_piece(s, str_of(piece, (size_t)len), err);
        at += (uint64_t)len;
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

/* ---- directories ---- */

static int open_dir(const char *path)
{
    return SPOOL_UNINTERRUPTED(spool_sys->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
}

static bool sync_dir(const char *path, struct err *err)
{
    int  fd = open_dir(path), why;
    bool ok = fd >= 0 && spool_sync(fd) == 0;

    why = errno;
    if (!ok)
        err_set_os(err, why, "directory %s", path);
    spool_close(fd);
    errno = why; /* for whoever knows better */
    return ok;
}

static bool make_dir(const char *path)
{
    return SPOOL_UNINTERRUPTED(spool_sys->mkdirat(AT_FDCWD, path, 0700)) == 0 || errno == EEXIST;
}

static bool make_dirs(const char *path, struct err *err)
{
    char  parent[PATH_MAX];
    char *slash;

    if (make_dir(path))
        return true;
    snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (errno != ENOENT || !slash || slash == parent)
        return err_set_os(err, errno, "making directory %s", path);
    *slash = 0;
    return make_dirs(parent, err) && (make_dir(path) || err_set_os(err, errno, "making directory %s", path));
}

/* Makes each name on the way to the directory durable in its parent, also those that were there: whoever made them may
 * have ended before they were. What lies above what we may open is others' care. */
static bool sync_way(const char *path, struct err *err)
{
    char  above[PATH_MAX];
    char *slash;

    snprintf(above, sizeof above, "%s", path);
    while ((slash = strrchr(above, '/'))) {
        slash[slash == above] = 0;
        if (!sync_dir(above, err))
            return errno == EACCES || errno == EPERM;
        if (slash == above)
            return true;
    }
    return sync_dir(".", err);
}

/* tmp/ comes last and when all else is durable: a delivery begins there, so where it is, nothing has to be made. */
bool maildir_make(const char *path, struct err *err)
{
    char part[PATH_MAX];

    if (strlen(path) + sizeof "/new" > sizeof part)
        return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", path);
    if (!make_dirs(path, err) || !sync_way(path, err))
        return false;
    for (const char *const *name = (const char *const[]){"new", "cur", "tmp", NULL}; *name; name++) {
        if (strcmp(*name, "tmp") == 0 && !sync_dir(path, err))
            return false;
        snprintf(part, sizeof part, "%s/%s", path, *name);
        if (!make_dir(part))
            return err_set_os(err, errno, "making directory %s", part);
    }
    return true;
}

/* ---- names ---- */

static uint64_t mailbox_hash(const struct maildir_delivery *d)
{
    return XXH3_64bits(d->mailbox.len ? d->mailbox.data : "", d->mailbox.len);
}

static void name_make(const struct maildir_delivery *d, char ret_name[NAME_MAX_LEN])
{
    const char *host = *d->hostname ? d->hostname : "localhost";
    size_t      used = maildir_stem(d->id, mailbox_hash(d), ret_name);

    for (size_t i = 0; i < HOST_MAX && host[i] && used + 5 < NAME_MAX_LEN; i++) {
        unsigned char c = (unsigned char)host[i];

        if (c == '/' || c == ':' || c == ',' || c < 33 || c > 126)
            used += (size_t)snprintf(ret_name + used, NAME_MAX_LEN - used, "\\%03o", c);
        else
            ret_name[used++] = (char)c;
    }
    ret_name[used] = 0;
}

static bool look(const struct maildir_delivery *d, bool *ret_found, struct err *err)
{
    struct maildir_earlier *e = d->earlier ? d->earlier : maildir_earlier_new(d->id);
    bool                    ok;

    if (!e)
        return err_set(err, ERR_LIMIT, "out of memory");
    ok = maildir_earlier_find(e, d->path, d->id, mailbox_hash(d), ret_found, err);
    if (!d->earlier)
        maildir_earlier_free(e);
    return ok;
}

/* ---- the delivery ---- */

static int create_tmp(const struct maildir_delivery *d, const char *name, char ret_tmp[PATH_MAX], struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int       fd = -1, len = snprintf(ret_tmp, PATH_MAX, "%s/tmp/%s", d->path, name);

    if (len < 0 || len + SIZES_MAX >= PATH_MAX) {
        err_set_os(err, ENAMETOOLONG, "mailbox %.200s", d->path);
        return -1;
    }
    for (int tries = 0; fd < 0 && tries < 3; tries++) {
        fd = SPOOL_UNINTERRUPTED(spool_sys->openat(AT_FDCWD, ret_tmp, flags, 0600));
        if (fd < 0 && errno == ENOENT) {
            if (!maildir_make(d->path, err))
                return -1;
        } else if (fd < 0 && (errno != EEXIST || spool_unlink(AT_FDCWD, ret_tmp) != 0)) {
            break; /* but what another process left when it ended is in nobody's way */
        }
    }
    if (fd < 0)
        err_set_os(err, errno, "creating %s", ret_tmp);
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
    if (size > d->quota) {
        err_set(err, ERR_PERMANENT, "the message has %llu octets, more than the %llu that the mailbox may hold",
                (unsigned long long)size, (unsigned long long)d->quota);
        return MAILDIR_TOO_LARGE;
    }
    err_set(err, ERR_LIMIT, "the mailbox is full: %llu of %llu octets used, the message has %llu",
            (unsigned long long)used, (unsigned long long)d->quota, (unsigned long long)size);
    return MAILDIR_OVER_QUOTA;
}

/* Full to the brim, for a message that an empty mailbox would hold: it need not even be written. */
static enum maildir_result full_to_the_brim(const struct maildir_delivery *d, struct err *err)
{
    uint64_t    at_most = d->head.len + d->content.len; /* line ends get shorter */
    struct stat st = {0};

    if (!d->quota || (d->content_fd >= 0 && spool_stat(d->content_fd, &st) != 0))
        return MAILDIR_DELIVERED;
    at_most += (uint64_t)st.st_size;
    if (at_most > d->quota || spool_sys->fstatat(AT_FDCWD, d->path, &st, 0) != 0)
        return MAILDIR_DELIVERED;
    return over_quota(d, 1, err);
}

static int move(const char *from, const char *to)
{
    return SPOOL_UNINTERRUPTED(spool_sys->renameat(AT_FDCWD, from, AT_FDCWD, to));
}

static enum maildir_result publish(const struct maildir_delivery *d, const struct sink *s, const char *tmp,
                                   const char *name, struct err *err)
{
    char to[PATH_MAX], dir[PATH_MAX];

    snprintf(dir, sizeof dir, "%s/new", d->path);
    snprintf(to, sizeof to, "%s/new/%s,S=%llu,W=%llu", d->path, name, (unsigned long long)s->size,
             (unsigned long long)(s->size + s->lone_lf));
    if (move(tmp, to) < 0) {
        if (errno != ENOENT) {
            err_set_os(err, errno, "moving the message to %s", to);
            return MAILDIR_UNSURE; /* a file system in trouble may have done it and say that it has not */
        }
        if (!maildir_make(d->path, err))
            return MAILDIR_FAILED;
        if (move(tmp, to) < 0) {
            err_set_os(err, errno, "moving the message to %s", to);
            return MAILDIR_UNSURE;
        }
    }
    if (!sync_dir(dir, err)) /* whether it would survive is not known: it is delivered again, so it must not stay */
        return spool_sys->unlinkat(AT_FDCWD, to, 0) == 0 ? MAILDIR_FAILED : MAILDIR_UNSURE;
    return MAILDIR_DELIVERED;
}

static enum maildir_result finish(const struct maildir_delivery *d, const struct sink *s, const char *tmp,
                                  const char *name, struct err *err)
{
    enum maildir_result result = over_quota(d, s->size, err);

    if (result != MAILDIR_DELIVERED)
        return result;
    if (spool_sync(s->fd) != 0) {
        err_set_os(err, errno, "syncing %s", tmp);
        return MAILDIR_FAILED;
    }
    if (!quota_add(d->path, d->quota, s->size, err))
        return MAILDIR_FAILED;
    result = publish(d, s, tmp, name, err);
    if (result != MAILDIR_DELIVERED)
        quota_forget(d->path);
    return result;
}

static enum maildir_result write_and_publish(const struct maildir_delivery *d, struct sink *s, struct err *err)
{
    char                name[NAME_MAX_LEN], tmp[PATH_MAX];
    enum maildir_result result;

    s->binary = d->binary;
    s->path = tmp;
    name_make(d, name);
    s->fd = create_tmp(d, name, tmp, err);
    if (s->fd < 0)
        return MAILDIR_FAILED;
    result = write_message(s, d, err) ? finish(d, s, tmp, name, err) : MAILDIR_FAILED;
    if (result != MAILDIR_DELIVERED)
        spool_unlink(AT_FDCWD, tmp); /* if that fails too, the next attempt does it */
    spool_close(s->fd);
    return result;
}

enum maildir_result maildir_deliver(const struct maildir_delivery *d, struct err *err)
{
    enum maildir_result result;
    struct sink        *s;
    bool                found = false;

    if (d->look && !look(d, &found, err))
        return MAILDIR_UNSURE;
    if (found) {
        quota_forget(d->path); /* whether it was counted is not known either */
        return MAILDIR_FOUND;
    }
    result = full_to_the_brim(d, err);
    if (result != MAILDIR_DELIVERED)
        return result;
    s = malloc(sizeof *s);
    if (!s) {
        err_set(err, ERR_LIMIT, "out of memory");
        return MAILDIR_FAILED;
    }
    memset(s, 0, offsetof(struct sink, out));
    result = write_and_publish(d, s, err);
    free(s);
    return result;
}
