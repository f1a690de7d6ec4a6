/* back between a front and a keeper: what becomes of a message for each class of client and each answer of the
 * directory, who is told what, and that nobody is told more. */
#include "back_world.h"

/* ---- cases ---- */

static void stranger_absent(void)
{
    struct str            text, to;
    struct queue_message *m;

    begin("");
    send_mail(CLASS_STRANGER, "sender", TO("absent", "alice"), NOTIFY_SUCCESS | NOTIFY_FAILURE);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->unclaimed_count == 1 && m->pending == 0);
    CHECK(delivered("alice") == 1);
    CHECK(reports(&text, &to) == 0); /* neither of the failure nor of the success */
    CHECK(back->queue.unclaimed_messages == 1);
}

static void relay_absent(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("absent", "alice", "off"), 0);
    settle();
    CHECK(!queue_find(&back->queue, message_id));
    CHECK(reports(&text, &to) == 1);
    CHECK(str_eq(to, STR("sender@remote.test")));
    CHECK(has(text, "absent@example.test") && has(text, "Status: 5.1.1") && has(text, "Status: 5.2.1"));
    CHECK(!has(text, "alice"));
    CHECK(has(text, "Message-ID: <m@x>"));
}

static void relay_never(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("absent"), NOTIFY_NEVER);
    send_mail(CLASS_RELAY, "sender", TO("absent"), NOTIFY_SUCCESS | NOTIFY_DELAY);
    settle();
    CHECK(back->queue.messages == 0 && reports(&text, &to) == 0);
}

static void null_sender(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_BOUNCE, "", TO("absent"), 0);
    send_mail(CLASS_RELAY, "", TO("absent"), 0);
    settle();
    CHECK(back->queue.messages == 0 && reports(&text, &to) == 0);
}

static void moved(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("moved"), 0);
    settle();
    CHECK(reports(&text, &to) == 1 && has(text, "Status: 5.1.6") && has(text, "new@place.test"));
}

/* A member of an alias that fails: the sender learns that the alias failed, not who is behind it. */
static void alias_member(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("team"), 0);
    settle();
    CHECK(delivered("alice") == 1);
    CHECK(reports(&text, &to) == 1 && str_eq(to, STR("sender@remote.test")));
    CHECK(has(text, "team@example.test") && !has(text, "secretmember"));
}

/* A list: its owner is told, and may know the member; the sender, a stranger, is not. */
static void list_member(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_STRANGER, "sender", TO("list"), 0);
    settle();
    CHECK(delivered("alice") == 1 && back->queue.unclaimed_messages == 0);
    CHECK(reports(&text, &to) == 1 && str_eq(to, STR("owner@remote.test")));
    CHECK(has(text, "gonemember@example.test"));
}

/* A forward that must not be shown waits for a way out, expires, and is reported by its old address only. */
static void hidden_forward(void)
{
    struct str            text, to;
    struct queue_message *m;

    begin("queue { expire = \"1500ms\"  local_retry = {\"1s\"} }");
    send_mail(CLASS_RELAY, "sender", TO("forward"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->pending == 1 && m->parked);
    while (queue_find(&back->queue, message_id)) {
        usleep(20000);
        settle();
    }
    CHECK(reports(&text, &to) == 1);
    CHECK(has(text, "forward@example.test") && has(text, "Status: 5.4.7") && !has(text, "hidden"));
}

static void directory_away(void)
{
    struct str            text, to;
    struct queue_message *m;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("failed", "alice"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->pending == 1 && m->attempts == 1 && m->next_ms > io_wall_ms() + 50000);
    CHECK(delivered("alice") == 1 && reports(&text, &to) == 0);
}

static void one_mailbox_once(void)
{
    begin("");
    send_mail(CLASS_STRANGER, "sender", TO("alice", "alice+tag", "alice2", "team"), 0);
    settle();
    CHECK(delivered("alice") == 1);
}

static void success(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_RELAY, "sender", TO("alice"), NOTIFY_SUCCESS);
    settle();
    CHECK(reports(&text, &to) == 1 && has(text, "Action: delivered") && !queue_find(&back->queue, message_id));
}

