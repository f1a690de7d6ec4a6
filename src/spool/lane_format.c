/* lane_format.c: the bytes of a segment.
 *
 * Each record carries a checksum over the segment's salt, its own place, its head and its payload. The place makes a
 * record that a disk wrote to the wrong block invalid; the salt does so for what a recycled file held before, so that a
 * spare need not be cleared. A 16-bit mark over the head alone, under the same salt, lets the reader look for the next
 * record behind damage at the cost of one short hash for each 8 octets, even when a stranger filled a message with what
 * looks like heads of large records. CRC32C was rejected: 32 bits are few for billions of records, and XXH3 is faster.
 * The head stands twice because without the salt nothing in the segment could be believed. */
#include "spool/lane_format.h"

#include <stdio.h>
/* Compiled in, because the state lies on the stack, and its size is no part of the library's stable interface. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static const char MAGIC[8] = {'t', 'a', 'c', 'i', 't', 'l', 'o', 'g'};

static void put32(char *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(unsigned char)(v >> (8 * i));
}

static void put64(char *at, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        at[i] = (char)(unsigned char)(v >> (8 * i));
}

static uint64_t get_number(const char *at, int octets)
{
    uint64_t v = 0;

    for (int i = octets; i-- > 0;)
        v = v << 8 | (unsigned char)at[i];
    return v;
}

/* head = magic(8) version(4) flags(4) seq(8) salt(8) before-seq(8) before-offset(4) size(4) mark(8) xxh3(8) */
static void head_write(char *at, const struct lane_head *head)
{
    memset(at, 0, LANE_HEAD_SIZE);
    memcpy(at, MAGIC, sizeof MAGIC);
    put32(at + 8, LANE_FORMAT_VERSION);
    put32(at + 12, head->flags);
    put64(at + 16, head->seq);
    put64(at + 24, head->salt);
    put64(at + 32, head->before.seq);
    put32(at + 40, head->before.offset);
    put32(at + 44, head->size);
    put64(at + 48, head->mark);
    put64(at + 56, XXH3_64bits(at, 56));
}

static enum lane_head_state head_read(const char *at, uint64_t seq, struct lane_head *ret_head)
{
    struct lane_head head;

    if (memcmp(at, MAGIC, sizeof MAGIC) != 0 || get_number(at + 56, 8) != XXH3_64bits(at, 56))
        return LANE_HEAD_DAMAGED;
    if (get_number(at + 8, 4) != LANE_FORMAT_VERSION)
        return LANE_HEAD_NEWER;
    head.flags = (uint32_t)get_number(at + 12, 4);
    head.seq = get_number(at + 16, 8);
    head.salt = get_number(at + 24, 8);
    head.before.seq = get_number(at + 32, 8);
    head.before.offset = (uint32_t)get_number(at + 40, 4);
    head.size = (uint32_t)get_number(at + 44, 4);
    head.mark = get_number(at + 48, 8);
    if (head.seq != seq)
        return LANE_HEAD_DAMAGED;
    *ret_head = head;
    return LANE_HEAD_WHOLE;
}

void lane_head_encode(char page[LANE_PAGE], const struct lane_head *head)
{
    memset(page, 0, LANE_PAGE);
    head_write(page, head);
    head_write(page + LANE_HEAD_COPY, head);
}

bool lane_head_any(struct str page, struct lane_head *ret_head)
{
    for (size_t at = 0; at <= LANE_HEAD_COPY && at + LANE_HEAD_SIZE <= page.len; at += LANE_HEAD_COPY)
        if (head_read(page.data + at, get_number(page.data + at + 16, 8), ret_head) == LANE_HEAD_WHOLE)
            return true;
    return false;
}

enum lane_head_state lane_head_decode(struct str page, uint64_t seq, struct lane_head *ret_head)
{
    struct lane_head     copy;
    enum lane_head_state first = LANE_HEAD_DAMAGED, second = LANE_HEAD_DAMAGED;

    if (page.len >= LANE_HEAD_SIZE)
        first = head_read(page.data, seq, ret_head);
    if (page.len >= LANE_HEAD_COPY + LANE_HEAD_SIZE)
        second = head_read(page.data + LANE_HEAD_COPY, seq, &copy);
    if (first == LANE_HEAD_WHOLE)
        return second == LANE_HEAD_WHOLE ? LANE_HEAD_WHOLE : LANE_HEAD_HALF;
    if (second == LANE_HEAD_WHOLE) {
        *ret_head = copy;
        return LANE_HEAD_HALF;
    }
    return first == LANE_HEAD_NEWER || second == LANE_HEAD_NEWER ? LANE_HEAD_NEWER : LANE_HEAD_DAMAGED;
}

