/* test_contact.c: what a server's reply says of an address, and what it does not. */
#include "back/contact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mail_address ann = {STR("ann"), STR("example.net"), false};
static const struct mail_address elsewhere = {STR("ann"), STR("new.example"), false};
static const struct carried      by = {.host = STR("mx.example.net"), .address = STR("192.0.2.1")};

struct line {
    enum smtp_client_verdict verdict;
    enum smtp_stage          stage;
    uint16_t                 code;
    struct smtp_status       status; /* to report: the host's, or that of the table */
    const char              *text;
    enum contact_outcome     outcome;
};
#define FAILED SMTP_CLIENT_FAILED
#define DEFERRED SMTP_CLIENT_DEFERRED
#define RCPT SMTP_STAGE_RCPT
#define MESSAGE SMTP_STAGE_MESSAGE

static const struct line lines[] = {
    {SMTP_CLIENT_ACCEPTED, MESSAGE, 250, {2, 0, 0}, "2.0.0 Ok: queued", CONTACT_DELIVERED},
    {FAILED, RCPT, 550, {5, 1, 1}, "5.1.1 No such user", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 550, {5, 1, 1}, "No such user here", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 550, {5, 1, 1}, "", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 550, {5, 1, 0}, "5.1.0 Address rejected", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 550, {5, 2, 1}, "5.2.1 The account is disabled", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 553, {5, 1, 3}, "5.1.3 Bad address", CONTACT_NO_MAILBOX},
    {FAILED, RCPT, 553, {5, 1, 3}, "sorry, that domain isn't in my list of allowed rcpthosts", CONTACT_UNKNOWN},
    {FAILED, RCPT, 554, {5, 1, 0}, "Denied", CONTACT_UNKNOWN},
    {FAILED, MESSAGE, 550, {5, 1, 1}, "5.1.1 User unknown", CONTACT_NO_MAILBOX},
    {FAILED, MESSAGE, 550, {5, 3, 0}, "Message rejected", CONTACT_UNKNOWN},
    {FAILED, SMTP_STAGE_MAIL, 550, {5, 1, 0}, "5.1.0 Sender denied", CONTACT_UNKNOWN},
    {FAILED, RCPT, 550, {5, 7, 1}, "5.7.1 Relaying denied", CONTACT_UNKNOWN},
    {FAILED, RCPT, 550, {5, 1, 8}, "5.1.8 Bad sender's system address", CONTACT_UNKNOWN},
    {FAILED, RCPT, 551, {5, 1, 6}, "User not local; please try <ann@new.example>", CONTACT_MOVED},
    {FAILED, RCPT, 550, {5, 1, 6}, "5.1.6 Mailbox has moved", CONTACT_MOVED},
    {FAILED, RCPT, 552, {5, 2, 2}, "5.2.2 Mailbox full", CONTACT_FULL},
    {DEFERRED, RCPT, 552, {4, 5, 3}, "Exceeded storage allocation", CONTACT_FULL},
    {DEFERRED, RCPT, 452, {4, 2, 2}, "4.2.2 Over quota", CONTACT_FULL},
    {DEFERRED, MESSAGE, 452, {4, 2, 2}, "4.2.2 Over quota", CONTACT_FULL},
    {DEFERRED, RCPT, 452, {4, 5, 3}, "Too many recipients", CONTACT_UNKNOWN},
    {DEFERRED, RCPT, 450, {4, 2, 0}, "4.2.0 Greylisted", CONTACT_UNKNOWN},
    {DEFERRED, RCPT, 450, {4, 1, 1}, "4.1.1 Unverified address", CONTACT_UNKNOWN},
    {FAILED, RCPT, 556, {5, 1, 10}, "Domain does not accept mail", CONTACT_NO_MAIL},
    {FAILED, RCPT, 556, {5, 1, 10}, "5.1.10 Domain does not accept mail", CONTACT_NO_MAIL},
    {FAILED, SMTP_STAGE_CONNECT, 0, {5, 1, 10}, "", CONTACT_NO_MAIL}, /* null MX */
    /* Exchange says so of one mailbox, where its domain takes mail. */
    {FAILED, RCPT, 550, {5, 1, 10}, "5.1.10 RESOLVER.ADR.RecipientNotFound", CONTACT_NO_MAILBOX},
    {FAILED, MESSAGE, 550, {5, 1, 10}, "5.1.10 RESOLVER.ADR.RecipientNotFound", CONTACT_NO_MAILBOX},
    {FAILED, SMTP_STAGE_CONNECT, 0, {5, 1, 2}, "", CONTACT_UNKNOWN},
    {DEFERRED, SMTP_STAGE_CONNECT, 0, {4, 4, 1}, "", CONTACT_UNKNOWN},
};

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const struct line       *l = &lines[i];
        struct carried_recipient r = {
            .verdict = l->verdict, .stage = l->stage, .code = l->code, .status = l->status, .text = str_from(l->text)};
        struct contact c = {.outcome = CONTACT_UNKNOWN};
        bool           judged = back_contact_judge(&ann, &by, &r, 5, &c);

        if (judged != (l->outcome != CONTACT_UNKNOWN) || c.outcome != l->outcome)
            fail_msg("%u %s: %s", l->code, l->text, contact_outcome_name(c.outcome));
        if (!judged)
            continue;
        assert_true(c.last_ms == 5 && str_eq(c.host, by.host) && str_eq(c.address.domain, ann.domain));
        assert_int_equal(c.address.local.len, l->outcome == CONTACT_NO_MAIL ? 0 : 3);
    }
}

static void test_what_is_kept(void **state)
{
    struct carried_recipient r = {.verdict = FAILED,
                                  .stage = RCPT,
                                  .code = 551,
                                  .status = {5, 1, 6},
                                  .text = STR("5.1.6 Try <ann@new.example>"),
                                  .moved_to = elsewhere};
    struct contact           c;

    (void)state;
    assert_true(back_contact_judge(&ann, &by, &r, 5, &c));
    assert_true(mail_address_eq(&c.moved_to, &elsewhere) && c.code == 551);
    assert_string_equal(c.status, "5.1.6");
    assert_true(str_eq(c.text, STR("Try <ann@new.example>")));
    r = (struct carried_recipient){
        .verdict = SMTP_CLIENT_ACCEPTED, .stage = MESSAGE, .code = 250, .text = STR("Ok"), .moved_to = elsewhere};
    assert_true(back_contact_judge(&ann, &by, &r, 5, &c) && !c.unconfirmed); /* 251 at RCPT */
    assert_true(c.outcome == CONTACT_DELIVERED && mail_address_eq(&c.moved_to, &elsewhere) && !c.text.len);
    r.unconfirmed = true; /* 252 */
    assert_true(back_contact_judge(&ann, &by, &r, 5, &c) && c.unconfirmed);
    r = (struct carried_recipient){.verdict = FAILED, .status = {5, 1, 10}, .words = STR("null MX")};
    assert_true(back_contact_judge(&ann, &by, &r, 5, &c));
    assert_true(str_eq(c.text, STR("null MX")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_what_is_kept)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
