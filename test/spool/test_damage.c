/* What a reader, a recovering writer and the verifier make of files that were cut, flipped or swapped at any octet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "spool/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct seen       seen;
static struct buf        original;
static char              name[LANE_NAME_SIZE];
static struct lane_place places[16], ends[16];

/* One segment with `count` records, each in a batch of its own (or all in one, or as one group). */
enum layout { BATCHES, ONE_BATCH, GROUP };
static void make_segment(unsigned count, enum layout layout)
{
    struct lane_writer *w = open_writer(16384);

    for (unsigned i = 0; i < count; i++) {
        assert_true(append_number(w, i, layout == GROUP && i + 1 < count, &places[i]));
        ends[i] = places[i];
        ends[i].offset += LANE_RECORD_HEAD + (uint32_t)payload_length(i);
        if (layout == BATCHES)
            assert_true(lane_commit(w, NULL));
    }
    assert_true(lane_commit(w, NULL));
    lane_name_write(name, LANE_NAME_SEGMENT, lane_writer_committed(w).seq);
    lane_writer_close(w);
    buf_init(&original, 1 << 20);
    read_file(name, &original);
    assert_int_equal(original.len, 16384);
}

static void assert_all_but(unsigned count, unsigned lost)
{
    unsigned at = 0;

    for (unsigned i = 0; i < count; i++)
        if (i != lost) {
            assert_true(at < seen.count);
            assert_int_equal(seen.numbers[at++], i);
        }
    assert_int_equal(at, seen.count);
}

/* The writer recovers what the reader reads, goes on in a segment of its own, and both stay what they are. */
static void assert_recovery_agrees(unsigned next)
{
    static struct seen  before;
    struct lane_writer *w;
    struct lane_place   end;
    struct buf          file;
    char                recovered[LANE_NAME_SIZE];

    read_all(&before);
    w = open_writer(16384);
    end = lane_writer_committed(w);
    if (before.count > 0)
        assert_true(lane_place_cmp(before.places[before.count - 1], end) < 0);
    lane_name_write(recovered, LANE_NAME_SEGMENT, end.seq);
    buf_init(&file, 1 << 20);
    read_file(recovered, &file);
    assert_int_equal(file.len, end.offset); /* the tail is cut, and its room is free */
    buf_done(&file);
    read_all(&seen);
    assert_int_equal(seen.count, before.count);
    assert_true(append_number(w, next, false, NULL));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    read_all(&seen);
    assert_int_equal(seen.count, before.count + 1);
    assert_memory_equal(seen.numbers, before.numbers, before.count * sizeof *seen.numbers);
    assert_int_equal(seen.numbers[before.count], next);
}

/* Cuts and zeros at every octet of the last record: the record is gone, nothing else is, and no damage is reported. */
static void torn_tail(enum layout layout, bool cut)
{
    make_segment(3, layout);
    for (uint32_t at = places[2].offset; at < ends[2].offset; at++) {
        struct buf torn;
        bool       same = true;

        harness_clear();
        buf_init(&torn, 1 << 20);
        assert_true(buf_append(&torn, buf_str(&original)));
        for (uint32_t i = at; i < ends[2].offset; i++)
            same = same && torn.data[i] == 0;
        if (cut)
            buf_cut(&torn, at);
        else
            memset(torn.data + at, 0, torn.len - at);
        write_file(name, buf_str(&torn));
        buf_done(&torn);
        read_all(&seen);
        assert_int_equal(seen.damages, 0);
        if (same && !cut)
            continue; /* the octets were zeros already */
        assert_int_equal(seen.count, layout == GROUP ? 0 : 2);
        if (at % 8 == 0) {
            assert_recovery_agrees(77);
            assert_int_equal(seen.damages, 0);
        }
    }
    buf_done(&original);
}

static void test_torn_tail_cut(void **state) { (void)state, torn_tail(BATCHES, true); }
static void test_torn_tail_zeros(void **state) { (void)state, torn_tail(ONE_BATCH, false); }
static void test_torn_group(void **state) { (void)state, torn_tail(GROUP, true); }

