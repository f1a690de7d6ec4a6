/* Addresses, networks and listening sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void addresses_are_read_and_shown(void **state)
{
    static const struct {
        const char *text, *shown, *host;
        uint16_t    port;
    } good[] = {
        {"192.0.2.1:25", "192.0.2.1:25", "192.0.2.1", 25},
        {"0.0.0.0:0", "0.0.0.0:0", "0.0.0.0", 0},
        {"[::1]:65535", "[::1]:65535", "::1", 65535},
        {"[2001:DB8:0:0::1]:25", "[2001:db8::1]:25", "2001:db8::1", 25},
        {"[::ffff:192.0.2.9]:25", "192.0.2.9:25", "192.0.2.9", 25},
        {"unix:/run/x.sock", "unix:/run/x.sock", "local", 0},
        {"unix:a:25", "unix:a:25", "local", 0},
    };
    static const char *const bad[] = {
        "",
        "25",
        ":25",
        "192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "1.2.3:25",
        "1.2.3.4.5:25",
        "01.2.3.256:25",
        "::1:25",
        "[::1:25",
        "::1]:25",
        "[]:25",
        "[1.2.3.4]:25",
        "[::1]25",
        "[::1%lo]:25",
        "localhost:25",
        "192.0.2.1: 25",
        " 192.0.2.1:25",
        "unix:",
        "**:25",
        "*",
        "[fe80::1::2]:25",
        "192.0.2.1:25\n",
    };
    struct io_address a[2];
    size_t            count;
    char              text[IO_ADDRESS_TEXT];
    char              path[200] = "unix:/";
    struct err        err;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(io_address_parse(str_from(good[i].text), a, 2, &count, &err));
        assert_int_equal(count, 1);
        io_address_text(&a[0], text);
        assert_string_equal(text, good[i].shown);
        io_address_host(&a[0], text);
        assert_string_equal(text, good[i].host);
        assert_int_equal(io_address_port(&a[0]), good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (io_address_parse(str_from(bad[i]), a, 2, &count, &err))
            fail_msg("taken: %s", bad[i]);
    assert_false(io_address_parse(STR("192.0.2.1\0:25"), a, 2, &count, &err));
    assert_false(io_address_parse(STR("unix:a\0b"), a, 2, &count, &err));
    assert_false(io_address_parse(STR_NONE, a, 2, &count, &err));
    assert_int_equal(err.class, ERR_CONFIG);

    assert_true(io_address_parse(STR("*:2525"), a, 2, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(a[0].storage.ss_family, AF_INET);
    assert_int_equal(a[1].storage.ss_family, AF_INET6);

    memset(path + 6, 'x', 106);
    assert_true(io_address_parse(str_from(path), a, 2, &count, &err)); /* 107 octets of path */
    io_address_text(&a[0], text);
    assert_string_equal(text, path);
    path[6 + 106] = 'x';
    assert_false(io_address_parse(str_from(path), a, 2, &count, &err));
}

static struct io_address address(const char *text)
{
    struct io_address a[2];
    size_t            count;

    assert_true(io_address_parse(str_from(text), a, 2, &count, NULL));
    return a[0];
}

