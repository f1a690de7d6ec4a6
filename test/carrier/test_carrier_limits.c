/* test_carrier_limits.c: connections that are kept and shared, turns, rests, what is put back, and servers that mean
 * harm: each of them costs no more than it should. */
#include "carrier_world.h"

static void send_many(uint64_t from, uint64_t count, const char *domain)
{
    for (uint64_t i = from; i < from + count; i++)
        world_send(w, i, (struct mail){.domain = domain});
}

static unsigned results_with(enum smtp_client_verdict verdict)
{
    unsigned count = 0;

    for (int i = 0; i < w->results_count; i++)
        count += w->results[i].kind == CARRIAGE_CARRIED && w->results[i].verdict == verdict;
    return count;
}

/* ---- connections ---- */

static void connections_are_kept_and_shared(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        const struct result *r = world_try(w, (struct mail){.domain = i % 2 ? "a.test" : "b.test"});

        assert_int_equal(r->verdict, SMTP_CLIENT_ACCEPTED);
    }
    assert_int_equal(w->servers[0].connections, 1);
    assert_int_equal(w->carrier->idle_count, 1);
    /* But not for ever. */
    for (int i = 0; i < CARRIER_CONNECTION_MESSAGES; i++)
        world_try(w, (struct mail){.domain = "a.test"});
    assert_int_equal(w->servers[0].connections, 2);
    assert_int_equal(w->servers[0].quits, 1);
}

static void one_that_died_meanwhile_does_not_count(void **state)
{
    static const struct {
        const char *verb, *reply;
    } all[] = {{"MAIL", "!"}, {"MAIL", "421 4.3.2 enough\r\n!"}, {"RCPT", "421 4.3.2 enough\r\n!"}, {"DATA", "!"}};

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct server *s = &w->servers[0];

        world_try(w, (struct mail){.domain = "a.test"});
        s->rules[0] = (struct rule){all[i].verb, all[i].reply, s->connections, s->connections};
        assert_int_equal(world_try(w, (struct mail){.domain = "a.test"})->verdict, SMTP_CLIENT_ACCEPTED);
        assert_int_equal(s->connections, (int)i + 2);
    }
    /* It says goodbye while it has nothing to do. */
    server_hang_up(&w->servers[0]);
    run_for(w->loop, 10);
    assert_int_equal(w->carrier->idle_count, 0);
    assert_int_equal(world_try(w, (struct mail){.domain = "a.test"})->verdict, SMTP_CLIENT_ACCEPTED);
    assert_int_equal(results_with(SMTP_CLIENT_DEFERRED), 0);
}

static void another_domains_backup_is_not_used(void **state)
{
    (void)state;
    rule(0, "", "450 later\r\n");
    assert_string_equal(world_try(w, (struct mail){.domain = "two.test"})->host, "mx2.test");
    assert_int_equal(w->carrier->idle_count, 1);
    assert_string_equal(world_try(w, (struct mail){.domain = "backup.test"})->host, "mx3.test");
    assert_int_equal(w->servers[1].messages, 1);
}

static void no_more_connections_than_allowed(void **state)
{
    (void)state;
    set_up_again("route \"*\" { port = $ connections = 2 }\n");
    send_many(1, 90, "a.test");
    run_until(w->loop, &w->carried, 90);
    assert_int_equal(results_with(SMTP_CLIENT_ACCEPTED), 90);
    assert_in_range(w->servers[0].most_open, 1, 2);
}

/* What is idle counts among the connections, so it must be used at once, or it would keep others waiting. */
static void what_is_idle_is_used_at_once(void **state)
{
    uint64_t began_ms;

    (void)state;
    set_up_again("route \"*\" { port = $ connections = 1 }\n");
    began_ms = io_loop_now_ms(w->loop);
    for (int i = 0; i < 5; i++)
        world_try(w, (struct mail){.domain = "a.test"});
    assert_int_equal(w->servers[0].connections, 1);
    assert_true(io_loop_now_ms(w->loop) - began_ms < (uint64_t)3 * CARRIER_IDLE_MS);
}