/* Which record an octet belongs to; 3: none (a gap of alignment, or unused room). */
static unsigned owner_of(uint32_t at)
{
    for (unsigned i = 0; i < 3; i++)
        if (at >= places[i].offset && at < ends[i].offset)
            return i;
    return 3;
}

static void bit_flips(enum layout layout)
{
    make_segment(3, layout);
    for (uint32_t at = 0; at < ends[2].offset + 64; at++) {
        unsigned owner = owner_of(at), bit = at % 8;
        bool     in_head = at < LANE_HEAD_SIZE || (at >= LANE_HEAD_COPY && at < LANE_HEAD_COPY + LANE_HEAD_SIZE);

        harness_clear();
        original.data[at] = (char)(original.data[at] ^ 1 << bit);
        write_file(name, buf_str(&original));
        original.data[at] = (char)(original.data[at] ^ 1 << bit);
        read_all(&seen);
        if (layout == GROUP && owner < 3)
            assert_int_equal(seen.count, 0);
        else
            assert_all_but(3, owner);
        if (owner < 2 || in_head)
            assert_int_equal(seen.damages, 1);
        else if (owner == 2 && layout == GROUP)
            assert_true(seen.damages <= 1); /* the valid records of the group before it may tell */
        else
            assert_int_equal(seen.damages, 0);
        if (at % 37 == 0)
            assert_recovery_agrees(77);

        /* Where it is known how far the records go, the last one cannot vanish in silence. */
        if (owner == 2) {
            struct lane_reader *r;
            struct lane_place   until = places[2];

            harness_clear();
            original.data[at] = (char)(original.data[at] ^ 1 << bit);
            write_file(name, buf_str(&original));
            original.data[at] = (char)(original.data[at] ^ 1 << bit);
            until.offset += (uint32_t)lane_record_total(payload_length(2));
            memset(&seen, 0, sizeof seen);
            r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
            read_on(r, &until, &seen, false);
            assert_int_equal(seen.damages, 1);
            read_on(r, &until, &seen, false);
            assert_int_equal(seen.damages, 1);
            lane_reader_close(r);
        }
    }
    buf_done(&original);
}

static void test_flips_batches(void **state) { (void)state, bit_flips(BATCHES); }
static void test_flips_one_batch(void **state) { (void)state, bit_flips(ONE_BATCH); }
static void test_flips_group(void **state) { (void)state, bit_flips(GROUP); }

/* The last record of a segment that has a successor. */
static void test_flip_before_next_segment(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_place   place[60];
    struct buf          file;
    unsigned            last = 0;

    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        assert_true(append_number(w, i, false, &place[i]));
        if (place[i].seq == place[0].seq)
            last = i;
    }
    assert_true(last < 59);
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    buf_init(&file, 1 << 20);
    lane_name_write(name, LANE_NAME_SEGMENT, place[0].seq);
    read_file(name, &file);
    file.data[place[last].offset + 20] ^= 4;
    write_file(name, buf_str(&file));
    buf_done(&file);
    read_all(&seen);
    assert_all_but(60, last);
    assert_int_equal(seen.damages, 1);
}

