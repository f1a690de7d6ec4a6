/* back as a whole, with its lanes on disk, between a front and a keeper that are played here: what becomes of a message
 * for each class of client and each answer of the directory, who is told what, and that nobody is told more. Each case
 * runs in a process of its own, since a role's process has one life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/back.h"
#include "server/log.h"

static char                root[64];
static struct role_context context;
static struct back        *back;
static struct lane_writer *front_lane;
static struct io_ipc      *front, *keeper;
static struct arena        memory;
static uint64_t            message_id;
static unsigned            questions;
static uint64_t            deadline_ms;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

/* ---- the keeper ---- */

static void answer_mailbox(struct answer *answer, struct target *targets, const char *local)
{
    struct target *t = &targets[answer->target_count++];

    *t = (struct target){.kind = TARGET_MAILBOX, .address = {str_from(local), STR("example.test"), false}};
    answer->targets = targets;
}

enum { TARGETS = 100 };

static void resolve(const struct ask *ask, struct answer *answer, struct target targets[TARGETS])
{
    struct str local = ask->address.local;

    if (str_eq(ask->address.domain, STR("remote.test"))) {
        answer_mailbox(answer, targets, "");
        targets[0].kind = TARGET_REMOTE;
        targets[0].address = ask->address;
    } else if (str_starts(local, STR("absent"))) {
        answer->resolve = RESOLVE_ABSENT;
    } else if (str_eq(local, STR("off"))) {
        answer->resolve = RESOLVE_DISABLED;
    } else if (str_eq(local, STR("moved"))) {
        answer->resolve = RESOLVE_MOVED;
        answer->has_moved_to = true;
        answer->moved_to = (struct mail_address){STR("new"), STR("place.test"), false};
    } else if (str_eq(local, STR("failed"))) {
        answer->resolve = RESOLVE_FAILED;
    } else if (str_eq(local, STR("team"))) {
        answer->is_list = true;
        answer_mailbox(answer, targets, "alice");
        answer_mailbox(answer, targets, "secretmember");
        targets[1].result = RESOLVE_ABSENT;
    } else if (str_eq(local, STR("list"))) {
        answer->is_list = true;
        answer_mailbox(answer, targets, "alice");
        answer_mailbox(answer, targets, "gonemember");
        targets[1].result = RESOLVE_ABSENT;
        for (int i = 0; i < 2; i++) {
            targets[i].override_sender = true;
            targets[i].sender_override = (struct mail_address){STR("owner"), STR("remote.test"), false};
        }
    } else if (str_eq(local, STR("lists"))) { /* a hundred owners are told */
        static char owners[TARGETS][16];

        answer->is_list = true;
        for (int i = 0; i < TARGETS; i++) {
            answer_mailbox(answer, targets, "gonemember");
            targets[i].result = RESOLVE_ABSENT;
            targets[i].override_sender = true;
            snprintf(owners[i], sizeof owners[i], "owner%d", i);
            targets[i].sender_override = (struct mail_address){str_from(owners[i]), STR("remote.test"), false};
        }
    } else if (str_eq(local, STR("forward"))) {
        answer->is_list = true;
        answer_mailbox(answer, targets, "hidden");
        targets[0].kind = TARGET_REMOTE;
        targets[0].address.domain = STR("remote.test");
        targets[0].hide = true;
    } else if (str_starts(local, STR("alice"))) {
        answer_mailbox(answer, targets, "alice");
    } else {
        answer_mailbox(answer, targets, "postmaster");
    }
}

static void keeper_message(void *arg, struct str data, int fd)
{
    struct target targets[TARGETS] = {0};
    struct ask    ask;
    struct answer answer = {.resolve = RESOLVE_TARGETS};
    struct buf    out;

    (void)arg;
    CHECK(fd < 0);
    CHECK(ask_get(data, &memory, &ask));
    CHECK(ask.kind == ASK_RESOLVE);
    questions++;
    answer.tag = ask.tag;
    answer.kind = ask.kind;
    resolve(&ask, &answer, targets);
    buf_init(&out, IPC_MESSAGE_MAX);
    CHECK(answer_put(&answer, &out));
    CHECK(io_ipc_send(keeper, buf_str(&out), -1));
    buf_done(&out);
}

