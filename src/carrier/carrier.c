/* carrier.c: the role: what is made at the start, who the peers are, the clock, and how it ends. */
#include "carrier/carrier.h"
#include "role/log.h"
#include "role/role.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,
    MESSAGE_CHUNK = 16 << 10, /* holds what any message needs */
    MESSAGE_MEMORY = 256 << 10,
    FILES_SPARE = 64, /* descriptors that are neither connections nor content */
    FILES_LEAST = 256,
};

uint64_t carrier_now_ms(const struct carrier *c) { return io_loop_now_ms(c->loop); }

static void tick(void *arg)
{
    struct carrier *c = arg;

    lookup_tick(&c->lookup);
    routings_tick(c);
    carrier_sites_tick(c);
}

static void wake(void *arg) { (void)arg; /* the end of the round does it: carrier_pump */ }

/* ---- the end ---- */

/* What nobody has recorded waits, also for a back that is being replaced: it must not be sent again. */
void carrier_check_drained(struct carrier *c)
{
    if (!c->draining || c->is_drained || !list_is_empty(&c->sessions) || c->carries.used)
        return;
    c->is_drained = true;
    c->drained(c->drained_arg);
}

static void end_sessions(struct carrier *c, bool at_once)
{
    for (struct list *link = c->sessions.next, *next = link->next; link != &c->sessions; link = next, next = link->next)
        session_drain(LIST_ITEM(link, struct session, link), at_once);
}

static void grace_over(void *arg)
{
    struct carrier *c = arg;

    end_sessions(c, true);
    if (c->is_drained)
        return;
    c->is_drained = true;
    c->drained(c->drained_arg);
}

void carrier_drain(struct carrier *c, uint64_t grace_ms, void (*drained)(void *arg), void *arg)
{
    struct carry *y;

    c->draining = true;
    c->drained = drained;
    c->drained_arg = arg;
    for (size_t at = 0; (y = map_next(&c->carries, &at));)
        if (y->state == CARRY_WAITING || y->state == CARRY_ROUTING)
            carry_put_back(y, NULL);
    end_sessions(c, false);
    io_timer_start(c->grace, grace_ms, 0);
    carrier_check_drained(c);
}

/* ---- the whole ---- */

/* Half of the descriptors may be connections, a quarter those that take long to come about, the rest content. */
static void limits_init(struct carrier *c)
{
    struct rlimit files = {.rlim_cur = FILES_LEAST};
    uint32_t      left, most = (uint32_t)c->config->queue.remote;

    getrlimit(RLIMIT_NOFILE, &files);
    left = files.rlim_cur > 1 << 20 ? 1 << 20 : (uint32_t)files.rlim_cur;
    left = left > FILES_LEAST ? left - FILES_SPARE : FILES_LEAST - FILES_SPARE;
    c->files_most = left / 4;
    sites_init(&c->sites, c->next_number, most < left / 2 ? most : left / 2, left / 4);
}

/* To refuse what there is no memory for needs none. */
static bool memory_init(struct carrier *c)
{
    bool ok = buf_reserve(&c->scratch, IPC_MESSAGE_MAX) && arena_alloc(&c->message_arena, 1);

    arena_reset(&c->message_arena);
    return ok;
}

static bool timers_init(struct carrier *c)
{
    c->tick = io_timer_new(c->loop, tick, c);
    c->wake = io_timer_new(c->loop, wake, c);
    c->grace = io_timer_new(c->loop, grace_over, c);
    if (!c->tick || !c->wake || !c->grace)
        return false;
    io_timer_start(c->tick, TICK_MS, TICK_MS);
    return true;
}

struct carrier *carrier_new(struct io_loop *loop, const struct config *config, struct err *err)
{
    struct carrier *c = calloc(1, sizeof *c);
    uint64_t        seed;

    if (!c) {
        err_set(err, ERR_LIMIT, "out of memory");
        return NULL;
    }
    io_random(&seed, sizeof seed);
    *c = (struct carrier){.config = config, .loop = loop, .next_number = seed >> 1};
    map_init(&c->carries, seed);
    map_init(&c->routing_map, seed);
    map_init(&c->site_map, seed);
    list_init(&c->routings);
    list_init(&c->parkings);
    list_init(&c->sessions);
    list_init(&c->idle);
    list_init(&c->goodbyes);
    list_init(&c->unsaid);
    buf_init(&c->scratch, IPC_MESSAGE_MAX + 1024);
    arena_init(&c->message_arena, MESSAGE_CHUNK, MESSAGE_MEMORY);
    lookup_init(&c->lookup, loop);
    limits_init(c);
    carrier_sites_init(c);
    io_loop_on_round(loop, carrier_pump, c);
    if (memory_init(c) && timers_init(c))
        return c;
    err_set(err, ERR_LIMIT, "out of memory");
    carrier_free(c);
    return NULL;
}

void carrier_free(struct carrier *c)
{
    struct carry *y;

    io_ipc_free(c->back);
    c->back = NULL;
    c->draining = c->is_drained = true;
    while (!list_is_empty(&c->sessions))
        session_free(LIST_ITEM(list_first(&c->sessions), struct session, link));
    while (!list_is_empty(&c->goodbyes))
        conn_free(LIST_ITEM(list_first(&c->goodbyes), struct conn, link));
    for (size_t at = 0; (y = map_next(&c->carries, &at));)
        carry_free(y);
    routings_done(c);
    carrier_sites_done(c);
    lookup_done(&c->lookup);
    map_done(&c->carries);
    map_done(&c->routing_map);
    io_timer_free(c->tick);
    io_timer_free(c->wake);
    io_timer_free(c->grace);
    buf_done(&c->scratch);
    arena_done(&c->message_arena);
    free(c);
}

bool carrier_attach_back(struct carrier *c, int fd, struct err *err)
{
    static const struct io_ipc_ops ops = {carrier_back_said, carrier_back_gone};

    if (c->back)
        carrier_back_gone(c);
    c->back = io_ipc_new(c->loop, fd, &ops, c, err);
    if (!c->back)
        return false;
    carrier_welcome(c);
    return true;
}

bool carrier_attach_resolver(struct carrier *c, int fd, struct err *err) { return lookup_attach(&c->lookup, fd, err); }

/* ---- the role ---- */

static bool role_start(struct role_context *r, struct err *err)
{
    r->state = carrier_new(r->loop, r->config, err);
    return r->state != NULL;
}

static void role_peer(struct role_context *r, enum role role, unsigned index, int fd)
{
    struct err err;
    bool       attached;

    if (role != ROLE_BACK && role != ROLE_RESOLVER) {
        close(fd);
        return;
    }
    attached =
        role == ROLE_BACK ? carrier_attach_back(r->state, fd, &err) : carrier_attach_resolver(r->state, fd, &err);
    if (!attached)
        log_notice(LOG_LEVEL_ERROR, "channel of %s %u: %s", role_name(role), index, err.text);
}

static unsigned role_lacks(const struct role_context *r)
{
    const struct carrier *c = r->state;

    return (c->back ? 0 : 1u << ROLE_BACK) | (c->lookup.channel ? 0 : 1u << ROLE_RESOLVER);
}

static void role_is_drained(void *arg) { role_drained(arg); }

static void role_drain(struct role_context *r, uint64_t grace_ms)
{
    carrier_drain(r->state, grace_ms, role_is_drained, r);
}

const struct role_ops carrier_ops = {.start = role_start, .peer = role_peer, .lacks = role_lacks, .drain = role_drain};
