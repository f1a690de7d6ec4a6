/* back.h: the parts of back among themselves; nobody else includes it.
 *
 *   back.c          the role: start, peers, timers, drain
 *   back/follow.c   lanes: replay, follow, release of segments, bodies that nobody needs
 *   back/compact.c  segments kept by little are emptied
 *   back/index.c    segments kept by much get an index, so that a restart need not read them
 *   back/store.c    group commit into lane 0
 *   back/ask.c      questions to the keeper
 *   back/load.c     what the spool knows of a message
 *   back/attempt.c  one attempt at a message, from its beginning to its end
 *   back/resolve.c  one recipient of it: where does it lead; back/local.c: into a mailbox
 *   back/carry.c    carriages: mail that leaves (back/carry.h); back/way.c, back/give.c, back/outcome.c, back/park.c,
 *                   back/recall.c
 *   back/even.c     what is not delivered costs as much
 *   back/conclude.c what became of it: states, records, log lines
 *   back/command.c  what commands do to a message
 *   back/report.c   failure, delay and success reports
 *   back/contact.c  what other servers said of addresses, for the keeper to remember
 *   back/digest.c   the postmasters' digests
 *   back/control.c  the control socket: what operators ask for, each an order (back/order.h)
 *   back/search.c   which messages an order means; back/change.c: changing them
 *   back/filter.c   whether a message is meant; back/list.c: how it is shown; back/scan.c: very many of them
 *
 * All of it runs on the loop's thread, but for the functions given to io_work. Where back cannot go on (no memory for
 * the queue, a lane that breaks) it ends: master starts it again, and replay rebuilds the queue from what is durable.
 */
#ifndef TACIT_BACK_BACK_H
#define TACIT_BACK_BACK_H

#include "back/carry.h"
#include "base/list.h"
#include "deliver/maildir.h"
#include "io/net.h"
#include "policy/disclosure.h"
#include "queue/queue.h"
#include "role/ask.h"
#include "role/role.h"
#include "spool/lane.h"

enum {
    BACK_JOBS_PER_MESSAGE = 8, /* recipients of one message under way at once */
    BACK_EXPANDED_MAX = 16384, /* recipients that those of one message may lead to */
    BACK_SAVE_EVERY = 64,      /* outcomes, then they are recorded before the attempt ends; of a large message more */
    BACK_SAVES_MAX = 16,       /* about so many of one attempt, for each says all anew */
    BACK_RECORD_MAX = LANE_RECORD_MAX,
    /* The ceiling of an attempt's arena: more than a recipient with the longest address and the longest reply needs,
     * for all that others lead to, and for each of the envelope on top (back/load.c). */
    BACK_RECIPIENT_MEMORY = 8 << 10,
    BACK_ATTEMPT_MEMORY = BACK_EXPANDED_MAX * BACK_RECIPIENT_MEMORY,
    BACK_KEEPER_MS = 30000, /* wait for an answer */
    BACK_REPORT_MAX = 4 << 20,
    BACK_FULL_MS = 5000, /* pause after a delivery that found no room */
};

struct back_lane {
    unsigned            number;
    char               *dir;
    struct lane_reader *reader;
    struct lane_place   until;   /* what its writer said is durable */
    bool                bounded; /* read only up to there: its writer lives and has said so */
    bool                failing; /* reading failed; said once */
    uint64_t            newest;  /* newest segment that was there before reading went on without bound */
};

struct back_front {
    struct list    link;
    struct io_ipc *channel;
    struct back   *back;
    unsigned       lane;
};

struct back {
    struct role_context *role;
    struct io_loop      *loop;
    const struct config *config;
    struct queue         queue;
    struct arena         scratch; /* for decoding one record */
    bool                 draining;
    uint64_t             seed;
    struct orphan       *orphans; /* bodies without a message that were found the last time (back/follow.c) */
    size_t               orphan_count;

