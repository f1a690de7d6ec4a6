/* apply.c: what records do to the messages of the queue.
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
    if (is_new && !(m = queue_message_new(q, b->id)))
        return QUEUE_NO_MEMORY;
    m->home = place;
    m->size = b->message.size;
    m->external = b->message.external;
    m->class = b->message.class;
    m->from = b->message.from;
    m->to = b->message.to;
    if (m->recipient_count < b->message.recipients) { /* no progress yet, or none that fits */
        m->recipient_count = b->message.recipients;
        m->pending = m->recipient_count;
        m->waiting = m->unclaimed_count = 0;
    }
    queue_pin(q, place, queue_message_weight(m));
    queue_account(q, m, true);
    if (!queue_reschedule(q, m))
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
    m = queue_message_new(q, id);
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
    queue_account(q, m, false);
    if (m->progress.seq)
        queue_unpin(q, m->progress, QUEUE_WEIGHT_SMALL);
    queue_pin(q, place, QUEUE_WEIGHT_SMALL);
    m->progress = place;
    m->attempts = b->progress.attempts;
    m->flags = b->progress.flags;
    m->reply = b->progress.reply;
    m->next_ms = b->progress.next_ms;
    m->since_ms = b->progress.since_ms ? b->progress.since_ms : message_id_time_ms(b->id);
    m->recipient_count = b->progress.recipients;
    m->pending = b->progress.pending;
    m->waiting = b->progress.waiting;
    m->unclaimed_count = b->progress.unclaimed;
    if (m->unclaimed_count && b->progress.last_ms > q->newest_unclaimed_ms)
        q->newest_unclaimed_ms = b->progress.last_ms;
    queue_account(q, m, true);
    return queue_reschedule(q, m) ? QUEUE_APPLIED : QUEUE_NO_MEMORY;
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
        queue_forget(q, m);
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
