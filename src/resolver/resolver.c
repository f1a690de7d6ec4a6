/* resolver.c: see resolver.h. Whoever asks may fall into wrong hands: what he can do here is ask for names, as many at
 * once as share.h lets each asker have. So fronts and the carrier, too, do not wait for each other. Equal questions of
 * several askers are one question to the library. */
#include "resolver/resolver.h"
#include "resolver/share.h"
#include "role/counters.h"
#include "role/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { TICK_MS = 250 };

struct resolver {
    struct io_loop  *loop;
    struct io_dns   *dns;
    struct io_timer *timer;
    struct list      askers;
    uint64_t         seed;
    struct buf       out;
};

struct asker {
    struct list      link;
    struct resolver *resolver;
    struct io_ipc   *channel;
    struct list      questions;
    struct share     share;
};

struct question {
    struct list             link;
    struct share_question   share;
    struct asker           *asker;
    struct io_dns_question *dns; /* NULL: it waits */
    uint32_t                tag;
    enum dns_type           type;
    size_t                  len;
    char                    name[];
};

static void question_free(struct question *q, bool told)
{
    struct asker *a = q->asker;

    share_end(&a->share, &q->share, told, io_loop_now_ms(a->resolver->loop));
    list_remove(&q->link);
    free(q);
}

static void asker_free(struct asker *a)
{
    struct list *link;

    while ((link = list_first(&a->questions))) {
        struct question *q = LIST_ITEM(link, struct question, link);

        if (q->dns)
            io_dns_cancel(q->dns);
        question_free(q, false);
    }
    share_done(&a->share);
    io_ipc_free(a->channel);
    list_remove(&a->link);
    free(a);
}

static void on_end(void *arg) { asker_free(arg); }

static void send_answer(struct asker *a, uint32_t tag, const struct dns_answer *answer)
{
    struct buf *out = &a->resolver->out;

    buf_clear(out);
    if (lookup_answer_put(tag, answer, out))
        io_ipc_send(a->channel, buf_str(out), -1); /* where it fails the asker's end follows */
}

/* The question is gone afterwards. */
static void answer(struct question *q, const struct dns_answer *answer)
{
    struct asker  *a = q->asker;
    const uint32_t tag = q->tag;
    const bool     told = answer->outcome != DNS_FAILED;

    count(COUNTER_lookups_total, 1);
    if (!told || answer->outcome == DNS_BOGUS)
        count(COUNTER_lookups_failed_total, 1);
    question_free(q, told);
    send_answer(a, tag, answer);
}

static void fail(struct question *q, const char *why)
{
    answer(q, &(struct dns_answer){.outcome = DNS_FAILED, .why = why});
}

static void pump(struct asker *a);

static void answered(const struct dns_answer *said, void *arg)
{
    struct question *q = arg;
    struct asker    *a = q->asker;

    answer(q, said);
    pump(a);
}

/* Asks what may be asked now. */
static void pump(struct asker *a)
{
    struct share_question *next;

    while ((next = share_next(&a->share, io_loop_now_ms(a->resolver->loop)))) {
        struct question *q = LIST_ITEM(next, struct question, share);

        q->dns = io_dns_ask(a->resolver->dns, str_of(q->name, q->len), q->type, answered, q);
        if (!q->dns)
            fail(q, "out of memory");
    }
}

static void tick(void *arg)
{
    struct resolver *r = arg;
    const uint64_t   now_ms = io_loop_now_ms(r->loop);

    LIST_EACH (link, &r->askers) {
        struct asker          *a = LIST_ITEM(link, struct asker, link);
        struct share_question *late;

        share_tick(&a->share, now_ms);
        while ((late = share_late(&a->share, now_ms)))
            fail(LIST_ITEM(late, struct question, share), "too many questions are open that nobody answers");
        pump(a);
    }
}

static void on_message(void *arg, struct str data, int fd)
{
    struct asker       *a = arg;
    struct lookup_query query;
    struct question    *q;
    const char         *why = "out of memory";

    if (fd >= 0)
        close(fd);
    if (!lookup_query_get(data, &query))
        return;
    q = calloc(1, sizeof *q + query.name.len);
    if (q)
        why = share_add(&a->share, &q->share, query.name, io_loop_now_ms(a->resolver->loop));
    if (why) {
        free(q);
        send_answer(a, query.tag, &(struct dns_answer){.outcome = DNS_FAILED, .why = why});
        return;
    }
    q->asker = a;
    q->tag = query.tag;
    q->type = query.type;
    q->len = query.name.len;
    memcpy(q->name, query.name.data, q->len);
    list_init(&q->link);
    list_push(&a->questions, &q->link);
    pump(a);
}

bool resolver_attach(struct resolver *r, int fd, struct err *err)
{
    static const struct io_ipc_ops ops = {on_message, on_end};
    struct asker                  *a = calloc(1, sizeof *a);

    if (!a) {
        close(fd);
        return err_set_os(err, ENOMEM, "resolver");
    }
    a->resolver = r;
    list_init(&a->questions);
    list_init(&a->link);
    share_init(&a->share, r->seed);
    a->channel = io_ipc_new(r->loop, fd, &ops, a, err);
    if (!a->channel) {
        share_done(&a->share);
        free(a);
        return false;
    }
    list_push(&r->askers, &a->link);
    return true;
}

struct resolver *resolver_new(struct io_loop *loop, const struct io_dns_options *options, struct err *err)
{
    struct resolver *r = calloc(1, sizeof *r);

    if (!r) {
        err_set_os(err, ENOMEM, "resolver");
        return NULL;
    }
    r->loop = loop;
    list_init(&r->askers);
    buf_init(&r->out, IPC_MESSAGE_MAX);
    io_random(&r->seed, sizeof r->seed);
    r->timer = io_timer_new(loop, tick, r);
    r->dns = r->timer ? io_dns_new(loop, options, err) : NULL;
    if (r->dns) {
        io_timer_start(r->timer, TICK_MS, TICK_MS);
        return r;
    }
    if (!r->timer)
        err_set_os(err, ENOMEM, "timer");
    resolver_free(r);
    return NULL;
}

bool resolver_is_stale(const struct resolver *r) { return io_dns_is_stale(r->dns); }

bool resolver_is_broken(const struct resolver *r) { return io_dns_is_broken(r->dns); }

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    while (!list_is_empty(&r->askers))
        asker_free(LIST_ITEM(list_first(&r->askers), struct asker, link));
    io_timer_free(r->timer);
    io_dns_free(r->dns);
    buf_done(&r->out);
    free(r);
}
