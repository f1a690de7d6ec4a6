/* back between a front, a keeper and a carrier: who goes with whom, what each outcome leads to, what is given again and
 * what never, and what a carrier in a stranger's hands can do. */
#include "back_world.h"

static void fail_it(const struct given *g)
{
    carrier_answer(g, SAID(FAILED, 550, 5, 1, 1, "5.1.1 no such user"), false);
}

static void refuse_it(const struct given *g) { carrier_answer(g, SAID(DEFERRED, 554, 4, 3, 0, "go away"), true); }

static void move_it(const struct given *g)
{
    struct carried_recipient said = SAID(FAILED, 551, 5, 1, 6, "5.1.6 try <new@other.test>");

    if (str_eq(g->c.domain, STR("other.test"))) {
        accept_it(g);
        return;
    }
    said.moved_to = (struct mail_address){STR("new"), STR("other.test"), false};
    carrier_answer(g, said, false);
}

static void put_it_back(const struct given *g) { put_back(g, 7); }

/* ---- cases ---- */

static void together(void)
{
    const struct given *one;

    begin("");
    carrier_begin(true);
    on_given = accept_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "alice", "c@two.test", "b@one.test"), 0);
    settle();
    one = given_to("one.test");
    CHECK(given_count == 2 && one && one->c.recipient_count == 2 && given_to("two.test"));
    CHECK(one->c.indices[0] == 0 && one->c.indices[1] == 3 && one->c.number == 0);
    CHECK(str_eq(one->c.recipients[1].address.local, STR("b")) && str_eq(one->c.via, STR("mx")));
    CHECK(str_eq(one->c.sender.domain, STR("remote.test")) && str_eq(one->c.content, content));
    CHECK(delivered("alice") == 1 && !queue_find(&back->queue, message_id));
    settle();
    CHECK(recorded_count == 2);
}

/* A reply to one of a transaction may be told to all of it, and names whom the sender does not know. */
static void hidden_apart(void)
{
    begin("");
    carrier_begin(true);
    on_given = accept_it;
    send_mail(CLASS_RELAY, "sender", TO("a@remote.test", "forward", "b@remote.test"), 0);
    settle();
    CHECK(given_count == 2 && given[0].c.recipient_count + given[1].c.recipient_count == 3);
    for (size_t i = 0; i < 2; i++)
        if (given[i].c.recipient_count == 1)
            CHECK(str_eq(given[i].c.recipients[0].address.local, STR("hidden")));
}

static void by_smarthost(void)
{
    begin("route \"*\" { via = \"smtp://10.0.0.1:2526\" }  route \"two.test\" { via = \"mx\" }");
    carrier_begin(true);
    on_given = accept_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "b@three.test", "c@two.test"), 0);
    settle();
    CHECK(given_count == 2 && given_to("two.test")->c.recipient_count == 1);
    CHECK(given_to("one.test")->c.recipient_count == 2);
    CHECK(str_eq(given_to("two.test")->c.route, STR("two.test")));
}

/* No more than a carriage holds, each recipient once. */
static void many(void)
{
    static char        names[250][16];
    static const char *to[251];
    size_t             sum = 0;

    begin("");
    carrier_begin(true);
    on_given = accept_it;
    for (int i = 0; i < 250; i++) {
        snprintf(names[i], sizeof names[i], "u%d@one.test", i);
        to[i] = names[i];
    }
    send_mail(CLASS_RELAY, "sender", to, 0);
    settle();
    for (size_t i = 0; i < given_count; i++)
        sum += given[i].c.recipient_count;
    CHECK(given_count == 3 && sum == 250 && !back->queue.messages);
}

static void large(void)
{
    static char text[300 << 10];
    char        got[64];

    begin("");
    carrier_begin(true);
    memset(text, 'x', sizeof text);
    memcpy(text, "A: b\r\n\r\n", 8);
    content = str_of(text, sizeof text);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "b@two.test"), 0);
    settle();
    CHECK(given_count == 2 && given[0].fd >= 0 && given[1].fd >= 0 && given[0].c.size == sizeof text);
    CHECK(pread(given[0].fd, got, sizeof got, 0) == sizeof got && memcmp(got, text, sizeof got) == 0);
    CHECK(pread(given[1].fd, got, sizeof got, sizeof text - sizeof got) == sizeof got && got[63] == 'x');
    CHECK(write(given[0].fd, "y", 1) < 0);
}

