/* Replies, parameters, content and the table of verbs, each alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/content.h"
#include "smtp/param.h"
#include "smtp/verb.h"

static void assert_reply(const struct smtp_reply *reply, bool utf8, const char *expected)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    buf_append_z(&out, "before\r\n");
    assert_true(smtp_reply_format(reply, utf8, &out));
    assert_string_equal(out.data + 8, expected);
    buf_done(&out);
}

static void test_reply(void **state)
{
    (void)state;
    assert_reply(&SMTP_REPLY(250, 2, 1, 5, "Ok"), false, "250 2.1.5 Ok\r\n");
    assert_reply(&SMTP_REPLY(354, 0, 0, 0, "Go"), false, "354 Go\r\n");
    assert_reply(&SMTP_REPLY(250, 0, 0, 0, ""), false, "250\r\n");
    assert_reply(&SMTP_REPLY(250, 2, 0, 0, ""), false, "250 2.0.0\r\n");
    assert_reply(&SMTP_REPLY(214, 2, 0, 0, "a\n\nb\n"), false, "214-2.0.0 a\r\n214-2.0.0\r\n214 2.0.0 b\r\n");
    assert_reply(&SMTP_REPLY(550, 5, 1, 10, "a\rb\0c\td\x7f"), false, "550 5.1.10 a?b?c?d?\r\n");
    assert_reply(&SMTP_REPLY(250, 0, 0, 0, "\xc3\xa4\xff"), false, "250 ???\r\n");
    assert_reply(&SMTP_REPLY(250, 0, 0, 0, "\xc3\xa4"), true, "250 \xc3\xa4\r\n");
}

static void test_reply_bytes_that_are_no_utf8(void **state)
{
    struct smtp_reply reply = SMTP_REPLY(250, 0, 0, 0, "\xff\xc3");
    struct buf        out;

    (void)state;
    buf_init(&out, 100);
    assert_true(smtp_reply_format(&reply, true, &out));
    assert_string_equal(out.data, "250 ??\r\n");
    buf_done(&out);
}

/* Every line within 512 octets, nothing of the text lost but the blanks at which it was folded. */
static void folded(size_t word_len, bool utf8)
{
    struct smtp_reply reply = {550, SMTP_STATUS(5, 1, 10), STR_NONE};
    struct buf        text, out, joined;
    struct str        rest;

    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_init(&joined, 1 << 20);
    while (text.len < 3000) {
        for (size_t i = 0; i < word_len; i++)
            buf_append_z(&text, utf8 ? "\xe2\x82\xac" : "w");
        buf_append_byte(&text, ' ');
    }
    reply.text = str_part(buf_str(&text), 0, text.len - 1);
    assert_true(smtp_reply_format(&reply, utf8, &out));
    rest = buf_str(&out);
    while (rest.len) {
        size_t     end = str_find(rest, STR("\r\n"));
        struct str line = str_part(rest, 0, end);

        assert_true(end != STR_NOT_FOUND && end + 2 <= SMTP_REPLY_LINE_MAX);
        assert_true(str_is_utf8(line));
        rest = str_skip(rest, end + 2);
        assert_true(str_starts(line, rest.len ? STR("550-5.1.10 ") : STR("550 5.1.10 ")));
        for (size_t i = 11; i < line.len; i++)
            if (line.data[i] != ' ')
                buf_append_byte(&joined, line.data[i]);
    }
    rest = reply.text;
    buf_clear(&out);
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] != ' ')
            buf_append_byte(&out, rest.data[i]);
    assert_true(str_eq(buf_str(&joined), buf_str(&out)));
    buf_done(&text);
    buf_done(&out);
    buf_done(&joined);
}

static void test_reply_folding(void **state)
{
    (void)state;
    for (size_t word = 1; word < 1200; word = word * 3 / 2 + 1) {
        folded(word, false);
        folded(word, true);
    }
}

static void test_reply_ceiling(void **state)
{
    struct smtp_reply reply = SMTP_REPLY(250, 2, 0, 0, "a text that does not fit");
    struct buf        out;

    (void)state;
    buf_init(&out, 20);
    buf_append_z(&out, "there");
    assert_false(smtp_reply_format(&reply, false, &out));
    assert_int_equal(out.len, 5);
    buf_done(&out);
}

