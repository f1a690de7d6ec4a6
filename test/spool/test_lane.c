/* What a lane promises while nothing fails but the people who use it: order, groups, segments, places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct seen seen;

static void assert_seen(unsigned from, unsigned to)
{
    assert_int_equal(seen.count, to - from);
    for (unsigned i = from; i < to; i++)
        assert_int_equal(seen.numbers[i - from], i);
    assert_int_equal(seen.damages, 0);
}

static void test_round_trip(void **state)
{
    struct lane_writer *w = open_writer(1 << 20);
    struct lane_place   place, end;
    struct lane_batch  *b;
    struct stat         st;

    (void)state;
    assert_null(lane_batch_begin(w));
    read_all(&seen);
    assert_seen(0, 0);
    assert_int_equal(lane_writer_committed(w).seq, 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(append_number(w, i, false, &place));
        assert_int_equal(place.offset % 8, 0);
    }
    assert_true(lane_pending(w) > 100 * 16);
    read_all(&seen);
    assert_seen(0, 0); /* memory only */
    b = lane_batch_begin(w);
    assert_non_null(b);
    assert_int_equal(lane_pending(w), 0);
    assert_null(lane_batch_begin(w)); /* one at a time */
    assert_true(append_number(w, 100, false, NULL));
    assert_true(lane_batch_write(b, NULL));
    assert_true(append_number(w, 101, false, NULL));
    lane_batch_end(b, &end);
    assert_true(lane_place_cmp(place, end) < 0);
    assert_int_equal(lane_place_cmp(end, lane_writer_committed(w)), 0);
    read_all(&seen);
    assert_seen(0, 100);
    assert_true(lane_commit(w, NULL));
    assert_true(lane_commit(w, NULL)); /* nothing to do */
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(0, 102);
    assert_int_equal(stat(lane_dir_path, &st), 0);

    w = open_writer(1 << 20);
    assert_int_equal(lane_place_cmp(lane_writer_committed(w),
                                    (struct lane_place){end.seq, seen.places[101].offset +
                                                                     (uint32_t)lane_record_total(payload_length(101))}),
                     0);
    assert_true(append_number(w, 102, false, &place));
    assert_true(place.seq > end.seq); /* never into an old segment */
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(0, 103);
}

static void test_modes(void **state)
{
    struct lane_writer *w;
    struct stat         st;
    char                path[512];
    mode_t              old = umask(077);

    (void)state;
    harness_clear();
    w = open_writer(16384);
    assert_true(append_number(w, 0, false, NULL));
    assert_true(lane_commit(w, NULL));
    umask(old);
    snprintf(path, sizeof path, "%s/body", lane_dir_path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0770);
    snprintf(path, sizeof path, "%s/%016llx.seg", lane_dir_path, (unsigned long long)lane_writer_committed(w).seq);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_size, 16384);
    assert_true(st.st_blocks * 512 >= 16384); /* allocated, not a hole */
    lane_writer_close(w);
}

static void test_groups(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_place   first, last;
    unsigned            n = 0;

    (void)state;
    for (unsigned g = 0; g < 60; g++) {
        unsigned size = 1 + g % 7;

        for (unsigned i = 0; i < size; i++) {
            assert_true(append_number(w, n++, i + 1 < size, i == 0 ? &first : &last));
            if (i + 1 < size && g % 3 == 0)
                assert_true(lane_commit(w, NULL)); /* in the middle of a group */
            if (i > 0)
                assert_int_equal(first.seq, last.seq);
        }
        if (g % 2)
            assert_true(lane_commit(w, NULL));
    }
    assert_true(lane_commit(w, NULL));
    read_all(&seen);
    assert_seen(0, n);

    /* A group that is never completed is never read, and does not stop what was before it. */
    assert_true(append_number(w, n, true, NULL));
    assert_null(lane_batch_begin(w));
    assert_true(lane_commit(w, NULL));
    assert_true(lane_pending(w) > 0);
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(0, n);
}

/* A group much larger than a segment. */
static void test_large_group(void **state)
{
    struct lane_writer *w = open_writer(16384);

    (void)state;
    assert_true(append_number(w, 0, false, NULL));
    for (unsigned i = 1; i <= 200; i++)
        assert_true(append_number(w, i, i < 200, NULL));
    assert_true(append_number(w, 201, false, NULL));
    assert_true(lane_commit(w, NULL));
    read_all(&seen);
    assert_seen(0, 202);
    assert_int_equal(seen.places[0].seq, seen.places[200].seq);
    assert_true(seen.places[201].seq > seen.places[200].seq);
    assert_true(lane_release(lane_dir_path, seen.places[0].seq, NULL));
    for (unsigned i = 202; i < 260; i++) {
        assert_true(append_number(w, i, false, NULL));
        assert_true(lane_commit(w, NULL));
    }
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(201, 260);
}