    struct back_lane *lanes[QUEUE_LANES];
    struct list       fronts;
    struct io_timer  *tick;  /* every second: what is late, released, removed */
    struct io_timer  *due;   /* the next attempt */
    struct io_timer  *again; /* work that was cut off to let others run */
    struct io_timer  *jobs;  /* recipients to be started */

    /* back/store.c */
    struct lane_writer      *writer;
    struct message_id_source ids;
    struct lane_batch       *batch;
    struct list              stores, writing; /* to be written; being written */
    struct io_timer         *store_retry;
    bool                     batch_ok, store_waits;
    struct err               batch_err;

    /* back/follow.c, back/compact.c, back/index.c */
    struct back_release *release; /* under way, or NULL */
    struct back_index   *index;   /* being made, or NULL */
    bool                 compacting, digesting;
    uint32_t             compact_lane; /* the segment under way, and how far */
    uint64_t             compact_seq;
    size_t               compact_at;

    /* back/ask.c */
    struct io_ipc *keeper;
    struct map     questions; /* tag -> struct back_question */
    struct list    question_order;
    uint32_t       question_tag;
    struct arena   answer_arena;

    struct back_contacts *contacts; /* back/contact.c; NULL: nothing was said yet */

    /* back/attempt.c */
    struct list attempts;
    unsigned    attempt_count, command_count, job_count; /* `attempts` holds both: those of back, and commands */
    struct maildir_earlier *earlier; /* for messages that were replayed; NULL: none was delivered yet */
    uint64_t full_until_ms; /* a mailbox's file system had no room: no attempt begins before this (loop's clock) */

    struct back_carry carry; /* back/carry.c */

    /* back/digest.c */
    uint64_t digest_checked_ms, digest_done_ms;

    /* back/control.c, back/search.c, back/change.c */
    struct io_acceptor *control;
    struct list         orders; /* back/order.h */
    unsigned            order_count;
};

/* back.c */
void back_kick(struct back *b); /* starts what is due, and sets the timer for the rest */
void back_gauges(struct back *b);
void back_drain_check(struct back *b);

/* back/follow.c */
bool        back_lanes_replay(struct back *b, struct err *err);
void        back_lane_committed(struct back *b, unsigned lane, struct lane_place until);
void        back_lane_attached(struct back *b, unsigned lane); /* it has a new writer, who has said nothing yet */
void        back_lanes_catch_up(struct back *b); /* a writer may have ended without saying how far it came */
void        back_follow(struct back *b);         /* reads what is there, a slice of it at a time */
void        back_release_tick(struct back *b);
void        back_segments_tick(struct back *b);  /* which segments are there, and which are read to their end */
void        back_orphans_remove(struct back *b); /* bodies of messages that never came to their end; every hour */
void        back_body_remove(struct back *b, uint64_t id);
const char *back_lane_dir(struct back *b, unsigned lane); /* NULL: no such lane */
/* Reads and decodes what a living message consists of; may run on a work thread (dirs must come from back_lane_dir). */
bool        back_record_read(const char *dir, struct queue_place place, enum record_type type, struct buf *buffer,
                             struct str *ret_payload, struct err *err);

/* back/compact.c */
void back_compact_tick(struct back *b);

/* back/index.c */
void back_index_tick(struct back *b);
/* Replays a segment from its index. False: there is none that counts, and nothing was applied. */
bool back_index_replay(struct back *b, unsigned lane, uint64_t seq, struct buf *buffer);
void back_index_clean(struct back *b); /* those of segments that are gone */

/* back/store.c: records that are written together or not at all. */
struct back_store;
struct back_store *back_store_new(struct back *b, void (*done)(void *arg), void *arg);
struct buf        *back_store_record(struct back_store *s, enum record_type type); /* to be filled with the payload */
/* Takes the store; `done` is called when its records are durable and applied to the queue, however long that takes. */
void               back_store_put(struct back_store *s);
void               back_store_round(struct back *b);
bool               back_store_is_idle(const struct back *b);

