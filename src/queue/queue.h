/* queue.h: the queue in memory: what the records of all lanes add up to, and which segments they still need. Pure.
 *
 * It is made by replaying the records of every lane (lanes in any order, each lane in its own) and changes only by
 * applying further records, after they are durable. So what a crash leaves on disk is always what memory would say.
 * A waiting message costs some 250 octets here, with its share of the tables: envelopes, reasons and addresses stay in
 * the lanes and are read again for an attempt. Messages lie in chunks that are never given back, only used again.
 *
 * Segments. A record that is still needed pins its segment:
 *   - the message record of a living message (of several copies the newest in lane 0, else the front's),
 *   - its newest progress record and its expansions,
 *   - the FINISHED record of a message of which a copy lies in a segment that still exists: without it, replay would
 *     bring the message back,
 *   - the newest state record of each name.
 * A segment that was read to its end and is pinned by nothing may be released. Because a FINISHED record stays pinned
 * until the segments with the message are gone, the order is right by itself: first the messages, then what ended them.
 * A segment pinned by little is emptied by appending what pins it to lane 0 again (compaction).
 *
 * Only lane 0 is back's own: from other lanes nothing but new messages under that lane's own ids is taken, so that
 * a front that fell into wrong hands cannot end, change or forge what others brought. */
#ifndef TACIT_QUEUE_QUEUE_H
#define TACIT_QUEUE_QUEUE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "queue/brief.h"

enum { QUEUE_LANES = 256 };

struct queue_place { /* where a record begins; seq 0: nowhere */
    uint64_t seq;
    uint32_t offset;
    uint32_t lane;
};

struct queue_segment {
    uint64_t    seq;
    uint32_t    lane;
    uint32_t    pins;
    uint64_t    weight, weight_alive; /* octets, roughly: of all its records, and of those that pin it */
    uint64_t    complete_ms;          /* when all of it had been read; 0: not yet */
    bool        damaged;              /* kept for whoever wants to look */
    bool        indexed;              /* has an index, or cannot have one */
    struct list dead;                 /* tombstones of messages that lie here */
};

struct queue_expansion {
    struct queue_place place;
    uint32_t           first;
};
struct queue_extra { /* what few messages have */
    struct queue_expansion *expansions;
    struct queue_place     *copies; /* older message records */
    uint32_t                expansion_count, copy_count;
};

struct queue_message {
    struct heap_item   due;       /* key: Unix ms; in no heap while busy or held */
    struct heap_item   unclaimed; /* key: id; in the heap while a recipient is unclaimed, and not busy */
    uint64_t           id;
    uint64_t           size;     /* octets of the content */
    uint64_t           since_ms; /* its age counts from here */
    uint64_t           next_ms;
    uint64_t           not_before_ms; /* nothing is due earlier */
    struct queue_place home, progress;
    union {
        struct queue_extra   *extra;  /* NULL: none */
        struct queue_message *unused; /* the next unused slot, where id is 0 */
    };
    uint32_t            attempts;
    uint32_t            pending, waiting, unclaimed_count; /* recipients by state */
    uint32_t            recipient_count;                   /* with those of expansions */
    struct address_hint from, to;                          /* `to`: of the envelope; see queue_message_to */
    struct reply_hint   reply;
    uint8_t             flags; /* enum progress_flags */
    uint8_t class;             /* enum client_class */
    bool external : 1;
    bool busy : 1;     /* an attempt or a command is at work on it */
    bool replayed : 1; /* another process may have delivered it and ended before it could record that */
    bool unsure : 1;   /* a delivery failed, and may have succeeded all the same; set by back */
    bool parked : 1;   /* waits for room on its way out; set by back */
    bool hurried : 1;  /* an operator wants it tried now; set by back */
    bool out : 1;      /* another server is being asked to take it; set by back */
    bool was_out : 1;  /* it was, at some time since this process began; set by back */
};

/* Of all its recipients, also those that expansions brought. */
static inline struct address_hint queue_message_to(const struct queue_message *m)
{
    return m->extra && m->extra->expansion_count ? (struct address_hint){HINT_ANY, HINT_ANY} : m->to;
}

struct queue_chunk;
struct queue {
    struct queue_chunk  **chunks;
    size_t                chunk_count;
    struct queue_message *unused; /* slots of chunks */
    struct map            living; /* id -> struct queue_message */
    struct map            dead;   /* id -> struct queue_tombstone */
    struct map            states; /* name -> struct queue_state */
    struct map            segments[QUEUE_LANES];
    struct heap           due, unclaimed;
    uint64_t              unclaimed_keep_ms; /* then unclaimed recipients are due; others by their progress */
    bool                  replaying;
    uint64_t              newest_id_lane0; /* so that ids go on growing after a restart */
    uint64_t              messages, octets, unclaimed_messages, unclaimed_octets, newest_unclaimed_ms;
};

void queue_init(struct queue *q, uint64_t seed, uint64_t unclaimed_keep_ms);
void queue_done(struct queue *q);

enum queue_applied {
    QUEUE_APPLIED,
    QUEUE_REFUSED,   /* not a record, or one that this lane must not hold: nothing changed */
    QUEUE_NO_MEMORY, /* the queue may no longer be what the records say: start over */
};
/* `scratch` is used for decoding and may be reset afterwards. ret_message (may be NULL): the message that a message
 * record brought and that was not known before, else NULL. */
