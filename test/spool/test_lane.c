/* What a lane promises while nothing fails but the people who use it: order, groups, segments, recycling, bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

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

/* Released segments come back with their old records still in them; none of those is read. */
static void test_recycled(void **state)
{
    struct lane_writer *w = open_writer(16384);
    unsigned            n = 0, from = 0, recycled = 0;

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        uint64_t newest;

        for (unsigned i = 0; i < 25; i++) {
            assert_true(append_number(w, n++, false, NULL));
            if (i % 4 == 0)
                assert_true(lane_commit(w, NULL));
        }
        assert_true(lane_commit(w, NULL));
        newest = lane_writer_committed(w).seq;
        read_all(&seen);
        assert_seen(from, n);
        for (size_t i = 0; i < seen.count; i++) {
            if (seen.places[i].seq == newest)
                break;
            if (i == 0 || seen.places[i].seq != seen.places[i - 1].seq) {
                assert_true(lane_release(lane_dir_path, seen.places[i].seq, NULL));
                assert_true(lane_release(lane_dir_path, seen.places[i].seq, NULL)); /* it is gone already */
            }
            from = n - (unsigned)seen.count + (unsigned)i + 1;
        }
        assert_true(files_named("spare-") <= 2);
        recycled += files_named("spare-");
        if (round % 3 == 0 && lane_wants_spare(w))
            assert_true(lane_prepare_spare(w, NULL));
        read_all(&seen);
        assert_seen(from, n);
        if (round % 10 == 9) {
            lane_writer_close(w);
            w = open_writer(16384);
            read_all(&seen);
            assert_seen(from, n);
        }
    }
    assert_true(recycled > 20);
    lane_writer_close(w);
}

/* All segments of a lane without a writer may go; the next writer still uses numbers that were never used. */
static void test_numbers_grow(void **state)
{
    uint64_t            last = 0;
    struct lane_place   place;
    struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);

    (void)state;
    memset(&seen, 0, sizeof seen);
    for (unsigned round = 0; round < 10; round++) {
        struct lane_writer *w = open_writer(round % 2 ? 16384 : 65536);

        for (unsigned i = 0; i < 50; i++)
            assert_true(append_number(w, round * 50 + i, false, &place));
        assert_true(lane_commit(w, NULL));
        lane_writer_close(w);
        read_on(r, NULL, &seen, false); /* a reader that stays misses nothing */
        assert_seen(0, (round + 1) * 50);
        assert_true(seen.places[round * 50].seq > last);
        last = place.seq;
        for (uint64_t seq = 1; seq <= last; seq++)
            assert_true(lane_release(lane_dir_path, seq, NULL));
        assert_int_equal(files_named("0"), 0);
        assert_true(files_named("spare-") <= 2);
    }
    lane_reader_close(r);
}

static bool count_body(struct str name, uint64_t size, void *arg)
{
    (void)name;
    *(uint64_t *)arg += size;
    return true;
}

static bool stop_body(struct str name, uint64_t size, void *arg)
{
    (void)name, (void)size;
    ++*(int *)arg;
    return false;
}

