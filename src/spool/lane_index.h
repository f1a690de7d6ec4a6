/* lane_index.h: a derived file that tells what stands in a whole segment, so that a restart need not read the segment
 * again. doc/spool-format.md has the bytes.
 *
 * An index is a cache and nothing else. It is written without being synced, lies apart from the lane (in the directory
 * of whoever reads the lanes, where no writer of the lane comes), and counts only if its checksum is right and the
 * segment is still the one from which it was made: same number, same salt, same size, same time of the last write. Else
 * the segment itself is read. What its entries mean is up to the owner; the log gives them no meaning. */
#ifndef TACIT_SPOOL_LANE_INDEX_H
#define TACIT_SPOOL_LANE_INDEX_H

#include "spool/lane.h"

enum { LANE_INDEX_VERSION = 2, LANE_INDEX_MAX = 64 << 20 /* octets of entries */ };

/* Which segment it is, as far as can be told without reading its records. */
struct lane_segment_id {
    uint64_t seq, salt;
    uint64_t size, written_ns; /* of the file */
};
/* False: there is no such segment, or its head is damaged or newer than this program. */
bool lane_segment_identify(const char *dir, uint64_t seq, struct lane_segment_id *ret_id, struct err *err);

/* Reads the segment `seq` from its first record to its last. False: it cannot be read, something in it is damaged, or
 * `each` returned false. Only for segments that are complete: their writer has gone on to another one. */
bool lane_segment_read(const char *dir, uint64_t seq, bool (*each)(const struct lane_record *record, void *arg),
                       void *arg, struct err *err);

/* Under `index_dir`, for the segment of lane number `lane`. May run on a work thread. */
bool lane_index_write(const char *index_dir, unsigned lane, const struct lane_segment_id *id, struct str entries,
                      struct err *err);
/* The entries, which borrow `buffer`. False: there is none, or none that counts: read the segment. */
bool lane_index_read(const char *index_dir, unsigned lane, const struct lane_segment_id *id, struct buf *buffer,
                     struct str *ret_entries);
/* Removing what is gone is success. */
bool lane_index_remove(const char *index_dir, unsigned lane, uint64_t seq, struct err *err);
/* Every index that is there, also what a crash left half made; `each` says whether it may stay. */
bool lane_index_clean(const char *index_dir, bool (*keep)(unsigned lane, uint64_t seq, void *arg), void *arg,
                      struct err *err);

#endif
