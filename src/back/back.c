/* back.c: the role that delivers. It opens its own lane, replays all lanes into the queue, and from then on follows
 * them, attempts what is due, and records what became of it.
 *
 * One thread decides everything; what blocks (reading a message, writing into a mailbox, syncing a lane) runs on work
 * threads for it. Threads of its own for each delivery were rejected: the queue would need locks, and the disks do not
 * get faster by it. */
#include "back/back.h"
#include "back/contact.h"
#include "base/codec.h"
#include "role/log.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    SLOW_TICKS = 5,
    HOUR_TICKS = 3600,
    DELIVERY_THREADS_MAX = 16,
    SCRATCH_MEMORY = 256 << 20,
    SCRATCH_CHUNK = 64 << 10
};

static struct back back;
static unsigned    ticks;

void back_gauges(struct back *b)
{
    count_set(COUNTER_queue_messages, b->queue.messages);
    count_set(COUNTER_queue_octets, b->queue.octets);
    count_set(COUNTER_unclaimed_messages, b->queue.unclaimed_messages);
    count_set(COUNTER_unclaimed_octets, b->queue.unclaimed_octets);
}

static struct queue_message *next_due(struct back *b, uint64_t now_ms)
{
    back_carry_fill(b, now_ms);
    return queue_due(&b->queue, now_ms);
}

void back_kick(struct back *b)
{
    uint64_t              now = io_wall_ms(), next, loop_ms = io_loop_now_ms(b->loop);
    struct queue_message *m;

    back_carry_kick(b); /* what has happened is written down, come what may */
    if (b->config->queue.paused)
        return;
    /* A full disk fails every delivery, and each failure is a record: what is due waits, and costs nothing. */
    if (!b->draining && loop_ms < b->full_until_ms) {
        io_timer_start(b->due, b->full_until_ms - loop_ms, 0);
        return;
    }
    while (!b->draining && !b->store_waits && b->attempt_count < b->config->queue.deliveries && (m = next_due(b, now)))
        if (!back_attempt_start(b, m, STR_NONE))
            role_give_up("out of memory", NULL);
    next = queue_next_due_ms(&b->queue);
    if (b->draining || next == UINT64_MAX || next <= now)
        return; /* nothing, or the end of an attempt comes here again */
    next -= now;
    io_timer_start(b->due, next > 3600000 ? 3600000 : next, 0); /* the wall clock may be set meanwhile */
}

/* What carriers have is the next back's to hear; but where master has ended they end too, and who else would know? */
void back_drain_check(struct back *b)
{
    if (!b->draining || b->attempt_count || b->command_count || b->release || b->index || !back_carry_is_idle(b) ||
        !back_store_is_idle(b) || (b->role->is_orphaned && back_carry_is_out(b)))
        return;
    lane_writer_close(b->writer);
    b->writer = NULL;
    role_drained(b->role);
}

static void unclaimed_limit(struct back *b);

static void discarded(void *arg, bool ok, const char *text)
{
    (void)text;
    if (ok)
        unclaimed_limit(arg);
}

/* Beyond unclaimed.max the oldest goes first, as fast as they come: several at once, and each that went makes room for
 * the next. */
static void unclaimed_limit(struct back *b)
{
    struct queue_message *m;
    uint64_t              left = b->queue.unclaimed_octets, max = b->config->unclaimed.max;

    LIST_EACH (link, &b->attempts) {
        const struct attempt *a = LIST_ITEM(link, struct attempt, link);

        if (a->command == COMMAND_DISCARD && (m = queue_find(&b->queue, a->id)) && m->unclaimed_count)
            left -= m->size;
    }
    while (left > max && !b->draining && b->command_count < b->config->queue.deliveries &&
           (m = queue_oldest_unclaimed(&b->queue))) {
        left -= m->size;
        if (!back_command_start(b, m, &(struct back_change){.command = COMMAND_DISCARD}, discarded, b))
            return;
        log_notice(LOG_LEVEL_WARNING, "more than %llu octets are held as unclaimed: the oldest is removed",
                   (unsigned long long)max);
    }
}

static void tick(void *arg)
{
    struct back *b = arg;

    back_ask_tick(b);
    back_contact_tick(b);
    if (!b->draining) {
        if (++ticks % SLOW_TICKS == 0) {
            back_segments_tick(b);
            back_lanes_catch_up(b);
        }
        if (ticks % HOUR_TICKS == 0)
            back_orphans_remove(b);
        unclaimed_limit(b);
        back_release_tick(b);
        back_compact_tick(b);
        back_index_tick(b);
        back_digest_tick(b);
        back_kick(b);
    }
    back_drain_check(b);
}

static void again(void *arg) { back_follow(arg); }

static void due(void *arg) { back_kick(arg); }

static void jobs(void *arg) { back_jobs_kick(arg); }

static void round_end(void *arg)
{
    struct back *b = arg;

    if (!b->writer)
        return;
    back_store_round(b);
    back_gauges(b);
}

static void store_retry(void *arg)
{
    struct back *b = arg;

    b->store_waits = false;
    back_kick(b);
}

