/* The power is cut at every moment in the life of a queue (power.h): a front's lane with messages, back's lane with
 * what became of them, segments that are released, used again, and emptied by compaction. From each disk the queue is
 * read as back reads it at its start. It must hold every message that was accepted and not finished, with its newest
 * progress, and each must be readable at the place that the queue says; a message whose end was recorded does not come
 * back; and nothing else is there. Then the lanes are opened for writing, and it must still be so.
 *
 * Back follows the front's lane only as far as that is durable; it releases and compacts as src/server/ does, without
 * waiting for segments to settle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "power.h"
#include "queue/queue.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LANES = 2, MESSAGES = 120, SEGMENT = 8192, CONTENT = 900, PINS = 64 };
enum mark { MARK_ACCEPTED = 1, MARK_PROGRESS, MARK_FINISHING, MARK_FINISHED };
enum state { UNKNOWN, ACCEPTED, FINISHING, FINISHED };

static char                     dirs[LANES][300];
static struct lane_writer      *writers[LANES];
static struct lane_reader      *readers[LANES];
static struct queue             q;
static struct arena             scratch;
static struct message_id_source source;
static uint64_t                 ids[MESSAGES], clock_ms;
static unsigned                 count, attempts[MESSAGES], releases, compactions;
static struct power_log        *told;
static char                     broken[300];

#define REQUIRE(condition, ...)                           \
    do {                                                  \
        if (!(condition)) {                               \
            snprintf(broken, sizeof broken, __VA_ARGS__); \
            return false;                                 \
        }                                                 \
    } while (0)

/* ---- the lanes ---- */

static bool writers_open(void)
{
    for (unsigned i = 0; i < LANES; i++)
        if (!(writers[i] =
                  lane_writer_open(dirs[i], &(struct lane_options){.segment_size = SEGMENT, .reserve = 1}, NULL)))
            return false;
    return true;
}

static void writers_close(void)
{
    for (unsigned i = 0; i < LANES; i++)
        lane_writer_close(writers[i]);
}

static void append(unsigned lane, enum record_type type, struct str payload)
{
    assert_true(lane_append(writers[lane], (uint8_t)type, 0, &payload, 1, NULL, NULL));
}

/* Applies what is durable; false: something cannot be read. `all`: to the end. */
static bool follow(unsigned lane, bool all)
{
    struct lane_place  until = all ? (struct lane_place){0, 0} : lane_writer_committed(writers[lane]);
    struct lane_record r;
    enum lane_read     read;

    if (!readers[lane] && !(readers[lane] = lane_reader_open(dirs[lane], (struct lane_place){0, 0}, NULL)))
        return access(dirs[lane], F_OK) != 0;
    while ((read = lane_read_next(readers[lane], all ? NULL : &until, &r, NULL)) == LANE_READ_RECORD) {
        struct queue_place place = {.seq = r.place.seq, .offset = r.place.offset, .lane = lane};

        assert_int_equal(queue_apply(&q, place, r.type, r.payload, &scratch, NULL), QUEUE_APPLIED);
        arena_reset(&scratch);
    }
    return read == LANE_READ_END || (all && read == LANE_READ_DAMAGED && follow(lane, all));
}

static bool present(uint64_t seq, uint64_t size, void *arg)
{
    (void)size;
    return queue_segment_present(&q, *(unsigned *)arg, seq);
}

static void queue_begin(void)
{
    queue_init(&q, 1, 1 << 30);
}

static void queue_end(void)
{
    queue_done(&q);
    for (unsigned i = 0; i < LANES; i++) {
        lane_reader_close(readers[i]);
        readers[i] = NULL;
    }
}

/* As back does at its start. */
static bool replay(void)
{
    bool ok = true;

    queue_begin();
    for (unsigned i = 0; i < LANES && ok; i++)
        ok = access(dirs[i], F_OK) != 0 || lane_each_segment(dirs[i], present, &i, NULL);
    for (unsigned i = 0; i < LANES && ok; i++)
        ok = follow(i, true);
    queue_replayed(&q);
    return ok;
}

