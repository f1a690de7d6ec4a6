/* Null MX for fronts, the resolver played by hand at the other end of the channel. */
#include "front/null_mx.h"

#include "../io/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { QUESTIONS = 5000 };

struct world {
    struct io_loop *loop;
    struct io_ipc  *resolver;
    struct null_mx  n;
    struct arena    arena;
    uint32_t        tags[QUESTIONS];
    struct str      names[QUESTIONS];
    int             asked;
};

static void on_question(void *arg, struct str data, int fd)
{
    struct world       *w = arg;
    struct lookup_query q;

    assert_int_equal(fd, -1);
    assert_true(lookup_query_get(data, &q) && q.type == DNS_MX && w->asked < QUESTIONS);
    w->tags[w->asked] = q.tag;
    w->names[w->asked++] = arena_str(&w->arena, q.name);
}

static void on_end(void *arg)
{
    struct world *w = arg;

    io_ipc_free(w->resolver);
    w->resolver = NULL;
}

static void attach(struct world *w)
{
    static const struct io_ipc_ops ops = {on_question, on_end};
    struct err                     err;
    int                            fds[2];

    assert_true(io_ipc_pair(fds, &err));
    w->resolver = io_ipc_new(w->loop, fds[0], &ops, w, &err);
    assert_non_null(w->resolver);
    assert_true(null_mx_attach(&w->n, fds[1], &err));
}

static void world_init(struct world *w)
{
    struct err err;

    memset(w, 0, sizeof *w);
    w->loop = io_loop_new(&err);
    arena_init(&w->arena, 1024, 1 << 20);
    null_mx_init(&w->n, w->loop);
    attach(w);
}

static void world_done(struct world *w)
{
    null_mx_done(&w->n);
    io_ipc_free(w->resolver);
    arena_done(&w->arena);
    io_loop_free(w->loop);
}

/* The resolver's answer to the question `number`. */
static void say(struct world *w, int number, enum dns_outcome outcome, struct str record, uint32_t ttl_s)
{
    struct dns_answer a = {.outcome = outcome, .ttl_s = ttl_s, .records = &record, .count = outcome == DNS_FOUND};
    struct buf        b;

    run_until(w->loop, &w->asked, number + 1);
    assert_true(w->asked > number);
    buf_init(&b, 4096);
    assert_true(lookup_answer_put(w->tags[number], &a, &b));
    assert_true(io_ipc_send(w->resolver, buf_str(&b), -1));
    buf_done(&b);
}

#define NULL_RECORD STR("\0\0\0")
#define MX_RECORD STR("\0\12\2mx\4test\0")

struct asker {
    struct null_mx_question *question;
    int                      told;
    bool                     is_null;
};

static void on_told(bool is_null, void *arg)
{
    struct asker *a = arg;

    a->told++;
    a->is_null = is_null;
}

static enum null_mx_answer ask(struct world *w, const char *domain, struct asker *a)
{
    *a = (struct asker){0};
    return null_mx_ask(&w->n, str_from(domain), on_told, a, &a->question);
}

static void pass(struct world *w, uint64_t ms)
{
    w->n.ahead_ms += ms;
    null_mx_tick(&w->n);
}

static void an_answer_serves_all_and_is_kept(void **state)
{
    struct world w;
    struct asker a, b, c;

    (void)state;
    world_init(&w);
    assert_int_equal(ask(&w, "null.test", &a), NULL_MX_LATER);
    assert_int_equal(ask(&w, "null.test", &b), NULL_MX_LATER);
    assert_int_equal(ask(&w, "null.test", &c), NULL_MX_LATER);
    null_mx_cancel(b.question);
    say(&w, 0, DNS_FOUND, NULL_RECORD, 60);
    run_until(w.loop, &a.told, 1);
    assert_true(a.told == 1 && a.is_null && c.told == 1 && c.is_null);
    assert_int_equal(b.told, 0);
    assert_int_equal(ask(&w, "null.test", &a), NULL_MX_YES);

    assert_int_equal(ask(&w, "mail.test", &a), NULL_MX_LATER);
    say(&w, 1, DNS_FOUND, MX_RECORD, 60);
    run_until(w.loop, &a.told, 1);
    assert_false(a.is_null);
    assert_int_equal(ask(&w, "mail.test", &a), NULL_MX_NO);
    assert_int_equal(w.asked, 2);
    world_done(&w);
}