static void test_follow(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    struct lane_reader *limited = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    static struct seen  other;
    struct lane_place   before = {0, 0};

    (void)state;
    memset(&seen, 0, sizeof seen);
    memset(&other, 0, sizeof other);
    for (unsigned i = 0; i < 300; i++) {
        assert_true(append_number(w, i, false, NULL));
        if (i % 3 == 0) {
            assert_true(lane_commit(w, NULL));
            read_on(r, NULL, &seen, false);
            assert_int_equal(seen.count, i + 1);
            read_on(limited, &before, &other, false); /* what was committed the time before */
            assert_int_equal(other.count, i == 0 ? 0 : i - 2);
            before = lane_writer_committed(w);
        }
    }
    assert_true(lane_commit(w, NULL));
    read_on(r, NULL, &seen, false);
    assert_seen(0, 300);
    assert_true(seen.places[299].seq > 10);
    lane_reader_close(r);
    lane_reader_close(limited);

    /* From each place on, what follows is what followed before; and each record can be read alone. */
    for (unsigned i = 0; i < 300; i += 7) {
        struct buf         buffer;
        struct lane_record record;

        r = lane_reader_open(lane_dir_path, seen.places[i], NULL);
        memset(&other, 0, sizeof other);
        read_on(r, NULL, &other, false);
        lane_reader_close(r);
        assert_int_equal(other.count, 300 - i);
        assert_int_equal(other.numbers[0], i);
        buf_init(&buffer, 4096);
        assert_true(lane_read_at(lane_dir_path, seen.places[i], &buffer, &record, NULL));
        assert_int_equal(number_of(record.payload), i);
        buf_done(&buffer);
    }
    lane_writer_close(w);
}