/* back/ask.c: `answered` gets NULL if nobody answered in time; the answer is valid only during the call. */
typedef void (*back_answered)(void *arg, const struct answer *answer);
bool back_ask(struct back *b, struct ask *ask, back_answered answered, void *arg);
void back_keeper_attach(struct back *b, int fd);
void back_ask_tick(struct back *b);

/* back/attempt.c */
enum back_command {
    COMMAND_ATTEMPT,
    COMMAND_HOLD,
    COMMAND_RELEASE,
    COMMAND_RETRY,
    COMMAND_REMOVE,
    COMMAND_REROUTE,
    COMMAND_DISCARD, /* unclaimed recipients, for want of space */
};
struct back_change { /* what a command does to each of its messages */
    enum back_command   command;
    struct mail_address to;  /* COMMAND_RELEASE: deliver there; else null */
    struct str          via; /* COMMAND_REROUTE: of queue/via.h; empty: as configured */
};

struct attempt_recipient {
    struct mail_address        address;
    struct mail_address        sender;       /* with EXPANDED_SENDER */
    struct mail_address        mailbox;      /* where it leads, once `resolved` */
    const struct mail_address *moved_to;     /* may be shown; or NULL */
    uint32_t                   parent, root; /* itself: of the envelope */
    uint32_t                   children;
    uint32_t                   same_as; /* the recipient with the same mailbox that is being delivered; itself: none */
    uint8_t                    flags;   /* enum expanded_flags */
    bool                       due;     /* to be tried in this attempt */
    bool                       tried;   /* and was: if it is pending still, status, reason and permanent say why */
    bool                       permanent; /* trying again is in vain */
    bool                       resolved;  /* mailbox and quota are known without asking */
    bool                       leaves;    /* it is in one of `ways` */
    bool                       given;     /* the carrier has it, or had it until this attempt */
    struct mail_address        leaving;   /* to whom, once it `leaves` */
    uint32_t                   way_next;
    enum recipient_state       state, before; /* now, and when the attempt began */
    struct str                 status, reason;
    struct str                 last_status; /* what stood in its way until its time was over; empty: it was not that */
    /* What another server said, the last time one was asked; all empty: none was. */
    struct str                 remote, remote_address; /* "mx.example.net", "192.0.2.1" */
    uint16_t                   code;                   /* 0: no reply came */
    struct str                 reply;                  /* "550 5.1.1 No such user", '\n' between lines */
    bool                       relayed;                /* DELIVERED to a server that does not report success itself */
    bool                       reports;                /* DELIVERED to one that does, so we do not */
    bool                       refused, cut;           /* as in carriage.h; by this server itself */
    uint64_t                   retry_ms;               /* not earlier than this, Unix ms */
    uint64_t                   quota, began_ms;
    const char                *path; /* of the Maildir */
};

struct attempt {
    struct back              *back;
    struct list               link;
    uint64_t                  id;
    struct arena              arena;
    struct buf                record; /* the message's payload */
    struct message            message;
    struct progress           progress; /* as it was read; recipients are in `to` */
    struct attempt_recipient *to;
    size_t                    count, room;
    size_t                    next;              /* to be started */
    struct way               *ways, **ways_last; /* of recipients that leave */
    struct map                way_map;
    struct list               taken;       /* carriages whose outcome it writes down */
    unsigned                 *counted;     /* where it is counted */
    bool                      counts;      /* as an attempt at the message */
    size_t                    saved_count; /* recipients from here on stand in no record yet */
    struct map                mailboxes;   /* that have or get the message: text -> recipient + 1 */
    unsigned                  running, unsaved;
    unsigned                  sharing; /* recipients that wait for another one with the same mailbox */
    int                       body_fd;
    bool                      loading, ending;
    bool                      without_body;     /* only records are read */
    bool                      without_progress; /* who it is from and to, and not what became of it */
    struct back_lookups      *lookups;          /* for one of many messages; NULL: its records are read alone */
    bool                      earlier; /* an earlier attempt delivered it to somebody, maybe under another name */
    uint64_t                  now_ms, began_ms;
    enum back_command         command;
    struct mail_address       command_to; /* as in struct back_change */
    struct str                command_via;
    void (*command_done)(void *arg, bool ok, const char *text);
    void *command_arg;

