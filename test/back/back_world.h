/* back_world.h: back as a whole, with its lanes on disk, between a front, a keeper and a carrier that are played here.
 * Each case runs in a process of its own, since a role's process has one life. Included by the tests of back. */
#ifndef TACIT_TEST_BACK_WORLD_H
#define TACIT_TEST_BACK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"

#include "back/back.h"
#include "role/log.h"

static char                root[64];
static struct role_context context;
static struct counter_slot slot;
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

enum { TARGETS = 100, CROWD = 1000 };

static void resolve(const struct ask *ask, struct answer *answer, struct target targets[CROWD])
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
    } else if (str_starts(local, STR("crowd-away"))) {
        static char members[CROWD][32];

        for (int i = 0; i < CROWD; i++) {
            snprintf(members[i], sizeof members[i], "%.*s-%d", STR_ARG(local), i);
            answer_mailbox(answer, targets, members[i]);
            targets[i].kind = TARGET_REMOTE;
            targets[i].address.domain = STR("remote.test");
        }
    } else if (str_starts(local, STR("crowd"))) {
        for (int i = 0; i < CROWD; i++)
            answer_mailbox(answer, targets, "alice");
    } else if (str_starts(local, STR("lists")) || str_starts(local, STR("owners"))) { /* a hundred owners are told */
        static char owners[TARGETS][32];
        struct str  whose = local.data[0] == 'o' ? local : STR_NONE; /* the same for all lists, or others for each */

        answer->is_list = true;
        for (int i = 0; i < TARGETS; i++) {
            answer_mailbox(answer, targets, "gonemember");
            targets[i].result = RESOLVE_ABSENT;
            targets[i].override_sender = true;
            snprintf(owners[i], sizeof owners[i], "owner%d%.*s", i, STR_ARG(whose));
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
        targets[0].address.domain = ask->address.domain;
    } else {
        answer_mailbox(answer, targets, "postmaster");
    }
}

static void keeper_message(void *arg, struct str data, int fd)
{
    struct target targets[CROWD] = {0};
    struct ask    ask;
    struct answer answer = {.resolve = RESOLVE_TARGETS};
    struct buf    out;

    (void)arg;
    CHECK(fd < 0);
    CHECK(ask_get(data, &memory, &ask));
    CHECK(ask.kind == ASK_RESOLVE || ask.kind == ASK_LEARN);
    answer.tag = ask.tag;
    answer.kind = ask.kind;
    if (ask.kind == ASK_LEARN) {
        answer.yes = true;
    } else {
        questions++;
        resolve(&ask, &answer, targets);
    }
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

static void front_begin(void)
{
    static const struct io_ipc_ops ops = {nothing_message, nothing_end};
    int                            fds[2];
    struct err                     err;

    CHECK(io_ipc_pair(fds, &err));
    front = io_ipc_new(context.loop, fds[0], &ops, NULL, &err);
    CHECK(front);
    back_ops.peer(&context, ROLE_FRONT, 0, fds[1]);
}

static void begin(const char *extra)
{
    static const struct io_ipc_ops keeper_ops_here = {keeper_message, nothing_end};
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
    context = (struct role_context){.role = ROLE_BACK, .config = config, .loop = io_loop_new(&err), .slot = &slot};
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
    CHECK(keeper);
    front_begin();
}

/* ---- the carrier ---- */

enum { GIVEN_MAX = 3000 };
struct given {
    struct carriage c; /* strings of `memory` */
    int             fd;
};
static struct io_ipc *carrier;
static struct given   given[GIVEN_MAX];
static size_t         given_count, recorded_count;
/* Called for each carriage; NULL: it is silent. */
static void (*on_given)(const struct given *g);
static bool reports_are_given;                   /* to `on_given`, too */
static void (*on_cancel)(const struct given *g); /* the same for CANCEL */
static size_t cancelled_count;

static void carrier_say(const struct carriage_message *m)
{
    struct buf out;

    buf_init(&out, IPC_MESSAGE_MAX);
    CHECK(carriage_put(m, &out));
    CHECK(io_ipc_send(carrier, buf_str(&out), -1));
    buf_done(&out);
}

static void carrier_message(void *arg, struct str data, int fd)
{
    struct carriage_message m;

    (void)arg;
    CHECK(carriage_get(arena_str(&memory, data), &memory, &m));
    if (m.kind == CARRIAGE_RECORDED) {
        recorded_count++;
        return;
    }
    if (m.kind == CARRIAGE_CANCEL) {
        cancelled_count++;
        for (size_t i = given_count; on_cancel && i-- > 0;)
            if (given[i].c.id == m.carried.id && given[i].c.number == m.carried.number) {
                on_cancel(&given[i]);
                return;
            }
        return;
    }
    CHECK(m.kind == CARRIAGE_CARRY && given_count < GIVEN_MAX && (fd >= 0) == m.carriage.external);
    given[given_count++] = (struct given){m.carriage, fd};
    if (on_given && (reports_are_given || !mail_address_is_null(&m.carriage.sender)))
        on_given(&given[given_count - 1]);
}

__attribute__((unused)) static void carrier_begin(bool welcome)
{
    static const struct io_ipc_ops ops = {carrier_message, nothing_end};
    int                            fds[2];
    struct err                     err;

    CHECK(io_ipc_pair(fds, &err));
    carrier = io_ipc_new(context.loop, fds[0], &ops, NULL, &err);
    CHECK(carrier);
    back_ops.peer(&context, ROLE_CARRIER, 0, fds[1]);
    if (welcome)
        carrier_say(&(struct carriage_message){.kind = CARRIAGE_WELCOME});
}

/* The same answer for each recipient. */
__attribute__((unused)) static void carrier_answer(const struct given *g, struct carried_recipient said, bool refused)
{
    struct carried_recipient all[CARRIAGE_RECIPIENTS_MAX];
    struct carriage_message  m = {.kind = CARRIAGE_CARRIED,
                                  .carried = {.id = g->c.id,
                                              .number = g->c.number,
                                              .host = STR("mx.there.test"),
                                              .address = STR("192.0.2.1"),
                                              .refused = refused,
                                              .recipients = all,
                                              .recipient_count = g->c.recipient_count}};

    for (size_t i = 0; i < g->c.recipient_count; i++)
        all[i] = said;
    carrier_say(&m);
}

#define SAID(the_verdict, the_code, c, s, d, the_text)                                                                 \
    (struct carried_recipient)                                                                                         \
    {                                                                                                                  \
        .verdict = SMTP_CLIENT_##the_verdict, .stage = SMTP_STAGE_RCPT, .code = (the_code), .status = {(c), (s), (d)}, \
        .text = STR(the_text)                                                                                          \
    }

static inline void accept_it(const struct given *g) { carrier_answer(g, SAID(ACCEPTED, 250, 2, 0, 0, "ok"), false); }

static inline void defer_it(const struct given *g)
{
    carrier_answer(g, SAID(DEFERRED, 450, 4, 7, 1, "4.7.1 come later"), false);
}

static inline void put_back(const struct given *g, uint64_t site)
{
    carrier_say(&(struct carriage_message){
        .kind = CARRIAGE_PUT_BACK, .carried = {.id = g->c.id, .number = g->c.number}, .site = site});
}

static inline const struct given *given_to(const char *domain)
{
    for (size_t i = 0; i < given_count; i++)
        if (str_eq(given[i].c.domain, str_from(domain)))
            return &given[i];
    return NULL;
}

enum { RECIPIENTS = 100000 /* the most that limits.recipients can be */ };
static const char ordinary[] = "Subject: s\r\nMessage-ID: <m@x>\r\n\r\nbody\r\n";
static struct str content = {ordinary, sizeof ordinary - 1};

/* Writes a message into the front's lane, durably, and says nothing of it. `to`: local parts in example.test, or whole
 * addresses. */
static struct lane_place store_mail(enum client_class class, const char *sender, const char *const *to, uint8_t notify)
{
    static struct message_id_source source = {.lane = 1};
    static struct recipient         recipients[RECIPIENTS];
    struct message     m = {.id = message_id_next(&source, io_wall_ms()), .content = content, .size = content.len};
    struct buf         out;
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

        const char *text = to[m.envelope.recipient_count], *at = strchr(text, '@');

        *r = (struct recipient){.notify = notify};
        r->address = (struct mail_address){at ? str_of(text, (size_t)(at - text)) : str_from(text),
                                           at ? str_from(at + 1) : STR("example.test"), false};
    }
    m.envelope.recipients = recipients;
    message_id = m.id;
    buf_init(&out, 32 << 20);
    CHECK(record_message_put(&m, &out));
    parts[0] = buf_str(&out);
    parts[1] = content;
    CHECK(lane_append(front_lane, RECORD_MESSAGE, 0, parts, 2, &place, &err));
    batch = lane_batch_begin(front_lane);
    CHECK(batch && lane_batch_write(batch, &err));
    lane_batch_end(batch, &place);
    buf_done(&out);
    return place;
}