static void an_answer_holds_for_its_time(void **state)
{
    static const struct {
        enum dns_outcome outcome;
        uint32_t         ttl_s;
        uint64_t         holds_ms;
    } cases[] = {{DNS_FOUND, 0, NULL_MX_TTL_MIN_S * 1000},
                 {DNS_FOUND, 100, 100 * 1000},
                 {DNS_FOUND, UINT32_MAX, NULL_MX_TTL_MAX_S * 1000},
                 {DNS_NO_NAME, 40, 40 * 1000},
                 {DNS_BOGUS, 100, NULL_MX_FAILED_MS},
                 {DNS_FAILED, 100, NULL_MX_FAILED_MS}};
    enum { N = sizeof cases / sizeof *cases, SPARE_MS = 10000 /* of a busy machine */ };
    struct world w;
    struct asker a;

    (void)state;
    world_init(&w);
    for (int i = 0; i < N; i++) {
        assert_int_equal(ask(&w, "d.test", &a), NULL_MX_LATER);
        say(&w, i, cases[i].outcome, MX_RECORD, cases[i].ttl_s);
        run_until(w.loop, &a.told, 1);
        assert_false(a.is_null);
        pass(&w, cases[i].holds_ms - SPARE_MS);
        assert_int_equal(ask(&w, "d.test", &a), NULL_MX_NO);
        pass(&w, SPARE_MS);
    }
    world_done(&w);
}

static void nobody_waits_for_long(void **state)
{
    struct world w;
    struct asker a, b;

    (void)state;
    world_init(&w);
    assert_int_equal(ask(&w, "slow.test", &a), NULL_MX_LATER);
    pass(&w, NULL_MX_WAIT_MS / 2);
    assert_int_equal(a.told, 0);
    assert_int_equal(ask(&w, "slow.test", &b), NULL_MX_LATER);
    pass(&w, NULL_MX_WAIT_MS / 2);
    assert_true(a.told == 1 && !a.is_null && b.told == 1 && !b.is_null);
    assert_int_equal(ask(&w, "slow.test", &b), NULL_MX_NO); /* late */
    say(&w, 0, DNS_FOUND, NULL_RECORD, 60);
    run_for(w.loop, 20);
    assert_int_equal(a.told, 1);
    assert_int_equal(ask(&w, "slow.test", &b), NULL_MX_YES); /* what came late is kept all the same */
    assert_int_equal(w.asked, 1);
    world_done(&w);
}

/* `number`: of the next question. */
static void fail_as_often_as_is_borne(struct world *w, int number)
{
    struct asker a;

    for (int i = 0; i < NULL_MX_FAILURES; i++) {
        char name[16];

        snprintf(name, sizeof name, "fail%d.test", i);
        assert_int_equal(ask(w, name, &a), NULL_MX_LATER);
        pass(w, NULL_MX_QUICK_MS);
        say(w, number + i, DNS_FAILED, STR_NONE, 0);
        run_until(w->loop, &a.told, 1);
        assert_false(a.is_null);
    }
}

static void a_dead_dns_is_not_waited_for(void **state)
{
    struct world w;
    struct asker a, b;

    (void)state;
    world_init(&w);
    fail_as_often_as_is_borne(&w, 0);
    assert_int_equal(ask(&w, "a.test", &a), NULL_MX_NO); /* asked for, as a probe */
    assert_int_equal(ask(&w, "a.test", &a), NULL_MX_NO);
    assert_int_equal(ask(&w, "b.test", &a), NULL_MX_NO); /* not even that */
    say(&w, NULL_MX_FAILURES, DNS_FAILED, STR_NONE, 0);
    run_for(w.loop, 20);
    assert_int_equal(ask(&w, "c.test", &a), NULL_MX_NO);
    say(&w, NULL_MX_FAILURES + 1, DNS_NO_DATA, STR_NONE, 0); /* it is back */
    run_for(w.loop, 20);
    assert_int_equal(ask(&w, "b.test", &a), NULL_MX_LATER);
    assert_int_equal(ask(&w, "d.test", &b), NULL_MX_LATER);
    null_mx_cancel(a.question);
    null_mx_cancel(b.question);
    run_until(w.loop, &w.asked, NULL_MX_FAILURES + 4);
    assert_int_equal(w.asked, NULL_MX_FAILURES + 4);
    world_done(&w);
}

/* Domains that are broken, one after the other, are no reason not to look at the next. */
static void quick_failures_count_for_nothing(void **state)
{
    struct world w;
    struct asker a;

    (void)state;
    world_init(&w);
    for (int i = 0; i < 2 * NULL_MX_FAILURES; i++) {
        uint64_t began = io_loop_now_ms(w.loop);
        char     name[16];

        snprintf(name, sizeof name, "fail%d.test", i);
        assert_int_equal(ask(&w, name, &a), NULL_MX_LATER);
        say(&w, i, DNS_FAILED, STR_NONE, 0);
        run_until(w.loop, &a.told, 1);
        if (io_loop_now_ms(w.loop) - began >= NULL_MX_QUICK_MS)
            w.n.failures = 0; /* the machine was busy, and this one was not quick */
    }
    world_done(&w);
}