/* record = length(4) type(1) flags(1) mark(2) xxh3(8) payload padding */
static void place_write(char at[12], struct lane_place place)
{
    put64(at, place.seq);
    put32(at + 8, place.offset);
}

static uint16_t mark_of(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place)
{
    char text[18];

    place_write(text, place);
    memcpy(text + 12, octets, 6);
    return (uint16_t)XXH3_64bits_withSeed(text, sizeof text, salt);
}

static uint64_t sum_of(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                       const struct str *parts, size_t part_count)
{
    XXH3_state_t state;
    char         text[20];

    place_write(text, place);
    memcpy(text + 12, octets, 8);
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, salt);
    XXH3_64bits_update(&state, text, sizeof text);
    for (size_t i = 0; i < part_count; i++)
        if (parts[i].len > 0)
            XXH3_64bits_update(&state, parts[i].data, parts[i].len);
    return XXH3_64bits_digest(&state);
}

void lane_record_encode(char ret_head[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                        const struct lane_record_head *head, const struct str *parts, size_t part_count)
{
    uint16_t mark;

    put32(ret_head, head->length);
    ret_head[4] = (char)head->type;
    ret_head[5] = (char)head->flags;
    mark = mark_of(ret_head, salt, place);
    ret_head[6] = (char)(unsigned char)mark;
    ret_head[7] = (char)(unsigned char)(mark >> 8);
    put64(ret_head + 8, sum_of(ret_head, salt, place, parts, part_count));
}

bool lane_record_decode(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                        struct lane_record_head *ret_head)
{
    struct lane_record_head head = {
        .length = (uint32_t)get_number(octets, 4),
        .type = (uint8_t)octets[4],
        .flags = (uint8_t)octets[5],
    };

    if (head.length > LANE_RECORD_MAX || (head.flags & ~LANE_RECORD_FLAGS) != 0 ||
        get_number(octets + 6, 2) != mark_of(octets, salt, place))
        return false;
    *ret_head = head;
    return true;
}

bool lane_record_sum_ok(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place, struct str payload)
{
    return get_number(octets + 8, 8) == sum_of(octets, salt, place, &payload, 1);
}

static const char *const PREFIX[LANE_NAME_KINDS] = {
    [LANE_NAME_SEGMENT] = "", [LANE_NAME_SPARE] = "spare-", [LANE_NAME_NEW] = "new-"};

void lane_name_write(char ret_name[LANE_NAME_SIZE], enum lane_name_kind kind, uint64_t seq)
{
    snprintf(ret_name, LANE_NAME_SIZE, "%s%016llx.seg", PREFIX[kind], (unsigned long long)seq);
}

/* name = [ "spare-" / "new-" ] 16 lower-case hexadecimal digits ".seg" */
enum lane_name_kind lane_name_read(const char *name, uint64_t *ret_seq)
{
    struct str text = str_from(name);
    int        kind = str_starts(text, STR("spare-")) ? LANE_NAME_SPARE
                      : str_starts(text, STR("new-")) ? LANE_NAME_NEW
                                                      : LANE_NAME_SEGMENT;
    uint64_t   seq = 0;

    text = str_skip(text, strlen(PREFIX[kind]));
    if (text.len != 20 || !str_ends(text, STR(".seg")))
        return LANE_NAME_OTHER;
    for (size_t i = 0; i < 16; i++) {
        char c = text.data[i];

        if (char_hex_value(c) < 0 || (c >= 'A' && c <= 'F'))
            return LANE_NAME_OTHER;
        seq = seq << 4 | (uint64_t)char_hex_value(c);
    }
    if (seq == 0)
        return LANE_NAME_OTHER;
    *ret_seq = seq;
    return (enum lane_name_kind)kind;
}

bool lane_body_name_ok(struct str name)
{
    if (name.len == 0 || name.len > LANE_BODY_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!char_is_alnum(name.data[i]) && name.data[i] != '-')
            return false;
    return true;
}
