/* record.h: the records that make the queue: what a lane's payloads mean. Pure; doc/spool-format.md has the bytes. */
#ifndef TACIT_QUEUE_RECORD_H
#define TACIT_QUEUE_RECORD_H

#include "base/codec.h"
#include "mail/envelope.h"

enum record_type {
    RECORD_MESSAGE = 1, /* an accepted message: envelope and content */
    RECORD_PROGRESS,    /* what happened to its recipients since; see below */
    RECORD_EXPANSION,   /* a recipient replaced by others (alias, list, forward) */
    RECORD_FINISHED,    /* nothing is left to do; the message may go */
    RECORD_STATE,       /* named state of back itself (last digest of a domain, counters) */
};
enum { RECORD_VERSION = 1 }; /* first octet of every payload */

/* An address as records hold it: local part, domain, 1 octet of flags. Who wrote it may have fallen into wrong hands: a
 * reader fails at one that is too long or has a control character, which could begin a line of its own elsewhere. */
void put_address(struct buf *out, const struct mail_address *a);
void get_address(struct reader *r, struct mail_address *ret_address);

/* A message's id: 42 bits of Unix milliseconds, 8 bits of lane, 14 bits of a counter. Unique for a spool, growing
 * within a lane; shown as 13 digits of base 32 (0-9 a-z without i l o u). */
enum { MESSAGE_ID_TEXT = 13 };
struct message_id_source {
    uint64_t last;
    uint8_t  lane;
};
uint64_t message_id_next(struct message_id_source *source, uint64_t now_ms); /* grows even if the clock goes back */
void     message_id_text(uint64_t id, char ret_text[MESSAGE_ID_TEXT + 1]);
bool     message_id_parse(struct str text, uint64_t *ret_id);
int      message_id_compare(const void *x, const void *y); /* of ids in memory, for qsort and bsearch: by age */
uint64_t message_id_time_ms(uint64_t id);
unsigned message_id_lane(uint64_t id); /* whose writer made it: there its body file lies, wherever the record goes */

/* Beyond what `limits.message` may be; a record that claims more is not well-formed. */
#define RECORD_SIZE_MAX (UINT64_C(1) << 32)

struct message {
    uint64_t        id;
    uint64_t        received_ms; /* Unix time */
    uint64_t        cause;       /* for reports and copies: the id of the message they are about; else 0 */
    struct envelope envelope;
    uint64_t        size;     /* octets of the content, with the trace fields we put in front of it; RECORD_SIZE_MAX */
    struct str      content;  /* all of it when inline; empty when in a body file */
    bool            external; /* the content is in lane-NN/body/<id text>, NN = message_id_lane(id) */
    uint64_t        external_xxh3;
};

/* Appends everything but the inline content, which is the record's second part, so that it is copied only once. */
bool record_message_put(const struct message *m, struct buf *out);
/* Whole payload; strings borrow `payload`, arrays lie in `arena`. False: not well-formed (never crashes). */
bool record_message_get(struct str payload, struct arena *arena, struct message *ret_message);
bool record_message_id(struct str payload, uint64_t *ret_id); /* the id alone; the rest is not looked at */

#endif
