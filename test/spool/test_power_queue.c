/* The power is cut at every moment in the life of a queue (power.h, power_queue_story.h). From each disk the queue is
 * read as back reads it at its start. It must hold every message that was accepted and not finished, with its newest
 * progress, and each must be readable at the place that the queue says; a message whose end was recorded does not come
 * back; and nothing else is there. Then the lanes are opened for writing, and it must still be so.
 *
 * Then the power goes a second time, anywhere while the lanes recover and the queue goes on: from what the first loss
 * left, or from a kill of all processes, after which the disk may have less than the next ones see. What recovery found
 * was acted on, and must hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "power_queue_story.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 7, STEP_THIN = 37 }; /* of changes: one is looked at more closely */

static struct power_log *told;
static char              broken[300];
static bool              all; /* TACIT_POWER=all is in the environment */
static enum state        states[MESSAGES];
static unsigned          recorded[MESSAGES]; /* attempts */

#define REQUIRE(condition, ...)                           \
    do {                                                  \
        if (!(condition)) {                               \
            snprintf(broken, sizeof broken, __VA_ARGS__); \
            return false;                                 \
        }                                                 \
    } while (0)

/* ---- what must hold ---- */

static void mark(unsigned what, unsigned from, unsigned to, void *arg)
{
    (void)arg;
    if (what == MARK_PROGRESS)
        recorded[from] = to;
    else
        states[from] = what == MARK_ACCEPTED ? ACCEPTED : what == MARK_FINISHING ? FINISHING : FINISHED;
}

static bool is_readable(const struct queue_message *m, struct buf *buffer)
{
    struct lane_record r;
    uint64_t           id;

    buf_clear(buffer);
    REQUIRE(lane_read_at(dirs[m->home.lane], (struct lane_place){m->home.seq, m->home.offset}, buffer, &r, NULL) &&
                record_message_id(r.payload, &id) && id == m->id,
            "a living message cannot be read at its place");
    return true;
}

static bool queue_is_right(void)
{
    struct queue_message *m;
    struct buf            buffer;
    unsigned              living = 0, right = 0;
    bool                  ok = true;

    REQUIRE(replay(), "the lanes cannot be read");
    buf_init(&buffer, 1 << 16);
    for (unsigned i = 0; i < count; i++) {
        m = queue_find(&q, ids[i]);
        living += m != NULL;
        right += m ? states[i] != FINISHED : states[i] != ACCEPTED;
        if (m && states[i] == FINISHED)
            snprintf(broken, sizeof broken, "message %u, which is finished, is back", i);
        else if (!m && states[i] == ACCEPTED)
            snprintf(broken, sizeof broken, "message %u, which was accepted, is lost", i);
        if (m && ok) {
            ok = is_readable(m, &buffer);
            if (ok && m->attempts < recorded[i]) {
                snprintf(broken, sizeof broken, "message %u has lost its progress", i);
                ok = false;
            }
        }
    }
    if (living != q.messages)
        snprintf(broken, sizeof broken, "the queue has messages that were never there");
    ok = ok && right == count && living == q.messages;
    buf_done(&buffer);
    queue_end();
    return ok;
}

static bool check(bool go_on)
{
    bool ok = queue_is_right();

    if (!ok || !go_on)
        return ok;
    REQUIRE(writers_open(), "the lanes cannot be opened");
    ok = queue_is_right();
    writers_close();
    return ok;
}

/* `before`: what was told before the log, up to a moment of its own; or NULL. */
static void promises_at(const struct power_log *before, size_t before_moment, const struct power_log *log,
                        size_t moment)
{
    memset(states, 0, sizeof states);
    memset(recorded, 0, sizeof recorded);
    if (before)
        power_each_mark(before, before_moment, mark, NULL);
    power_each_mark(log, moment, mark, NULL);
}

/* The power is cut in the recovery that `told` has from its moment `from` on, each moment in one way, or with
 * TACIT_POWER in all three. `first`: what was told before it, up to `moment`; or NULL. */
static bool survives_recovery(const struct power_log *first, size_t moment, size_t from)
{
    const unsigned ways = all ? 1 : 3;
    bool           ok = true;

    for (size_t at = from * 3; at < power_moments(told) * 3 && ok; at += ways) {
        size_t              again = at / 3;
        struct power_choice choice = {
            .how = (enum power_how)((at + again) % 3), .state = again * 31 + moment, .tear = again};

        promises_at(first, moment, told, again);
        power_build(told, again, &choice);
        ok = check(false);
    }
    return ok;
}

