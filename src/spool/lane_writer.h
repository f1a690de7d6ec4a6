/* lane_writer.h: the inside of a writer, shared by lane_writer.c (memory, on the loop's thread), lane_batch.c (disk,
 * on a work thread), lane_spare.c (files prepared ahead, on any) and lane_body.c.
 *
 * Who may touch what: fields of "loop" belong to the thread that appends; fields of "disk" to whoever runs
 * lane_batch_write, and to the loop while no batch is under way; fields of "shared" are read and written under the
 * mutex, which is never held during input or output; the others do not change after the writer was opened. */
#ifndef TACIT_SPOOL_LANE_WRITER_H
#define TACIT_SPOOL_LANE_WRITER_H

#include "spool/lane_dir.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    LANE_SEGMENT_WANTED = 16 << 20,
    LANE_SEGMENT_SMALLEST = 8 << 10,   /* what a caller may ask for */
    LANE_SEGMENT_AUTO_MIN = 256 << 10, /* below this no segment is made smaller for want of room */
    LANE_SEGMENT_LARGEST = 1 << 30,
    LANE_RESERVE_MIN = 1 << 20,
    LANE_RESERVE_MAX = 256 << 20,
    LANE_BUFFER_KEEP = 4 << 20, /* octets of memory a writer keeps for each of its two buffers */
    LANE_FULL = 256,
};

/* Records that follow each other in one segment. */
struct lane_run {
    struct lane_head head; /* of the segment, which is made if it is not there yet */
    uint32_t         offset;
    size_t           from, len; /* part of the buffer */
};
struct lane_pending {
    struct buf       data;
    struct lane_run *runs;
    size_t           run_count, run_size;
    bool             doomed; /* appended behind records whose batch then failed */
};
struct lane_batch {
    struct lane_writer *w;
    struct lane_pending pending;
    struct lane_place   end;
    bool                under_way, written;
};

enum lane_spare_state { LANE_SPARE_NONE, LANE_SPARE_MAKING, LANE_SPARE_READY };
struct lane_spare {
    enum lane_spare_state state;
    enum lane_name_kind   kind;
    int                   fd;
    uint64_t              seq; /* in its name */
    uint32_t              size;
};

struct lane_writer {
    char    *dir;
    int      dirfd, bodyfd, lockfd;
    uint64_t secret[2];
    uint64_t wanted, reserve;

    /* loop */
    struct lane_pending pending;
    struct lane_batch   batch;
    struct lane_head    head;       /* of the segment that is appended to */
    struct lane_place   tail;       /* where the next record goes, unless it rolls over */
    bool                roll;       /* the next record starts a segment */
    bool                group_open; /* the last record had LANE_MORE */
    size_t              group_from; /* where the open group begins in pending.data */
    uint64_t            mark;       /* goes into the heads of new segments */
    struct lane_place   committed;  /* read by lane_batch_write too; changed only at its end */
    uint64_t            space_free, space_at_ms;
    bool                space_known;

    /* disk */
    int      fd;
    uint64_t fd_seq;
    bool     uncut; /* what a failed batch left behind is not removed yet */

    /* shared */
    pthread_mutex_t   mutex;
    pthread_cond_t    changed;
    uint64_t          next_seq;
    uint32_t          plan_size; /* of the next segment */
    struct lane_spare spare;
    bool              spare_waited_for;
    _Atomic uint32_t  filled;       /* of the segment that is appended to, in parts of LANE_FULL */
    bool              spare_failed; /* not tried again before the next segment */
};

/* ---- lane_spare.c ---- */

uint64_t lane_take_seq(struct lane_writer *w);
/* Looks at the file system and decides how large the next segment will be. */
bool     lane_plan(struct lane_writer *w, struct err *err);
/* Free octets of the file system, and those of them above the reserve. */
bool     lane_free_space(const struct lane_writer *w, uint64_t *ret_octets, struct err *err);
uint64_t lane_above_reserve(const struct lane_writer *w, uint64_t free_octets);
/* The spare, if one is ready (or being made: waits for it) that is large enough; the caller owns its descriptor. */
bool     lane_spare_take(struct lane_writer *w, uint32_t size, struct lane_spare *ret_spare);
/* A new file of that size under a name of its own kind; `clear`: written with zeros and synced. */
bool lane_spare_make(struct lane_writer *w, uint32_t size, bool clear, struct lane_spare *ret_spare, struct err *err);

/* ---- lane_batch.c ---- */

/* Removes everything behind the committed place: segments, and the end of the last one. */
bool lane_cut(struct lane_writer *w, struct err *err);

#endif
