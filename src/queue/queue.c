/* queue.c: the messages of the queue and what records do to them.
 *
 *            MESSAGE                      PROGRESS with pending or waiting recipients
 *   (none) ----------> living, due now ----------------------------------------------> living, due later
 *      ^                  | FINISHED            PROGRESS with unclaimed ones only ---> living, held, due at its expiry
 *      |                  v
 *      |               buried: a tombstone for each copy
 *      +----------------- the segments with the copies are gone
 *
 * Replay reads lane by lane, so a message's progress may come before the message: then the entry waits without a home
 * (a ghost), and at the end of the replay what is still without one speaks of a message that was released. Reading all
 * lanes merged by time was rejected: clocks go back, and nothing would be simpler. */
#include "queue/queue.h"

#include <stdlib.h>

enum { CHUNK_MESSAGES = 1024 };
struct queue_chunk {
    struct queue_message messages[CHUNK_MESSAGES]; /* id 0: unused */
};

void queue_init(struct queue *q, uint64_t seed, const struct queue_times *times)
{
    *q = (struct queue){.times = *times, .replaying = true};
    map_init(&q->living, seed);
    map_init(&q->dead, seed);
    map_init(&q->states, seed);
    for (size_t i = 0; i < QUEUE_LANES; i++)
        map_init(&q->segments[i], seed);
    heap_init(&q->due);
    heap_init(&q->unclaimed);
}

static bool chunk_add(struct queue *q)
{
    size_t count = q->chunk_count;

    if ((count & (count - 1)) == 0) { /* full at each power of two */
        struct queue_chunk **chunks = realloc(q->chunks, (count ? count * 2 : 1) * sizeof *chunks);

        if (!chunks)
            return false;
        q->chunks = chunks;
    }
    q->chunks[count] = calloc(1, sizeof **q->chunks);
    if (!q->chunks[count])
        return false;
    for (size_t i = CHUNK_MESSAGES; i--;) {
        q->chunks[count]->messages[i].unused = q->unused;
        q->unused = &q->chunks[count]->messages[i];
    }
    q->chunk_count++;
    return true;
}

static void extra_free(struct queue_message *m)
{
    if (m->extra) {
        free(m->extra->expansions);
        free(m->extra->copies);
        free(m->extra);
    }
}

static void message_free(struct queue *q, struct queue_message *m)
{
    extra_free(m);
    *m = (struct queue_message){.unused = q->unused};
    q->unused = m;
}

void queue_done(struct queue *q)
{
    struct queue_message   *m;
    struct queue_tombstone *t, *next;
    struct queue_state     *state;
    struct queue_segment   *s;

    for (size_t at = 0; (m = queue_next(q, &at));)
        extra_free(m);
    for (size_t i = 0; i < q->chunk_count; i++)
        free(q->chunks[i]);
    free(q->chunks);
    for (size_t at = 0; (t = map_next(&q->dead, &at));)
        for (; t; t = next) {
            next = t->next;
            free(t);
        }
    for (size_t at = 0; (state = map_next(&q->states, &at));)
        free(state);
    for (size_t i = 0; i < QUEUE_LANES; i++) {
        for (size_t at = 0; (s = map_next(&q->segments[i], &at));)
            free(s);
        map_done(&q->segments[i]);
    }
    map_done(&q->living);
    map_done(&q->dead);
    map_done(&q->states);
    heap_done(&q->due);
    heap_done(&q->unclaimed);
}

uint64_t queue_message_weight(const struct queue_message *m)
{
    return QUEUE_WEIGHT_SMALL + (m->external ? 0 : m->size);
}

struct queue_message *queue_find(const struct queue *q, uint64_t id) { return map_get_u64(&q->living, id); }

struct queue_message *queue_next(const struct queue *q, size_t *at)
{
    while (*at / CHUNK_MESSAGES < q->chunk_count) {
        struct queue_message *m = &q->chunks[*at / CHUNK_MESSAGES]->messages[*at % CHUNK_MESSAGES];

        ++*at;
        if (m->id)
            return m;
    }
    return NULL;
}

static struct queue_message *of_due(struct heap_item *i)
{
    return i ? (struct queue_message *)(void *)((char *)i - offsetof(struct queue_message, due)) : NULL;
}

struct queue_message *queue_due(const struct queue *q, uint64_t now_ms)
{
    struct heap_item *first = heap_first(&q->due);

    return first && first->key <= now_ms ? of_due(first) : NULL;
}

uint64_t queue_next_due_ms(const struct queue *q)
{
    struct heap_item *first = heap_first(&q->due);

    return first ? first->key : UINT64_MAX;
}

struct queue_message *queue_oldest_unclaimed(const struct queue *q)
{
    struct heap_item *i = heap_first(&q->unclaimed);

