/* segment.c: which segments are still needed, and by what. Counting pins was preferred to marking and sweeping: a
 * release is then known the moment it becomes possible, and its cost does not grow with the queue. Only compaction,
 * which is rare, looks at every message to find those of one segment. */
#include "queue/queue.h"

#include <stdlib.h>

struct queue_segment *queue_segment_get(struct queue *q, uint32_t lane, uint64_t seq)
{
    struct queue_segment *s;

    if (lane >= QUEUE_LANES)
        return NULL;
    s = map_get_u64(&q->segments[lane], seq);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->seq = seq;
    s->lane = lane;
    list_init(&s->dead);
    if (!map_put_u64(&q->segments[lane], seq, s)) {
        free(s);
        return NULL;
    }
    return s;
}

bool queue_segment_present(struct queue *q, uint32_t lane, uint64_t seq) { return queue_segment_get(q, lane, seq); }

void queue_pin(struct queue *q, struct queue_place place, uint64_t weight)
{
    struct queue_segment *s = map_get_u64(&q->segments[place.lane], place.seq);

    s->pins++;
    s->weight_alive += weight;
}

void queue_unpin(struct queue *q, struct queue_place place, uint64_t weight)
{
    struct queue_segment *s = map_get_u64(&q->segments[place.lane], place.seq);

    s->pins--;
    s->weight_alive -= weight;
}

bool queue_bury(struct queue *q, uint64_t id, uint64_t finished_seq, struct queue_place home)
{
    struct queue_tombstone *first = map_get_u64(&q->dead, id), *t = first;
    struct queue_segment   *s = NULL;

    if (home.seq && !(s = queue_segment_get(q, home.lane, home.seq)))
        return false;
    if (!first || first->has_home) {
        t = calloc(1, sizeof *t);
        if (!t)
            return false;
        list_init(&t->link);
        t->id = id;
        t->finished_seq = finished_seq;
        if (first) {
            t->next = first->next;
            first->next = t;
        } else if (!map_put_u64(&q->dead, id, t)) {
            free(t);
            return false;
        }
        queue_pin(q, (struct queue_place){.seq = finished_seq}, QUEUE_WEIGHT_SMALL);
    }
    if (s) {
        t->has_home = true;
        list_push(&s->dead, &t->link);
    }
    return true;
}

void queue_lane_read(struct queue *q, uint32_t lane, uint64_t seq, uint64_t now_ms)
{
    struct queue_segment *s;

    for (size_t at = 0; (s = map_next(&q->segments[lane], &at));)
        if (s->seq < seq && !s->complete_ms)
            s->complete_ms = now_ms;
}

void queue_segment_damaged(struct queue *q, uint32_t lane, uint64_t seq)
{
    struct queue_segment *s = queue_segment_get(q, lane, seq);

    if (s)
        s->damaged = true;
}

struct queue_segment *queue_segment_find(const struct queue *q, uint32_t lane, uint64_t seq)
{
    return map_get_u64(&q->segments[lane], seq);
}

struct queue_segment *queue_releasable(const struct queue *q)
{
    struct queue_segment *s;

    for (size_t lane = 0; lane < QUEUE_LANES; lane++)
        for (size_t at = 0; (s = map_next(&q->segments[lane], &at));)
            if (s->complete_ms && !s->pins && !s->damaged)
                return s;
    return NULL;
}

static void unbury(struct queue *q, struct queue_tombstone *t)
{
    struct queue_tombstone *first = map_get_u64(&q->dead, t->id);

    list_remove(&t->link);
    queue_unpin(q, (struct queue_place){.seq = t->finished_seq}, QUEUE_WEIGHT_SMALL);
    if (first == t && t->next) {
        map_put_u64(&q->dead, t->id, t->next); /* replaces: needs no memory */
    } else if (first == t) {
        map_remove_u64(&q->dead, t->id);
    } else {
        while (first->next != t)
            first = first->next;
        first->next = t->next;
    }
    free(t);
}

