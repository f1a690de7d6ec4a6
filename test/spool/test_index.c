/* Indexes of segments: what was written comes back, and an index that was cut, flipped, half made, or belongs to
 * another segment or to another state of its segment does not count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "spool/lane_index.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct str entries = {(char *)(uintptr_t) "what the owner knows of seven records", 37};
static char             index_name[64];

/* Two segments, the first complete; its number. */
static uint64_t make_segments(void)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_place   first, place;

    assert_true(append_number(w, 1, false, &first));
    place = first;
    for (unsigned i = 2; place.seq == first.seq; i++) {
        assert_true(lane_commit(w, NULL));
        assert_true(append_number(w, i, false, &place));
    }
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    snprintf(index_name, sizeof index_name, "index-07-%016llx.idx", (unsigned long long)first.seq);
    return first.seq;
}

static struct lane_segment_id identify(uint64_t seq)
{
    struct lane_segment_id id;

    assert_true(lane_segment_identify(lane_dir_path, seq, &id, NULL));
    return id;
}

static bool index_counts(unsigned lane, const struct lane_segment_id *id)
{
    struct buf buffer;
    struct str got;
    bool       ok;

    buf_init(&buffer, LANE_INDEX_MAX);
    ok = lane_index_read(lane_dir_path, lane, id, &buffer, &got);
    if (ok)
        assert_true(str_eq(got, entries));
    buf_done(&buffer);
    return ok;
}

static void test_round(void **state)
{
    uint64_t               seq = make_segments();
    struct lane_segment_id id = identify(seq), other;

    (void)state;
    assert_false(index_counts(7, &id));
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL));
    assert_true(index_counts(7, &id));
    assert_false(index_counts(8, &id));
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL)); /* replaces */
    assert_int_equal(files_named("new-index"), 0);
    for (int field = 0; field < 4; field++) {
        other = id;
        *(uint64_t *[]){&other.seq, &other.salt, &other.size, &other.written_ns}[field] += 1;
        assert_false(index_counts(7, &other));
    }
    assert_true(lane_index_remove(lane_dir_path, 7, seq, NULL));
    assert_false(index_counts(7, &id));
    assert_true(lane_index_remove(lane_dir_path, 7, seq, NULL));
}

static void test_damage(void **state)
{
    struct lane_segment_id id = identify(make_segments());
    struct buf             file;

    (void)state;
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL));
    buf_init(&file, 1 << 16);
    read_file(index_name, &file);
    for (size_t len = 0; len < file.len; len++) {
        write_file(index_name, str_part(buf_str(&file), 0, len));
        assert_false(index_counts(7, &id));
    }
    for (size_t at = 0; at < file.len; at++)
        for (int bit = 0; bit < 8; bit++) {
            file.data[at] ^= (char)(1 << bit);
            write_file(index_name, buf_str(&file));
            assert_false(index_counts(7, &id));
            file.data[at] ^= (char)(1 << bit);
        }
    write_file(index_name, buf_str(&file));
    assert_true(index_counts(7, &id));
    assert_true(buf_append_byte(&file, 'x'));
    write_file(index_name, buf_str(&file));
    assert_false(index_counts(7, &id));
    buf_done(&file);
}

/* A segment that was written to since, by whoever, and one whose number and file were taken over by a new one. */
static void test_another_state(void **state)
{
    uint64_t               seq = make_segments();
    struct lane_segment_id id = identify(seq), now;
    char                   name[LANE_NAME_SIZE], path[512];
    struct timespec        times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    int                    fd;

    (void)state;
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL));
    lane_name_write(name, LANE_NAME_SEGMENT, seq);
    snprintf(path, sizeof path, "%s/%s", lane_dir_path, name);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pwrite(fd, "?", 1, 9000) == 1 && futimens(fd, times) == 0);
    now = identify(seq);
    assert_false(index_counts(7, &now));
    assert_true(ftruncate(fd, 9000) == 0);
    now = identify(seq);
    assert_false(index_counts(7, &now));
    assert_true(pwrite(fd, "????????????????????????????????", 32, 16) == 32);
    assert_false(lane_segment_identify(lane_dir_path, seq, &now, NULL)); /* half a head is not enough */
    close(fd);
    assert_true(lane_release(lane_dir_path, seq, NULL));
    assert_false(lane_segment_identify(lane_dir_path, seq, &now, NULL));
}

static bool count_record(const struct lane_record *record, void *arg)
{
    unsigned *count = arg;

    (void)number_of(record->payload); /* whole */
    return ++*count < 1000;
}

static void test_segment_read(void **state)
{
    uint64_t           seq = make_segments();
    unsigned           count = 0;
    char               name[LANE_NAME_SIZE];
    struct buf         file;
    static struct seen seen;

    (void)state;
    read_all(&seen);
    assert_true(lane_segment_read(lane_dir_path, seq, count_record, &count, NULL));
    assert_int_equal(count, seen.count - 1); /* the last one lies in the second segment */
    count = 0;
    assert_false(lane_segment_read(lane_dir_path, seen.places[seen.count - 1].seq, count_record, &count, NULL));
    lane_name_write(name, LANE_NAME_SEGMENT, seq);
    buf_init(&file, 1 << 20);
    read_file(name, &file);
    for (size_t at = LANE_PAGE; at < seen.places[seen.count - 2].offset; at += 7) { /* nothing damaged is passed over */
        file.data[at] ^= 1;
        write_file(name, buf_str(&file));
        file.data[at] ^= 1;
        count = 0;
        if (lane_segment_read(lane_dir_path, seq, count_record, &count, NULL))
            assert_int_equal(count, seen.count - 1); /* padding */
    }
    buf_done(&file);
}

static bool keep_seven(unsigned lane, uint64_t seq, void *arg) { return lane == 7 && seq == *(uint64_t *)arg; }

static void test_clean(void **state)
{
    uint64_t               seq = make_segments();
    struct lane_segment_id id = identify(seq);

    (void)state;
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL));
    assert_true(lane_index_write(lane_dir_path, 8, &id, entries, NULL));
    id.seq++;
    assert_true(lane_index_write(lane_dir_path, 7, &id, entries, NULL));
    id.seq--;
    write_file("new-index-07-0000000000000009.idx", STR("half"));
    write_file("index-07-9.idx", STR("not ours"));
    assert_true(lane_index_clean(lane_dir_path, keep_seven, &seq, NULL));
    assert_int_equal(files_named("new-index"), 0);
    assert_int_equal(files_named("index-"), 2);
    assert_true(index_counts(7, &id));
}

/* Each system call fails in turn: then there is no index, or a whole one. */
static void test_faults(void **state)
{
    struct lane_segment_id id = identify(make_segments());

    (void)state;
    faults_begin();
    for (enum fault kind = FAULT_ENOSPC; kind <= FAULT_SHORT; kind++)
        for (unsigned at = 1;; at++) {
            bool written, counted;

            assert_true(lane_index_remove(lane_dir_path, 7, id.seq, NULL));
            faults_arm(kind, at, 1);
            written = lane_index_write(lane_dir_path, 7, &id, entries, NULL);
            faults_arm(FAULT_NONE, 0, 0);
            counted = index_counts(7, &id);
            assert_true(counted == written);
            assert_int_equal(files_named("new-index"), 0);
            if (fault_plan.hits == 0 && written && at > 12)
                break;
        }
    faults_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_damage, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_another_state, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_segment_read, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_clean, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_faults, harness_begin, harness_end),
    };

    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