    /* for loading, which may run on a work thread */
    struct queue_place      home, progress_place;
    struct queue_expansion *expansions;
    uint32_t                expansion_count;
    const char             *home_dir, *lane0_dir, *body_dir;
    bool                    load_ok;
    struct err              load_err;
};

/* False: no memory. `payload`: the message's record if it is at hand, else empty. */
bool                      back_attempt_start(struct back *b, struct queue_message *m, struct str payload);
/* The same for a command; *command_done is called in any case if true was returned. */
bool                      back_command_start(struct back *b, struct queue_message *m, const struct back_change *change,
                                             void (*done)(void *arg, bool ok, const char *text), void *arg);
/* One that begins because the carrier said what became of a carriage. */
bool                      back_attempt_start_outcome(struct back *b, struct queue_message *m, struct str payload);
void                      back_jobs_kick(struct back *b);
void                      back_attempt_free(struct attempt *a);
/* Adds a recipient that takes the place of `parent`; NULL: no memory. */
struct attempt_recipient *attempt_expand(struct attempt *a, uint32_t parent);
void attempt_step(struct attempt *a); /* starts what can be started, concludes when all is through */
bool attempt_is_override(const struct attempt *a, size_t i);
/* The return path that counts for a recipient: the message's own, or a list's owner. */
const struct mail_address *attempt_sender(const struct attempt *a, size_t i);
const struct recipient    *attempt_envelope_recipient(const struct attempt *a, size_t i); /* whom the sender wrote to */

/* back/even.c: calls *done later, when a recipient that was not delivered to has cost what a delivery costs; false: it
 * need not, or cannot, and *done is not called. */
bool back_even_start(struct attempt *a, size_t i, void (*done)(void *arg), void *arg);

struct back_lookups { /* open lanes, of one thread at a time */
    struct lane_lookup *of[QUEUE_LANES];
};
void back_lookups_done(struct back_lookups *l);

/* back/load.c: reads what the spool knows of the message; on a work thread, or at once. */
void attempt_load(void *attempt);
void attempt_load_begin(struct attempt *a, const struct queue_message *m);

/* back/conclude.c */
struct str         attempt_address(struct attempt *a, const struct mail_address *address);
uint64_t           attempt_expires_ms(const struct attempt *a); /* when recipients that are pending are given up */
void               attempt_log(struct attempt *a, size_t i, const char *result);
void               attempt_save(struct attempt *a);     /* what is known so far, while the attempt goes on */
void               attempt_conclude(struct attempt *a); /* all recipients are through */
/* The group that ends the attempt when it is durable; attempt_end adds PROGRESS, or FINISHED where nothing is left. */
struct back_store *attempt_store(struct attempt *a);
void               attempt_end(struct attempt *a, struct back_store *s, struct progress *p);

/* back/command.c */
void attempt_command(struct attempt *a);       /* carries out a->command */
void attempt_remove_unread(struct attempt *a); /* COMMAND_REMOVE where the spool cannot tell what it is */

/* back/report.c: what to tell whom, gathered by return path, then added to the group of records. */
struct back_reports;
struct back_reports *back_reports_new(struct attempt *a);
bool                 back_reports_add(struct back_reports *r, size_t i, unsigned action /* enum mail_report_action */);
void                 back_reports_put(struct back_reports *r, struct back_store *s); /* frees it */
/* Appends a message of our own: null sender, class CLASS_OURSELVES. */
bool back_message_put(struct back *b, struct back_store *s, uint64_t id, uint64_t cause, const struct mail_address *to,
                      enum body_type body, bool smtputf8, struct str content);

