/* resolver_role.c: the resolver's process: a resolver (resolver.h) with the settings of the block `dns`, for all who
 * are handed over as peers.
 *
 * The library makes its thread and its caches with the first question, so a server that never asks pays for none of
 * it. Without a network, or with nobody who answers, it runs all the same, and questions are answered DNS_FAILED. */
#include "server/log.h"
#include "server/resolver.h"
#include "server/role.h"

static bool resolver_start(struct role_context *c, struct err *err)
{
    const struct io_dns_options options = {.server = c->config->dns.server, .validate = c->config->dns.validate};

    c->state = resolver_new(c->loop, &options, err);
    return c->state != NULL;
}

static void resolver_peer(struct role_context *c, enum role role, unsigned index, int fd)
{
    struct err err;

    if (!resolver_attach(c->state, fd, &err))
        log_notice(LOG_LEVEL_ERROR, "channel of %s %u: %s", role_name(role), index, err.text);
}

/* Who asks is drained before, or has a new resolver already, and asks that one anew. */
static void resolver_drain(struct role_context *c, uint64_t grace_ms)
{
    (void)grace_ms;
    resolver_free(c->state);
    c->state = NULL;
    role_drained(c);
}

const struct role_ops resolver_ops = {.start = resolver_start, .peer = resolver_peer, .drain = resolver_drain};
