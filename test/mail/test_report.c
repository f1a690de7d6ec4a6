/* Unit tests of reports: what they say, what they never say, and that no stranger's text breaks out of its place.
 * check_mime.py reads them with another parser, check_reports.py compares whole ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "letter_text.h"

#include "mail/report.h"

#include <stdio.h>
#include <stdlib.h>

static const struct mail_report_recipient ghost = {
    .final = {STR("ghost"), STR("example.test"), false},
    .original_type = STR("rfc822"),
    .original = STR("Ghost@example.test"),
    .action = REPORT_FAILED,
    .status = {5, 1, 1},
    .code = 550,
    .remote = STR("mail.other.test"),
    .remote_address = STR("192.0.2.1"),
    .reply = STR("550 5.1.1 no such user"),
    .attempts = 1,
    .last_attempt_ms = UINT64_C(951782400000),
};

static struct mail_report report_of(const struct mail_report_recipient *recipients, size_t count)
{
    return (struct mail_report){
        .mta = STR("mx.example.test"),
        .id = STR("0123456789abc"),
        .date_ms = UINT64_C(951782400000),
        .to = {STR("alice"), STR("elsewhere.example"), false},
        .envelope_id = STR("QQ314159"),
        .arrival_ms = UINT64_C(951782300000),
        .recipients = recipients,
        .recipient_count = count,
        .content = STR("From: alice@elsewhere.example\r\nTo: ghost@example.test\r\nSubject: Hello\r\n there\r\n"
                       "Message-ID: <1@elsewhere.example>\r\n\r\nThe body.\r\n"),
    };
}

static void report(const struct mail_report *r, struct buf *out, enum body_type *ret_body)
{
    buf_init(out, 16 << 20);
    assert_true(mail_report_format(r, out, ret_body));
    assert_well_formed(out);
}

static void a_failure_says_what_whom_why_and_what_to_do(void **state)
{
    struct mail_report r = report_of(&ghost, 1);
    struct buf         out;
    enum body_type     body;

    (void)state;
    report(&r, &out, &body);
    assert_int_equal(body, BODY_7BIT);
    assert_true(holds(&out, "\r\nTo: <alice@elsewhere.example>\r\n"));
    assert_true(holds(&out, "\r\nSubject: Not delivered: Hello there\r\n"));
    assert_true(holds(&out, "\r\nAuto-Submitted: auto-replied\r\n"));
    assert_true(holds(&out, "\r\nIn-Reply-To: <1@elsewhere.example>\r\nReferences: <1@elsewhere.example>\r\n"));
    assert_true(holds(&out, "\r\nMessage-ID: <0123456789abc@mx.example.test>\r\n"));
    assert_true(holds(&out, "  ghost@example.test\r\n    Not delivered: There is no mailbox of this name.\r\n"));
    assert_true(holds(&out, "    What you can do: Check the address"));
    assert_true(holds(&out, "    The server mail.other.test (192.0.2.1) said (its own words, not ours):\r\n      "
                            "| 550 5.1.1 no such user\r\n"));
    assert_true(holds(&out, "\r\nReporting-MTA: dns; mx.example.test\r\nOriginal-Envelope-Id: QQ314159\r\n"));
    assert_true(holds(&out, "\r\nOriginal-Recipient: rfc822; Ghost@example.test\r\n"
                            "Final-Recipient: rfc822; ghost@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
                            "Remote-MTA: dns; mail.other.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
                            "Last-Attempt-Date: Tue, 29 Feb 2000 00:00:00 +0000\r\n"));
    assert_true(holds(&out, "\r\nContent-Type: text/rfc822-headers\r\n"));
    assert_true(holds(&out, "Message-ID: <1@elsewhere.example>\r\n\r\n--"));
    assert_false(holds(&out, "The body."));
    buf_done(&out);

    r.full = true;
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nContent-Type: message/rfc822\r\n") && holds(&out, "The body.\r\n"));
    buf_done(&out);

    r.binary = true;
    report(&r, &out, &body);
    assert_true(!holds(&out, "message/rfc822") && !holds(&out, "The body."));
    buf_done(&out);
}

static void the_advice_fits_the_action(void **state)
{
    struct mail_report_recipient p = ghost;
    struct mail_report           r = report_of(&p, 1);
    struct mail_address          new_home = {STR("new"), STR("home.test"), false};
    struct buf                   out;
    enum body_type               body;

    (void)state;
    p.status = (struct codes_status){5, 4, 7};
    p.last_status = (struct codes_status){4, 4, 1};
    p.code = 0;
    p.happened = STR("no connection to the server in time");
    p.attempts = 34;
    r.arrival_ms = p.last_attempt_ms - UINT64_C(27) * 3600 * 1000;
    report(&r, &out, &body);
    assert_true(holds(&out, "    Not delivered: This server tried for 27 hours, in vain, and has"));
    assert_true(holds(&out, "does not answer.") && holds(&out, "send the message again in a few"));
    assert_true(holds(&out, "At the server mail.other.test (192.0.2.1): no connection to the"));
    assert_true(holds(&out, "    Tried 34 times in 27 hours, the last time on Tue, 29 Feb 2000 00:00 UTC.\r\n"));
    assert_true(holds(&out, "Status: 5.4.7\r\n") && !holds(&out, "Diagnostic-Code"));
    buf_done(&out);

    p.action = REPORT_DELAYED;
    p.retry_until_ms = UINT64_C(951868800000);
    report(&r, &out, &body);
    assert_true(holds(&out, "Subject: Delayed: ") && holds(&out, "Please do not send the message again."));
    assert_true(holds(&out, "goes on until Wed, 01 Mar 2000 00:00 UTC.\r\n") && !holds(&out, "You are told"));
    assert_true(holds(&out, "\r\nWill-Retry-Until: Wed, 01 Mar 2000 00:00:00 +0000\r\n"));
    assert_false(holds(&out, "What you can do"));
    buf_done(&out);

    p.action = REPORT_DELIVERED;
    p.status = (struct codes_status){2, 0, 0};
    report(&r, &out, &body);
    assert_true(holds(&out, "Subject: Delivered: ") && holds(&out, "Action: delivered\r\nStatus: 2.0.0"));
    assert_false(holds(&out, "Will-Retry-Until"));
    buf_done(&out);

    p = ghost;
    p.status = (struct codes_status){5, 1, 6};
    p.reply = STR("551 try new@home.test");
    p.code = 551;
    p.moved_to = &new_home;
    report(&r, &out, &body);
    assert_true(holds(&out, "    The new address, as that server gives it: new@home.test\r\n"));
    assert_true(holds(&out, "If you trust this"));
    buf_done(&out);
    p.remote = p.remote_address = p.reply = STR_NONE;
    p.code = 0;
    report(&r, &out, &body);
    assert_true(holds(&out, "    The new address: new@home.test\r\n") && !holds(&out, "trust"));
    buf_done(&out);

    p = ghost;
    p.is_behind = true;
    report(&r, &out, &body);
    assert_true(holds(&out, "    Not delivered: This address is right, but it leads on to others"));
    assert_true(holds(&out, "Status: 5.1.1") && !holds(&out, "slip"));
    buf_done(&out);

    p = ghost;
    p.status = (struct codes_status){0, 0, 0};
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nStatus: 5.0.0\r\n"));
    buf_done(&out);
    p.status = (struct codes_status){5, 7, 1}; /* all hosts refused it, and it is tried again */
    p.action = REPORT_DELAYED;
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nStatus: 4.7.1\r\n"));
    buf_done(&out);
}

