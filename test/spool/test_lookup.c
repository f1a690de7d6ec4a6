/* Lookups: every record of a lane by its place, in any order, also while the lane is written, released and used again;
 * and what is damaged, gone or no place at all is said to be so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

#include <stdlib.h>

enum { SEGMENT = 64 << 10 };
static struct seen seen;

static struct lane_lookup *open_lookup(void)
{
    struct lane_lookup *l = lane_lookup_open(lane_dir_path, NULL);

    assert_non_null(l);
    return l;
}

static bool reads(struct lane_lookup *l, struct lane_place place, unsigned number)
{
    struct lane_record r;
    struct err         err;

    if (!lane_lookup_read(l, place, &r, &err))
        return false;
    assert_int_equal(number_of(r.payload), number);
    assert_int_equal(lane_place_cmp(r.place, place), 0);
    return true;
}

static void append_all(struct lane_writer *w, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        assert_true(append_number(w, i, false, NULL));
        if (i % 7 == 0)
            assert_true(lane_commit(w, NULL));
    }
    lane_commit(w, NULL);
}

static void test_any_order(void **state)
{
    struct lane_writer *w = open_writer(SEGMENT);
    struct lane_lookup *l = open_lookup();

    (void)state;
    append_all(w, 0, 300);
    lane_writer_close(w);
    read_all(&seen);
    assert_int_equal(seen.count, 300);
    assert_true(seen.places[299].seq > seen.places[0].seq + 1);
    for (unsigned i = 0; i < 300; i++)
        assert_true(reads(l, seen.places[i], i));
    for (unsigned i = 300; i--;)
        assert_true(reads(l, seen.places[i], i));
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        unsigned i = (unsigned)rand() % 300;

        assert_true(reads(l, seen.places[i], i));
    }
    lane_lookup_close(l);
}

/* What was read ahead before it was written must not count afterwards. */
static void test_while_written(void **state)
{
    struct lane_writer *w = open_writer(SEGMENT);
    struct lane_lookup *l = open_lookup();

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        struct lane_place place;

        assert_true(append_number(w, i, false, &place));
        assert_true(lane_commit(w, NULL));
        assert_true(reads(l, place, i));
        seen.places[i] = place;
        if (i)
            assert_true(reads(l, seen.places[i - 1], i - 1));
    }
    lane_writer_close(w);
    lane_lookup_close(l);
}

static void test_not_there(void **state)
{
    struct lane_writer *w = open_writer(SEGMENT);
    struct lane_lookup *l = open_lookup();
    char                name[LANE_NAME_SIZE];
    struct buf          file;
    struct lane_place   place;

    (void)state;
    append_all(w, 0, 300);
    lane_writer_close(w);
    read_all(&seen);
    place = seen.places[5];
    assert_true(reads(l, place, 5));
    for (uint32_t off = 1; off < 32; off++)
        assert_false(reads(l, (struct lane_place){place.seq, place.offset + off}, 5) && off % 8);
    assert_false(reads(l, (struct lane_place){place.seq, 0}, 0));
    assert_false(reads(l, (struct lane_place){place.seq, SEGMENT}, 0));
    assert_false(reads(l, (struct lane_place){place.seq, UINT32_MAX & ~7u}, 0));
    assert_false(reads(l, (struct lane_place){place.seq + 1000, 4096}, 0));
    lane_name_write(name, LANE_NAME_SEGMENT, place.seq);
    buf_init(&file, 1 << 20);
    read_file(name, &file);
    file.data[place.offset + 20] ^= 1;
    write_file(name, buf_str(&file));
    buf_done(&file);
    assert_true(reads(l, seen.places[200], 200)); /* forgets what it had read ahead */
    assert_false(reads(l, place, 5));
    assert_true(reads(l, seen.places[6], 6));
    lane_lookup_close(l);
}

/* A segment is released and its file becomes another one, while a lookup has it open. */
static void test_recycled(void **state)
{
    struct lane_writer *w = open_writer(SEGMENT);
    struct lane_lookup *l = open_lookup();
    struct lane_place   old, place;

    (void)state;
    append_all(w, 0, 200);
    read_all(&seen);
    old = seen.places[0];
    assert_true(seen.places[199].seq > old.seq && reads(l, old, 0));
    assert_true(lane_release(lane_dir_path, old.seq, NULL));
    for (unsigned i = 200; i < 400; i++) {
        assert_true(append_number(w, i, false, &place));
        assert_true(lane_commit(w, NULL));
        assert_true(reads(l, place, i));
    }
    assert_false(reads(l, old, 0));
    assert_true(reads(l, place, 399));
    lane_writer_close(w);
    lane_lookup_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_order, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_while_written, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_not_there, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_recycled, harness_begin, harness_end),
    };

    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
