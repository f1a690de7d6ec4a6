/* Unit tests of addresses: the grammar's corners, its limits, and that every spelling has one canonical form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/address.h"

#include <stdio.h>

static const struct mail_path_rules all_rules = {true, true, true};

/* Parses a path; gives "local|domain", or "!fault". */
static const char *path(const char *in, struct mail_path_rules rules, size_t *ret_len)
{
    static char               text[1024];
    struct arena              arena;
    struct mail_address       a;
    struct mail_address_error e = {MAIL_ADDRESS_SYNTAX, 0, NULL};
    size_t                    len = 0;

    arena_init(&arena, 1024, 4096);
    if (mail_path_parse(str_from(in), rules, &arena, &a, &len, &e) == PARSE_OK) {
        snprintf(text, sizeof text, "%.*s|%.*s", STR_ARG(a.local), STR_ARG(a.domain));
        assert_int_equal(a.utf8, !str_is_ascii(a.local));
    } else {
        snprintf(text, sizeof text, "!%d", (int)e.fault);
        assert_non_null(e.reason);
        assert_true(e.offset <= strlen(in));
        assert_int_equal(len, 0);
    }
    if (ret_len)
        *ret_len = len;
    arena_done(&arena);
    return text;
}

static void assert_path(const char *in, const char *want)
{
    size_t      len;
    const char *got = path(in, all_rules, &len);

    if (strcmp(got, want) != 0)
        fail_msg("%s: %s, not %s", in, got, want);
    if (got[0] != '!')
        assert_int_equal(len, strlen(in));
}

static void assert_fault(const char *in, enum mail_address_fault fault)
{
    char want[16];

    snprintf(want, sizeof want, "!%d", (int)fault);
    assert_path(in, want);
}

static void paths_of_the_grammar_are_read(void **state)
{
    (void)state;
    assert_path("<>", "|");
    assert_path("<Bob@Example.TEST>", "Bob|example.test");
    assert_path("<a.b.c@x>", "a.b.c|x");
    assert_path("<!#$%&'*+-/=?^_`{|}~@1-2.3>", "!#$%&'*+-/=?^_`{|}~|1-2.3");
    assert_path("<\"a b\"@x>", "a b|x");
    assert_path("<\"a\\\"b\\\\c\"@x>", "a\"b\\c|x");
    assert_path("<\"\\a\\b\"@x>", "ab|x");
    assert_path("<\"a@b>c\"@x>", "a@b>c|x");
    assert_path("<\"\"@x>", "|x");
    assert_path("<\"..\"@x>", "..|x");
    assert_path("<@a,@b.c:d@e>", "d|e");
    assert_path("<postmaster>", "postmaster|");
    assert_path("<PostMaster>", "postmaster|");
    assert_path("<Postmaster@X>", "Postmaster|x");
    assert_path("<a@xn--bcher-kva.example>", "a|xn--bcher-kva.example");
    assert_path("<a@r3---sn.example>", "a|r3---sn.example");
}

static void paths_outside_the_grammar_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "<",
        "<a",
        "<a@",
        "<a@b",
        "a@b",
        "a@b>",
        "<a>",
        "<@>",
        "<a@@b>",
        "<.a@b>",
        "<a.@b>",
        "<a..b@c>",
        "<a b@c>",
        "< a@b>",
        "<a@b >",
        "<a@b c>",
        "<\"a@b>",
        "<\"a\\",
        "<\"a\\\"@b>",
        "<\"a\"",
        "<\"a\"b@c>",
        "<a\"b\"@c>",
        "<a(x)@b>",
        "<\"\t\"@b>",
        "<\"\\\t\"@b>",
        "<\"\x7f\"@b>",
        "<\x01@b>",
        "<@a:b>",
        "<@a b@c>",
        "<@a,:b@c>",
        "<@a,b:c@d>",
        "<@:b@c>",
        "<@[1.2.3.4]:b@c>",
        "<a,b@c>",
        "<a@b,c@d>",
        "<<a@b>>",
        "<\"\\\xc3\xa9\"@b>",
        "<postmaster@>",
        "<\"postmaster\\\">",
        "<@a:>",
        "<:a@b>",
        "<a@b\r\n>",
    };

    struct arena        arena;
    struct mail_address a;
    size_t              len;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (path(bad[i], all_rules, NULL)[0] != '!')
            fail_msg("%s was read as %s", bad[i], path(bad[i], all_rules, NULL));
    assert_string_equal(path("<>", (struct mail_path_rules){false, true, true}, NULL), "!0");
    assert_string_equal(path("<postmaster>", (struct mail_path_rules){true, false, true}, NULL), "!0");
    arena_init(&arena, 1024, 4096);
    assert_int_equal(mail_path_parse(str_of("<a\0b@c>", 7), all_rules, &arena, &a, &len, NULL), PARSE_BAD);
    assert_int_equal(mail_path_parse(str_of("<a@c\0>", 6), all_rules, &arena, &a, &len, NULL), PARSE_BAD);
    assert_int_equal(mail_path_parse(str_of("<\"a\0\"@c>", 9), all_rules, &arena, &a, &len, NULL), PARSE_BAD);
    arena_done(&arena);
}

