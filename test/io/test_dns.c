/* Questions to the DNS, answered by a server in the same loop: what it says is decided by the first label of the name.
 *
 *   mx..., cname..., many..., no..., empty..., broken..., refused..., silent..., garbage... (and then the answer) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "io/dns.h"
#include "io/net.h"
#include "turns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

enum { HEADER = 12, PACKET = 1500, TTL = 300 };

struct server {
    int              fd;
    struct io_watch *watch;
    uint16_t         port;
    unsigned         questions;
};

static void put16(struct buf *b, unsigned v)
{
    buf_append_byte(b, (char)(v >> 8));
    buf_append_byte(b, (char)v);
}

/* `owner`: NULL is the name of the question. */
static void put_rr(struct buf *b, const char *owner, size_t owner_len, unsigned type, struct str data)
{
    buf_append(b, owner ? str_of(owner, owner_len) : STR("\xc0\x0c"));
    put16(b, type);
    put16(b, 1);
    put16(b, 0);
    put16(b, TTL);
    put16(b, (unsigned)data.len);
    buf_append(b, data);
}

static void reply(struct server *s, struct str packet, const struct sockaddr_in *peer)
{
    struct str name = str_skip(packet, HEADER), label = str_part(name, 1, (unsigned char)name.data[0]);
    size_t     len = strlen(name.data) + 1;
    unsigned   type = (unsigned char)name.data[len + 1], code = 0, count = 0;
    struct buf out, records;

    buf_init(&out, PACKET);
    buf_init(&records, PACKET);
    s->questions++;
    if (str_starts(label, STR("silent")))
        return;
    if (str_starts(label, STR("garbage"))) {
        struct str id = str_part(packet, 0, 2);

        sendto(s->fd, "xx", 2, 0, (const void *)peer, sizeof *peer);
        sendto(s->fd, id.data, id.len, 0, (const void *)peer, sizeof *peer);
        buf_append(&records, packet); /* somebody else's id */
        records.data[0] ^= 0x55;
        records.data[2] |= (char)0x80;
        sendto(s->fd, records.data, records.len, 0, (const void *)peer, sizeof *peer);
        buf_clear(&records);
    }
    if (str_starts(label, STR("no"))) {
        code = 3;
    } else if (str_starts(label, STR("broken"))) {
        code = 2;
    } else if (str_starts(label, STR("refused"))) {
        code = 5;
    } else if (str_starts(label, STR("cname")) && type == DNS_A) {
        put_rr(&records, NULL, 0, 5, STR("\4real\7example\4test\0"));
        put_rr(&records, "\4real\7example\4test", 19, 1, STR("\300\0\2\1"));
        count = 2;
    } else if (str_starts(label, STR("many"))) {
        for (; count < 30; count++)
            put_rr(&records, NULL, 0, 1, str_of((char[]){'\300', 0, 2, (char)count}, 4));
    } else if (!str_starts(label, STR("empty"))) {
        put_rr(&records, NULL, 0, type, type == DNS_A ? STR("\300\0\2\1") : STR("\0\12\2mx\7example\4test\0"));
        count = 1;
    }
    buf_append(&out, str_part(packet, 0, 2));
    put16(&out, 0x8580 | code);
    put16(&out, 1);
    put16(&out, count);
    put16(&out, 0);
    put16(&out, 0);
    buf_append(&out, str_part(packet, HEADER, len + 4));
    buf_append(&out, buf_str(&records));
    assert_true(buf_ok(&out) && buf_ok(&records));
    sendto(s->fd, out.data, out.len, 0, (const void *)peer, sizeof *peer);
    buf_done(&out);
    buf_done(&records);
}

static void server_ready(unsigned what, void *arg)
{
    struct server     *s = arg;
    char               packet[PACKET + 1] = {0};
    struct sockaddr_in peer;
    socklen_t          peer_len = sizeof peer;
    ssize_t            n = recvfrom(s->fd, packet, PACKET, MSG_DONTWAIT, (void *)&peer, &peer_len);

    (void)what;
    if (n > HEADER)
        reply(s, str_of(packet, (size_t)n), &peer);
}

static void server_init(struct server *s, struct io_loop *loop)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          len = sizeof address;
    struct err         err;

    *s = (struct server){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(s->fd, (const void *)&address, sizeof address), 0);
    assert_int_equal(getsockname(s->fd, (void *)&address, &len), 0);
    s->port = ntohs(address.sin_port);
    s->watch = io_watch_new(loop, s->fd, server_ready, s, &err);
    assert_non_null(s->watch);
    assert_true(io_watch_want(s->watch, IO_READABLE, &err));
}

/* ---- the asking side ---- */

struct world {
    struct io_loop *loop;
    struct server   server;
    struct io_dns  *dns;
};

static void world_init(struct world *w, uint64_t timeout_ms)
{
    struct err err;
    char       server[32];

    w->loop = io_loop_new(&err);
    assert_non_null(w->loop);
    server_init(&w->server, w->loop);
    snprintf(server, sizeof server, "127.0.0.1:%u", w->server.port);
    w->dns = io_dns_new(w->loop, &(struct io_dns_options){.server = server, .timeout_ms = timeout_ms}, &err);
    assert_non_null(w->dns);
}

static void world_done(struct world *w)
{
    io_dns_free(w->dns);
    io_watch_free(w->server.watch);
    close(w->server.fd);
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
    assert_in_range(k.answer.ttl_s, TTL - 10, TTL);
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
    assert_int_equal(ask(&w, name, DNS_MX).answer.outcome, DNS_FAILED);
    assert_int_equal(ask(&w, "", DNS_MX).answer.outcome, DNS_FAILED);
    assert_int_equal(ask(&w, "a..b", DNS_MX).answer.outcome, DNS_FAILED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(no_answer_is_not_no),
        cmocka_unit_test(answers_are_kept),
        cmocka_unit_test(many_at_once_and_some_given_up),
        cmocka_unit_test(what_is_set_wrongly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
