/* Who is served when: by hand, and in a simulated world of sites that are live, slow, dead or short-tempered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/site.h"

static const struct site_rules rules = {.first = 2, .most = 8, .rest_ms = 60000, .rest_most_ms = 480000};

struct job {
    struct site_job job;
    unsigned        number;
};

static struct job *job_of(struct site_job *j) { return j ? LIST_ITEM(j, struct job, job) : NULL; }

static void push(struct sites *s, struct site *site, struct job *job, unsigned number, uint64_t sender, uint64_t now)
{
    job->number = number;
    assert_true(site_push(s, site, &job->job, sender, now));
}

static unsigned next(struct sites *s, uint64_t now)
{
    struct job *j = job_of(sites_next(s, now));

    return j ? j->number : 0;
}

static void sites_take_turns(void **state)
{
    struct sites s;
    struct job   jobs[12];
    struct site *a, *b;

    (void)state;
    sites_init(&s, 1, 100, 100);
    a = site_get(&s, STR("a"), &rules, 0);
    b = site_get(&s, STR("b"), &rules, 0);
    assert_ptr_equal(a, site_get(&s, STR("a"), &rules, 0));
    for (unsigned i = 0; i < 5; i++)
        push(&s, a, &jobs[i], 10 + i, 1, 0);
    for (unsigned i = 0; i < 2; i++)
        push(&s, b, &jobs[5 + i], 20 + i, 1, 0);
    assert_int_equal(next(&s, 0), 10);
    assert_int_equal(next(&s, 0), 20);
    assert_int_equal(next(&s, 0), 11);
    assert_int_equal(next(&s, 0), 21);
    assert_int_equal(next(&s, 0), 0); /* two connections each, at first */
    assert_int_equal(a->state, SITE_FULL);
    assert_int_equal(b->state, SITE_IDLE);
    assert_int_equal(job_of(site_next(&s, a, 0))->number, 12); /* a connection goes on */
    assert_null(site_next(&s, b, 0));
    site_ended(&s, a, SITE_END_WELL, 0);
    assert_int_equal(next(&s, 0), 13);
    site_remove(&s, &jobs[4].job, 0);
    assert_null(site_next(&s, a, 0));
    assert_int_equal(a->state, SITE_IDLE);
    assert_int_equal(s.open, 4);
    sites_done(&s);
}

static void senders_take_turns(void **state)
{
    static struct job jobs[1000];
    struct sites      s;
    struct site      *a;
    unsigned          when = 0;

    (void)state;
    sites_init(&s, 1, 100, 100);
    a = site_get(&s, STR("a"), &rules, 0);
    for (unsigned i = 0; i < 999; i++)
        push(&s, a, &jobs[i], 1, 7, 0); /* a mailing */
    push(&s, a, &jobs[999], 2, 8, 0);
    assert_int_equal(next(&s, 0), 1);
    do
        when++;
    while (job_of(site_next(&s, a, 0))->number != 2);
    assert_int_equal(when, 1);
    while (site_take(&s, a, 0))
        when++;
    assert_int_equal(when, 999);
    assert_int_equal(s.senders.used, 0);
    sites_done(&s);
}

static void a_site_bears_what_it_shows(void **state)
{
    static struct job jobs[2000];
    struct sites      s;
    struct site      *a;
    unsigned          open = 0, at = 0;

    (void)state;
    sites_init(&s, 1, 100, 100);
    a = site_get(&s, STR("a"), &rules, 0);
    for (unsigned i = 0; i < 2000; i++)
        push(&s, a, &jobs[i], i + 1, 1, 0);
    while (next(&s, 0))
        open++;
    assert_int_equal(open, 2);
    for (unsigned i = 0; i < 2; i++)
        site_succeeded(&s, a, 0);
    while (next(&s, 0))
        open++;
    assert_int_equal(open, 3); /* one more after a window of successes */
    for (unsigned i = 0; i < 200; i++)
        site_succeeded(&s, a, 0);
    while (next(&s, 0))
        open++;
    assert_int_equal(open, 8);
    site_ended(&s, a, SITE_END_BADLY, 0); /* half */
    assert_int_equal(next(&s, 0), 0);
    for (at = 0; !site_next(&s, a, 0); at++) /* those too many find nothing more to do */
        site_ended(&s, a, SITE_END_WELL, 0);
    assert_int_equal(a->open, 4);
    while (site_take(&s, a, 0))
        ;
    sites_done(&s);
}