/* back/digest.c */
void back_digest_tick(struct back *b);

/* back/filter.c: which messages a request means; back/list.c: how they are shown. `jansson` values, as struct json_t.
 */
struct json_t;
struct back_filter_address {
    bool                wanted, local; /* not `local`: the domain alone counts */
    struct mail_address address;
    struct address_hint hint;
};
struct back_filter {
    struct back_filter_address sender, recipient, domain;
    struct str                 site;               /* name or address of the server that was asked last */
    struct str                 reply, text, state; /* empty: any */
    uint16_t                   code;               /* of the last reply; 0: any */
    uint64_t                   older_ms, newer_ms; /* received before, after; 0: any */
    uint64_t                   larger, smaller;    /* than this, in octets; 0: any */
    bool                       unclaimed;
    uint64_t                  *ids; /* sorted; only these */
    size_t                     id_count;
    bool                       by_id;
    struct arena               arena;
};
/* Strings borrow the request. False: *ret_wrong says what is wrong with it, and there is nothing to end. */
bool        back_filter_get(const struct json_t *request, struct back_filter *ret_filter, char ret_wrong[128]);
void        back_filter_done(struct back_filter *f);
bool        back_filter_is_empty(const struct back_filter *f);
/* What memory alone can tell; then the rest, with the message read. */
bool        back_filter_may_match(const struct back_filter *f, const struct queue_message *m);
bool        back_filter_matches(const struct back_filter *f, const struct attempt *a);
bool        back_filter_needs_message(const struct back_filter *f);
bool        back_filter_needs_progress(const struct back_filter   *f,
                                       const struct queue_message *m); /* if it needs the message */
const char *back_state_name(const struct queue_message *m);            /* as operators know it */
/* Reads the message at once, into *ret_peek, which back_peek_done ends. False: err. */
bool        back_peek(struct back *b, const struct queue_message *m, bool with_body, struct attempt *ret_peek,
                      struct err *err);
/* The same in two steps: after init comes attempt_load, perhaps on another thread. */
void        back_peek_init(struct attempt *ret_peek, struct back *b, const struct queue_message *m, bool with_body);
void        back_peek_done(struct attempt *peek);
/* Appends a message's line, with the fields that it has in a listing, or all of them. On any thread. */
void back_row(const struct back *b, const struct queue_message *m, struct attempt *peek, bool whole, struct buf *out);
struct json_t *back_status(struct back *b);
struct json_t *back_json_text(struct str text); /* octets that are no UTF-8 become '?' */

/* back/scan.c: very many messages, read on a work thread, some hundreds at a time. */
enum back_scan_kind { SCAN_MATCHES, SCAN_ROWS, SCAN_WHOLE_ROWS };
struct back_scan;
/* The filter is borrowed. NULL: no memory. */
struct back_scan *back_scan_new(struct back *b, const struct back_filter *filter, enum back_scan_kind kind,
                                void (*done)(void *arg), void *arg);
void              back_scan_free(struct back_scan *s); /* not while it runs */
/* Takes as many ids as a run has room for; returns how many of them it has dealt with, also those whose messages are
 * gone. 0: none was left. Then `done` will be called: */
size_t            back_scan_run(struct back_scan *s, const uint64_t *ids, size_t count);
bool              back_scan_is_running(const struct back_scan *s);
/* Of the last run: the lines of those that match, and how many, until the next one; or their ids, in order. */
struct str        back_scan_rows(const struct back_scan *s);
size_t            back_scan_found(const struct back_scan *s, const uint64_t **ret_ids);

/* back/control.c, back/change.c */
void back_control_listen(struct back *b, int fd);
void back_changes_status(struct back *b, struct json_t *status); /* the changes that go on, where there are any */

#endif