static void nothing_message(void *arg, struct str data, int fd)
{
    (void)arg;
    (void)data;
    (void)fd;
}
static void nothing_end(void *arg) { (void)arg; }

/* ---- the world ---- */

static void begin(const char *extra)
{
    static const struct io_ipc_ops keeper_ops_here = {keeper_message, nothing_end};
    static const struct io_ipc_ops front_ops_here = {nothing_message, nothing_end};
    char                           text[1024], path[128];
    int                            fds[2];
    struct err                     err = {0};
    struct config                 *config;

    strcpy(root, "/tmp/test-back-XXXXXX");
    CHECK(mkdtemp(root));
    snprintf(text, sizeof text,
             "hostname = \"mx.example.test\"\ndata = \"%s\"\nlisten mx { address = \"127.0.0.1:2525\" }\n"
             "domain \"example.test\" {}\n%s\n",
             root, extra);
    config = config_parse_text(str_from(text), "test", root, &err);
    if (!config)
        fprintf(stderr, "%s\n", err.text);
    CHECK(config);
    log_init(LOG_TEXT, LOG_LEVEL_ERROR, "back", -1);
    arena_init(&memory, 64 << 10, 64 << 20);
    context = (struct role_context){.role = ROLE_BACK, .config = config, .loop = io_loop_new(&err)};
    CHECK(context.loop);
    snprintf(path, sizeof path, "%s/spool", root);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/spool/lane-01", root);
    front_lane = lane_writer_open(path, &(struct lane_options){.segment_size = 1 << 20}, &err);
    CHECK(front_lane);
    if (!back_ops.start(&context, &err)) {
        fprintf(stderr, "%s\n", err.text);
        CHECK(false);
    }
    back = context.state;
    CHECK(io_ipc_pair(fds, &err));
    keeper = io_ipc_new(context.loop, fds[0], &keeper_ops_here, NULL, &err);
    back_ops.peer(&context, ROLE_KEEPER, 0, fds[1]);
    CHECK(io_ipc_pair(fds, &err));
    front = io_ipc_new(context.loop, fds[0], &front_ops_here, NULL, &err);
    back_ops.peer(&context, ROLE_FRONT, 0, fds[1]);
    CHECK(keeper && front);
}

static void send_mail(enum client_class class, const char *sender, const char *const *to, uint8_t notify)
{
    static struct message_id_source source = {.lane = 1};
    struct recipient                recipients[8] = {0};
    struct str                      content = STR("Subject: s\r\nMessage-ID: <m@x>\r\n\r\nbody\r\n");
    struct message     m = {.id = message_id_next(&source, io_wall_ms()), .content = content, .size = content.len};
    struct buf         out, message;
    struct str         parts[2];
    struct lane_place  place;
    struct lane_batch *batch;
    struct err         err;

    m.received_ms = message_id_time_ms(m.id);
    m.envelope.origin.class = class;
    if (*sender)
        m.envelope.sender = (struct mail_address){str_from(sender), STR("remote.test"), false};
    for (; to[m.envelope.recipient_count]; m.envelope.recipient_count++) {
        struct recipient *r = &recipients[m.envelope.recipient_count];

        r->address = (struct mail_address){str_from(to[m.envelope.recipient_count]), STR("example.test"), false};
        r->notify = notify;
    }
    m.envelope.recipients = recipients;
    message_id = m.id;
    buf_init(&out, 1 << 20);
    CHECK(record_message_put(&m, &out));
    parts[0] = buf_str(&out);
    parts[1] = content;
    CHECK(lane_append(front_lane, RECORD_MESSAGE, 0, parts, 2, &place, &err));
    batch = lane_batch_begin(front_lane);
    CHECK(batch && lane_batch_write(batch, &err));
    lane_batch_end(batch, &place);
    buf_init(&message, 64);
    put_u8(&message, PEER_COMMITTED);
    put_var(&message, 1);
    put_u64(&message, place.seq);
    put_u32(&message, place.offset);
    CHECK(io_ipc_send(front, buf_str(&message), -1));
    buf_done(&message);
    buf_done(&out);
}

