/* The power is cut at every moment of a lane's life, and what the disk may then hold is read.
 *
 * A story is told once while each change to the disk is noted (power.h). For each moment the disk is built anew in the
 * ways in which a loss of power may have left it, and the lane must come back: everything that was reported as stored,
 * in order and once; groups whole; the body of every record; nothing that was refused, released or never appended; no
 * cry of lost records where none is lost; and the next two writers go on, above every number that was given. Then the
 * power fails again while the lane recovers.
 *
 * Short stories go through every combination of what may be left. Others, with a process that dies or a sync that
 * fails anywhere before the power does, and long ones, take some of each kind and more by a fixed seed.
 *
 * That this would notice a mistake is a test of its own: each kind of sync is left out in turn, and the stories must
 * fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "power.h"
#include "spool/lane_reader.h"
#include "spool/lane_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { AFTER = NUMBERS_MAX - 8 }; /* numbers of records that are appended by a check */

enum mark { MARK_STORED = 1, MARK_REFUSED, MARK_RELEASING, MARK_RELEASED };
enum promise { MAY_BE_THERE, MUST_BE_THERE, MUST_BE_GONE };

static char root[200];

/* ---- what a story appends ---- */

static uint64_t            segment_size;
static struct lane_writer *w;
static unsigned            next_number, group_of[NUMBERS_MAX], group_size[NUMBERS_MAX], groups, first_open;
static uint32_t            body_size[NUMBERS_MAX];
static enum power_sync     mute_late;

static bool writer_open(void)
{
    w = lane_writer_open(lane_dir_path, &(struct lane_options){.segment_size = segment_size, .reserve = 1}, NULL);
    return w;
}

static void append_group(unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        group_of[next_number] = groups;
        body_size[next_number] = 0;
        lane_mark(w, next_number);
        assert_true(append_number(w, next_number++, i + 1 < size, NULL));
    }
    group_size[groups++] = size;
}

static void body_octets(unsigned number, char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(1 + (number * 31u + i * 7u) % 255u);
}

/* A record whose body is in a file. Where that cannot be written, the record is not appended. */
static void append_body(uint32_t size)
{
    char              name[16], content[8192];
    struct lane_body *b;
    uint64_t          len, sum;

    snprintf(name, sizeof name, "b%u", next_number);
    body_octets(next_number, content, size);
    b = lane_body_create(w, str_from(name), NULL);
    if (!b)
        return;
    if (!lane_body_write(b, str_of(content, size / 3), NULL) ||
        !lane_body_write(b, str_of(content + size / 3, size - size / 3), NULL)) {
        lane_body_abort(b);
        return;
    }
    if (!lane_body_finish(b, &len, &sum, NULL))
        return;
    append_group(1);
    body_size[next_number - 1] = size;
}

/* What is pending becomes durable, or is refused; what was refused is gone for good once the lane is repaired. */
static void commit(void)
{
    unsigned stored_to = next_number;

    if (lane_commit(w, NULL)) {
        power_mark(MARK_STORED, first_open, stored_to);
        first_open = stored_to;
    } else if (!w->uncut) {
        power_mark(MARK_REFUSED, first_open, stored_to);
        first_open = stored_to;
    }
}

static void spare(void)
{
    if (lane_wants_spare(w))
        lane_prepare_spare(w, NULL);
}

static bool lane_read(struct seen *seen, unsigned *ret_confirmed)
{
    struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    struct lane_record  record;
    enum lane_read      read;

    memset(seen, 0, sizeof *seen);
    *ret_confirmed = 0;
    if (!r)
        return access(lane_dir_path, F_OK) != 0; /* the directory itself was lost */
    while ((read = lane_read_next(r, NULL, &record, NULL)) == LANE_READ_RECORD || read == LANE_READ_DAMAGED) {
        if (read == LANE_READ_DAMAGED) {
            seen->damages++;
            *ret_confirmed += lane_reader_damage(r)->confirmed;
            continue;
        }
        seen->places[seen->count] = record.place;
        seen->numbers[seen->count++] = number_of(record.payload);
    }
    lane_reader_close(r);
    return read == LANE_READ_END;
}

