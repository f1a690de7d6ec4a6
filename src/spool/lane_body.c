/* lane_body.c: large bodies, each a file of its own.
 *
 * A body is gathered into pieces of 64 KiB, so that a session which brings a few hundred octets at a time costs few
 * system calls. It is written under its final name: until a record refers to it, nobody looks at it, and after a crash
 * it is known as an orphan by exactly that. A temporary name and a rename would be one more directory change for each
 * message and would tell nothing more. */
#include "spool/lane_writer.h"
#include "spool/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { PIECE = 64 << 10, SPACE_STEP = 1 << 20 };

struct lane_body {
    struct lane_writer *w;
    char                name[LANE_BODY_NAME_MAX + 1];
    int                 fd;
    bool                failed;
    uint64_t            size;     /* octets in the file */
    uint64_t            granted;  /* up to this size the reserve was looked at */
    XXH3_state_t       *checksum; /* allocated with the alignment it needs */
    size_t              used;
    char                piece[PIECE];
};

static bool body_failed(struct lane_body *b, int os_error, struct err *err)
{
    b->failed = true;
    return err_set_os(err, os_error, "spool %s/body/%s", b->w->dir, b->name);
}

static bool check_space(struct lane_body *b, uint64_t more, struct err *err)
{
    uint64_t free_octets;

    if (b->size + more <= b->granted)
        return true;
    if (!lane_free_space(b->w, &free_octets, err)) {
        b->failed = true;
        return false;
    }
    free_octets = lane_above_reserve(b->w, free_octets);
    if (free_octets < more) {
        b->failed = true;
        return err_set(err, ERR_LIMIT,
                       "spool %s: no room for a large message; %llu octets are kept free; make room on its "
                       "file system",
                       b->w->dir, (unsigned long long)b->w->reserve);
    }
    b->granted = b->size + (free_octets < SPACE_STEP ? free_octets : SPACE_STEP);
    return true;
}

struct lane_body *lane_body_create(struct lane_writer *w, struct str name, struct err *err)
{
    struct lane_body *b;

    if (!lane_body_name_ok(name)) {
        err_set(err, ERR_PERMANENT, "spool %s: a name that a body cannot have", w->dir);
        return NULL;
    }
    b = malloc(sizeof *b);
    if (!b) {
        err_set_os(err, ENOMEM, "spool %s", w->dir);
        return NULL;
    }
    *b = (struct lane_body){.w = w, .fd = -1, .checksum = XXH3_createState()};
    memcpy(b->name, name.data, name.len);
    if (!b->checksum) {
        body_failed(b, ENOMEM, err);
    } else if (check_space(b, 1, err)) {
        XXH3_64bits_reset(b->checksum);
        b->fd = spool_create(w->bodyfd, b->name, 0640);
        if (b->fd >= 0)
            return b;
        body_failed(b, errno, err);
    }
    XXH3_freeState(b->checksum);
    free(b);
    return NULL;
}

static bool put(struct lane_body *b, const char *data, size_t len, struct err *err)
{
    struct iovec part = {(void *)(uintptr_t)data, len};

    if (len == 0)
        return true;
    if (!check_space(b, len, err))
        return false;
    XXH3_64bits_update(b->checksum, data, len);
    if (spool_write(b->fd, &part, 1, b->size) != 0)
        return body_failed(b, errno, err);
    b->size += len;
    return true;
}

static bool flush(struct lane_body *b, struct err *err)
{
    size_t used = b->used;

    b->used = 0;
    return put(b, b->piece, used, err);
}

bool lane_body_write(struct lane_body *b, struct str data, struct err *err)
{
    if (b->failed)
        return err_set(err, ERR_TEMPORARY, "spool %s/body/%s: writing failed before", b->w->dir, b->name);
    while (data.len > 0) {
        size_t step;

        if (b->used == 0 && data.len >= PIECE) {
            step = data.len / PIECE * PIECE < SPACE_STEP ? data.len / PIECE * PIECE : SPACE_STEP;
            if (!put(b, data.data, step, err))
                return false;
        } else {
            step = data.len < PIECE - b->used ? data.len : PIECE - b->used;
            memcpy(b->piece + b->used, data.data, step);
            b->used += step;
            if (b->used == PIECE && !flush(b, err))
                return false;
        }
        data = str_skip(data, step);
    }
    return true;
}

bool lane_body_finish(struct lane_body *b, uint64_t *ret_size, uint64_t *ret_xxh3, struct err *err)
{
    bool ok = !b->failed || err_set(err, ERR_TEMPORARY, "spool %s/body/%s: writing failed before", b->w->dir, b->name);
    struct stat st;

    ok = ok && flush(b, err);
    if (ok && (spool_sync(b->fd) != 0 || spool_sync(b->w->bodyfd) != 0 || spool_stat(b->fd, &st) != 0))
        ok = body_failed(b, errno, err);
    if (ok && st.st_nlink == 0)
        ok = err_set(err, ERR_TEMPORARY, "spool %s/body/%s: somebody removed it while it was written", b->w->dir,
                     b->name);
    if (!ok) {
        lane_body_abort(b);
        return false;
    }
    *ret_size = b->size;
    *ret_xxh3 = XXH3_64bits_digest(b->checksum);
    spool_close(b->fd);
    XXH3_freeState(b->checksum);
    free(b);
    return true;
}

void lane_body_abort(struct lane_body *b)
{
    if (!b)
        return;
    spool_close(b->fd);
    spool_unlink(b->w->bodyfd, b->name);
    XXH3_freeState(b->checksum);
    free(b);
}

bool lane_body_check(const char *path, int fd, uint64_t size, uint64_t xxh3, struct err *err)
{
    XXH3_state_t *checksum = XXH3_createState();
    char         *piece = malloc(PIECE);
    uint64_t      at = 0;
    ssize_t       n = -1;
    bool          same = false;

    errno = ENOMEM;
    if (checksum && piece) {
        XXH3_64bits_reset(checksum);
        while (at <= size && (n = spool_read(fd, piece, PIECE, at)) > 0) { /* what is too long may be without end */
            XXH3_64bits_update(checksum, piece, (size_t)n);
            at += (uint64_t)n;
        }
        same = at == size && XXH3_64bits_digest(checksum) == xxh3;
    }
    if (n < 0)
        err_set_os(err, errno, "body %s", path);
    else if (!same)
        err_set(err, ERR_PERMANENT, "body %s is not what was stored: it has %s%llu octets of %llu%s", path,
                at > size ? "at least " : "", (unsigned long long)at, (unsigned long long)size,
                at == size ? ", but not the same" : "");
    XXH3_freeState(checksum);
    free(piece);
    return n >= 0 && same;
}
