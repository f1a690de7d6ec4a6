/* The power is cut at every moment of a lane's life, and what the disk may then hold is read.
 *
 * A story is told once while each change to the disk is noted (power.h). For each moment the disk is built anew in the
 * ways in which a loss of power may have left it, and the lane must come back: everything that was reported as stored,
 * in order and once; groups whole; the body of every record; nothing that was refused, released or never appended; no
 * cry of lost records where none is lost; and the next two writers go on, above every number that was given. Then the
 * power fails again while the lane recovers.
 *
 * A short story goes through every combination of what may be left, up to a limit for each moment. Others, with a
 * process that dies or a sync that fails anywhere before the power does, and long ones, take some of each kind and more
 * by a fixed seed.
 *
 * That this would notice a mistake is a test of its own: each kind of sync is left out in turn, and the stories must
 * fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "power_story.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { AFTER = NUMBERS_MAX - 8 }; /* numbers of records that are appended by a check */

enum promise { MAY_BE_THERE, MUST_BE_THERE, MUST_BE_GONE };

static char root[200];

/* ---- what must hold ---- */

static enum promise promises[NUMBERS_MAX];
static unsigned     highest_promised;
static char         why[200], broken[300]; /* the first promise that was not kept; and where */

#define REQUIRE(condition, ...)                     \
    do {                                            \
        if (!(condition)) {                         \
            snprintf(why, sizeof why, __VA_ARGS__); \
            return false;                           \
        }                                           \
    } while (0)

static void promise(unsigned what, unsigned from, unsigned to, void *arg)
{
    (void)arg;
    for (unsigned i = from; i < to; i++) {
        promises[i] = what == MARK_STORED ? MUST_BE_THERE : what == MARK_RELEASING ? MAY_BE_THERE : MUST_BE_GONE;
        if (what == MARK_STORED && i > highest_promised)
            highest_promised = i;
    }
}

static bool body_is_whole(unsigned number)
{
    char    path[300], content[8192], wanted[8192];
    ssize_t len;
    int     fd;

    snprintf(path, sizeof path, "%s/body/b%u", lane_dir_path, number);
    fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0, "the body of record %u is not there", number);
    len = read(fd, content, sizeof content);
    close(fd);
    body_octets(number, wanted, body_size[number]);
    REQUIRE(len == (ssize_t)body_size[number] && memcmp(content, wanted, (size_t)len) == 0,
            "the body of record %u is not what was written", number);
    return true;
}

static bool is_kept(const struct seen *raw, unsigned confirmed)
{
    static bool there[NUMBERS_MAX];
    unsigned    in_group = 0;

    memset(there, 0, sizeof there);
    REQUIRE(confirmed == 0, "stored records are called damaged");
    for (size_t i = 0; i < raw->count; i++) {
        unsigned number = raw->numbers[i];

        REQUIRE(number < next_number || number >= AFTER, "record %u was never appended", number);
        REQUIRE(i == 0 || number > raw->numbers[i - 1], "record %u comes after %u", number, raw->numbers[i - 1]);
        REQUIRE(promises[number] != MUST_BE_GONE, "record %u, which was refused or released, is back", number);
        there[number] = true;
        if (number >= AFTER)
            continue;
        in_group = i > 0 && group_of[raw->numbers[i - 1]] == group_of[number] ? in_group + 1 : 1;
        REQUIRE(in_group == group_size[group_of[number]] ||
                    (i + 1 < raw->count && group_of[raw->numbers[i + 1]] == group_of[number]),
                "the group of record %u is not whole", number);
        if (body_size[number] > 0 && !body_is_whole(number))
            return false;
    }
    for (unsigned i = 0; i < NUMBERS_MAX; i++)
        REQUIRE(promises[i] != MUST_BE_THERE || there[i], "record %u, which was stored, is lost", i);
    return true;
}

static void note_highest(void *arg, const struct lane_record *record)
{
    unsigned number = number_of(record->payload), *highest = arg;

    if (number < AFTER && number > *highest)
        *highest = number;
}