void queue_segment_gone(struct queue *q, struct queue_segment *s)
{
    while (!list_is_empty(&s->dead))
        unbury(q, LIST_ITEM(list_first(&s->dead), struct queue_tombstone, link));
    map_remove_u64(&q->segments[s->lane], s->seq);
    free(s);
}

static bool is_settled(const struct queue_segment *s, uint64_t now_ms, uint64_t settle_ms)
{
    return s->complete_ms && s->pins && !s->damaged && now_ms >= s->complete_ms && now_ms - s->complete_ms >= settle_ms;
}

static bool is_sparse(const struct queue_segment *s) { return s->weight_alive <= s->weight / 4; }

bool queue_is_compactable(const struct queue_segment *s, uint64_t now_ms, uint64_t settle_ms)
{
    return is_settled(s, now_ms, settle_ms) && is_sparse(s);
}

struct queue_segment *queue_compactable(const struct queue *q, uint64_t now_ms, uint64_t settle_ms)
{
    struct queue_segment *s;

    for (size_t lane = 0; lane < QUEUE_LANES; lane++)
        for (size_t at = 0; (s = map_next(&q->segments[lane], &at));)
            if (queue_is_compactable(s, now_ms, settle_ms))
                return s;
    return NULL;
}

struct queue_segment *queue_indexable(const struct queue *q, uint64_t now_ms, uint64_t settle_ms, uint32_t pins)
{
    struct queue_segment *s;

    for (size_t lane = 0; lane < QUEUE_LANES; lane++)
        for (size_t at = 0; (s = map_next(&q->segments[lane], &at));)
            if (!s->indexed && s->pins >= pins && is_settled(s, now_ms, settle_ms) && !is_sparse(s))
                return s;
    return NULL;
}

static bool lies_in(struct queue_place place, const struct queue_segment *s)
{
    return place.seq == s->seq && place.lane == s->lane;
}

static bool each_pin_of_message(const struct queue_message *m, const struct queue_segment                  *s,
                                bool (*each)(enum record_type, uint64_t, struct queue_place, void *), void *arg)
{
    if (lies_in(m->home, s) && !each(RECORD_MESSAGE, m->id, m->home, arg))
        return false;
    for (uint32_t i = 0; m->extra && i < m->extra->expansion_count; i++)
        if (lies_in(m->extra->expansions[i].place, s) &&
            !each(RECORD_EXPANSION, m->id, m->extra->expansions[i].place, arg))
            return false;
    return !lies_in(m->progress, s) || each(RECORD_PROGRESS, m->id, m->progress, arg);
}

bool queue_some_pins(const struct queue *q, const struct queue_segment *s, size_t *at, size_t most,
                     bool (*each)(enum record_type type, uint64_t id, struct queue_place place, void *arg), void *arg)
{
    struct queue_message   *m;
    struct queue_tombstone *t;
    struct queue_state     *state;

    for (; most; most--) {
        size_t before = *at;

        m = queue_next(q, at);
        if (!m)
            break;
        if (!m->busy && !each_pin_of_message(m, s, each, arg)) {
            *at = before; /* the same message once more */
            return false;
        }
    }
    if (!most)
        return false;
    if (s->lane != 0)
        return true;
    for (size_t i = 0; (t = map_next(&q->dead, &i));)
        if (t->finished_seq == s->seq && !each(RECORD_FINISHED, t->id, (struct queue_place){0}, arg))
            return false;
    for (size_t i = 0; (state = map_next(&q->states, &i));)
        if (lies_in(state->place, s) && !each(RECORD_STATE, 0, state->place, arg))
            return false;
    return true;
}

void queue_each_pin(const struct queue *q, const struct queue_segment                                           *s,
                    bool (*each)(enum record_type type, uint64_t id, struct queue_place place, void *arg), void *arg)
{
    size_t at = 0;

    queue_some_pins(q, s, &at, SIZE_MAX, each, arg);
}
