/* test_message.c: whom a message is for, and what sendmail makes of it. */
#include "cli/address_list.h"
#include "cli/sendmail_message.h"
#include "mail/header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* All addresses with '|' between them. */
static void lists(const char *body, const char *expected)
{
    struct address_list list = {str_from(body)};
    struct str          address;
    char                got[512] = "";
    size_t              used = 0;

    while (address_list_next(&list, &address))
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%.*s", used ? "|" : "", STR_ARG(address));
    assert_string_equal(got, expected);
}

static void test_lists(void **state)
{
    (void)state;
    lists("", "");
    lists("  , ,, ", "");
    lists("a@b.example", "a@b.example");
    lists("a@b.example, c@d.example", "a@b.example|c@d.example");
    lists(" Joe <a@b.example> ,\r\n\t\"Doe, Jane\" <c@d.example>\n", "a@b.example|c@d.example");
    lists("\"a, b <x@y>\" <c@d.example>", "c@d.example");
    lists("\"quoted \\\" , x\"@d.example, e@f.example", "\"quoted \\\" , x\"@d.example|e@f.example");
    lists("a@b.example (Joe, (nested) \\) <x@y>), (only a comment), c@d.example", "a@b.example|c@d.example");
    lists("friends: a@b.example, Bob <c@d.example>; , e@f.example", "a@b.example|c@d.example|e@f.example");
    lists("undisclosed-recipients:;", "");
    lists("<@a.example,@b.example:c@d.example>, x@y.example", "@a.example,@b.example:c@d.example|x@y.example");
    lists("a@[IPv6:::1], b@c.example", "a@[IPv6:::1]|b@c.example");
    lists("root", "root");
    lists("< a@b.example >", "a@b.example");
    lists("a <b@c.example", "a <b@c.example"); /* not closed: one thing that is no address */
    lists("\"not closed, a@b.example", "\"not closed, a@b.example");
    lists("(not closed, a@b.example", "");
    lists("<>", "");
}

static const struct mail_address sender = {.local = {"alice", 5}, .domain = {"example.test", 12}};

static void make(struct sendmail_message *m, const char *input, const struct sendmail_message_rules *rules)
{
    struct err err;

    *m = (struct sendmail_message){0};
    buf_init(&m->input, 0);
    buf_init(&m->content, 1 << 20);
    assert_true(sendmail_message_make(m, str_from(input), rules, 0, &err));
}

static void becomes(const char *input, struct sendmail_message_rules rules, const char *expected)
{
    struct sendmail_message m;

    rules.sender = &sender;
    make(&m, input, &rules);
    assert_string_equal(m.content.data, expected);
    sendmail_message_done(&m);
}

#define COMPLETE "From: x@y\nDate: now\nMessage-ID: <1@y>\n"
#define COMPLETE_CRLF "From: x@y\r\nDate: now\r\nMessage-ID: <1@y>\r\n"

static void test_messages(void **state)
{
    static const struct sendmail_message_rules dot = {.dot_ends = true}, none = {0}, bcc = {.drop_bcc = true};

    (void)state;
    becomes(COMPLETE "\nbody\n", none, COMPLETE_CRLF "\r\nbody\r\n");
    becomes(COMPLETE_CRLF "\r\nbody\r\n", none, COMPLETE_CRLF "\r\nbody\r\n");
    becomes(COMPLETE "\nno end", none, COMPLETE_CRLF "\r\nno end\r\n");
    becomes(COMPLETE, none, COMPLETE_CRLF "\r\n");
    becomes(COMPLETE "\na\n.\nb\n", none, COMPLETE_CRLF "\r\na\r\n.\r\nb\r\n");
    becomes(COMPLETE "\na\n.\nb\n", dot, COMPLETE_CRLF "\r\na\r\n");
    becomes(COMPLETE "\na\r\n.\r\nb\r\n", dot, COMPLETE_CRLF "\r\na\r\n");
    becomes(COMPLETE "\na\n..\n.b\n", dot, COMPLETE_CRLF "\r\na\r\n..\r\n.b\r\n");
    becomes(COMPLETE "\na\rb\r\r\n", none, COMPLETE_CRLF "\r\na\rb\r\r\n"); /* for the server to refuse */
    becomes("From someone Sat Nov 21\n" COMPLETE "\nx\n", none, COMPLETE_CRLF "\r\nx\r\n");
    becomes("From : x@y\nDate: x\nMessage-ID: <1@y>\n\nx\n", none,
            "From : x@y\r\nDate: x\r\nMessage-ID: <1@y>\r\n\r\nx\r\n");
    becomes(COMPLETE "Bcc: hidden@y,\n other@y\nTo: z@y\n\nx\n", bcc, COMPLETE_CRLF "To: z@y\r\n\r\nx\r\n");
    becomes(COMPLETE "Bcc: hidden@y\n\nBcc: text\n", bcc, COMPLETE_CRLF "\r\nBcc: text\r\n");
    becomes(COMPLETE "Bcc: hidden@y\n\nx\n", none, COMPLETE_CRLF "Bcc: hidden@y\r\n\r\nx\r\n");
    becomes("Date: now\nMessage-ID: <1@y>\nnot a field\n", none,
            "Date: now\r\nMessage-ID: <1@y>\r\nFrom: <alice@example.test>\r\n\r\nnot a field\r\n");
    becomes("Date: now\nMessage-ID: <1@y>\n\n", (struct sendmail_message_rules){.full_name = "Alice B. \"C\" \r\nX: y"},
            "Date: now\r\nMessage-ID: <1@y>\r\nFrom: \"Alice B. \\\"C\\\" X: y\" <alice@example.test>\r\n\r\n");
    becomes("Date: now\nMessage-ID: <1@y>\n\n", (struct sendmail_message_rules){.full_name = "Alice"},
            "Date: now\r\nMessage-ID: <1@y>\r\nFrom: Alice <alice@example.test>\r\n\r\n");
    becomes("from: x@y\nmessage-id: <1@y>\n\n", none,
            "from: x@y\r\nmessage-id: <1@y>\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\n\r\n");
}