static void test_bodies(void **state)
{
    struct lane_writer *w = open_writer(16384);
    static const size_t steps[] = {1, 7, 4095, 65536, 70000, 300000};
    size_t              len = 1500000;
    char               *data = malloc(len);
    struct lane_body   *b;
    struct buf          back;
    uint64_t            size, sum, total = 0;
    struct err          err;
    int                 calls = 0;

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    buf_init(&back, len + 1);
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        char   name[32], path[64];
        size_t wanted = s == 0 ? 3000 : len;

        snprintf(name, sizeof name, "abc-%zu", s);
        b = lane_body_create(w, str_from(name), NULL);
        assert_non_null(b);
        assert_null(lane_body_create(w, str_from(name), &err)); /* taken */
        for (size_t at = 0; at < wanted; at += steps[s])
            assert_true(lane_body_write(b, str_of(data + at, at + steps[s] < wanted ? steps[s] : wanted - at), NULL));
        assert_true(lane_body_finish(b, &size, &sum, NULL));
        assert_int_equal(size, wanted);
        assert_true(sum == XXH3_64bits(data, wanted));
        snprintf(path, sizeof path, "body/%s", name);
        read_file(path, &back);
        assert_int_equal(back.len, wanted);
        assert_memory_equal(back.data, data, wanted);
        total += wanted;
    }
    size = 0;
    assert_true(lane_each_body(lane_dir_path, count_body, &size, NULL));
    assert_int_equal(size, total);
    assert_false(lane_each_body(lane_dir_path, stop_body, &calls, NULL));
    assert_int_equal(calls, 1);

    b = lane_body_create(w, STR("aborted"), NULL);
    assert_true(lane_body_write(b, str_of(data, len), NULL));
    lane_body_abort(b);
    assert_true(lane_body_remove(lane_dir_path, STR("abc-0"), NULL));
    assert_true(lane_body_remove(lane_dir_path, STR("abc-0"), NULL));
    size = 0;
    assert_true(lane_each_body(lane_dir_path, count_body, &size, NULL));
    assert_int_equal(size, total - 3000);

    /* Names that could lead elsewhere. */
    {
        static const struct str bad[] = {{"", 0},     {"..", 2},  {".", 1},        {"a/b", 3}, {"../x", 4},
                                         {"a\0b", 3}, {"a.b", 3}, {"\xc3\xa4", 2}, {"a b", 3}, {"/", 1}};
        char                    longest[LANE_BODY_NAME_MAX + 1];

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            assert_null(lane_body_create(w, bad[i], &err));
            assert_int_equal(err.class, ERR_PERMANENT);
            assert_false(lane_body_remove(lane_dir_path, bad[i], &err));
        }
        memset(longest, 'a', sizeof longest);
        assert_null(lane_body_create(w, str_of(longest, sizeof longest), &err));
        b = lane_body_create(w, str_of(longest, sizeof longest - 1), &err);
        assert_non_null(b);
        assert_true(lane_body_finish(b, &size, &sum, NULL));
        assert_int_equal(size, 0);
    }
    buf_done(&back);
    free(data);
    lane_writer_close(w);
}

/* ---- a small file system ---- */

static uint64_t fake_total, fake_free;

static int small_fstatvfs(int fd, struct statvfs *st)
{
    (void)fd;
    *st = (struct statvfs){.f_frsize = 4096, .f_blocks = fake_total / 4096, .f_bavail = fake_free / 4096};
    return 0;
}

static void test_small_file_system(void **state)
{
    struct spool_sys    small = spool_sys_real;
    struct lane_writer *w;
    struct lane_body   *b;
    struct stat         st;
    struct err          err;
    char                path[512], piece[4096] = {0};
    uint64_t            written = 0;

    (void)state;
    small.fstatvfs = small_fstatvfs;
    spool_sys = &small;
    fake_total = 64 << 20;
    fake_free = 60 << 20;
    w = lane_writer_open(lane_dir_path, &(struct lane_options){0}, &err);
    assert_non_null(w);
    assert_true(append_number(w, 0, false, NULL));
    assert_true(lane_commit(w, NULL));
    snprintf(path, sizeof path, "%s/%016llx.seg", lane_dir_path, (unsigned long long)lane_writer_committed(w).seq);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 2 << 20); /* 1/32 */

    /* The reserve is a tenth: 6.4 MiB. */
    assert_true(lane_has_space(w, 40 << 20, 1000, NULL));
    fake_free = 7 << 20;
    assert_true(lane_has_space(w, 40 << 20, 1999, NULL)); /* remembered for a second */
    assert_false(lane_has_space(w, 40 << 20, 2000, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    assert_non_null(strstr(err.text, lane_dir_path));
    assert_true(lane_has_space(w, 2 << 20, 2001, NULL));
    fake_free = 1 << 20; /* below the reserve: only what is preallocated */
    assert_true(lane_has_space(w, 1 << 20, 3000, NULL));
    assert_false(lane_has_space(w, 3 << 20, 3001, NULL));
    assert_null(lane_body_create(w, STR("late"), &err));
    assert_int_equal(err.class, ERR_LIMIT);

    fake_free = (7 << 20) + (1 << 19);
    b = lane_body_create(w, STR("growing"), NULL);
    assert_non_null(b);
    while (lane_body_write(b, str_of(piece, sizeof piece), &err)) {
        written += sizeof piece;
        fake_free -= sizeof piece;
        assert_true(written < 8 << 20);
    }
    assert_int_equal(err.class, ERR_LIMIT);
    assert_true(fake_free + sizeof piece * 32 >= (64 << 20) / 10); /* stopped at the reserve */
    assert_false(lane_body_write(b, str_of(piece, 1), &err));
    assert_false(lane_body_finish(b, &written, &written, &err));
    assert_int_equal(lane_body_remove(lane_dir_path, STR("growing"), NULL), 1);
    lane_writer_close(w);
    harness_clear();

    fake_total = fake_free = 4 << 20;
    w = lane_writer_open(lane_dir_path, &(struct lane_options){0}, NULL);
    assert_true(append_number(w, 0, false, NULL));
    assert_true(lane_commit(w, NULL));
    snprintf(path, sizeof path, "%s/%016llx.seg", lane_dir_path, (unsigned long long)lane_writer_committed(w).seq);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 256 << 10);
    lane_writer_close(w);
}

