/* role.c: the resolver's process: a resolver (resolver.h) with the settings of the block `dns`, for all who
 * are handed over as peers.
 *
 * The library makes its thread and its caches with the first question, so a server that never asks pays for none of
 * it. Without a network, or with nobody who answers, it runs all the same, and questions are answered DNS_FAILED.
 *
 * It can open no file once it is confined. When /etc/resolv.conf or the trust anchor is replaced (at boot the network
 * often comes later than the mail server), it ends, and the one that master starts reads them; questions that are open
 * are put to that one (lookup.h). It ends, too, when the library has got stuck for want of memory. */
#include "role/role.h"
#include "resolver/resolver.h"
#include "role/log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOK_MS = 5000 };

struct resolver_role {
    struct resolver *resolver;
    struct io_timer *timer;
    bool             was_stale; /* at the last look */
};

/* Not at the first sight of it: whoever writes it may not be done. */
static void look(void *arg)
{
    struct resolver_role *r = arg;
    const bool            is_stale = resolver_is_stale(r->resolver);

    if (resolver_is_broken(r->resolver))
        role_give_up("questions cannot be asked for want of memory or threads", NULL);
    if (is_stale && r->was_stale) {
        log_notice(LOG_LEVEL_WARNING, "resolv.conf or the trust anchor has changed; starts over to read it anew");
        log_flush();
        _exit(EXIT_FAILURE);
    }
    r->was_stale = is_stale;
}

static bool resolver_start(struct role_context *c, struct err *err)
{
    static struct resolver_role self; /* one role for each process */
    const struct io_dns_options options = {.server = c->config->dns.server, .validate = c->config->dns.validate};

    self.resolver = resolver_new(c->loop, &options, err);
    self.timer = self.resolver ? io_timer_new(c->loop, look, &self) : NULL;
    if (!self.timer)
        return self.resolver ? err_set_os(err, ENOMEM, "timer") : false;
    io_timer_start(self.timer, LOOK_MS, LOOK_MS);
    c->state = &self;
    return true;
}

static void resolver_peer(struct role_context *c, enum role role, unsigned index, int fd)
{
    struct resolver_role *r = c->state;
    struct err            err;

    if (!resolver_attach(r->resolver, fd, &err))
        log_notice(LOG_LEVEL_ERROR, "channel of %s %u: %s", role_name(role), index, err.text);
}

/* Who asks is drained before, or has a new resolver already, and asks that one anew. */
static void resolver_drain(struct role_context *c, uint64_t grace_ms)
{
    struct resolver_role *r = c->state;

    (void)grace_ms;
    if (resolver_is_broken(r->resolver)) /* the library would wait for its own end for ever */
        role_give_up("questions could not be asked", NULL);
    io_timer_free(r->timer);
    resolver_free(r->resolver);
    role_drained(c);
}

const struct role_ops resolver_ops = {.start = resolver_start, .peer = resolver_peer, .drain = resolver_drain};
