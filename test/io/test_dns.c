/* Questions to the DNS, answered by a server in the same loop (dns_server.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns_server.h"
#include "io/dns.h"
#include "io/file.h"
#include "turns.h"

#include <stdio.h>

/* ---- the asking side ---- */

struct world {
    struct io_loop   *loop;
    struct dns_server server;
    struct io_dns    *dns;
};

static void world_init(struct world *w, uint64_t timeout_ms)
{
    struct err err;
    char       server[32];

    w->loop = io_loop_new(&err);
    assert_non_null(w->loop);
    dns_server_init(&w->server, w->loop);
    snprintf(server, sizeof server, "127.0.0.1:%u", w->server.port);
    w->dns = io_dns_new(w->loop, &(struct io_dns_options){.server = server, .timeout_ms = timeout_ms}, &err);
    assert_non_null(w->dns);
}

static void world_done(struct world *w)
{
    io_dns_free(w->dns);
    dns_server_done(&w->server);
    io_loop_free(w->loop);
}

struct asked {
    int               count;
    struct dns_answer answer;
    char              first[64]; /* octets of the first record */
    size_t            first_len;
    char              why[200];
};

static void answered(const struct dns_answer *a, void *arg)
{
    struct asked *k = arg;

    k->count++;
    k->answer = *a;
    k->first_len = a->count ? a->records[0].len : 0;
    if (a->count && a->records[0].len <= sizeof k->first)
        memcpy(k->first, a->records[0].data, a->records[0].len);
    snprintf(k->why, sizeof k->why, "%s", a->why ? a->why : "");
}

static struct asked ask(struct world *w, const char *name, enum dns_type type)
{
    struct asked k = {0};

    assert_non_null(io_dns_ask(w->dns, str_from(name), type, answered, &k));
    assert_int_equal(k.count, 0);
    run_until(w->loop, &k.count, 1);
    assert_int_equal(k.count, 1);
    return k;
}

static void what_is_there(void **state)
{
    struct world    w;
    struct asked    k;
    struct dns_name host;
    uint16_t        preference;

    (void)state;
    world_init(&w, 0);
    k = ask(&w, "mx.example.test", DNS_MX);
    assert_int_equal(k.answer.outcome, DNS_FOUND);
    assert_int_equal(k.answer.count, 1);
    assert_in_range(k.answer.ttl_s, DNS_SERVER_TTL - 10, DNS_SERVER_TTL);
    assert_false(k.answer.secure || k.answer.cname);
    assert_true(dns_mx_get(str_of(k.first, k.first_len), &preference, &host));
    assert_int_equal(preference, 10);
    assert_string_equal(host.text, "mx.example.test");

    k = ask(&w, "cname.example.test", DNS_A);
    assert_int_equal(k.answer.outcome, DNS_FOUND);
    assert_true(k.answer.cname);
    assert_memory_equal(k.first, "\300\0\2\1", 4);

    k = ask(&w, "many.example.test", DNS_A);
    assert_int_equal(k.answer.count, 30);
    k = ask(&w, "garbage.example.test", DNS_MX);
    assert_int_equal(k.answer.outcome, DNS_FOUND);
    world_done(&w);
}

static void what_is_not_there(void **state)
{
    struct world w;
    char         name[300];

    (void)state;
    world_init(&w, 0);
    assert_int_equal(ask(&w, "no.example.test", DNS_MX).answer.outcome, DNS_NO_NAME);
    assert_int_equal(ask(&w, "empty.example.test", DNS_MX).answer.outcome, DNS_NO_DATA);
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(ask(&w, name, DNS_MX).answer.outcome, DNS_NO_NAME);
    assert_int_equal(ask(&w, "", DNS_MX).answer.outcome, DNS_NO_NAME);
    assert_int_equal(ask(&w, "a..b", DNS_MX).answer.outcome, DNS_NO_NAME);
    world_done(&w);
}

static void no_answer_is_not_no(void **state)
{
    struct world w;
    struct asked k;

    (void)state;
    world_init(&w, 400);
    k = ask(&w, "silent.example.test", DNS_MX);
    assert_int_equal(k.answer.outcome, DNS_FAILED);
    assert_string_equal(k.why, "no answer in time");
    world_done(&w);

    world_init(&w, 0);
    k = ask(&w, "broken.example.test", DNS_MX);
    assert_int_equal(k.answer.outcome, DNS_FAILED);
    assert_non_null(strstr(k.why, "SERVFAIL"));
    assert_int_equal(ask(&w, "refused.example.test", DNS_MX).answer.outcome, DNS_FAILED);
    world_done(&w);
}