/* The lane as it stands; `go_on`: and after the next two writers. */
static bool check(bool go_on)
{
    static struct seen raw, after;
    unsigned           confirmed, before_count;

    REQUIRE(lane_read(&raw, &confirmed), "the lane cannot be read");
    if (!is_kept(&raw, confirmed))
        return false;
    before_count = (unsigned)raw.count;
    for (unsigned i = 1; i <= 2 && go_on; i++) {
        unsigned highest = 0;

        writer = lane_writer_open(
            lane_dir_path,
            &(struct lane_options){
                .segment_size = segment_size, .reserve = 1, .found = note_highest, .found_arg = &highest},
            NULL);
        REQUIRE(writer, "the lane cannot be opened for writing");
        if (lane_marked(writer) > highest && lane_marked(writer) < AFTER)
            highest = (unsigned)lane_marked(writer);
        REQUIRE(highest >= highest_promised || before_count > raw.count, "after %u, number %u would be given again",
                highest_promised, highest + 1);
        lane_mark(writer, highest_promised);
        assert_true(append_number(writer, AFTER + 2 + i, false, NULL));
        REQUIRE(lane_commit(writer, NULL), "the lane cannot be written to");
        lane_writer_close(writer);
        REQUIRE(lane_read(&after, &confirmed) && after.count == raw.count + i &&
                    memcmp(after.numbers, raw.numbers, raw.count * sizeof *raw.numbers) == 0 &&
                    after.numbers[after.count - 1] == AFTER + 2 + i && is_kept(&after, confirmed),
                "the next writer changed what is there");
    }
    return true;
}

/* ---- the power goes ---- */

static struct power_log *told;
static unsigned long     disks; /* looked at */
static unsigned          thin;  /* of what takes long, one in so many; 1 with TACIT_POWER=all in the environment */

static bool promise_at(size_t moment)
{
    memset(promises, 0, sizeof promises);
    highest_promised = 0;
    power_each_mark(told, moment, promise, NULL);
    return true;
}

static bool cut(size_t moment, struct power_choice *choice, bool go_on)
{
    disks++;
    power_build(told, moment, choice);
    if (check(go_on))
        return true;
    snprintf(broken, sizeof broken, "power lost after %zu changes, choice %d: %s", moment, choice->how, why);
    return false;
}

/* The disk of this moment recovers, and the power goes again anywhere meanwhile. What recovery found was acted on. */
static bool cut_twice(size_t moment, uint64_t seed)
{
    struct power_choice choice = {.how = POWER_RANDOM, .state = seed, .tear = seed};
    struct power_log   *first = told;
    bool                ok = true;

    power_build(first, moment, &choice);
    told = power_record();
    ok = writer_open();
    if (ok) {
        mark_found();
        first_open = AFTER;
        assert_true(append_number(writer, AFTER, false, NULL));
        if (lane_commit(writer, NULL))
            power_mark(MARK_STORED, AFTER, AFTER + 1);
        lane_writer_close(writer);
    }
    power_stop();
    for (size_t again = 0; ok && again < power_moments(told); again++)
        for (unsigned how = POWER_LOSE; ok && how <= POWER_RANDOM; how++) {
            memset(promises, 0, sizeof promises);
            highest_promised = 0;
            power_each_mark(first, moment, promise, NULL);
            power_each_mark(told, again, promise, NULL);
            if (highest_promised >= AFTER)
                highest_promised = 0;
            choice = (struct power_choice){.how = how, .state = seed + again, .tear = seed};
            ok = cut(again, &choice, false);
        }
    power_log_free(told);
    told = first;
    return ok;
}

enum depth { QUICK, SOME, ALL };

static bool cut_everywhere(enum depth depth)
{
    const unsigned combinations = thin == 1 ? 5000 : 250;

    *broken = '\0';
    for (size_t moment = power_failed(told); moment < power_moments(told); moment++) { /* before it nothing is new */
        struct power_choice choice = {.how = POWER_EACH};
        unsigned            tried = 0;

        promise_at(moment);
        if (depth == ALL)
            do
                if (!cut(moment, &choice, tried % 16 == 0))
                    return false;
            while (++tried < combinations && power_choice_next(&choice));
        for (uint64_t i = 0; i < (depth == QUICK ? 3u : 5u) && (depth != ALL || tried == combinations); i++) {
            choice = (struct power_choice){
                .how = i < 2 ? (enum power_how)i : POWER_RANDOM, .state = moment * 977 + i, .tear = i};
            if (!cut(moment, &choice, i < 3))
                return false;
        }
        for (uint64_t at = 0, end = 1; depth == ALL && at < end; at += thin == 1 ? 1 : 3) {
            choice = (struct power_choice){.how = POWER_TEAR, .tear = at};
            if (!cut(moment, &choice, at % 64 == 0))
                return false;
            end = choice.tear_max;
        }
        if (moment % (depth == QUICK ? thin * 5 : thin) == 0 && !cut_twice(moment, moment * 31 + 7))
            return false;
    }
    return true;
}

static void begin(void)
{
    harness_clear();
    next_number = groups = first_open = 0;
    power_root = root;
    snprintf(lane_dir_path + strlen(root), sizeof lane_dir_path - strlen(root), "/lane");
}

