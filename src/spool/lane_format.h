/* lane_format.h: the bytes of a segment, for writer, reader and verifier. Functions of bytes only; doc/spool-format.md
 * is the specification. */
#ifndef TACIT_SPOOL_LANE_FORMAT_H
#define TACIT_SPOOL_LANE_FORMAT_H

#include "spool/lane.h"

enum {
    LANE_PAGE = 4096,      /* records begin here; the page before them holds the head twice */
    LANE_HEAD_SIZE = 64,   /* octets of a head */
    LANE_HEAD_COPY = 2048, /* where its copy stands */
    LANE_RECORD_HEAD = 16, /* octets before the payload */
    LANE_RECORD_ALIGN = 8, /* records begin at multiples of it */
    LANE_FORMAT_VERSION = 1,
};

enum lane_segment_flags { LANE_SEGMENT_LARGE = 1 }; /* made for one large record: never used again as a spare */

struct lane_head {
    uint64_t          seq;
    uint64_t          salt;
    struct lane_place before; /* where the segment before this one ended; seq 0: there was none */
    uint32_t          size;   /* octets preallocated */
    uint32_t          flags;
    uint64_t          mark; /* what lane_mark had been told when the segment began */
};
enum lane_head_state {
    LANE_HEAD_WHOLE,
    LANE_HEAD_HALF,    /* one of the two copies is damaged, the other was taken */
    LANE_HEAD_DAMAGED, /* neither can be read, or it is the head of another segment */
    LANE_HEAD_NEWER,   /* whole, but of a version we do not know */
};
void                 lane_head_encode(char page[LANE_PAGE], const struct lane_head *head);
/* `page`: the first octets of the file, possibly fewer than a page. *ret_head is written for WHOLE and HALF. */
/* The same for a file whose number does not tell what it holds, such as a spare. */
bool                 lane_head_any(struct str page, struct lane_head *ret_head);
enum lane_head_state lane_head_decode(struct str page, uint64_t seq, struct lane_head *ret_head);

/* Flags as they stand in a record: LANE_MORE and these. */
enum lane_record_flags {
    LANE_CONTINUES = 2, /* belongs to the record before it, which has LANE_MORE */
    LANE_STARTS = 4,    /* first of its batch: when it was written, everything before it was durable */
    LANE_RECORD_FLAGS = LANE_MORE | LANE_CONTINUES | LANE_STARTS,
};
struct lane_record_head {
    uint32_t length; /* octets of payload */
    uint8_t  type;
    uint8_t  flags;
};
/* Octets a record takes, with head and padding. */
static inline uint64_t lane_record_total(uint64_t length)
{
    return (LANE_RECORD_HEAD + length + LANE_RECORD_ALIGN - 1) / LANE_RECORD_ALIGN * LANE_RECORD_ALIGN;
}
static inline uint64_t lane_round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

void lane_record_encode(char ret_head[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                        const struct lane_record_head *head, const struct str *parts, size_t part_count);
/* Whether these octets are the head of a record at this place, by the head's own mark (16 bits, salted: a stranger
 * cannot make a payload look like heads). The payload may still be wrong. */
bool lane_record_decode(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                        struct lane_record_head *ret_head);
bool lane_record_sum_ok(const char octets[LANE_RECORD_HEAD], uint64_t salt, struct lane_place place,
                        struct str payload);

/* Names in a lane's directory. */
enum lane_name_kind { LANE_NAME_SEGMENT, LANE_NAME_SPARE, LANE_NAME_NEW, LANE_NAME_KINDS, LANE_NAME_OTHER };
enum { LANE_NAME_SIZE = 32, LANE_BODY_NAME_MAX = 64 };
void                lane_name_write(char ret_name[LANE_NAME_SIZE], enum lane_name_kind kind, uint64_t seq);
enum lane_name_kind lane_name_read(const char *name, uint64_t *ret_seq);
/* 1 to 64 letters, digits and '-'. */
bool                lane_body_name_ok(struct str name);

#endif