/* ---- the story ---- */

static void accept_message(void)
{
    struct recipient to = {.address = {STR("a"), STR("x.test"), false}};
    struct message   m = {.id = message_id_next(&source, ++clock_ms), .size = CONTENT};
    char             content[CONTENT];
    struct buf       out;

    memset(content, 'a' + (char)(count % 26), sizeof content);
    m.envelope.origin.class = CLASS_STRANGER;
    m.envelope.recipients = &to;
    m.envelope.recipient_count = 1;
    m.content = str_of(content, sizeof content);
    buf_init(&out, 1 << 16);
    assert_true(record_message_put(&m, &out) && buf_append(&out, m.content));
    append(1, RECORD_MESSAGE, buf_str(&out));
    buf_done(&out);
    attempts[count] = 0;
    ids[count++] = m.id;
}

static void progress(unsigned number)
{
    struct recipient_progress to = {.state = RECIPIENT_PENDING};
    struct progress           p = {.id = ids[number], .recipients = &to, .recipient_count = 1};
    struct buf                out;

    to.reason = STR("a reason that is long enough for back's lane to come to its next segment before the story is "
                    "over, which it would not do with the short ones that most messages have: so much for that");
    p.attempts = ++attempts[number];
    p.next_ms = ++clock_ms;
    buf_init(&out, 1 << 16);
    assert_true(progress_put(&p, &out));
    append(0, RECORD_PROGRESS, buf_str(&out));
    buf_done(&out);
}

static void finish(unsigned number)
{
    struct buf out;

    buf_init(&out, 64);
    assert_true(finished_put(ids[number], &out));
    power_mark(MARK_FINISHING, number, 0);
    append(0, RECORD_FINISHED, buf_str(&out));
    buf_done(&out);
}

static void back_commit(void)
{
    assert_true(lane_commit(writers[0], NULL));
    assert_true(follow(0, false));
}

static void segments_tick(void)
{
    struct queue_segment *s;

    for (unsigned i = 0; i < LANES; i++) {
        assert_true(lane_each_segment(dirs[i], present, &i, NULL));
        queue_lane_read(&q, i, lane_writer_committed(writers[i]).seq, clock_ms);
    }
    while ((s = queue_releasable(&q))) {
        assert_true(lane_release(dirs[s->lane], s->seq, NULL));
        queue_segment_gone(&q, s);
        releases++;
    }
}

struct pins {
    struct queue_place places[PINS];
    enum record_type   types[PINS];
    uint64_t           ids[PINS];
    unsigned           count;
};

static bool each_pin(enum record_type type, uint64_t id, struct queue_place place, void *arg)
{
    struct pins *p = arg;

    p->types[p->count] = type;
    p->ids[p->count] = id;
    p->places[p->count++] = place;
    return p->count < PINS;
}

static void compact(void)
{
    struct queue_segment *s = queue_compactable(&q, clock_ms + 1, 0);
    struct pins           p = {.count = 0};
    struct buf            buffer;

    if (!s)
        return;
    queue_each_pin(&q, s, each_pin, &p);
    buf_init(&buffer, 1 << 16);
    for (unsigned i = 0; i < p.count; i++) {
        struct lane_record r;

        buf_clear(&buffer);
        if (p.types[i] == RECORD_FINISHED) {
            assert_true(finished_put(p.ids[i], &buffer));
            append(0, RECORD_FINISHED, buf_str(&buffer));
            continue;
        }
        assert_true(lane_read_at(dirs[p.places[i].lane], (struct lane_place){p.places[i].seq, p.places[i].offset},
                                 &buffer, &r, NULL));
        append(0, p.types[i], r.payload);
    }
    buf_done(&buffer);
    back_commit();
    compactions++;
}

static bool stays(unsigned number) { return number % 10 == 3 || number >= 90; }

