/* lane_scan.c: octets of a segment, through a window, and the records in them.
 *
 * mmap was rejected: a file that is cut while it is read would end the process by SIGBUS. */
#include "spool/lane_scan.h"
#include "spool/sys.h"

#include <errno.h>
#include <stdlib.h>

enum { WINDOW = 256 << 10, FIRST = 8 << 10 /* after a refresh, perhaps of no use */, SEARCH_STEP = 4 << 10 };
enum { FAILED_MOST = 4 /* times the segment */, SHORT = 512 /* octets of a record */ };

/* ---- octets ---- */

static void window_drop(struct lane_scan *s) { s->window_len = 0; }

static bool window_grow(struct lane_scan *s, size_t size, struct err *err)
{
    char *window = malloc(size);

    if (!window)
        return err_set_os(err, ENOMEM, "spool %s", s->dir);
    free(s->window);
    s->window = window;
    s->window_room = size;
    return true;
}

/* `len` octets at `at` of the file. NOT: it ends before. */
static enum lane_scan_result window_get(struct lane_scan *s, uint64_t at, size_t len, const char **ret_octets,
                                        struct err *err)
{
    ssize_t n;
    size_t  want = s->step;

    if (at >= s->window_at && at + len <= s->window_at + s->window_len) {
        *ret_octets = s->window + (at - s->window_at);
        return LANE_SCAN_WHOLE;
    }
    if (at + len > s->size)
        return LANE_SCAN_NOT;
    if (s->ahead < at + want)
        want = s->ahead > at ? (size_t)(s->ahead - at) : 0;
    if (want < len)
        want = len;
    window_drop(s);
    s->step = s->step < WINDOW / 2 ? 2 * s->step : WINDOW;
    if (want > s->window_room && !window_grow(s, want > WINDOW ? want : WINDOW, err))
        return LANE_SCAN_FAILED;
    n = spool_read(s->fd, s->window, want, at);
    if (n < 0) {
        err_set_os(err, errno, "spool %s: segment %016llx", s->dir, (unsigned long long)s->seq);
        return LANE_SCAN_FAILED;
    }
    s->window_at = at;
    s->window_len = (size_t)n;
    *ret_octets = s->window;
    return (size_t)n < len ? LANE_SCAN_NOT : LANE_SCAN_WHOLE; /* it may have been cut since we looked */
}

void lane_scan_shrink(struct lane_scan *s)
{
    if (s->window_room > WINDOW) {
        free(s->window);
        s->window = NULL;
        s->window_room = 0;
        window_drop(s);
    }
}

bool lane_scan_refresh(struct lane_scan *s, struct err *err)
{
    struct stat st;

    if (spool_stat(s->fd, &st) != 0)
        return err_set_os(err, errno, "spool %s: segment %016llx", s->dir, (unsigned long long)s->seq);
    s->size = (uint64_t)st.st_size < UINT32_MAX ? (uint64_t)st.st_size : UINT32_MAX;
    window_drop(s);
    s->step = FIRST;
    return true;
}

bool lane_scan_begin(struct lane_scan *s, int fd, uint64_t seq, uint64_t salt, struct err *err)
{
    s->fd = fd;
    s->seq = seq;
    s->salt = salt;
    s->started_at = s->unstarted_from = s->failed_at = 0;
    s->unstarted_limit = s->failed_octets = 0;
    if (lane_scan_refresh(s, err))
        return true;
    lane_scan_end(s);
    return false;
}

void lane_scan_end(struct lane_scan *s)
{
    spool_close(s->fd);
    s->fd = -1;
    lane_scan_shrink(s);
    window_drop(s);
}

void lane_scan_done(struct lane_scan *s)
{
    lane_scan_end(s);
    free(s->window);
}

/* ---- records ---- */

enum lane_scan_result lane_scan_head(struct lane_scan *s, uint32_t at, struct lane_record_head *ret_head,
                                     struct err *err)
{
    const char           *octets;
    enum lane_scan_result c = window_get(s, at, LANE_RECORD_HEAD, &octets, err);

    if (c != LANE_SCAN_WHOLE)
        return c;
    return lane_record_decode(octets, s->salt, (struct lane_place){s->seq, at}, ret_head) ? LANE_SCAN_WHOLE
                                                                                          : LANE_SCAN_NOT;
}

enum lane_scan_result lane_scan_record(struct lane_scan *s, uint32_t at, uint64_t limit,
                                       struct lane_record_head *ret_head, const char **ret_payload, struct err *err)
{
    struct lane_place     place = {s->seq, at};
    const char           *octets;
    uint64_t              total;
    enum lane_scan_result c;