static void release_and_remove(void)
{
    struct queue_message *m;
    struct mail_address   other = {STR("alice"), STR("example.test"), false};

    begin("");
    send_mail(CLASS_STRANGER, "sender", TO("absent1", "absent2"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->unclaimed_count == 2);
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_RELEASE}, NULL, NULL));
    settle(); /* in vain: the mailbox is still not there */
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->unclaimed_count == 2);
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_HOLD}, NULL, NULL));
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && (m->flags & PROGRESS_HELD));
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_REROUTE, .via = STR("smtp:[192.0.2.1]")},
                             NULL, NULL));
    settle();
    CHECK((m->flags & PROGRESS_HELD) && (m->flags & PROGRESS_VIA));
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_REROUTE}, NULL, NULL));
    settle();
    CHECK((m->flags & PROGRESS_HELD) && !(m->flags & PROGRESS_VIA));
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_RELEASE, .to = other}, NULL, NULL));
    settle();
    CHECK(!queue_find(&back->queue, message_id) && delivered("alice") == 1);
    send_mail(CLASS_STRANGER, "sender", TO("absent"), 0);
    settle();
    CHECK(back_command_start(back, queue_find(&back->queue, message_id),
                             &(struct back_change){.command = COMMAND_REMOVE}, NULL, NULL));
    settle();
    CHECK(back->queue.messages == 0 && delivered("alice") == 1);
}

static void unclaimed_expires(void)
{
    begin("unclaimed { keep = \"1s\" }");
    send_mail(CLASS_STRANGER, "sender", TO("absent"), 0);
    settle();
    CHECK(back->queue.unclaimed_messages == 1);
    while (back->queue.messages) {
        usleep(20000);
        settle();
    }
}

/* ---- the frame ---- */

static void many_owners(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_STRANGER, "s", TO("lists"), 0);
    settle();
    CHECK(reports(&text, &to) == TARGETS);
    CHECK(!queue_find(&back->queue, message_id));
}

/* As many owners, each of members in forty lists: that takes no more memory than there is. */
static void many_lists(void)
{
    struct str text, to;

    begin("");
    send_mail(CLASS_STRANGER, "s", numbered("lists", 40, ""), 0);
    settle();
    CHECK(reports(&text, &to) == TARGETS);
    CHECK(!queue_find(&back->queue, message_id));
}

/* A stranger who writes to one large list under many names gets no more than the message can hold. */
static void endless_crowd(void)
{
    struct queue_message *m;
    struct attempt        peek;
    size_t                failed = 0;

    begin("");
    send_mail(CLASS_STRANGER, "s", numbered("crowd", 40, ""), 0);
    settle();
    CHECK(delivered("alice") == 1);
    m = queue_find(&back->queue, message_id);
    CHECK(m && back_peek(back, m, false, &peek, NULL));
    for (size_t i = 0; i < 40; i++)
        failed += peek.to[i].state == RECIPIENT_UNCLAIMED;
    CHECK(failed == 40 - BACK_EXPANDED_MAX / CROWD);
    back_peek_done(&peek);
}

static void command_done(void *arg, bool ok, const char *text)
{
    (void)text;
    *(int *)arg = ok;
}

/* What cannot be read can be removed all the same. */
static void unreadable(void)
{
    struct queue_message *m;
    int                   ok = -1;

    begin("");
    send_mail(CLASS_STRANGER, "s", TO("absent1"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->unclaimed_count == 1);
    m->home.offset += 8;
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_HOLD}, command_done, &ok));
    settle();
    CHECK(ok == 0 && queue_find(&back->queue, message_id));
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_REMOVE}, command_done, &ok));
    settle();
    CHECK(ok == 1 && !queue_find(&back->queue, message_id) && !back->queue.messages);
}

static void stop(void *arg)
{
    (void)arg;
    io_loop_stop(context.loop);
}

/* Strangers send faster than one message a second, and what is held stays below its limit. */
static void unclaimed_is_limited(void)
{
    struct config   *config;
    struct io_timer *timer;

    begin("");
    for (int i = 0; i < 60; i++)
        send_mail(CLASS_STRANGER, "s", TO("absent1"), 0);
    settle();
    CHECK(back->queue.unclaimed_messages == 60);
    config = (struct config *)(uintptr_t)context.config;
    config->unclaimed.max = back->queue.unclaimed_octets / 6;
    timer = io_timer_new(context.loop, stop, NULL);
    io_timer_start(timer, 3000, 0);
    io_loop_run(context.loop);
    io_timer_free(timer);
    CHECK(back->queue.unclaimed_messages == 10);
    CHECK(queue_find(&back->queue, message_id)); /* the newest stay */
}

