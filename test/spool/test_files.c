/* The files of a lane while nothing fails: segments released and used again, numbers, bodies, small file systems. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

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

static bool count_body(struct str name, uint64_t size, uint64_t written_ms, void *arg)
{
    (void)name;
    assert_true(written_ms > 1700000000000);
    *(uint64_t *)arg += size;
    return true;
}

static bool stop_body(struct str name, uint64_t size, uint64_t written_ms, void *arg)
{
    (void)name, (void)size, (void)written_ms;
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
    assert_true(lane_has_space(w, 40 << 20, 1019, NULL)); /* remembered, but not for long where little is free */
    assert_false(lane_has_space(w, 40 << 20, 1020, &err));
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

/* Behind the largest number none follows: what was written there nobody would read. */
static void test_no_further_number(void **state)
{
    struct err err;

    (void)state;
    lane_writer_close(open_writer(16384));
    write_file("ffffffffffffffff.seg", STR("nothing of ours"));
    assert_null(lane_writer_open(lane_dir_path, &(struct lane_options){.segment_size = 16384}, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
    assert_non_null(strstr(err.text, "ffffffffffffffff"));
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

/* ---- the mark ---- */

static void highest(void *arg, const struct lane_record *record)
{
    unsigned *most = arg, number = number_of(record->payload);

    if (number > *most)
        *most = number;
}

/* What the owner said when a segment began is known after a restart, whichever files are left, and of the newest
 * segment each record. */
static void test_mark(void **state)
{
    struct lane_options options = {.segment_size = 8192, .reserve = 1, .found = highest};
    struct lane_writer *w = open_writer(8192);
    unsigned            most = 0, n = 0;
    uint64_t            mark = 0;

    (void)state;
    assert_int_equal(lane_marked(w), 0);
    options.found_arg = &most;
    for (unsigned round = 0; round < 30; round++) {
        for (unsigned i = 0; i < 1 + round * 3; i++, n++) {
            lane_mark(w, n + 1000000);
            lane_mark(w, n); /* never falls */
            assert_true(append_number(w, n, false, NULL));
            assert_true(lane_commit(w, NULL));
        }
        mark = lane_writer_committed(w).seq;
        lane_writer_close(w);
        if (round % 3 == 1) /* also when nothing but a spare is left */
            for (uint64_t seq = 1; seq <= mark; seq++)
                assert_true(lane_release(lane_dir_path, seq, NULL));
        most = 0;
        w = lane_writer_open(lane_dir_path, &options, NULL);
        assert_non_null(w);
        if (round % 3 != 1)
            assert_int_equal(most, n - 1);
        assert_true(lane_marked(w) >= 1000000 && lane_marked(w) <= n - 1 + 1000000);
        if (round % 3 != 1) /* no record before the newest segment is above the mark */
            for (read_all(&seen); seen.count > 0 && seen.places[seen.count - 1].seq == mark; seen.count--)
                assert_true(seen.numbers[seen.count - 1] + 1000000 >= lane_marked(w));
    }
    lane_writer_close(w);
}

/* A body that somebody removed while it was written is not said to be stored. */
static void test_body_gone(void **state)
{
    struct lane_writer *w = open_writer(0);
    struct lane_body   *b = lane_body_create(w, STR("gone"), NULL);
    uint64_t            size, sum;
    struct err          err = {0};

    (void)state;
    assert_non_null(b);
    assert_true(lane_body_write(b, STR("content"), NULL));
    assert_true(lane_body_remove(lane_dir_path, STR("gone"), NULL));
    assert_false(lane_body_finish(b, &size, &sum, &err));
    assert_int_equal(err.class, ERR_TEMPORARY);
    lane_writer_close(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_begin, harness_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_recycled),
        TEST(test_numbers_grow),
        TEST(test_bodies),
        TEST(test_small_file_system),
        TEST(test_strangers_in_directory),
        TEST(test_no_further_number),
        TEST(test_spare_beside),
        TEST(test_mark),
        TEST(test_body_gone),
    };

    harness_on_disk = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