    return i ? (struct queue_message *)(void *)((char *)i - offsetof(struct queue_message, unclaimed)) : NULL;
}

/* When something is to be done about a message, whatever it is; a message of which nothing is left to do is due at
 * once, so that it gets its FINISHED record. */
static uint64_t due_ms(const struct queue *q, const struct queue_message *m)
{
    const struct queue_times *t = &q->times;
    uint64_t                  due = m->pending ? m->next_ms : UINT64_MAX;

    if (m->waiting && m->since_ms + t->expire < due)
        due = m->since_ms + t->expire;
    if (m->waiting && t->delay_notice && !(m->flags & PROGRESS_DELAY_TOLD) && m->since_ms + t->delay_notice < due)
        due = m->since_ms + t->delay_notice;
    if (m->unclaimed_count && m->since_ms + t->unclaimed_keep < due)
        due = m->since_ms + t->unclaimed_keep;
    if (!m->pending && !m->waiting && !m->unclaimed_count)
        due = 0;
    return due > m->not_before_ms ? due : m->not_before_ms;
}

static bool reschedule(struct queue *q, struct queue_message *m)
{
    if (!m->unclaimed_count || m->busy)
        heap_remove(&q->unclaimed, &m->unclaimed);
    else if (!heap_put(&q->unclaimed, &m->unclaimed, m->id))
        return false;
    if (m->busy || !m->home.seq || (m->flags & PROGRESS_HELD)) {
        heap_remove(&q->due, &m->due);
        return true;
    }
    return heap_put(&q->due, &m->due, due_ms(q, m));
}

bool queue_set_busy(struct queue *q, struct queue_message *m, bool busy)
{
    m->busy = busy;
    return reschedule(q, m);
}

bool queue_delay(struct queue *q, struct queue_message *m, uint64_t until_ms)
{
    m->not_before_ms = until_ms;
    return reschedule(q, m);
}

/* Takes a message out of the sums, before it changes, and puts it in again afterwards. */
static void account(struct queue *q, const struct queue_message *m, bool in)
{
    uint64_t one = in ? 1 : UINT64_MAX, size = in ? m->size : 0 - m->size; /* modulo 2^64: adds or takes */

    if (!m->home.seq)
        return;
    q->messages += one;
    q->octets += size;
    if (m->unclaimed_count) {
        q->unclaimed_messages += one;
        q->unclaimed_octets += size;
    }
}

static struct queue_message *message_new(struct queue *q, uint64_t id)
{
    struct queue_message *m;

    if ((!q->unused && !chunk_add(q)) || !map_put_u64(&q->living, id, q->unused))
        return NULL;
    m = q->unused;
    q->unused = m->unused;
    *m = (struct queue_message){.id = id, .since_ms = message_id_time_ms(id), .replayed = q->replaying};
    return m;
}

static struct queue_extra *extra_of(struct queue_message *m)
{
    if (!m->extra)
        m->extra = calloc(1, sizeof *m->extra);
    return m->extra;
}

static bool add_copy(struct queue_message *m, struct queue_place place)
{
    struct queue_extra *x = extra_of(m);
    struct queue_place *copies = x ? realloc(x->copies, (x->copy_count + 1) * sizeof *copies) : NULL;

    if (!copies)
        return false;
    x->copies = copies;
    copies[x->copy_count++] = place;
    return true;
}

static bool place_is_newer(struct queue_place a, struct queue_place b)
{
    return a.seq != b.seq ? a.seq > b.seq : a.offset > b.offset;
}

/* A further record of a message that has one: compaction moved it. */
static enum queue_applied apply_copy(struct queue *q, struct queue_message *m, struct queue_place place)
{
    bool moves = place.lane == 0 && (m->home.lane != 0 || place_is_newer(place, m->home));

    if (place.lane == m->home.lane && place.lane != 0)
        return QUEUE_REFUSED; /* a front does not write a message twice: the first stands */
    if (!add_copy(m, moves ? m->home : place))
        return QUEUE_NO_MEMORY;
    if (moves) {
        queue_unpin(q, m->home, queue_message_weight(m));
        queue_pin(q, place, queue_message_weight(m));
        m->home = place;
    }
    return QUEUE_APPLIED;
}

static enum queue_applied apply_message(struct queue *q, struct queue_place place, const struct record_brief *b,
                                        struct queue_message **ret_message)
{
    struct queue_tombstone *dead;
    struct queue_message   *m;
    bool                    is_new;

