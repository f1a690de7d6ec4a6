/* Every allocation of what the processes do fails, in turn: once, and from there on for good. An operation then says
 * that it failed, or has done exactly what it does with memory; it never does half of it, says something else, or ends
 * the process. SQLite, libconfuse, libidn2 and the C library allocate too, and are meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "config/config.h"
#include "deliver/maildir.h"
#include "directory/expand.h"
#include "files.h"
#include "io/file.h"
#include "mail/digest.h"
#include "mail/report.h"
#include "queue/queue.h"
#include "role/ask.h"
#include "smtp/server.h"
#include "spool/lane.h"

enum { FOREVER = 1000000, STORIES_MAX = 5000 };

static char   base[64];
static char   said[1 << 20], wanted[1 << 20]; /* not on the heap */
static size_t said_len, wanted_len;

static void say(struct str s)
{
    assert_true(said_len + s.len <= sizeof said);
    if (s.len)
        memcpy(said + said_len, s.data, s.len);
    said_len += s.len;
}

static void say_number(uint64_t n) { say(str_of((const char *)&n, sizeof n)); }

static void clear(void) { assert_true(files_clear(base)); }

/* `tell` gives false where it was told of a failure. `prepare` (or NULL) runs with memory before each. */
static void each_allocation(void (*prepare)(void), bool (*tell)(void))
{
    static const uint64_t counts[] = {1, FOREVER};
    bool                  ok;

    if (prepare)
        prepare();
    said_len = 0;
    assert_true(tell());
    memcpy(wanted, said, wanted_len = said_len);
    for (size_t i = 0; i < 2; i++)
        for (uint64_t at = 1;; at++) {
            uint64_t hits;

            assert_true(at < STORIES_MAX);
            if (prepare)
                prepare();
            said_len = 0;
            alloc_begin(at, counts[i]);
            ok = tell();
            hits = alloc_end();
            if (ok && (said_len != wanted_len || memcmp(said, wanted, said_len) != 0))
                fail_msg("allocation %llu of %s fails, and nobody is told", (unsigned long long)at,
                         i ? "all behind it" : "one");
            if (!hits) {
                assert_true(ok);
                print_message("%llu allocations\n", (unsigned long long)at - 1);
                break;
            }
        }
}

/* ---- SMTP ---- */

static const char content_sent[] = "Subject: x\r\n\r\n..dot\r\nline\r\n.\r\n",
                  content_got[] = "Subject: x\r\n\r\n.dot\r\nline\r\n";

static bool smtp_events(struct smtp_server *s, struct str in)
{
    static char   content[256];
    static size_t content_len;

    for (;;) {
        struct smtp_event e;
        size_t            taken = smtp_server_feed(s, in, &e);

        in = str_skip(in, taken);
        if (e.kind == SMTP_EVENT_DATA)
            content_len = 0;
        if (e.kind == SMTP_EVENT_CONTENT) {
            memcpy(content + content_len, e.content.data, e.content.len);
            content_len += e.content.len;
        }
        if (e.kind == SMTP_EVENT_MESSAGE) { /* whole, whatever failed before */
            assert_int_equal(content_len, sizeof content_got - 1);
            assert_memory_equal(content, content_got, content_len);
            say_number(smtp_server_envelope(s)->recipient_count);
        }
        if (smtp_server_is_asking(s))
            smtp_server_answer(s, &SMTP_REPLY(250, 2, 0, 0, "Ok"));
        if (e.kind == SMTP_EVENT_CLOSE)
            return false;
        if (taken == 0 && e.kind == SMTP_EVENT_NONE && !smtp_server_output(s).len)
            return true;
        say(smtp_server_output(s));
        smtp_server_sent(s, smtp_server_output(s).len);
    }
}

