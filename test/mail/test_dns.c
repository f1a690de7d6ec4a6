/* Records of the DNS in wire form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/dns.h"

#define RDATA(literal) str_of(literal, sizeof(literal) - 1)

static void names(void **state)
{
    struct dns_name n;
    char            wire[300];

    (void)state;
    assert_true(dns_name_get(RDATA("\2mx\7EXAMPLE\4test\0"), &n));
    assert_string_equal(n.text, "mx.example.test");
    assert_int_equal(n.len, 15);
    assert_true(dns_name_get(RDATA("\0"), &n));
    assert_int_equal(n.len, 0);
    assert_true(dns_name_get(RDATA("\4_tcp\2mx\0"), &n));

    assert_false(dns_name_get(STR_NONE, &n));
    assert_false(dns_name_get(RDATA("\2mx"), &n));     /* no end */
    assert_false(dns_name_get(RDATA("\2mx\0x"), &n));  /* something behind it */
    assert_false(dns_name_get(RDATA("\3mx\0"), &n));   /* a label past the end */
    assert_false(dns_name_get(RDATA("\xc0\x0c"), &n)); /* compressed */
    assert_false(dns_name_get(RDATA("\3a.b\0"), &n));  /* a dot that parts nothing */
    assert_false(dns_name_get(RDATA("\3a\0b\0"), &n));
    assert_false(dns_name_get(RDATA("\3a\nb\0"), &n));
    assert_false(dns_name_get(RDATA("\3a\xff"
                                    "b\0"),
                              &n));

    for (size_t last = 60; last <= 63; last++) { /* 3 labels of 63 and one of `last`: 253 characters at 61 */
        size_t len = 0;

        for (int i = 0; i < 4; i++) {
            size_t label = i < 3 ? 63 : last;

            wire[len++] = (char)label;
            memset(wire + len, 'a', label);
            len += label;
        }
        wire[len++] = 0;
        assert_int_equal(dns_name_get(str_of(wire, len), &n), last <= 61);
        if (last == 61)
            assert_int_equal(n.len, DNS_NAME_MAX);
    }
}

static void records(void **state)
{
    struct dns_name    n;
    struct dns_address a, b;
    struct dns_tlsa    t;
    struct buf         text;
    uint16_t           preference = 7;

    (void)state;
    assert_true(dns_mx_get(RDATA("\1\2\1a\0"), &preference, &n));
    assert_int_equal(preference, 258);
    assert_string_equal(n.text, "a");
    assert_false(dns_mx_get(RDATA("\0\0"), &preference, &n));
    assert_false(dns_mx_get(RDATA("\0\0\1a\0\0"), &preference, &n));

    assert_true(dns_address_get(RDATA("\300\0\2\1"), DNS_A, &a));
    assert_true(dns_address_get(RDATA("\300\0\2\1"), DNS_A, &b));
    assert_true(dns_address_eq(&a, &b));
    assert_false(dns_address_get(RDATA("\300\0\2\1"), DNS_AAAA, &a));
    assert_false(dns_address_get(RDATA("\300\0\2\1\1"), DNS_A, &a));
    assert_false(dns_address_get(RDATA("\300\0\2\1"), DNS_MX, &a));
    assert_true(dns_address_get(RDATA("\300\0\2\1aaaabbbbcccc"), DNS_AAAA, &b));
    assert_false(dns_address_eq(&a, &b));

    buf_init(&text, 8);
    assert_true(dns_txt_get(RDATA("\2v=\0\3one"), &text));
    assert_string_equal(text.data, "v=one");
    assert_false(dns_txt_get(RDATA("\1x\3on"), &text));
    assert_string_equal(text.data, "v=one");
    assert_false(dns_txt_get(STR_NONE, &text));
    assert_false(dns_txt_get(RDATA("\4four"), &text)); /* over the ceiling */
    buf_done(&text);

    assert_true(dns_tlsa_get(RDATA("\3\1\1hash"), &t));
    assert_int_equal(t.usage, 3);
    assert_true(str_eq(t.data, STR("hash")));
    assert_false(dns_tlsa_get(RDATA("\3\1\1"), &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(records)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