static void test_read_at_nothing(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_place   place;
    struct lane_record  record;
    struct buf          buffer;
    struct err          err;

    (void)state;
    buf_init(&buffer, 4096);
    assert_true(append_number(w, 3, false, &place));
    assert_false(lane_read_at(lane_dir_path, place, &buffer, &record, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
    assert_true(lane_commit(w, NULL));
    for (uint32_t offset = 0; offset < 16400; offset++)
        if (offset != place.offset)
            assert_false(lane_read_at(lane_dir_path, (struct lane_place){place.seq, offset}, &buffer, &record, NULL));
    assert_true(lane_read_at(lane_dir_path, place, &buffer, &record, NULL));
    buffer.max = 10;
    assert_false(lane_read_at(lane_dir_path, place, &buffer, &record, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    buf_done(&buffer);
    lane_writer_close(w);
}

/* Two threads: one appends and writes batches, this one reads what is there, with and without a limit. */
static _Atomic bool      writer_done;
static struct lane_place writer_place;
static pthread_mutex_t   writer_lock = PTHREAD_MUTEX_INITIALIZER;
enum { LIVE_RECORDS = 3000 };

static void *write_live(void *arg)
{
    struct lane_writer *w = arg;

    for (unsigned i = 0; i < LIVE_RECORDS; i++) {
        append_number(w, i, i % 5 == 1, NULL);
        if (i % 11 == 0 && lane_commit(w, NULL)) {
            pthread_mutex_lock(&writer_lock);
            writer_place = lane_writer_committed(w);
            pthread_mutex_unlock(&writer_lock);
        }
    }
    append_number(w, LIVE_RECORDS, false, NULL);
    lane_commit(w, NULL);
    writer_done = true;
    return NULL;
}

static void test_live(void **state)
{
    struct lane_writer *w = open_writer(65536);
    struct lane_reader *r[2];
    static struct seen  both[2];
    pthread_t           thread;
    bool                done;

    (void)state;
    memset(both, 0, sizeof both);
    writer_done = false;
    writer_place = (struct lane_place){0, 0};
    r[0] = lane_reader_open(lane_dir_path, writer_place, NULL);
    r[1] = lane_reader_open(lane_dir_path, writer_place, NULL);
    assert_int_equal(pthread_create(&thread, NULL, write_live, w), 0);
    do {
        struct lane_place until;

        done = writer_done;
        pthread_mutex_lock(&writer_lock);
        until = writer_place;
        pthread_mutex_unlock(&writer_lock);
        read_on(r[0], NULL, &both[0], false);
        read_on(r[1], &until, &both[1], false);
    } while (!done);
    pthread_join(thread, NULL);
    read_on(r[1], NULL, &both[1], false);
    for (int i = 0; i < 2; i++) {
        seen = both[i];
        assert_seen(0, LIVE_RECORDS + 1);
        lane_reader_close(r[i]);
    }
    lane_writer_close(w);
}

/* Between a reader's look at the end of a segment and its look for the next one, the writer fills the one and begins
 * the other. */
static struct lane_writer *racing;

static int racing_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    struct lane_writer *w = racing;

    if (w && strcmp(name, ".") == 0) {
        racing = NULL;
        for (unsigned i = 2; i < 40; i++) {
            assert_true(append_number(w, i, false, NULL));
            assert_true(lane_commit(w, NULL));
        }
    }
    return openat(dirfd, name, flags, mode);
}

static void test_follow_into_next(void **state)
{
    struct spool_sys    sys = spool_sys_real;
    struct lane_writer *w = open_writer(16384);
    struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    struct lane_place   first;

    (void)state;
    memset(&seen, 0, sizeof seen);
    sys.openat = racing_openat;
    spool_sys = &sys;
    assert_true(append_number(w, 0, false, &first));
    assert_true(append_number(w, 1, false, NULL));
    assert_true(lane_commit(w, NULL));
    read_on(r, NULL, &seen, false);
    assert_seen(0, 2);
    racing = w;
    read_on(r, NULL, &seen, false);
    assert_seen(0, 40);
    assert_int_equal(seen.places[2].seq, first.seq);
    assert_true(seen.places[39].seq > first.seq);
    spool_sys = &spool_sys_real;
    lane_reader_close(r);
    lane_writer_close(w);
}

static void test_large_record(void **state)
{
    struct lane_writer *w = open_writer(16384);
    size_t              len = 3 << 20;
    char               *data = malloc(len);
    struct str          part = str_of(data, len);
    struct lane_place   place, small;
    struct lane_reader *r;
    struct lane_record  record;
    struct err          err;

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 31 >> 3);
    assert_true(lane_append(w, 1, 0, &(struct str){"a", 1}, 1, NULL, NULL));
    assert_true(lane_append(w, 2, 0, &part, 1, &place, NULL));
    assert_true(lane_append(w, 3, 0, NULL, 0, &small, NULL)); /* an empty record */
    assert_int_equal(place.offset, LANE_PAGE);
    assert_int_equal(small.seq, place.seq + 1);
    assert_true(lane_commit(w, NULL));
    r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_RECORD);
    assert_int_equal(record.type, 1);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_RECORD);
    assert_int_equal(record.payload.len, len);
    assert_memory_equal(record.payload.data, data, len);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_RECORD);
    assert_int_equal(record.type, 3);
    assert_int_equal(record.payload.len, 0);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_END);
    lane_reader_close(r);

    assert_true(lane_release(lane_dir_path, place.seq, NULL)); /* too large for a spare */
    assert_int_equal(files_named("spare-"), 0);
    part.len = (size_t)LANE_RECORD_MAX + 1; /* is refused before it is looked at */
    assert_false(lane_append(w, 2, 0, &part, 1, NULL, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    lane_writer_close(w);
    free(data);
}

static void test_pending_limit(void **state)
{
    struct lane_writer *w = open_writer(16384);
    size_t              len = 32 << 20;
    char               *data = calloc(1, len);
    struct err          err;
    int                 count = 0;

    (void)state;
    assert_non_null(data);
    while (lane_append(w, 1, 0, &(struct str){data, len}, 1, NULL, &err))
        assert_true(++count < 100);
    assert_int_equal(err.class, ERR_LIMIT);
    assert_int_equal(count, 3);
    assert_true(lane_pending(w) <= LANE_PENDING_MAX);
    assert_true(append_number(w, 1, false, NULL)); /* what fits is still taken */
    free(data);
    lane_writer_close(w);
}

static void test_lock(void **state)
{
    struct lane_writer *w = open_writer(16384), *second;
    struct err          err;

    (void)state;
    second = lane_writer_open(lane_dir_path, &(struct lane_options){0}, &err);
    assert_null(second);
    assert_int_equal(err.class, ERR_TEMPORARY);
    lane_writer_close(w);
    w = open_writer(16384);
    lane_writer_close(w);
    assert_null(lane_reader_open("/nonexistent/lane", (struct lane_place){0, 0}, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
    assert_null(lane_writer_open("/proc/lane", &(struct lane_options){0}, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_begin, harness_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),   TEST(test_modes),           TEST(test_groups), TEST(test_large_group),
        TEST(test_follow),       TEST(test_read_at_nothing), TEST(test_live),   TEST(test_follow_into_next),
        TEST(test_large_record), TEST(test_pending_limit),   TEST(test_lock),
    };

    harness_on_disk = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