static void a_dead_site_rests(void **state)
{
    static struct job jobs[10];
    struct sites      s;
    struct site      *a;
    uint64_t          now = 1000, until = 0;

    (void)state;
    sites_init(&s, 1, 100, 100);
    a = site_get(&s, STR("a"), &rules, now);
    for (unsigned i = 0; i < 10; i++)
        push(&s, a, &jobs[i], i + 1, 1, now);
    for (int i = 0; i < 3; i++) {
        assert_false(site_rests(a, now, &until));
        assert_int_not_equal(next(&s, now), 0);
        site_ended(&s, a, SITE_END_BADLY, now);
    }
    assert_true(site_rests(a, now, &until));
    assert_int_equal(until, now + 60000);
    assert_int_equal(next(&s, now), 0);
    assert_int_equal(sites_wake_ms(&s), until);
    for (uint64_t wait = 120000; wait <= 960000; wait *= 2) { /* one connection tries, then twice as long */
        now = until;
        assert_int_not_equal(next(&s, now), 0);
        assert_int_equal(next(&s, now), 0);
        site_ended(&s, a, SITE_END_BADLY, now);
        assert_true(site_rests(a, now, &until));
        assert_int_equal(until, now + (wait > 480000 ? 480000 : wait));
    }
    site_hurry(&s, a, 3000, now + 2999); /* not as often as somebody asks */
    assert_true(site_rests(a, now + 2999, &until));
    now += 3000;
    site_hurry(&s, a, 3000, now);
    assert_false(site_rests(a, now, &until));
    assert_int_not_equal(next(&s, now), 0);
    assert_int_equal(next(&s, now), 0);
    site_ended(&s, a, SITE_END_BADLY, now); /* in vain */
    assert_true(site_rests(a, now, &until));
    assert_int_equal(until, now + 480000);
    now = until;
    assert_int_not_equal(next(&s, now), 0);
    site_succeeded(&s, a, now); /* it lives again: as if nothing had been, but it begins small */
    assert_false(site_rests(a, now, &until));
    site_ended(&s, a, SITE_END_BADLY, now);
    assert_false(site_rests(a, now, &until));
    while (site_take(&s, a, now))
        ;
    sites_sweep(&s, now + 1000, 2000);
    assert_int_equal(s.sites.used, 1);
    sites_sweep(&s, now + 1000, 1000);
    assert_int_equal(s.sites.used, 0);
    sites_done(&s);
}

static void a_rate_is_kept(void **state)
{
    static struct job jobs[500];
    struct site_rules slow = rules;
    struct sites      s;
    struct site      *a;
    unsigned          sent = 0, burst = 0;

    (void)state;
    slow.per_minute = 120;
    slow.most = slow.first = 100;
    sites_init(&s, 1, 1000, 100);
    a = site_get(&s, STR("a"), &slow, 100000);
    for (unsigned i = 0; i < 500; i++)
        push(&s, a, &jobs[i], i + 1, 1, 100000);
    for (uint64_t now = 100000; now < 220000; now = sites_wake_ms(&s)) {
        struct site_job *j;

        while ((j = sites_next(&s, now))) {
            site_succeeded(&s, a, now);
            site_ended(&s, a, SITE_END_WELL, now);
            sent++;
        }
        if (now == 100000)
            burst = sent;
    }
    assert_in_range(burst, 20, 21); /* ten seconds' worth */
    assert_in_range(sent, 255, 262);
    while (site_take(&s, a, 220000))
        ;
    sites_done(&s);
}

