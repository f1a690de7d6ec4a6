/* lane_lookup.c: records again, by their places.
 *
 * lane_read_at keeps nothing open between calls: whoever reads a message again does so once for each attempt. A lookup
 * is for a listing of the whole queue, where opening the segment costs more than reading the record. Its file may have
 * become a spare, and another segment, while it was open; then no record in it is valid under the salt we know, and the
 * name is opened once more before anything is called damaged. */
#include "spool/lane_dir.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { AHEAD = 128 << 10, NEAR = 64 << 10, FIRST = 4 << 10 };

struct lane_lookup {
    char            *dir;
    int              dirfd, fd; /* -1: no segment is open */
    uint64_t         seq;
    struct lane_head head;
    struct buf       window;
    uint64_t         window_at, last_end; /* where the record before ended */
};

struct lane_lookup *lane_lookup_open(const char *dir, struct err *err)
{
    struct lane_lookup *l = calloc(1, sizeof *l);

    if (l)
        l->dir = strdup(dir);
    if (!l || !l->dir) {
        free(l);
        err_set_os(err, ENOMEM, "spool %s", dir);
        return NULL;
    }
    l->fd = -1;
    buf_init(&l->window, LANE_RECORD_HEAD + LANE_RECORD_MAX + AHEAD);
    l->dirfd = lane_dir_open(dir, err);
    if (l->dirfd < 0) {
        lane_lookup_close(l);
        return NULL;
    }
    return l;
}

static void leave(struct lane_lookup *l)
{
    l->fd = spool_close(l->fd);
    l->last_end = 0;
    buf_clear(&l->window);
}

void lane_lookup_close(struct lane_lookup *l)
{
    if (!l)
        return;
    spool_close(l->fd);
    spool_close(l->dirfd);
    buf_done(&l->window);
    free(l->dir);
    free(l);
}

static bool enter(struct lane_lookup *l, uint64_t seq, struct err *err)
{
    enum lane_head_state state;

    leave(l);
    l->fd = lane_segment_open(l->dirfd, l->dir, seq, O_RDONLY, &l->head, &state, err);
    if (l->fd < 0 && errno == ENOENT)
        err_set(err, ERR_PERMANENT, "spool %s: segment %016llx is gone", l->dir, (unsigned long long)seq);
    if (l->fd < 0)
        return false;
    l->seq = seq;
    if (state == LANE_HEAD_WHOLE || state == LANE_HEAD_HALF)
        return true;
    leave(l);
    return err_set(err, ERR_PERMANENT, "spool %s: the head of segment %016llx is damaged", l->dir,
                   (unsigned long long)seq);
}

/* `len` octets at `at`, or fewer at the end of the file; NULL: I/O error. */
static const char *octets_at(struct lane_lookup *l, uint64_t at, size_t len, size_t *ret_len, struct err *err)
{
    bool    follows = at >= l->last_end && at - l->last_end < NEAR && l->last_end;
    size_t  want = follows ? AHEAD : FIRST;
    ssize_t n;

    if (l->window.len && at >= l->window_at && at + len <= l->window_at + l->window.len) {
        *ret_len = len;
        return l->window.data + (at - l->window_at);
    }
    if (want < len)
        want = len;
    buf_shrink(&l->window, 2 * AHEAD);
    buf_clear(&l->window);
    if (!buf_reserve(&l->window, want)) {
        err_set_os(err, ENOMEM, "spool %s", l->dir);
        return NULL;
    }
    n = spool_read(l->fd, l->window.data, want, at);
    if (n < 0) {
        err_set_os(err, errno, "spool %s: segment %016llx", l->dir, (unsigned long long)l->seq);
        return NULL;
    }
    l->window.len = (size_t)n;
    l->window_at = at;
    *ret_len = (size_t)n < len ? (size_t)n : len;
    return l->window.data;
}

enum found { FOUND, FOUND_NOT, FOUND_FAILED };

static enum found find(struct lane_lookup *l, struct lane_place place, struct lane_record *ret_record, struct err *err)
{
    struct lane_record_head head;
    struct lane_record      record;
    const char             *octets;
    size_t                  len, total;

    octets = octets_at(l, place.offset, LANE_RECORD_HEAD, &len, err);
    if (!octets)
        return FOUND_FAILED;
    if (len < LANE_RECORD_HEAD || !lane_record_decode(octets, l->head.salt, place, &head)) {
        err_set(err, ERR_PERMANENT, "spool %s: no record at octet %u of segment %016llx", l->dir, place.offset,
                (unsigned long long)place.seq);
        return FOUND_NOT;
    }
    total = LANE_RECORD_HEAD + (size_t)head.length;
    octets = octets_at(l, place.offset, total, &len, err);
    if (!octets)
        return FOUND_FAILED;
    record = (struct lane_record){
        .place = place,
        .next = {place.seq, place.offset + (uint32_t)lane_record_total(head.length)},
        .type = head.type,
        .more = head.flags & LANE_MORE,
        .payload = str_of(octets + LANE_RECORD_HEAD, head.length),
    };
    if (len == total && lane_record_sum_ok(octets, l->head.salt, place, record.payload)) {
        l->last_end = record.next.offset;
        *ret_record = record;
        return FOUND;
    }
    err_set(err, ERR_PERMANENT, "spool %s: the record at octet %u of segment %016llx is damaged", l->dir, place.offset,
            (unsigned long long)place.seq);
    return FOUND_NOT;
}

bool lane_lookup_read(struct lane_lookup *l, struct lane_place place, struct lane_record *ret_record, struct err *err)
{
    bool       kept = l->fd >= 0 && l->seq == place.seq;
    enum found f;

    if (!kept && !enter(l, place.seq, err))
        return false;
    f = find(l, place, ret_record, err);
    if (f == FOUND_NOT && kept) /* another segment by now, or read ahead before it was written */
        f = enter(l, place.seq, err) ? find(l, place, ret_record, err) : FOUND_FAILED;
    return f == FOUND;
}

bool lane_read_at(const char *dir, struct lane_place place, struct buf *buffer, struct lane_record *ret_record,
                  struct err *err)
{
    struct lane_lookup *l = lane_lookup_open(dir, err);
    bool                ok = l && lane_lookup_read(l, place, ret_record, err);

    buf_clear(buffer);
    if (ok && ret_record->payload.len > buffer->max)
        ok = err_set(err, ERR_LIMIT, "spool %s: a record of %zu octets, and only %zu may be read", dir,
                     ret_record->payload.len, buffer->max);
    else if (ok && !buf_append(buffer, ret_record->payload))
        ok = err_set_os(err, ENOMEM, "spool %s", dir);
    if (ok)
        ret_record->payload = buf_str(buffer);
    lane_lookup_close(l);
    return ok;
}