static void test_verbs(void **state)
{
    const struct smtp_verb *v;
    size_t                  absent = 0;

    (void)state;
    for (size_t i = 0; (v = smtp_verb_at(i)); i++) {
        char lower[16];

        assert_true(v->name.len < sizeof lower && v->line_max >= 512);
        for (size_t k = 0; k < v->name.len; k++)
            lower[k] = char_lower(v->name.data[k]);
        assert_ptr_equal(smtp_verb_find(str_of(lower, v->name.len)), v);
        assert_true((v->offer == OFFER_NEVER) == (v->act == NULL));
        absent += v->act == NULL;
    }
    assert_int_equal(absent, 10);
    assert_null(smtp_verb_find(STR("")));
    assert_null(smtp_verb_find(STR("MAI")));
    assert_null(smtp_verb_find(STR("MAILX")));
}

static void test_params(void **state)
{
    const struct smtp_param_rules rules = {.extended = true, .auth = true};
    struct smtp_mail_params       p;
    struct smtp_rcpt_params       r;
    struct smtp_reply             refusal;
    struct arena                  arena;
    char                          long_envid[120];

    (void)state;
    arena_init(&arena, 1024, 64 << 10);
    assert_true(smtp_param_mail(STR("  size=00012   body=binarymime smtputf8 ret=full ENVID=a+3D+2Bb AUTH=<>  \t"),
                                rules, &arena, &p, &refusal));
    assert_true(p.has_size && p.size == 12 && p.body == BODY_BINARYMIME && p.smtputf8 && p.ret == RET_FULL);
    assert_true(str_eq(p.envid, STR("a=+b")));
    assert_true(smtp_param_mail(STR(""), rules, &arena, &p, &refusal));
    assert_true(!p.has_size && p.body == BODY_7BIT && !p.smtputf8 && p.ret == RET_UNSET && p.envid.len == 0);
    memset(long_envid, 'x', sizeof long_envid);
    memcpy(long_envid, " ENVID=", 7);
    assert_true(smtp_param_mail(str_of(long_envid, 107), rules, &arena, &p, &refusal));
    assert_int_equal(p.envid.len, 100);
    assert_false(smtp_param_mail(str_of(long_envid, 108), rules, &arena, &p, &refusal));
    assert_int_equal(refusal.code, 501);
    assert_true(
        smtp_param_rcpt(STR(" NOTIFY=FAILURE,SUCCESS,DELAY ORCPT=RFC822;Bob@x.example"), rules, &arena, &r, &refusal));
    assert_int_equal(r.notify, NOTIFY_FAILURE | NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_true(str_eq(r.orcpt_type, STR("rfc822")) && str_eq(r.orcpt, STR("Bob@x.example")));
    assert_true(smtp_param_rcpt(STR(" NOTIFY=never"), rules, &arena, &r, &refusal));
    assert_int_equal(r.notify, NOTIFY_NEVER);
    arena_done(&arena);
}

static void test_params_that_are_wrong(void **state)
{
    static const struct {
        const char *in;
        uint16_t    mail, rcpt; /* replies; 0: right */
    } cases[] = {
        {"x", 501, 501},
        {" -A=1", 501, 501},
        {" A_B", 501, 501},
        {" FOO", 555, 555},
        {" FOO=", 501, 501},
        {" FOO=a=b", 501, 501},
        {" FOO=\x01", 501, 501},
        {" FOO=\xff", 501, 501},
        {" SIZE", 501, 555},
        {" SIZE=+1", 501, 555},
        {" SIZE=1,000", 501, 555},
        {" SIZE=1 size=1", 501, 555},
        {" SMTPUTF8 SMTPUTF8", 501, 555},
        {" ENVID=a+2", 501, 555},
        {" ENVID=a+0a", 501, 555},
        {" ENVID=a+0A", 501, 555},
        {" NOTIFY=SUCCESS,NEVER", 555, 501},
        {" NOTIFY=,SUCCESS", 555, 501},
        {" NOTIFY=SUCCESS,", 555, 501},
        {" NOTIFY=NEVER NOTIFY=NEVER", 555, 501},
        {" ORCPT=rfc822;", 555, 501},
        {" ORCPT=;a@b", 555, 501},
        {" ORCPT=rfc822;a+00b", 555, 501},
        {" ORCPT=utf-8;\xc3\xa4@b.example", 555, 501},
        {" AUTH=<>", 555, 555},
    };
    const struct smtp_param_rules rules = {.extended = true};
    struct smtp_mail_params       p;
    struct smtp_rcpt_params       r;
    struct smtp_reply             refusal;
    struct arena                  arena;

    (void)state;
    arena_init(&arena, 1024, 64 << 10);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_false(smtp_param_mail(str_from(cases[i].in), rules, &arena, &p, &refusal));
        assert_int_equal(refusal.code, cases[i].mail);
        assert_false(smtp_param_rcpt(str_from(cases[i].in), rules, &arena, &r, &refusal));
        assert_int_equal(refusal.code, cases[i].rcpt);
        assert_int_equal(refusal.status.subject, 5);
        assert_int_equal(refusal.status.detail, 4);
    }
    arena_done(&arena);
}

