/* Every system call of a long story fails, in turn, in every way it can: once, a few times, or until somebody repairs
 * the machine. What must hold each time: a batch that was reported as stored is read back exactly once and in order,
 * nothing else is read, and once calls succeed again the lane works as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "spool/lane_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEGMENT = 16384 };

static unsigned            wanted[NUMBERS_MAX]; /* what was reported as stored, in order */
static size_t              wanted_count;
static unsigned            next_number, failed_batches, failed_opens, failures;
static struct seen         seen, followed;
static struct lane_writer *w;

static void commit(unsigned records, unsigned group)
{
    unsigned first = next_number, taken = 0;

    for (unsigned i = 0; i < records; i++)
        taken += append_number(w, next_number++, i % group + 1 < group && i + 1 < records, NULL);
    assert_int_equal(taken, records); /* no system call, so nothing that could fail */
    if (lane_commit(w, NULL))
        for (unsigned i = 0; i < records; i++)
            wanted[wanted_count++] = first + i;
    else
        failed_batches++;
}

/* A batch under way while more is appended: that fails too when the batch does. */
static void commit_two(unsigned records)
{
    struct lane_batch *b;
    unsigned           first = next_number;
    bool               ok;

    for (unsigned i = 0; i < records; i++)
        assert_true(append_number(w, next_number++, false, NULL));
    b = lane_batch_begin(w);
    assert_non_null(b);
    for (unsigned i = 0; i < 3; i++)
        assert_true(append_number(w, next_number++, i < 2, NULL));
    assert_true(append_number(w, next_number++, true, NULL)); /* a group that goes on */
    ok = lane_batch_write(b, NULL);
    lane_batch_end(b, NULL);
    for (unsigned i = 0; ok && i < records; i++)
        wanted[wanted_count++] = first + i;
    first += records;
    for (int part = 0; part < 2; part++) {
        struct err err;
        unsigned   count = part == 0 ? 3 : 2;
        bool       before = ok;

        if (part == 1)
            assert_true(append_number(w, next_number++, false, NULL));
        ok = lane_commit(w, &err);
        if (!before)
            assert_false(ok);
        if (!ok)
            assert_int_not_equal(err.class, ERR_NONE);
        failed_batches += !ok;
        for (unsigned i = 0; ok && i < count; i++)
            wanted[wanted_count++] = first + i;
        first += count;
    }
}

static void reopen(void)
{
    lane_writer_close(w);
    while (
        !(w = lane_writer_open(lane_dir_path, &(struct lane_options){.segment_size = SEGMENT, .reserve = 1}, NULL))) {
        failed_opens++;
        assert_true(failed_opens < 10);
        faults_arm(FAULT_NONE, 0, 0); /* somebody repairs the machine */
    }
}

static void spare(void)
{
    if (lane_wants_spare(w))
        lane_prepare_spare(w, NULL);
}

static void release_before(uint64_t seq)
{
    size_t kept = 0;

    read_all(&seen);
    for (uint64_t s = 1; s < seq; s++)
        while (!lane_release(lane_dir_path, s, NULL))
            faults_arm(FAULT_NONE, 0, 0);
    /* Those of released segments are not wanted any more. */
    for (size_t i = 0; i < wanted_count; i++) {
        bool gone = false;

        for (size_t k = 0; k < seen.count; k++)
            gone = gone || (seen.numbers[k] == wanted[i] && seen.places[k].seq < seq);
        if (!gone)
            wanted[kept++] = wanted[i];
    }
    wanted_count = kept;
}

static void body(const char *name)
{
    struct lane_body *b = lane_body_create(w, str_from(name), NULL);
    char              piece[5000] = "body";
    uint64_t          size, sum;
    bool              ok = b;

    for (unsigned i = 0; b && ok && i < 30; i++)
        ok = lane_body_write(b, str_of(piece, sizeof piece), NULL);
    if (b && !lane_body_finish(b, &size, &sum, NULL))
        ok = false;
    if (ok) {
        char       path[64];
        struct buf back;

        snprintf(path, sizeof path, "body/%s", name);
        buf_init(&back, 1 << 20);
        read_file(path, &back);
        assert_int_equal(back.len, size);
        assert_int_equal(size, 150000);
        buf_done(&back);
    }
}

static void assert_wanted(const struct seen *s)
{
    assert_int_equal(s->damages, 0);
    assert_false(s->open_group);
    assert_int_equal(s->count, wanted_count);
    assert_memory_equal(s->numbers, wanted, wanted_count * sizeof *wanted);
}