/* Bodies without a record go when nobody has written to them for long, whatever the time in their name. */
/* `lane` and name of a body, and how it is: */
enum { YOUNG, OLD, WRITTEN_TO, OF_ANOTHER_LANE };
static const struct {
    unsigned    lane;
    const char *name;
    int         how;
} bodies[] = {{1, "0000000000g00", YOUNG},
              {1, "0000000000g01", OLD},
              {1, "0000000000g02", WRITTEN_TO},
              {0, "0000000000g00", OF_ANOTHER_LANE}};
enum { BODIES = sizeof bodies / sizeof *bodies };

static const char *body_path(int i)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/spool/lane-%02u/body/%s", root, bodies[i].lane, bodies[i].name);
    return path;
}

static void date_body(int i, time_t when)
{
    CHECK(utimensat(AT_FDCWD, body_path(i), (struct timespec[]){{.tv_sec = when}, {.tv_sec = when}}, 0) == 0);
}

/* They go when they were found twice and had not changed; nobody's else goes with them. */
static void orphans(void)
{
    begin("");
    for (int i = 0; i < BODIES; i++) {
        close(open(body_path(i), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        if (bodies[i].how != YOUNG)
            date_body(i, 1000);
    }
    for (int time = 0; time < 2; time++) {
        back_orphans_remove(back);
        send_mail(CLASS_STRANGER, "s", TO("alice"), 0);
        settle();
        for (int i = 0; i < BODIES; i++) {
            bool is_orphan = bodies[i].how == OLD || bodies[i].how == OF_ANOTHER_LANE;

            CHECK((access(body_path(i), F_OK) == 0) == (time == 0 || !is_orphan));
            if (bodies[i].how == WRITTEN_TO)
                date_body(i, 2000);
        }
    }
}

/* What a front says of its lane is believed of what is there already, and as long as it lives. */
static void front_that_lies(void)
{
    char              path[128];
    struct lane_place place;

    begin("");
    place = store_mail(CLASS_STRANGER, "s", TO("alice"), 0);
    tell_committed((struct lane_place){UINT64_MAX, 0});
    settle();
    CHECK(delivered("alice") == 1);
    back_segments_tick(back);
    back_release_tick(back);
    settle();
    snprintf(path, sizeof path, "%s/spool/lane-01/%016llx.seg", root, (unsigned long long)place.seq);
    CHECK(access(path, F_OK) == 0); /* nothing in it is needed, but it is written to */

    io_ipc_free(front);
    settle();
    front_begin();
    place = store_mail(CLASS_STRANGER, "s", TO("alice"), 0);
    back_segments_tick(back);
    settle();
    CHECK(delivered("alice") == 1); /* it may not be durable yet */
    tell_committed(place);
    settle();
    CHECK(delivered("alice") == 2);
}

CASE(stranger_absent)
CASE(relay_absent)
CASE(relay_never)
CASE(null_sender)
CASE(moved)
CASE(alias_member)
CASE(list_member)
CASE(hidden_forward)
CASE(directory_away)
CASE(one_mailbox_once)
CASE(success)
CASE(release_and_remove)
CASE(unclaimed_expires)
CASE(many_owners)
CASE(many_lists)
CASE(endless_crowd)
CASE(unreadable)
CASE(unclaimed_is_limited)
CASE(orphans)
CASE(front_that_lies)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stranger_absent),
        cmocka_unit_test(test_relay_absent),
        cmocka_unit_test(test_relay_never),
        cmocka_unit_test(test_null_sender),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_alias_member),
        cmocka_unit_test(test_list_member),
        cmocka_unit_test(test_hidden_forward),
        cmocka_unit_test(test_directory_away),
        cmocka_unit_test(test_one_mailbox_once),
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_release_and_remove),
        cmocka_unit_test(test_unclaimed_expires),
        cmocka_unit_test(test_many_owners),
        cmocka_unit_test(test_many_lists),
        cmocka_unit_test(test_endless_crowd),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_unclaimed_is_limited),
        cmocka_unit_test(test_orphans),
        cmocka_unit_test(test_front_that_lies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