    if (place.lane != 0 && (message_id_lane(b->id) != place.lane || b->message.class == CLASS_OURSELVES))
        return QUEUE_REFUSED;
    if (message_id_lane(b->id) == 0 && b->id > q->newest_id_lane0)
        q->newest_id_lane0 = b->id;
    dead = map_get_u64(&q->dead, b->id);
    if (dead)
        return queue_bury(q, b->id, dead->finished_seq, place) ? QUEUE_APPLIED : QUEUE_NO_MEMORY;
    m = queue_find(q, b->id);
    if (m && m->home.seq)
        return apply_copy(q, m, place);
    is_new = !m;
    if (is_new && !(m = message_new(q, b->id)))
        return QUEUE_NO_MEMORY;
    m->home = place;
    m->size = b->message.size;
    m->external = b->message.external;
    m->class = b->message.class;
    if (m->recipient_count < b->message.recipients) { /* no progress yet, or none that fits */
        m->recipient_count = b->message.recipients;
        m->pending = m->recipient_count;
        m->waiting = m->unclaimed_count = 0;
    }
    queue_pin(q, place, queue_message_weight(m));
    account(q, m, true);
    if (!reschedule(q, m))
        return QUEUE_NO_MEMORY;
    if (ret_message && is_new)
        *ret_message = m;
    return QUEUE_APPLIED;
}

/* The entry that a record about a message belongs to; in replay it may come before the message. */
static struct queue_message *entry_for(struct queue *q, uint64_t id, bool *ret_no_memory)
{
    struct queue_message *m = queue_find(q, id);

    *ret_no_memory = false;
    if (m || !q->replaying || map_get_u64(&q->dead, id))
        return m;
    m = message_new(q, id);
    *ret_no_memory = !m;
    return m;
}

static enum queue_applied apply_progress(struct queue *q, struct queue_place place, const struct record_brief *b)
{
    bool                  no_memory;
    struct queue_message *m = entry_for(q, b->id, &no_memory);

    if (!m)
        return no_memory ? QUEUE_NO_MEMORY : QUEUE_REFUSED;
    if (b->progress.recipients < m->recipient_count)
        return QUEUE_REFUSED;
    account(q, m, false);
    if (m->progress.seq)
        queue_unpin(q, m->progress, QUEUE_WEIGHT_SMALL);
    queue_pin(q, place, QUEUE_WEIGHT_SMALL);
    m->progress = place;
    m->attempts = b->progress.attempts;
    m->flags = b->progress.flags;
    m->next_ms = b->progress.next_ms;
    m->since_ms = b->progress.since_ms ? b->progress.since_ms : message_id_time_ms(b->id);
    m->recipient_count = b->progress.recipients;
    m->pending = b->progress.pending;
    m->waiting = b->progress.waiting;
    m->unclaimed_count = b->progress.unclaimed;
    if (m->unclaimed_count && b->progress.last_ms > q->newest_unclaimed_ms)
        q->newest_unclaimed_ms = b->progress.last_ms;
    account(q, m, true);
    return reschedule(q, m) ? QUEUE_APPLIED : QUEUE_NO_MEMORY;
}

static enum queue_applied apply_expansion(struct queue *q, struct queue_place place, const struct record_brief *b)
{
    bool                    no_memory;
    struct queue_message   *m = entry_for(q, b->id, &no_memory);
    struct queue_extra     *x;
    struct queue_expansion *grown;

    if (!m)
        return no_memory ? QUEUE_NO_MEMORY : QUEUE_REFUSED;
    x = extra_of(m);
    if (!x)
        return QUEUE_NO_MEMORY;
    for (uint32_t i = 0; i < x->expansion_count; i++)
        if (x->expansions[i].first == b->expansion.first) {
            queue_unpin(q, x->expansions[i].place, QUEUE_WEIGHT_SMALL);
            queue_pin(q, place, QUEUE_WEIGHT_SMALL);
            x->expansions[i].place = place;
            return QUEUE_APPLIED;
        }
    grown = realloc(x->expansions, (x->expansion_count + 1) * sizeof *grown);
    if (!grown)
        return QUEUE_NO_MEMORY;
    x->expansions = grown;
    grown[x->expansion_count++] = (struct queue_expansion){place, b->expansion.first};
    queue_pin(q, place, QUEUE_WEIGHT_SMALL);
    return QUEUE_APPLIED;
}

static void forget(struct queue *q, struct queue_message *m)
{
    account(q, m, false);
    if (m->home.seq)
        queue_unpin(q, m->home, queue_message_weight(m));
    if (m->progress.seq)
        queue_unpin(q, m->progress, QUEUE_WEIGHT_SMALL);
    for (uint32_t i = 0; m->extra && i < m->extra->expansion_count; i++)
        queue_unpin(q, m->extra->expansions[i].place, QUEUE_WEIGHT_SMALL);
    heap_remove(&q->due, &m->due);
    heap_remove(&q->unclaimed, &m->unclaimed);
    map_remove_u64(&q->living, m->id);
    message_free(q, m);
}