static void answers_are_kept(void **state)
{
    struct world w;
    unsigned     before;

    (void)state;
    world_init(&w, 0);
    ask(&w, "mx.example.test", DNS_MX);
    before = w.server.questions;
    assert_int_equal(ask(&w, "MX.example.test", DNS_MX).answer.outcome, DNS_FOUND);
    assert_int_equal(w.server.questions, before);
    world_done(&w);
}

static void many_at_once_and_some_given_up(void **state)
{
    enum { MANY = 500 };
    static struct asked     k[MANY];
    struct io_dns_question *q[MANY];
    struct world            w;
    int                     all = 0;

    (void)state;
    memset(k, 0, sizeof k);
    world_init(&w, 0);
    for (int i = 0; i < MANY; i++) {
        char name[64];

        snprintf(name, sizeof name, "mx%d.example.test", i);
        q[i] = io_dns_ask(w.dns, str_from(name), DNS_MX, answered, &k[i]);
        assert_non_null(q[i]);
    }
    for (int i = 0; i < MANY; i += 5)
        io_dns_cancel(q[i]);
    for (int turn = 0; turn < 5000 && all < MANY - MANY / 5; turn++) {
        run_for(w.loop, 1);
        all = 0;
        for (int i = 0; i < MANY; i++)
            all += k[i].count;
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(k[i].count, i % 5 != 0);
        assert_int_equal(k[i].answer.outcome, DNS_FOUND);
    }
    assert_non_null(io_dns_ask(w.dns, STR("silent.example.test"), DNS_A, answered, &k[0]));
    run_for(w.loop, 5);
    world_done(&w); /* with a question that is open */
    assert_int_equal(k[0].count, 0);
}

static void what_is_set_wrongly(void **state)
{
    struct err      err;
    struct io_loop *loop = io_loop_new(&err);

    (void)state;
    assert_null(io_dns_new(loop, &(struct io_dns_options){.server = "resolver.example"}, &err));
    assert_non_null(strstr(err.text, "resolver.example"));
    assert_int_equal(err.class, ERR_CONFIG);
    assert_null(io_dns_new(
        loop, &(struct io_dns_options){.server = "127.0.0.1:53", .validate = true, .anchors = "/nowhere/root.key"},
        &err));
    assert_non_null(strstr(err.text, "/nowhere/root.key"));
    assert_int_equal(err.class, ERR_CONFIG);
    io_loop_free(loop);
}

static void copy(const char *from, const char *to)
{
    struct buf text;
    struct err err;

    buf_init(&text, 1 << 16);
    assert_true(io_file_read_all(from, &text, &err));
    assert_true(io_file_write_atomic(to, 0600, buf_str(&text), &err));
    buf_done(&text);
}

static void files_that_are_replaced_are_noticed(void **state)
{
    static const char anchors[] = "/usr/share/dns/root.key";
    char              path[] = "/tmp/tacit-anchors-XXXXXX";
    struct io_loop   *loop;
    struct io_dns    *dns;
    struct err        err;
    int               fd;

    (void)state;
    if (access(anchors, R_OK) != 0)
        skip();
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    copy(anchors, path);
    loop = io_loop_new(&err);
    dns = io_dns_new(loop, &(struct io_dns_options){.server = "127.0.0.1:53", .validate = true, .anchors = path}, &err);
    assert_non_null(dns);
    assert_false(io_dns_is_stale(dns));
    copy(anchors, path); /* the same octets; who knows what else */
    assert_true(io_dns_is_stale(dns));
    assert_int_equal(unlink(path), 0);
    assert_false(io_dns_is_stale(dns));
    io_dns_free(dns);
    io_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(no_answer_is_not_no),
        cmocka_unit_test(answers_are_kept),
        cmocka_unit_test(many_at_once_and_some_given_up),
        cmocka_unit_test(what_is_set_wrongly),
        cmocka_unit_test(files_that_are_replaced_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
