/* progress.h: the records that say what became of a message: RECORD_PROGRESS, RECORD_EXPANSION, RECORD_FINISHED, and
 * RECORD_STATE, which belongs to no message. Only lane 0 holds them. Pure; doc/spool-format.md has the bytes.
 *
 * The recipients of a message are numbered: first those of its envelope, then those that expansions added. */
#ifndef TACIT_QUEUE_PROGRESS_H
#define TACIT_QUEUE_PROGRESS_H

#include "queue/record.h"
#include "queue/via.h"

enum recipient_state {
    RECIPIENT_PENDING,   /* to be attempted, at once or again */
    RECIPIENT_WAITING,   /* the way out is "hold:": waits until an operator releases it */
    RECIPIENT_UNCLAIMED, /* cannot be delivered, must not be reported: held */
    RECIPIENT_DELIVERED, /* this and the following are final */
    RECIPIENT_EXPANDED,  /* replaced by the recipients of an expansion */
    RECIPIENT_FAILED,    /* given up; whoever had to be told was told in the same group of records */
    RECIPIENT_DROPPED,   /* given up without telling anybody, since nobody may be told */
    RECIPIENT_REMOVED,   /* by the operator, or unclaimed for too long */
};
static inline bool recipient_state_is_final(enum recipient_state s) { return s >= RECIPIENT_DELIVERED; }
const char        *recipient_state_name(enum recipient_state state);

struct recipient_progress {
    enum recipient_state state;
    struct str           status; /* "4.2.2"; empty: nothing to say */
    struct str           reason; /* one line for people, at most PROGRESS_REASON_MAX octets */
    /* Of another server that was asked; empty and 0: none was, or it said nothing. */
    struct str           remote, remote_address; /* "mx.example.net", "192.0.2.1" */
    uint16_t             code;
    struct str           reply; /* as it came, at most PROGRESS_REPLY_MAX octets */
};
enum { PROGRESS_STATUS_MAX = 16, PROGRESS_REASON_MAX = 255, PROGRESS_REMOTE_MAX = 255, PROGRESS_REPLY_MAX = 512 };

enum progress_flags {
    PROGRESS_HELD = 1,       /* by the operator: no attempts, no expiry */
    PROGRESS_DELAY_TOLD = 2, /* the sender knows that it takes long */
    PROGRESS_VIA = 4,        /* `via` is not empty; put and get see to it */
    PROGRESS_FLAGS = 7,
};

/* All that is known of a message's recipients: each record replaces the one before. */
struct progress {
    uint64_t                   id;
    uint64_t                   since_ms; /* Unix time from which its age counts; 0: since it was received */
    uint64_t                   last_ms;  /* newest attempt; 0: none */
    uint64_t                   next_ms;  /* next attempt of those that are pending */
    uint32_t                   attempts;
    uint8_t                    flags;
    struct str                 via; /* of queue/via.h: the way out, whatever is configured; empty: as configured */
    struct recipient_progress *recipients;
    size_t                     recipient_count;
};
enum { PROGRESS_TEXTS_MAX = 32 << 20 /* octets of texts in a record, so that it never is too large for a lane */ };
/* Texts that are too long are cut. Of very many recipients each has its part of PROGRESS_TEXTS_MAX, of which the reason
 * takes half at most and the reply gets what is left. */
bool progress_put(const struct progress *p, struct buf *out);
bool progress_get(struct str payload, struct arena *arena, struct progress *ret_progress);

enum expanded_flags {
    EXPANDED_REMOTE = 1,   /* of another domain */
    EXPANDED_HIDE = 2,     /* not to be named in reports */
    EXPANDED_SENDER = 4,   /* `sender` takes the place of the message's own */
    EXPANDED_FOLLOWED = 8, /* another server named it as the new address */
    EXPANDED_FLAGS = 15,
};
struct expanded {
    struct mail_address address, sender;
    uint8_t             flags;
};
/* Recipient `parent` was replaced by the recipients `first` and following. */
struct expansion {
    uint64_t         id;
    uint32_t         parent, first;
    struct expanded *targets;
    size_t           target_count;
};
bool expansion_put(const struct expansion *e, struct buf *out);
bool expansion_get(struct str payload, struct arena *arena, struct expansion *ret_expansion);

bool finished_put(uint64_t id, struct buf *out);
bool finished_get(struct str payload, uint64_t *ret_id);

enum { STATE_NAME_MAX = 300, STATE_VALUE_MAX = 4096 };
bool state_put(struct str name, struct str value, struct buf *out);
bool state_get(struct str payload, struct str *ret_name, struct str *ret_value);

#endif
