/* null_mx.c: see null_mx.h.
 *
 * One look-up serves all who ask for a domain at the same time, and its clock is theirs: who joins late waits less.
 *
 * A callback may ask again or cancel others. So those who are to be told are first put into a list of their own, and
 * the domain is in its new state before the first of them hears of it.
 *
 * Rejected: to wait as long as the DNS takes. The client waits too, and a null MX only saves work: no mail is lost by
 * taking it for one that is not. Rejected: refusing for a while (451) what could not be looked up: a broken name server
 * of theirs, or of ours, would stop mail that could go. */
#include "front/null_mx.h"

#include <assert.h>
#include <stdlib.h>

enum state { ASKED, LATE, KNOWN };

struct domain {
    struct list             link; /* in null_mx.asked or used */
    struct null_mx         *owner;
    struct list             waiting;
    struct lookup_question *lookup; /* ASKED, LATE */
    enum state              state;
    bool                    is_null;
    uint64_t                until_ms; /* ASKED: may be waited for; KNOWN: holds */
    size_t                  len;
    char                    name[];
};

struct null_mx_question {
    struct list link;
    void (*answered)(bool is_null, void *arg);
    void *arg;
};

static uint64_t now_ms(const struct null_mx *n) { return io_loop_now_ms(n->lookup.loop) + n->ahead_ms; }

void null_mx_init(struct null_mx *n, struct io_loop *loop)
{
    uint64_t seed;

    io_random(&seed, sizeof seed);
    *n = (struct null_mx){.known = 0};
    lookup_init(&n->lookup, loop);
    n->lookup.patience_ms = NULL_MX_PATIENCE_MS;
    map_init(&n->domains, seed);
    list_init(&n->asked);
    list_init(&n->used);
}

void null_mx_done(struct null_mx *n)
{
    struct domain *d;

    for (size_t at = 0; (d = map_next(&n->domains, &at));) {
        assert(list_is_empty(&d->waiting));
        free(d);
    }
    map_done(&n->domains);
    lookup_done(&n->lookup);
}

bool null_mx_attach(struct null_mx *n, int fd, struct err *err)
{
    n->failures = 0;
    return lookup_attach(&n->lookup, fd, err);
}

/* ---- domains ---- */

/* The diagram of null_mx.h. */
static void domain_change(struct domain *d, enum state to)
{
    struct null_mx *n = d->owner;

    assert(to > d->state);
    list_remove(&d->link);
    d->state = to;
    if (to == KNOWN) {
        d->lookup = NULL;
        n->open--;
        n->known++;
        list_push(&n->used, &d->link);
    }
}

static void domain_forget(struct domain *d)
{
    assert(d->state == KNOWN);
    d->owner->known--;
    list_remove(&d->link);
    map_remove(&d->owner->domains, str_of(d->name, d->len));
    free(d);
}

/* ---- who waits ---- */

static void move(struct list *from, struct list *to)
{
    struct list *link;

    list_init(to);
    while ((link = list_first(from))) {
        list_remove(link);
        list_push(to, link);
    }
}

static void tell(struct list *waiting, bool is_null)
{
    struct list *link;

    while ((link = list_first(waiting))) {
        struct null_mx_question *q = LIST_ITEM(link, struct null_mx_question, link);
        void (*answered)(bool is_null, void *arg) = q->answered;
        void *arg = q->arg;

        null_mx_cancel(q);
        answered(is_null, arg);
    }
}

static bool is_broken(const struct null_mx *n) { return n->failures >= NULL_MX_FAILURES; }

/* From the last failure on that it takes, nobody waits any more. */
static void fail(struct null_mx *n)
{
    struct list all, some;

    n->failures++;
    if (n->failures != NULL_MX_FAILURES)
        return;
    list_init(&all);
    LIST_EACH (link, &n->asked) {
        move(&LIST_ITEM(link, struct domain, link)->waiting, &some);
        while (!list_is_empty(&some)) {
            struct list *first = list_first(&some);

            list_remove(first);
            list_push(&all, first);
        }
    }
    tell(&all, false);
}

