/* doc/disclosure.md as tests: what each class is told, and above all that the others are told nothing: their replies
 * are the same bytes whatever is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "policy/disclosure.h"

enum { CLASSES = CLASS_OURSELVES + 1, TOLDS = TOLD_FAILED + 1, TEXT = 512 };

static const struct mail_address alice = {{"alice", 5}, {"example.test", 12}, false};
static const struct mail_address other = {{"someone else", 12}, {"other.test", 10}, false};
static const struct mail_address moved = {{"new", 3}, {"new.test", 8}, false};
static const struct mail_address moved_utf8 = {{"n\xc3\xa9w", 4}, {"new.test", 8}, true};
static const struct mail_address null_path = {{"", 0}, {"", 0}, false};
static const struct mail_address utf8 = {{"\xc3\xa4lice", 6}, {"example.test", 12}, true};

static const struct disclosure_config standard = {VRFY_252, STRANGERS_ACCEPT, 250};

static bool is_trusted(unsigned class)
{
    return class == CLASS_SUBMITTER || class == CLASS_RELAY || class == CLASS_OURSELVES;
}

/* The reply as the client gets it. */
static const char *wire(struct smtp_reply reply, char text[TEXT])
{
    struct buf out;

    buf_init(&out, TEXT - 1);
    assert_true(smtp_reply_format(&reply, true, &out));
    snprintf(text, TEXT, "%s", out.data);
    buf_done(&out);
    return text;
}

static void assert_wire(struct smtp_reply reply, const char *expected)
{
    char text[TEXT];

    assert_string_equal(wire(reply, text), expected);
}

static void assert_starts(struct smtp_reply reply, const char *expected)
{
    char text[TEXT];

    wire(reply, text);
    if (strncmp(text, expected, strlen(expected)) != 0)
        fail_msg("%s does not start with %s", text, expected);
}

static void test_classify(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        bool              local = bits & 1, relay = bits & 2, blocked = bits & 4;
        enum client_class first = local     ? CLASS_SUBMITTER
                                  : relay   ? CLASS_RELAY
                                  : blocked ? CLASS_BLOCKED
                                            : CLASS_STRANGER;

        assert_int_equal(disclosure_classify(local, relay, blocked, NULL), first);
        assert_int_equal(disclosure_classify(local, relay, blocked, &alice), first);
        assert_int_equal(disclosure_classify(local, relay, blocked, &null_path),
                         first == CLASS_STRANGER ? CLASS_BOUNCE : first);
    }
}

static void test_who_may_ask(void **state)
{
    struct disclosure_config c = standard;

    (void)state;
    for (unsigned class = 0; class < CLASSES; class ++) {
        c.vrfy = VRFY_252;
        assert_int_equal(disclosure_may_ask_vrfy(&c, class), is_trusted(class));
        c.vrfy = VRFY_502;
        assert_int_equal(disclosure_may_ask_vrfy(&c, class), is_trusted(class));
        c.vrfy = VRFY_ANSWER;
        assert_int_equal(disclosure_may_ask_vrfy(&c, class), class != CLASS_BLOCKED);
        assert_int_equal(disclosure_may_ask_rcpt(class), is_trusted(class) || class == CLASS_CORRESPONDENT);
        assert_int_equal(disclosure_evens_work(class), !is_trusted(class));
    }
}

/* Non-interference: for a class that may not ask, the bytes depend on the class, the configuration and what the client
 * said (whether the domain is ours, how many recipients it has), on nothing else. `told` takes even values that it
 * never has for such a class. */
