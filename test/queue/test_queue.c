/* The queue against a model: random histories on a simulated spool, with crashes, releases and compaction anywhere.
 * What must hold after each step: the queue knows exactly the messages that were accepted and not finished, each with
 * the state of its newest progress, and every place it names can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/queue.h"

enum { LANES = 3, SEGMENTS = 4096, PER_SEGMENT = 12, MESSAGES = 4096 };

struct stored {
    uint8_t    type;
    struct buf payload;
};
struct segment {
    bool          exists;
    struct stored records[PER_SEGMENT];
    uint32_t      count;
};
struct known { /* what the model knows of a message */
    uint64_t id;
    bool     living;
    unsigned pending, waiting, unclaimed, recipients, expansions;
    uint64_t mark; /* put into `last_ms` of its newest progress */
};

static struct segment spool[LANES][SEGMENTS];
static uint64_t       newest[LANES];
static struct known   known[MESSAGES];
static size_t         known_count;
static uint64_t       random_state, clock_ms;
static struct queue   q;
static struct arena   scratch;
static char           state_wanted[16];

static uint64_t chance(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static void queue_start(void)
{
    queue_init(&q, 1, 1 << 20);
}

static struct queue_place append(unsigned lane, uint8_t type, struct str payload)
{
    struct segment *s = &spool[lane][newest[lane]];
    struct stored  *r;

    if (!s->exists || s->count == PER_SEGMENT || chance(40) == 0) { /* full, or its writer was started again */
        s = &spool[lane][++newest[lane]];
        assert_true(newest[lane] < SEGMENTS);
        s->exists = true;
    }
    r = &s->records[s->count++];
    r->type = type;
    buf_init(&r->payload, 1 << 16);
    assert_true(buf_append(&r->payload, payload));
    return (struct queue_place){newest[lane], s->count - 1, lane};
}

static void append_and_apply(unsigned lane, uint8_t type, struct str payload)
{
    struct queue_place place = append(lane, type, payload);

    assert_int_equal(queue_apply(&q, place, type, payload, &scratch, NULL), QUEUE_APPLIED);
    arena_reset(&scratch);
}

static void lanes_read(void)
{
    for (unsigned lane = 0; lane < LANES; lane++) {
        for (uint64_t seq = 1; seq <= newest[lane]; seq++)
            if (spool[lane][seq].exists)
                assert_true(queue_segment_present(&q, lane, seq));
        queue_lane_read(&q, lane, newest[lane], ++clock_ms);
    }
}

static void accept_message(void)
{
    static struct message_id_source sources[LANES] = {{.lane = 0}, {.lane = 1}, {.lane = 2}};
    unsigned                        lane = (unsigned)chance(LANES);
    struct recipient                to[8] = {{.address = {STR("a"), STR("x.test"), false}}};
    struct message                  m = {.id = message_id_next(&sources[lane], ++clock_ms)};
    struct buf                      out;
    char                            content[600] = {0};

    if (known_count == MESSAGES)
        return;
    for (size_t i = 1; i < 8; i++)
        to[i] = to[0];
    m.envelope.origin.class = CLASS_STRANGER;
    m.envelope.recipients = to;
    m.envelope.recipient_count = 1 + chance(8);
    m.size = chance(sizeof content);
    m.content = str_of(content, m.size);
    buf_init(&out, 1 << 16);
    assert_true(record_message_put(&m, &out) && buf_append(&out, m.content));
    append_and_apply(lane, RECORD_MESSAGE, buf_str(&out));
    known[known_count++] = (struct known){.id = m.id,
                                          .living = true,
                                          .pending = (unsigned)m.envelope.recipient_count,
                                          .recipients = (unsigned)m.envelope.recipient_count};
    buf_done(&out);
}

static struct known *any_living(void)
{
    for (int i = 0; known_count && i < 50; i++) {
        struct known *k = &known[chance(known_count)];

        if (k->living)
            return k;
    }
    return NULL;
}

static void expand(struct known *k)
{
    struct expanded  target = {{STR("b"), STR("x.test"), false}, {STR_NONE, STR_NONE, false}, 0};
    struct expansion e = {.id = k->id, .parent = 0, .first = k->recipients, .targets = &target, .target_count = 1};
    struct buf       out;

    buf_init(&out, 1 << 16);
    assert_true(expansion_put(&e, &out));
    append_and_apply(0, RECORD_EXPANSION, buf_str(&out));
    k->recipients++;
    k->expansions++;
    buf_done(&out);
}

static void make_progress(void)
{
    static const enum recipient_state states[] = {RECIPIENT_PENDING, RECIPIENT_WAITING, RECIPIENT_UNCLAIMED,
                                                  RECIPIENT_DELIVERED};
    struct recipient_progress         to[64];
    struct known                     *k = any_living();
    struct progress                   p = {.recipients = to};
    struct buf                        out;

    if (!k)
        return;
    if (chance(4) == 0 && k->recipients < 64)
        expand(k);
    p.id = k->id;
    p.last_ms = k->mark = ++clock_ms;
    p.recipient_count = k->recipients;
    p.next_ms = clock_ms + chance(100);
    k->pending = k->waiting = k->unclaimed = 0;
    for (size_t i = 0; i < k->recipients; i++) {
        to[i] = (struct recipient_progress){.state = states[chance(4)]};
        k->pending += to[i].state == RECIPIENT_PENDING;
        k->waiting += to[i].state == RECIPIENT_WAITING;
        k->unclaimed += to[i].state == RECIPIENT_UNCLAIMED;
    }
    buf_init(&out, 1 << 16);
    assert_true(progress_put(&p, &out));
    append_and_apply(0, RECORD_PROGRESS, buf_str(&out));
    buf_done(&out);
}

static void finish(struct known *k)
{
    struct buf out;

    if (!k)
        return;
    buf_init(&out, 1 << 16);
    assert_true(finished_put(k->id, &out));
    append_and_apply(0, RECORD_FINISHED, buf_str(&out));
    k->living = false;
    buf_done(&out);
}

static void set_state(void)
{
    struct buf out;

    snprintf(state_wanted, sizeof state_wanted, "%u", (unsigned)chance(1000000));
    buf_init(&out, 1 << 16);
    assert_true(state_put(STR("digest/x.test"), str_from(state_wanted), &out));
    append_and_apply(0, RECORD_STATE, buf_str(&out));
    buf_done(&out);
}

static void release(size_t most)
{
    struct queue_segment *s;

    lanes_read();
    while (most-- && (s = queue_releasable(&q))) {
        struct segment *disk = &spool[s->lane][s->seq];

        assert_true(disk->exists && s->seq < newest[s->lane]);
        for (uint32_t i = 0; i < disk->count; i++)
            buf_done(&disk->records[i].payload);
        *disk = (struct segment){0};
        queue_segment_gone(&q, s);
    }
}

struct pins {
    struct {
        enum record_type   type;
        uint64_t           id;
        struct queue_place place;
    } at[PER_SEGMENT * 2];
    size_t count;
};

static bool each_pin(enum record_type type, uint64_t id, struct queue_place place, void *arg)
{
    struct pins *pins = arg;

    assert_true(pins->count < PER_SEGMENT * 2);
    pins->at[pins->count].type = type;
    pins->at[pins->count].id = id;
    pins->at[pins->count++].place = place;
    return true;
}

static const struct stored *stored_at(struct queue_place place)
{
    const struct segment *s = &spool[place.lane][place.seq];

    assert_true(s->exists && place.offset < s->count);
    return &s->records[place.offset];
}

static bool compact(void)
{
    struct queue_segment *s;
    struct pins           pins = {.count = 0};
    struct buf            out;

    lanes_read();
    s = queue_compactable(&q, clock_ms, 0);
    if (!s)
        return false;
    queue_each_pin(&q, s, each_pin, &pins);
    assert_true(pins.count > 0);
    buf_init(&out, 1 << 16);
    for (size_t i = 0; i < pins.count; i++) {
        buf_clear(&out);
        if (pins.at[i].type == RECORD_FINISHED) {
            finished_put(pins.at[i].id, &out);
        } else {
            const struct stored *r = stored_at(pins.at[i].place);

            assert_int_equal(r->type, pins.at[i].type);
            buf_append(&out, buf_str(&r->payload));
        }
        append_and_apply(0, (uint8_t)pins.at[i].type, buf_str(&out));
        if (chance(30) == 0)
            break; /* half a compaction is as good as none */
    }
    buf_done(&out);
    return true;
}

/* A segment is replayed from its records, or from the briefs of an index, written and read again. */
static enum queue_applied replay(struct queue_place place, const struct stored *r, bool indexed)
{
    struct record_brief brief, again;
    struct buf          octets;
    struct reader       reader;
    enum queue_applied  applied;

    if (!indexed)
        return queue_apply(&q, place, r->type, buf_str(&r->payload), &scratch, NULL);
    if (!record_brief_of(r->type, buf_str(&r->payload), &scratch, &brief))
        return QUEUE_REFUSED; /* its segment was released */
    buf_init(&octets, 1 << 16);
    assert_true(record_brief_put(&brief, &octets));
    for (size_t len = 0; len < octets.len; len++) {
        reader = reader_of(str_part(buf_str(&octets), 0, len));
        assert_false(record_brief_get(&reader, &again));
    }
    reader = reader_of(buf_str(&octets));
    assert_true(record_brief_get(&reader, &again) && reader_ended(&reader));
    applied = queue_apply_brief(&q, place, &again, NULL);
    buf_done(&octets);
    return applied;
}

/* All that is in memory is lost; the spool is read again, its lanes in any order. */
static void crash(void)
{
    unsigned order[LANES] = {0, 1, 2};

    queue_done(&q);
    queue_start();
    for (unsigned i = LANES; i-- > 1;) {
        unsigned k = (unsigned)chance(i + 1), swap = order[i];

        order[i] = order[k];
        order[k] = swap;
    }
    for (unsigned i = 0; i < LANES; i++)
        for (uint64_t seq = 1; seq <= newest[order[i]]; seq++) {
            bool indexed = chance(2) == 0;

            for (uint32_t k = 0; k < spool[order[i]][seq].count; k++) {
                const struct stored *r = &spool[order[i]][seq].records[k];

                assert_int_not_equal(replay((struct queue_place){seq, k, order[i]}, r, indexed), QUEUE_NO_MEMORY);
                arena_reset(&scratch);
            }
        }
    queue_replayed(&q);
}

static void verify(void)
{
    uint64_t living = 0, unclaimed = 0;

    for (size_t i = 0; i < known_count; i++) {
        const struct known   *k = &known[i];
        struct queue_message *m = queue_find(&q, k->id);
        struct message        record;
        struct progress       p;

        assert_int_equal(m != NULL, k->living);
        if (!m)
            continue;
        living++;
        unclaimed += k->unclaimed > 0;
        assert_int_equal(m->pending, k->pending);
        assert_int_equal(m->waiting, k->waiting);
        assert_int_equal(m->unclaimed_count, k->unclaimed);
        assert_int_equal(m->recipient_count, k->recipients);
        assert_int_equal(m->extra ? m->extra->expansion_count : 0, k->expansions);
        assert_int_equal(stored_at(m->home)->type, RECORD_MESSAGE);
        assert_true(record_message_get(buf_str(&stored_at(m->home)->payload), &scratch, &record) && record.id == k->id);
        assert_int_equal(m->progress.seq != 0, k->mark != 0);
        if (k->mark) {
            assert_true(progress_get(buf_str(&stored_at(m->progress)->payload), &scratch, &p));
            assert_true(p.id == k->id && p.last_ms == k->mark);
        }
        for (uint32_t e = 0; e < k->expansions; e++)
            assert_int_equal(stored_at(m->extra->expansions[e].place)->type, RECORD_EXPANSION);
        arena_reset(&scratch);
    }
    assert_int_equal(q.messages, living);
    assert_int_equal(q.unclaimed_messages, unclaimed);
    assert_true(str_eq(queue_state_value(&q, STR("digest/x.test")), str_from(state_wanted)));
}

static unsigned segments_left(void)
{
    unsigned left = 0;

    for (unsigned lane = 0; lane < LANES; lane++)
        for (uint64_t seq = 1; seq <= newest[lane]; seq++)
            left += spool[lane][seq].exists;
    return left;
}

static void clean(void)
{
    queue_done(&q);
    for (unsigned lane = 0; lane < LANES; lane++)
        for (uint64_t seq = 1; seq <= newest[lane]; seq++)
            for (uint32_t i = 0; i < spool[lane][seq].count; i++)
                buf_done(&spool[lane][seq].records[i].payload);
    memset(spool, 0, sizeof spool);
    memset(newest, 0, sizeof newest);
    known_count = 0;
    state_wanted[0] = 0;
    arena_done(&scratch);
}

static void run(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15 + 1;
    clock_ms = 1795000000000;
    arena_init(&scratch, 4096, 1 << 20);
    queue_start();
    queue_replayed(&q);
    for (int step = 0; step < 4000; step++) {
        uint64_t what = chance(100);

        if (what < 30)
            accept_message();
        else if (what < 60)
            make_progress();
        else if (what < 90)
            finish(any_living());
        else if (what < 92)
            set_state();
        else if (what < 95)
            release(chance(4)); /* not always all: a crash may come between two */
        else if (what < 98)
            compact();
        else
            crash();
        if (step % 50 == 0)
            verify();
    }
    crash();
    verify();
    /* A few slow messages keep few segments. */
    for (size_t i = 0; i < known_count; i++)
        if (known[i].living && i % 16)
            finish(&known[i]);
    for (int i = 0; i < 1000; i++) {
        release(SIZE_MAX);
        if (!compact())
            break;
    }
    verify();
    crash();
    verify();
    for (size_t i = 0; i < known_count; i++)
        if (known[i].living)
            finish(&known[i]);
    for (int i = 0; i < 1000; i++) {
        release(SIZE_MAX);
        if (!compact())
            break;
        append(0, 0, STR_NONE); /* so that what was written last is not the newest segment for ever */
    }
    release(SIZE_MAX);
    crash();
    verify();
    assert_int_equal(q.messages, 0);
    /* What may be left: the newest segment of each lane, and what is pinned for more than a quarter by the tombstones
     * of the messages in those and by the state. */
    assert_true(newest[0] + newest[1] + newest[2] > 200);
    assert_in_range(segments_left(), 1, LANES + 4 * (LANES * PER_SEGMENT + 1) / PER_SEGMENT + 1);
    clean();
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run(seed);
}

static struct str message_payload(struct buf *out, uint64_t id, enum client_class class)
{
    struct recipient to = {.address = {STR("a"), STR("x.test"), false}};
    struct message   m = {.id = id};

    m.envelope.origin.class = class;
    m.envelope.recipients = &to;
    m.envelope.recipient_count = 1;
    buf_clear(out);
    assert_true(record_message_put(&m, out));
    return buf_str(out);
}

/* A front in wrong hands writes what it likes into its own lane, and changes nothing but its own messages. */
static void test_hostile_front(void **state)
{
    struct message_id_source one = {.lane = 1}, two = {.lane = 2};
    struct queue_message    *fresh;
    uint64_t                 id = message_id_next(&one, 5), forged = message_id_next(&two, 5);
    struct buf               out;
    struct str               payload;

    (void)state;
    arena_init(&scratch, 4096, 1 << 20);
    buf_init(&out, 1 << 16);
    queue_start();
    queue_replayed(&q);
    payload = message_payload(&out, id, CLASS_STRANGER);
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 0, 1}, RECORD_MESSAGE, payload, &scratch, &fresh),
                     QUEUE_APPLIED);
    assert_true(fresh && fresh->id == id);
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 9, 1}, RECORD_MESSAGE, payload, &scratch, &fresh),
                     QUEUE_REFUSED);
    assert_null(fresh);
    payload = message_payload(&out, id, CLASS_STRANGER); /* the id of another's message */
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 0, 2}, RECORD_MESSAGE, payload, &scratch, NULL),
                     QUEUE_REFUSED);
    payload = message_payload(&out, forged, CLASS_OURSELVES); /* as if we had made it */
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 0, 2}, RECORD_MESSAGE, payload, &scratch, NULL),
                     QUEUE_REFUSED);
    buf_clear(&out);
    finished_put(id, &out);
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 5, 2}, RECORD_FINISHED, buf_str(&out), &scratch, NULL),
                     QUEUE_REFUSED);
    assert_non_null(queue_find(&q, id));
    assert_int_equal(queue_apply(&q, (struct queue_place){1, 5, QUEUE_LANES}, RECORD_MESSAGE, payload, &scratch, NULL),
                     QUEUE_REFUSED);
    assert_int_equal(q.messages, 1);
    queue_done(&q);
    buf_done(&out);
    arena_done(&scratch);
}

