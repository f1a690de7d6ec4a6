#include "role/storage.h"

#include "role/counters.h"

#include <errno.h>

enum { RELAPSE_MS = 60000 };

static bool is_now(const struct storage *s, enum storage_problem problem)
{
    return s->problem == problem && s->until_ms == 0;
}

static void begin(struct storage *s, enum storage_problem problem, uint64_t now_ms)
{
    if (s->problem != problem || (s->until_ms && now_ms - s->until_ms >= RELAPSE_MS))
        s->since_ms = now_ms;
    s->problem = problem;
    s->last_ms = now_ms;
    s->until_ms = 0;
    count_set(COUNTER_storage_troubles, 1);
}

static void end(struct storage *s, uint64_t now_ms)
{
    s->until_ms = now_ms;
    count_set(COUNTER_storage_troubles, 0);
}

void storage_look(struct storage *s, const struct storage_room *room, uint64_t wanted, uint64_t now_ms)
{
    if (is_now(s, STORAGE_FAILED))
        return;
    if (room->largest < wanted) {
        s->free = room->free;
        s->reserve = room->reserve;
        s->waiting = room->waiting;
        s->largest = room->largest;
        begin(s, STORAGE_FULL, now_ms);
    } else if (is_now(s, STORAGE_FULL)) {
        end(s, now_ms);
    }
}

void storage_failed(struct storage *s, const struct err *err, uint64_t now_ms)
{
    if (err->os_error == 0 || err->os_error == ENOMEM)
        return;
    s->os_error = err->os_error;
    begin(s, STORAGE_FAILED, now_ms);
}

void storage_stored(struct storage *s, uint64_t now_ms)
{
    if (is_now(s, STORAGE_FAILED))
        end(s, now_ms);
}

void storage_reset(struct storage *s)
{
    s->problem = STORAGE_FINE;
    s->until_ms = 0;
}