static void test_replies_do_not_depend_on_who_exists(void **state)
{
    const struct mail_address *const addresses[] = {&alice, &other, &utf8, NULL};
    const struct mail_address *const moves[] = {NULL, &moved, &moved_utf8};
    struct arena                     arena;
    size_t                           compared = 0;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    for (unsigned bits = 0; bits < 3 * 2 * 2 * CLASSES; bits++) {
        unsigned class = bits / 12;
        struct disclosure_config c = {bits % 3, bits / 3 % 2, bits / 6 % 2 ? 252 : 250};
        char                     vrfy[TEXT] = "", expn[TEXT] = "", rcpt[2][3][TEXT] = {{""}}, text[TEXT];

        for (unsigned told = 0; told < TOLDS; told++) {
            for (unsigned k = 0; k < 4 * 3 * 2; k++) {
                const struct mail_address *a = addresses[k % 4], *m = moves[k / 4 % 3];
                bool                       smtputf8 = k / 12;

                if (!disclosure_may_ask_vrfy(&c, class)) {
                    wire(disclosure_vrfy(&c, class, told, a, m, smtputf8, &arena), text);
                    if (!*vrfy)
                        strcpy(vrfy, text);
                    assert_string_equal(text, vrfy);
                    wire(disclosure_expn(&c, class, told, k % 2 ? STR("<a@b>\n<c@d>") : STR(""), &arena), text);
                    if (!*expn)
                        strcpy(expn, text);
                    assert_string_equal(text, expn);
                    compared++;
                }
                for (unsigned local = 0; local < 2 && !disclosure_may_ask_rcpt(class); local++) {
                    for (size_t before = 0; before < 3; before++) {
                        char *first = rcpt[local][before];

                        wire(disclosure_rcpt(&c, class, local, told, a, m, smtputf8, before, &arena), text);
                        if (!*first)
                            strcpy(first, text);
                        assert_string_equal(text, first);
                        compared++;
                    }
                }
            }
        }
        assert_int_equal(arena.used, 0); /* nothing was put together from an address */
    }
    assert_true(compared > 10000);
    arena_done(&arena);
}

/* The address is not said back where nothing may be told, nor is a withheld answer longer for one than for another. */
static void test_withheld_answers(void **state)
{
    struct disclosure_config c = standard;
    struct arena             arena;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    for (unsigned class = 0; class < CLASSES; class ++) {
        if (is_trusted(class) || class == CLASS_BLOCKED)
            continue;
        c.vrfy = VRFY_252;
        assert_wire(disclosure_vrfy(&c, class, TOLD_NOTHING, &alice, NULL, false, &arena),
                    "252 2.5.0 Cannot verify, but will take a message and try to deliver it\r\n");
        assert_wire(disclosure_expn(&c, class, TOLD_NOTHING, STR_NONE, &arena),
                    "252 2.5.0 Cannot verify, but will take a message and try to deliver it\r\n");
        c.vrfy = VRFY_502;
        assert_wire(disclosure_vrfy(&c, class, TOLD_NOTHING, &alice, NULL, false, &arena),
                    "502 5.5.1 Command not offered here\r\n");
        assert_wire(disclosure_expn(&c, class, TOLD_NOTHING, STR_NONE, &arena),
                    "502 5.5.1 Command not offered here\r\n");
    }
    assert_starts(disclosure_vrfy(&c, CLASS_BLOCKED, TOLD_EXISTS, &alice, NULL, false, &arena), "554 5.7.1 ");
    assert_int_equal(arena.used, 0);
    arena_done(&arena);
}

struct told_case {
    enum told                  told;
    const struct mail_address *moved_to;
    bool                       smtputf8;
    const char                *vrfy, *rcpt;
};

