/* Counters in shared memory, and the messages between master and roles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "role/control.h"
#include "role/counters.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void *count_much(void *arg)
{
    for (int i = 0; i < 20000; i++)
        count(COUNTER_commits_total, 1);
    return arg;
}

static void processes_and_threads_add_up(void **state)
{
    struct err       err;
    int              fd;
    struct counters *all = counters_create(&fd, &err), *other;
    pthread_t        threads[2];
    pid_t            pid;

    (void)state;
    assert_non_null(all);
    counters_use(NULL);
    count(COUNTER_sessions_total, 5); /* goes nowhere */
    pid = fork();
    if (pid == 0) {
        struct counters *mine = counters_map(fd, true, NULL);

        if (!mine)
            _exit(1);
        counters_use(counters_slot(mine, ROLE_KEEPER, 0));
        count(COUNTER_sessions_total, 3);
        count_reply(550);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    counters_use(counters_slot(all, ROLE_FRONT, 1));
    count(COUNTER_sessions_total, 2);
    count(COUNTER_sessions_open, 2);
    count(COUNTER_sessions_open, -1);
    count_set(COUNTER_queue_messages, 7);
    count_reply(250);
    count_reply(550);
    count_reply(199);
    count_reply(600);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, count_much, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    other = counters_map(fd, false, &err);
    assert_non_null(other);
    assert_int_equal(counters_sum(other, COUNTER_sessions_total), 5);
    assert_int_equal(counters_sum(other, COUNTER_sessions_open), 1);
    assert_int_equal(counters_sum(other, COUNTER_queue_messages), 7);
    assert_int_equal(counters_sum(other, COUNTER_commits_total), 40000);

    counters_reset_gauges(counters_slot(all, ROLE_FRONT, 1)); /* it was killed */
    assert_int_equal(counters_sum(other, COUNTER_sessions_open), 0);
    assert_int_equal(counters_sum(other, COUNTER_sessions_total), 5);
    munmap(other, sizeof *other);
    munmap(all, sizeof *all);
    close(fd);
    counters_use(NULL);
}

static void slots_do_not_collide(void **state)
{
    static struct counters all;
    unsigned               users[COUNTER_SLOTS] = {0};

    (void)state;
    for (enum role role = ROLE_MASTER; role <= ROLE_LAST; role++)
        for (unsigned lane = role == ROLE_FRONT; counters_slot(&all, role, lane); lane++)
            users[counters_slot(&all, role, lane) - all.slots]++;
    for (size_t i = 0; i < COUNTER_SLOTS; i++)
        assert_int_equal(users[i], 1);
    assert_non_null(counters_slot(&all, ROLE_CARRIER, CARRIERS_MAX - 1));
    assert_null(counters_slot(&all, ROLE_CARRIER, CARRIERS_MAX));
    assert_ptr_equal(counters_slot(&all, ROLE_FRONT, COUNTER_SLOTS - 8), &all.slots[COUNTER_SLOTS - 1]);
    assert_null(counters_slot(&all, ROLE_FRONT, COUNTER_SLOTS - 7));
    assert_string_equal(role_name(ROLE_BACK), "back");
}

static void another_versions_memory_is_refused(void **state)
{
    struct err err;
    int        fd = memfd_create("x", 0);

    (void)state;
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_null(counters_map(fd, true, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
    close(fd);
    assert_null(counters_map(fd, true, &err));
}

static void prometheus_can_read_it(void **state)
{
    struct err       err;
    int              fd;
    struct counters *all = counters_create(&fd, &err);
    struct buf       b;

    (void)state;
    assert_non_null(all);
    counters_use(counters_slot(all, ROLE_BACK, 0));
    count(COUNTER_messages_delivered_total, 12);
    count_reply(252);
    atomic_store(&counters_slot(all, ROLE_BACK, 0)->role, ROLE_BACK);
    atomic_store(&counters_slot(all, ROLE_BACK, 0)->started_ms, 1);
    atomic_store(&counters_slot(all, ROLE_BACK, 0)->restarts, 4);
    buf_init(&b, 1 << 20);
    assert_true(counters_prometheus(all, &b));
    assert_non_null(strstr(b.data, "\n# TYPE tacit_messages_delivered_total counter\n"
                                   "tacit_messages_delivered_total 12\n"));
    assert_non_null(strstr(b.data, "# TYPE tacit_sessions_open gauge\ntacit_sessions_open 0\n"));
    assert_non_null(strstr(b.data, "\ntacit_replies_total{code=\"252\"} 1\n"));
    assert_non_null(strstr(b.data, "\ntacit_restarts_total{role=\"back\",index=\"0\"} 4\n"));
    assert_int_equal(b.data[b.len - 1], '\n');
    buf_done(&b);
    buf_init(&b, 100);
    assert_false(counters_prometheus(all, &b));
    buf_done(&b);
    counters_use(NULL);
    munmap(all, sizeof *all);
    close(fd);
}

static void control_messages_come_back_as_sent(void **state)
{
    static const struct control messages[] = {
        {.kind = CONTROL_LISTENER, .number = 0xffff},
        {.kind = CONTROL_PEER, .role = ROLE_BACK, .number = 200},
        {.kind = CONTROL_LOG},
        {.kind = CONTROL_START},
        {.kind = CONTROL_DRAIN, .grace_ms = 3600000},
        {.kind = CONTROL_READY},
        {.kind = CONTROL_FAILED, .class = ERR_CONFIG, .text = {"no\0such", 7}},
        {.kind = CONTROL_DRAINED},
        {.kind = CONTROL_LACKS, .role = ROLE_RESOLVER},
    };

    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        struct buf     b;
        struct control c;

        buf_init(&b, 1024);
        assert_true(control_put(&messages[i], &b));
        assert_true(control_get(buf_str(&b), &c));
        assert_int_equal(c.kind, messages[i].kind);
        assert_int_equal(c.role, messages[i].role);
        assert_int_equal(c.number, messages[i].number);
        assert_int_equal(c.grace_ms, messages[i].grace_ms);
        assert_int_equal(c.class, messages[i].class);
        assert_true(str_eq(c.text, messages[i].text));
        for (size_t len = 0; len < b.len; len++) /* no part of a message is a message */
            assert_false(control_get(str_of(b.data, len), &c));
        assert_true(buf_append_byte(&b, 0));
        assert_false(control_get(buf_str(&b), &c));
        buf_done(&b);
    }
    assert_false(control_get(STR("\x09"), &(struct control){0}));
    assert_false(control_get(STR("\x02\x06\x00"), &(struct control){0}));     /* no such role */
    assert_false(control_get(STR("\x01\x80\x80\x04"), &(struct control){0})); /* 65536 */
    assert_false(control_get(STR("\x07\x09\x00"), &(struct control){0}));     /* no such class */
}

/* All roles hold it; what one of them cut all others would miss. */
static void nobody_cuts_it(void **state)
{
    struct err       err;
    int              fd;
    struct counters *all = counters_create(&fd, &err);

    (void)state;
    assert_non_null(all);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, sizeof *all + 4096), -1);
    assert_int_equal(munmap(all, sizeof *all), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_cuts_it),         cmocka_unit_test(processes_and_threads_add_up),
        cmocka_unit_test(slots_do_not_collide),   cmocka_unit_test(another_versions_memory_is_refused),
        cmocka_unit_test(prometheus_can_read_it), cmocka_unit_test(control_messages_come_back_as_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