static void strangers_cannot_write_fields_or_parts(void **state)
{
    struct mail_report_recipient p = ghost;
    struct mail_report           r = report_of(&p, 1);
    char                         noise[3000], content[8000];
    struct buf                   out;
    enum body_type               body;

    (void)state;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = "\r\n--=_tacit_0123456789abc_0\r\nX-Evil: 1\r\n\0\xff"[i % 41];
    p.reply = p.happened = p.original = p.original_type = p.remote = p.remote_address = str_of(noise, sizeof noise);
    r.envelope_id = str_of(noise, sizeof noise);
    snprintf(content, sizeof content,
             "Subject: a\r\n --=_tacit_0123456789abc_0\r\n X-Evil: %0900d\r\nMessage-ID: <a@b\r\n X-Evil: 1>\r\n\r\n"
             "--=_tacit_0123456789abc_0\r\n\r\n--=_tacit_0123456789abc_1--\r\n",
             7);
    r.content = str_from(content);
    r.full = true;
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\n\tboundary=\"=_tacit_0123456789abc_2\"\r\n"));
    assert_false(holds(&out, "In-Reply-To"));
    assert_false(holds(&out, "\r\nX-Evil"));
    buf_done(&out);

    /* All boundaries guessed: nothing is returned at all. */
    content[0] = '\0';
    for (int i = 0; i < 20; i++)
        snprintf(content + strlen(content), sizeof content - strlen(content), "X: =_tacit_0123456789abc_%d\r\n", i);
    r.content = str_from(content);
    report(&r, &out, &body);
    assert_false(holds(&out, "X: =_tacit"));
    assert_true(holds(&out, "Action: failed"));
    buf_done(&out);
}