static void release_before(uint64_t seq)
{
    static struct seen before;
    unsigned           confirmed;

    assert_true(lane_read(&before, &confirmed));
    for (size_t i = 0, next; i < before.count && before.places[i].seq < seq; i = next) {
        next = i;
        while (next < before.count && before.places[next].seq == before.places[i].seq)
            next++;
        power_mark(MARK_RELEASING, before.numbers[i], before.numbers[next - 1] + 1);
        if (lane_release(lane_dir_path, before.places[i].seq, NULL))
            power_mark(MARK_RELEASED, before.numbers[i], before.numbers[next - 1] + 1);
    }
}

/* What the next process finds is as good as stored: it acts on it. */
static void mark_found(void)
{
    static struct seen found;
    unsigned           confirmed;

    assert_true(lane_read(&found, &confirmed));
    for (size_t i = 0; i < found.count; i++)
        power_mark(MARK_STORED, found.numbers[i], found.numbers[i] + 1);
}

/* ---- the stories ---- */

/* Few changes, so that every combination can be looked at: a record, a group, a body, a second segment, a release and
 * a segment in the file of the first. */
static void tell_short(void)
{
    segment_size = 8192;
    assert_true(writer_open());
    append_group(1);
    commit();
    append_body(1500);
    append_group(3);
    commit();
    spare();
    for (unsigned i = 0; i < 7; i++)
        append_group(1);
    commit();
    release_before(lane_writer_committed(w).seq);
    for (unsigned i = 0; i < 3; i++) {
        spare();
        append_group(3);
        commit();
    }
    lane_writer_close(w);
}

static void tell_long(void)
{
    segment_size = 16384;
    for (unsigned round = 0; round < 3; round++) {
        assert_true(writer_open());
        for (unsigned i = 0; i < 12; i++) {
            append_group(1);
            if (i % 3 == 0)
                append_group(4);
            if (i % 4 == 1)
                append_body(500 + i * 600);
            if (i % 2)
                commit();
        }
        for (unsigned i = 0; i < 25; i++) /* one batch over several segments */
            append_group(1 + i % 3);
        commit();
        spare();
        append_group(2);
        commit();
        release_before(lane_writer_committed(w).seq);
        for (unsigned i = 0; i < 30; i++) {
            append_group(1);
            if (i % 5 == 4)
                commit();
        }
        lane_writer_close(w);
    }
}

/* A sync fails (power_fail_at), and the writer goes on as it should. */
static void tell_refused(void)
{
    segment_size = 8192;
    if (!writer_open())
        return;
    for (unsigned i = 0; i < 6; i++) {
        append_group(1 + i % 3);
        if (i == 2)
            append_body(1000);
        if (i == 4)
            for (unsigned k = 0; k < 9; k++) /* over two segments */
                append_group(1);
        commit();
        spare();
    }
    lane_writer_close(w);
}

/* The process dies (power_die_at); the next one recovers, and takes what it finds for stored. */
static void tell_killed(void)
{
    segment_size = 8192;
    if (writer_open()) {
        append_group(2);
        commit();
        append_body(700);
        append_group(1);
        commit();
        spare();
        for (unsigned i = 0; i < 9; i++)
            append_group(1);
        commit();
        if (power_die_at > power_changes)
            release_before(lane_writer_committed(w).seq);
        append_group(2);
        commit();
        lane_writer_close(w);
    }
    power_revive();
    first_open = next_number;
    if (mute_late != POWER_SYNC_NONE)
        power_muted = mute_late;
    assert_true(writer_open());
    mark_found();
    append_group(2);
    commit();
    lane_writer_close(w);
}

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

        w = lane_writer_open(
            lane_dir_path,
            &(struct lane_options){
                .segment_size = segment_size, .reserve = 1, .found = note_highest, .found_arg = &highest},
            NULL);
        REQUIRE(w, "the lane cannot be opened for writing");
        if (lane_marked(w) > highest && lane_marked(w) < AFTER)
            highest = (unsigned)lane_marked(w);
        REQUIRE(highest >= highest_promised || before_count > raw.count, "after %u, number %u would be given again",
                highest_promised, highest + 1);
        lane_mark(w, highest_promised);
        assert_true(append_number(w, AFTER + 2 + i, false, NULL));
        REQUIRE(lane_commit(w, NULL), "the lane cannot be written to");
        lane_writer_close(w);
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
        assert_true(append_number(w, AFTER, false, NULL));
        if (lane_commit(w, NULL))
            power_mark(MARK_STORED, AFTER, AFTER + 1);
        lane_writer_close(w);
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