static bool tell_smtp(void)
{
    static const struct smtp_server_config config = {.hostname = STR("mx.example.test"),
                                                     .vrfy = true,
                                                     .limits = {.message_size = 1 << 20,
                                                                .recipients = 100,
                                                                .errors = 20,
                                                                .commands = 1000,
                                                                .transactions = 100,
                                                                .idle_commands = 100,
                                                                .hops = 100,
                                                                .transaction_memory = 1 << 20}};
    static const char *const               commands[] = {"EHLO client.example\r\n",
                                                         "VRFY alice\r\n",
                                                         "MAIL FROM:<s@elsewhere.example> SIZE=100 RET=HDRS ENVID=abc\r\n",
                                                         "RCPT TO:<alice@example.test> NOTIFY=FAILURE ORCPT=rfc822;Alice+40x\r\n",
                                                         "RCPT TO:<b\xc3\xbc@example.test>\r\n",
                                                         "RCPT TO:<bob@example.test>\r\n",
                                                         "DATA\r\n",
                                                         content_sent};
    struct smtp_server                    *s = smtp_server_new(&config);
    bool                                   ok = s != NULL;

    if (s)
        smtp_server_start(s, NULL);
    for (size_t i = 0; ok && i < sizeof commands / sizeof *commands; i++)
        ok = smtp_events(s, str_from(commands[i]));
    smtp_server_free(s);
    for (size_t i = 0; i + 4 < said_len; i++) /* a temporary reply is how a client is told */
        if (memcmp(said + i, "\r\n4", 3) == 0)
            ok = false;
    return ok;
}

static void test_smtp(void **state)
{
    (void)state;
    each_allocation(NULL, tell_smtp);
}

/* ---- records, the queue, reports ---- */

static struct buf message_record;

static struct message a_message(struct recipient recipients[2])
{
    recipients[0] = (struct recipient){.address = {STR("alice"), STR("example.test"), false}};
    recipients[1] = (struct recipient){.address = {STR("bob"), STR("example.test"), false}};
    return (struct message){.id = UINT64_C(1700000000000) << 22 | 1 << 14,
                            .received_ms = UINT64_C(1700000000000),
                            .size = 5,
                            .content = STR("hello"),
                            .envelope = {.sender = {STR("s"), STR("elsewhere.example"), false},
                                         .recipients = recipients,
                                         .recipient_count = 2}};
}

static bool tell_record(void)
{
    struct recipient recipients[2];
    struct message   m = a_message(recipients), again;
    struct arena     arena;
    struct buf       out;
    bool             ok;

    buf_init(&out, 1 << 16);
    arena_init(&arena, 256, 1 << 16);
    ok = record_message_put(&m, &out) && buf_append(&out, m.content);
    if (ok)
        say(buf_str(&out));
    ok = ok && record_message_get(buf_str(&out), &arena, &again);
    if (ok) {
        say_number(again.envelope.recipient_count);
        say(again.envelope.recipients[1].address.local);
        say(again.content);
    }
    arena_done(&arena);
    buf_done(&out);
    return ok;
}

static bool tell_queue(void)
{
    struct queue          q;
    struct arena          scratch;
    struct buf            progress, finished;
    struct queue_message *fresh = NULL;
    uint64_t              id = UINT64_C(1700000000000) << 22 | 1 << 14;
    bool                  ok;

    arena_init(&scratch, 256, 1 << 16);
    buf_init(&progress, 1 << 16);
    buf_init(&finished, 1 << 16);
    queue_init(&q, 1, 1000);
    q.replaying = false;
    ok = progress_put(&(struct progress){.id = id,
                                         .attempts = 1,
                                         .recipients = (struct recipient_progress[]){{.state = RECIPIENT_DELIVERED},
                                                                                     {.state = RECIPIENT_UNCLAIMED}},
                                         .recipient_count = 2},
                      &progress) &&
         finished_put(id, &finished);
    ok = ok && queue_segment_present(&q, 1, 1) && queue_segment_present(&q, 0, 1);
    ok = ok && queue_apply(&q, (struct queue_place){1, 4096, 1}, RECORD_MESSAGE, buf_str(&message_record), &scratch,
                           &fresh) == QUEUE_APPLIED;
    ok = ok && queue_apply(&q, (struct queue_place){1, 4096, 0}, RECORD_PROGRESS, buf_str(&progress), &scratch, NULL) ==
                   QUEUE_APPLIED;
    if (ok) {
        say_number(q.messages);
        say_number(q.unclaimed_messages);
        ok = queue_apply(&q, (struct queue_place){1, 8192, 0}, RECORD_FINISHED, buf_str(&finished), &scratch, NULL) ==
             QUEUE_APPLIED;
    }
    say_number(ok ? q.messages : 0);
    queue_done(&q);
    buf_done(&progress);
    buf_done(&finished);
    arena_done(&scratch);
    return ok;
}

