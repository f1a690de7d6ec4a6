/* search.c: which messages an order means, and listings of them.
 *
 * Nothing that grows with the queue is done in one go on the loop's thread: messages are gathered in slices, and sorted
 * and read on a work thread. A listing goes out as fast as its reader takes it. */
#include "back/order.h"

#include "base/array.h"

#include <stdlib.h>

enum { GATHER = 16384 /* messages of the queue looked at in one turn */ };

void order_ids_add(struct order_ids *ids, uint64_t id)
{
    if (!ARRAY_ROOM(ids->at, ids->count, ids->room, 64))
        role_give_up("out of memory", NULL);
    ids->at[ids->count++] = id;
}

static void sort(void *arg)
{
    struct order *o = arg;

    qsort(o->ids.at, o->ids.count, sizeof *o->ids.at, message_id_compare);
}

static void work(struct order *o)
{
    order_go(o, ORDER_WORKS);
    if (o->change.command != COMMAND_ATTEMPT)
        order_change_gathered(o);
    else
        o->step(o);
}

static void sorted(void *arg)
{
    struct order *o = arg;

    if (o->state != ORDER_SORTS) {
        order_returned(o);
        return;
    }
    o->running--; /* first: what waits for nothing but this is not looked at again */
    work(o);
}

static void gather_by_id(struct order *o)
{
    const struct back_filter *f = &o->filter;

    for (size_t i = 0; i < f->id_count; i++) { /* they are sorted */
        const struct queue_message *m = queue_find(&o->back->queue, f->ids[i]);

        if (m && (i == 0 || f->ids[i] != f->ids[i - 1]) && back_filter_may_match(f, m))
            order_ids_add(&o->ids, m->id);
    }
}

/* False: there is more. */
static bool gather_some(struct order *o)
{
    const struct queue_message *m = NULL;

    for (size_t turn = GATHER; turn; turn--) {
        m = queue_next(&o->back->queue, &o->gathered);
        if (!m)
            return true;
        if (back_filter_may_match(&o->filter, m))
            order_ids_add(&o->ids, m->id);
    }
    return false;
}

void order_gather(struct order *o)
{
    if (o->filter.by_id) {
        gather_by_id(o);
        work(o);
    } else if (!gather_some(o)) {
        order_again(o, 0);
    } else if (!o->ids.count) {
        work(o);
    } else {
        order_go(o, ORDER_SORTS);
        o->running++;
        if (!io_work(o->back->loop, sort, sorted, o))
            role_give_up("out of memory", NULL);
    }
}

bool order_scan(struct order *o)
{
    size_t taken;

    if (back_scan_is_running(o->scan))
        return true;
    taken = back_scan_run(o->scan, o->ids.count ? o->ids.at + o->next : NULL, o->ids.count - o->next);
    o->next += taken;
    o->running += taken > 0;
    return taken > 0;
}

/* ---- listings ---- */

void order_listed(struct order *o)
{
    const uint64_t *ids;

    o->done += back_scan_found(o->scan, &ids);
    io_stream_write(o->stream, back_scan_rows(o->scan));
}

void order_list_step(struct order *o)
{
    if (io_stream_unsent(o->stream) < ORDER_UNSENT_MAX && !order_scan(o)) /* else it is called when there is room */
        order_end_ok(o);
}

void order_show_step(struct order *o)
{
    if (!o->ids.count)
        order_end_error(o, "no such message in the queue: it was delivered, removed, or never there; see tacit trace");
    else
        order_list_step(o);
}
