/* lane_reader.h: what writer and verifier need of a reader beyond lane.h. */
#ifndef TACIT_SPOOL_LANE_READER_H
#define TACIT_SPOOL_LANE_READER_H

#include "spool/lane_format.h"

/* With the directory already open; `dir` is for messages. The descriptor stays the caller's and must outlive it. */
struct lane_reader *lane_reader_open_in(int dirfd, const char *dir, struct lane_place from, struct err *err);
/* Where the next record would begin. */
struct lane_place   lane_reader_place(const struct lane_reader *r);
/* Goes on at `to`, which a reader gave, or at the first record of the first segment behind it ({seq, 0}). */
void                lane_reader_seek(struct lane_reader *r, struct lane_place to);

/* The segment that is open. Valid until the next call on the reader. */
struct lane_segment_view {
    uint64_t         seq, file_size;
    struct lane_head head; /* only if head_ok */
    bool             head_ok;
    bool             torn; /* at the reader's place stands the head of a record, but not the record */
};
/* False: no segment is open. */
bool lane_reader_view(struct lane_reader *r, struct lane_segment_view *ret_view, struct err *err);

/* Octets that LANE_READ_DAMAGED spoke of last: [from, to) of one segment. */
struct lane_damage {
    struct lane_place from;
    uint32_t          to;
    bool              head;      /* it is the segment's head; records follow if a copy of it was whole */
    bool              confirmed; /* what stood there had been durable for certain */
};
const struct lane_damage *lane_reader_damage(const struct lane_reader *r);

#endif