static void tell_committed(struct lane_place place)
{
    struct buf message;

    buf_init(&message, 64);
    put_u8(&message, PEER_COMMITTED);
    put_var(&message, 1);
    put_u64(&message, place.seq);
    put_u32(&message, place.offset);
    CHECK(io_ipc_send(front, buf_str(&message), -1));
    buf_done(&message);
}

static void send_mail(enum client_class class, const char *sender, const char *const *to, uint8_t notify)
{
    tell_committed(store_mail(class, sender, to, notify));
}

static bool settle_blindly; /* nobody need be asked first */

static void watch(void *arg)
{
    static unsigned quiet;

    (void)arg;
    quiet = (questions || given_count || settle_blindly) && !back->attempt_count && !back->command_count &&
                    back_carry_is_idle(back) && back_store_is_idle(back) &&
                    queue_next_due_ms(&back->queue) > io_wall_ms()
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

    deadline_ms = io_wall_ms() + 120000;
    io_timer_start(timer, 10, 10);
    io_loop_run(context.loop);
    io_timer_free(timer);
}

static inline void pass(unsigned ms)
{
    uint64_t until = io_wall_ms() + ms;

    while (io_wall_ms() < until) {
        usleep(10000);
        settle();
    }
}

/* The reports that wait to be sent: how many, and the newest one's text and recipient. */
__attribute__((unused)) static unsigned reports(struct str *ret_text, struct str *ret_to)
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

__attribute__((unused)) static unsigned delivered(const char *local)
{
    char path[128];

    snprintf(path, sizeof path, "%s/mail/example.test/%s/new", root, local);
    return files_count(path, "");
}

static bool has(struct str text, const char *what) { return str_find(text, str_from(what)) != STR_NOT_FOUND; }

#define TO(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Addresses PREFIX0SUFFIX and so on, as TO makes them. */
__attribute__((unused)) static const char *const *numbered(const char *prefix, unsigned count, const char *suffix)
{
    static char        texts[RECIPIENTS][32];
    static const char *all[RECIPIENTS + 1];

    for (unsigned i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "%s%u%s", prefix, i, suffix);
        all[i] = texts[i];
    }
    all[count] = NULL;
    return all;
}

static void in_child(void (*run)(void))
{
    pid_t pid = fork();
    int   status;

    if (pid == 0) {
        run();
        CHECK(files_remove(root));
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
#endif