static bool timers(struct back *b, struct err *err)
{
    b->tick = io_timer_new(b->loop, tick, b);
    b->due = io_timer_new(b->loop, due, b);
    b->again = io_timer_new(b->loop, again, b);
    b->jobs = io_timer_new(b->loop, jobs, b);
    b->store_retry = io_timer_new(b->loop, store_retry, b);
    return (b->tick && b->due && b->again && b->jobs && b->store_retry) || err_set(err, ERR_LIMIT, "out of memory");
}

static bool start(struct role_context *c, struct err *err)
{
    struct back         *b = &back;
    const struct config *config = c->config;
    struct lane_options  options = {.segment_size = config->spool.segment, .reserve = config->spool.reserve};
    uint64_t             threads = config->queue.deliveries;

    *b = (struct back){.role = c, .loop = c->loop, .config = config};
    io_random(&b->seed, sizeof b->seed);
    arena_init(&b->scratch, SCRATCH_CHUNK, SCRATCH_MEMORY);
    arena_init(&b->answer_arena, SCRATCH_CHUNK, SCRATCH_MEMORY);
    queue_init(&b->queue, b->seed, config->unclaimed.keep);
    map_init(&b->questions, b->seed);
    list_init(&b->question_order);
    list_init(&b->fronts);
    list_init(&b->stores);
    list_init(&b->writing);
    list_init(&b->attempts);
    list_init(&b->orders);
    io_work_start(b->loop, (unsigned)(threads < 4                      ? 4
                                      : threads > DELIVERY_THREADS_MAX ? DELIVERY_THREADS_MAX
                                                                       : threads));
    if (!back_carry_init(b, err) || !timers(b, err))
        return false;
    b->writer = lane_writer_open(role_lane_dir(config, LANE_BACK, &b->scratch).data, &options, err);
    if (!b->writer || !back_lanes_replay(b, err))
        return false;
    b->ids = (struct message_id_source){.last = b->queue.newest_id_lane0, .lane = LANE_BACK};
    back_orphans_remove(b);
    back_gauges(b);
    io_loop_on_round(b->loop, round_end, b);
    io_timer_start(b->tick, TICK_MS, TICK_MS);
    io_timer_start(b->due, 0, 0);
    c->state = b;
    return true;
}

static void front_message(void *arg, struct str data, int fd)
{
    struct back_front *f = arg;
    struct reader      r = reader_of(data);
    uint8_t            kind = get_u8(&r);
    uint64_t           lane = get_var(&r);
    struct lane_place  until;

    if (fd >= 0)
        close(fd);
    until.seq = get_u64(&r);
    until.offset = get_u32(&r);
    if (kind == PEER_COMMITTED && reader_ended(&r) && lane == f->lane)
        back_lane_committed(f->back, f->lane, until);
    else
        log_notice(LOG_LEVEL_WARNING, "a message of the front of lane %u makes no sense", f->lane);
}

static void front_end(void *arg)
{
    struct back_front *f = arg;
    struct back       *b = f->back;

    list_remove(&f->link);
    io_ipc_free(f->channel);
    free(f);
    if (!b->draining)
        back_lanes_catch_up(b);
}

static void peer(struct role_context *c, enum role role, unsigned index, int fd)
{
    static const struct io_ipc_ops ops = {front_message, front_end};
    struct back                   *b = c->state;
    struct back_front             *f;
    struct err                     err = {0};

    if (role == ROLE_KEEPER) {
        back_keeper_attach(b, fd);
        return;
    }
    if (role == ROLE_CARRIER) {
        back_carrier_attach(b, fd);
        return;
    }
    f = role == ROLE_FRONT && index + LANE_FRONT_FIRST <= LANE_MAX ? calloc(1, sizeof *f) : NULL;
    if (!f) {
        close(fd);
        return;
    }
    f->back = b;
    f->lane = index + LANE_FRONT_FIRST;
    f->channel = io_ipc_new(b->loop, fd, &ops, f, &err);
    if (!f->channel) {
        log_notice(LOG_LEVEL_ERROR, "channel to a front: %s", err.text);
        free(f);
        return;
    }
    list_push(&b->fronts, &f->link);
    back_lane_attached(b, f->lane);
}

/* Fronts and carriers see to their channels to back. */
static unsigned lacks(const struct role_context *c)
{
    const struct back *b = c->state;

    return b->keeper ? 0 : 1u << ROLE_KEEPER;
}

static void listener(struct role_context *c, unsigned number, int fd)
{
    if (number == LISTENER_CONTROL)
        back_control_listen(c->state, fd);
    else
        close(fd);
}

static void drain(struct role_context *c, uint64_t grace_ms)
{
    struct back *b = c->state;

    (void)grace_ms; /* deliveries under way take less; the frame ends what takes longer */
    b->draining = true;
    io_timer_stop(b->due);
    io_timer_stop(b->again);
    back_carry_kick(b);
    back_contact_tick(b);
    back_jobs_kick(b); /* recipients that were not begun stay for the next start */
    back_drain_check(b);
}

const struct role_ops back_ops = {.start = start, .listener = listener, .peer = peer, .lacks = lacks, .drain = drain};
