/* front.c: the role: what is opened at the start, who the peers are, how it ends, and the clock of all sessions.
 *
 * The clock is a wheel of 1024 ticks of 100 ms with lazy places: a session that hears from its client only writes down
 * its new deadline, and is put into a later slot when the clock comes by. A timer for each session was rejected: with
 * every command it would have to be moved in a heap.
 *
 * Draining: what has no transaction under way is told 421 and closed, the rest may finish within the grace time; the
 * role is drained when the last session, the last batch and the last work thread have ended. */
#include "front/front.h"
#include "role/log.h"

#include "io/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

uint64_t front_now_ms(const struct front *f) { return io_loop_now_ms(f->loop); }

/* ---- the clock ---- */

static void place(struct front_session *s)
{
    struct front *f = s->front;
    uint64_t      last = f->tick_ms + (FRONT_WHEEL - 1) * FRONT_TICK_MS;

    s->slot_ms = s->deadline_ms < f->tick_ms ? f->tick_ms : s->deadline_ms < last ? s->deadline_ms : last;
    list_remove(&s->wheel);
    list_push(&f->wheel[s->slot_ms / FRONT_TICK_MS % FRONT_WHEEL], &s->wheel);
}

void front_clock_set(struct front_session *s, uint64_t deadline_ms)
{
    s->deadline_ms = deadline_ms;
    if (list_is_empty(&s->wheel) || deadline_ms < s->slot_ms)
        place(s);
}

static void look(struct list *slot, uint64_t now_ms)
{
    struct list now, *link;

    /* A list of its own: who is put off may land in this slot again. */
    list_init(&now);
    while ((link = list_first(slot))) {
        list_remove(link);
        list_push(&now, link);
    }
    while ((link = list_first(&now))) {
        struct front_session *s = LIST_ITEM(link, struct front_session, wheel);

        place(s);
        if (s->deadline_ms <= now_ms)
            front_session_due(s);
    }
}

static void tick(void *arg)
{
    struct front *f = arg;
    uint64_t      now_ms = front_now_ms(f);

    if (now_ms - f->tick_ms > (uint64_t)FRONT_WHEEL * FRONT_TICK_MS)
        f->tick_ms = now_ms - (uint64_t)FRONT_WHEEL * FRONT_TICK_MS; /* the machine slept: one round sees them all */
    while (f->tick_ms + FRONT_TICK_MS <= now_ms) {
        struct list *slot = &f->wheel[f->tick_ms / FRONT_TICK_MS % FRONT_WHEEL];

        f->tick_ms += FRONT_TICK_MS;
        look(slot, now_ms);
    }
    if (now_ms - f->room_ms >= FRONT_ROOM_MS) {
        f->room_ms = now_ms;
        front_look_for_room(f);
    }
    front_ask_overdue(f);
    null_mx_tick(&f->null_mx);
}

/* ---- the role ---- */

static struct front *front_new(struct role_context *c)
{
    struct front *f = calloc(1, sizeof *f);
    uint64_t      seed;

    if (!f)
        return NULL;
    io_random(&seed, sizeof seed);
    f->role = c;
    f->config = c->config;
    f->loop = c->loop;
    list_init(&f->listeners);
    list_init(&f->sessions);
    list_init(&f->greetings);
    list_init(&f->ask_order);
    list_init(&f->holders);
    list_init(&f->starved);
    list_init(&f->pending);
    list_init(&f->free_messages);
    for (size_t i = 0; i < FRONT_WHEEL; i++)
        list_init(&f->wheel[i]);
    map_init(&f->asks, seed);
    null_mx_init(&f->null_mx, c->loop);
    arena_init(&f->arena, 4096, 1 << 20);
    arena_init(&f->own, 1024, 1 << 16);
    buf_init(&f->scratch, (size_t)c->config->limits.recipients * 1024 + (1 << 20));
    f->ids.lane = (uint8_t)c->lane;
    pthread_mutex_init(&f->create_lock, NULL);
    f->disclosure.vrfy = (enum vrfy_mode)c->config->disclosure.vrfy;
    f->disclosure.strangers = (enum strangers_mode)c->config->disclosure.strangers;
    f->disclosure.rcpt_reply = c->config->disclosure.rcpt_reply == CONFIG_RCPT_252 ? 252 : 250;
    return f;
}

static void grace_over(void *arg)
{
    const struct smtp_reply reply = FRONT_SHUTDOWN;
    struct front           *f = arg;

    for (struct list *link = f->sessions.next, *next = link->next; link != &f->sessions;
         link = next, next = link->next) {
        struct front_session *s = LIST_ITEM(link, struct front_session, link);

        if (!s->message || s->message->step != MESSAGE_COMMITTING)
            front_session_end(s, &reply, "shutdown");
    }
}

static void round_ended(void *arg)
{
    struct front *f = arg;

    if (f->drained)
        return;
    front_message_wake(f);
    front_store_round(f);
}

/* An id that the lane holds already must not be given again, also where the clock was set back since. Messages end in
 * another order than they begin, so the newest record alone does not tell. */