/* A connection that waits for the rate is used when it is time, and not one more. */
static void so_many_a_minute(void **state)
{
    (void)state;
    set_up_again("route \"*\" { port = $ connections = 1 per_minute = 120 }\n");
    send_many(1, 24, "a.test"); /* twenty of them are saved up */
    run_until(w->loop, &w->carried, 20);
    assert_in_range(w->servers[0].messages, 20, 22);
    run_until(w->loop, &w->carried, 24);
    assert_int_equal(w->carried, 24);
    assert_int_equal(w->servers[0].connections, 1);
}

static void servers_with_limits_of_their_own(void **state)
{
    const struct result *r;

    (void)state;
    rule(0, "EHLO", "250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=1 RCPTMAX=2\r\n");
    r = world_try(w, (struct mail){.domain = "a.test", .recipients = 50});
    assert_int_equal(r->verdicts[SMTP_CLIENT_ACCEPTED], 50);
    assert_int_equal(w->servers[0].connections, 25);
}

/* The one MAIL of each connection is refused for its parameters, and so on for ever. */
static void a_server_that_lets_nobody_begin(void **state)
{
    (void)state;
    rule(0, "EHLO", "250-mx\r\n250-SIZE\r\n250 LIMITS MAILMAX=1\r\n");
    rule(0, "MAIL", "555 5.5.4 not like that\r\n");
    world_send(w, 1, (struct mail){.domain = "a.test"});
    for (int turn = 0; !w->carried && w->servers[0].connections <= CARRIER_HOSTS; turn++)
        run_for(w->loop, 1);
    run_until(w->loop, &w->carried, 1);
    assert_int_equal(results_with(SMTP_CLIENT_DEFERRED), 1);
    assert_in_range(w->servers[0].connections, 1, CARRIER_HOSTS);
}

/* ---- what waits ---- */

static void what_is_too_much_is_put_back(void **state)
{
    uint64_t site = 0;
    int      parked;

    (void)state;
    rule(0, ".", ""); /* there is no answer */
    send_many(1, 250, "a.test");
    run_until(w->loop, &w->put_back, 145);
    run_until(w->loop, &w->servers[0].messages, 5);
    run_for(w->loop, 20);
    parked = w->put_back;
    assert_in_range(parked, 145, 150); /* the first five may have been waiting still when the last came */
    for (int i = 0; i < w->results_count; i++)
        if (w->results[i].kind == CARRIAGE_PUT_BACK) {
            assert_true(w->results[i].site != 0 && (!site || site == w->results[i].site));
            site = w->results[i].site;
        }
    /* Another site does not wait for this one. */
    assert_int_equal(world_try(w, (struct mail){.domain = "c.test"})->verdict, SMTP_CLIENT_ACCEPTED);
    assert_int_equal(w->rooms, 0);
    w->servers[0].rules[0] = (struct rule){0};
    server_say(&w->servers[0], "250 2.0.0 Ok: at last\r\n");
    run_until(w->loop, &w->carried, 251 - parked);
    assert_int_equal(w->carried, 251 - parked);
    run_until(w->loop, &w->rooms, 50);
    assert_in_range(w->rooms, 50, parked);
    for (int asked = 0, more = w->rooms; asked < parked; more = w->rooms - asked) { /* as back does */
        send_many(1000 + (uint64_t)asked, (uint64_t)more, "a.test");
        asked += more;
        run_until(w->loop, &w->carried, 251 - parked + asked);
        run_until(w->loop, &w->rooms, asked < parked ? asked + 1 : asked);
    }
    assert_int_equal(w->rooms, parked);
    assert_int_equal(w->put_back, parked);
    assert_int_equal(results_with(SMTP_CLIENT_ACCEPTED), 251);
}

static void a_site_that_is_dead_rests(void **state)
{
    const struct result *last;
    int                  begun;

    (void)state;
    set_up_again(WORLD_ROUTE "queue { retry = {\"700ms\"} }\n");
    send_many(1, 50, "dead.test");
    run_until(w->loop, &w->carried, 50);
    last = &w->results[w->results_count - 1];
    assert_int_equal(results_with(SMTP_CLIENT_DEFERRED), 50);
    assert_string_equal(last->words, "no connection to the server: Connection refused");
    assert_string_equal(last->address, "127.0.0.200");
    assert_in_range(last->retry_ms, io_wall_ms() - 5000, io_wall_ms() + 700);
    send_many(100, 60, "dead.test"); /* it rests */
    run_until(w->loop, &w->put_back, 60);
    assert_int_equal(w->put_back, 60);
    begun = w->carried;
    run_until(w->loop, &w->rooms, 1); /* the rest is over */
    assert_in_range(w->rooms, 1, 60);
    send_many(200, 10, "dead.test");
    run_until(w->loop, &w->carried, begun + 10);
    assert_int_equal(w->carried, begun + 10); /* one tries; the others are put off with it */
}

