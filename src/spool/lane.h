/* lane.h: a lane of the spool: an append-only log of checksummed records in preallocated segment files.
 *
 * One writer appends; readers follow. The bytes are specified in doc/spool-format.md. A lane is a directory:
 *
 *   lane/lock                 held (flock) by the writer
 *   lane/<seq>.seg            segments, seq as 16 hex digits, growing, never used twice
 *   lane/spare-<seq>.seg      released segments, waiting to be used again: overwriting blocks that are already
 *                             allocated makes fdatasync cheap, since the file's metadata does not change
 *   lane/body/<name>          large bodies, written and synced before the record that refers to them
 *
 * Durability: what lane_append took is durable when the batch that contains it was written (lane_batch_write
 * returned true), not before. All records appended while one batch is being written share the next write and the
 * next fdatasync: group commit. Records joined by LANE_MORE are read all or not at all.
 *
 * Reading: a record whose checksum is wrong is never returned. If valid records stand behind it in the segment it
 * is damage (bit rot): reported with its place, and skipped; if none does it is the torn tail of a crash: the end.
 * The checksum is salted with the segment's identity, so that old records in a recycled segment are not valid. */
#ifndef TACIT_SPOOL_LANE_H
#define TACIT_SPOOL_LANE_H

#include "base/buf.h"
#include "base/err.h"

struct lane_place { /* where a record begins; ordered by (seq, offset) */
    uint64_t seq;
    uint32_t offset;
};
static inline int lane_place_cmp(struct lane_place a, struct lane_place b)
{
    return a.seq != b.seq ? (a.seq > b.seq) - (a.seq < b.seq) : (a.offset > b.offset) - (a.offset < b.offset);
}

enum lane_flags { LANE_MORE = 1 };     /* the next record belongs to this one */
enum { LANE_RECORD_MAX = 64 << 20 };   /* octets of payload; a record larger than a segment gets a segment of its own */
enum { LANE_PENDING_MAX = 128 << 20 }; /* octets that may wait for the next batch */

/* ---- writer: one thread (the loop's) calls all but lane_batch_write, which may run on another, and
 * what is said below to run anywhere ---- */

struct lane_writer;
struct lane_record;
struct lane_options {
    uint64_t segment_size; /* octets wanted, at least 8 KiB; 0: 16 MiB. Made smaller, down to 256 KiB, where that is
                              more than 1/32 of the file system or than a quarter of what is free */
    uint64_t reserve;      /* octets of the file system to leave free; 0: a tenth of it, 1 MiB to 256 MiB */
    /* Called by lane_writer_open for each record of the newest segment; may be NULL. */
    void (*found)(void *arg, const struct lane_record *record);
    void *found_arg;
};

/* Opens or creates the lane, takes its lock (busy: ERR_TEMPORARY), finds the end (cutting a torn tail) and goes on in
 * a fresh segment. */
struct lane_writer *lane_writer_open(const char *dir, const struct lane_options *options, struct err *err);
void                lane_writer_close(struct lane_writer *w); /* without writing what is pending */

/* Copies a record of the given parts into the pending batch: memory only, no system call. ERR_LIMIT: the record is too
 * large, or too much is pending. *ret_place holds if the batch succeeds. A group must be completed: until its last
 * record is appended, none of it is written. */
bool   lane_append(struct lane_writer *w, uint8_t type, unsigned flags, const struct str *parts, size_t part_count,
                   struct lane_place *ret_place, struct err *err);
size_t lane_pending(const struct lane_writer *w); /* octets appended and not yet in a batch */

/* Group commit. begin: takes everything pending as one batch (NULL if nothing is pending or a batch is under way); a
 * group that is still open waits for the batch after its last record.
 * write: writes it and makes it durable; blocks; false: none of the batch may be taken as stored, and none of it will
 * be read (unless the process ends before the lane could be repaired). A failed sync is never retried on the same
 * pages: the segment is given up (its good part stays readable) and the writer goes on in a new one. What was appended
 * while a failing batch was written fails with the next batch, for it stands behind it: begin that one at once.
 * end: frees it; *ret_committed (may be NULL) is the place behind the last durable record: what a reader may read up
 * to. */
struct lane_batch;
struct lane_batch *lane_batch_begin(struct lane_writer *w);
bool               lane_batch_write(struct lane_batch *b, struct err *err);
void               lane_batch_end(struct lane_batch *b, struct lane_place *ret_committed);
/* All three at once, for callers that may block. */
bool               lane_commit(struct lane_writer *w, struct err *err);

/* Where the last durable record ends; {0, 0}: there is none. Right after opening: what recovery found. */
struct lane_place lane_writer_committed(const struct lane_writer *w);

/* A number of the owner's that never falls (lower ones are passed over). It is kept in the head of each segment that
 * begins, so that the next owner knows how high it was: lane_marked right after opening, together with what `found`
 * sees in the newest segment. Thus a front never gives an id twice, wherever the clock was set. */
void     lane_mark(struct lane_writer *w, uint64_t mark);
uint64_t lane_marked(const struct lane_writer *w);