/* Lines far longer than promised pass, and the state stays what it is. */
static void test_content_long_lines(void **state)
{
    size_t              len = 3 << 20, taken;
    char               *line = malloc(len);
    struct smtp_content c;
    struct str          piece;

    (void)state;
    assert_non_null(line);
    memset(line, 'x', len);
    memcpy(line + len - 5, "\r\n.\r\n", 5);
    smtp_content_init(&c);
    assert_false(smtp_content_feed(&c, str_of(line, len), &taken, &piece));
    assert_int_equal(taken, len - 3);
    assert_int_equal(piece.len, len - 3);
    assert_ptr_equal(piece.data, line);
    assert_true(smtp_content_feed(&c, str_skip(str_of(line, len), taken), &taken, &piece));
    assert_int_equal(taken, 3);
    assert_int_equal(piece.len, 0);
    assert_int_equal(c.fault, CONTENT_GOOD);
    free(line);
}

/* What stands behind the end is left alone, and the first fault is the one that is told. */
static void test_content_end(void **state)
{
    struct smtp_content c;
    struct str          piece;
    size_t              taken;

    (void)state;
    smtp_content_init(&c);
    assert_true(smtp_content_feed(&c, STR(".\r\nMAIL"), &taken, &piece));
    assert_int_equal(taken, 3);
    smtp_content_init(&c);
    assert_false(smtp_content_feed(&c, STR("a\0b\nc\rd\r\n"), &taken, &piece));
    assert_int_equal(c.fault, CONTENT_NUL);
    assert_true(str_eq(piece, STR("a")));
}

/* An idle session is small: it holds itself, its client's name and the buffer of its replies. */
static void test_server_is_small(void **state)
{
    struct smtp_server_config config = {.hostname = STR("mx.test"),
                                        .limits = {.message_size = 1000,
                                                   .recipients = 100,
                                                   .errors = 10,
                                                   .commands = 100,
                                                   .transactions = 10,
                                                   .idle_commands = 10,
                                                   .hops = 10,
                                                   .transaction_memory = 1 << 20}};
    struct smtp_server       *s = smtp_server_new(&config);
    struct smtp_event         e;

    (void)state;
    smtp_server_start(s, NULL);
    while (smtp_server_feed(s, STR("EHLO c\r\n"), &e) == 0)
        continue;
    assert_int_equal(e.kind, SMTP_EVENT_HELO);
    smtp_server_sent(s, smtp_server_output(s).len);
    assert_int_equal(smtp_server_feed(s, STR("MAIL FROM:<a@b.test>\r\n"), &e), 22);
    assert_int_equal(e.kind, SMTP_EVENT_MAIL);
    assert_true(smtp_server_arena(s)->used > 0);
    smtp_server_answer(s, &SMTP_REPLY(250, 2, 1, 0, "Ok"));
    assert_int_equal(smtp_server_feed(s, STR("RSET\r\n"), &e), 6);
    assert_int_equal(e.kind, SMTP_EVENT_RESET);
    assert_true(str_eq(smtp_server_envelope(s)->sender.local, STR("a"))); /* still there to be logged */
    assert_int_equal(smtp_server_feed(s, STR_NONE, &e), 0);
    assert_null(smtp_server_arena(s)->chunks);
    assert_true(str_eq(smtp_server_envelope(s)->origin.helo, STR("c")));
    assert_true(str_eq(smtp_server_facts(s).last_reply, STR("250 2.0.0 Ok")));
    assert_true(str_eq(smtp_server_facts(s).last_command, STR("RSET")));
    smtp_server_free(s);
}