/* Both heads gone: the segment is one damage, and the reader goes on with the next. */
static void test_head_lost(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_place   place[60];
    struct buf          file;
    unsigned            lost = 0;

    (void)state;
    for (unsigned i = 0; i < 60; i++)
        assert_true(append_number(w, i, false, &place[i]));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    while (place[lost].seq == place[0].seq)
        lost++;
    buf_init(&file, 1 << 20);
    lane_name_write(name, LANE_NAME_SEGMENT, place[0].seq);
    read_file(name, &file);
    file.data[30] ^= 1;
    file.data[LANE_HEAD_COPY] ^= 1;
    write_file(name, buf_str(&file));
    read_all(&seen);
    assert_int_equal(seen.damages, 1);
    assert_int_equal(seen.count, 60 - lost);
    assert_int_equal(seen.numbers[0], lost);

    /* The same for the newest one: recovery leaves it as it is, for whoever wants to look. */
    harness_clear();
    write_file(name, buf_str(&file));
    w = open_writer(16384);
    assert_true(append_number(w, 5, false, NULL));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    read_all(&seen);
    assert_int_equal(seen.damages, 1);
    assert_int_equal(seen.count, 1);
    buf_clear(&file);
    read_file(name, &file);
    assert_int_equal(file.len, 16384);

    /* Another segment's octets under this name are not this segment. */
    harness_clear();
    make_segment(3, BATCHES);
    harness_clear();
    lane_name_write(name, LANE_NAME_SEGMENT, 99);
    write_file(name, buf_str(&original));
    read_all(&seen);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.damages, 1);
    /* Neither is an empty file. */
    write_file(name, STR(""));
    read_all(&seen);
    assert_int_equal(seen.count, 0);
    buf_done(&original);
    buf_done(&file);
}

/* The same records at the same place of another lane have another salt: its octets are worth nothing here. */
static void test_salts_differ(void **state)
{
    struct buf first;
    uint32_t   len;

    (void)state;
    make_segment(3, BATCHES);
    first = original;
    len = ends[2].offset - LANE_PAGE;
    harness_clear();
    make_segment(3, BATCHES);
    assert_memory_not_equal(first.data + 24, original.data + 24, 8);
    memcpy(original.data + LANE_PAGE, first.data + LANE_PAGE, len);
    write_file(name, buf_str(&original));
    read_all(&seen);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.damages, 0);
    buf_done(&first);
    buf_done(&original);
}

/* Records moved by some octets, or copied behind themselves, are not records. */
static void test_misplaced(void **state)
{
    struct buf file;

    (void)state;
    make_segment(3, BATCHES);
    buf_init(&file, 1 << 20);
    for (uint32_t shift = 8; shift < 4096; shift *= 2) {
        uint32_t len = ends[2].offset - places[0].offset;

        harness_clear();
        buf_clear(&file);
        assert_true(buf_append(&file, buf_str(&original)));
        memmove(file.data + places[0].offset + shift, file.data + places[0].offset, len);
        write_file(name, buf_str(&file));
        read_all(&seen);
        for (size_t i = 0; i < seen.count; i++) /* what was not moved */
            assert_int_equal(lane_place_cmp(seen.places[i], places[seen.numbers[i]]), 0);
        assert_true(shift >= len || seen.count < 3);
        memcpy(file.data, original.data, original.len);
        memcpy(file.data + 12288, original.data + places[0].offset, len); /* a copy further on */
        write_file(name, buf_str(&file));
        read_all(&seen);
        assert_int_equal(seen.count, 3);
        assert_int_equal(seen.damages, 0);
    }
    buf_done(&file);
    buf_done(&original);
}

/* A message whose content is a copy of the segment itself, with damage in front of it. */
static void test_record_in_record(void **state)
{
    struct lane_writer *w;
    struct lane_place   place, behind;
    struct lane_reader *r;
    struct lane_record  record;
    struct buf          file;
    struct str          part;

    (void)state;
    make_segment(3, BATCHES);
    harness_clear();
    w = open_writer(65536);
    part = str_skip(buf_str(&original), LANE_PAGE);
    assert_true(lane_append(w, 9, 0, &part, 1, &place, NULL));
    assert_true(append_number(w, 4, false, &behind));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    buf_init(&file, 1 << 20);
    lane_name_write(name, LANE_NAME_SEGMENT, place.seq);
    read_file(name, &file);
    file.data[place.offset] ^= 1; /* its length */
    write_file(name, buf_str(&file));
    r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_DAMAGED);
    assert_int_equal(lane_read_next(r, NULL, &record, NULL), LANE_READ_RECORD);
    assert_int_equal(number_of(record.payload), 4);
    assert_int_equal(lane_place_cmp(record.place, behind), 0);
    lane_reader_close(r);
    buf_done(&file);
    buf_done(&original);
}