/* The next segment is prepared ahead, so that no batch waits for it: after a batch, ask on the loop's thread whether
 * one is wanted, and if so call lane_prepare_spare on a work thread. It may run beside appends and beside
 * lane_batch_write (which waits for it only if it needs the file at that moment), and does nothing while another call
 * of it is at work. After a failure none is wanted until the next segment. It must have returned before
 * lane_writer_close. */
bool lane_wants_spare(struct lane_writer *w);
bool lane_prepare_spare(struct lane_writer *w, struct err *err);

/* The room there is: statvfs, its result kept for up to 1 s of now_ms (any monotonic clock), less where little is free.
 */
struct lane_room {
    uint64_t usable;  /* octets that can be stored while the reserve stays free, or in what is preallocated */
    uint64_t free;    /* octets of the file system */
    uint64_t reserve; /* octets of them that are left free */
};
bool lane_room(struct lane_writer *w, uint64_t now_ms, struct lane_room *ret_room, struct err *err);
/* Whether `octets` more can be stored in it. False: ERR_LIMIT with a text that names the directory and the figures. */
bool lane_has_space(struct lane_writer *w, uint64_t octets, uint64_t now_ms, struct err *err);

/* Large bodies: created under a name (letters, digits, '-'), appended to, then synced (file and directory) before the
 * record that names them is appended. All may block. Writing fails with ERR_LIMIT before it would eat into the reserve.
 * What was written is there only after lane_body_finish returned true; when that fails (also because somebody removed
 * the file meanwhile), and when the body is aborted, it is unlinked. None of these touches what changes in the writer:
 * bodies may be written on any threads, each on one at a time. The writer must outlive its bodies. */
struct lane_body;
struct lane_body *lane_body_create(struct lane_writer *w, struct str name, struct err *err);
bool              lane_body_write(struct lane_body *b, struct str data, struct err *err);
bool              lane_body_finish(struct lane_body *b, uint64_t *ret_size, uint64_t *ret_xxh3,
                                   struct err *err); /* frees in any case */
void              lane_body_abort(struct lane_body *b);

/* ---- reader: any process with read access; several may read one lane ---- */

struct lane_reader;
struct lane_record {
    struct lane_place place;
    struct lane_place next; /* where the following record begins */
    uint8_t           type;
    bool              more;
    struct str        payload; /* valid until the next call on the reader */
};
enum lane_read {
    LANE_READ_RECORD,
    LANE_READ_END,     /* nothing further that is whole (yet): call again later */
    LANE_READ_DAMAGED, /* octets that should be a record and are not: err says where; the next call goes on behind them
                        */
    LANE_READ_FAILED,  /* I/O error */
};
/* Begins at the first record at or behind `from` ({0, 0}: the oldest that is there; else a place that a writer or a
 * reader gave). A lane without segments is no error: END until there are some. */
struct lane_reader *lane_reader_open(const char *dir, struct lane_place from, struct err *err);
void                lane_reader_close(struct lane_reader *r);
/* `until`: reads only records before it (what the writer said is committed), and takes whatever is before it and no
 * record as damage; NULL: up to the end, which may include what is not durable yet. A group joined by LANE_MORE is
 * returned only when its last record is there; when one of its records is damaged, all of it is. */
enum lane_read lane_read_next(struct lane_reader *r, const struct lane_place *until, struct lane_record *ret_record,
                              struct err *err);
/* Reads one record again whose place is known, into `buffer`; ERR_PERMANENT if it is damaged or gone. */
bool lane_read_at(const char *dir, struct lane_place place, struct buf *buffer, struct lane_record *ret_record,
                  struct err *err);

/* The same for whoever reads many: keeps the directory and one segment open, and reads ahead where places follow each
 * other. One thread at a time. A segment that is released meanwhile is noticed as it is by lane_read_at. */
struct lane_lookup;
struct lane_lookup *lane_lookup_open(const char *dir, struct err *err);
void                lane_lookup_close(struct lane_lookup *l);
/* The payload is valid until the next call. */
bool lane_lookup_read(struct lane_lookup *l, struct lane_place place, struct lane_record *ret_record, struct err *err);

/* ---- release: by whoever knows that nothing in a segment is alive any more (back) ---- */

/* The segment becomes a spare (at most two wait in a lane) or is unlinked, durably. Never call it on the newest segment
 * of a lane that has a writer. Releasing what is gone is success. */
bool lane_release(const char *dir, uint64_t seq, struct err *err);
/* Not made durable: after a power cut the file may be back, and belongs to nobody. Removing what is gone is success. */
bool lane_body_remove(const char *dir, struct str name, struct err *err);
/* Whether a body, open for reading, holds what was written, and all of it. Reads the whole file; the descriptor's place
 * is not moved. False: ERR_PERMANENT: it does not, and `path` (for the text) has to be restored; else it cannot be
 * read. */
bool lane_body_check(const char *path, int fd, uint64_t size, uint64_t xxh3, struct err *err);
/* Segments present, oldest first, and bodies with the Unix time of their last write; stops and returns false when
 * `each` does. */
bool lane_each_segment(const char *dir, bool (*each)(uint64_t seq, uint64_t size, void *arg), void *arg,
                       struct err *err);
bool lane_each_body(const char *dir, bool (*each)(struct str name, uint64_t size, uint64_t written_ms, void *arg),
                    void *arg, struct err *err);

#endif
