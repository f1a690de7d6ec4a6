/* Unit tests of the header iterator and the scanner. Every case goes through both, the scanner in pieces of every
 * size, and both must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/header.h"

#include <stdio.h>

static struct mail_scan scan(struct str content, size_t piece, struct str hostname)
{
    struct mail_scan s;

    mail_scan_init(&s, hostname);
    for (size_t at = 0; at < content.len; at += piece)
        mail_scan_feed(&s, str_part(content, at, piece));
    mail_scan_end(&s);
    return s;
}

static void assert_header(const char *text, size_t fields, size_t received, size_t header_len, size_t body)
{
    struct str         content = str_from(text);
    struct mail_fields f;
    struct mail_field  field;
    size_t             count = 0;

    mail_fields_init(&f, content, MAIL_HEADER_MAX);
    while (mail_fields_next(&f, &field))
        count++;
    assert_int_equal(count, fields);
    assert_int_equal(mail_header_count(content, STR("received")), received);
    assert_int_equal(mail_header_len(content), header_len);
    assert_int_equal(mail_header_body(content), body);
    for (size_t piece = 1; piece <= content.len + 1; piece++) {
        struct mail_scan s = scan(content, piece, STR_NONE);

        assert_int_equal(s.fields, fields);
        assert_int_equal(s.received, received);
        assert_int_equal(s.header_len, header_len);
        assert_int_equal(s.body_start, body);
        assert_int_equal(s.size, content.len);
    }
}

static void headers_end_where_they_end(void **state)
{
    (void)state;
    assert_header("", 0, 0, 0, 0);
    assert_header("\r\n", 0, 0, 0, 2);
    assert_header("\n", 0, 0, 0, 1);
    assert_header("A: b\r\n\r\nbody", 1, 0, 6, 8);
    assert_header("A: b\n\nbody", 1, 0, 5, 6);
    assert_header("A: b\r\nbody", 1, 0, 6, 6);
    assert_header("A: b\r\nbody\r\n", 1, 0, 6, 6);
    assert_header("A: b", 1, 0, 4, 4);
    assert_header("A: b\r\n c\r\n\td\r\n\r\n", 1, 0, 14, 16);
    assert_header("A: b\r\n \r\n\r\n", 1, 0, 9, 11);
    assert_header(" A: b\r\n\r\n", 0, 0, 0, 0);
    assert_header(": b\r\n\r\n", 0, 0, 0, 0);
    assert_header("A b: c\r\n\r\n", 0, 0, 0, 0);
    assert_header("A \t: c\r\n\r\n", 1, 0, 8, 10);
    assert_header("A: b\r\n\rX: y\r\n", 1, 0, 6, 6);
    assert_header("A: b\r\n\r", 1, 0, 6, 6);
    assert_header("A: b\rc\r\nD: e\r\n", 2, 0, 14, 14);
    assert_header("\xc3\xa9: b\r\n", 0, 0, 0, 0);
    assert_header("A: b\r\nFrom x\r\nC: d\r\n", 1, 0, 6, 6);
}

static void received_fields_are_counted(void **state)
{
    (void)state;
    assert_header(
        "Received: a\r\nRECEIVED : b\r\n c\r\nX-Received: d\r\nReceive: e\r\nReceivedx: f\r\n\r\nReceived: g\r\n", 5, 2,
        72, 74);
    assert_header("Received: a\r\n Received: b\r\n\r\n", 1, 1, 27, 29);
    assert_header("ReceivedReceivedReceivedReceived: a\r\n\r\n", 1, 0, 37, 39);
}

static void fields_are_found_and_unfolded(void **state)
{
    struct str content = STR("X: 1\r\nSubject: =?utf-8?q?a?=\r\n\t b \r\nsubject: second\r\n\r\nSubject: body\r\n");
    struct mail_field f = {STR_NONE, STR_NONE, STR("kept")};
    struct buf        out;

    (void)state;
    buf_init(&out, 64);
    assert_false(mail_header_find(content, STR("Subj"), &f));
    assert_true(str_eq(f.raw, STR("kept")));
    assert_true(mail_header_find(content, STR("SUBJECT"), &f));
    assert_true(str_eq(f.raw, STR("Subject: =?utf-8?q?a?=\r\n\t b \r\n")));
    assert_true(str_eq(f.body, STR(" =?utf-8?q?a?=\r\n\t b ")));
    assert_true(mail_field_unfold(f.body, &out));
    assert_true(str_eq(buf_str(&out), STR("=?utf-8?q?a?=\t b")));
    buf_clear(&out);
    assert_true(mail_field_unfold(STR(" \r\n \t"), &out) && out.len == 0);
    assert_false(
        mail_field_unfold(str_of("0123456789012345678901234567890123456789012345678901234567890123456789", 70), &out));
    buf_done(&out);
}

static void a_header_has_a_ceiling(void **state)
{
    struct str         content = STR("A: b\r\nC: d\r\nE: f\r\n");
    struct mail_fields f;
    struct mail_field  field;

    (void)state;
    mail_fields_init(&f, content, 12);
    assert_true(mail_fields_next(&f, &field) && !mail_fields_next(&f, &field)); /* C may go on behind the ceiling */
    mail_fields_init(&f, content, 13);
    assert_true(mail_fields_next(&f, &field) && mail_fields_next(&f, &field) && !mail_fields_next(&f, &field));
    mail_fields_init(&f, content, 3);
    assert_false(mail_fields_next(&f, &field));
    mail_fields_init(&f, content, 0);
    assert_false(mail_fields_next(&f, &field));
}