/* Tells the story and cuts the power everywhere in it. False: `broken` says which promise was not kept. */
static bool survives(void (*tell)(void), unsigned die_at, unsigned fail_at, enum depth depth, bool *ret_reached)
{
    bool ok;

    lane_dir_path[strlen(root)] = '\0';
    begin();
    told = power_record();
    power_die_at = die_at;
    power_fail_at = fail_at;
    tell();
    if (ret_reached)
        *ret_reached = die_at ? power_changes >= die_at : power_syncs >= fail_at;
    power_stop();
    power_muted = POWER_SYNC_NONE;
    ok = cut_everywhere(depth);
    power_log_free(told);
    lane_dir_path[strlen(root)] = '\0';
    return ok;
}

static bool survives_failures(bool kill, enum depth depth, enum power_sync muted)
{
    bool reached = true;

    for (unsigned at = 1; reached; at++) {
        power_muted = muted;
        if (!survives(kill ? tell_killed : tell_refused, kill ? at : 0, kill ? 0 : at, depth, &reached))
            return false;
    }
    return true;
}

static int begin_root(void **state)
{
    int result = harness_begin(state);

    snprintf(root, sizeof root, "%.*s", (int)sizeof root - 1, lane_dir_path);
    return result;
}

static void test_every_combination(void **state)
{
    (void)state;
    if (!survives(tell_short, 0, 0, ALL, NULL))
        fail_msg("%s", broken);
    print_message("%lu disks\n", disks);
}

static void test_long_story(void **state)
{
    (void)state;
    if (!survives(tell_long, 0, 0, SOME, NULL))
        fail_msg("%s", broken);
    print_message("%lu disks\n", disks);
}

static void test_failed_sync_before(void **state)
{
    (void)state;
    if (!survives_failures(false, thin == 1 ? SOME : QUICK, POWER_SYNC_NONE))
        fail_msg("%s", broken);
    print_message("%lu disks\n", disks);
}

static void test_killed_before(void **state)
{
    (void)state;
    if (!survives_failures(true, QUICK, POWER_SYNC_NONE))
        fail_msg("%s", broken);
    print_message("%lu disks\n", disks);
}

/* Each kind of sync is left out, everywhere or only by the process that comes after a death, and the story that depends
 * on it must break. */
static void test_left_out_syncs_are_noticed(void **state)
{
    enum where { SHORT, AFTER_FAILURE, AFTER_DEATH };
    static const struct {
        enum power_sync sync;
        enum where      where;
        bool            needed;
    } rows[] = {
        {POWER_SYNC_RECORDS, SHORT, true},     {POWER_SYNC_BEGUN, SHORT, true},
        {POWER_SYNC_GONE, SHORT, true},        {POWER_SYNC_BODY, SHORT, true},
        {POWER_SYNC_BODY_DIR, SHORT, true},    {POWER_SYNC_PARENT, SHORT, true},
        {POWER_SYNC_CUT, AFTER_FAILURE, true}, {POWER_SYNC_GONE, AFTER_FAILURE, true},
        {POWER_SYNC_CUT, AFTER_DEATH, true},   {POWER_SYNC_BEGUN, AFTER_DEATH, true},
        {POWER_SYNC_LANE, SHORT, false},  /* what begins a segment syncs the same directory, before anything counts */
        {POWER_SYNC_OTHER, SHORT, false}, /* the same file is synced again with its first records */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool ok;

        mute_late = rows[i].where == AFTER_DEATH ? rows[i].sync : POWER_SYNC_NONE;
        if (rows[i].where == SHORT) {
            power_muted = rows[i].sync;
            power_muted_hits = 0;
            ok = survives(tell_short, 0, 0, QUICK, NULL);
            assert_true(power_muted_hits > 0);
        } else {
            ok = survives_failures(rows[i].where == AFTER_DEATH, QUICK, mute_late ? POWER_SYNC_NONE : rows[i].sync);
        }
        mute_late = POWER_SYNC_NONE;
        print_message("%zu: %s\n", i, ok ? "nothing is lost" : broken);
        if (ok == rows[i].needed)
            fail_msg("row %zu: %s", i, ok ? "left out, and nobody noticed" : broken);
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin_root, harness_end)
    const struct CMUnitTest tests[] = {
        TEST(test_every_combination),          TEST(test_long_story),
        TEST(test_failed_sync_before),         TEST(test_killed_before),
        TEST(test_left_out_syncs_are_noticed),
    };

    thin = getenv("TACIT_POWER") ? 1 : 11;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
