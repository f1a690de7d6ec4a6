/* Our client speaks to our server, with nothing between but memory, in pieces of any size: what arrives is what was
 * sent, octet by octet, and each recipient has the result that the server gave it. */
#include "smtp/client.h"
#include "smtp/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MESSAGES = 5, RECIPIENTS = 7 };

struct pair {
    struct smtp_server        *server;
    struct smtp_client        *client;
    size_t                     piece;
    struct str                 content;
    struct smtp_client_message message;
    struct buf                 arrived;
    struct recipient           recipients[RECIPIENTS];
    unsigned                   messages, done;
    bool                       helo, ready, closed, server_closed;
};

/* Recipients whose local part begins with "n" do not exist, those with "l" are for later, each in its way. */
static struct smtp_reply answer(struct pair *p, const struct smtp_event *e)
{
    if (e->kind == SMTP_EVENT_RCPT && e->recipient.address.local.data[0] == 'n')
        return SMTP_REPLY(550, 5, 1, 1, "No such user");
    if (e->kind == SMTP_EVENT_RCPT && e->recipient.address.local.data[0] == 'l')
        return SMTP_REPLY(451, 4, 7, 1, "Later");
    if (e->kind == SMTP_EVENT_MESSAGE) {
        if (p->helo && p->content.len && !str_ends(p->content, STR("\r\n"))) { /* DATA ends with a line */
            assert_true(str_ends(buf_str(&p->arrived), STR("\r\n")));
            buf_cut(&p->arrived, p->arrived.len - 2);
        }
        assert_true(str_eq(buf_str(&p->arrived), p->content));
    }
    return SMTP_REPLY(250, 2, 0, 0, "Yes");
}

static void server_take(struct pair *p, struct str in)
{
    struct smtp_event e;

    do {
        in = str_skip(in, smtp_server_feed(p->server, in, &e));
        if (e.kind == SMTP_EVENT_CONTENT)
            buf_append(&p->arrived, e.content);
        else if (e.kind == SMTP_EVENT_DATA)
            buf_clear(&p->arrived);
        p->server_closed |= e.kind == SMTP_EVENT_CLOSE;
        while (smtp_server_is_asking(p->server)) {
            struct smtp_reply reply = answer(p, &e);

            smtp_server_answer(p->server, &reply);
        }
    } while (e.kind != SMTP_EVENT_NONE || (in.len && !p->server_closed));
}

static void results_check(struct pair *p)
{
    const struct smtp_client_result *r = smtp_client_results(p->client);

    for (size_t i = 0; i < RECIPIENTS; i++) {
        char first = p->recipients[i].address.local.data[0];

        assert_int_equal(r[i].verdict, first == 'n'   ? SMTP_CLIENT_FAILED
                                       : first == 'l' ? SMTP_CLIENT_DEFERRED
                                                      : SMTP_CLIENT_ACCEPTED);
    }
    p->done++;
}

static void client_take(struct pair *p, struct str in)
{
    enum smtp_client_event e;

    do {
        in = str_skip(in, smtp_client_feed(p->client, in, &e));
        p->ready |= e == SMTP_CLIENT_READY || e == SMTP_CLIENT_DONE;
        p->closed |= e == SMTP_CLIENT_CLOSE;
        if (e == SMTP_CLIENT_DONE)
            results_check(p);
        if (e == SMTP_CLIENT_CONTENT) {
            size_t half = p->content.len / 2;

            smtp_client_give(p->client, str_part(p->content, 0, half), false);
            smtp_client_give(p->client, str_skip(p->content, half), true);
        }
    } while (e != SMTP_CLIENT_NONE);
}

static void message_next(struct pair *p)
{
    static const char *const contents[MESSAGES] = {".", "\r\n.\r\n..\r\n", "Subject: x\r\n\r\n.\r\nQUIT\r\n", "",
                                                   "a\r\n.b\r\n..c\r\n \r\n"};

    p->ready = false;
    if (p->messages == MESSAGES) {
        smtp_client_quit(p->client);
        return;
    }
    p->content = str_from(contents[p->messages++]);
    p->message = (struct smtp_client_message){.sender = {.local = STR("a"), .domain = STR("us.test")},
                                              .recipients = p->recipients,
                                              .recipient_count = RECIPIENTS,
                                              .size = p->content.len};
    smtp_client_message(p->client, &p->message);
}

