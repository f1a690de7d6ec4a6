/* probe_dns.c: see probe.h. A loop of its own asks all questions side by side: those of routing (queue/route.h), and
 * the records by which a domain says who may send for it and how mail to it is protected. */
#include "cli/probe.h"

#include "io/dns.h"

#include <stdlib.h>

enum { EXTRA = 8 };

struct asking {
    struct io_loop   *loop;
    struct io_dns    *dns;
    struct arena     *arena;
    struct probe_dns *result;
    struct route     *route;
    unsigned          open;
    bool              failed; /* no memory */
    uint16_t          port;
    bool              tlsa_asked;
};

struct question {
    struct asking        *of;
    struct route_question asked;
    struct str           *text;   /* TXT: where the record goes that begins with */
    struct str            prefix; /* this */
    unsigned             *times;
};

static bool is_ours(struct str host, void *arg)
{
    (void)host;
    (void)arg;
    return false;
}

static void text_answered(const struct dns_answer *answer, void *arg)
{
    struct question *q = arg;
    struct asking   *a = q->of;

    for (size_t i = 0; answer->outcome == DNS_FOUND && i < answer->count; i++) {
        struct buf text;

        buf_init(&text, 64 << 10);
        if (dns_txt_get(answer->records[i], &text) && str_starts_nocase(buf_str(&text), q->prefix)) {
            if (!q->text->len)
                *q->text = arena_str(a->arena, buf_str(&text));
            if (q->times)
                ++*q->times;
        }
        buf_done(&text);
    }
    if (--a->open == 0)
        io_loop_stop(a->loop);
}

static void tlsa_answered(const struct dns_answer *answer, void *arg)
{
    struct asking *a = arg;

    a->result->tlsa_count = answer->outcome == DNS_FOUND ? answer->count : 0;
    a->result->tlsa_secure = answer->secure;
    if (--a->open == 0)
        io_loop_stop(a->loop);
}

static bool ask_text(struct asking *a, struct str name, struct str prefix, struct str *text, unsigned *times)
{
    struct question *q = arena_new(a->arena, struct question);

    if (!q || !name.data)
        return false;
    *q = (struct question){.of = a, .text = text, .prefix = prefix, .times = times};
    if (!io_dns_ask(a->dns, name, DNS_TXT, text_answered, q))
        return false;
    a->open++;
    return true;
}

static void route_step(struct asking *a);

static void route_answered(const struct dns_answer *answer, void *arg)
{
    struct question *q = arg;
    struct asking   *a = q->of;

    if (!route_answer(a->route, &q->asked, answer))
        a->failed = true;
    else
        route_step(a);
    if (--a->open == 0)
        io_loop_stop(a->loop);
}

static void route_done(struct asking *a, const struct route_result *r)
{
    struct probe_dns *d = a->result;

    d->outcome = r->outcome;
    d->status = str_from(r->status);
    d->reason = r->reason;
    d->targets = r->targets;
    d->target_count = r->target_count;
    d->implicit = r->implicit;
    d->odd_null = r->odd_null;
    d->aliases = r->aliases;
    d->secure = r->target_count > 0;
    for (size_t i = 0; i < r->target_count; i++) {
        d->has_ipv6 |= r->targets[i].address.is_ipv6;
        d->secure &= r->targets[i].secure;
    }
    if (!a->port || !r->target_count || a->tlsa_asked)
        return;
    a->tlsa_asked = true;
    if (io_dns_ask(a->dns, arena_printf(a->arena, "_%u._tcp.%.*s", a->port, STR_ARG(r->targets[0].host)), DNS_TLSA,
                   tlsa_answered, a))
        a->open++;
}

static void route_step(struct asking *a)
{
    struct route_question asked;

    while (route_next_question(a->route, &asked)) {
        struct question *q = arena_new(a->arena, struct question);

        if (!q) {
            a->failed = true;
            return;
        }
        *q = (struct question){.of = a, .asked = asked};
        if (!io_dns_ask(a->dns, asked.name, asked.type, route_answered, q)) {
            a->failed = true;
            return;
        }
        a->open++;
    }
    if (route_result(a->route))
        route_done(a, route_result(a->route));
}

