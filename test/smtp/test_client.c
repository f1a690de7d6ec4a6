/* What the scripts cannot say: that the table of outcomes is whole, and how waits are counted. */
#include "smtp/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { STAGES = SMTP_STAGE_QUIT + 1 };

static bool rows_overlap(const struct smtp_outcome *a, const struct smtp_outcome *b)
{
    return a->stage == b->stage && a->first <= b->first && a->last >= b->last && a->when == SMTP_FACT_NONE &&
           a->subject < 0;
}

/* Every code and every fact finds a row at every stage, and no row stands behind one that takes everything from it. */
static void test_table_is_whole(void **state)
{
    (void)state;
    for (unsigned stage = SMTP_STAGE_GREETING; stage < STAGES; stage++)
        for (unsigned code = 200; code < 600; code++)
            for (unsigned facts = 0; facts < 64; facts++) {
                const struct smtp_outcome *o = smtp_outcome_find((enum smtp_stage)stage, code, SMTP_STATUS_NONE, facts);

                assert_non_null(o);
                assert_true(o->first <= code && code <= o->last);
                if (o->action == SMTP_DO_FAIL || o->action == SMTP_DO_NO_MAIL)
                    assert_true(code >= 500 && o->status.class == 5);
                if (o->action == SMTP_DO_REFUSED)
                    assert_true(code >= 500 && o->status.class == 4);
                if (o->action == SMTP_DO_GO_ON && stage != SMTP_STAGE_QUIT)
                    assert_true(code < 400);
            }
    for (unsigned stage = SMTP_STAGE_GREETING; stage < STAGES; stage++)
        for (unsigned what = SMTP_LOST; what <= SMTP_GARBLED; what++)
            assert_non_null(smtp_outcome_find((enum smtp_stage)stage, what, SMTP_STATUS_NONE, 0));
    for (size_t i = 0; smtp_outcome_at(i); i++)
        for (size_t k = 0; k < i; k++)
            assert_false(rows_overlap(smtp_outcome_at(k), smtp_outcome_at(i)));
}

static struct smtp_status reported(enum smtp_stage stage, unsigned code, struct smtp_status status)
{
    return smtp_outcome_status(smtp_outcome_find(stage, code, status, 0), status);
}

static void assert_status(struct smtp_status is, unsigned class, unsigned subject, unsigned detail)
{
    assert_int_equal(is.class, class);
    assert_int_equal(is.subject, subject);
    assert_int_equal(is.detail, detail);
}

static void test_digit_decides(void **state)
{
    (void)state;
    assert_status(reported(SMTP_STAGE_RCPT, 550, SMTP_STATUS(4, 2, 1)), 5, 2, 1);
    assert_status(reported(SMTP_STAGE_RCPT, 450, SMTP_STATUS(5, 1, 1)), 4, 1, 1);
    assert_status(reported(SMTP_STAGE_RCPT, 250, SMTP_STATUS(5, 1, 1)), 2, 1, 0);
    assert_status(reported(SMTP_STAGE_RCPT, 550, SMTP_STATUS(2, 1, 5)), 5, 1, 1);
    assert_status(reported(SMTP_STAGE_RCPT, 552, SMTP_STATUS(5, 2, 2)), 5, 2, 2);
    assert_status(reported(SMTP_STAGE_RCPT, 552, SMTP_STATUS_NONE), 4, 5, 3);
    assert_int_equal(smtp_outcome_find(SMTP_STAGE_RCPT, 552, SMTP_STATUS_NONE, SMTP_FACT_ACCEPTED)->action,
                     SMTP_DO_REST);
    assert_int_equal(smtp_outcome_find(SMTP_STAGE_RCPT, 552, SMTP_STATUS(5, 2, 2), SMTP_FACT_ACCEPTED)->action,
                     SMTP_DO_FAIL);
}

static void feed(struct smtp_client *c, const char *text)
{
    enum smtp_client_event event;
    struct str             rest = str_from(text);

    do {
        smtp_client_sent(c, smtp_client_output(c).len);
        rest = str_skip(rest, smtp_client_feed(c, rest, &event));
    } while (event != SMTP_CLIENT_NONE);
    smtp_client_sent(c, smtp_client_output(c).len);
}

/* Each answer, and each block of content, has a wait of its own; a server that dribbles gains no time by it. */
static void test_waits(void **state)
{
    const struct smtp_client_config  config = {.hostname = STR("us.test"), .recipients = 10, .memory = 1 << 16};
    const struct recipient           to = {.address = {.local = STR("b"), .domain = STR("them.test")}};
    const struct smtp_client_message message = {.recipients = &to, .recipient_count = 1, .size = 100000};
    static char                      piece[50000];
    struct smtp_client              *c = smtp_client_new(&config);
    uint64_t                         number;

    (void)state;
    memset(piece, 'x', sizeof piece);
    number = smtp_client_wait(c).number;
    feed(c, "220-mx");
    feed(c, ".test\r\n220-still\r\n220 ");
    assert_int_equal(smtp_client_wait(c).number, number);
    feed(c, "here\r\n");
    assert_true(smtp_client_wait(c).number > number);
    feed(c, "250 mx.test\r\n");
    assert_int_equal(smtp_client_wait(c).ms, 0);
    smtp_client_message(c, &message);
    feed(c, "");
    number = smtp_client_wait(c).number;
    feed(c, "250 Ok\r\n");
    assert_true(smtp_client_wait(c).number > number);
    feed(c, "250 Ok\r\n");
    feed(c, "354 Ok\r\n");
    assert_int_equal(smtp_client_wait(c).ms, 180 * 1000);
    assert_true(smtp_client_wants_content(c));
    smtp_client_give(c, str_of(piece, sizeof piece), false);
    assert_true(smtp_client_wants_content(c));
    smtp_client_give(c, str_of(piece, sizeof piece), true);
    number = smtp_client_wait(c).number;
    smtp_client_sent(c, 100);
    assert_int_equal(smtp_client_wait(c).number, number);
    smtp_client_free(c);
}

/* Many recipients with long parameters do not fill the memory: commands wait for those before them to be sent. */
static void test_many_recipients(void **state)
{
    enum { COUNT = 1000 };
    const struct smtp_client_config config = {.hostname = STR("us.test"), .recipients = COUNT, .memory = 1 << 20};
    static struct recipient         to[COUNT];
    static char                     orcpt[400];
    struct smtp_client_message      message = {.recipients = to, .recipient_count = COUNT, .size = 10};
    struct smtp_client             *c = smtp_client_new(&config);
    size_t                          most = 0, sent = 0;

    (void)state;
    memset(orcpt, 'o', sizeof orcpt);
    for (size_t i = 0; i < COUNT; i++)
        to[i] = (struct recipient){.address = {.local = STR("b"), .domain = STR("them.test")},
                                   .orcpt_type = STR("rfc822"),
                                   .orcpt = str_of(orcpt, sizeof orcpt)};
    feed(c, "220 mx\r\n");
    feed(c, "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n");
    smtp_client_message(c, &message);
    while (smtp_client_output(c).len) {
        size_t some = smtp_client_output(c).len;

        most = some > most ? some : most;
        smtp_client_sent(c, some);
        sent += some;
    }
    assert_true(sent > (size_t)COUNT * 400 && most < 20000);
    smtp_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_whole),
        cmocka_unit_test(test_digit_decides),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_many_recipients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