/* Returns how many calls it made. `follow`: a reader goes along, with its own part of the failures. */
static unsigned story(enum fault kind, unsigned at, unsigned count, bool follow)
{
    struct lane_reader *r = NULL;
    unsigned            calls;

    harness_clear();
    faults_begin();
    wanted_count = next_number = failed_batches = failed_opens = 0;
    memset(&followed, 0, sizeof followed);
    faults_arm(kind, at, count);
    w = NULL;
    reopen();
    for (unsigned round = 0; round < 6; round++) {
        commit(1, 1);
        commit(7, 3);
        spare();
        commit_two(9);
        if (round == 1)
            body("first");
        if (round == 2)
            commit(60, 1); /* over several segments */
        if (round == 3 && !follow) {
            enum fault saved = fault_plan.kind;

            fault_plan.kind = FAULT_NONE; /* what the test reads for itself does not fail */
            release_before(lane_writer_committed(w).seq);
            fault_plan.kind = saved;
        }
        if (round == 4) {
            if (w->uncut) { /* a process that ends here leaves what nobody was told of; that is the other test */
                faults_arm(FAULT_NONE, 0, 0);
                commit(1, 1);
            }
            reopen();
        }
        if (follow) {
            struct lane_place until = lane_writer_committed(w);

            while (!r)
                r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
            while (!read_on(r, &until, &followed, true))
                if (fault_plan.count > 3)
                    faults_arm(FAULT_NONE, 0, 0);
            assert_wanted(&followed);
        }
    }
    calls = fault_plan.calls;
    faults_arm(FAULT_NONE, 0, 0);
    failures = failed_batches + failed_opens;
    failed_batches = 0;
    commit(5, 2);
    commit_two(4);
    assert_int_equal(failed_batches, 0);
    read_all(&seen);
    assert_wanted(&seen);
    reopen();
    read_all(&seen);
    assert_wanted(&seen);
    commit(30, 1);
    lane_writer_close(w);
    read_all(&seen);
    assert_wanted(&seen);
    lane_reader_close(r);
    faults_end();
    return calls;
}

static void each_call(enum fault kind, unsigned count, bool follow)
{
    unsigned calls = story(FAULT_NONE, 0, 0, follow), failed_stories = 0;

    assert_int_equal(failures, 0);
    assert_true(calls > 100);
    for (unsigned at = 1; at <= calls; at++) {
        story(kind, at, count, follow);
        failed_stories += failures > 0;
    }
    /* What is only interrupted or done in part is no failure. */
    if (kind == FAULT_EINTR || kind == FAULT_SHORT)
        assert_int_equal(failed_stories, 0);
    else
        assert_true(failed_stories > calls / 4);
}

static void test_enospc_once(void **state) { (void)state, each_call(FAULT_ENOSPC, 1, false); }
static void test_enospc_long(void **state) { (void)state, each_call(FAULT_ENOSPC, 40, false); }
static void test_eio_once(void **state) { (void)state, each_call(FAULT_EIO, 1, false); }
static void test_eio_twice(void **state) { (void)state, each_call(FAULT_EIO, 2, false); }
static void test_eio_long(void **state) { (void)state, each_call(FAULT_EIO, 40, false); }
static void test_edquot_once(void **state) { (void)state, each_call(FAULT_EDQUOT, 1, false); }
static void test_late_once(void **state) { (void)state, each_call(FAULT_LATE, 1, false); }
static void test_eintr(void **state) { (void)state, each_call(FAULT_EINTR, 2, false); }
static void test_short(void **state) { (void)state, each_call(FAULT_SHORT, 3, false); }
static void test_follow_eio(void **state) { (void)state, each_call(FAULT_EIO, 1, true); }
static void test_follow_enospc_long(void **state) { (void)state, each_call(FAULT_ENOSPC, 25, true); }
static void test_follow_eintr(void **state) { (void)state, each_call(FAULT_EINTR, 1, true); }
static void test_follow_short(void **state) { (void)state, each_call(FAULT_SHORT, 1, true); }

/* The class that turns into a reply. */
static void test_full_disk_class(void **state)
{
    struct err err;
    unsigned   first;

    (void)state;
    faults_begin();
    w = NULL;
    reopen();
    wanted_count = next_number = 0;
    commit(60, 1);
    faults_arm(FAULT_ENOSPC, 1, 1000000);
    first = next_number;
    for (unsigned i = 0; i < 60; i++)
        assert_true(append_number(w, next_number++, false, NULL));
    assert_false(lane_commit(w, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    assert_int_equal(err.os_error, ENOSPC);
    assert_non_null(strstr(err.text, lane_dir_path));
    assert_false(lane_wants_spare(w) && lane_prepare_spare(w, &err));
    assert_false(lane_wants_spare(w)); /* not again at once */
    faults_arm(FAULT_NONE, 0, 0);
    next_number = first + 60;
    commit(3, 1);
    read_all(&seen);
    assert_wanted(&seen);
    lane_writer_close(w);
    faults_end();
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, harness_begin, harness_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_enospc_once),  TEST(test_enospc_long),
        TEST(test_eio_once),     TEST(test_eio_twice),
        TEST(test_eio_long),     TEST(test_eintr),
        TEST(test_short),        TEST(test_follow_eio),
        TEST(test_follow_short), TEST(test_follow_enospc_long),
        TEST(test_follow_eintr), TEST(test_full_disk_class),
        TEST(test_edquot_once),  TEST(test_late_once),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