static void watch(void *arg)
{
    static unsigned quiet;

    (void)arg;
    quiet =
        questions && !back->attempt_count && back_store_is_idle(back) && queue_next_due_ms(&back->queue) > io_wall_ms()
            ? quiet + 1
            : 0;
    CHECK(io_wall_ms() < deadline_ms);
    if (quiet >= 5) {
        quiet = 0;
        io_loop_stop(context.loop);
    }
}

static void settle(void)
{
    struct io_timer *timer = io_timer_new(context.loop, watch, NULL);

    deadline_ms = io_wall_ms() + 20000;
    io_timer_start(timer, 10, 10);
    io_loop_run(context.loop);
    io_timer_free(timer);
}

/* The reports that wait to be sent: how many, and the newest one's text and recipient. */
static unsigned reports(struct str *ret_text, struct str *ret_to)
{
    struct queue_message *m;
    unsigned              found = 0;

    for (size_t at = 0; (m = queue_next(&back->queue, &at));) {
        struct attempt peek;

        if (m->class != CLASS_OURSELVES)
            continue;
        found++;
        CHECK(back_peek(back, m, false, &peek, NULL));
        CHECK(mail_address_is_null(&peek.message.envelope.sender));
        CHECK(peek.message.envelope.recipient_count == 1);
        *ret_text = arena_str(&memory, peek.message.content);
        *ret_to = arena_str(&memory, attempt_address(&peek, &peek.message.envelope.recipients[0].address));
        back_peek_done(&peek);
    }
    return found;
}

static unsigned delivered(const char *local)
{
    char           path[128];
    DIR           *dir;
    struct dirent *e;
    unsigned       found = 0;

    snprintf(path, sizeof path, "%s/mail/example.test/%s/new", root, local);
    dir = opendir(path);
    while (dir && (e = readdir(dir)))
        found += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return found;
}

static bool has(struct str text, const char *what) { return str_find(text, str_from(what)) != STR_NOT_FOUND; }

#define TO(...) ((const char *const[]){__VA_ARGS__, NULL})

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

/* A forward that must not be shown waits for a route, expires, and is reported by its old address only. */
static void hidden_forward(void)
{
    struct str            text, to;
    struct queue_message *m;

    begin("queue { expire = \"1500ms\"  local_retry = {\"1s\"} }");
    send_mail(CLASS_RELAY, "sender", TO("forward"), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->waiting == 1 && m->recipient_count == 2);
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
static void orphans(void)
{
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    struct body {
        const char *name;
        bool        is_old;
    } const bodies[] = {{"0000000000g00", false}, {"0000000000g01", true}};
    char path[128];

    begin("");
    for (int i = 0; i < 2; i++) {
        int fd;

        snprintf(path, sizeof path, "%s/spool/lane-01/body/%s", root, bodies[i].name);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && (!bodies[i].is_old || futimens(fd, old) == 0));
        close(fd);
    }
    back_orphans_remove(back);
    send_mail(CLASS_STRANGER, "s", TO("alice"), 0);
    settle();
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/spool/lane-01/body/%s", root, bodies[i].name);
        CHECK((access(path, F_OK) == 0) != bodies[i].is_old);
    }
}

static void remove_tree(const char *path)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", path);
    CHECK(strncmp(path, "/tmp/test-back-", 15) == 0 && system(command) == 0);
}

static void in_child(void (*run)(void))
{
    pid_t pid = fork();
    int   status;

    if (pid == 0) {
        run();
        remove_tree(root);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define CASE(name)                        \
    static void test_##name(void **state) \
    {                                     \
        (void)state;                      \
        in_child(name);                   \
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
CASE(unreadable)
CASE(unclaimed_is_limited)
CASE(orphans)

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
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_unclaimed_is_limited),
        cmocka_unit_test(test_orphans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