static bool with_dns(struct asking *a, const char *server, bool validate,
                     void (*begin)(struct asking *a, struct str name), struct str name, struct err *err)
{
    const struct io_dns_options options = {.server = server, .validate = validate};
    bool                        ok;

    a->loop = io_loop_new(err);
    if (!a->loop)
        return false;
    a->dns = io_dns_new(a->loop, &options, err);
    ok = a->dns != NULL;
    if (ok) {
        begin(a, name);
        if (a->open)
            io_loop_run(a->loop);
        ok = !a->failed || err_set(err, ERR_LIMIT, "out of memory");
    }
    io_dns_free(a->dns);
    io_loop_free(a->loop);
    return ok;
}

static void begin_domain(struct asking *a, struct str domain)
{
    const struct route_rules rules = {.is_our_name = is_ours, .seed = 1, .ipv4 = true, .ipv6 = true};
    struct probe_dns        *d = a->result;

    a->route = route_new(domain, &rules, a->arena);
    a->failed = !a->route;
    if (a->failed)
        return;
    route_step(a);
    if (domain.len && domain.data[0] == '[')
        return;
    a->failed |=
        !ask_text(a, domain, STR("v=spf1"), &d->spf, &d->spf_count) ||
        !ask_text(a, arena_printf(a->arena, "_dmarc.%.*s", STR_ARG(domain)), STR("v=DMARC1"), &d->dmarc, NULL) ||
        !ask_text(a, arena_printf(a->arena, "_mta-sts.%.*s", STR_ARG(domain)), STR("v=STSv1"), &d->mta_sts, NULL) ||
        !ask_text(a, arena_printf(a->arena, "_smtp._tls.%.*s", STR_ARG(domain)), STR("v=TLSRPTv1"), &d->tls_rpt, NULL);
}

bool probe_dns(struct str domain, uint16_t port, const char *server, bool validate, struct arena *arena,
               struct probe_dns *ret, struct err *err)
{
    struct asking a = {.arena = arena, .result = ret, .port = port};

    *ret = (struct probe_dns){.outcome = ROUTE_WAITS};
    return with_dns(&a, server, validate, begin_domain, domain, err);
}

/* ---- one host ---- */

struct host_asking {
    struct asking        base; /* first */
    struct route_target *targets;
    size_t               count;
    bool                 soft;
    struct str           host;
};

static void host_answered(const struct dns_answer *answer, void *arg)
{
    struct question    *q = arg;
    struct host_asking *h = (struct host_asking *)q->of;

    h->soft |= answer->outcome == DNS_FAILED || answer->outcome == DNS_BOGUS;
    for (size_t i = 0; answer->outcome == DNS_FOUND && i < answer->count && h->count < ROUTE_TARGETS; i++)
        if (dns_address_get(answer->records[i], q->asked.type, &h->targets[h->count].address)) {
            h->targets[h->count].host = h->host;
            h->targets[h->count++].secure = answer->secure;
        }
    if (--h->base.open == 0)
        io_loop_stop(h->base.loop);
}

static void begin_host(struct asking *a, struct str host)
{
    static const enum dns_type types[] = {DNS_AAAA, DNS_A};

    for (size_t i = 0; i < 2; i++) {
        struct question *q = arena_new(a->arena, struct question);

        if (!q) {
            a->failed = true;
            return;
        }
        *q = (struct question){.of = a, .asked = {.name = host, .type = types[i]}};
        if (io_dns_ask(a->dns, host, types[i], host_answered, q))
            a->open++;
        else
            a->failed = true;
    }
}

bool probe_dns_host(struct str host, const char *server, bool validate, struct arena *arena, struct probe_dns *ret,
                    struct err *err)
{
    struct host_asking h = {.base = {.arena = arena, .result = ret}, .host = host};

    *ret = (struct probe_dns){.outcome = ROUTE_WAITS};
    h.targets = arena_alloc(arena, ROUTE_TARGETS * sizeof *h.targets);
    if (!h.targets)
        return err_set(err, ERR_LIMIT, "out of memory");
    if (!with_dns(&h.base, server, validate, begin_host, host, err))
        return false;
    ret->targets = h.targets;
    ret->target_count = h.count;
    ret->outcome = h.count ? ROUTE_FOUND : h.soft ? ROUTE_WAITS : ROUTE_FAILS;
    ret->status = h.count ? STR_NONE : h.soft ? STR("4.4.3") : STR("5.4.4");
    ret->reason = h.count  ? STR_NONE
                  : h.soft ? STR("the DNS gave no answer for the host")
                           : STR("the host has no address");
    for (size_t i = 0; i < h.count; i++)
        ret->has_ipv6 |= h.targets[i].address.is_ipv6;
    return true;
}