/* What a server says of one message names its recipients, and who wrote others must not read it. */
static void others_are_not_told_of_a_recipient(void **state)
{
    unsigned about = 0, others = 0;

    (void)state;
    set_up_again("route \"*\" { port = $ connections = 1 }\n");
    rule(0, "RCPT", "421 4.2.2 <r0@a.test> is full\r\n!");
    send_many(1, 20, "a.test");
    run_until(w->loop, &w->carried, 20);
    for (int i = 0; i < w->results_count; i++) {
        const struct result *r = &w->results[i];

        if (r->kind != CARRIAGE_CARRIED)
            continue;
        about += strstr(r->text, "r0@a.test") && r->code == 421 && r->subject == 2;
        others += !*r->text && *r->words && !r->code && r->class == 4 && r->subject == 4;
    }
    assert_int_equal(about, w->servers[0].connections);
    assert_int_equal(about + others, 20);
    assert_in_range(others, 10, 19);
}

/* A server that does not wait for all of a message to refuse it has answered. */
static void an_early_refusal_is_an_answer(void **state)
{
    (void)state;
    rule(0, "DATA", "354 go\r\n552 5.3.4 too large\r\n");
    for (int i = 0; i < 5; i++) {
        const struct result *r = world_try(w, (struct mail){.domain = "a.test"});

        assert_int_equal(r->verdict, SMTP_CLIENT_FAILED);
        assert_int_equal(r->code, 552);
    }
    assert_int_equal(w->put_back, 0);
}

static void the_carrier_is_full(void **state)
{
    (void)state;
    w->carrier->octets += CARRIER_OCTETS;
    send_many(1, 3, "a.test");
    run_until(w->loop, &w->put_back, 3);
    assert_int_equal(w->results[w->results_count - 1].site, w->carrier->full.number);
    w->carrier->octets -= CARRIER_OCTETS;
    run_until(w->loop, &w->rooms, 3);
    assert_int_equal(w->rooms, 3);
    assert_int_equal(world_try(w, (struct mail){.domain = "a.test"})->verdict, SMTP_CLIENT_ACCEPTED);
}

/* What is not recorded counts, so that a back that does not record makes nobody grow. */
static void what_is_not_recorded_is_little(void **state)
{
    size_t before = w->carrier->octets;

    (void)state;
    w->records = false;
    send_many(1, 90, "a.test");
    run_until(w->loop, &w->carried, 90);
    assert_in_range(w->carrier->octets - before, 90 * sizeof(struct carry), 90 * 2048);
    assert_int_equal(w->carrier->carries.used, 90);
}

/* More than a channel holds: what a back that was away for long is to hear comes as fast as it reads. */
static void very_much_is_to_be_said(void **state)
{
    enum { MANY = 340, AT_ONCE = 85, RECIPIENTS = CARRIAGE_RECIPIENTS_MAX };
    static char no[520] = "550 ";

    (void)state;
    memset(no + 4, 'x', 505);
    memcpy(no + 509, "\r\n", 3);
    rule(0, "RCPT", no);
    w->records = false;
    for (uint64_t i = 0; i < MANY; i += AT_ONCE) {
        for (uint64_t k = 0; k < AT_ONCE; k++)
            world_send(w, i + k + 1, (struct mail){.domain = "a.test", .recipients = RECIPIENTS});
        run_until(w->loop, &w->carried, (int)(i + AT_ONCE));
    }
    assert_int_equal(w->carried, MANY);
    w->records = true;
    back_begin(w);
    assert_true(io_ipc_unsent(w->carrier->back) < 8 << 20);
    run_until(w->loop, &w->carried, 2 * MANY);
    assert_int_equal(w->carried, 2 * MANY);
    assert_int_equal(w->opened, MANY);
    for (int turn = 0; turn < 1000 && w->carrier->carries.used; turn++)
        run_for(w->loop, 1);
    assert_int_equal(w->carrier->carries.used, 0);
    assert_non_null(w->carrier->back);
}