static void there_is_a_limit_in_all(void **state)
{
    static struct job jobs[10];
    struct sites      s;
    char              key[2] = "a";

    (void)state;
    sites_init(&s, 1, 4, 3);
    for (unsigned i = 0; i < 10; i++, key[0]++)
        push(&s, site_get(&s, str_of(key, 1), &rules, 0), &jobs[i], i + 1, 1, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(next(&s, 0), i + 1);
    assert_int_equal(next(&s, 0), 0);
    assert_true(site_stall(&s) && site_stall(&s) && site_stall(&s));
    assert_false(site_stall(&s));
    for (unsigned i = 4; i < 7; i++)
        assert_int_equal(next(&s, 0), i + 1);
    assert_int_equal(next(&s, 0), 0);
    site_unstall(&s);
    site_ended(&s, jobs[0].job.site, SITE_END_BADLY, 0);
    assert_int_equal(s.open, 4);
    for (unsigned i = 7; i < 10; i++)
        site_remove(&s, &jobs[i].job, 0);
    sites_done(&s);
}

/* ---- a world ---- */

/* Times are in tenths of a millisecond here. COST: of this machine for a message, one after the other. */
enum { SITES = 2000, PER_SITE = 5, JOBS = SITES * PER_SITE, DEAD = 300000, LIVE = 100, STALL = 1000, COST = 3 };

struct event {
    struct heap_item due;
    struct job      *job;
    bool             stalls, stalled;
};

/* Mail for all sites, each message with a connection of its own; every `dead_in`th does not answer. When the last
 * message to a live site went. */
static uint64_t last_live(unsigned dead_in)
{
    static struct job   jobs[JOBS];
    static struct event events[JOBS];
    struct sites        s;
    struct heap         due;
    struct heap_item   *first;
    uint64_t            now = 0, last = 0, machine = 0;
    unsigned            live = 0;

    sites_init(&s, 1, 1000, 5000);
    heap_init(&due);
    for (unsigned i = 0; i < JOBS; i++) {
        char         key[16];
        struct site *site;

        snprintf(key, sizeof key, "%u", i % SITES);
        site = site_get(&s, str_from(key), &rules, 0);
        push(&s, site, &jobs[i], i, i / SITES, 0);
        live += !dead_in || i % SITES % dead_in;
    }
    while (live > 0) {
        struct site_job *j;
        struct event    *e;

        while ((j = sites_next(&s, now))) {
            unsigned number = job_of(j)->number;
            bool     dead = dead_in && number % SITES % dead_in == 0;

            events[number] = (struct event){.job = job_of(j), .stalls = dead};
            machine = machine + COST < now ? now : machine + COST;
            assert_true(heap_put(&due, &events[number].due, machine + (dead ? STALL : LIVE)));
        }
        first = heap_first(&due);
        assert_non_null(first);
        now = first->key;
        e = LIST_ITEM(first, struct event, due);
        heap_remove(&due, first);
        if (e->stalls) {
            e->stalls = false;
            e->stalled = site_stall(&s);
            heap_put(&due, &e->due, now + DEAD);
            continue;
        }
        if (dead_in && e->job->number % SITES % dead_in == 0) {
            uint64_t until;

            if (e->stalled)
                site_unstall(&s);
            site_ended(&s, e->job->job.site, SITE_END_BADLY, now);
            while (site_rests(e->job->job.site, now, &until) && site_take(&s, e->job->job.site, now))
                ;
            continue;
        }
        site_succeeded(&s, e->job->job.site, now);
        site_ended(&s, e->job->job.site, SITE_END_WELL, now);
        live--;
        last = now;
    }
    for (unsigned i = 0; i < SITES; i++) {
        char         key[16];
        struct site *site;

        snprintf(key, sizeof key, "%u", i);
        site = site_get(&s, str_from(key), &rules, now);
        while (site_take(&s, site, now))
            ;
    }
    heap_done(&due);
    sites_done(&s);
    return last;
}

static void the_dead_do_not_hold_up_the_living(void **state)
{
    uint64_t without = last_live(0), with = last_live(10);

    (void)state;
    if (with > without + without / 10)
        fail_msg("with a tenth of the sites dead the others took %llu instead of %llu", (unsigned long long)with,
                 (unsigned long long)without);
    assert_in_range(without, JOBS * COST, JOBS * COST + 2 * LIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_take_turns),
        cmocka_unit_test(senders_take_turns),
        cmocka_unit_test(a_site_bears_what_it_shows),
        cmocka_unit_test(a_dead_site_rests),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(there_is_a_limit_in_all),
        cmocka_unit_test(the_dead_do_not_hold_up_the_living),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