static bool tell_report(void)
{
    static const struct mail_report_recipient who[] = {
        {.final = {STR("ghots"), STR("example.test"), false}, .action = REPORT_FAILED, .status = {5, 1, 1}},
        {.final = {STR("b\xc3\xbc"), STR("example.test"), true}, .action = REPORT_DELAYED, .status = {4, 2, 2}}};
    struct mail_report r = {.mta = STR("mx.example.test"),
                            .id = STR("1"),
                            .date_ms = UINT64_C(951782400000),
                            .to = {STR("alice"), STR("elsewhere.example"), false},
                            .smtputf8 = true,
                            .recipients = who,
                            .recipient_count = 2,
                            .content = STR("From: a@b.test\r\nSubject: x\r\n\r\nbody\r\n"),
                            .full = true};
    enum body_type     body;
    struct buf         out;
    bool               ok;

    buf_init(&out, 1 << 20);
    ok = mail_report_format(&r, &out, &body);
    if (ok)
        say(buf_str(&out));
    buf_done(&out);
    return ok;
}

static void test_queue(void **state)
{
    struct recipient recipients[2];
    struct message   m = a_message(recipients);

    (void)state;
    m.id = UINT64_C(1700000000000) << 22 | 1 << 14;
    buf_init(&message_record, 1 << 16);
    assert_true(record_message_put(&m, &message_record) && buf_append(&message_record, m.content));
    each_allocation(NULL, tell_record);
    each_allocation(NULL, tell_queue);
    each_allocation(NULL, tell_report);
    buf_done(&message_record);
}

/* ---- configuration ---- */

static bool tell_config(void)
{
    static const char text[] =
        "hostname = \"mx.example.test\"\ndata = \"data\"\n"
        "listen mx { address = \"127.0.0.1:2525\" }\n"
        "domain \"example.test\" { directory = \"file:users\" deliver = \"maildir:mail/{domain}/{local}\" quota = "
        "\"1M\" }\n"
        "relay { networks = {\"192.0.2.0/24\", \"2001:db8::/32\"} }\n"
        "queue { expire = \"5d\" local_retry = {\"1m\", \"5m\"} }\nlimits { message = \"50M\" }\n";
    struct err     err = {0};
    struct config *c = config_parse_text(str_of(text, sizeof text - 1), "test.conf", base, &err);
    struct buf     packed;
    bool           ok = c != NULL;

    if (!ok && err.class == ERR_NONE)
        say(STR("?")); /* a failure without a reason */
    buf_init(&packed, 1 << 20);
    ok = ok && config_pack(c, false, &packed);
    if (ok)
        say(buf_str(&packed));
    buf_done(&packed);
    config_free(c);
    return ok;
}

/* Each in a process of its own: libconfuse does not bear it everywhere. It runs when a process starts, and in master
 * when it reloads; a process may end of it, but must not go on with another configuration. */
static void test_config(void **state)
{
    enum { SAME = 10, TOLD, NO_HITS, DIFFERS };
    int status;

    (void)state;
    said_len = 0;
    assert_true(tell_config());
    memcpy(wanted, said, wanted_len = said_len);
    for (uint64_t at = 1;; at++) {
        pid_t child = fork();

        if (child == 0) {
            bool     ok;
            uint64_t hits;

            signal(SIGSEGV, SIG_DFL); /* cmocka's would go on */
            close(STDERR_FILENO);
            said_len = 0;
            alloc_begin(at, 1);
            ok = tell_config();
            hits = alloc_end();
            if (ok && (said_len != wanted_len || memcmp(said, wanted, said_len) != 0))
                _exit(DIFFERS);
            _exit(!hits ? NO_HITS : ok ? SAME : TOLD);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NO_HITS)
            break;
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != DIFFERS);
    }
}

/* ---- directories ---- */

static const char *spec;

static bool tell_directory(void)
{
    static const char *const names[] = {"alice", "team", "nobody", "b\xc3\x9c"};
    struct err               err = {0};
    struct directory        *d = directory_open(spec, base, 0, &err);
    struct arena             arena;
    bool                     ok = d != NULL;

    arena_init(&arena, 1024, 1 << 20);
    for (size_t i = 0; d && i < sizeof names / sizeof *names; i++) {
        struct mail_address    a = {str_from(names[i]), STR("example.test"), i == 3};
        struct directory_entry e = {0};
        enum directory_find    found = directory_find(d, &a, '+', &arena, &e, &err);

        if (found == DIRECTORY_FAILED) {
            ok = false;
            continue;
        }
        say_number(found); /* the truth, also where others failed */
        assert_int_equal(found, i == 2 ? DIRECTORY_ABSENT : DIRECTORY_FOUND);
        assert_int_equal(e.target_count, i == 1 ? 2 : 0);
    }
    directory_close(d);
    arena_done(&arena);
    return ok;
}

