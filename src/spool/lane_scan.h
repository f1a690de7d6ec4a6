/* lane_scan.h: the whole records of one segment, which may be written to, or cut, at the same time.
 *
 * A reader (lane_reader.c) decides what to believe; this only says what stands there now. Octets come through a window
 * that is filled once and kept, so what was seen stays seen until lane_scan_refresh.
 *
 * A writer that has fallen into wrong hands knows the salt. The work is therefore in proportion to the segment whatever
 * it wrote: once the records that failed add up to several times the segment, which damage cannot do, since they would
 * lie in each other, only short ones are looked at. */
#ifndef TACIT_SPOOL_LANE_SCAN_H
#define TACIT_SPOOL_LANE_SCAN_H

#include "spool/lane_format.h"

struct lane_scan {
    int         fd;  /* -1: no segment is open */
    const char *dir; /* for messages; outlives this */
    uint64_t    seq; /* of the segment */
    uint64_t    salt;
    uint64_t    size;  /* of the file, when last looked at; at most UINT32_MAX */
    uint64_t    ahead; /* the caller sets how far it may be read ahead: behind that a writer may be at work */

    char    *window;
    size_t   window_room, window_len;
    uint64_t window_at;
    size_t   step; /* octets to be read ahead next: more, the longer reading goes on without a refresh */

    /* What was found out about the segment once, so that it is not found out again at each damaged place. */
    uint32_t started_at; /* the last record met that says that everything before it had been durable; 0: none */
    uint32_t unstarted_from;
    uint64_t unstarted_limit; /* between these two there is no such record */
    uint32_t failed_at;       /* the last head met whose record is not what it was */
    uint64_t failed_octets;   /* of all such records */
};

/* Begins with an open segment; the descriptor is taken, and closed if this fails. `s`: all zero but fd (-1) and dir, or
 * ended. */
bool lane_scan_begin(struct lane_scan *s, int fd, uint64_t seq, uint64_t salt, struct err *err);
/* Closes the segment, if one is open; memory for the next is kept. */
void lane_scan_end(struct lane_scan *s);
void lane_scan_done(struct lane_scan *s);

/* Forgets what was read and takes the file's size anew. */
bool lane_scan_refresh(struct lane_scan *s, struct err *err);
/* Gives back the memory of a large record. Ends payloads. */
void lane_scan_shrink(struct lane_scan *s);

/* FAILED: I/O error or no memory, and *err is set. */
enum lane_scan_result { LANE_SCAN_WHOLE, LANE_SCAN_NOT, LANE_SCAN_FAILED };

/* Whether the head of a record stands at `at`. */
enum lane_scan_result lane_scan_head(struct lane_scan *s, uint32_t at, struct lane_record_head *ret_head,
                                     struct err *err);

/* Whether a whole record stands at `at` and ends at or before `limit`. *ret_payload is valid until the next call. */
enum lane_scan_result lane_scan_record(struct lane_scan *s, uint32_t at, uint64_t limit,
                                       struct lane_record_head *ret_head, const char **ret_payload, struct err *err);

/* Whether a whole group (or a single record) begins at `at`; *ret_end: behind it, or, when it is not whole, where the
 * record stands that is not. */
enum lane_scan_result lane_scan_group(struct lane_scan *s, uint32_t at, uint64_t limit, bool may_continue,
                                      uint32_t *ret_end, struct err *err);

struct lane_found {
    uint32_t at;      /* a whole group begins here; 0: none does */
    uint32_t rest;    /* end of the last whole record that belongs to a group we cannot have; 0: none */
    bool     started; /* a whole record behind says that everything before it had been durable */
};
/* Looks for whole records in [from, limit), until all of that is known. */
bool lane_scan_search(struct lane_scan *s, uint32_t from, uint64_t limit, struct lane_found *ret_found,
                      struct err *err);

#endif