/* ---- the verifier ---- */

struct noted {
    unsigned          segments, damages, records, torn, bodies[3];
    struct lane_place from;
    uint32_t          to;
};

static void note_segment(const struct verify_segment *s, void *arg)
{
    struct noted *n = arg;

    n->segments++;
    n->torn += s->torn;
    assert_true(s->head_ok);
}
static void note_damage(const struct verify_damage *d, void *arg)
{
    struct noted *n = arg;

    n->damages++;
    n->from = d->from;
    n->to = d->to;
    assert_true(strlen(d->what) > 20 && strlen(d->remedy) > 10);
}
static void note_record(const struct lane_record *r, void *arg)
{
    (void)r;
    ((struct noted *)arg)->records++;
}
static void note_body(enum verify_body what, struct str body, void *arg)
{
    assert_true(body.len > 0);
    ((struct noted *)arg)->bodies[what]++;
}
/* Records of type 200 hold name, size and checksum of a body as the struct itself, with the name behind it. */
static bool body_of(const struct lane_record *r, struct verify_body_ref *ret_ref, void *arg)
{
    (void)arg;
    if (r->type != 200)
        return false;
    memcpy(ret_ref, r->payload.data, sizeof *ret_ref);
    ret_ref->name = str_skip(r->payload, sizeof *ret_ref);
    return true;
}

static void put_body(struct lane_writer *w, const char *body, bool refer, bool wrong_sum)
{
    struct verify_body_ref ref = {.size = 0};
    struct lane_body      *b = lane_body_create(w, str_from(body), NULL);
    struct str             parts[] = {{(const char *)&ref, sizeof ref}, str_from(body)};

    assert_true(lane_body_write(b, str_from(body), NULL));
    assert_true(lane_body_finish(b, &ref.size, &ref.xxh3, NULL));
    ref.xxh3 ^= wrong_sum;
    if (refer)
        assert_true(lane_append(w, 200, 0, parts, 2, NULL, NULL));
}

