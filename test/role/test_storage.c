/* What a process says of its storage: when a trouble begins, goes on and ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "role/counters.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WANTED = 50 << 20 };

static struct counters     *all;
static struct counter_slot *slot;
static struct storage      *s;

static int set_up(void **state)
{
    int fd;

    (void)state;
    all = counters_create(&fd, NULL);
    assert_non_null(all);
    close(fd);
    slot = counters_slot(all, ROLE_FRONT, 1);
    s = &slot->storage;
    counters_use(slot);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    counters_use(NULL);
    return munmap(all, sizeof *all);
}

static void look(uint64_t largest, uint64_t now_ms)
{
    storage_look(s, &(struct storage_room){.free = 7, .reserve = 5, .waiting = 3, .largest = largest}, WANTED, now_ms);
}

static void fail_with(int os_error, uint64_t now_ms)
{
    struct err err;

    err_set_os(&err, os_error, "spool");
    storage_failed(s, &err, now_ms);
}

static void no_room_ends_when_the_largest_message_fits(void **state)
{
    (void)state;
    look(WANTED, 1000);
    assert_int_equal(s->problem, STORAGE_FINE);
    look(WANTED - 1, 2000);
    look(0, 3000);
    assert_int_equal(s->problem, STORAGE_FULL);
    assert_int_equal(s->since_ms, 2000);
    assert_int_equal(s->last_ms, 3000);
    assert_int_equal(s->largest, 0);
    assert_int_equal(s->free, 7);
    assert_int_equal(s->reserve, 5);
    assert_int_equal(s->waiting, 3);
    assert_int_equal(counters_sum(all, COUNTER_storage_troubles), 1);
    storage_stored(s, 4000); /* a small one: there still is no room for others */
    assert_int_equal(s->until_ms, 0);
    look(WANTED, 5000);
    assert_int_equal(s->until_ms, 5000);
    assert_int_equal(s->problem, STORAGE_FULL); /* that was */
    assert_int_equal(counters_sum(all, COUNTER_storage_troubles), 0);
}

static void what_comes_back_soon_has_not_ended(void **state)
{
    (void)state;
    look(0, 1000);
    look(WANTED, 2000);
    look(0, 61999);
    assert_int_equal(s->since_ms, 1000);
    look(WANTED, 62000);
    look(0, 122000);
    assert_int_equal(s->since_ms, 122000);
    assert_int_equal(s->until_ms, 0);
}

static void a_failure_holds_until_something_is_stored(void **state)
{
    (void)state;
    look(0, 1000);
    fail_with(EIO, 2000);
    fail_with(EROFS, 3000);
    look(WANTED, 4000); /* that there is room says nothing of it */
    assert_int_equal(s->problem, STORAGE_FAILED);
    assert_int_equal(s->os_error, EROFS);
    assert_int_equal(s->since_ms, 2000);
    assert_int_equal(s->last_ms, 3000);
    assert_int_equal(s->until_ms, 0);
    assert_int_equal(counters_sum(all, COUNTER_storage_troubles), 1);
    storage_stored(s, 5000);
    assert_int_equal(s->until_ms, 5000);
    storage_stored(s, 6000);
    assert_int_equal(s->until_ms, 5000);
    assert_int_equal(counters_sum(all, COUNTER_storage_troubles), 0);
}

static void what_is_not_the_disks_is_none(void **state)
{
    struct err err;

    (void)state;
    err_set(&err, ERR_LIMIT, "too much waits for the disk");
    storage_failed(s, &err, 1000);
    fail_with(ENOMEM, 1000);
    assert_int_equal(s->problem, STORAGE_FINE);
}

static void it_goes_with_its_process(void **state)
{
    (void)state;
    fail_with(EIO, 1000);
    counters_reset_gauges(slot);
    assert_int_equal(s->problem, STORAGE_FINE);
    assert_int_equal(counters_sum(all, COUNTER_storage_troubles), 0);
    fail_with(EIO, 2000);
    assert_int_equal(s->since_ms, 2000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(no_room_ends_when_the_largest_message_fits),
        TEST(what_comes_back_soon_has_not_ended),
        TEST(a_failure_holds_until_something_is_stored),
        TEST(what_is_not_the_disks_is_none),
        TEST(it_goes_with_its_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