enum queue_applied queue_apply(struct queue *q, struct queue_place place, uint8_t type, struct str payload,
                               struct arena *scratch, struct queue_message **ret_message);
/* The same for a record of which only the brief is at hand. */
enum queue_applied queue_apply_brief(struct queue *q, struct queue_place place, const struct record_brief *brief,
                                     struct queue_message **ret_message);
/* After the last lane was replayed: forgets what speaks of messages that are gone. */
void               queue_replayed(struct queue *q);

struct queue_message *queue_find(const struct queue *q, uint64_t id);
/* for (size_t at = 0; (m = queue_next(q, &at));): every message, in no order. The queue may change between two calls:
 * what is there all the time is met once, what comes or goes meanwhile perhaps. */
struct queue_message *queue_next(const struct queue *q, size_t *at);
/* The first message whose time has come, or NULL; and when that will be (UINT64_MAX: never). */
struct queue_message *queue_due(const struct queue *q, uint64_t now_ms);
uint64_t              queue_next_due_ms(const struct queue *q);
struct queue_message *queue_oldest_unclaimed(const struct queue *q); /* that is not busy */
/* Busy: neither due nor touched by compaction. A progress record applied meanwhile does not change that. */
bool                  queue_set_busy(struct queue *q, struct queue_message *m, bool busy);
/* Puts off (or forward) without a record, as when nothing could be read. */
bool                  queue_delay(struct queue *q, struct queue_message *m, uint64_t until_ms);
/* The state's value; data is NULL: none. Valid until the next queue_apply. */
struct str            queue_state_value(const struct queue *q, struct str name);

/* ---- segments ---- */

/* A segment file exists. False: no memory. */
bool                  queue_segment_present(struct queue *q, uint32_t lane, uint64_t seq);
/* Everything in segments of this lane below `seq` has been applied. */
void                  queue_lane_read(struct queue *q, uint32_t lane, uint64_t seq, uint64_t now_ms);
void                  queue_segment_damaged(struct queue *q, uint32_t lane, uint64_t seq);
struct queue_segment *queue_segment_find(const struct queue *q, uint32_t lane, uint64_t seq); /* NULL: none */
/* A segment that may be released, or NULL. */
struct queue_segment *queue_releasable(const struct queue *q);
/* It was released, durably: forgets it and the tombstones that it needed. */
void                  queue_segment_gone(struct queue *q, struct queue_segment *s);
/* A segment that has been complete for `settle_ms` and is pinned by a quarter of its weight or less. */
struct queue_segment *queue_compactable(const struct queue *q, uint64_t now_ms, uint64_t settle_ms);
bool                  queue_is_compactable(const struct queue_segment *s, uint64_t now_ms, uint64_t settle_ms);
/* One without an index that has been complete for `settle_ms`, is pinned by `pins` records or more, and is not to be
 * emptied. */
struct queue_segment *queue_indexable(const struct queue *q, uint64_t now_ms, uint64_t settle_ms, uint32_t pins);
/* What pins it and is not busy: records to be read at `place` and appended to lane 0 again as they are, but FINISHED
 * (place.seq 0), which is made anew from its id. Stops when `each` returns false. */
void                  queue_each_pin(const struct queue *q, const struct queue_segment                                           *s,
                                     bool (*each)(enum record_type type, uint64_t id, struct queue_place place, void *arg), void *arg);

/* The same for a large queue: looks at `most` messages from *at on (0: the first), which it moves on. True: that was
 * all. When `each` returned false, what it was told last may come once more. */
bool queue_some_pins(const struct queue *q, const struct queue_segment *s, size_t *at, size_t most,
                     bool (*each)(enum record_type type, uint64_t id, struct queue_place place, void *arg), void *arg);

/* ---- between queue.c, apply.c and segment.c ---- */

struct queue_message *queue_message_new(struct queue *q, uint64_t id); /* NULL: no memory */
void                  queue_forget(struct queue *q, struct queue_message *m);
bool                  queue_reschedule(struct queue *q, struct queue_message *m);
/* Takes a message out of the sums, before it changes, and puts it in again afterwards. */
void                  queue_account(struct queue *q, const struct queue_message *m, bool in);

struct queue_tombstone {
    struct list             link; /* in its home segment's list; alone: home not seen yet (only in replay) */
    uint64_t                id;
    uint64_t                finished_seq; /* segment of lane 0 with the FINISHED record */
    bool                    has_home;
    struct queue_tombstone *next; /* of further copies of the message */
};
struct queue_state {
    struct queue_place place;
    struct str         value; /* behind the name, in the same allocation */
    struct str         name;
};
enum { QUEUE_WEIGHT_SMALL = 128 };
struct queue_segment *queue_segment_get(struct queue *q, uint32_t lane, uint64_t seq); /* makes it; NULL: no memory */
void     queue_pin(struct queue *q, struct queue_place place, uint64_t weight);        /* the segment must exist */
void     queue_unpin(struct queue *q, struct queue_place place, uint64_t weight);
uint64_t queue_message_weight(const struct queue_message *m);
/* Adds a tombstone for a copy at `home` (seq 0: not seen yet) below the id. */
bool     queue_bury(struct queue *q, uint64_t id, uint64_t finished_seq, struct queue_place home);

#endif