static void deferred(void)
{
    struct str            text, to;
    struct queue_message *m;
    struct attempt        peek;

    begin("queue { retry = {\"300ms\"}  expire = \"1s\" }");
    carrier_begin(true);
    on_given = defer_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->attempts == 1 && m->pending == 1 && m->next_ms > io_wall_ms());
    CHECK(back_peek(back, m, false, &peek, NULL));
    CHECK(peek.to[0].code == 450 && str_eq(peek.to[0].remote, STR("mx.there.test")));
    CHECK(str_eq(peek.to[0].reply, STR("450 4.7.1 come later")));
    back_peek_done(&peek);
    pass(1600);
    CHECK(!queue_find(&back->queue, message_id) && given_count >= 2);
    CHECK(reports(&text, &to) == 1 && has(text, "Status: 5.7.1"));
}

static void failed(void)
{
    struct str text, to;

    begin("");
    carrier_begin(true);
    on_given = fail_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(!queue_find(&back->queue, message_id));
    CHECK(reports(&text, &to) == 1 && has(text, "Status: 5.1.1"));
}

/* Three retries, then what the hosts said counts. */
static void refused(void)
{
    struct str text, to;

    begin("queue { retry = {\"100ms\"} }");
    carrier_begin(true);
    on_given = refuse_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(queue_find(&back->queue, message_id));
    pass(1200);
    CHECK(given_count == 4 + 1 && !queue_find(&back->queue, message_id)); /* and its report */
    CHECK(reports(&text, &to) == 1 && has(text, "Status: 5.3.0"));
}

static void moved_followed(void)
{
    begin("route \"*\" { follow_551 = \"trusted\" }");
    carrier_begin(true);
    on_given = move_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 2 && given_to("other.test") && given_to("other.test")->c.indices[0] == 1);
    CHECK(!back->queue.messages);
}

static void move_again(const struct given *g)
{
    struct carried_recipient said = SAID(FAILED, 551, 5, 1, 6, "5.1.6 moved");

    said.moved_to = (struct mail_address){STR("next"), g->c.domain, false};
    carrier_answer(g, said, false);
}

static void moved_once_only(void)
{
    struct str text, to;

    begin("route \"*\" { follow_551 = \"trusted\" }");
    carrier_begin(true);
    reports_are_given = true;
    on_given = move_again;
    send_mail(CLASS_BOUNCE, "", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 2 && !back->queue.messages && reports(&text, &to) == 0);
}

static void moved_reported(void)
{
    struct str text, to;

    begin("");
    carrier_begin(true);
    on_given = move_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(reports(&text, &to) == 1 && has(text, "Status: 5.1.6") && has(text, "new@other.test"));
}

static void held(void)
{
    struct queue_message *m;

    begin("route \"*\" { via = \"hold:\" }");
    carrier_begin(true);
    on_given = accept_it;
    settle_blindly = true;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->waiting == 1 && queue_next_due_ms(&back->queue) == UINT64_MAX && given_count == 0);
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_RELEASE}, NULL, NULL));
    settle();
    CHECK(given_count == 1 && !back->queue.messages);
}

static void discarded(void)
{
    begin("route \"*\" { via = \"discard:\" }");
    settle_blindly = true;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    pass(100);
    CHECK(!back->queue.messages);
}

/* A server for our own domain: its mailbox is asked for, and two names of one mailbox are one recipient. */
static void own_lmtp(void)
{
    begin("domain \"lmtp.test\" { deliver = \"lmtp:127.0.0.1:2424\" }");
    carrier_begin(true);
    on_given = accept_it;
    send_mail(CLASS_STRANGER, "sender", TO("alice@lmtp.test"), 0);
    settle();
    CHECK(given_count == 1 && str_eq(given[0].c.via, STR("lmtp:127.0.0.1:2424")) && !back->queue.messages);
}

/* What the sender may not be told by us is not asked of others. */
static void no_notices_for_strangers(void)
{
    begin("");
    carrier_begin(true);
    on_given = accept_it;
    send_mail(CLASS_STRANGER, "sender", TO("forward"), NOTIFY_SUCCESS | NOTIFY_FAILURE);
    settle();
    CHECK(given_count == 1 && given[0].c.recipients[0].notify == NOTIFY_NEVER && given[0].c.indices[0] == 1);
}

/* As if it had been read when back began. */
static void was_there_before(void) { queue_find(&back->queue, message_id)->replayed = true; }

static void open_all(uint32_t *indices, size_t count)
{
    const struct carriage c = {.id = message_id, .indices = indices, .recipient_count = count};

    carrier_say(&(struct carriage_message){.kind = CARRIAGE_OPEN, .carriage = c});
}

