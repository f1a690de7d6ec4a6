/* Questions to the DNS by way of the resolver: messages between two processes, here in one loop, and a DNS server in
 * the same loop. */
#include "resolver/resolver.h"
#include "resolver/share.h"
#include "role/lookup.h"

#include "../io/dns_server.h"
#include "../io/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- messages ---- */

static void messages_survive(void **state)
{
    const struct str        records[] = {STR("\0\12\2mx\0"), STR(""), STR("x")};
    const struct dns_answer all[] = {
        {.outcome = DNS_FOUND, .secure = true, .ttl_s = 300, .records = records, .count = 3},
        {.outcome = DNS_NO_DATA, .cname = true},
        {.outcome = DNS_NO_NAME, .secure = true},
        {.outcome = DNS_FAILED, .why = "SERVFAIL"},
        {.outcome = DNS_BOGUS, .why = "signature expired"},
    };
    struct lookup_query q = {7, DNS_TLSA, STR("_25._tcp.mx.example.test")}, q_got;
    struct dns_answer   got;
    struct arena        arena;
    struct buf          b;
    uint32_t            tag;

    (void)state;
    buf_init(&b, IPC_MESSAGE_MAX);
    arena_init(&arena, 1024, 64 << 10);
    assert_true(lookup_query_put(&q, &b));
    assert_true(lookup_query_get(buf_str(&b), &q_got));
    assert_true(q_got.tag == 7 && q_got.type == DNS_TLSA && str_eq(q_got.name, q.name));
    for (size_t len = 0; len < b.len; len++)
        assert_false(lookup_query_get(str_part(buf_str(&b), 0, len), &q_got));
    b.data[4] = 99; /* a type nobody asks for */
    assert_false(lookup_query_get(buf_str(&b), &q_got));

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_clear(&b);
        assert_true(lookup_answer_put(9, &all[i], &b));
        assert_true(lookup_answer_get(buf_str(&b), &arena, &tag, &got));
        assert_int_equal(tag, 9);
        assert_true(got.outcome == all[i].outcome && got.secure == all[i].secure && got.cname == all[i].cname &&
                    got.ttl_s == all[i].ttl_s && got.count == all[i].count);
        assert_true(str_eq(str_from(got.why), str_from(all[i].why)));
        for (size_t k = 0; k < got.count; k++)
            assert_true(str_eq(got.records[k], records[k]));
        for (size_t len = 0; len < b.len; len++)
            assert_false(lookup_answer_get(str_part(buf_str(&b), 0, len), &arena, &tag, &got));
        arena_reset(&arena);
    }
    arena_done(&arena);
    buf_done(&b);
}

static void long_answers_fit(void **state)
{
    static char             text[65535];
    static struct str       records[2000];
    const struct dns_answer a = {.outcome = DNS_FOUND, .records = records, .count = 2000};
    struct dns_answer       got;
    struct arena            arena;
    struct buf              b;
    uint32_t                tag;

    (void)state;
    buf_init(&b, IPC_MESSAGE_MAX);
    arena_init(&arena, 1024, 64 << 10);
    for (size_t len = 1; len <= sizeof text; len = len * 2 + 1) {
        for (size_t i = 0; i < 2000; i++)
            records[i] = str_of(text, len);
        buf_clear(&b);
        assert_true(lookup_answer_put(1, &a, &b));
        assert_true(lookup_answer_get(buf_str(&b), &arena, &tag, &got));
        assert_int_equal(got.outcome, len == sizeof text ? DNS_FAILED : DNS_FOUND);
        assert_true(got.count <= LOOKUP_RECORDS);
        arena_reset(&arena);
    }
    arena_done(&arena);
    buf_done(&b);
}

/* ---- asking ---- */

struct world {
    struct io_loop   *loop;
    struct dns_server server;
    struct resolver  *resolver;
    struct lookup     lookup;
};

static void connect_them(struct world *w)
{
    struct err err;
    int        fds[2];

    assert_true(io_ipc_pair(fds, &err));
    assert_true(resolver_attach(w->resolver, fds[0], &err));
    assert_true(lookup_attach(&w->lookup, fds[1], &err));
}

static struct resolver *resolver_for(struct world *w)
{
    struct resolver *r;
    struct err       err;
    char             server[32];

    snprintf(server, sizeof server, "127.0.0.1:%u", w->server.port);
    r = resolver_new(w->loop, &(struct io_dns_options){.server = server}, &err);
    assert_non_null(r);
    return r;
}

static void world_init(struct world *w)
{
    struct err err;

    w->loop = io_loop_new(&err);
    dns_server_init(&w->server, w->loop);
    w->resolver = resolver_for(w);
    lookup_init(&w->lookup, w->loop);
    connect_them(w);
}