static bool survives_second_cut(size_t moment)
{
    struct power_choice choice = {.how = POWER_RANDOM, .state = moment * 31 + 7, .tear = moment};
    struct power_log   *first = told;
    unsigned            before = count, was[MESSAGES];
    bool                ok;

    memcpy(was, attempts, sizeof was);
    promises_at(NULL, 0, first, moment);
    power_build(first, moment, &choice);
    told = power_record();
    recover_and_go_on(states);
    ok = survives_recovery(first, moment, 0);
    power_log_free(told);
    told = first;
    count = before;
    memcpy(attempts, was, sizeof was);
    return ok;
}

/* `seconds`: cuts in recovery as well, for one moment in so many; 0: none. */
static bool survives(unsigned variants, unsigned seconds)
{
    bool ok = true;

    *broken = '\0';
    told = story_begin();
    tell();
    power_stop();
    power_muted = POWER_SYNC_NONE;
    assert_true(releases > 10 && compactions > 3);
    for (size_t moment = 0; moment < power_moments(told) && ok; moment++) {
        promises_at(NULL, 0, told, moment);
        for (uint64_t i = 0; i < variants && ok; i++) {
            struct power_choice choice = {
                .how = i < 2 ? (enum power_how)i : POWER_RANDOM, .state = moment * 977 + i, .tear = moment + i};

            power_build(told, moment, &choice);
            ok = check(i == 2);
        }
        if (ok && seconds && moment % seconds == 0)
            ok = survives_second_cut(moment);
    }
    story_end(told);
    return ok;
}

/* All processes are killed before each change in `every`. */
static bool survives_kills(unsigned every)
{
    bool ok = true, reached = true;

    for (unsigned at = every; ok && reached; at += every) {
        *broken = '\0';
        told = story_begin();
        power_die_at = at;
        reached = !tell();
        power_revive();
        if (reached) {
            promises_at(NULL, 0, told, power_moments(told) - 1);
            recover_and_go_on(states);
            ok = survives_recovery(NULL, 0, power_failed(told));
        }
        power_stop();
        story_end(told);
    }
    return ok;
}

static void test_power_cut_anywhere(void **state)
{
    (void)state;
    if (!survives(3, STEP_THIN))
        fail_msg("%s", broken);
}

static void test_killed_before(void **state)
{
    (void)state;
    if (!survives_kills(STEP_THIN))
        fail_msg("%s", broken);
}

static void test_left_out_syncs_are_noticed(void **state)
{
    static const enum power_sync syncs[] = {POWER_SYNC_RECORDS, POWER_SYNC_BEGUN, POWER_SYNC_GONE};

    (void)state;
    for (size_t i = 0; i < sizeof syncs / sizeof *syncs; i++) {
        power_muted = syncs[i];
        power_muted_hits = 0;
        if (survives(3, 0))
            fail_msg("sync %d is left out, and nobody noticed", syncs[i]);
        assert_true(power_muted_hits > 0);
        print_message("%d: %s\n", syncs[i], broken);
    }
}

/* What only recovery needs: what it found of those who were killed is to be durable before anybody acts on it, and its
 * first segment to have its name. */
static void test_left_out_syncs_of_recovery_are_noticed(void **state)
{
    static const struct {
        enum power_sync sync;
        bool            kills;
    } rows[] = {{POWER_SYNC_CUT, true}, {POWER_SYNC_BEGUN, true}, {POWER_SYNC_BEGUN, false}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mute_late = rows[i].sync;
        power_muted_hits = 0;
        if (rows[i].kills ? survives_kills(STEP) : survives(0, STEP))
            fail_msg("row %zu: left out in recovery, and nobody noticed", i);
        assert_true(power_muted_hits > 0);
        mute_late = POWER_SYNC_NONE;
        print_message("%zu: %s\n", i, broken);
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, harness_begin, harness_end)
    const struct CMUnitTest tests[] = {
        TEST(test_power_cut_anywhere),
        TEST(test_killed_before),
        TEST(test_left_out_syncs_are_noticed),
        TEST(test_left_out_syncs_of_recovery_are_noticed),
    };

    all = getenv("TACIT_POWER");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