/* A predecessor gave it away: it is not given again, and its outcome counts. */
static void opened(void)
{
    uint32_t     zero = 0;
    struct given g;

    begin("");
    carrier_begin(false);
    settle_blindly = true;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "b@two.test"), 0);
    settle();
    CHECK(given_count == 0 && queue_find(&back->queue, message_id)->parked);
    was_there_before();
    g.c = (struct carriage){.id = message_id, .indices = &zero, .recipient_count = 1};
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_OPEN, .carriage = g.c});
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_WELCOME});
    settle();
    CHECK(given_count == 1 && str_eq(given[0].c.domain, STR("two.test")) && given[0].c.indices[0] == 1);
    accept_it(&given[0]);
    accept_it(&g);
    accept_it(&g); /* said again before it was recorded */
    settle();
    settle();
    CHECK(given_count == 1 && recorded_count >= 2 && !back->queue.messages);
}

/* During a reload there are two: the new one must not get what the old one has, and says only later. */
/* And it is not held against the server. */
static bool was_cut(void)
{
    struct queue_message *m = queue_find(&back->queue, message_id);
    struct attempt        peek;
    bool                  was;

    if (!m || m->attempts || !back_peek(back, m, false, &peek, NULL))
        return false;
    was = str_eq(peek.to[0].status, STR("4.3.0")) && !peek.to[0].remote.len && !peek.to[0].code &&
          str_starts(peek.to[0].reason, STR("this server was stopped"));
    back_peek_done(&peek);
    return was;
}

static void opened_by_another(void)
{
    struct io_ipc *old;
    uint32_t       zero = 0;

    begin("");
    carrier_begin(false);
    old = carrier;
    carrier_begin(true);
    settle_blindly = true;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 0);
    was_there_before();
    carrier = old;
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_OPEN,
                                           .carriage = {.id = message_id, .indices = &zero, .recipient_count = 1}});
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_WELCOME});
    settle();
    CHECK(given_count == 0);
    io_ipc_free(old); /* nothing is known of it */
    pass(300);
    CHECK(given_count == 0 && was_cut());
}

static void cut(void)
{
    begin("queue { local_retry = {\"200ms\", \"1h\"} }");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 1 && back->carry.messages.used == 1);
    io_ipc_free(carrier);
    settle();
    CHECK(was_cut());
    carrier_begin(true);
    on_given = accept_it;
    pass(400);
    CHECK(given_count == 2 && !back->queue.messages);
}

/* The carrier ends in the middle of it, and says so; what the server had answered before holds. */
static void stop_it(const struct given *g)
{
    struct carried_recipient all[] = {SAID(DEFERRED, 0, 4, 3, 0, ""), SAID(DEFERRED, 450, 4, 2, 0, "later")};

    carrier_say(&(struct carriage_message){.kind = CARRIAGE_CARRIED,
                                           .carried = {.id = g->c.id,
                                                       .number = g->c.number,
                                                       .host = STR("mx.there.test"),
                                                       .stopped = true,
                                                       .retry_ms = io_wall_ms() + 3600 * 1000,
                                                       .recipients = all,
                                                       .recipient_count = g->c.recipient_count}});
}

static void stopped(void)
{
    struct queue_message *m;
    struct attempt        peek;

    begin("queue { local_retry = {\"200ms\", \"1h\"} }");
    carrier_begin(true);
    on_given = stop_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 1 && was_cut());
    on_given = accept_it;
    pass(400);
    CHECK(given_count == 2 && !back->queue.messages);

    on_given = stop_it;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "b@one.test"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->attempts == 1 && back_peek(back, m, false, &peek, NULL));
    CHECK(peek.to[0].code == 0 && peek.to[1].code == 450 && str_eq(peek.to[1].remote, STR("mx.there.test")));
    back_peek_done(&peek);
}

/* What was put back is no attempt, and comes again when the site has room. */
static void room(void)
{
    begin("");
    carrier_begin(true);
    on_given = put_it_back;
    for (int i = 0; i < 3; i++)
        send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 3 && back->queue.messages == 3 && queue_find(&back->queue, message_id)->attempts == 0);
    CHECK(back->carry.messages.used == 0 && queue_next_due_ms(&back->queue) > io_wall_ms() + 60000);
    on_given = accept_it;
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_ROOM, .site = 7, .room = 2});
    settle();
    CHECK(given_count == 5 && back->queue.messages == 1);
    io_ipc_free(carrier); /* nobody will say that there is room any more */
    carrier_begin(true);
    settle();
    CHECK(given_count == 6 && back->queue.messages == 0);
}