static void test_the_truth(void **state)
{
    static const struct told_case cases[] = {
        {TOLD_NOTHING, NULL, false, "252 2.5.0 ", "250 2.1.0 "},
        {TOLD_EXISTS, NULL, false, "250 2.1.5 <alice@example.test>\r\n", "250 2.1.5 "},
        {TOLD_LIST, NULL, false, "250 2.1.5 <alice@example.test>\r\n", "250 2.1.5 "},
        {TOLD_ABSENT, NULL, false, "550 5.1.1 ", "550 5.1.1 "},
        {TOLD_MOVED_FORWARD, &moved, false, "251 2.1.5 User not local; will forward to <new@new.test>\r\n",
         "251 2.1.5 User not local; will forward to <new@new.test>\r\n"},
        {TOLD_MOVED_FORWARD, &moved_utf8, false, "252 2.6.8 ", "250 2.1.5 "},
        {TOLD_MOVED_FORWARD, &moved_utf8, true, "251 2.1.5 User not local; will forward to <n\xc3\xa9w@new.test>\r\n",
         "251 2.1.5 User not local; will forward to <n\xc3\xa9w@new.test>\r\n"},
        {TOLD_MOVED_FORWARD, NULL, false, "250 2.1.5 ", "250 2.1.5 "},
        {TOLD_MOVED_REFUSE, &moved, false, "551 5.1.6 User not local; please try <new@new.test>\r\n",
         "551 5.1.6 User not local; please try <new@new.test>\r\n"},
        {TOLD_MOVED_REFUSE, &moved_utf8, false, "550 5.1.6 ", "550 5.1.6 "},
        {TOLD_MOVED_REFUSE, NULL, false, "550 5.1.6 ", "550 5.1.6 "},
        {TOLD_MOVED_HIDDEN, &moved, true, "550 5.1.6 The mailbox has moved\r\n", "550 5.1.6 The mailbox has moved\r\n"},
        {TOLD_DISABLED, NULL, false, "550 5.2.1 ", "550 5.2.1 "},
        {TOLD_AMBIGUOUS, NULL, false, "553 5.1.4 ", "250 2.1.5 "},
        {TOLD_FAILED, NULL, false, "451 4.3.0 ", "451 4.3.0 "},
    };
    struct disclosure_config c = {VRFY_502, STRANGERS_REFUSE, 252}; /* all this is for others */
    struct arena             arena;
    unsigned                 seen = 0;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    for (unsigned class = 0; class < CLASSES; class ++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const struct told_case *t = &cases[i];

            seen |= 1u << t->told;
            if (is_trusted(class)) {
                assert_starts(disclosure_vrfy(&c, class, t->told, &alice, t->moved_to, t->smtputf8, &arena), t->vrfy);
                assert_starts(disclosure_rcpt(&c, class, true, t->told, &alice, t->moved_to, t->smtputf8, 0, &arena),
                              t->rcpt);
            } else if (class == CLASS_CORRESPONDENT) { /* as those, but a disabled mailbox is like any other */
                assert_starts(disclosure_rcpt(&c, class, true, t->told, &alice, t->moved_to, t->smtputf8, 0, &arena),
                              t->told == TOLD_DISABLED ? "250 2.1.5 " : t->rcpt);
            }
        }
    }
    assert_int_equal(seen, (1u << TOLDS) - 1);
    assert_starts(disclosure_vrfy(&c, CLASS_RELAY, TOLD_EXISTS, &utf8, NULL, false, &arena), "252 2.6.8 ");
    assert_starts(disclosure_vrfy(&c, CLASS_RELAY, TOLD_EXISTS, &utf8, NULL, true, &arena),
                  "250 2.1.5 <\xc3\xa4lice@example.test>\r\n");
    arena_done(&arena);
}

static void test_the_truth_to_anybody(void **state)
{
    const struct disclosure_config c = {VRFY_ANSWER, STRANGERS_ACCEPT, 250};
    struct arena                   arena;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    assert_starts(disclosure_vrfy(&c, CLASS_STRANGER, TOLD_EXISTS, &alice, NULL, false, &arena), "250 2.1.5 <alice@");
    assert_starts(disclosure_vrfy(&c, CLASS_STRANGER, TOLD_ABSENT, &alice, NULL, false, &arena), "550 5.1.1 ");
    /* but RCPT is another question */
    assert_starts(disclosure_rcpt(&c, CLASS_STRANGER, true, TOLD_ABSENT, &alice, NULL, false, 0, &arena), "250 2.1.0 ");
    arena_done(&arena);
}

static void test_expn(void **state)
{
    struct arena      arena;
    char              members[] = "<a@example.test>\n<b@example.test>";
    struct smtp_reply reply;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    reply = disclosure_expn(&standard, CLASS_RELAY, TOLD_LIST, str_from(members), &arena);
    memset(members, '!', sizeof members - 1);
    assert_wire(reply, "250-2.1.5 <a@example.test>\r\n250 2.1.5 <b@example.test>\r\n");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_LIST, STR_NONE, &arena), "250 2.1.5 ");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_NOTHING, STR_NONE, &arena), "252 2.5.0 ");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_ABSENT, STR_NONE, &arena), "550 5.1.1 ");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_EXISTS, STR_NONE, &arena), "550 5.2.4 ");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_AMBIGUOUS, STR_NONE, &arena), "553 5.1.4 ");
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_FAILED, STR_NONE, &arena), "451 4.3.0 ");
    arena_done(&arena);
    arena_init(&arena, 64, 16); /* no memory: a temporary answer, never half a one */
    assert_starts(disclosure_expn(&standard, CLASS_RELAY, TOLD_LIST, STR("<long@example.test>"), &arena), "451 4.3.0 ");
    assert_starts(disclosure_vrfy(&standard, CLASS_RELAY, TOLD_MOVED_REFUSE, &alice, &moved, false, &arena),
                  "550 5.1.6 ");
    arena_done(&arena);
}

