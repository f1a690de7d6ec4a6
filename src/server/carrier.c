/* carrier.c: the carrier's process. It welcomes back and puts everything back: nothing is carried yet. */
#include "server/carriage.h"
#include "server/log.h"
#include "server/role.h"

#include "io/ipc.h"

#include <unistd.h>

enum { ARENA_CHUNK = 16 << 10, ARENA_MAX = 4 << 20 };

struct carrier {
    struct io_ipc *back;
    struct arena   arena;
    struct buf     out;
};

static void say(struct carrier *r, const struct carriage_message *m)
{
    buf_clear(&r->out);
    if (r->back && carriage_put(m, &r->out))
        io_ipc_send(r->back, buf_str(&r->out), -1);
}

static void back_said(void *arg, struct str data, int fd)
{
    struct carrier         *r = arg;
    struct carriage_message m;

    if (fd >= 0)
        close(fd);
    arena_reset(&r->arena);
    if (!carriage_get(data, &r->arena, &m) || m.kind != CARRIAGE_CARRY)
        return;
    say(r, &(struct carriage_message){
               .kind = CARRIAGE_PUT_BACK,
               .carried = {.id = m.carriage.id, .number = m.carriage.number},
           });
}

static void back_gone(void *arg)
{
    struct carrier *r = arg;

    io_ipc_free(r->back);
    r->back = NULL;
}

static bool carrier_start(struct role_context *c, struct err *err)
{
    static struct carrier self; /* one role for each process */

    (void)err;
    arena_init(&self.arena, ARENA_CHUNK, ARENA_MAX);
    buf_init(&self.out, IPC_MESSAGE_MAX);
    c->state = &self;
    return true;
}

static void carrier_peer(struct role_context *c, enum role role, unsigned index, int fd)
{
    static const struct io_ipc_ops ops = {back_said, back_gone};
    struct carrier                *r = c->state;
    struct err                     err;

    (void)index;
    if (role != ROLE_BACK) {
        close(fd);
        return;
    }
    io_ipc_free(r->back);
    r->back = io_ipc_new(c->loop, fd, &ops, r, &err);
    if (!r->back)
        log_notice(LOG_LEVEL_ERROR, "channel of back: %s", err.text);
    say(r, &(struct carriage_message){.kind = CARRIAGE_WELCOME});
}

static void carrier_drain(struct role_context *c, uint64_t grace_ms)
{
    (void)grace_ms;
    role_drained(c);
}

const struct role_ops carrier_ops = {.start = carrier_start, .peer = carrier_peer, .drain = carrier_drain};