/* ---- look-ups ---- */

static uint64_t hold_ms(const struct dns_answer *a)
{
    uint64_t s = a->ttl_s < NULL_MX_TTL_MIN_S ? NULL_MX_TTL_MIN_S : a->ttl_s;

    if (a->outcome == DNS_FAILED || a->outcome == DNS_BOGUS)
        return NULL_MX_FAILED_MS;
    return (s > NULL_MX_TTL_MAX_S ? NULL_MX_TTL_MAX_S : s) * 1000;
}

static void looked_up(const struct dns_answer *a, void *arg)
{
    struct domain  *d = arg;
    struct null_mx *n = d->owner;
    bool            in_time = d->state == ASKED, is_null = dns_is_null_mx(a);
    bool            quick = now_ms(n) + NULL_MX_WAIT_MS < d->until_ms + NULL_MX_QUICK_MS;
    struct list     waiting;

    move(&d->waiting, &waiting);
    d->is_null = is_null;
    d->until_ms = now_ms(n) + hold_ms(a);
    domain_change(d, KNOWN);
    if (in_time && a->outcome != DNS_FAILED)
        n->failures = 0;
    else if (in_time && !quick)
        fail(n);
    tell(&waiting, is_null);
}

void null_mx_tick(struct null_mx *n)
{
    struct list *first, waiting;

    lookup_tick(&n->lookup);
    while ((first = list_first(&n->asked))) {
        struct domain *d = LIST_ITEM(first, struct domain, link);

        if (d->until_ms > now_ms(n))
            return;
        move(&d->waiting, &waiting);
        domain_change(d, LATE);
        fail(n);
        tell(&waiting, false);
    }
}

/* NULL: nothing is asked now. */
static struct domain *domain_ask(struct null_mx *n, struct str name)
{
    struct domain *d;

    if (!n->lookup.channel || n->open >= NULL_MX_OPEN || (is_broken(n) && n->open))
        return NULL;
    if (n->known + n->open >= NULL_MX_DOMAINS)
        domain_forget(LIST_ITEM(list_first(&n->used), struct domain, link));
    d = calloc(1, sizeof *d + name.len);
    if (!d)
        return NULL;
    d->owner = n;
    d->len = name.len;
    d->until_ms = now_ms(n) + NULL_MX_WAIT_MS;
    memcpy(d->name, name.data, name.len);
    list_init(&d->waiting);
    list_init(&d->link);
    d->lookup = lookup_ask(&n->lookup, name, DNS_MX, looked_up, d);
    if (!d->lookup || !map_put(&n->domains, str_of(d->name, d->len), d)) {
        if (d->lookup)
            lookup_cancel(d->lookup);
        free(d);
        return NULL;
    }
    list_push(&n->asked, &d->link);
    n->open++;
    return d;
}

enum null_mx_answer null_mx_ask(struct null_mx *n, struct str domain, void (*answered)(bool is_null, void *arg),
                                void *arg, struct null_mx_question **ret_question)
{
    struct domain           *d = map_get(&n->domains, domain);
    struct null_mx_question *q;

    if (d && d->state == KNOWN && d->until_ms > now_ms(n)) {
        list_remove(&d->link);
        list_push(&n->used, &d->link);
        return d->is_null ? NULL_MX_YES : NULL_MX_NO;
    }
    if (d && d->state == KNOWN) {
        domain_forget(d);
        d = NULL;
    }
    if (!d)
        d = domain_ask(n, domain);
    if (!d || d->state == LATE || is_broken(n))
        return NULL_MX_NO;
    q = malloc(sizeof *q);
    if (!q)
        return NULL_MX_NO;
    q->answered = answered;
    q->arg = arg;
    list_init(&q->link);
    list_push(&d->waiting, &q->link);
    *ret_question = q;
    return NULL_MX_LATER;
}

void null_mx_cancel(struct null_mx_question *q)
{
    list_remove(&q->link);
    free(q);
}