static void test_rcpt_of_other_domains(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    for (unsigned class = 0; class < CLASSES; class ++)
        assert_starts(disclosure_rcpt(&standard, class, false, TOLD_NOTHING, &other, NULL, false, 0, &arena),
                      is_trusted(class)        ? "250 2.1.0 "
                      : class == CLASS_BLOCKED ? "554 5.7.1 "
                                               : "550 5.7.1 ");
    arena_done(&arena);
}

static void test_rcpt_of_those_who_are_not_told(void **state)
{
    struct disclosure_config c = standard;
    struct arena             arena;

    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    for (unsigned again = 0; again < 2; again++) {
        const char *taken = again ? "252 2.1.0 " : "250 2.1.0 ";

        c.rcpt_reply = again ? 252 : 250;
        assert_starts(disclosure_rcpt(&c, CLASS_STRANGER, true, TOLD_NOTHING, &alice, NULL, false, 99, &arena), taken);
        assert_starts(disclosure_rcpt(&c, CLASS_ACCOUNTABLE, true, TOLD_NOTHING, &alice, NULL, false, 9, &arena),
                      taken);
        assert_starts(disclosure_rcpt(&c, CLASS_BOUNCE, true, TOLD_NOTHING, &alice, NULL, false, 0, &arena), taken);
        assert_starts(disclosure_rcpt(&c, CLASS_BOUNCE, true, TOLD_NOTHING, &alice, NULL, false, 1, &arena),
                      "452 4.5.3 ");
    }
    arena_done(&arena);
}

static void test_message(void **state)
{
    (void)state;
    for (unsigned class = 0; class < CLASSES; class ++) {
        for (unsigned refuse = 0; refuse < 2; refuse++) {
            for (unsigned ours = 0; ours < 2; ours++) {
                struct disclosure_config c = {VRFY_252, refuse ? STRANGERS_REFUSE : STRANGERS_ACCEPT, 250};
                const char              *expected = class == CLASS_STRANGER && refuse ? "550 5.7.26 "
                                                    : class == CLASS_BOUNCE && !ours  ? "550 5.7.1 "
                                                    : class == CLASS_BLOCKED          ? "554 5.7.1 "
                                                                                      : "250 2.0.0 ";

                assert_starts(disclosure_message(&c, class, ours), expected);
            }
        }
    }
}

static void test_failure(void **state)
{
    static const enum failure_outcome expected[CLASSES] = {
        [CLASS_SUBMITTER] = FAILURE_BOUNCE,   [CLASS_RELAY] = FAILURE_BOUNCE,   [CLASS_CORRESPONDENT] = FAILURE_BOUNCE,
        [CLASS_ACCOUNTABLE] = FAILURE_BOUNCE, [CLASS_BOUNCE] = FAILURE_DROP,    [CLASS_STRANGER] = FAILURE_UNCLAIMED,
        [CLASS_BLOCKED] = FAILURE_UNCLAIMED,  [CLASS_OURSELVES] = FAILURE_DROP,
    };

    (void)state;
    for (unsigned class = 0; class < CLASSES; class ++) {
        assert_int_equal(disclosure_failure(class, false), expected[class]);
        assert_int_equal(disclosure_failure(class, true), FAILURE_DROP);
        assert_int_equal(disclosure_may_report_success(class, false),
                         class == CLASS_SUBMITTER || class == CLASS_RELAY || class == CLASS_CORRESPONDENT);
        assert_false(disclosure_may_report_success(class, true));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_who_may_ask),
        cmocka_unit_test(test_replies_do_not_depend_on_who_exists),
        cmocka_unit_test(test_withheld_answers),
        cmocka_unit_test(test_the_truth),
        cmocka_unit_test(test_the_truth_to_anybody),
        cmocka_unit_test(test_expn),
        cmocka_unit_test(test_rcpt_of_other_domains),
        cmocka_unit_test(test_rcpt_of_those_who_are_not_told),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