/* queue.remote: no more than that, and the next when one is through. Local mail does not wait. */
static void own_limit(void)
{
    begin("queue { remote = 1 }");
    carrier_begin(true);
    for (int i = 0; i < 3; i++)
        send_mail(CLASS_RELAY, "sender", TO("a@one.test", "alice"), 0);
    settle();
    CHECK(given_count == 1 && delivered("alice") == 3 && back->carry.own.count == 2);
    accept_it(&given[0]);
    settle();
    CHECK(given_count == 2 && back->queue.messages == 2);
    on_given = accept_it;
    accept_it(&given[1]);
    settle();
    CHECK(given_count == 3 && back->queue.messages == 0);
}

/* A carrier that names what it cannot have: of mail that came later, and of our own mailboxes, it decides nothing. */
static void opened_falsely(void)
{
    uint32_t     all[] = {0, 1};
    struct given g = {.c = {.recipient_count = 2}};

    begin("");
    carrier_begin(false);
    settle_blindly = true;
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "b@two.test"), 0);
    settle();
    open_all(all, 2);
    settle();
    CHECK(back->carry.messages.used == 0);
    io_ipc_free(carrier);

    carrier_begin(false);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test", "failed"), 0); /* one of ours that cannot be delivered yet */
    settle();
    was_there_before();
    open_all(all, 2);
    g.c.id = message_id;
    accept_it(&g);
    pass(50);
    CHECK(recorded_count == 1 && queue_find(&back->queue, message_id));
    CHECK(queue_find(&back->queue, message_id)->pending == 1);
}

/* The channel was lost and not the carrier: on the next one it says what it has. */
static void opened_again(void)
{
    uint32_t zero = 0;

    begin("");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(given_count == 1);
    io_ipc_free(carrier);
    settle();
    CHECK(back->carry.messages.used == 0);
    carrier_begin(false);
    open_all(&zero, 1);
    settle();
    CHECK(back->carry.messages.used == 1);
    accept_it(&given[0]);
    settle();
    CHECK(!back->queue.messages);
}

/* An operator removes what is under way; its outcome is nobody's. */
static void removed(void)
{
    begin("");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    CHECK(back_command_start(back, queue_find(&back->queue, message_id),
                             &(struct back_change){.command = COMMAND_REMOVE}, NULL, NULL));
    settle();
    CHECK(!back->queue.messages && recorded_count == 0);
    accept_it(&given[0]);
    settle();
    settle();
    CHECK(recorded_count == 1 && back->carry.messages.used == 0);
}

static void nonsense(void)
{
    uint32_t                far = 4000;
    struct given            stranger = {.c = {.id = 12345, .number = 0, .recipient_count = 1}}, wrong;
    struct carriage_message open = {.kind = CARRIAGE_OPEN, .carriage = {.indices = &far, .recipient_count = 1}};

    begin("");
    carrier_begin(true);
    send_mail(CLASS_RELAY, "sender", TO("a@one.test"), 0);
    settle();
    open.carriage.id = message_id;
    carrier_say(&open); /* after WELCOME, and no such recipient */
    wrong = given[0];
    wrong.c.recipient_count = 2;
    accept_it(&wrong);
    accept_it(&stranger);
    put_back(&stranger, 9);
    carrier_say(&(struct carriage_message){.kind = CARRIAGE_ROOM, .site = 99, .room = UINT32_MAX});
    CHECK(io_ipc_send(carrier, STR("\xff garbage"), -1));
    settle();
    CHECK(back->queue.messages == 1 && back->carry.messages.used == 1);
    accept_it(&given[0]);
    settle();
    CHECK(back->queue.messages == 0);
}

CASE(together)
CASE(hidden_apart)
CASE(by_smarthost)
CASE(many)
CASE(large)
CASE(deferred)
CASE(failed)
CASE(refused)
CASE(moved_followed)
CASE(moved_once_only)
CASE(moved_reported)
CASE(held)
CASE(discarded)
CASE(own_lmtp)
CASE(no_notices_for_strangers)
CASE(opened)
CASE(opened_by_another)
CASE(opened_falsely)
CASE(opened_again)
CASE(cut)
CASE(stopped)
CASE(room)
CASE(own_limit)
CASE(removed)
CASE(nonsense)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_hidden_apart),
        cmocka_unit_test(test_by_smarthost),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_deferred),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_moved_followed),
        cmocka_unit_test(test_moved_once_only),
        cmocka_unit_test(test_moved_reported),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_discarded),
        cmocka_unit_test(test_own_lmtp),
        cmocka_unit_test(test_no_notices_for_strangers),
        cmocka_unit_test(test_opened),
        cmocka_unit_test(test_opened_by_another),
        cmocka_unit_test(test_opened_falsely),
        cmocka_unit_test(test_opened_again),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_own_limit),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
