/* compact.c: a segment that is kept by little is emptied: what pins it is appended to lane 0 again, and when that
 * is durable the segment goes.
 *
 * What belongs to a message at which an attempt is at work is left alone: the attempt will write anew itself, and a
 * copy of its old progress must not come after that. One slice at a time, of records and of messages looked at, so that
 * an old segment of a large queue does not hold up deliveries. */
#include "back/back.h"
#include "role/log.h"

#include <stdlib.h>

enum { SETTLE_MS = 60 * 1000, SLICE_RECORDS = 200, SLICE_OCTETS = 1 << 20, SLICE_MESSAGES = 1 << 18 };

struct pin {
    enum record_type   type;
    uint64_t           id;
    struct queue_place place;
};
struct slice {
    struct back *back;
    struct pin   pins[SLICE_RECORDS];
    size_t       count;
};

static bool each_pin(enum record_type type, uint64_t id, struct queue_place place, void *arg)
{
    struct slice *s = arg;

    if (type == RECORD_STATE && s->back->digesting)
        return true; /* about to be written anew */
    s->pins[s->count++] = (struct pin){type, id, place};
    return s->count < SLICE_RECORDS;
}

static void moved(void *arg)
{
    struct back *b = arg;

    b->compacting = false;
    back_release_tick(b);
}

static bool move(struct slice *s, struct back_store *store, const struct pin *pin, struct buf *buffer, size_t *octets)
{
    struct back *b = s->back;
    struct str   payload;
    struct err   err;

    if (pin->type == RECORD_FINISHED)
        return finished_put(pin->id, back_store_record(store, RECORD_FINISHED));
    if (!back_record_read(back_lane_dir(b, pin->place.lane), pin->place, pin->type, buffer, &payload, &err)) {
        log_notice(LOG_LEVEL_ERROR, "the spool is damaged: %s; the segment is kept", err.text);
        queue_segment_damaged(&b->queue, pin->place.lane, pin->place.seq);
        return false;
    }
    *octets += payload.len;
    return buf_append(back_store_record(store, pin->type), payload);
}

/* The segment that was begun, or another one, from its first message on. */
static struct queue_segment *choose(struct back *b)
{
    struct queue_segment *s = queue_segment_find(&b->queue, b->compact_lane, b->compact_seq);

    if (s && queue_is_compactable(s, io_wall_ms(), SETTLE_MS))
        return s;
    s = queue_compactable(&b->queue, io_wall_ms(), SETTLE_MS);
    if (s) {
        b->compact_lane = s->lane;
        b->compact_seq = s->seq;
        b->compact_at = 0;
    }
    return s;
}

void back_compact_tick(struct back *b)
{
    struct queue_segment *segment;
    struct slice         *s;
    struct back_store    *store;
    struct buf            buffer;
    size_t                octets = 0;

    if (b->compacting || b->draining || b->store_waits)
        return;
    segment = choose(b);
    s = segment ? malloc(sizeof *s) : NULL;
    if (!s)
        return;
    *s = (struct slice){.back = b};
    if (queue_some_pins(&b->queue, segment, &b->compact_at, SLICE_MESSAGES, each_pin, s))
        b->compact_at = 0; /* what is left belongs to busy messages: once more */
    if (!s->count) {
        free(s);
        return;
    }
    store = back_store_new(b, moved, b);
    buf_init(&buffer, BACK_RECORD_MAX + 4096);
    for (size_t i = 0; i < s->count && octets < SLICE_OCTETS; i++)
        if (!move(s, store, &s->pins[i], &buffer, &octets))
            break;
    buf_done(&buffer);
    free(s);
    b->compacting = true;
    back_store_put(store);
}