/* The server gives the Message-ID, so that it knows it again; the null sender has no name to give. */
static void test_what_is_not_added(void **state)
{
    struct sendmail_message_rules rules = {.sender = &(struct mail_address){STR_NONE, STR_NONE, false}};
    struct sendmail_message       m;

    (void)state;
    make(&m, "just text\n", &rules);
    assert_null(strstr(m.content.data, "From:"));
    assert_null(strstr(m.content.data, "Message-ID:"));
    sendmail_message_done(&m);
}

static void test_recipient_fields(void **state)
{
    struct sendmail_message_rules rules = {.sender = &sender, .drop_bcc = true};
    struct sendmail_message       m;
    struct err                    err;
    struct buf                    many;

    (void)state;
    make(&m, "To: a@b\ncc: c@d\nBCC: e@f\nTo: g@h\n\nTo: not@this\n", &rules);
    assert_int_equal(m.list_count, 4);
    sendmail_message_done(&m);
    make(&m, "To: a@b\nResent-To: c@d\nResent-Bcc: e@f\n\n", &rules);
    assert_int_equal(m.list_count, 2); /* a message sent on goes to whom it is sent on, not to its first readers */
    assert_true(str_eq(str_trim(str_part(m.lists[0], 0, 4)), STR("c@d")));
    assert_null(strstr(m.content.data, "e@f"));
    sendmail_message_done(&m);
    make(&m, "Subject: \303\274\n\nx", &rules);
    assert_true(m.header_8bit && m.is_8bit);
    sendmail_message_done(&m);
    make(&m, "Subject: u\n\n\303\274", &rules);
    assert_true(!m.header_8bit && m.is_8bit);
    sendmail_message_done(&m);

    buf_init(&many, 1 << 16);
    for (int i = 0; i <= SENDMAIL_LISTS_MAX; i++)
        buf_append_z(&many, "To: a@b\n");
    m = (struct sendmail_message){0};
    buf_init(&m.content, 1 << 20);
    assert_false(sendmail_message_make(&m, buf_str(&many), &rules, 0, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    buf_done(&m.content);
    buf_done(&many);

    m = (struct sendmail_message){0};
    buf_init(&m.content, 64);
    assert_false(
        sendmail_message_make(&m, STR("Subject: long\n\n0123456789012345678901234567890123456789\n"), &rules, 0, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    buf_done(&m.content);
}

/* What stands behind a header that is too long must not become content. */
static void test_endless_header(void **state)
{
    static const struct sendmail_message_rules rules = {.sender = &sender, .drop_bcc = true};
    struct sendmail_message                    m = {0};
    struct buf                                 input;
    struct err                                 err = {0};

    (void)state;
    buf_init(&input, 2 * MAIL_HEADER_MAX);
    buf_init(&m.content, 4 * MAIL_HEADER_MAX);
    buf_append_z(&input, "To: a@b.example\n");
    while (input.len < MAIL_HEADER_MAX)
        buf_append_z(&input, "X-Filler: x\n");
    buf_append_z(&input, "Bcc: hidden@b.example\n\nbody\n");
    assert_true(buf_ok(&input));
    assert_false(sendmail_message_make(&m, buf_str(&input), &rules, 0, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    buf_done(&input);
    sendmail_message_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_what_is_not_added),
        cmocka_unit_test(test_recipient_fields),
        cmocka_unit_test(test_endless_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
