/* Unit tests of xtext, dates, trace fields, safe text and the names of classes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/date.h"
#include "mail/trace.h"
#include "mail/xtext.h"

#include <stdlib.h>
#include <time.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static void xtext_has_one_spelling(void **state)
{
    static const char *const bad[] = {"+",   "a+",  "+4",   "+4g",      "+2b",  "+0A", "+0D",  "+00", "+7F", "+FF",
                                      "a b", "a=b", "\x7f", "\xc3\xa9", "+2B+", "+ 1", "a\tb", "+2b", "+-1"};
    struct buf               out;
    struct str               text = STR("kept");

    (void)state;
    buf_init(&out, 1024);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(mail_xtext_decode(str_from(bad[i]), &arena, &text));
    assert_true(str_eq(text, STR("kept")));
    assert_true(mail_xtext_decode(STR("a+2Bb+3Dc+20d\\"), &arena, &text) && str_eq(text, STR("a+b=c d\\")));
    assert_true(mail_xtext_decode(STR(""), &arena, &text) && text.len == 0);
    for (int c = 32; c <= 126; c++) {
        char byte = (char)c;

        buf_clear(&out);
        assert_true(mail_xtext_encode(str_of(&byte, 1), &out));
        assert_true(mail_xtext_decode(buf_str(&out), &arena, &text) && str_eq(text, str_of(&byte, 1)));
    }
    buf_done(&out);
}

static void utf8_xtext_round_trips(void **state)
{
    static const char *const good[] = {
        "a@b", "\xc3\xa9@b", "a+b=c\\ d@e", "\xe2\x82\xac\xf0\x9f\x93\xa7@x", "\xf4\x8f\xbf\xbf", "\xc2\xa0"};
    static const char *const bad[] = {
        "",          "\\",        "\\x",         "\\x{",        "\\x{}",        "\\x{E9",
        "\\x{0E9}",  "\\x{41}",   "\\x{0A}",     "\\x{00}",     "\\x{7F}",      "\\x{85}",
        "\\x{D800}", "\\x{DFFF}", "\\x{110000}", "\\x{FFFFFF}", "\\x{1000000}", "\\x{00E9}",
        "\\x{E9 }",  "\\X{E9}",   "a b",         "a+2Bb",       "a=b",          "\n",
        "\\y{E9}",   "\\x{-1}",   "\\x{9}",
    };
    struct buf out;
    struct str text = STR_NONE;

    (void)state;
    buf_init(&out, 1024);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        buf_clear(&out);
        assert_true(mail_utf8_xtext_encode(str_from(good[i]), &out));
        assert_true(str_is_ascii(buf_str(&out)) && str_find_byte(buf_str(&out), ' ') == STR_NOT_FOUND);
        assert_true(mail_utf8_xtext_decode(buf_str(&out), false, &arena, &text));
        assert_true(str_eq(text, str_from(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (mail_utf8_xtext_decode(str_from(bad[i]), true, &arena, &text))
            fail_msg("%s was read", bad[i]);
    assert_true(mail_utf8_xtext_decode(STR("\xc3\xa9@b"), true, &arena, &text));
    assert_false(mail_utf8_xtext_decode(STR("\xc3\xa9@b"), false, &arena, &text));
    assert_false(mail_utf8_xtext_decode(STR("\xc3@b"), true, &arena, &text));
    assert_false(mail_utf8_xtext_decode(STR("\xc2\x85"), true, &arena, &text));
    buf_clear(&out);
    assert_false(mail_utf8_xtext_encode(STR("\xff"), &out));
    buf_done(&out);
}

static void orcpt_has_a_type(void **state)
{
    struct str type, address;
    struct buf out;
    char       long_value[600];

    (void)state;
    assert_true(mail_orcpt_parse(STR("RFC822;Bob+2Bx@a.test"), false, &arena, &type, &address));
    assert_true(str_eq(type, STR("rfc822")) && str_eq(address, STR("Bob+x@a.test")));
    assert_true(mail_orcpt_parse(STR("utf-8;\\x{E9}@a.test"), false, &arena, &type, &address));
    assert_true(str_eq(address, STR("\xc3\xa9@a.test")));
    assert_false(mail_orcpt_parse(STR("utf-8;\xc3\xa9@a.test"), false, &arena, &type, &address));
    assert_true(mail_orcpt_parse(STR("UTF-8;\xc3\xa9@a.test"), true, &arena, &type, &address));
    assert_true(str_eq(type, STR("utf-8")));
    assert_false(mail_orcpt_parse(STR("rfc822"), false, &arena, &type, &address));
    assert_false(mail_orcpt_parse(STR("rfc822;"), false, &arena, &type, &address));
    assert_false(mail_orcpt_parse(STR(";a@b"), false, &arena, &type, &address));
    assert_false(mail_orcpt_parse(STR("rfc 822;a@b"), false, &arena, &type, &address));
    assert_false(mail_orcpt_parse(STR("rfc822;a@b+0D+0ABcc"), false, &arena, &type, &address));
    memset(long_value, 'a', sizeof long_value);
    memcpy(long_value, "rfc822;", 7);
    assert_true(mail_orcpt_parse(str_of(long_value, MAIL_ORCPT_MAX), false, &arena, &type, &address));
    assert_false(mail_orcpt_parse(str_of(long_value, MAIL_ORCPT_MAX + 1), false, &arena, &type, &address));
    buf_init(&out, 64);
    assert_true(mail_orcpt_format(STR("rfc822"), STR("a b@c"), &out) && str_eq(buf_str(&out), STR("rfc822;a+20b@c")));
    buf_clear(&out);
    assert_true(mail_orcpt_format(STR("utf-8"), STR("\xc3\xa9"), &out) && str_eq(buf_str(&out), STR("utf-8;\\x{E9}")));
    buf_done(&out);
}

static void dates_agree_with_the_c_library(void **state)
{
    uint64_t seconds = 0;

    (void)state;
    for (int i = 0; i < 20000; i++, seconds += 12345678 + (uint64_t)i) {
        char      got[MAIL_DATE_TEXT + 1], want[64], got_short[MAIL_DATE_SHORT_TEXT + 1];
        time_t    t = (time_t)seconds;
        struct tm tm;

        if (seconds > UINT64_C(253402300799))
            break;
        gmtime_r(&t, &tm);
        strftime(want, sizeof want, "%a, %d %b %Y %H:%M:%S +0000", &tm);
        mail_date_text(seconds * 1000 + 999, got);
        assert_string_equal(got, want);
        strftime(want, sizeof want, "%Y-%m-%d %H:%M", &tm);
        mail_date_short_text(seconds * 1000, got_short);
        assert_string_equal(got_short, want);
    }
    assert_true(seconds > UINT64_C(200000000000));
}

static void dates_have_an_end(void **state)
{
    char text[MAIL_DATE_TEXT + 1];

    (void)state;
    mail_date_text(UINT64_MAX, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 +0000");
    mail_date_text(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 +0000");
    mail_date_text(UINT64_C(951782400000), text);
    assert_string_equal(text, "Tue, 29 Feb 2000 00:00:00 +0000");
}

static void received_says_where_from(void **state)
{
    struct mail_address  bob = {STR("b b"), STR("example.test"), false};
    struct mail_received r = {STR("2001:db8::1"),
                              STR("client.example"),
                              STR("mx.example.test"),
                              STR("ESMTP"),
                              STR("0123456789abc"),
                              &bob,
                              false,
                              UINT64_C(951782400000)};
    struct buf           out;

    (void)state;
    buf_init(&out, 4096);
    assert_true(mail_trace_received(&r, &out));
    assert_string_equal(out.data, "Received: from client.example ([IPv6:2001:db8::1])\r\n"
                                  "\tby mx.example.test with ESMTP id 0123456789abc\r\n"
                                  "\tfor <\"b b\"@example.test>;\r\n"
                                  "\tTue, 29 Feb 2000 00:00:00 +0000\r\n");
    buf_clear(&out);
    r.client = STR("192.0.2.1");
    r.recipient = NULL;
    r.helo = STR_NONE;
    assert_true(mail_trace_received(&r, &out));
    assert_string_equal(out.data, "Received: from unknown ([192.0.2.1])\r\n"
                                  "\tby mx.example.test with ESMTP id 0123456789abc;\r\n"
                                  "\tTue, 29 Feb 2000 00:00:00 +0000\r\n");
    buf_clear(&out);
    r.client = STR("local");
    assert_true(mail_trace_received(&r, &out));
    assert_true(str_starts(buf_str(&out), STR("Received: from localhost (local)\r\n")));
    buf_done(&out);
}

static void received_hides_recipients_from_each_other(void **state)
{
    struct recipient two[] = {{.address = {STR("a"), STR("x"), false}}, {.address = {STR("b"), STR("x"), false}}};
    struct recipient utf8 = {.address = {STR("\xc3\xa9"), STR("x"), true}};
    struct envelope  e = {.origin = {.client = STR("192.0.2.1"), .helo = STR("h")}, .recipients = two};
    struct buf       out;

    (void)state;
    buf_init(&out, 4096);
    e.recipient_count = 2;
    assert_true(mail_trace_received_of(&e, STR("mx"), STR("id"), 0, &out));
    assert_true(str_find(buf_str(&out), STR("for <")) == STR_NOT_FOUND);
    e.recipient_count = 1;
    assert_true(mail_trace_received_of(&e, STR("mx"), STR("id"), 0, &out));
    assert_true(str_find(buf_str(&out), STR("for <a@x>;")) != STR_NOT_FOUND);
    e.recipients = &utf8;
    buf_clear(&out);
    assert_true(mail_trace_received_of(&e, STR("mx"), STR("id"), 0, &out));
    assert_true(str_find(buf_str(&out), STR("for <")) == STR_NOT_FOUND);
    e.smtputf8 = true;
    assert_true(mail_trace_received_of(&e, STR("mx"), STR("id"), 0, &out));
    assert_true(str_find(buf_str(&out), STR("for <\xc3\xa9@x>;")) != STR_NOT_FOUND);
    buf_done(&out);
}

static void a_client_cannot_write_our_trace(void **state)
{
    char                 helo[2000];
    struct mail_received r = {
        STR("192.0.2.1)\r\nX: y"), str_of(helo, sizeof helo), STR("mx"), STR("a\nb"), str_of("i\0d", 3), NULL, true, 0};
    struct buf out;
    struct str rest, line;

    (void)state;
    for (size_t i = 0; i < sizeof helo; i++)
        helo[i] = (char)(i % 256);
    buf_init(&out, 8192);
    assert_true(mail_trace_received(&r, &out));
    rest = buf_str(&out);
    for (int n = 0; rest.len; n++) {
        line = str_cut(&rest, '\n');
        assert_true(line.len <= 998 && str_ends(line, STR("\r")));
        line.len--;
        assert_true(n == 0 ? str_starts(line, STR("Received: ")) : str_starts(line, STR("\t")));
        for (size_t i = n ? 1 : 0; i < line.len; i++)
            assert_true(line.data[i] >= 32 && line.data[i] < 127);
        assert_true(str_find(line, STR("(")) == str_find_last_byte(line, '(') || n > 0);
    }
    buf_done(&out);
}

static void paths_of_delivery_are_written(void **state)
{
    struct mail_address null = {STR(""), STR(""), false}, a = {STR("a b"), STR("x"), false};
    struct buf          out;

    (void)state;
    buf_init(&out, 256);
    assert_true(mail_trace_return_path(&null, &out) && mail_trace_return_path(&a, &out));
    assert_true(mail_trace_delivered_to(&a, &out));
    assert_string_equal(out.data, "Return-Path: <>\r\nReturn-Path: <\"a b\"@x>\r\nDelivered-To: \"a b\"@x\r\n");
    buf_done(&out);
}

static void safe(const char *in, size_t len, bool utf8, size_t max, const char *want)
{
    struct buf out;

    buf_init(&out, 256);
    buf_append_z(&out, "|");
    assert_true(mail_safe_text(str_of(in, len), utf8, max, &out));
    assert_string_equal(out.data + 1, want);
    assert_true(out.len - 1 <= max);
    buf_done(&out);
}

static void safe_text_is_harmless_and_short(void **state)
{
    (void)state;
    safe("a\r\nb\tc\0\x1b\x7f", 9, true, 99, "a  b c???");
    safe("\xc3\xa9", 2, true, 99, "\xc3\xa9");
    safe("\xc3\xa9", 2, false, 99, "??");
    safe("\xc3", 1, true, 99, "?");
    safe("\xc2\x85\xc2\x9b", 4, true, 99, "????");
    safe("\xe2\x80\xae"
         "x\xe2\x80\xa8\xe2\x81\xa6",
         10, true, 99, "???x??????");
    safe("\xf0\x9f\x93\xa7", 4, true, 99, "\xf0\x9f\x93\xa7");
    safe("0123456789", 10, true, 10, "0123456789");
    safe("0123456789", 10, true, 9, "012345...");
    safe("01\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 10, true, 9, "01\xc3\xa9\xc3\xa9...");
    safe("01\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 10, true, 8, "01\xc3\xa9...");
    safe("0123", 4, true, 2, "..");
    safe("0123", 4, true, 0, "");
}

static void each_class_has_a_name(void **state)
{
    (void)state;
    for (int i = CLASS_SUBMITTER; i <= CLASS_OURSELVES; i++)
        for (int k = CLASS_SUBMITTER; k < i; k++)
            assert_string_not_equal(client_class_name((enum client_class)i), client_class_name((enum client_class)k));
    assert_string_equal(client_class_name(CLASS_STRANGER), "stranger");
    assert_string_equal(client_class_name((enum client_class)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xtext_has_one_spelling),
        cmocka_unit_test(utf8_xtext_round_trips),
        cmocka_unit_test(orcpt_has_a_type),
        cmocka_unit_test(dates_agree_with_the_c_library),
        cmocka_unit_test(dates_have_an_end),
        cmocka_unit_test(received_says_where_from),
        cmocka_unit_test(received_hides_recipients_from_each_other),
        cmocka_unit_test(a_client_cannot_write_our_trace),
        cmocka_unit_test(paths_of_delivery_are_written),
        cmocka_unit_test(safe_text_is_harmless_and_short),
        cmocka_unit_test(each_class_has_a_name),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