static void found(void *arg, const struct lane_record *record)
{
    struct front *f = arg;
    uint64_t      id;

    if (record->type == RECORD_MESSAGE && record_message_id(record->payload, &id) &&
        message_id_lane(id) == f->ids.lane && id > f->ids.last)
        f->ids.last = id;
}

static bool front_start(struct role_context *c, struct err *err)
{
    struct lane_options options = {
        .segment_size = c->config->spool.segment, .reserve = c->config->spool.reserve, .found = found};
    struct front *f;

    assert(c->lane >= LANE_FRONT_FIRST && c->lane <= LANE_MAX);
    f = front_new(c);
    if (!f)
        return err_set_os(err, ENOMEM, "front");
    c->state = f;
    io_work_start(f->loop, FRONT_THREADS);
    f->tick = io_timer_new(f->loop, tick, f);
    f->grace = io_timer_new(f->loop, grace_over, f);
    f->greeting = io_timer_new(f->loop, front_greetings_due, f);
    f->lane_dir = role_lane_dir(c->config, c->lane, &f->own);
    if (!f->tick || !f->grace || !f->greeting || !f->lane_dir.data)
        return err_set_os(err, ENOMEM, "front");
    options.found_arg = f;
    f->lane = lane_writer_open(f->lane_dir.data, &options, err);
    if (!f->lane)
        return false;
    if (lane_marked(f->lane) > f->ids.last)
        f->ids.last = lane_marked(f->lane);
    f->committed = lane_writer_committed(f->lane);
    f->has_committed = f->committed.seq != 0;
    clients_clear(c->counters, c->slot);
    count_set(COUNTER_sessions_open, 0);
    f->tick_ms = front_now_ms(f) / FRONT_TICK_MS * FRONT_TICK_MS;
    io_timer_start(f->tick, FRONT_TICK_MS, FRONT_TICK_MS);
    io_loop_on_round(f->loop, round_ended, f);
    return true;
}

static bool fill_metrics(struct buf *out, void *arg) { return counters_prometheus(arg, out); }

static void front_listener(struct role_context *c, unsigned number, int fd)
{
    struct front *f = c->state;
    struct err    err;

    if (number != FRONT_LISTEN_METRICS) {
        if (!front_listen(f, number, fd, &err)) /* master holds the socket: whoever connects would wait for ever */
            role_give_up("listening socket", &err);
        return;
    }
    io_metrics_stop(f->metrics);
    f->metrics = io_metrics_start(fd, fill_metrics, c->counters, &err);
    if (!f->metrics)
        log_notice(LOG_LEVEL_ERROR, "%s", err.text);
}

/* Back says nothing to a front yet. */
static void back_said(void *arg, struct str data, int fd)
{
    (void)arg;
    (void)data;
    if (fd >= 0)
        close(fd);
}

static void back_gone(void *arg)
{
    struct front *f = arg;

    io_ipc_free(f->back);
    f->back = NULL;
}

static void front_peer(struct role_context *c, enum role peer, unsigned index, int fd)
{
    static const struct io_ipc_ops back_ops_of_front = {back_said, back_gone};
    struct front                  *f = c->state;
    struct err                     err;

    (void)index;
    if (peer == ROLE_KEEPER) {
        front_ask_peer(f, fd);
    } else if (peer == ROLE_BACK) {
        io_ipc_free(f->back);
        f->back = io_ipc_new(f->loop, fd, &back_ops_of_front, f, &err);
        if (f->back)
            front_store_committed(f);
        else
            log_notice(LOG_LEVEL_ERROR, "%s", err.text);
    } else if (peer == ROLE_RESOLVER) {
        if (!null_mx_attach(&f->null_mx, fd, &err))
            log_notice(LOG_LEVEL_ERROR, "%s", err.text);
    } else {
        close(fd);
    }
}

static unsigned front_lacks(const struct role_context *c)
{
    const struct front *f = c->state;

    return (f->keeper ? 0 : 1u << ROLE_KEEPER) | (f->back ? 0 : 1u << ROLE_BACK) |
           (f->null_mx.lookup.channel ? 0 : 1u << ROLE_RESOLVER);
}

void front_may_be_drained(struct front *f)
{
    if (!f->draining || f->drained || !list_is_empty(&f->sessions) || !list_is_empty(&f->pending) || f->batch ||
        f->working)
        return;
    f->drained = true;
    io_timer_stop(f->tick);
    io_metrics_stop(f->metrics);
    f->metrics = NULL;
    lane_writer_close(f->lane);
    f->lane = NULL;
    role_drained(f->role);
}

static void front_drain(struct role_context *c, uint64_t grace_ms)
{
    struct front *f = c->state;

    f->draining = true;
    front_unlisten(f);
    io_timer_start(f->grace, grace_ms, 0);
    for (struct list *link = f->sessions.next, *next = link->next; link != &f->sessions; link = next, next = link->next)
        front_session_drain(LIST_ITEM(link, struct front_session, link));
    front_may_be_drained(f);
}

const struct role_ops front_ops = {
    .start = front_start,
    .listener = front_listener,
    .peer = front_peer,
    .lacks = front_lacks,
    .drain = front_drain,
};