/* An answer that comes too late ends nothing: else every third message would wait. */
static void a_slow_dns_is_not_waited_for_either(void **state)
{
    struct world w;
    struct asker a[NULL_MX_FAILURES + 1];

    (void)state;
    world_init(&w);
    for (int i = 0; i <= NULL_MX_FAILURES; i++) {
        char name[16];

        snprintf(name, sizeof name, "slow%d.test", i);
        assert_int_equal(ask(&w, name, &a[i]), i < NULL_MX_FAILURES ? NULL_MX_LATER : NULL_MX_NO);
        if (i < NULL_MX_FAILURES)
            pass(&w, NULL_MX_WAIT_MS);
        if (i == 0)
            say(&w, 0, DNS_FOUND, MX_RECORD, 60);
        run_for(w.loop, 20);
    }
    world_done(&w);
}

/* Who waits when the last failure comes is let go at once. */
static void the_others_are_let_go(void **state)
{
    struct world w;
    struct asker a, b, c;

    (void)state;
    world_init(&w);
    assert_int_equal(ask(&w, "waits.test", &a), NULL_MX_LATER);
    assert_int_equal(ask(&w, "waits.test", &b), NULL_MX_LATER);
    assert_int_equal(ask(&w, "waits2.test", &c), NULL_MX_LATER);
    fail_as_often_as_is_borne(&w, 2);
    assert_true(a.told == 1 && b.told == 1 && c.told == 1);
    say(&w, 0, DNS_FOUND, NULL_RECORD, 60); /* in time: the DNS answers again */
    run_for(w.loop, 20);
    assert_int_equal(ask(&w, "waits.test", &a), NULL_MX_YES);
    assert_int_equal(ask(&w, "new.test", &a), NULL_MX_LATER);
    null_mx_cancel(a.question);
    world_done(&w);
}

static void without_a_resolver_nobody_waits(void **state)
{
    struct world w;
    struct asker a;

    (void)state;
    world_init(&w);
    io_ipc_free(w.resolver);
    w.resolver = NULL;
    for (int i = 0; w.n.lookup.channel && i < 1000; i++)
        run_for(w.loop, 1);
    assert_int_equal(ask(&w, "a.test", &a), NULL_MX_NO);
    attach(&w);
    assert_int_equal(ask(&w, "a.test", &a), NULL_MX_LATER);
    say(&w, 0, DNS_FOUND, NULL_RECORD, 60);
    run_until(w.loop, &a.told, 1);
    assert_true(a.is_null);
    world_done(&w);
}

static void memory_is_bounded(void **state)
{
    enum { AT_ONCE = 200, MANY = NULL_MX_DOMAINS / AT_ONCE * AT_ONCE + 3 * AT_ONCE };
    static struct asker a[MANY];
    struct world        w;

    (void)state;
    world_init(&w);
    for (int first = 0; first < MANY; first += AT_ONCE) {
        for (int i = first; i < first + AT_ONCE; i++) {
            char name[16];

            snprintf(name, sizeof name, "n%d.test", i);
            assert_int_equal(ask(&w, name, &a[i]), NULL_MX_LATER);
        }
        for (int i = first; i < first + AT_ONCE; i++)
            say(&w, i, DNS_FOUND, NULL_RECORD, 600);
        run_until(w.loop, &a[first + AT_ONCE - 1].told, 1);
        assert_int_equal(ask(&w, "n1.test", &a[1]), NULL_MX_YES); /* used again and again: it stays */
    }
    assert_int_equal(w.n.known, NULL_MX_DOMAINS);
    assert_int_equal(ask(&w, "n1.test", &a[1]), NULL_MX_YES);
    assert_int_equal(ask(&w, "n0.test", &a[0]), NULL_MX_LATER);
    null_mx_cancel(a[0].question);
    for (int i = 1; i < NULL_MX_OPEN; i++) {
        char name[16];

        snprintf(name, sizeof name, "o%d.test", i);
        assert_int_equal(ask(&w, name, &a[i]), NULL_MX_LATER);
        null_mx_cancel(a[i].question);
    }
    assert_int_equal(ask(&w, "more.test", &a[0]), NULL_MX_NO);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_serves_all_and_is_kept),
        cmocka_unit_test(an_answer_holds_for_its_time),
        cmocka_unit_test(nobody_waits_for_long),
        cmocka_unit_test(a_dead_dns_is_not_waited_for),
        cmocka_unit_test(quick_failures_count_for_nothing),
        cmocka_unit_test(a_slow_dns_is_not_waited_for_either),
        cmocka_unit_test(the_others_are_let_go),
        cmocka_unit_test(without_a_resolver_nobody_waits),
        cmocka_unit_test(memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
