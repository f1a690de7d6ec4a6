/* power_story.c: see power_story.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "power_story.h"

#include "spool/lane_reader.h"
#include "spool/lane_writer.h"

#include <stdio.h>
#include <unistd.h>

/* ---- what a story appends ---- */

uint64_t            segment_size;
struct lane_writer *writer;
unsigned            next_number, first_open, groups, group_of[NUMBERS_MAX], group_size[NUMBERS_MAX];
uint32_t            body_size[NUMBERS_MAX];
enum power_sync     mute_late;

bool writer_open(void)
{
    writer = lane_writer_open(lane_dir_path, &(struct lane_options){.segment_size = segment_size, .reserve = 1}, NULL);
    return writer;
}

static void append_group(unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        group_of[next_number] = groups;
        body_size[next_number] = 0;
        lane_mark(writer, next_number);
        assert_true(append_number(writer, next_number++, i + 1 < size, NULL));
    }
    group_size[groups++] = size;
}

void body_octets(unsigned number, char *out, size_t len)
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
    b = lane_body_create(writer, str_from(name), NULL);
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

    if (lane_commit(writer, NULL)) {
        power_mark(MARK_STORED, first_open, stored_to);
        first_open = stored_to;
    } else if (!writer->uncut) {
        power_mark(MARK_REFUSED, first_open, stored_to);
        first_open = stored_to;
    }
}

static void spare(void)
{
    if (lane_wants_spare(writer))
        lane_prepare_spare(writer, NULL);
}

bool lane_read(struct seen *seen, unsigned *ret_confirmed)
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

void mark_found(void)
{
    static struct seen found;
    unsigned           confirmed;

    assert_true(lane_read(&found, &confirmed));
    for (size_t i = 0; i < found.count; i++)
        power_mark(MARK_STORED, found.numbers[i], found.numbers[i] + 1);
}

/* ---- the stories ---- */

void tell_short(void)
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
    release_before(lane_writer_committed(writer).seq);
    for (unsigned i = 0; i < 3; i++) {
        spare();
        append_group(3);
        commit();
    }
    lane_writer_close(writer);
}

void tell_long(void)
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
        release_before(lane_writer_committed(writer).seq);
        for (unsigned i = 0; i < 30; i++) {
            append_group(1);
            if (i % 5 == 4)
                commit();
        }
        lane_writer_close(writer);
    }
}

void tell_refused(void)
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
    lane_writer_close(writer);
}

void tell_killed(void)
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
            release_before(lane_writer_committed(writer).seq);
        append_group(2);
        commit();
        lane_writer_close(writer);
    }
    power_revive();
    first_open = next_number;
    if (mute_late != POWER_SYNC_NONE)
        power_muted = mute_late;
    assert_true(writer_open());
    mark_found();
    append_group(2);
    commit();
    lane_writer_close(writer);
}