static void run(struct pair *p)
{
    while (!p->closed) {
        struct str out = str_part(smtp_client_output(p->client), 0, p->piece);
        struct str back = str_part(smtp_server_output(p->server), 0, p->piece);

        if (out.len && !p->server_closed) {
            server_take(p, out);
            smtp_client_sent(p->client, out.len);
        } else if (back.len) {
            char copy[64];

            memcpy(copy, back.data, back.len);
            smtp_server_sent(p->server, back.len);
            client_take(p, str_of(copy, back.len));
        } else {
            assert_true(p->ready);
            message_next(p);
            client_take(p, STR_NONE);
        }
    }
}

/* `helo`: without extensions; else with PIPELINING and CHUNKING. */
static void play(bool lmtp, bool helo, size_t piece, uint32_t recipients)
{
    static const char *const        locals[RECIPIENTS] = {"y1", "n1", "l1", "y2", "y 3", "n2", "y4"};
    const struct smtp_server_config server = {
        .hostname = STR("mx.test"),
        .lmtp = lmtp,
        .limits = {.message_size = 1000,
                   .recipients = 100,
                   .errors = 100,
                   .commands = 1000,
                   .transactions = 100,
                   .idle_commands = 100,
                   .hops = 10,
                   .transaction_memory = 64 << 10},
    };
    const struct smtp_client_config client = {
        .hostname = STR("us.test"), .lmtp = lmtp, .helo = helo, .recipients = recipients, .memory = 64 << 10};
    struct pair p = {
        .piece = piece, .helo = helo, .server = smtp_server_new(&server), .client = smtp_client_new(&client)};

    for (size_t i = 0; i < RECIPIENTS; i++)
        p.recipients[i].address = (struct mail_address){.local = str_from(locals[i]), .domain = STR("mx.test")};
    buf_init(&p.arrived, 4096);
    smtp_server_start(p.server, NULL);
    run(&p);
    assert_int_equal(p.done, MESSAGES);
    assert_int_equal(smtp_client_end(p.client)->action, SMTP_DO_GO_ON);
    assert_int_equal(smtp_server_facts(p.server).errors, 0);
    buf_done(&p.arrived);
    smtp_client_free(p.client);
    smtp_server_free(p.server);
}

/* Our server takes no AUTH yet, and a password is not said where nobody asked for it. */
static void test_auth(void **state)
{
    const struct smtp_server_config server = {.hostname = STR("mx.test"),
                                              .limits = {.errors = 10, .commands = 10, .transaction_memory = 1 << 16}};
    const struct smtp_client_config client = {.hostname = STR("us.test"),
                                              .recipients = 1,
                                              .memory = 1 << 16,
                                              .user = STR("u"),
                                              .password = STR("p"),
                                              .clear_ok = true};
    struct pair p = {.piece = 64, .server = smtp_server_new(&server), .client = smtp_client_new(&client)};

    (void)state;
    smtp_server_start(p.server, NULL);
    run(&p);
    assert_false(p.ready);
    assert_int_equal(smtp_client_end(p.client)->action, SMTP_DO_MISCONFIGURED);
    assert_int_equal(smtp_server_facts(p.server).errors, 0);
    smtp_client_free(p.client);
    smtp_server_free(p.server);
}

static void play_in_pieces(bool lmtp, bool helo)
{
    const size_t pieces[] = {1, 2, 7, 64};

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        play(lmtp, helo, pieces[i], 100);
        play(lmtp, helo, pieces[i], 2);
    }
}

static void test_chunks(void **state)
{
    (void)state;
    play_in_pieces(false, false);
}

static void test_dots(void **state)
{
    (void)state;
    play_in_pieces(false, true);
}

static void test_lmtp(void **state)
{
    (void)state;
    play_in_pieces(true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_dots),
        cmocka_unit_test(test_lmtp),
        cmocka_unit_test(test_auth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
