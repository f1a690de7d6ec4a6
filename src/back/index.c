/* index.c: indexes of segments, so that a restart reads some thirty octets of each record instead of all of it.
 *
 *   entry = offset(4) brief                                   queue/brief.h
 *
 * A segment that has been complete for a while and is still needed gets its index in the directory of lane 0, where
 * only back writes. Most segments never live so long: a server that delivers what it takes writes no index at all. A
 * work thread reads the segment a second time for it; to gather entries while following the lanes was rejected, since
 * it would cost memory and time for every record, also of those that are delivered in the next second.
 *
 * A segment in which anything is damaged gets none: so it is read, and reported, at every start. */
#include "back/back.h"
#include "role/log.h"
#include "spool/lane_index.h"

#include <stdlib.h>

enum {
    SETTLE_MS = 5 * 1000,
    PINS_LEAST = 32, /* less is read as fast */
};

struct back_index {
    struct back *back;
    unsigned     lane;
    uint64_t     seq;
    const char  *dir, *index_dir;
    struct arena scratch;
    struct buf   entries;
    bool         ok;
};

/* ---- making ---- */

static bool add(const struct lane_record *record, void *arg)
{
    struct back_index  *x = arg;
    struct record_brief brief;

    /* What is no record of the queue was passed over when it was read first, and said so then. */
    if (record_brief_of(record->type, record->payload, &x->scratch, &brief)) {
        put_u32(&x->entries, record->place.offset);
        record_brief_put(&brief, &x->entries);
    }
    arena_reset(&x->scratch);
    return buf_ok(&x->entries);
}

static void make(void *arg)
{
    struct back_index     *x = arg;
    struct lane_segment_id before, after;
    struct err             err;

    x->ok = lane_segment_identify(x->dir, x->seq, &before, &err) && lane_segment_read(x->dir, x->seq, add, x, &err) &&
            lane_segment_identify(x->dir, x->seq, &after, &err) && memcmp(&before, &after, sizeof before) == 0 &&
            lane_index_write(x->index_dir, x->lane, &before, buf_str(&x->entries), &err);
}

static void index_free(struct back_index *x)
{
    x->back->index = NULL;
    buf_done(&x->entries);
    arena_done(&x->scratch);
    free(x);
}

static void made(void *arg)
{
    struct back_index *x = arg;
    struct back       *b = x->back;

    if (!queue_segment_find(&b->queue, x->lane, x->seq)) /* released meanwhile */
        lane_index_remove(x->index_dir, x->lane, x->seq, NULL);
    index_free(x);
    if (!b->draining)
        back_index_tick(b);
    back_drain_check(b);
}

void back_index_tick(struct back *b)
{
    struct queue_segment *s = b->index ? NULL : queue_indexable(&b->queue, io_wall_ms(), SETTLE_MS, PINS_LEAST);
    struct back_index    *x = s ? calloc(1, sizeof *x) : NULL;

    if (!x)
        return;
    s->indexed = true; /* or not to be: it is tried once */
    x->back = b;
    x->lane = s->lane;
    x->seq = s->seq;
    x->dir = back_lane_dir(b, s->lane);
    x->index_dir = back_lane_dir(b, LANE_BACK);
    arena_init(&x->scratch, 8 << 10, BACK_ATTEMPT_MEMORY);
    buf_init(&x->entries, LANE_INDEX_MAX);
    b->index = x;
    if (!io_work(b->loop, make, made, x))
        index_free(x);
}

/* ---- using ---- */

static bool entries_are_whole(struct str entries)
{
    struct reader       r = reader_of(entries);
    struct record_brief brief;

    while (r.rest.len) {
        get_u32(&r);
        if (!record_brief_get(&r, &brief))
            return false;
    }
    return reader_ended(&r);
}

bool back_index_replay(struct back *b, unsigned lane, uint64_t seq, struct buf *buffer)
{
    struct lane_segment_id id;
    struct str             entries;
    struct reader          r;

    if (!lane_segment_identify(back_lane_dir(b, lane), seq, &id, NULL) ||
        !lane_index_read(back_lane_dir(b, LANE_BACK), lane, &id, buffer, &entries) || !entries_are_whole(entries))
        return false;
    for (r = reader_of(entries); r.rest.len;) {
        struct queue_place  place = {.seq = seq, .offset = get_u32(&r), .lane = lane};
        struct record_brief brief;

        record_brief_get(&r, &brief);
        if (queue_apply_brief(&b->queue, place, &brief, NULL) == QUEUE_NO_MEMORY)
            role_give_up("out of memory for the queue", NULL);
    }
    queue_segment_find(&b->queue, lane, seq)->indexed = true; /* it was listed before */
    return true;
}

static bool keep(unsigned lane, uint64_t seq, void *arg)
{
    struct back *b = arg;

    return lane < QUEUE_LANES && queue_segment_find(&b->queue, lane, seq);
}

void back_index_clean(struct back *b)
{
    struct err err;

    if (!lane_index_clean(back_lane_dir(b, LANE_BACK), keep, b, &err))
        log_notice(LOG_LEVEL_WARNING, "indexes of segments that are gone cannot be removed: %s", err.text);
}