static void what_follows_a_path_is_left(void **state)
{
    size_t len;

    (void)state;
    assert_string_equal(path("<a@b> SIZE=1", all_rules, &len), "a|b");
    assert_int_equal(len, 5);
    assert_string_equal(path("<> BODY=7BIT", all_rules, &len), "|");
    assert_int_equal(len, 2);
}

static void domains_are_host_names(void **state)
{
    static const char *const bad[] = {"<a@-b>",  "<a@b->",  "<a@b-.c>", "<a@.b>",           "<a@b.>",      "<a@b..c>",
                                      "<a@b_c>", "<a@b!c>", "<a@*.b>",  "<a@xn--\xc3\xa9>", "<a@\xc2\xad>"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fault(bad[i], MAIL_ADDRESS_DOMAIN_BAD);
    assert_path("<a@B\xc3\xbc"
                "cher.Example>",
                "a|xn--bcher-kva.example");
    assert_path("<a@BU\xcc\x88"
                "CHER.example>",
                "a|xn--bcher-kva.example");
    assert_path("<a@stra\xc3\x9f"
                "e.example>",
                "a|xn--strae-oqa.example");
    assert_path("<a@\xef\xbd\x85xample>", "a|example");
    /* A full stop of another script is no way to smuggle in a dot. */
    assert_fault("<a@\xc3\xa9\xe3\x80\x82"
                 "example>",
                 MAIL_ADDRESS_DOMAIN_BAD);
    assert_fault("<a@\xe2\x98\x83\xe2\x80\xae>", MAIL_ADDRESS_DOMAIN_BAD);
    assert_fault("<a@\xff>", MAIL_ADDRESS_NOT_UTF8);
}

static void literals_have_one_form(void **state)
{
    static const char *const bad[] = {
        "<a@[]>",
        "<a@[1.2.3]>",
        "<a@[1.2.3.4.5]>",
        "<a@[1.2.3.256]>",
        "<a@[1.2.3.4>",
        "<a@[0001.2.3.4]>",
        "<a@[1.2.3.-4]>",
        "<a@[1.2.3.4 ]>",
        "<a@[2001:db8::1]>",
        "<a@[IPv6:]>",
        "<a@[IPv6::]>",
        "<a@[IPv6:1:2:3:4:5:6:7]>",
        "<a@[IPv6:1:2:3:4:5:6:7:8:9]>",
        "<a@[IPv6:1::2::3]>",
        "<a@[IPv6:1:2:3:4:5:6:7::]>",
        "<a@[IPv6::::1]>",
        "<a@[IPv6:12345::]>",
        "<a@[IPv6:g::]>",
        "<a@[IPv6:1:2:3:4:5:6:7:1.2.3.4]>",
        "<a@[IPv6:1.2.3.4::]>",
        "<a@[IPv6:1.2.3.4]>",
        "<a@[IPv6:::1%eth0]>",
        "<a@[tag:text]>",
        "<a@[IPv4:1.2.3.4]>",
        "<a@[1.2.3.4].b>",
        "<a@[1.2.3.4]b>",
        "<a@[IPv6:1:2:3:4:5:6:7:]>",
    };

    (void)state;
    assert_path("<a@[192.0.2.1]>", "a|[192.0.2.1]");
    assert_path("<a@[192.000.002.001]>", "a|[192.0.2.1]");
    assert_path("<a@[010.0.0.255]>", "a|[10.0.0.255]");
    assert_path("<a@[ipv6:2001:DB8:0:0:0:0:0:1]>", "a|[IPv6:2001:db8::1]");
    assert_path("<a@[IPv6:2001:0db8::0001]>", "a|[IPv6:2001:db8::1]");
    assert_path("<a@[IPv6:::]>", "a|[IPv6:::]");
    assert_path("<a@[IPv6:1::]>", "a|[IPv6:1::]");
    assert_path("<a@[IPv6:1:2:3:4:5:6:7:8]>", "a|[IPv6:1:2:3:4:5:6:7:8]");
    assert_path("<a@[IPv6:1:0:3:4:5:6:7:8]>", "a|[IPv6:1:0:3:4:5:6:7:8]");
    assert_path("<a@[IPv6:::ffff:192.0.2.1]>", "a|[IPv6:::ffff:192.0.2.1]");
    assert_path("<a@[IPv6:0:0:0:0:0:ffff:c000:201]>", "a|[IPv6:::ffff:192.0.2.1]");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (path(bad[i], all_rules, NULL)[0] != '!')
            fail_msg("%s was read as %s", bad[i], path(bad[i], all_rules, NULL));
}

/* <n times 'a'@labels of 60 letters up to m octets> */
static const char *long_path(size_t local, size_t domain)
{
    static char text[2048];
    size_t      at = 0;

    text[at++] = '<';
    for (size_t i = 0; i < local; i++)
        text[at++] = 'a';
    text[at++] = '@';
    for (size_t i = 0; i < domain; i++)
        text[at++] = i % 61 == 60 && i + 1 < domain ? '.' : 'd';
    text[at++] = '>';
    text[at] = '\0';
    return text;
}

static void limits_hold_to_the_octet(void **state)
{
    char label[128];

    (void)state;
    assert_int_not_equal(path(long_path(64, 189), all_rules, NULL)[0], '!');
    assert_fault(long_path(64, 190), MAIL_ADDRESS_DOMAIN_LONG);
    assert_fault(long_path(65, 10), MAIL_ADDRESS_LOCAL_LONG);
    assert_int_not_equal(path(long_path(1, 252), all_rules, NULL)[0], '!');
    assert_fault(long_path(1, 256), MAIL_ADDRESS_DOMAIN_LONG);
    snprintf(label, sizeof label, "<a@%063d>", 1);
    assert_int_not_equal(path(label, all_rules, NULL)[0], '!');
    snprintf(label, sizeof label, "<a@%064d>", 1);
    assert_fault(label, MAIL_ADDRESS_DOMAIN_LONG);
}

static void utf8_needs_leave(void **state)
{
    struct mail_path_rules ascii = {true, true, false};
    char                   want[8];

    (void)state;
    assert_path("<\xc3\xa9ric@x>", "\xc3\xa9ric|x");
    assert_path("<\"\xc3\xa9 r\"@x>", "\xc3\xa9 r|x");
    assert_fault("<\xc3@x>", MAIL_ADDRESS_NOT_UTF8);
    assert_fault("<\xed\xa0\x80@x>", MAIL_ADDRESS_NOT_UTF8);
    assert_fault("<\xc0\xae@x>", MAIL_ADDRESS_NOT_UTF8);
    snprintf(want, sizeof want, "!%d", (int)MAIL_ADDRESS_NEEDS_UTF8);
    assert_string_equal(path("<\xc3\xa9@x>", ascii, NULL), want);
    assert_string_equal(path("<a@b\xc3\xbc"
                             "cher.x>",
                             ascii, NULL),
                        want);
    snprintf(want, sizeof want, "!%d", (int)MAIL_ADDRESS_NOT_UTF8);
    assert_string_equal(path("<\xc3@x>", ascii, NULL), want);
}

static void what_is_written_reads_the_same(void **state)
{
    static const char *const locals[] = {"a",   "a.b", "",    ".",        "a.",         ".a",        "a..b",
                                         "a b", "\"",  "\\",  "a\"b",     "a\\b",       "a@b",       "<>",
                                         "(c)", ",",   "~!#", "\xc3\xa9", "\xc3\xa9 x", "postmaster"};

    (void)state;
    for (size_t i = 0; i < sizeof locals / sizeof locals[0]; i++) {
        struct mail_address a = {str_from(locals[i]), STR("x.example"), false}, b;
        struct arena        arena;
        struct str          text;

        arena_init(&arena, 1024, 4096);
        a.utf8 = !str_is_ascii(a.local);
        text = mail_address_text(&a, &arena);
        assert_non_null(text.data);
        assert_true(mail_address_parse(text, true, &arena, &b, NULL));
        assert_true(mail_address_eq(&a, &b) && a.utf8 == b.utf8);
        arena_done(&arena);
    }
}

static void whole_addresses_have_no_brackets(void **state)
{
    struct arena        arena;
    struct mail_address a;
    struct str          domain = STR("kept");

    (void)state;
    arena_init(&arena, 1024, 4096);
    assert_true(mail_address_parse(STR("Al@Example.test"), false, &arena, &a, NULL));
    assert_true(str_eq(a.local, STR("Al")) && str_eq(a.domain, STR("example.test")));
    assert_false(mail_address_parse(STR("<a@b>"), true, &arena, &a, NULL));
    assert_false(mail_address_parse(STR("a@b>"), true, &arena, &a, NULL));
    assert_false(mail_address_parse(STR("a@b "), true, &arena, &a, NULL));
    assert_false(mail_address_parse(STR("postmaster"), true, &arena, &a, NULL));
    assert_false(mail_address_parse(STR(""), true, &arena, &a, NULL));
    assert_false(mail_address_parse(STR("@a:b@c"), true, &arena, &a, NULL));
    assert_true(str_eq(a.local, STR("Al")));
    assert_false(mail_domain_parse(STR("[192.0.2.1]"), false, &arena, &domain));
    assert_false(mail_domain_parse(STR("a.b."), true, &arena, &domain));
    assert_false(mail_domain_parse(STR(""), true, &arena, &domain));
    assert_false(mail_domain_parse(STR("a b"), true, &arena, &domain));
    assert_true(str_eq(domain, STR("kept")));
    assert_true(mail_domain_parse(STR("B\xc3\xbc"
                                      "cher.X"),
                                  false, &arena, &domain));
    assert_true(str_eq(domain, STR("xn--bcher-kva.x")));
    assert_true(mail_domain_parse(STR("[192.0.2.1]"), true, &arena, &domain));
    arena_done(&arena);
}

static void a_full_arena_is_an_error(void **state)
{
    struct arena              arena;
    struct mail_address       a = {STR("kept"), STR_NONE, false};
    struct mail_address_error e;
    size_t                    len;

    (void)state;
    arena_init(&arena, 16, 4);
    assert_int_equal(mail_path_parse(STR("<alice@example.test>"), all_rules, &arena, &a, &len, &e), PARSE_BAD);
    assert_int_equal(e.fault, MAIL_ADDRESS_NO_MEMORY);
    assert_true(str_eq(a.local, STR("kept")));
    assert_null(mail_local_key(STR("alice-and-bob"), '+', &arena).data);
    assert_null(mail_local_key(STR("\xc3\xa9ric-and-bob"), '+', &arena).data);
    arena_done(&arena);
}

static void keys_forget_case_and_tag(void **state)
{
    static const struct {
        const char *local;
        char        separator;
        const char *key;
    } cases[] = {
        {"Alice", '+', "alice"},
        {"Alice+lists+x", '+', "alice"},
        {"Alice+lists", 0, "alice+lists"},
        {"a-b", '-', "a"},
        {"+x", '+', "+x"},
        {"+x+y", '+', "+x"},
        {"a+", '+', "a"},
        {"", '+', ""},
        {"\xc3\x89RIC+x", '+', "\xc3\xa9ric"},
        {"E\xcc\x81ric", '+', "\xc3\xa9ric"}, /* decomposed */
        {"STRA\xc3\x9f"
         "E",
         '+', "strasse"},
        {"\xce\x91\xce\xa3", '+', "\xce\xb1\xcf\x83"}, /* final sigma and sigma are one */
        {"\xce\xb1\xcf\x82", '+', "\xce\xb1\xcf\x83"},
        {"\xff\xfe"
         "A",
         '+',
         "\xff\xfe"
         "a"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena;
        struct str   key;

        arena_init(&arena, 1024, 4096);
        key = mail_local_key(str_from(cases[i].local), cases[i].separator, &arena);
        assert_non_null(key.data);
        if (!str_eq(key, str_from(cases[i].key)))
            fail_msg("%s: %.*s", cases[i].local, STR_ARG(key));
        assert_true(str_eq(mail_local_key(key, cases[i].separator, &arena), key));
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_of_the_grammar_are_read),
        cmocka_unit_test(paths_outside_the_grammar_are_refused),
        cmocka_unit_test(what_follows_a_path_is_left),
        cmocka_unit_test(domains_are_host_names),
        cmocka_unit_test(literals_have_one_form),
        cmocka_unit_test(limits_hold_to_the_octet),
        cmocka_unit_test(utf8_needs_leave),
        cmocka_unit_test(what_is_written_reads_the_same),
        cmocka_unit_test(whole_addresses_have_no_brackets),
        cmocka_unit_test(a_full_arena_is_an_error),
        cmocka_unit_test(keys_forget_case_and_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