static enum queue_applied apply_finished(struct queue *q, struct queue_place place, uint64_t id)
{
    struct queue_message   *m;
    struct queue_tombstone *t;

    if (message_id_lane(id) == 0 && id > q->newest_id_lane0)
        q->newest_id_lane0 = id;
    t = map_get_u64(&q->dead, id);
    if (t) { /* compaction moved the record */
        for (; t; t = t->next) {
            queue_unpin(q, (struct queue_place){.seq = t->finished_seq}, QUEUE_WEIGHT_SMALL);
            queue_pin(q, place, QUEUE_WEIGHT_SMALL);
            t->finished_seq = place.seq;
        }
        return QUEUE_APPLIED;
    }
    m = queue_find(q, id);
    if (!m && !q->replaying)
        return QUEUE_APPLIED; /* all copies are gone already: nothing needs this record */
    if (!queue_bury(q, id, place.seq, m ? m->home : (struct queue_place){0}))
        return QUEUE_NO_MEMORY;
    for (uint32_t i = 0; m && m->extra && i < m->extra->copy_count; i++) {
        struct queue_place copy = m->extra->copies[i];

        if (map_get_u64(&q->segments[copy.lane], copy.seq) && !queue_bury(q, id, place.seq, copy))
            return QUEUE_NO_MEMORY;
    }
    if (m)
        forget(q, m);
    return QUEUE_APPLIED;
}

static enum queue_applied apply_state(struct queue *q, struct queue_place place, struct str name, struct str value)
{
    struct queue_state *state, *old;
    char               *text;

    state = malloc(sizeof *state + name.len + value.len);
    if (!state)
        return QUEUE_NO_MEMORY;
    text = (char *)(state + 1);
    memcpy(text, name.data, name.len);
    if (value.len)
        memcpy(text + name.len, value.data, value.len);
    *state = (struct queue_state){place, str_of(text + name.len, value.len), str_of(text, name.len)};
    old = map_remove(&q->states, name);
    if (!map_put(&q->states, state->name, state)) {
        free(state);
        return QUEUE_NO_MEMORY;
    }
    queue_pin(q, place, QUEUE_WEIGHT_SMALL);
    if (old)
        queue_unpin(q, old->place, QUEUE_WEIGHT_SMALL);
    free(old);
    return QUEUE_APPLIED;
}

struct str queue_state_value(const struct queue *q, struct str name)
{
    const struct queue_state *state = map_get(&q->states, name);

    return state ? state->value : STR_NONE;
}

enum queue_applied queue_apply_brief(struct queue *q, struct queue_place place, const struct record_brief *b,
                                     struct queue_message **ret_message)
{
    struct queue_segment *s = queue_segment_get(q, place.lane, place.seq);

    if (ret_message)
        *ret_message = NULL;
    if (!s)
        return place.lane >= QUEUE_LANES ? QUEUE_REFUSED : QUEUE_NO_MEMORY;
    if (place.lane != 0 && b->type != RECORD_MESSAGE)
        return QUEUE_REFUSED;
    s->weight += QUEUE_WEIGHT_SMALL + (b->type == RECORD_MESSAGE ? b->message.octets : 0);
    switch (b->type) {
    case RECORD_MESSAGE:
        return apply_message(q, place, b, ret_message);
    case RECORD_PROGRESS:
        return apply_progress(q, place, b);
    case RECORD_EXPANSION:
        return apply_expansion(q, place, b);
    case RECORD_FINISHED:
        return apply_finished(q, place, b->id);
    case RECORD_STATE:
        return apply_state(q, place, b->state.name, b->state.value);
    }
    return QUEUE_REFUSED;
}

enum queue_applied queue_apply(struct queue *q, struct queue_place place, uint8_t type, struct str payload,
                               struct arena *scratch, struct queue_message **ret_message)
{
    struct record_brief b;

    if (!record_brief_of(type, payload, scratch, &b)) {
        if (ret_message)
            *ret_message = NULL;
        return QUEUE_REFUSED;
    }
    return queue_apply_brief(q, place, &b, ret_message);
}

void queue_replayed(struct queue *q)
{
    struct queue_message   *m;
    struct queue_tombstone *t;

    q->replaying = false;
    for (size_t at = 0; (m = queue_next(q, &at));)
        if (!m->home.seq)
            forget(q, m);
    for (size_t at = 0; (t = map_next(&q->dead, &at));)
        if (!t->has_home) {
            queue_unpin(q, (struct queue_place){.seq = t->finished_seq}, QUEUE_WEIGHT_SMALL);
            map_remove_u64(&q->dead, t->id);
            free(t);
        }
}