static void tell(void)
{
    assert_true(writers_open());
    queue_begin();
    queue_replayed(&q);
    for (unsigned round = 0; round < 20; round++) {
        unsigned first = count;

        for (unsigned i = 0; i < 5; i++)
            accept_message();
        assert_true(lane_commit(writers[1], NULL));
        for (unsigned i = first; i < count; i++)
            power_mark(MARK_ACCEPTED, i, 0);
        assert_true(follow(1, false));
        if (round % 3 == 2 && lane_wants_spare(writers[1]))
            assert_true(lane_prepare_spare(writers[1], NULL));
        for (unsigned i = first; i < count; i++) /* one in ten stays for long, and the last ones do */
            if (stays(i))
                progress(i);
            else
                finish(i);
        back_commit();
        for (unsigned i = first; i < count; i++)
            power_mark(stays(i) ? MARK_PROGRESS : MARK_FINISHED, i, attempts[i]);
        for (unsigned i = 3; round % 4 == 3 && i < first; i += 10) {
            progress(i);
            if (i == 3)
                back_commit(), power_mark(MARK_PROGRESS, i, attempts[i]);
        }
        segments_tick();
        compact();
        segments_tick();
    }
    finish(3);
    back_commit();
    power_mark(MARK_FINISHED, 3, 0);
    /* No further mail: only back's lane goes on, and its old segments with it. */
    for (unsigned round = 0; round < 120; round++) {
        unsigned number = round % 2 ? 90 + round / 2 % 10 : 13 + round / 2 % 8 * 10;

        progress(number);
        if (round % 6 != 5)
            continue;
        back_commit();
        power_mark(MARK_PROGRESS, number, attempts[number]);
        segments_tick();
        compact();
    }
    queue_end();
    writers_close();
}

/* ---- what must hold ---- */

static enum state states[MESSAGES];
static unsigned   recorded[MESSAGES]; /* attempts */

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

static bool survives(unsigned variants)
{
    bool ok = true;

    harness_clear();
    *broken = '\0';
    power_root = lane_dir_path;
    for (unsigned i = 0; i < LANES; i++)
        snprintf(dirs[i], sizeof dirs[i], "%s/lane-%02u", lane_dir_path, i);
    source = (struct message_id_source){.lane = 1};
    clock_ms = 1000;
    count = releases = compactions = 0;
    arena_init(&scratch, 4096, 1 << 20);
    told = power_record();
    tell();
    power_stop();
    power_muted = POWER_SYNC_NONE;
    assert_true(releases > 10 && compactions > 3);
    for (size_t moment = 0; moment < power_moments(told) && ok; moment++) {
        memset(states, 0, sizeof states);
        memset(recorded, 0, sizeof recorded);
        power_each_mark(told, moment, mark, NULL);
        for (uint64_t i = 0; i < variants && ok; i++) {
            struct power_choice choice = {
                .how = i < 2 ? (enum power_how)i : POWER_RANDOM, .state = moment * 977 + i, .tear = moment + i};

            power_build(told, moment, &choice);
            ok = check(i == 2);
        }
    }
    power_log_free(told);
    arena_done(&scratch);
    return ok;
}

static void test_power_cut_anywhere(void **state)
{
    (void)state;
    if (!survives(3))
        fail_msg("%s", broken);
}

static void test_left_out_syncs_are_noticed(void **state)
{
    static const enum power_sync syncs[] = {POWER_SYNC_RECORDS, POWER_SYNC_BEGUN, POWER_SYNC_GONE};

    (void)state;
    for (size_t i = 0; i < sizeof syncs / sizeof *syncs; i++) {
        power_muted = syncs[i];
        power_muted_hits = 0;
        if (survives(3))
            fail_msg("sync %d is left out, and nobody noticed", syncs[i]);
        assert_true(power_muted_hits > 0);
        print_message("%d: %s\n", syncs[i], broken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_cut_anywhere, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_left_out_syncs_are_noticed, harness_begin, harness_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
