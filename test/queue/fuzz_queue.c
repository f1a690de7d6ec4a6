/* fuzz_queue.c: any sequence of records in three lanes, replayed with the lanes in one order and in the reverse: both
 * must come to the same queue, and to the same segments that are still needed. Then everything that lives is finished,
 * and every segment must be free to go.
 *
 * records = *( what id detail ), an octet each. Of `what`, the low bits say which record and in which lane, the high
 * one that the next segment of that lane begins. How many recipients a message has follows from its id, since back
 * never writes of a message otherwise than it is. */
#include "fuzz.h"

#include "queue/queue.h"

enum { LANES = 3, IDS = 16, STATES = 8, STEP = 3, RECORDS_MAX = 300 };

static const char names[] = "abcdefgh";

enum { UNCLAIMED_KEEP_MS = 500 };

struct records {
    const uint8_t *data;
    size_t         size;
};

static uint64_t id_of(uint8_t octet)
{
    uint64_t number = octet % IDS;

    return (UINT64_C(1790000000000) + number) << 22 | (number % LANES) << 14 | number;
}

static uint32_t recipients_of(uint64_t id) { return 1 + (uint32_t)(id & 3); }

static struct record_brief brief_of(const uint8_t *octets)
{
    struct record_brief b = {.type = (enum record_type)(RECORD_MESSAGE + (octets[0] & 15) % 5), .id = id_of(octets[1])};
    uint8_t             detail = octets[2];

    switch (b.type) {
    case RECORD_MESSAGE:
        b.message.size = b.id % 1000;
        b.message.octets = b.message.size + 100;
        b.message.recipients = recipients_of(b.id);
        b.message.class = CLASS_STRANGER;
        break;
    case RECORD_PROGRESS:
        b.progress.attempts = detail;
        b.progress.flags = detail & PROGRESS_FLAGS;
        b.progress.next_ms = 1 + detail * 10u;
        b.progress.recipients = recipients_of(b.id);
        b.progress.pending = detail % (b.progress.recipients + 1);
        b.progress.unclaimed = b.progress.recipients - b.progress.pending;
        break;
    case RECORD_EXPANSION:
        b.expansion.first = 1 + detail % 3;
        break;
    case RECORD_FINISHED:
        break;
    case RECORD_STATE:
        b.id = 0;
        b.state.name = str_of(names + octets[1] % STATES, 1);
        b.state.value = str_of(names, detail % 9);
        break;
    }
    return b;
}

static void replay_lane(struct queue *q, struct records r, uint32_t lane)
{
    struct queue_place place = {.seq = 1, .lane = lane};
    unsigned           written = 0; /* ids; a front writes none twice */

    must(queue_segment_present(q, lane, 1));
    for (size_t at = 0; at + STEP <= r.size; at += STEP) {
        struct record_brief b = brief_of(r.data + at);

        if ((r.data[at] >> 4 & 3) % LANES != lane)
            continue;
        if (r.data[at] & 0x80)
            place.seq++;
        place.offset += 64;
        if (lane != 0 && b.type == RECORD_MESSAGE) {
            if (written & 1u << r.data[at + 1] % IDS)
                continue;
            written |= 1u << r.data[at + 1] % IDS;
        }
        must(queue_apply_brief(q, place, &b, NULL) != QUEUE_NO_MEMORY);
    }
    queue_lane_read(q, lane, place.seq + 1, 1);
}

static void replay(struct queue *q, struct records r, bool backwards)
{
    queue_init(q, backwards, UNCLAIMED_KEEP_MS);
    q->replaying = true;
    for (uint32_t i = 0; i < LANES; i++)
        replay_lane(q, r, backwards ? LANES - 1 - i : i);
    queue_replayed(q);
}

static bool same_place(struct queue_place a, struct queue_place b)
{
    return a.seq == b.seq && (!a.seq || (a.offset == b.offset && a.lane == b.lane));
}

static void check_messages(const struct queue *q, const struct queue *other)
{
    struct queue_message *m;
    uint64_t              count = 0, octets = 0;

    for (size_t at = 0; (m = queue_next(q, &at)); count++) {
        const struct queue_message *o = queue_find(other, m->id);

        must(o && m->home.seq && same_place(m->home, o->home) && same_place(m->progress, o->progress));
        must(m->attempts == o->attempts && m->flags == o->flags && m->pending == o->pending);
        must(m->unclaimed_count == o->unclaimed_count && m->recipient_count == o->recipient_count);
        must((m->extra ? m->extra->expansion_count : 0) == (o->extra ? o->extra->expansion_count : 0));
        octets += m->size;
    }
    must(count == q->messages && octets == q->octets);
}

static void release(struct queue *q)
{
    struct queue_segment *s;

    while ((s = queue_releasable(q)))
        queue_segment_gone(q, s);
}

static void check_segments(const struct queue *q, const struct queue *other)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        struct queue_segment *s, *o;

        for (size_t at = 0; (s = map_next(&q->segments[lane], &at));) {
            o = map_get_u64(&other->segments[lane], s->seq);
            must(o && o->pins == s->pins && o->weight == s->weight && o->weight_alive == s->weight_alive);
        }
    }
}

/* Finishes all that lives, and moves on what else pins a segment, as compaction would: then nothing needs the segments
 * that were replayed, and nothing is remembered of what lay in them. */
static void finish(struct queue *q)
{
    const struct queue_place place = {.seq = 1000, .offset = 4096};

    for (unsigned i = 0; i < IDS; i++) {
        struct record_brief b = {.type = RECORD_FINISHED, .id = id_of((uint8_t)i)};

        if (queue_find(q, b.id) || map_get_u64(&q->dead, b.id))
            must(queue_apply_brief(q, place, &b, NULL) == QUEUE_APPLIED);
    }
    for (unsigned i = 0; i < STATES; i++) {
        struct record_brief b = {.type = RECORD_STATE, .state = {.name = str_of(names + i, 1)}};

        if (queue_state_value(q, b.state.name).data)
            must(queue_apply_brief(q, place, &b, NULL) == QUEUE_APPLIED);
    }
    must(q->messages == 0 && q->octets == 0 && q->unclaimed_messages == 0 && q->unclaimed_octets == 0);
    release(q);
    must(q->segments[0].used <= 1 && q->segments[1].used == 0 && q->segments[2].used == 0 && q->dead.used == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct records r = {data, size};
    struct queue   one, two;

    if (size > RECORDS_MAX * STEP)
        return 0;
    replay(&one, r, false);
    replay(&two, r, true);
    check_messages(&one, &two);
    check_messages(&two, &one);
    check_segments(&one, &two);
    check_segments(&two, &one);
    release(&one);
    release(&two);
    check_segments(&one, &two);
    check_segments(&two, &one);
    finish(&one);
    queue_done(&one);
    queue_done(&two);
    return 0;
}