static void world_done(struct world *w)
{
    lookup_done(&w->lookup);
    resolver_free(w->resolver);
    dns_server_done(&w->server);
    io_loop_free(w->loop);
}

struct asked {
    int              count;
    enum dns_outcome outcome;
    size_t           records;
    char             why[64];
};

static void answered(const struct dns_answer *a, void *arg)
{
    struct asked *k = arg;

    k->count++;
    k->outcome = a->outcome;
    k->records = a->count;
    snprintf(k->why, sizeof k->why, "%s", a->why ? a->why : "");
}

static struct lookup_question *ask(struct world *w, const char *name, struct asked *k)
{
    struct lookup_question *q;

    *k = (struct asked){0};
    q = lookup_ask(&w->lookup, str_from(name), DNS_MX, answered, k);
    assert_non_null(q);
    assert_int_equal(k->count, 0);
    return q;
}

static void answers_come_back(void **state)
{
    struct world w;
    struct asked k[4];

    (void)state;
    world_init(&w);
    ask(&w, "mx.example.test", &k[0]);
    ask(&w, "no.example.test", &k[1]);
    lookup_cancel(ask(&w, "mx2.example.test", &k[2]));
    ask(&w, "broken.example.test", &k[3]);
    run_until(w.loop, &k[0].count, 1);
    run_until(w.loop, &k[1].count, 1);
    run_until(w.loop, &k[3].count, 1);
    assert_true(k[0].count == 1 && k[0].outcome == DNS_FOUND && k[0].records == 1);
    assert_true(k[1].count == 1 && k[1].outcome == DNS_NO_NAME);
    assert_int_equal(k[2].count, 0);
    assert_true(k[3].count == 1 && k[3].outcome == DNS_FAILED);
    assert_non_null(strstr(k[3].why, "SERVFAIL"));
    world_done(&w);
}

static void a_new_resolver_is_asked_anew(void **state)
{
    struct world w;
    struct asked open, later;

    (void)state;
    world_init(&w);
    ask(&w, "silent.example.test", &open);
    run_for(w.loop, 20);
    resolver_free(w.resolver);
    run_for(w.loop, 20);
    assert_null(w.lookup.channel);
    ask(&w, "mx.example.test", &later); /* there is none now */
    run_for(w.loop, 20);
    assert_int_equal(later.count, 0);
    w.resolver = resolver_for(&w);
    connect_them(&w);
    run_until(w.loop, &later.count, 1);
    assert_int_equal(later.outcome, DNS_FOUND);
    assert_int_equal(open.count, 0);
    assert_false(list_is_empty(&w.lookup.questions));
    world_done(&w); /* with a question that is open */
    assert_int_equal(open.count, 0);
}

static void silence_has_an_end(void **state)
{
    struct lookup_question *q;
    struct world            w;
    struct asked            k;

    (void)state;
    world_init(&w);
    resolver_free(w.resolver);
    w.resolver = NULL;
    q = ask(&w, "mx.example.test", &k);
    lookup_tick(&w.lookup);
    assert_int_equal(k.count, 0);
    lookup_cancel(q);
    w.lookup.patience_ms = 0;
    ask(&w, "mx.example.test", &k);
    lookup_tick(&w.lookup);
    assert_true(k.count == 1 && k.outcome == DNS_FAILED);
    assert_string_equal(k.why, "the resolver does not answer");
    world_done(&w);
}

/* Thousands about a domain that does not answer: what finds no room is told so, and another domain is not held up. */
static void a_silent_domain(void **state)
{
    enum { ROOM = SHARE_GROUP_OPEN + SHARE_WAITING / 2, MORE = 10 };
    static struct asked k[ROOM + MORE], other;
    struct world        w;
    unsigned            refused = 0;

    (void)state;
    world_init(&w);
    for (size_t i = 0; i < ROOM + MORE; i++) {
        char name[64];

        snprintf(name, sizeof name, "silent%zu.example.test", i);
        ask(&w, name, &k[i]);
    }
    ask(&w, "mx.elsewhere.test", &other);
    run_until(w.loop, &other.count, 1);
    assert_int_equal(other.outcome, DNS_FOUND);
    for (size_t i = 0; i < ROOM + MORE; i++)
        refused +=
            k[i].count == 1 && strcmp(k[i].why, "too many questions about names of this domain wait already") == 0;
    assert_int_equal(refused, MORE);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_survive),   cmocka_unit_test(long_answers_fit),
        cmocka_unit_test(answers_come_back),  cmocka_unit_test(a_new_resolver_is_asked_anew),
        cmocka_unit_test(silence_has_an_end), cmocka_unit_test(a_silent_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
