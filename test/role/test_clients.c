/* test_clients.c: sessions of a network are counted over all processes, and nothing that happens to one of them makes
 * the others count wrong. */
#include "role/clients.h"
#include "role/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct counters *all;

static int set_up(void **state)
{
    (void)state;
    all = calloc(1, sizeof *all);
    for (size_t i = 3; i < 6; i++)
        all->slots[i].pid = (int32_t)i;
    return all ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(all);
    return 0;
}

static uint64_t key_of(const char *address)
{
    struct io_address a[2];
    struct io_network n;
    size_t            count;

    assert_true(io_address_parse(str_from(address), a, 2, &count, NULL));
    n = io_address_network(&a[0]);
    return clients_key(all, &n);
}

static void test_a_limit_holds_over_all_processes(void **state)
{
    uint64_t key = key_of("192.0.2.1:1"), other = key_of("192.0.2.2:1");
    bool     counted;

    (void)state;
    assert_int_not_equal(key, other);
    assert_int_equal(key, key_of("192.0.2.1:2"));
    assert_int_equal(key_of("[2001:db8::1]:1"), key_of("[2001:db8::ffff:1:1]:1"));
    for (size_t i = 0; i < 9; i++) {
        counted = false;
        assert_true(clients_enter(all, &all->slots[3 + i % 3], key, 9, &counted));
        assert_true(counted);
    }
    for (size_t i = 3; i < 6; i++)
        assert_false(clients_enter(all, &all->slots[i], key, 9, &counted));
    assert_true(clients_enter(all, &all->slots[4], other, 9, &counted));
    assert_int_equal(clients_count(all, key), 9);
    clients_leave(all, &all->slots[4], key);
    assert_int_equal(clients_count(all, key), 8);
    assert_true(clients_enter(all, &all->slots[5], key, 9, &counted));
    assert_int_equal(clients_count(all, other), 1);
}

static void test_a_dead_process_counts_no_more(void **state)
{
    uint64_t key = key_of("192.0.2.1:1");
    bool     counted;

    (void)state;
    assert_true(clients_enter(all, &all->slots[3], key, 2, &counted));
    assert_true(clients_enter(all, &all->slots[3], key, 2, &counted));
    assert_false(clients_enter(all, &all->slots[4], key, 2, &counted));
    all->slots[3].pid = 0;
    assert_int_equal(clients_count(all, key), 0);
    all->slots[3].pid = 9; /* its successor */
    clients_clear(all, &all->slots[3]);
    assert_int_equal(clients_count(all, key), 0);
    assert_true(clients_enter(all, &all->slots[3], key, 2, &counted));
    assert_int_equal(clients_count(all, key), 1);
}

static void test_leaving_without_having_entered_changes_nothing(void **state)
{
    uint64_t key = key_of("192.0.2.1:1");
    bool     counted;

    (void)state;
    clients_leave(all, &all->slots[3], key);
    assert_int_equal(clients_count(all, key), 0);
    assert_true(clients_enter(all, &all->slots[4], key, 5, &counted));
    clients_leave(all, &all->slots[3], key);
    assert_int_equal(clients_count(all, key), 1);
}

/* More networks than fit: whoever was counted is counted right, and everything is free again at the end. */
static void test_a_full_table(void **state)
{
    enum { NETWORKS = 60000 };
    uint64_t *keys = malloc(NETWORKS * sizeof *keys);
    bool     *counted = calloc(NETWORKS, sizeof *counted);
    size_t    in = 0;

    (void)state;
    for (size_t i = 0; i < NETWORKS; i++) {
        struct io_network n = {{4, 10, (unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i}};

        keys[i] = clients_key(all, &n);
        assert_true(clients_enter(all, &all->slots[3], keys[i], 1, &counted[i]));
        in += counted[i];
    }
    assert_true(in > 25000 && in <= CLIENTS_BUCKETS * CLIENTS_WAYS);
    for (size_t i = 0; i < NETWORKS; i++) {
        bool again;

        assert_int_equal(clients_count(all, keys[i]), counted[i]);
        if (counted[i])
            assert_false(clients_enter(all, &all->slots[4], keys[i], 1, &again));
    }
    for (size_t i = 0; i < NETWORKS; i++)
        if (counted[i])
            clients_leave(all, &all->slots[3], keys[i]);
    for (size_t b = 0; b < CLIENTS_BUCKETS; b++)
        for (size_t w = 0; w < CLIENTS_WAYS; w++)
            assert_int_equal(all->clients[3].ways[b][w], 0);
    free(keys);
    free(counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_limit_holds_over_all_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_dead_process_counts_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leaving_without_having_entered_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_table, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