static void fill_directory(const char *in)
{
    static struct str      targets[] = {STR("a@example.test"), STR("b@example.test")};
    struct directory_entry entries[] = {{.local = STR("alice"), .domain = STR("example.test")},
                                        {.local = STR("b\xc3\xbc"), .domain = STR("example.test")},
                                        {.kind = ENTRY_ALIAS,
                                         .local = STR("team"),
                                         .domain = STR("example.test"),
                                         .targets = targets,
                                         .target_count = 2}};
    struct directory      *d;

    clear();
    d = directory_open(spec = in, base, DIRECTORY_CREATE, NULL);
    assert_non_null(d);
    for (size_t i = 0; i < 3; i++)
        assert_true(directory_add(d, &entries[i], NULL));
    directory_close(d);
}

static void test_directory(void **state)
{
    (void)state;
    fill_directory("sqlite:users");
    each_allocation(NULL, tell_directory);
    fill_directory("file:users");
    each_allocation(NULL, tell_directory);
}

/* ---- Maildir ---- */

static unsigned files_in(const char *part)
{
    char path[100];

    snprintf(path, sizeof path, "%s/mail/%s", base, part);
    return files_count(path, "");
}

static bool tell_maildir(void)
{
    char                    path[80];
    struct err              err = {0};
    struct maildir_delivery d = {.path = path,
                                 .id = UINT64_C(1700000000000) << 22,
                                 .mailbox = STR("alice@example.test"),
                                 .content = STR("hello\r\n"),
                                 .content_fd = -1,
                                 .hostname = "h",
                                 .quota = 1000,
                                 .look = true};

    snprintf(path, sizeof path, "%s/mail", base);
    return maildir_deliver(&d, &err) == MAILDIR_DELIVERED && maildir_deliver(&d, &err) == MAILDIR_FOUND;
}

static void before_maildir(void)
{
    assert_int_equal(files_in("tmp"), 0); /* of the one before */
    assert_true(files_in("new") <= 1);
    clear();
}

static void test_maildir(void **state)
{
    (void)state;
    clear();
    each_allocation(before_maildir, tell_maildir);
}

/* ---- lanes ---- */

static bool lane_told;

static bool tell_lane(void)
{
    char                path[80];
    struct err          err = {0};
    struct str          payload = STR("a record");
    struct lane_writer *w;
    struct lane_place   place;

    lane_told = false;
    snprintf(path, sizeof path, "%s/lane", base);
    w = lane_writer_open(path, &(struct lane_options){.segment_size = 16384, .reserve = 1}, &err);
    if (!w)
        return false;
    lane_told = lane_append(w, 1, 0, &payload, 1, &place, &err) && lane_commit(w, &err);
    lane_writer_close(w);
    return lane_told;
}

static unsigned records(bool *ret_failed)
{
    char                path[80];
    struct lane_record  r;
    struct lane_reader *reader;
    enum lane_read      result = LANE_READ_FAILED;
    unsigned            count = 0;

    snprintf(path, sizeof path, "%s/lane", base);
    reader = lane_reader_open(path, (struct lane_place){0, 0}, NULL);
    while (reader && (result = lane_read_next(reader, NULL, &r, NULL)) == LANE_READ_RECORD)
        count += str_eq(r.payload, STR("a record"));
    if (reader)
        lane_reader_close(reader);
    *ret_failed = result != LANE_READ_END;
    return count;
}

static bool tell_reading(void)
{
    bool     failed;
    unsigned count = records(&failed);

    say_number(count);
    return !failed;
}

/* What the one before said is stored, and only that, is read back. */
static void before_lane(void)
{
    char     path[80];
    bool     failed;
    unsigned count;

    snprintf(path, sizeof path, "%s/lane", base);
    if (access(path, F_OK) == 0) {
        count = records(&failed);
        assert_false(failed);
        assert_int_equal(count, lane_told);
    }
    clear();
}

static void test_lane(void **state)
{
    (void)state;
    clear();
    each_allocation(before_lane, tell_lane);
    each_allocation(NULL, tell_reading);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "%s/tacit-alloc-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(base) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    clear();
    return rmdir(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smtp),      cmocka_unit_test(test_queue),   cmocka_unit_test(test_config),
        cmocka_unit_test(test_directory), cmocka_unit_test(test_maildir), cmocka_unit_test(test_lane),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
