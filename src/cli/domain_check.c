/* domain_check.c: see domain_check.h. So many domains are under way at a time; each that ends begins the next. */
#include "cli/domain_check.h"

#include "io/dns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUTE_MEMORY = 1 << 20, PROGRESS_MS = 200 };

struct run {
    const struct config        *config;
    struct domain_check *const *domains;
    size_t                      count, next, done;
    struct io_loop             *loop;
    struct io_dns              *dns;
    struct arena               *arena;
    bool                        failed; /* no memory */
    void (*progress)(size_t done, size_t count, void *arg);
    void *arg;
};

struct under_way {
    struct run          *run;
    struct domain_check *domain;
    struct arena         arena;
    struct route        *route;
    unsigned             open;
};

struct question {
    struct under_way     *of;
    struct route_question asked;
};

static bool is_our_name(struct str host, void *arg)
{
    const struct run *r = arg;

    return str_eq(host, str_from(r->config->hostname));
}

static void begin_more(struct run *r);

static void finish(struct under_way *u)
{
    const struct route_result *result = u->route ? route_result(u->route) : NULL;
    struct run                *r = u->run;
    struct domain_check       *d = u->domain;

    if (result) {
        d->outcome = result->outcome;
        snprintf(d->status, sizeof d->status, "%s", result->status ? result->status : "");
        d->reason = arena_str(r->arena, result->reason);
    }
    if (!result || !d->reason.data)
        r->failed = true;
    arena_done(&u->arena);
    free(u);
    r->done++;
}

static void answered(const struct dns_answer *answer, void *arg);

/* Asks what the route wants to know next. */
static bool ask(struct under_way *u)
{
    struct route_question asked;

    while (u->route && route_next_question(u->route, &asked)) {
        struct question *q = arena_new(&u->arena, struct question);

        if (!q)
            return false;
        *q = (struct question){u, asked};
        if (!io_dns_ask(u->run->dns, asked.name, asked.type, answered, q))
            return false;
        u->open++;
    }
    return u->route != NULL;
}

static void step(struct under_way *u)
{
    struct run *r = u->run;

    if (!ask(u))
        u->route = NULL;
    if (u->open)
        return;
    finish(u);
    begin_more(r);
}

static void answered(const struct dns_answer *answer, void *arg)
{
    struct question  *q = arg;
    struct under_way *u = q->of;

    u->open--;
    if (u->route && !route_answer(u->route, &q->asked, answer))
        u->route = NULL;
    step(u);
}

/* False: nothing was left to ask about this one, and it is done. */
static bool begin(struct run *r, struct domain_check *d)
{
    const struct route_rules rules = {.is_our_name = is_our_name, .arg = r, .seed = 1, .ipv4 = true, .ipv6 = true};
    struct under_way        *u = calloc(1, sizeof *u);

    if (!u) {
        r->failed = true;
        r->done++;
        return false;
    }
    u->run = r;
    u->domain = d;
    arena_init(&u->arena, 16 << 10, ROUTE_MEMORY);
    u->route = route_new(d->name, &rules, &u->arena);
    if (!ask(u))
        u->route = NULL;
    if (u->open)
        return true;
    finish(u);
    return false;
}

static void begin_more(struct run *r)
{
    while (r->next < r->count && r->next - r->done < DOMAIN_CHECK_AT_ONCE)
        begin(r, r->domains[r->next++]);
    if (r->done == r->count)
        io_loop_stop(r->loop);
}

static void tick(void *arg)
{
    struct run *r = arg;

    if (r->progress)
        r->progress(r->done, r->count, r->arg);
}

bool domain_check_all(const struct config *config, struct domain_check *const *domains, size_t count,
                      void (*progress)(size_t done, size_t count, void *arg), void *arg, struct arena *arena,
                      struct err *err)
{
    const struct io_dns_options options = {.server = config->dns.server, .validate = config->dns.validate};
    struct run                  r = {
                         .config = config, .domains = domains, .count = count, .arena = arena, .progress = progress, .arg = arg};
    struct io_timer *timer = NULL;
    bool             ok = false;

    if (!count)
        return true;
    r.loop = io_loop_new(err);
    if (!r.loop)
        return false;
    r.dns = io_dns_new(r.loop, &options, err);
    timer = r.dns ? io_timer_new(r.loop, tick, &r) : NULL;
    if (timer) {
        io_timer_start(timer, PROGRESS_MS, PROGRESS_MS);
        begin_more(&r);
        if (r.done < r.count)
            io_loop_run(r.loop);
        ok = !r.failed || err_set_os(err, ENOMEM, "asking the DNS");
        tick(&r);
        io_timer_free(timer);
    } else if (r.dns) {
        err_set_os(err, ENOMEM, "asking the DNS");
    }
    io_dns_free(r.dns);
    io_loop_free(r.loop);
    return ok;
}