static void test_due(void **state)
{
    struct message_id_source  lane = {.lane = 0};
    struct recipient_progress to = {.state = RECIPIENT_PENDING};
    struct progress           p = {.recipients = &to, .recipient_count = 1};
    struct queue_message     *m;
    struct buf                out;

    (void)state;
    arena_init(&scratch, 4096, 1 << 20);
    buf_init(&out, 1 << 16);
    queue_init(&q, 1, 7000);
    queue_replayed(&q);
    assert_true(queue_next_due_ms(&q) == UINT64_MAX);
    p.id = message_id_next(&lane, 100000);
    queue_apply(&q, (struct queue_place){1, 0, 0}, RECORD_MESSAGE, message_payload(&out, p.id, CLASS_RELAY), &scratch,
                NULL);
    m = queue_due(&q, 100000);
    assert_true(m && m->id == p.id);
    assert_true(queue_set_busy(&q, m, true));
    assert_null(queue_due(&q, UINT64_MAX - 1)); /* one attempt at a time */
    p.next_ms = 100900;
    buf_clear(&out);
    progress_put(&p, &out);
    queue_apply(&q, (struct queue_place){1, 1, 0}, RECORD_PROGRESS, buf_str(&out), &scratch, NULL);
    assert_null(queue_due(&q, UINT64_MAX - 1));
    assert_true(queue_set_busy(&q, m, false));
    assert_true(queue_next_due_ms(&q) == 100900);
    assert_null(queue_due(&q, 100899));
    to.state = RECIPIENT_WAITING;
    buf_clear(&out);
    progress_put(&p, &out);
    queue_apply(&q, (struct queue_place){1, 2, 0}, RECORD_PROGRESS, buf_str(&out), &scratch, NULL);
    assert_true(queue_next_due_ms(&q) == UINT64_MAX); /* until somebody releases it */
    to.state = RECIPIENT_UNCLAIMED;
    buf_clear(&out);
    progress_put(&p, &out);
    queue_apply(&q, (struct queue_place){1, 4, 0}, RECORD_PROGRESS, buf_str(&out), &scratch, NULL);
    assert_true(queue_next_due_ms(&q) == 107000);
    assert_true(queue_delay(&q, m, 107400) && queue_next_due_ms(&q) == 107400);
    assert_true(queue_delay(&q, m, 0) && queue_next_due_ms(&q) == 107000);
    assert_true(queue_oldest_unclaimed(&q) == m && q.unclaimed_messages == 1);
    p.flags = PROGRESS_HELD;
    buf_clear(&out);
    progress_put(&p, &out);
    queue_apply(&q, (struct queue_place){1, 5, 0}, RECORD_PROGRESS, buf_str(&out), &scratch, NULL);
    assert_true(queue_next_due_ms(&q) == UINT64_MAX);
    queue_done(&q);
    buf_done(&out);
    arena_done(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_hostile_front),
        cmocka_unit_test(test_due),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
