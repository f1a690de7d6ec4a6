/* carry.h: mail that leaves this server, as back sees it: the carriages that the carrier has (carriage.h), and the
 * messages that wait because it takes no more.
 *
 * A carriage belongs to no attempt. An attempt ends when it has given what is to leave, and another one begins with the
 * outcome: so a message that is under way for long takes some hundred octets, its other recipients are tried, commands
 * find it, and what a predecessor of this back gave away is no special case.
 *
 *           carry_give, OPEN             CARRIED                    carry_take           records are durable
 *   (none) ------------------> OUT -------------------> ANSWERED -------------> TAKEN --------------------> (none)
 *      ^                        | the channel ended                     ^        carry_recorded says RECORDED
 *      |                        +------------------------> CUT ---------+
 *      |                        | PUT_BACK, too late for another try    |
 *      |   PUT_BACK, parked     +------------------------> LATE --------+
 *      |   or was called back   |
 *      +------------------------+            All changes go through carriage_change in back/carry.c.
 *
 *   state                guarantee
 *   OUT                  the carrier may be at work on it: no other carriage has these recipients
 *   ANSWERED, CUT, LATE  what became of it is known here; it waits for an attempt at its message
 *   TAKEN                an attempt writes it down
 *
 * What operators change is called back first (CANCEL): while a recall of a message lasts, nothing of it is given.
 *
 * Parked messages are off the memory but for their id: under the site that the carrier named, until it says ROOM, or in
 * a list of back's own where queue.remote messages are under way or no carrier is there. */
#ifndef TACIT_BACK_CARRY_H
#define TACIT_BACK_CARRY_H

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "role/carriage.h"

struct attempt;
struct back;
struct back_carrier;
struct back_recall;
struct queue_message;

enum back_carriage_state {
    BACK_CARRIAGE_OUT,
    BACK_CARRIAGE_ANSWERED,
    BACK_CARRIAGE_CUT,
    BACK_CARRIAGE_LATE,
    BACK_CARRIAGE_TAKEN
};

struct back_carriage {
    struct list              link;       /* among those of its carrier */
    struct list              answered;   /* of those that wait for an attempt, or of an attempt's `taken` */
    struct back_carriage    *next;       /* of the same message */
    struct back_carrier     *carrier;    /* NULL: its channel ended */
    enum back_carriage_state state, how; /* how: ANSWERED, CUT or LATE, once it is TAKEN */
    uint64_t                 id;
    uint32_t                 number;
    uint32_t                 round; /* attempts at the message before this one */
    uint64_t                 given_ms, expires_ms;
    uint64_t                 answered_ms; /* on the loop's clock */
    uint32_t                *indices;
    size_t                   count;
    bool                     cancelled; /* the carrier was told so */
    struct buf               outcome;   /* CARRIED as it came */
    struct buf               record;    /* the message's record, if that is all there is to read; or empty */
};

struct back_park {
    uint64_t  site;
    uint64_t *ids; /* from `first` on; the oldest first, more or less */
    size_t    first, count, room;
};

struct back_carry {
    struct list      carriers;  /* the newest last: it gets what is new */
    struct map       messages;  /* id -> struct back_carriage */
    struct map       recalls;   /* id -> struct back_recall */
    struct list      answered;  /* to be written down */
    struct list      gathering; /* known too, in the order of their coming; others of their messages are OUT */
    unsigned         attempts;  /* that began with an outcome */
    struct back_park own;
    size_t           kept;  /* octets in `record` of carriages */
    struct arena     arena; /* for decoding: a chunk of it is there from the start, and enough for a message */
    struct buf       out;   /* for RECORDED and CANCEL: the same */
};

/* Recipients of a message that leave by the same way; several of these where they are too many for one carriage. */
struct way {
    struct way         *next;
    struct str          via, route, domain;
    struct mail_address sender;
    uint32_t            first, last; /* recipients, chained by way_next */
    size_t              count, octets;
    bool                is_list; /* `sender` is a list's owner */
};

