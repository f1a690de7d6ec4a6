/* park.c: messages that wait for room, known by their ids alone. A list may name a message that waits no longer,
 * or name one twice; it is tidied before it grows, and never holds more than twice the messages that wait. Rejected:
 * links within the queue's messages, which every message would pay for. */
#include "back/back.h"

#include "base/array.h"

#include <stdlib.h>

enum { ROOM_FIRST = 64, PARK_MS = 60 * 60 * 1000 };

uint64_t park_until_ms(const struct back *b, const struct queue_message *m, uint64_t most_ms)
{
    uint64_t now = io_wall_ms(), until = now + most_ms;
    uint64_t ends[] = {
        m->since_ms + b->config->queue.expire,
        m->since_ms + b->config->queue.expire_report,
        b->config->queue.delay_notice && !(m->flags & PROGRESS_DELAY_TOLD) ? m->since_ms + b->config->queue.delay_notice
                                                                           : 0,
    };

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] > now && ends[i] < until)
            until = ends[i];
    return until;
}

static bool waits(const struct back *b, uint64_t id)
{
    const struct queue_message *m = queue_find(&b->queue, id);

    return m && m->parked;
}

static void tidy(const struct back *b, struct back_park *p)
{
    size_t kept = 0;

    qsort(p->ids + p->first, p->count, sizeof *p->ids, message_id_compare);
    for (size_t i = p->first; i < p->first + p->count; i++)
        if ((!kept || p->ids[kept - 1] != p->ids[i]) && waits(b, p->ids[i]))
            p->ids[kept++] = p->ids[i];
    p->first = 0;
    p->count = kept;
}

static void push(struct back *b, struct back_park *p, uint64_t id)
{
    if (p->first + p->count == p->room) {
        if (p->room)
            tidy(b, p);
        if (p->count >= p->room / 2 && !ARRAY_ROOM(p->ids, p->room, p->room, ROOM_FIRST))
            role_give_up("out of memory", NULL);
    }
    p->ids[p->first + p->count++] = id;
}

void park_put(struct back *b, struct back_park *p, struct queue_message *m)
{
    m->parked = true;
    push(b, p, m->id);
    if (!queue_delay(&b->queue, m, park_until_ms(b, m, PARK_MS)))
        role_give_up("out of memory", NULL);
}

void park_take(struct back *b, struct back_park *p, size_t count)
{
    while (count && p->count) {
        uint64_t              id = p->ids[p->first++];
        struct queue_message *m = queue_find(&b->queue, id);

        p->count--;
        if (!m || !m->parked)
            continue;
        m->parked = false;
        if (!queue_delay(&b->queue, m, 0))
            role_give_up("out of memory", NULL);
        count--;
    }
    if (!p->count)
        park_done(p);
}

void park_move(struct back *b, struct back_park *from, struct back_park *to)
{
    for (size_t i = from->first; i < from->first + from->count; i++)
        push(b, to, from->ids[i]);
    park_done(from);
}

void park_done(struct back_park *p)
{
    free(p->ids);
    *p = (struct back_park){.site = p->site};
}

/* Takes what is parked up as fast as attempts can begin. While few messages are out it does not wait for its turn
 * behind all that is due here. */
void back_carry_fill(struct back *b, uint64_t now_ms)
{
    size_t most = b->config->queue.remote;

    if (b->carry.own.count && b->carry.messages.used < most / 2 && back_carry_is_open(b))
        park_take(b, &b->carry.own, 1);
    while (b->carry.own.count && !queue_due(&b->queue, now_ms) && back_carry_is_open(b))
        park_take(b, &b->carry.own, 1);
}
