/* test_carrier.c: what becomes of a carriage: the way, the hosts one after the other, the answers, the content, and
 * what back is told of it. */
#include "carrier_world.h"

#include <sys/mman.h>

static void check(const struct result *r, enum smtp_client_verdict verdict, unsigned code, const char *status)
{
    char got[40];

    snprintf(got, sizeof got, "%u.%u.%u", r->class, r->subject, r->detail);
    if (r->verdict != verdict || r->code != code || strcmp(got, status) != 0)
        print_message("verdict %d code %u status %s text %s words %s\n", r->verdict, r->code, got, r->text, r->words);
    assert_int_equal(r->verdict, verdict);
    assert_int_equal(r->code, code);
    assert_string_equal(got, status);
}

/* ---- the way ---- */

static void it_is_brought_to_the_mail_host(void **state)
{
    const struct result *r = world_try(w, (struct mail){.domain = "a.test", .recipients = 3});

    (void)state;
    check(r, SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(r->verdicts[SMTP_CLIENT_ACCEPTED], 3);
    assert_string_equal(r->host, "mx1.test");
    assert_string_equal(r->address, "127.0.0.1");
    assert_string_equal(r->text, "2.0.0 Ok: queued");
    assert_true(str_eq(buf_str(&w->servers[0].content), STR("Subject: x\r\n\r\nHello\r\n")));
    assert_true(str_starts(buf_str(&w->servers[0].said), STR("EHLO us.test\nMAIL FROM:<me@us.test> SIZE=21\n"
                                                             "RCPT TO:<r0@a.test>\nRCPT TO:<r1@a.test>\n"
                                                             "RCPT TO:<r2@a.test>\nDATA\n")));
}

static void what_the_dns_says_is_told(void **state)
{
    static const struct {
        const char              *domain;
        enum smtp_client_verdict verdict;
        const char              *status;
    } all[] = {
        {"null.test", SMTP_CLIENT_FAILED, "5.1.10"},    {"gone.test", SMTP_CLIENT_FAILED, "5.1.2"},
        {"broken.test", SMTP_CLIENT_DEFERRED, "4.4.3"}, {"nothing.test", SMTP_CLIENT_FAILED, "5.4.4"},
        {"loop.test", SMTP_CLIENT_FAILED, "5.4.6"},     {"loopaddress.test", SMTP_CLIENT_FAILED, "5.4.6"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct result *r = world_try(w, (struct mail){.domain = all[i].domain});

        check(r, all[i].verdict, 0, all[i].status);
        assert_true(r->words[0] && !r->host[0]);
    }
    check(world_try(w, (struct mail){.domain = "odd.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    check(world_try(w, (struct mail){.domain = "implicit.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[1].messages, 1);
}

static void other_ways(void **state)
{
    char                 via[64];
    const struct result *r;

    (void)state;
    snprintf(via, sizeof via, "smtp:relay.test:%u", w->port);
    check(world_try(w, (struct mail){.via = via, .domain = "gone.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[3].messages, 1);
    snprintf(via, sizeof via, "lmtp:127.0.0.4:%u", w->port);
    check(world_try(w, (struct mail){.via = via, .domain = "x.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[3].connections, 2); /* not the same, though the same place */
    snprintf(via, sizeof via, "127.0.0.3");
    check(world_try(w, (struct mail){.domain = "[127.0.0.3]"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[2].messages, 1);
    /* A smarthost that is not there, or is ourselves: our own slip, and no mail is lost by it. */
    snprintf(via, sizeof via, "smtp:no.test:%u", w->port);
    r = world_try(w, (struct mail){.via = via, .domain = "x.test"});
    assert_int_equal(r->verdict, SMTP_CLIENT_DEFERRED);
    assert_int_equal(r->class, 4);
    snprintf(via, sizeof via, "smtp:127.0.0.9:%u", w->port);
    check(world_try(w, (struct mail){.via = via, .domain = "x.test"}), SMTP_CLIENT_DEFERRED, 0, "4.4.6");
    check(world_try(w, (struct mail){.via = "nonsense", .domain = "x.test"}), SMTP_CLIENT_DEFERRED, 0, "4.3.5");
    check(world_try(w, (struct mail){.via = "lmtp:unix:/tmp/tacit-no-such-socket", .domain = "x.test"}),
          SMTP_CLIENT_DEFERRED, 0, "4.4.1");
}

static void a_way_is_asked_for_once(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 80; i++)
        world_send(w, i, (struct mail){.domain = "a.test"});
    run_until(w->loop, &w->carried, 80);
    assert_int_equal(w->carried, 80);
    assert_int_equal(w->questions, 3); /* MX, A, AAAA */
}

/* ---- hosts, one after the other ---- */

static void the_next_host_is_asked(void **state)
{
    static const struct {
        const char *verb, *reply;
    } all[] = {{"", "421 busy\r\n!"}, {"", "450 later\r\n"},   {"", "554 not you\r\n"},      {"", "!"},
               {"", "xyz\r\n"},       {"EHLO", "421 no\r\n!"}, {"EHLO", "550 5.7.1 no\r\n"}, {"", "521 never\r\n"}};

    (void)state;
    rule(0, "HELO", "550 no\r\n");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct result *r;

        w->servers[0].rules[1] = (struct rule){all[i].verb, all[i].reply, 0, 0};
        r = world_try(w, (struct mail){.domain = "two.test"});
        check(r, SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
        assert_string_equal(r->host, "mx2.test");
        server_hang_up(&w->servers[1]); /* so that each begins with the first host */
        run_for(w->loop, 5);
    }
}

static void nobody_is_there(void **state)
{
    const struct result *r = world_try(w, (struct mail){.domain = "dead.test"});

    (void)state;
    check(r, SMTP_CLIENT_DEFERRED, 0, "4.4.1");
    assert_string_equal(r->words, "no connection to the server: Connection refused");
    assert_string_equal(r->address, "127.0.0.200");
    check(world_try(w, (struct mail){.domain = "deadtwo.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    check(world_try(w, (struct mail){.domain = "[IPv6:2001:db8::1]"}), SMTP_CLIENT_DEFERRED, 0, "4.4.1");
}

static void all_say_no(void **state)
{
    const struct result *r;

    (void)state;
    rule(0, "", "521 no mail here\r\n");
    rule(1, "", "554 5.7.1 not you\r\n");
    r = world_try(w, (struct mail){.domain = "a.test"}); /* RFC 7504 */
    check(r, SMTP_CLIENT_FAILED, 521, "5.3.2");
    r = world_try(w, (struct mail){.domain = "two.test"});
    check(r, SMTP_CLIENT_DEFERRED, 554, "4.7.1");
    assert_true(r->refused);
    assert_string_equal(r->text, "5.7.1 not you");
    rule(2, "", "450 4.7.1 later\r\n");
    r = world_try(w, (struct mail){.domain = "three.test"});
    check(r, SMTP_CLIENT_DEFERRED, 450, "4.7.1");
    assert_false(r->refused);
}

static void one_says_no_for_good(void **state)
{
    (void)state;
    rule(0, "", "450 4.7.1 later\r\n");
    rule(1, "", "521 no mail here\r\n");
    check(world_try(w, (struct mail){.domain = "two.test"}), SMTP_CLIENT_DEFERRED, 521, "4.3.2");
}

static void helo_for_those_that_end_at_ehlo(void **state)
{
    (void)state;
    rule(0, "EHLO", "!");
    check(world_try(w, (struct mail){.domain = "a.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[0].connections, 2);
    assert_non_null(strstr(w->servers[0].said.data, "HELO us.test"));
}

/* ---- answers ---- */

static void recipients_have_their_own_answers(void **state)
{
    const struct result *r;

    (void)state;
    rule(0, "RCPT TO:<r0", "550 5.1.1 nobody\r\n");
    rule(0, "RCPT TO:<r1", "452 4.2.2 full\r\n");
    r = world_try(w, (struct mail){.domain = "a.test", .recipients = 5});
    check(r, SMTP_CLIENT_FAILED, 550, "5.1.1");
    assert_int_equal(r->verdicts[SMTP_CLIENT_DEFERRED], 1);
    assert_int_equal(r->verdicts[SMTP_CLIENT_ACCEPTED], 3);
    rule(0, ".", "554 5.6.0 no such content\r\n");
    r = world_try(w, (struct mail){.domain = "a.test"});
    assert_int_equal(r->verdict, SMTP_CLIENT_FAILED);
}

static void the_connection_ends_in_a_message(void **state)
{
    const struct result *r;

    (void)state;
    rule(0, ".", "!");
    r = world_try(w, (struct mail){.domain = "a.test"});
    check(r, SMTP_CLIENT_DEFERRED, 0, "4.4.2");
    assert_string_equal(r->host, "mx1.test");
    assert_int_equal(w->servers[0].messages, 1); /* it is not said again: the server may have it */
    w->servers[0].rules[0] = (struct rule){"RCPT", "!", 0, 0};
    check(world_try(w, (struct mail){.domain = "a.test"}), SMTP_CLIENT_DEFERRED, 0, "4.4.2");
    w->servers[0].rules[0] = (struct rule){"MAIL", "421 4.3.2 down\r\n!", 0, 0};
    check(world_try(w, (struct mail){.domain = "a.test"}), SMTP_CLIENT_DEFERRED, 421, "4.3.2");
}

/* ---- content ---- */

static int file_of(size_t size, const char *line)
{
    int    fd = memfd_create("content", 0);
    size_t len = strlen(line);

    for (size_t at = 0; at < size; at += len)
        assert_int_equal(write(fd, line, len), len);
    return fd;
}

static void large_content_comes_from_a_file(void **state)
{
    static const char line[] = ".a line of thirty-two octets..\r\n";
    enum { SIZE = 32 * 20000 };
    int fd = file_of(SIZE, line);

    (void)state;
    rule(0, "EHLO", "250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
    check(world_try(w, (struct mail){.domain = "a.test", .fd = fd, .size = SIZE}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_int_equal(w->servers[0].content.len, SIZE + 20000); /* a dot more on each line */
    assert_int_equal(w->carrier->files, 0);
    /* Shorter than it should be: the server does not get an end. */
    check(world_try(w, (struct mail){.domain = "a.test", .fd = fd, .size = SIZE + 1}), SMTP_CLIENT_DEFERRED, 0,
          "4.3.0");
    assert_int_equal(w->servers[0].messages, 1);
    close(fd);
}

static void eight_bits_become_seven(void **state)
{
    static const char text[] = "Subject: x\r\n\r\n\xc3\xa4\r\n";
    int               fd = memfd_create("content", 0);

    (void)state;
    rule(0, "EHLO", "250-mx\r\n250 PIPELINING\r\n");
    check(world_try(w, (struct mail){.domain = "a.test", .content = text, .body = BODY_8BITMIME}), SMTP_CLIENT_ACCEPTED,
          250, "2.0.0");
    assert_non_null(strstr(w->servers[0].content.data, "quoted-printable"));
    assert_non_null(strstr(w->servers[0].content.data, "=C3=A4"));
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    check(world_try(w, (struct mail){.domain = "a.test", .fd = fd, .size = sizeof text - 1, .body = BODY_8BITMIME}),
          SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    assert_non_null(strstr(w->servers[0].content.data, "=C3=A4"));
    assert_int_equal(w->carrier->convert_octets, 0);
    close(fd);
    check(world_try(w, (struct mail){.domain = "a.test", .content = "Subject: \xc3\xa4\r\n\r\nx\r\n", .utf8 = true}),
          SMTP_CLIENT_FAILED, 0, "5.6.7");
    check(world_try(w, (struct mail){.domain = "a.test", .content = "x\r\n\0\ny\r\n"}), SMTP_CLIENT_ACCEPTED, 250,
          "2.0.0");
    check(world_try(w, (struct mail){.domain = "a.test", .content = "x\ny\r\n"}), SMTP_CLIENT_FAILED, 0, "5.6.0");
}

/* ---- back ---- */

static void another_back_hears_what_is_open(void **state)
{
    (void)state;
    w->records = false;
    rule(0, ".", "");
    world_send(w, 1, (struct mail){.domain = "two.test", .recipients = 2}); /* the first host does not answer */
    check(world_try(w, (struct mail){.domain = "implicit.test"}), SMTP_CLIENT_ACCEPTED, 250, "2.0.0");
    run_until(w->loop, &w->servers[0].messages, 1);
    back_begin(w);
    run_until(w->loop, &w->welcomes, 2);
    assert_int_equal(w->opened, 2);
    assert_int_equal(w->results[4].kind, CARRIAGE_WELCOME);
    run_until(w->loop, &w->carried, 2); /* said again */
    assert_int_equal(w->results[w->results_count - 1].kind, CARRIAGE_CARRIED);
    assert_true(w->results[2].kind == CARRIAGE_OPEN && w->results[3].kind == CARRIAGE_OPEN);
    /* What it has is not taken twice. */
    world_send(w, 1, (struct mail){.domain = "two.test", .recipients = 2});
    run_for(w->loop, 20);
    assert_int_equal(w->servers[0].messages, 1);
    w->records = true;
    server_hang_up(&w->servers[0]);
    run_until(w->loop, &w->carried, 3);
    assert_int_equal(w->results[w->results_count - 1].id, 1);
    for (int turn = 0; turn < 1000 && w->carrier->carries.used > 1; turn++)
        run_for(w->loop, 1);
    back_begin(w);
    run_until(w->loop, &w->welcomes, 3);
    run_for(w->loop, 5);
    assert_int_equal(w->opened, 3); /* the one that was never recorded */
}

static bool was_put_back(uint64_t id)
{
    for (int i = 0; i < w->results_count; i++)
        if (w->results[i].kind == CARRIAGE_PUT_BACK && w->results[i].id == id)
            return w->results[i].site == 0;
    return false;
}

static void cancelled_where_nothing_was_begun(void **state)
{
    (void)state;
    set_up_again("route \"*\" { port = $ connections = 1 }\n");
    rule(0, ".", "");
    rule(1, "", ""); /* greets nobody */
    for (uint64_t id = 1; id <= 3; id++)
        world_send(w, id, (struct mail){.domain = "a.test"});
    world_send(w, 4, (struct mail){.domain = "c.test"});
    world_send(w, 5, (struct mail){.domain = "silent.test"});
    run_until(w->loop, &w->servers[0].messages, 1);
    run_until(w->loop, &w->servers[1].connections, 1);
    for (uint64_t id = 1; id <= 6; id++)
        if (id != 3)
            world_cancel(w, id); /* in the message, in line, at the greeting, asking for its way, and nobody's */
    run_until(w->loop, &w->put_back, 3);
    assert_true(was_put_back(2) && was_put_back(4) && was_put_back(5));
    for (int turn = 0; turn < 1000 && w->servers[1].open; turn++)
        run_for(w->loop, 1);
    assert_int_equal(w->servers[1].open, 0);
    assert_int_equal(w->carried, 0);
    w->servers[0].rules[0] = (struct rule){0};
    server_say(&w->servers[0], "250 2.0.0 Ok: at last\r\n");
    run_until(w->loop, &w->carried, 2); /* 1, which was being sent, and 3, whose turn comes */
    assert_int_equal(w->servers[0].messages, 2);
    assert_int_equal(w->put_back, 3);
    world_cancel(w, 1);
    world_send(w, 2, (struct mail){.domain = "a.test"}); /* it may be given again */
    run_until(w->loop, &w->carried, 3);
    assert_int_equal(w->servers[0].messages, 3);
}

/* What is to be begun anew is not, when it is wanted back meanwhile. */
static void cancelled_before_another_connection(void **state)
{
    int said;

    (void)state;
    rule(0, "EHLO", "250 mx.test\r\n"); /* no PIPELINING: MAIL waits for its answer */
    world_try(w, (struct mail){.domain = "a.test"});
    rule(0, "MAIL", "");
    said = w->servers[0].commands;
    world_send(w, 7, (struct mail){.domain = "a.test"});
    run_until(w->loop, &w->servers[0].commands, said + 1);
    world_cancel(w, 7);
    run_for(w->loop, 20);
    assert_int_equal(w->put_back, 0);
    server_say(&w->servers[0], "421 4.3.2 enough\r\n");
    run_until(w->loop, &w->put_back, 1);
    assert_true(was_put_back(7));
    assert_int_equal(w->servers[0].connections, 1);
}

static void drained(void *arg) { ((struct world *)arg)->drained = true; }

static void draining_ends_what_is_begun(void **state)
{
    (void)state;
    rule(0, ".", "");
    rule(1, "", ""); /* greets nobody */
    world_send(w, 1, (struct mail){.domain = "a.test"});
    world_send(w, 2, (struct mail){.domain = "implicit.test"});
    run_until(w->loop, &w->servers[0].messages, 1);
    run_until(w->loop, &w->servers[1].connections, 1);
    carrier_drain(w->carrier, 200, drained, w);
    world_send(w, 3, (struct mail){.domain = "a.test"});
    run_until(w->loop, &w->put_back, 2);
    assert_int_equal(w->put_back, 2);
    for (int i = 0; i < w->results_count; i++)
        assert_int_equal(w->results[i].site, 0);
    assert_false(w->drained);
    run_until(w->loop, &w->carried, 1); /* the grace time is over */
    assert_true(w->drained);
    check(&w->results[w->results_count - 1], SMTP_CLIENT_DEFERRED, 0, "4.3.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_brought_to_the_mail_host),
        TEST(what_the_dns_says_is_told),
        TEST(other_ways),
        TEST(a_way_is_asked_for_once),
        TEST(the_next_host_is_asked),
        TEST(nobody_is_there),
        TEST(all_say_no),
        TEST(one_says_no_for_good),
        TEST(helo_for_those_that_end_at_ehlo),
        TEST(recipients_have_their_own_answers),
        TEST(the_connection_ends_in_a_message),
        TEST(large_content_comes_from_a_file),
        TEST(eight_bits_become_seven),
        TEST(another_back_hears_what_is_open),
        TEST(cancelled_where_nothing_was_begun),
        TEST(cancelled_before_another_connection),
        TEST(draining_ends_what_is_begun),
    };

    log_init(LOG_TEXT, LOG_LEVEL_INFO, "carrier-0", -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
