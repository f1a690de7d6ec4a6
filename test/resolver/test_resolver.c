/* The resolver confined as its role is, asked by another process, with a DNS server in the loop of the test: what its
 * library does on the way to an answer must be what the role may do. */
#include "resolver/resolver.h"
#include "role/confine.h"
#include "role/lookup.h"

#include "io/sandbox.h"

#include "../io/dns_server.h"
#include "../io/turns.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

struct world {
    struct io_loop   *loop;
    struct dns_server server;
    struct lookup     lookup;
    pid_t             resolver;
};

static _Noreturn void be_resolver(int fd, const char *server, bool validate)
{
    struct config    config = {.dns = {.server = (char *)(uintptr_t)server, .validate = validate}};
    struct io_loop  *loop;
    struct resolver *r;
    struct err       err;

    loop = io_loop_new(&err);
    r = resolver_new(loop, &(struct io_dns_options){.server = server, .validate = validate}, &err);
    if (!r || !resolver_attach(r, fd, &err) || !sandbox_harden(&err) ||
        !confine_role(&config, ROLE_RESOLVER, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(EXIT_FAILURE);
    }
    io_loop_run(loop);
    _exit(EXIT_SUCCESS);
}

static void world_init(struct world *w, bool named, bool validate)
{
    struct err err;
    char       server[32] = "";
    int        fds[2];

    w->loop = io_loop_new(&err);
    assert_non_null(w->loop);
    dns_server_init(&w->server, w->loop);
    if (named)
        snprintf(server, sizeof server, "127.0.0.1:%u", w->server.port);
    assert_true(io_ipc_pair(fds, &err));
    w->resolver = fork();
    assert_true(w->resolver >= 0);
    if (w->resolver == 0)
        be_resolver(fds[0], server, validate);
    close(fds[0]);
    lookup_init(&w->lookup, w->loop);
    w->lookup.patience_ms = 1500;
    assert_true(lookup_attach(&w->lookup, fds[1], &err));
}

/* Nothing of what was asked has ended it. */
static void world_done(struct world *w)
{
    int status;

    assert_int_equal(waitpid(w->resolver, &status, WNOHANG), 0);
    kill(w->resolver, SIGKILL);
    assert_int_equal(waitpid(w->resolver, &status, 0), w->resolver);
    lookup_done(&w->lookup);
    dns_server_done(&w->server);
    io_loop_free(w->loop);
}

struct asked {
    int              count;
    enum dns_outcome outcome;
    char             why[128];
};

static void answered(const struct dns_answer *a, void *arg)
{
    struct asked *k = arg;

    k->count++;
    k->outcome = a->outcome;
    snprintf(k->why, sizeof k->why, "%s", a->why ? a->why : "");
}

static enum dns_outcome ask(struct world *w, const char *name, enum dns_type type)
{
    struct asked k = {0};

    assert_non_null(lookup_ask(&w->lookup, str_from(name), type, answered, &k));
    for (int i = 0; i < 100 && k.count == 0; i++) {
        run_for(w->loop, 50);
        lookup_tick(&w->lookup);
    }
    assert_int_equal(k.count, 1);
    assert_null(strstr(k.why, "no resolver"));
    return k.outcome;
}

static void it_asks_over_udp_and_tcp(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true, false);
    assert_int_equal(ask(&w, "mx.example.test", DNS_MX), DNS_FOUND);
    assert_int_equal(ask(&w, "cname.example.test", DNS_A), DNS_FOUND);
    assert_int_equal(ask(&w, "no.example.test", DNS_AAAA), DNS_NO_NAME);
    assert_int_equal(ask(&w, "garbage.example.test", DNS_MX), DNS_FOUND);
    assert_int_equal(ask(&w, "broken.example.test", DNS_MX), DNS_FAILED);
    assert_int_equal(ask(&w, "cut.example.test", DNS_MX), DNS_FOUND);
    assert_true(w.server.tcp_questions > 0);
    world_done(&w);
}

static void it_reads_the_anchor(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, true, true);
    assert_int_equal(ask(&w, "mx.example.test", DNS_MX), DNS_BOGUS); /* nothing is signed there */
    world_done(&w);
}

static void it_bears_the_systems_resolvers(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, false, true);
    ask(&w, "localhost", DNS_A);
    ask(&w, "mx.example.invalid", DNS_MX); /* whatever comes of it */
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_asks_over_udp_and_tcp),
        cmocka_unit_test(it_reads_the_anchor),
        cmocka_unit_test(it_bears_the_systems_resolvers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
