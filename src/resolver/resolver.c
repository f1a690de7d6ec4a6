/* resolver.c: see resolver.h. Whoever asks may fall into wrong hands: what he can do here is ask for names, as many at
 * once as RESOLVER_OPEN_MAX. Equal questions of several askers are one question to the library. */
#include "resolver/resolver.h"
#include "role/counters.h"
#include "role/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct resolver {
    struct io_loop *loop;
    struct io_dns  *dns;
    struct list     askers;
    struct buf      out;
};

struct asker {
    struct list      link;
    struct resolver *resolver;
    struct io_ipc   *channel;
    struct list      questions;
    size_t           open;
};

struct question {
    struct list             link;
    struct asker           *asker;
    struct io_dns_question *dns;
    uint32_t                tag;
};

static void asker_free(struct asker *a)
{
    struct list *link;

    while ((link = list_first(&a->questions))) {
        struct question *q = LIST_ITEM(link, struct question, link);

        io_dns_cancel(q->dns);
        list_remove(&q->link);
        free(q);
    }
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

static void answered(const struct dns_answer *answer, void *arg)
{
    struct question *q = arg;
    struct asker    *a = q->asker;
    uint32_t         tag = q->tag;

    count(COUNTER_lookups_total, 1);
    if (answer->outcome == DNS_FAILED || answer->outcome == DNS_BOGUS)
        count(COUNTER_lookups_failed_total, 1);
    list_remove(&q->link);
    a->open--;
    free(q);
    send_answer(a, tag, answer);
}

static void on_message(void *arg, struct str data, int fd)
{
    const struct dns_answer too_many = {.outcome = DNS_FAILED, .why = "too many questions at once"};
    const struct dns_answer no_memory = {.outcome = DNS_FAILED, .why = "out of memory"};
    struct asker           *a = arg;
    struct lookup_query     query;
    struct question        *q;

    if (fd >= 0)
        close(fd);
    if (!lookup_query_get(data, &query))
        return;
    if (a->open >= RESOLVER_OPEN_MAX) {
        send_answer(a, query.tag, &too_many);
        return;
    }
    q = calloc(1, sizeof *q);
    if (q) {
        q->asker = a;
        q->tag = query.tag;
        q->dns = io_dns_ask(a->resolver->dns, query.name, query.type, answered, q);
    }
    if (!q || !q->dns) {
        free(q);
        send_answer(a, query.tag, &no_memory);
        return;
    }
    list_push(&a->questions, &q->link);
    a->open++;
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
    a->channel = io_ipc_new(r->loop, fd, &ops, a, err);
    if (!a->channel) {
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
    r->dns = io_dns_new(loop, options, err);
    if (r->dns)
        return r;
    free(r);
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
    io_dns_free(r->dns);
    buf_done(&r->out);
    free(r);
}