/* Output that is not sent stops input. */
static void test_server_waits_for_its_output(void **state)
{
    struct smtp_server_config config = {.hostname = STR("mx.test"),
                                        .limits = {.message_size = 1000,
                                                   .recipients = 100,
                                                   .errors = 100000,
                                                   .commands = 100000,
                                                   .transactions = 10,
                                                   .idle_commands = 100000,
                                                   .hops = 10,
                                                   .transaction_memory = 1 << 20}};
    struct smtp_server       *s = smtp_server_new(&config);
    struct smtp_event         e;
    struct buf                in;
    size_t                    taken = 0, sent = 0;

    (void)state;
    buf_init(&in, 1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_append_z(&in, "HELP\r\n");
    smtp_server_start(s, NULL);
    while (taken < in.len) {
        size_t n = smtp_server_feed(s, str_skip(buf_str(&in), taken), &e);

        taken += n;
        assert_true(smtp_server_output(s).len <= (8 << 10) + 1024);
        if (n == 0) {
            assert_true(smtp_server_output(s).len > 8 << 10);
            sent += smtp_server_output(s).len;
            smtp_server_sent(s, smtp_server_output(s).len);
        }
    }
    assert_true(sent > 5000 * 50);
    buf_done(&in);
    smtp_server_free(s);
}

/* DATA with its content behind it, unasked: refused, the content must not be heard as commands. */
static void test_server_content_behind_refused_data(void **state)
{
    struct smtp_server_config config = {.hostname = STR("mx.test"),
                                        .limits = {.message_size = 1000,
                                                   .recipients = 100,
                                                   .errors = 10,
                                                   .commands = 100,
                                                   .transactions = 10,
                                                   .idle_commands = 10,
                                                   .hops = 10,
                                                   .transaction_memory = 1 << 20}};
    static const char *const  openings[] = {"DATA", "DATA now", "BDAT x", "BDAT 1 2 3"};

    (void)state;
    for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
        struct smtp_server *s = smtp_server_new(&config);
        struct smtp_event   e;
        struct buf          in;
        struct str          rest;
        size_t              resets = 0, mails = 0;
        bool                closed = false;

        buf_init(&in, 1000);
        buf_printf(&in, "EHLO c\r\nMAIL FROM:<a@b.test>\r\n%s\r\nRSET\r\nMAIL FROM:<evil@b.test>\r\n", openings[i]);
        rest = buf_str(&in);
        smtp_server_start(s, NULL);
        do {
            rest = str_skip(rest, smtp_server_feed(s, rest, &e));
            mails += e.kind == SMTP_EVENT_MAIL;
            resets += e.kind == SMTP_EVENT_RESET;
            closed |= e.kind == SMTP_EVENT_CLOSE;
            if (smtp_server_is_asking(s))
                smtp_server_answer(s, &SMTP_REPLY(250, 2, 1, 0, "Ok"));
        } while (e.kind != SMTP_EVENT_NONE);
        assert_true(closed);
        assert_int_equal(mails, 1);
        assert_int_equal(resets, 1);
        assert_int_equal(smtp_server_facts(s).last_code, 421);
        buf_done(&in);
        smtp_server_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_reply_bytes_that_are_no_utf8),
        cmocka_unit_test(test_reply_folding),
        cmocka_unit_test(test_reply_ceiling),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_params_that_are_wrong),
        cmocka_unit_test(test_content_long_lines),
        cmocka_unit_test(test_content_end),
        cmocka_unit_test(test_server_is_small),
        cmocka_unit_test(test_server_waits_for_its_output),
        cmocka_unit_test(test_server_content_behind_refused_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