static void the_scanner_notes_what_a_message_has(void **state)
{
    struct mail_scan s;

    (void)state;
    s = scan(STR("From: a\r\nDATE: b\r\nmessage-id: <c>\r\n\r\nx"), 1, STR_NONE);
    assert_true(s.has_from && s.has_date && s.has_message_id && s.header_ended && !s.header_8bit && !s.body_8bit);
    s = scan(STR("Fro: a\r\nDates: b\r\nMessage-Id2: <c>\r\n\r\nFrom: a\r\nDate: b\r\n"), 3, STR_NONE);
    assert_false(s.has_from || s.has_date || s.has_message_id);
    s = scan(STR("A: \xc3\xa9\r\n\r\nx"), 1, STR_NONE);
    assert_true(s.header_8bit && !s.body_8bit);
    for (size_t piece = 1; piece < 40; piece++) {
        s = scan(STR("A: b\r\n\r\n0123456789012345678901234\xe9"), piece, STR_NONE);
        assert_true(!s.header_8bit && s.body_8bit && !s.has_nul);
    }
    s = scan(STR("A: b\r\n\xe9: c\r\n"), 1, STR_NONE);
    assert_true(!s.header_8bit && s.body_8bit);
    s = scan(str_of("A: b\r\n\r\nx\0y", 11), 4, STR_NONE);
    assert_true(s.has_nul);
    s = scan(STR("A: b\r\n"), 1, STR_NONE);
    assert_false(s.header_ended);
}

static void ids_of_ours_are_found_in_any_cut(void **state)
{
    struct str content = STR("References: <one@mx.example.test> <x@other.test>\r\n\r\n"
                             "<<two@MX.Example.TEST>, <a b@mx.example.test> <three@mx.example.testx>\r\n"
                             "<@mx.example.test> <four@@mx.example.test> <five@mx.example.test\r\n>"
                             "<<six@mx.exam<seven@mx.example.test> eight@mx.example.test> <one@mx.example.test>\r\n"
                             "<01234567890123456789012345678901234567890123456789012345678901234@mx.example.test>"
                             "<0123456789012345678901234567890123456789012345678901234567890123@mx.example.test>");

    (void)state;
    for (size_t piece = 1; piece <= content.len; piece++) {
        struct mail_scan s = scan(content, piece, STR("mx.example.test"));

        assert_int_equal(s.id_count, 4);
        assert_true(str_eq(mail_scan_id(&s, 0), STR("one")));
        assert_true(str_eq(mail_scan_id(&s, 1), STR("two")));
        assert_true(str_eq(mail_scan_id(&s, 2), STR("seven")));
        assert_int_equal(mail_scan_id(&s, 3).len, 64);
        assert_int_equal(mail_scan_id(&s, 4).len, 0);
    }
}

static void a_flood_of_ids_takes_no_more_room(void **state)
{
    struct mail_scan s;
    char             token[64];

    (void)state;
    mail_scan_init(&s, STR("h"));
    for (int i = 0; i < 1000; i++) {
        snprintf(token, sizeof token, "<%d@h>", i);
        mail_scan_feed(&s, str_from(token));
    }
    mail_scan_end(&s);
    assert_int_equal(s.id_count, MAIL_SCAN_IDS);
    assert_true(str_eq(mail_scan_id(&s, 15), STR("15")));
}

static void message_ids_are_taken_out_of_their_field(void **state)
{
    char long_id[300];

    (void)state;
    assert_true(str_eq(mail_message_id(STR(" <a@b>"), false), STR("<a@b>")));
    assert_true(str_eq(mail_message_id(STR("\r\n\t<a@b> (x) <c@d>"), false), STR("<a@b>")));
    assert_true(str_eq(mail_message_id(STR("<a b@c> <d> <<e@f>"), false), STR("<e@f>")));
    assert_int_equal(mail_message_id(STR("<a@b\r\nBcc: x>"), false).len, 0);
    assert_int_equal(mail_message_id(STR("a@b>"), false).len, 0);
    assert_int_equal(mail_message_id(STR("<\xc3\xa9@b>"), false).len, 0);
    assert_int_equal(mail_message_id(STR("<\xc3\xa9@b>"), true).len, 6);
    assert_int_equal(mail_message_id(STR("<\xc3@b>"), true).len, 0);
    memset(long_id, 'a', sizeof long_id);
    long_id[0] = '<';
    long_id[5] = '@';
    long_id[sizeof long_id - 1] = '>';
    assert_int_equal(mail_message_id(str_of(long_id, sizeof long_id), true).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_end_where_they_end),
        cmocka_unit_test(received_fields_are_counted),
        cmocka_unit_test(fields_are_found_and_unfolded),
        cmocka_unit_test(a_header_has_a_ceiling),
        cmocka_unit_test(the_scanner_notes_what_a_message_has),
        cmocka_unit_test(ids_of_ours_are_found_in_any_cut),
        cmocka_unit_test(a_flood_of_ids_takes_no_more_room),
        cmocka_unit_test(message_ids_are_taken_out_of_their_field),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
