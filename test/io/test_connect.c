/* Connections that we make: to whom listens, to nobody, to a Unix socket, and given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/net.h"
#include "turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct told {
    int        count, fd;
    struct err err;
};

static void on_done(int fd, const struct err *err, void *arg)
{
    struct told *t = arg;

    t->count++;
    t->fd = fd;
    assert_true((fd < 0) == (err != NULL));
    if (err)
        t->err = *err;
}

static struct io_address address(const char *text)
{
    struct io_address a[2];
    struct err        err;
    size_t            count;

    assert_true(io_address_parse(str_from(text), a, 2, &count, &err));
    return a[0];
}

static struct told connect_to(struct io_loop *loop, const struct io_address *a, uint64_t timeout_ms)
{
    struct told        t = {0};
    struct err         err;
    struct io_connect *c = io_connect_new(loop, a, timeout_ms, on_done, &t, &err);

    assert_non_null(c);
    assert_int_equal(t.count, 0);
    run_until(loop, &t.count, 1);
    assert_int_equal(t.count, 1);
    return t;
}

static void somebody_listens(void **state)
{
    struct io_address a = address("127.0.0.1:0"), bound;
    struct err        err;
    struct io_loop   *loop = io_loop_new(&err);
    int               fd = io_listen(&a, false, 0, &bound, &err);
    struct told       t = connect_to(loop, &bound, 10000);

    (void)state;
    assert_true(t.fd >= 0);
    close(t.fd);
    close(fd);
    t = connect_to(loop, &bound, 10000); /* now nobody does */
    assert_int_equal(t.fd, -1);
    assert_int_equal(t.err.os_error, ECONNREFUSED);
    io_loop_free(loop);
}

static void unix_sockets(void **state)
{
    char              path[64], text[80];
    struct io_address a, bound;
    struct err        err;
    struct io_loop   *loop = io_loop_new(&err);
    struct told       t;
    int               fd;

    (void)state;
    snprintf(path, sizeof path, "/tmp/tacit-connect-%d", (int)getpid());
    snprintf(text, sizeof text, "unix:%s", path);
    a = address(text);
    t = connect_to(loop, &a, 10000);
    assert_int_equal(t.err.os_error, ENOENT);
    fd = io_listen(&a, false, 0600, &bound, &err);
    t = connect_to(loop, &a, 10000);
    assert_true(t.fd >= 0);
    close(t.fd);
    close(fd);
    unlink(path);
    io_loop_free(loop);
}

/* A listener whose queue is full answers nobody: loopback's black hole. */
static void nobody_answers(void **state)
{
    struct io_address  a = address("127.0.0.1:0"), bound;
    struct err         err;
    struct io_loop    *loop = io_loop_new(&err);
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), full[2];
    struct io_connect *c;
    struct told        t;

    (void)state;
    bound.len = sizeof bound.storage;
    assert_int_equal(bind(listener, (const void *)&a.storage, a.len), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (void *)&bound.storage, &bound.len), 0);
    for (int i = 0; i < 2; i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(full[i], (const void *)&bound.storage, bound.len);
    }
    t = connect_to(loop, &bound, 50);
    assert_int_equal(t.err.os_error, ETIMEDOUT);

    t = (struct told){0};
    c = io_connect_new(loop, &bound, 50, on_done, &t, &err);
    assert_non_null(c);
    io_connect_free(c);
    run_for(loop, 100);
    assert_int_equal(t.count, 0);
    close(full[0]);
    close(full[1]);
    close(listener);
    io_loop_free(loop);
}

static void our_own_addresses(void **state)
{
    static const struct {
        const char *text;
        bool        local;
    } all[] = {{"127.0.0.1:25", true}, {"127.3.2.1:25", true}, {"192.0.2.1:25", false}, {"[2001:db8::1]:25", false}};
    struct dns_address none = {.octets = {192, 0, 2, 7}};
    struct io_address  a;
    char               got[IO_ADDRESS_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        a = address(all[i].text);
        assert_int_equal(io_address_is_local(&a), all[i].local);
    }
    a = io_address_of(&none, 26);
    io_address_text(&a, got);
    assert_string_equal(got, "192.0.2.7:26");
    none = (struct dns_address){.octets = {0x20, 1, 0xd, 0xb8, [15] = 9}, .is_ipv6 = true};
    a = io_address_of(&none, 27);
    io_address_text(&a, got);
    assert_string_equal(got, "[2001:db8::9]:27");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(somebody_listens),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(our_own_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