static void content_that_cannot_travel_is_cut_to_its_header(void **state)
{
    static const struct str contents[] = {
        STR("Subject: a\nX: b\n\nbody\n"),           STR("Subject: a\r\nX: b\r\n\r\nbo\rdy\r\n"),
        STR("Subject: a\r\nX: b\r\n\r\nbo\0dy\r\n"), STR("Subject: a\r\nX: b\r\n\r\nbody\n"),
        STR("Subject: a\r\nX: b\r\n\r\nbody\r"),     STR("Subject: a\r\nX: b\r\n\r\nbody\r\n\n"),
    };
    char               line[3000] = "Subject: a\r\nX: b\r\n\r\n";
    struct mail_report r = report_of(&ghost, 1);
    struct buf         out;
    enum body_type     body;

    (void)state;
    r.full = true;
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        r.content = contents[i];
        report(&r, &out, &body);
        assert_true(holds(&out, "text/rfc822-headers") && holds(&out, "Subject: a\r\nX: b\r\n\r\n--"));
        buf_done(&out);
    }
    memset(line + 20, 'x', sizeof line - 20);
    r.content = str_of(line, 20 + 998);
    report(&r, &out, &body);
    assert_true(holds(&out, "message/rfc822"));
    buf_done(&out);
    r.content = str_of(line, 20 + 999);
    report(&r, &out, &body);
    assert_true(holds(&out, "text/rfc822-headers"));
    buf_done(&out);
    r.content = STR_NONE;
    report(&r, &out, &body);
    assert_false(holds(&out, "rfc822-headers") || holds(&out, "In-Reply-To"));
    buf_done(&out);
}