static void networks_hold_what_they_say(void **state)
{
    static const struct {
        const char *network, *address;
        bool        has;
    } table[] = {
        {"192.0.2.0/24", "192.0.2.255:1", true},
        {"192.0.2.0/24", "192.0.3.0:1", false},
        {"192.0.2.128/25", "192.0.2.127:1", false},
        {"192.0.2.128/25", "192.0.2.128:1", true},
        {"192.0.2.1", "192.0.2.1:1", true},
        {"192.0.2.1", "192.0.2.2:1", false},
        {"192.0.2.1/32", "192.0.2.1:1", true},
        {"0.0.0.0/0", "255.255.255.255:1", true},
        {"0.0.0.0/0", "[2001:db8::1]:1", false},
        {"0.0.0.0/0", "[::ffff:1.2.3.4]:1", true},
        {"::/0", "[2001:db8::1]:1", true},
        {"::/0", "192.0.2.1:1", false},
        {"::/0", "[::ffff:1.2.3.4]:1", false},
        {"2001:db8::/32", "[2001:db8:ffff::]:1", true},
        {"2001:db8::/32", "[2001:db9::]:1", false},
        {"2001:db8:8000::/33", "[2001:db8:7fff::]:1", false},
        {"2001:db8::1", "[2001:db8::1]:1", true},
        {"::ffff:192.0.2.0/120", "192.0.2.77:1", true},
        {"::ffff:192.0.2.0/120", "[::ffff:192.0.2.77]:1", true},
        {"::ffff:192.0.2.0/120", "192.0.3.77:1", false},
        {"0.0.0.0/0", "unix:/x", false},
        {"::/0", "unix:/x", false},
    };
    static const char *const bad[] = {
        "",
        "/",
        "/24",
        "192.0.2.0/",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "192.0.2.0/24/24",
        "192.0.2.1/24",
        "::/129",
        "::1/64",
        "::ffff:192.0.2.0/95",
        "::ffff:192.0.2.0/129",
        "192.0.2",
        "host",
        "2001:db8::/32 ",
        "2001:db8::1/127",
    };
    struct io_cidr c;
    struct err     err;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct io_address a = address(table[i].address);

        assert_true(io_cidr_parse(str_from(table[i].network), &c, &err));
        if (io_cidr_has(&c, &a) != table[i].has)
            fail_msg("%s in %s", table[i].address, table[i].network);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (io_cidr_parse(str_from(bad[i]), &c, &err))
            fail_msg("taken: %s", bad[i]);
}

static bool same_network(const char *x, const char *y)
{
    struct io_address a = address(x), b = address(y);
    struct io_network na = io_address_network(&a), nb = io_address_network(&b);

    return memcmp(&na, &nb, sizeof na) == 0;
}

static void clients_are_counted_by_network(void **state)
{
    (void)state;
    assert_true(same_network("192.0.2.1:1", "192.0.2.1:2"));
    assert_false(same_network("192.0.2.1:1", "192.0.2.2:1"));
    assert_true(same_network("192.0.2.1:1", "[::ffff:192.0.2.1]:2"));
    assert_true(same_network("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:1"));
    assert_false(same_network("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1"));
    assert_false(same_network("0.0.0.0:1", "[::]:1"));
    assert_true(same_network("unix:/a", "unix:/b"));
    assert_false(same_network("unix:/a", "0.0.0.0:1"));
}

static void listening_says_what_is_wrong(void **state)
{
    struct io_address a = address("127.0.0.1:0"), bound, foreign = address("192.0.2.1:2525");
    struct err        err;
    int               fd, second;

    (void)state;
    fd = io_listen(&a, false, 0, &bound, &err);
    assert_true(fd >= 0 && io_address_port(&bound) != 0);
    second = io_listen(&bound, false, 0, NULL, &err);
    assert_int_equal(second, -1);
    assert_int_equal(err.class, ERR_CONFIG);
    assert_non_null(strstr(err.text, "in use by another program"));
    close(fd);

    fd = io_listen(&a, true, 0, &bound, &err);
    second = io_listen(&bound, true, 0, NULL, &err);
    assert_true(fd >= 0 && second >= 0);
    close(fd);
    close(second);

    assert_int_equal(io_listen(&foreign, false, 0, NULL, &err), -1);
    assert_non_null(strstr(err.text, "not an address of this machine"));
}

static void unix_sockets_replace_only_the_dead(void **state)
{
    char              dir[] = "/tmp/tacit-test-XXXXXX", text[64], path[48];
    struct io_address a;
    struct stat       st;
    struct err        err;
    int               fd;
    mode_t            mask = umask(077);

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(text, sizeof text, "unix:%s", path);
    a = address(text);
    fd = io_listen(&a, false, 0622, NULL, &err);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0622);

    assert_int_equal(io_listen(&a, false, 0622, NULL, &err), -1);
    assert_non_null(strstr(err.text, "in use"));
    close(fd); /* the name stays: stale */
    fd = io_listen(&a, false, 0600, NULL, &err);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);

    close(creat(path, 0600));
    assert_int_equal(io_listen(&a, false, 0600, NULL, &err), -1);
    assert_non_null(strstr(err.text, "not a socket"));
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    rmdir(dir);
    umask(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_shown),       cmocka_unit_test(networks_hold_what_they_say),
        cmocka_unit_test(clients_are_counted_by_network),     cmocka_unit_test(listening_says_what_is_wrong),
        cmocka_unit_test(unix_sockets_replace_only_the_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