static bool note_segment(uint64_t seq, uint64_t size, void *arg)
{
    uint64_t *last = arg;

    assert_true(seq > *last);
    assert_true(size > 0);
    *last = seq;
    return true;
}

/* Files that do not belong there change nothing. */
static void test_strangers_in_directory(void **state)
{
    static const char *const names[] = {"0000000000000000.seg",
                                        "zzzz.seg",
                                        "00000000000000FF.seg",
                                        "spare-1.seg",
                                        "000000000000000001.seg",
                                        "new-x",
                                        "README"};
    struct lane_writer      *w = open_writer(16384);
    uint64_t                 last = 0;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        write_file(names[i], STR("nothing of ours"));
    for (unsigned i = 0; i < 60; i++)
        assert_true(append_number(w, i, false, NULL));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    w = open_writer(16384);
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(0, 60);
    assert_true(lane_each_segment(lane_dir_path, note_segment, &last, NULL));
    assert_int_equal(last, seen.places[59].seq);
}

/* A spare is prepared beside batches, from another thread. */
static void *prepare(void *arg)
{
    lane_prepare_spare(arg, NULL);
    return NULL;
}

static void test_spare_beside(void **state)
{
    struct lane_writer *w = open_writer(65536);
    unsigned            n = 0, prepared = 0;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        pthread_t thread;
        bool      wanted;

        for (unsigned i = 0; i < 20; i++)
            assert_true(append_number(w, n++, false, NULL));
        wanted = lane_wants_spare(w);
        if (wanted) {
            prepared++;
            assert_int_equal(pthread_create(&thread, NULL, prepare, w), 0);
        }
        assert_true(lane_commit(w, NULL));
        for (unsigned i = 0; i < 40; i++)
            assert_true(append_number(w, n++, false, NULL));
        assert_true(lane_commit(w, NULL));
        if (wanted)
            pthread_join(thread, NULL);
        assert_true(files_named("new-") <= 1);
    }
    assert_true(prepared > 10);
    lane_writer_close(w);
    read_all(&seen);
    assert_seen(0, n);
    w = open_writer(65536);
    assert_true(files_named("new-") <= 1); /* what was left was removed, and one made */
    lane_writer_close(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_begin, harness_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_modes),
        TEST(test_groups),
        TEST(test_large_group),
        TEST(test_follow),
        TEST(test_read_at_nothing),
        TEST(test_live),
        TEST(test_large_record),
        TEST(test_pending_limit),
        TEST(test_lock),
        TEST(test_recycled),
        TEST(test_numbers_grow),
        TEST(test_bodies),
        TEST(test_small_file_system),
        TEST(test_strangers_in_directory),
        TEST(test_spare_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