static void utf8_goes_only_to_those_who_take_it(void **state)
{
    struct mail_report_recipient p = ghost;
    struct mail_report           r = report_of(&p, 1);
    struct buf                   out;
    enum body_type               body;

    (void)state;
    p.final = (struct mail_address){STR("\xc3\xa9ric"), STR("example.test"), true};
    p.original_type = STR("utf-8");
    p.original = STR("\xc3\xa9ric@example.test");
    p.reply = STR("550 pas d'\xc3\xa9ric");
    r.content = STR("Subject: \xc3\xa9t\xc3\xa9\r\n\r\nx\r\n");
    report(&r, &out, &body);
    assert_int_equal(body, BODY_8BITMIME); /* the text and the returned header */
    assert_true(holds(&out, "\r\n  \xc3\xa9ric@example.test\r\n") && holds(&out, "  Subject:  \xc3\xa9t\xc3\xa9\r\n"));
    assert_true(holds(&out, "      | 550 pas d'\xc3\xa9ric\r\n") && holds(&out, "smtp; 550 pas d'??ric\r\n"));
    assert_true(holds(&out, "Final-Recipient: utf-8; \\x{E9}ric@example.test\r\n"));
    assert_true(holds(&out, "Original-Recipient: utf-8; \\x{E9}ric@example.test\r\n"));
    assert_true(holds(&out, "Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n"));
    assert_true(holds(&out, "text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n"));
    assert_true(holds(&out, "Subject: Not delivered: ??t??\r\n"));
    buf_done(&out);

    r.smtputf8 = true;
    report(&r, &out, &body);
    assert_true(holds(&out, "Final-Recipient: utf-8; \xc3\xa9ric@example.test\r\n"));
    assert_true(holds(&out, "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
    assert_true(holds(&out, "Content-Type: message/global-headers\r\n"));
    assert_true(holds(&out, "Subject: Not delivered: \xc3\xa9t\xc3\xa9\r\n"));
    buf_done(&out);
}

static void many_recipients_are_counted(void **state)
{
    struct mail_report_recipient *many = calloc(1200, sizeof *many);
    struct mail_report            r = report_of(many, 1200);
    struct buf                    out;
    enum body_type                body;
    char                          name[1200][8];

    (void)state;
    for (int i = 0; i < 1200; i++) {
        snprintf(name[i], sizeof name[i], "u%d", i);
        many[i] = ghost;
        many[i].final.local = str_from(name[i]);
    }
    report(&r, &out, &body);
    assert_true(holds(&out, "  u24@example.test\r\n") && !holds(&out, "  u25@example.test\r\n"));
    assert_true(holds(&out, "... and 1175 more"));
    assert_true(holds(&out, "rfc822; u999@") && !holds(&out, "rfc822; u1000@"));
    buf_done(&out);
    free(many);
}

/* RFC 3461 9.2 */
static void replies_are_quoted_line_by_line(void **state)
{
    struct mail_report_recipient p = ghost;
    struct mail_report           r = report_of(&p, 1);
    char                         many[2000] = "";
    struct buf                   out;
    enum body_type               body;

    (void)state;
    p.reply = STR("550-5.1.1 The account does not exist.\n550 5.1.1 Look for\ta slip\n");
    report(&r, &out, &body);
    assert_true(holds(&out, "      | 550-5.1.1 The account does not exist.\r\n      | 550-5.1.1 Look for a slip\r\n"));
    assert_true(holds(&out, "\r\nDiagnostic-Code: smtp; 550-5.1.1 The account does not exist.\r\n"
                            " 550-5.1.1 Look for a slip\r\n 550\r\n"));
    buf_done(&out);
    p.reply = STR("5.1.1 The account\n5.1.1 is gone"); /* without the code */
    report(&r, &out, &body);
    assert_true(holds(&out, "smtp; 550-5.1.1 The account\r\n 550 5.1.1 is gone\r\n"));
    buf_done(&out);
    for (int i = 0; i < 40; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "line %d\n", i);
    p.reply = str_from(many);
    report(&r, &out, &body);
    assert_true(holds(&out, " 550-line 14\r\n 550 line 15\r\nLast-Attempt") && !holds(&out, "line 16"));
    buf_done(&out);
    p.code = 0; /* nothing was said */
    report(&r, &out, &body);
    assert_false(holds(&out, "Diagnostic-Code") || holds(&out, "line 1"));
    buf_done(&out);
    p.remote = STR_NONE;
    p.remote_address = STR("2001:db8::1");
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nRemote-MTA: dns; [IPv6:2001:db8::1]\r\n"));
    buf_done(&out);
}

/* Whatever other servers say, a report of as many recipients as there may be stays below what back gives it. */
static void the_largest_report_has_a_size(void **state)
{
    enum { ROOM = 4 << 20, REPLY_MAX = 512 };
    struct mail_report_recipient *many = calloc(MAIL_REPORT_RECIPIENTS_MAX, sizeof *many);
    struct mail_report            r = report_of(many, MAIL_REPORT_RECIPIENTS_MAX);
    char                          reply[REPLY_MAX], local[64], domain[250], orcpt[500];
    struct buf                    out;
    enum body_type                body;

    (void)state;
    for (size_t i = 0; i < sizeof reply; i++)
        reply[i] = i % 2 ? '\n' : 'x';
    memset(orcpt, 'o', sizeof orcpt);
    for (size_t i = 0; i < sizeof local; i++)
        local[i] = "\xc3\xa9"[i % 2];
    for (size_t i = 0; i < sizeof domain; i++)
        domain[i] = i % 60 == 59 ? '.' : 'd';
    for (size_t i = 0; i < MAIL_REPORT_RECIPIENTS_MAX; i++) {
        many[i] = ghost;
        many[i].final = (struct mail_address){str_of(local, sizeof local), str_of(domain, 190), true};
        many[i].original = str_of(orcpt, sizeof orcpt);
        many[i].remote = str_of(domain, sizeof domain);
        many[i].reply = str_of(reply, sizeof reply);
    }
    report(&r, &out, &body);
    assert_true(out.len < ROOM);
    buf_done(&out);
    free(many);
}

static void subjects_are_readable(void **state)
{
    struct mail_report r = report_of(&ghost, 1);
    struct buf         out;
    enum body_type     body;

    (void)state;
    r.content = STR("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?iso-8859-1?q?_aus_K=F6ln?=\r\n\r\nx\r\n");
    report(&r, &out, &body);
    assert_int_equal(body, BODY_8BITMIME);
    assert_true(holds(&out, "\r\n  Subject:  Gr\xc3\xbc\xc3\x9f"
                            "e aus K\xc3\xb6ln\r\n"));
    assert_true(holds(&out, "\r\nSubject: Not delivered: =?utf-8?q?Gr=C3=BC=C3=9Fe?="));
    assert_true(holds(&out, "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"));
    buf_done(&out);
    r.content = STR("Subject: =?utf-8?q?=E2=80=AEevil=0D=0AX-Evil:_1?=\r\n\r\nx\r\n");
    report(&r, &out, &body);
    assert_true(holds(&out, "  Subject:  ???evil  X-Evil: 1\r\n") || holds(&out, "  Subject:  ???evil X-Evil: 1\r\n"));
    buf_done(&out);
}

static void a_full_buffer_fails(void **state)
{
    struct mail_report r = report_of(&ghost, 1);
    enum body_type     body = BODY_BINARYMIME;
    struct buf         out;
    size_t             len;

    (void)state;
    report(&r, &out, &body);
    len = out.len;
    buf_done(&out);
    body = BODY_BINARYMIME;
    for (size_t max = 0; max < len; max += max + 41 < len ? 41 : 1) {
        buf_init(&out, max);
        assert_false(mail_report_format(&r, &out, &body));
        assert_int_equal(body, BODY_BINARYMIME);
        buf_done(&out);
    }
}

static void long_subjects_are_cut_between_words(void **state)
{
    struct mail_report r = report_of(&ghost, 1);
    char               content[1000] = "Subject:";
    struct buf         out;
    enum body_type     body;

    (void)state;
    for (int i = 0; i < 40; i++)
        snprintf(content + strlen(content), sizeof content - strlen(content), " =?utf-8?q?w%02d?=", i);
    strcat(content, "\r\n\r\n");
    r.content = str_from(content);
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nSubject: Not delivered: =?utf-8?q?w00?= "));
    assert_true(holds(&out, "=?utf-8?q?w11?= ...\r\n") && !holds(&out, "w11?=\r\n ="));
    buf_done(&out);

    memset(content + 9, 'x', 500);
    r.content = str_from(content);
    report(&r, &out, &body);
    assert_true(holds(&out, "\r\nSubject: Not delivered\r\n"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_says_what_whom_why_and_what_to_do),
        cmocka_unit_test(the_advice_fits_the_action),
        cmocka_unit_test(strangers_cannot_write_fields_or_parts),
        cmocka_unit_test(content_that_cannot_travel_is_cut_to_its_header),
        cmocka_unit_test(utf8_goes_only_to_those_who_take_it),
        cmocka_unit_test(many_recipients_are_counted),
        cmocka_unit_test(replies_are_quoted_line_by_line),
        cmocka_unit_test(the_largest_report_has_a_size),
        cmocka_unit_test(subjects_are_readable),
        cmocka_unit_test(a_full_buffer_fails),
        cmocka_unit_test(long_subjects_are_cut_between_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
