/* power_queue_story.c: see power_queue_story.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "power_queue_story.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SEGMENT = 8192, CONTENT = 900, PINS = 64 };

char            dirs[LANES][300];
struct queue    q;
uint64_t        ids[MESSAGES];
unsigned        count, attempts[MESSAGES], releases, compactions;
enum power_sync mute_late;

static struct lane_writer      *writers[LANES];
static struct lane_reader      *readers[LANES];
static struct arena             scratch;
static struct message_id_source source;
static uint64_t                 clock_ms;
static jmp_buf                  killed;

/* ---- the lanes ---- */

/* What fails is the end of a process that is to be killed there, and else a mistake. */
static void works(bool ok)
{
    if (ok)
        return;
    assert_true(power_die_at > 0);
    longjmp(killed, 1);
}

bool writers_open(void)
{
    for (unsigned i = 0; i < LANES; i++)
        if (!(writers[i] =
                  lane_writer_open(dirs[i], &(struct lane_options){.segment_size = SEGMENT, .reserve = 1}, NULL)))
            return false;
    return true;
}

void writers_close(void)
{
    for (unsigned i = 0; i < LANES; i++) {
        lane_writer_close(writers[i]);
        writers[i] = NULL;
    }
}

static void append(unsigned lane, enum record_type type, struct str payload)
{
    works(lane_append(writers[lane], (uint8_t)type, 0, &payload, 1, NULL, NULL));
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

static void queue_begin(void) { queue_init(&q, 1, 1 << 30); }

void queue_end(void)
{
    queue_done(&q);
    for (unsigned i = 0; i < LANES; i++) {
        lane_reader_close(readers[i]);
        readers[i] = NULL;
    }
}

bool replay(void)
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
    works(lane_commit(writers[0], NULL));
    works(follow(0, false));
}

static void segments_tick(void)
{
    struct queue_segment *s;

    for (unsigned i = 0; i < LANES; i++) {
        works(lane_each_segment(dirs[i], present, &i, NULL));
        queue_lane_read(&q, i, lane_writer_committed(writers[i]).seq, clock_ms);
    }
    while ((s = queue_releasable(&q))) {
        works(lane_release(dirs[s->lane], s->seq, NULL));
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
            works(finished_put(p.ids[i], &buffer));
            append(0, RECORD_FINISHED, buf_str(&buffer));
            continue;
        }
        works(lane_read_at(dirs[p.places[i].lane], (struct lane_place){p.places[i].seq, p.places[i].offset}, &buffer,
                           &r, NULL));
        append(0, p.types[i], r.payload);
    }
    buf_done(&buffer);
    back_commit();
    compactions++;
}

static bool stays(unsigned number) { return number % 10 == 3 || number >= 90; }

static void tell_all(void)
{
    queue_begin();
    works(writers_open());
    queue_replayed(&q);
    for (unsigned round = 0; round < 20; round++) {
        unsigned first = count;

        for (unsigned i = 0; i < 5; i++)
            accept_message();
        works(lane_commit(writers[1], NULL));
        for (unsigned i = first; i < count; i++)
            power_mark(MARK_ACCEPTED, i, 0);
        works(follow(1, false));
        if (round % 3 == 2 && lane_wants_spare(writers[1]))
            works(lane_prepare_spare(writers[1], NULL));
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

bool tell(void)
{
    if (setjmp(killed) == 0) {
        tell_all();
        return true;
    }
    queue_end();
    writers_close();
    return false;
}

struct power_log *story_begin(void)
{
    harness_clear();
    power_root = lane_dir_path;
    for (unsigned i = 0; i < LANES; i++)
        snprintf(dirs[i], sizeof dirs[i], "%s/lane-%02u", lane_dir_path, i);
    source = (struct message_id_source){.lane = 1};
    clock_ms = 1000;
    count = releases = compactions = 0;
    arena_init(&scratch, 4096, 1 << 20);
    return power_record();
}

void story_end(struct power_log *log)
{
    power_log_free(log);
    arena_done(&scratch);
}

void recover_and_go_on(const enum state states[MESSAGES])
{
    unsigned found = count, number = 0;

    power_muted = mute_late;
    assert_true(writers_open() && replay());
    for (unsigned i = 0; i < found; i++) {
        const struct queue_message *m = queue_find(&q, ids[i]);

        if (m) {
            number = i;
            power_mark(MARK_ACCEPTED, i, 0);
            power_mark(MARK_PROGRESS, i, attempts[i] = m->attempts);
        } else if (states[i] != UNKNOWN) {
            power_mark(MARK_FINISHED, i, 0);
        }
    }
    accept_message();
    works(lane_commit(writers[1], NULL));
    power_mark(MARK_ACCEPTED, found, 0);
    works(follow(1, false));
    if (queue_find(&q, ids[number])) {
        progress(number);
        back_commit();
        power_mark(MARK_PROGRESS, number, attempts[number]);
    }
    segments_tick();
    compact();
    segments_tick();
    queue_end();
    writers_close();
    power_stop();
    power_muted = POWER_SYNC_NONE;
}