    if (at + (uint64_t)LANE_RECORD_HEAD > limit)
        return LANE_SCAN_NOT;
    c = lane_scan_head(s, at, ret_head, err);
    if (c != LANE_SCAN_WHOLE)
        return c;
    total = lane_record_total(ret_head->length);
    if (at + total > limit || (total > SHORT && s->failed_octets > FAILED_MOST * s->size))
        return LANE_SCAN_NOT;
    c = window_get(s, at, total, &octets, err);
    if (c != LANE_SCAN_WHOLE)
        return c;
    if (!lane_record_sum_ok(octets, s->salt, place, str_of(octets + LANE_RECORD_HEAD, ret_head->length))) {
        if (at > s->failed_at) { /* each place counts once, however often it is looked at */
            s->failed_at = at;
            s->failed_octets += total;
        }
        return LANE_SCAN_NOT;
    }
    *ret_payload = octets + LANE_RECORD_HEAD;
    return LANE_SCAN_WHOLE;
}

enum lane_scan_result lane_scan_group(struct lane_scan *s, uint32_t at, uint64_t limit, bool may_continue,
                                      uint32_t *ret_end, struct err *err)
{
    struct lane_record_head head;
    const char             *payload;

    do {
        enum lane_scan_result c = lane_scan_record(s, at, limit, &head, &payload, err);

        *ret_end = at;
        if (c != LANE_SCAN_WHOLE)
            return c;
        if (!may_continue && (head.flags & LANE_CONTINUES))
            return LANE_SCAN_NOT;
        may_continue = true;
        at += (uint32_t)lane_record_total(head.length);
    } while (head.flags & LANE_MORE);
    *ret_end = at;
    return LANE_SCAN_WHOLE;
}

/* Moves *at to the next head of a record that is at or behind it. NOT: there is none. */
static enum lane_scan_result next_head(struct lane_scan *s, uint64_t *at, uint64_t limit, struct err *err)
{
    struct lane_record_head head;
    const char             *octets = NULL;

    for (uint64_t step_end = 0; *at + LANE_RECORD_HEAD <= limit;
         *at += LANE_RECORD_ALIGN, octets += LANE_RECORD_ALIGN) {
        if (*at + LANE_RECORD_HEAD > step_end) {
            uint64_t              len = limit - *at < SEARCH_STEP ? limit - *at : SEARCH_STEP;
            enum lane_scan_result c = window_get(s, *at, len, &octets, err);

            if (c != LANE_SCAN_WHOLE && len > LANE_RECORD_HEAD)
                c = window_get(s, *at, len = LANE_RECORD_HEAD, &octets, err);
            if (c != LANE_SCAN_WHOLE)
                return c;
            step_end = *at + len;
        }
        if (lane_record_decode(octets, s->salt, (struct lane_place){s->seq, (uint32_t)*at}, &head))
            return LANE_SCAN_WHOLE;
    }
    return LANE_SCAN_NOT;
}

/* Whether it is known that a record in [from, limit) says that everything before it had been durable, or that none
 * does. */
static bool started_is_known(const struct lane_scan *s, uint32_t from, uint64_t limit)
{
    return s->started_at >= from || (from >= s->unstarted_from && limit <= s->unstarted_limit);
}

bool lane_scan_search(struct lane_scan *s, uint32_t from, uint64_t limit, struct lane_found *ret_found, struct err *err)
{
    struct lane_found f = {0};
    uint64_t          at = lane_round_up(from, LANE_RECORD_ALIGN);
    uint32_t          broken = 0; /* groups that begin before this place end at one that is not whole */

    while (f.at == 0 || !started_is_known(s, from, limit)) {
        struct lane_record_head head;
        const char             *payload;
        uint32_t                end;
        enum lane_scan_result   c = next_head(s, &at, limit, err);

        if (c == LANE_SCAN_NOT) {
            if (!started_is_known(s, from, limit)) {
                s->unstarted_from = from;
                s->unstarted_limit = limit;
            }
            break;
        }
        if (c == LANE_SCAN_WHOLE)
            c = lane_scan_record(s, (uint32_t)at, limit, &head, &payload, err);
        if (c == LANE_SCAN_FAILED)
            return false;
        if (c == LANE_SCAN_NOT) {
            at += LANE_RECORD_ALIGN;
            continue;
        }
        if (head.flags & LANE_STARTS)
            s->started_at = (uint32_t)at;
        if (f.at == 0 && !(head.flags & LANE_CONTINUES) && at >= broken) {
            c = lane_scan_group(s, (uint32_t)at, limit, false, &end, err);
            if (c == LANE_SCAN_FAILED)
                return false;
            if (c == LANE_SCAN_WHOLE)
                f.at = (uint32_t)at;
            else
                broken = end;
        }
        at += lane_record_total(head.length);
        if (f.at == 0)
            f.rest = (uint32_t)at;
    }
    f.started = s->started_at >= from;
    *ret_found = f;
    return true;
}