static void test_verify(void **state)
{
    struct noted        n = {0};
    struct verify_calls calls = {note_segment, note_damage, note_record, body_of, note_body, &n};
    struct verify_sum   sum;
    struct lane_writer *w = open_writer(16384);
    struct lane_place   place[60];
    struct buf          file;
    struct err          err;

    (void)state;
    assert_true(lane_verify(lane_dir_path, true, &calls, &sum, NULL));
    assert_int_equal(n.segments, 0);
    for (unsigned i = 0; i < 60; i++)
        assert_true(append_number(w, i, false, &place[i]));
    put_body(w, "whole", true, false);
    put_body(w, "differs", true, true);
    put_body(w, "orphan", false, false);
    put_body(w, "missing", true, false);
    assert_true(lane_body_remove(lane_dir_path, STR("missing"), NULL));
    assert_true(lane_commit(w, NULL));
    /* beside the writer */
    assert_true(lane_verify(lane_dir_path, true, &calls, &sum, NULL));
    assert_int_equal(n.records, 63);
    assert_int_equal(sum.records, 63);
    assert_int_equal(n.damages, 0);
    assert_int_equal(n.torn, 0);
    assert_int_equal(n.segments, sum.segments);
    assert_int_equal(n.segments, lane_writer_committed(w).seq - place[0].seq + 1);
    assert_int_equal(n.bodies[VERIFY_BODY_MISSING], 1);
    assert_int_equal(n.bodies[VERIFY_BODY_DIFFERS], 1);
    assert_int_equal(n.bodies[VERIFY_BODY_ORPHANED], 1);
    assert_true(lane_verify(lane_dir_path, false, &calls, &sum, NULL));
    assert_int_equal(sum.bodies, 3);
    assert_int_equal(sum.bodies_differing, 0); /* the size is right */

    /* Damage in the middle, a torn record at the end. */
    lane_writer_close(w);
    buf_init(&file, 1 << 20);
    lane_name_write(name, LANE_NAME_SEGMENT, place[1].seq);
    read_file(name, &file);
    file.data[place[1].offset + 30] ^= 1;
    write_file(name, buf_str(&file));
    w = open_writer(16384);
    assert_true(append_number(w, 60, false, NULL));
    assert_true(append_number(w, 61, false, &place[0]));
    assert_true(lane_commit(w, NULL));
    lane_writer_close(w);
    lane_name_write(name, LANE_NAME_SEGMENT, place[0].seq);
    buf_clear(&file);
    read_file(name, &file);
    buf_cut(&file, place[0].offset + 24);
    write_file(name, buf_str(&file));
    n = (struct noted){0};
    assert_true(lane_verify(lane_dir_path, true, &calls, &sum, NULL));
    assert_int_equal(n.damages, 1);
    assert_int_equal(n.from.offset, place[1].offset);
    assert_int_equal(n.to, place[2].offset);
    assert_int_equal(n.torn, 1);
    assert_int_equal(n.records, 63);
    buf_clear(&original);
    read_file(name, &original);
    assert_int_equal(original.len, file.len); /* read-only */
    buf_done(&file);
    buf_done(&original);

    assert_false(lane_verify("/nonexistent", true, &calls, &sum, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
}

/* Every octet of a large body, and its length. */
static void test_body_flips(void **state)
{
    struct lane_writer *w = open_writer(16384);
    struct lane_body   *b = lane_body_create(w, STR("large"), NULL);
    char                content[1500], path[512];
    uint64_t            size, sum;
    struct buf          file;
    struct err          err;
    int                 fd;

    (void)state;
    payload_of(7, content, sizeof content);
    memset(content + payload_length(7), 'x', sizeof content - payload_length(7));
    assert_true(lane_body_write(b, str_of(content, sizeof content), NULL));
    assert_true(lane_body_finish(b, &size, &sum, NULL));
    lane_writer_close(w);
    snprintf(path, sizeof path, "%s/body/large", lane_dir_path);
    buf_init(&file, 1 << 20);
    read_file("body/large", &file);
    assert_true(buf_append_byte(&file, 'x'));
    for (size_t at = 0; at < size + 2; at++) {
        size_t len = at < size ? size : at == size ? size - 1 : size + 1;

        file.data[at % size] = (char)(file.data[at % size] ^ (at < size) << at % 8);
        write_file("body/large", str_of(file.data, len));
        file.data[at % size] = (char)(file.data[at % size] ^ (at < size) << at % 8);
        fd = open(path, O_RDONLY);
        assert_false(lane_body_check(path, fd, size, sum, &err));
        assert_int_equal(err.class, ERR_PERMANENT);
        assert_non_null(strstr(err.text, path));
        close(fd);
    }
    write_file("body/large", str_of(file.data, size));
    fd = open(path, O_RDONLY);
    assert_true(lane_body_check(path, fd, size, sum, &err));
    close(fd);
    buf_done(&file);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, harness_begin, harness_end)

/* ---- a writer in wrong hands ---- */

enum { HOSTILE_SALT = 99, HOSTILE_SIZE = 1 << 20, HOSTILE_WORK = 1024 /* times the segment: octets read */ };

static uint64_t octets_read;

static ssize_t counting_pread(int fd, void *data, size_t len, off_t at)
{
    ssize_t n = spool_sys_real.pread(fd, data, len, at);

    octets_read += n > 0 ? (uint64_t)n : 0;
    assert_true(octets_read < (uint64_t)HOSTILE_WORK * HOSTILE_SIZE);
    return n;
}

/* One record or, with `false_length`, a head that promises so many octets and does not keep its word. */
static uint32_t put_hostile(uint32_t at, uint32_t false_length, uint8_t flags)
{
    const struct lane_record_head head = {.length = false_length ? false_length : 8, .type = 1, .flags = flags};
    const struct str              part = STR("12345678");

    lane_record_encode(original.data + at, HOSTILE_SALT, (struct lane_place){1, at}, &head, &part, !false_length);
    if (!false_length)
        memcpy(original.data + at + LANE_RECORD_HEAD, part.data, part.len);
    return at + LANE_RECORD_HEAD + (false_length ? 0 : (uint32_t)part.len);
}

/* Reads all of it, also where it is known how far it is durable. */
static void read_hostile(unsigned want_records)
{
    const struct lane_place until = {1, HOSTILE_SIZE};

    for (int firm = 0; firm < 2; firm++) {
        struct spool_sys    counting = spool_sys_real;
        struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);
        struct lane_record  record;
        enum lane_read      read;
        unsigned            records = 0;

        counting.pread = counting_pread;
        spool_sys = &counting;
        octets_read = 0;
        while ((read = lane_read_next(r, firm ? &until : NULL, &record, NULL)) != LANE_READ_END) {
            assert_true(read == LANE_READ_RECORD || read == LANE_READ_DAMAGED);
            records += read == LANE_READ_RECORD;
        }
        spool_sys = &spool_sys_real;
        lane_reader_close(r);
        assert_int_equal(records, want_records);
    }
}

static void begin_hostile(void)
{
    const struct lane_head head = {.seq = 1, .salt = HOSTILE_SALT, .size = HOSTILE_SIZE};

    buf_init(&original, HOSTILE_SIZE);
    assert_true(buf_reserve(&original, HOSTILE_SIZE));
    memset(original.data, 0, HOSTILE_SIZE);
    original.len = HOSTILE_SIZE;
    lane_head_encode(original.data, &head);
    lane_name_write(name, LANE_NAME_SEGMENT, 1);
}

static void end_hostile(unsigned want_records)
{
    harness_clear();
    write_file(name, buf_str(&original));
    buf_done(&original);
    read_hostile(want_records);
}

/* Between whole records, heads that promise all the rest of the segment. */
static void test_false_lengths_cost_little(void **state)
{
    unsigned count = 0;

    (void)state;
    begin_hostile();
    for (uint32_t at = LANE_PAGE; at + 64 < HOSTILE_SIZE; count++)
        at = put_hostile(put_hostile(at, HOSTILE_SIZE - at - LANE_RECORD_HEAD, 0), 0, 0);
    end_hostile(count);
}

/* Groups within groups, none of which ends. */
static void test_groups_without_end_cost_little(void **state)
{
    (void)state;
    begin_hostile();
    put_hostile(LANE_PAGE, 64, 0);
    for (uint32_t at = LANE_PAGE + LANE_RECORD_HEAD; at + 64 < HOSTILE_SIZE;)
        at = put_hostile(at, 0, LANE_MORE);
    end_hostile(0);
}

/* A body that is longer than its record says may be without end: it costs what it should have been. */
static void test_long_body_costs_little(void **state)
{
    struct spool_sys counting = spool_sys_real;
    struct err       err;
    char             path[512];
    int              fd;

    (void)state;
    snprintf(path, sizeof path, "%s/hole", lane_dir_path);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)1 << 40) == 0);
    counting.pread = counting_pread;
    spool_sys = &counting;
    octets_read = 0;
    assert_false(lane_body_check(path, fd, 100, 1, &err));
    assert_int_equal(err.class, ERR_PERMANENT);
    spool_sys = &spool_sys_real;
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_torn_tail_cut),
        TEST(test_torn_tail_zeros),
        TEST(test_torn_group),
        TEST(test_flips_batches),
        TEST(test_flips_one_batch),
        TEST(test_flips_group),
        TEST(test_flip_before_next_segment),
        TEST(test_head_lost),
        TEST(test_salts_differ),
        TEST(test_misplaced),
        TEST(test_record_in_record),
        TEST(test_verify),
        TEST(test_body_flips),
        TEST(test_false_lengths_cost_little),
        TEST(test_groups_without_end_cost_little),
        TEST(test_long_body_costs_little),
    };

    buf_init(&original, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