/* ---- harm ---- */

static void very_many_hosts(void **state)
{
    const struct result *r = world_try(w, (struct mail){.domain = "many.test"});

    (void)state;
    assert_int_equal(r->verdict, SMTP_CLIENT_DEFERRED); /* the one that would take it is too far behind */
    assert_int_equal(w->servers[0].connections, 0);
}

static void nonsense_is_survived(void **state)
{
    static char endless[40000];
    static char replies[300 * 8 + 16];
    const struct {
        const char *verb, *reply;
    } all[] = {
        {"", "220 a\r\n220 b\r\n250 c\r\n354 d\r\n250 e\r\n250 f\r\n"},
        {"", endless},
        {"", "220-x\r\n250 y\r\n"},
        {"", "22"},
        {"", "220 mx\r\n250 mx\r\n!"},
        {"EHLO", replies},
        {"EHLO", "250-"},
        {"EHLO", "250 mx\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 taken\r\n"},
        {"EHLO", "\xff\xfe\r\n"},
        {"MAIL", "999 x\r\n"},
        {"MAIL", "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n"},
        {"RCPT", "354 go\r\n"},
        {"DATA", "250 taken\r\n"},
        {"DATA", "354 go\r\n250 taken\r\n"},
        {".", "250-taken\r\n550 not\r\n"},
        {".", "100 x\r\n"},
        {".", "2"},
    };

    (void)state;
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, "220 ", 4);
    for (size_t i = 0; i < 300; i++)
        memcpy(replies + i * 8, "250-x y\n", 8);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct server *s = &w->servers[0];
        bool silent = !str_ends(str_from(all[i].reply), STR("\n")) && !str_ends(str_from(all[i].reply), STR("!"));

        rule(0, all[i].verb, all[i].reply);
        world_send(w, i, (struct mail){.domain = "two.test"});
        run_until(w->loop, &s->connections, 1);
        if (silent && all[i].reply != endless) { /* the rest never comes */
            run_for(w->loop, 20);
            assert_int_equal(w->carried, 0);
            server_hang_up(s);
        }
        run_until(w->loop, &w->carried, 1);
        assert_int_equal(w->carried, 1);
        assert_int_not_equal(w->results[w->results_count - 1].verdict, SMTP_CLIENT_FAILED);
        s->rules[0] = (struct rule){0};
        assert_int_equal(world_try(w, (struct mail){.domain = "c.test"})->verdict, SMTP_CLIENT_ACCEPTED);
        set_up_again(WORLD_ROUTE);
    }
}

/* A server that takes its time keeps nobody else waiting, and no more connections than are its own. */
static void slow_ones_keep_nobody(void **state)
{
    (void)state;
    rule(0, "", ""); /* accepts, and is silent */
    send_many(1, 100, "a.test");
    run_until(w->loop, &w->servers[0].connections, 5);
    send_many(200, 90, "c.test");
    run_until(w->loop, &w->carried, 90);
    assert_int_equal(results_with(SMTP_CLIENT_ACCEPTED), 90);
    assert_int_equal(w->servers[0].open, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(connections_are_kept_and_shared),
        TEST(one_that_died_meanwhile_does_not_count),
        TEST(another_domains_backup_is_not_used),
        TEST(no_more_connections_than_allowed),
        TEST(what_is_idle_is_used_at_once),
        TEST(so_many_a_minute),
        TEST(servers_with_limits_of_their_own),
        TEST(a_server_that_lets_nobody_begin),
        TEST(what_is_too_much_is_put_back),
        TEST(a_site_that_is_dead_rests),
        TEST(others_are_not_told_of_a_recipient),
        TEST(an_early_refusal_is_an_answer),
        TEST(the_carrier_is_full),
        TEST(what_is_not_recorded_is_little),
        TEST(very_much_is_to_be_said),
        TEST(very_many_hosts),
        TEST(nonsense_is_survived),
        TEST(slow_ones_keep_nobody),
    };

    log_init(LOG_TEXT, LOG_LEVEL_INFO, "carrier-0", -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