/* back/carry.c */
bool                  back_carry_init(struct back *b, struct err *err);
void                  back_carrier_attach(struct back *b, int fd); /* takes fd */
bool                  back_carry_is_idle(const struct back *b);    /* nothing is known that is not recorded */
bool                  back_carry_is_out(const struct back *b);     /* a carrier has something of which it will tell */
bool                  back_carry_is_open(struct back *b);          /* something may be given now */
void                  back_carry_kick(struct back *b);             /* starts attempts at messages with an outcome */
/* The attempt at the message has ended. */
void                  back_carry_settle(struct back *b, struct queue_message *m);
struct back_carriage *back_carriage_first(struct back *b, uint64_t id);
struct back_carriage *back_carriage_find(struct back *b, uint64_t id, uint32_t number);
/* Takes `indices` (of malloc). NULL: no memory, and `indices` are freed. */
struct back_carriage *back_carriage_new(struct back *b, struct back_carrier *carrier, uint64_t id, uint32_t *indices,
                                        size_t count);
void                  back_carriage_free(struct back *b, struct back_carriage *c);
/* The carrier that gets what is new; NULL: none now. */
struct back_carrier  *back_carrier_ready(struct back *b);
bool                  back_carrier_send(struct back_carrier *c, struct str message, int fd);
/* RECORDED or CANCEL. */
void                  back_carrier_say(struct back_carrier *c, enum carriage_kind kind, uint64_t id, uint32_t number);
/* So that the channel does not overflow; a descriptor that is queued is one that is open. */
bool                  back_carrier_has_room(const struct back_carrier *c, bool with_fd);
void                  back_carrier_rest(struct back_carrier *c); /* it gets nothing for a short while */

/* back/way.c: which way a recipient leaves. */
bool       way_leads_out(const struct attempt *a, size_t i); /* its domain is none of ours */
/* It may: an address of ours, too, where one of our domains is delivered to another server. */
bool       way_may_lead_out(const struct attempt *a, size_t i);
/* The recipient leaves: it is put with those that go the same way (carry_give gives them away), or is through with it,
 * since its way is "discard:" or "hold:". `deliver`: of its domain; empty: the route says. What is to be logged; NULL:
 * nothing yet. False: no memory. */
bool       way_take(struct attempt *a, size_t i, struct str deliver, const char **ret_result);
/* Whether the server that such a recipient goes to speaks for its domain: by the DNS, or by a route written for it. */
bool       way_is_of_domain(const struct attempt *a, size_t i);
/* The way of mail that an operator released from the way `hold:`. */
struct str way_released(const struct attempt *a);

/* back/give.c: gives the attempt's ways to the carrier, or parks the message. What an outcome is about must be on disk.
 */
void carry_give(struct attempt *a);

/* The attempt's recipients that are under way are marked `given`, and the outcomes that are known are applied. */
void carry_take(struct attempt *a);
void carry_recorded(struct attempt *a); /* they are durable */

/* back/outcome.c: what became of a carriage becomes states of recipients. */
void     outcome_apply(struct attempt *a, const struct back_carriage *c);
/* The log of what became of one whose message was removed meanwhile. */
void     outcome_log_removed(struct back *b, const struct back_carriage *c);
/* When a recipient that was tried and is pending is tried again, after `attempts` attempts. */
uint64_t outcome_next_ms(const struct attempt *a, size_t i, uint32_t attempts);

/* back/recall.c: a message that an operator changes is called back from the carrier. */
enum { RECALL_TEXT = 160 };
/* NULL: no memory. Several may call back the same message. */
struct back_recall *recall_begin(struct back *b, uint64_t id);
void                recall_end(struct back_recall *r); /* it goes on, where the change has not ended it */
bool                recall_lasts(struct back *b, uint64_t id);
/* What the carrier has of it is to come back; again for what was given, or for which there was no room, the last time.
 */
void                recall_ask(const struct back_recall *r);
/* What became of a carriage of it that could not be put back; NULL: the carrier ended. */
void                recall_note(struct back *b, const struct back_carriage *c, const struct carried *carried);
/* What was, or is, being sent of it, for people; "": nothing. */
void                recall_text(const struct back_recall *r, char ret_text[RECALL_TEXT]);

/* back/park.c */
void     park_put(struct back *b, struct back_park *park, struct queue_message *m);
/* Up to `count` messages are due now. */
void     park_take(struct back *b, struct back_park *park, size_t count);
void     park_move(struct back *b, struct back_park *from, struct back_park *to);
void     park_done(struct back_park *park);
/* What is parked in back's own list becomes due as there is room. */
void     back_carry_fill(struct back *b, uint64_t now_ms);
/* When a message that waits for something else is looked at all the same: to be given up, or for its notice. */
uint64_t park_until_ms(const struct back *b, const struct queue_message *m, uint64_t most_ms);

#endif
