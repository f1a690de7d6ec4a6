/* queue.c: the messages of the queue in memory, and when each is due. apply.c: what records do to them. */
#include "queue/queue.h"

#include <stdlib.h>

enum { CHUNK_MESSAGES = 1024 };
struct queue_chunk {
    struct queue_message messages[CHUNK_MESSAGES]; /* id 0: unused */
};

void queue_init(struct queue *q, uint64_t seed, uint64_t unclaimed_keep_ms)
{
    *q = (struct queue){.unclaimed_keep_ms = unclaimed_keep_ms, .replaying = true};
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
    uint64_t due = m->pending ? m->next_ms : UINT64_MAX;

    if (m->unclaimed_count && m->since_ms + q->unclaimed_keep_ms < due)
        due = m->since_ms + q->unclaimed_keep_ms;
    if (!m->pending && !m->waiting && !m->unclaimed_count)
        due = 0;
    return due > m->not_before_ms ? due : m->not_before_ms;
}

bool queue_reschedule(struct queue *q, struct queue_message *m)
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
    return queue_reschedule(q, m);
}

bool queue_delay(struct queue *q, struct queue_message *m, uint64_t until_ms)
{
    m->not_before_ms = until_ms;
    return queue_reschedule(q, m);
}

void queue_account(struct queue *q, const struct queue_message *m, bool in)
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

struct queue_message *queue_message_new(struct queue *q, uint64_t id)
{
    struct queue_message *m;

    if ((!q->unused && !chunk_add(q)) || !map_put_u64(&q->living, id, q->unused))
        return NULL;
    m = q->unused;
    q->unused = m->unused;
    *m = (struct queue_message){
        .id = id, .since_ms = message_id_time_ms(id), .reply = {HINT_NONE, HINT_NONE}, .replayed = q->replaying};
    return m;
}

void queue_forget(struct queue *q, struct queue_message *m)
{
    queue_account(q, m, false);
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

struct str queue_state_value(const struct queue *q, struct str name)
{
    const struct queue_state *state = map_get(&q->states, name);

    return state ? state->value : STR_NONE;
}

void queue_replayed(struct queue *q)
{
    struct queue_message   *m;
    struct queue_tombstone *t;

    q->replaying = false;
    for (size_t at = 0; (m = queue_next(q, &at));)
        if (!m->home.seq)
            queue_forget(q, m);
    for (size_t at = 0; (t = map_next(&q->dead, &at));)
        if (!t->has_home) {
            queue_unpin(q, (struct queue_place){.seq = t->finished_seq}, QUEUE_WEIGHT_SMALL);
            map_remove_u64(&q->dead, t->id);
            free(t);
        }
}
