/* Counting sessions: limits of a network and of all, against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "policy/sessions.h"

static struct str network(unsigned number, char bytes[SESSIONS_NETWORK_LEN])
{
    memset(bytes, 0, SESSIONS_NETWORK_LEN);
    bytes[0] = 4;
    memcpy(bytes + 1, &number, sizeof number);
    return str_of(bytes, SESSIONS_NETWORK_LEN);
}

static void test_limits(void **state)
{
    struct sessions s;
    char            a[SESSIONS_NETWORK_LEN], b[SESSIONS_NETWORK_LEN];

    (void)state;
    sessions_init(&s, 4, 2, 1);
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_TAKEN);
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_TAKEN);
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_NETWORK_FULL);
    assert_int_equal(sessions_enter(&s, network(2, b)), SESSIONS_TAKEN);
    assert_int_equal(sessions_enter(&s, STR_NONE), SESSIONS_TAKEN); /* not counted for a network, but in all */
    assert_int_equal(sessions_enter(&s, STR_NONE), SESSIONS_FULL);
    assert_int_equal(sessions_enter(&s, network(2, b)), SESSIONS_FULL);
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_NETWORK_FULL);
    assert_int_equal(s.total, 4);
    sessions_leave(&s, network(1, a));
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_TAKEN);
    assert_int_equal(sessions_of(&s, network(1, a)), 2);
    sessions_leave(&s, network(2, b));
    assert_int_equal(sessions_of(&s, network(2, b)), 0);
    sessions_done(&s);
}

static void test_nobody(void **state)
{
    struct sessions s;
    char            a[SESSIONS_NETWORK_LEN];

    (void)state;
    sessions_init(&s, 10, 0, 1);
    assert_int_equal(sessions_enter(&s, network(1, a)), SESSIONS_NETWORK_FULL);
    assert_int_equal(s.networks.used, 0);
    sessions_done(&s);
}

/* Many networks come and go; the map holds only those that have a session. */
static void test_model(void **state)
{
    enum { NETWORKS = 50, STEPS = 200000, TOTAL = 120, EACH = 5 };
    unsigned        counts[NETWORKS] = {0}, total = 0, refused = 0;
    uint32_t        random = 12345;
    struct sessions s;

    (void)state;
    sessions_init(&s, TOTAL, EACH, 42);
    for (int i = 0; i < STEPS; i++) {
        char     bytes[SESSIONS_NETWORK_LEN];
        unsigned n = (random = random * 1103515245u + 12345) >> 16 & 0xffff, which = n % NETWORKS;

        if ((n & 0x8000) && counts[which]) {
            sessions_leave(&s, network(which, bytes));
            counts[which]--;
            total--;
        } else {
            enum sessions_verdict expected = counts[which] >= EACH ? SESSIONS_NETWORK_FULL
                                             : total >= TOTAL      ? SESSIONS_FULL
                                                                   : SESSIONS_TAKEN;

            assert_int_equal(sessions_enter(&s, network(which, bytes)), expected);
            counts[which] += expected == SESSIONS_TAKEN;
            total += expected == SESSIONS_TAKEN;
            refused += expected != SESSIONS_TAKEN;
        }
        if (i % 1000 == 0) {
            size_t used = 0;

            for (unsigned k = 0; k < NETWORKS; k++) {
                used += counts[k] > 0;
                assert_int_equal(sessions_of(&s, network(k, bytes)), counts[k]);
            }
            assert_int_equal(s.networks.used, used);
            assert_int_equal(s.total, total);
        }
    }
    assert_true(refused > 1000);
    sessions_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
