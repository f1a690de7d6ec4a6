/* Whose question is open next, in a world in which some domains never answer. */
#include "resolver/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct share          share;
    struct share_question questions[SHARE_WAITING * 2];
    size_t                count;
    uint64_t              now_ms;
};

static struct share_question *add(struct world *w, const char *name)
{
    struct share_question *q = &w->questions[w->count++];

    assert_null(share_add(&w->share, q, str_from(name), w->now_ms));
    return q;
}

static const char *refused(struct world *w, const char *name)
{
    return share_add(&w->share, &w->questions[w->count], str_from(name), w->now_ms);
}

static struct share_question *next(struct world *w) { return share_next(&w->share, w->now_ms); }

static size_t open_all(struct world *w)
{
    size_t count = 0;

    while (next(w))
        count++;
    return count;
}

static void tick(struct world *w, uint64_t ms)
{
    w->now_ms += ms;
    share_tick(&w->share, w->now_ms);
}

static void end(struct world *w, struct share_question *q, bool told)
{
    share_end(&w->share, q, told, w->now_ms);
    q->group = NULL;
}

/* Whatever state they are in. */
static void end_all(struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->questions[i].group)
            end(w, &w->questions[i], false);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    share_init(&w->share, 1);
    w->now_ms = 1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    end_all(w);
    assert_int_equal(w->share.waiting_count + w->share.open[0] + w->share.open[1], 0);
    assert_int_equal(w->share.groups.used, w->share.remembered_count);
    share_done(&w->share);
    free(w);
    return 0;
}

static void names_are_grouped(void **state)
{
    static const char *const groups[][2] = {
        {"example.net", "example.net"},
        {"mx.example.net", "example.net"},
        {"a.b.c.example.net", "example.net"},
        {"net", "net"},
        {"", ""},
        {"mx.example.co.uk", "example.co.uk"},
        {"example.co.uk", "example.co.uk"},
        {"co.uk", "co.uk"},
        {"mx.example.de", "example.de"},
        {"a.mx.gmx.de", "mx.gmx.de"},
        {"a.mx.gmx.net", "gmx.net"},
        {".", "."},
        {"..", "."},
        {"a..uk", "a..uk"},
        {".co.uk", ".co.uk"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        struct str group = share_group_name(str_from(groups[i][0]));

        assert_true(str_eq(group, str_from(groups[i][1])));
    }
}

static void a_domain_has_its_share(void **state)
{
    struct world          *w = *state;
    struct share_question *other;
    char                   name[40];

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "h%d.slow.example", i);
        add(w, name);
    }
    assert_int_equal(open_all(w), SHARE_GROUP_OPEN);
    other = add(w, "example.net");
    assert_ptr_equal(next(w), other);
    end(w, other, true);
    assert_int_equal(open_all(w), 0);
    end(w, &w->questions[0], true);
    assert_int_equal(open_all(w), 1);
}

static void domains_take_turns(void **state)
{
    struct world *w = *state;
    const char   *names[] = {"a.example", "b.example", "c.example"};

    for (int i = 0; i < 30; i++)
        add(w, names[i / 10]);
    for (int round = 0; round < 5; round++) {
        bool seen[3] = {false};

        for (int i = 0; i < 3; i++)
            seen[(next(w) - w->questions) / 10] = true;
        assert_true(seen[0] && seen[1] && seen[2]);
    }
}

/* Thousands of domains of a dead name server: at first they are like all others, which do not wait for them; then
 * they are known. */
static void many_slow_domains(void **state)
{
    struct world          *w = *state;
    struct share_question *other;
    char                   name[40];

    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "dead%d.example", i);
        add(w, name);
    }
    assert_int_equal(open_all(w), SHARE_QUICK_OPEN);
    other = add(w, "example.net");
    assert_null(next(w));
    tick(w, SHARE_SLOW_MS);
    assert_ptr_equal(next(w), other);
    end(w, other, true);
    while (open_all(w))
        tick(w, SHARE_SLOW_MS);
    assert_int_equal(w->share.open[true], 1000);

    end_all(w);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "dead%d.example", i);
        add(w, name);
    }
    assert_int_equal(open_all(w), SHARE_SLOW_OPEN);
    other = add(w, "example.net");
    assert_ptr_equal(next(w), other);
    tick(w, SHARE_REMEMBER_MS);
    assert_int_equal(w->share.remembered_count, 0);
}

static void who_answers_again_is_quick(void **state)
{
    struct world          *w = *state;
    struct share_question *q = add(w, "mx.example.net");

    assert_ptr_equal(next(w), q);
    tick(w, SHARE_SLOW_MS);
    end(w, q, true); /* an answer, but a late one */
    assert_int_equal(w->share.remembered_count, 1);
    q = add(w, "mx2.example.net");
    assert_ptr_equal(next(w), q);
    assert_int_equal(w->share.open[true], 1);
    end(w, q, true);
    assert_int_equal(w->share.groups.used, 0);
}

static void room_is_shared(void **state)
{
    struct world *w = *state;

    while (!refused(w, "greedy.example"))
        w->count++;
    assert_int_equal(w->count, SHARE_WAITING / 2);
    assert_non_null(strstr(refused(w, "mx.greedy.example"), "domain"));
    while (!refused(w, "second.example"))
        w->count++;
    assert_int_equal(w->count, SHARE_WAITING * 3 / 4);
    add(w, "example.net");
    while (w->share.waiting_count < SHARE_WAITING) {
        char name[40];

        snprintf(name, sizeof name, "x%zu.example", w->count);
        add(w, name);
    }
    assert_null(strstr(refused(w, "one-more.example"), "domain"));
}

static void none_waits_for_ever(void **state)
{
    struct world          *w = *state;
    struct share_question *late;
    size_t                 count = 0;

    for (int i = 0; i < 20; i++)
        add(w, "slow.example");
    open_all(w);
    tick(w, SHARE_WAIT_MS - 1);
    assert_null(share_late(&w->share, w->now_ms));
    tick(w, 1);
    while ((late = share_late(&w->share, w->now_ms))) {
        end(w, late, true);
        count++;
    }
    assert_int_equal(count, 20 - SHARE_GROUP_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_grouped),
        cmocka_unit_test_setup_teardown(a_domain_has_its_share, setup, teardown),
        cmocka_unit_test_setup_teardown(domains_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(many_slow_domains, setup, teardown),
        cmocka_unit_test_setup_teardown(who_answers_again_is_quick, setup, teardown),
        cmocka_unit_test_setup_teardown(room_is_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(none_waits_for_ever, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
