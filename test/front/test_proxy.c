/* test_proxy.c: headers of load balancers, right, wrong, cut and stretched. */
#include "front/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_header parse_ok(struct str in, size_t len)
{
    struct proxy_header h;
    size_t              took = 0;
    const char         *why = NULL;

    if (proxy_parse(in, &h, &took, &why) != PARSE_OK)
        fail_msg("refused: %s", why ? why : "more");
    assert_int_equal(took, len);
    /* Cut anywhere it is not yet a header, and never a wrong one. */
    for (size_t i = 0; i < len; i++) {
        struct proxy_header unused;
        size_t              unused_len;

        assert_int_equal(proxy_parse(str_part(in, 0, i), &unused, &unused_len, &why), PARSE_MORE);
    }
    return h;
}

static void parse_bad(struct str in)
{
    struct proxy_header h;
    size_t              len;
    const char         *why = NULL;

    assert_int_equal(proxy_parse(in, &h, &len, &why), PARSE_BAD);
    assert_non_null(why);
}

static void test_version_1(void **state)
{
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    struct str           in = STR("PROXY TCP4 198.51.100.7 203.0.113.9 40000 25\r\nEHLO x\r\n");
    struct proxy_header  h = parse_ok(in, in.len - 8);

    (void)state;
    assert_int_equal(h.family, PROXY_IPV4);
    assert_memory_equal(h.client.host, ((uint8_t[]){198, 51, 100, 7}), 4);
    assert_memory_equal(h.server.host, ((uint8_t[]){203, 0, 113, 9}), 4);
    assert_int_equal(h.client.port, 40000);
    assert_int_equal(h.server.port, 25);
    in = STR("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
    h = parse_ok(in, in.len);
    assert_int_equal(h.family, PROXY_IPV6);
    assert_memory_equal(h.client.host, v6, 16);
    in = STR("PROXY UNKNOWN\r\n");
    assert_int_equal(parse_ok(in, in.len).family, PROXY_ITSELF);
    in = STR("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n");
    assert_int_equal(parse_ok(in, in.len).family, PROXY_ITSELF);
}

static void test_version_1_wrong(void **state)
{
    static const char *const wrong[] = {
        "EHLO x\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP6 ::1%lo ::1 1 1\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXX",
        "\n",
        "\r\n\r\n\r\n",
    };
    char long_line[200];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        parse_bad(str_from(wrong[i]));
    /* An end beyond the longest line is no end. */
    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line, "PROXY UNKNOWN ", 14);
    memcpy(long_line + sizeof long_line - 2, "\r\n", 2);
    parse_bad(str_of(long_line, sizeof long_line));
    parse_bad(str_of(long_line, PROXY_V1_MAX));
}

static void test_version_2(void **state)
{
    struct str v4 = STR(SIGNATURE "\x21\x11\0\x0c\xc6\x33\x64\x07\xcb\0\x71\x09\x9c\x40\0\x19"
                                  "EHLO");
    struct str with_extension = STR(SIGNATURE "\x21\x11\0\x10\xc6\x33\x64\x07\xcb\0\x71\x09\x9c\x40\0\x19\x04\0\x01x");
    struct str v6 = STR(SIGNATURE "\x21\x21\0\x24"
                                  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x01\x02\x03\x04");
    struct str local = STR(SIGNATURE "\x20\0\0\0");
    struct str local_with_junk = STR(SIGNATURE "\x20\x11\0\x03xyz");
    struct str unspecified = STR(SIGNATURE "\x21\0\0\x02xy");
    struct proxy_header h;

    (void)state;
    h = parse_ok(v4, v4.len - 4);
    assert_int_equal(h.family, PROXY_IPV4);
    assert_memory_equal(h.client.host, ((uint8_t[]){198, 51, 100, 7}), 4);
    assert_int_equal(h.client.port, 40000);
    assert_int_equal(h.server.port, 25);
    assert_int_equal(parse_ok(with_extension, with_extension.len).family, PROXY_IPV4);
    h = parse_ok(v6, v6.len);
    assert_int_equal(h.family, PROXY_IPV6);
    assert_int_equal(h.client.host[15], 1);
    assert_int_equal(h.server.host[15], 2);
    assert_int_equal(h.client.port, 0x0102);
    assert_int_equal(h.server.port, 0x0304);
    assert_int_equal(parse_ok(local, local.len).family, PROXY_ITSELF);
    assert_int_equal(parse_ok(local_with_junk, local_with_junk.len).family, PROXY_ITSELF);
    assert_int_equal(parse_ok(unspecified, unspecified.len).family, PROXY_ITSELF);
}

static void test_version_2_unix(void **state)
{
    char       in[16 + 216] = SIGNATURE "\x21\x31\0\xd8";
    struct str whole = str_of(in, sizeof in);

    (void)state;
    assert_int_equal(parse_ok(whole, whole.len).family, PROXY_ITSELF);
}

static void test_version_2_wrong(void **state)
{
    (void)state;
    parse_bad(STR(SIGNATURE "\x11\x11\0\x0c"));           /* version 1 in binary */
    parse_bad(STR(SIGNATURE "\x22\x11\0\x0c"));           /* a command that does not exist */
    parse_bad(STR(SIGNATURE "\x21\x12\0\x0c"));           /* datagrams */
    parse_bad(STR(SIGNATURE "\x21\x41\0\x0c"));           /* a family that does not exist */
    parse_bad(STR(SIGNATURE "\x21\x11\0\x0b"));           /* too short for its addresses */
    parse_bad(STR(SIGNATURE "\x21\x21\0\x0c"));           /* the same */
    parse_bad(STR(SIGNATURE "\x21\x11\xff\xff"));         /* longer than any balancer sends */
    parse_bad(STR("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c")); /* almost the signature */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1),      cmocka_unit_test(test_version_1_wrong), cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_2_unix), cmocka_unit_test(test_version_2_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
