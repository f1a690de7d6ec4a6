/* brief.h: what the queue in memory keeps of a record. A record is applied by its brief, whether that was made from the
 * record itself or read from an index of its segment (doc/spool-format.md), so both ways lead to the same queue. Pure.
 */
#ifndef TACIT_QUEUE_BRIEF_H
#define TACIT_QUEUE_BRIEF_H

#include "queue/hint.h"

struct record_brief {
    enum record_type type;
    uint64_t         id; /* 0 in RECORD_STATE */
    union {
        struct {
            uint64_t            size;   /* octets of the content */
            uint64_t            octets; /* of the record's payload */
            uint32_t            recipients;
            struct address_hint from, to;
            uint8_t class; /* enum client_class */
            bool external;
        } message;
        struct {
            uint64_t          since_ms, last_ms, next_ms;
            uint32_t          attempts;
            uint32_t          recipients, pending, waiting, unclaimed;
            uint8_t           flags; /* enum progress_flags */
            struct reply_hint reply;
        } progress;
        struct {
            uint32_t first;
        } expansion;
        struct {
            struct str name, value;
        } state;
    };
};

/* Strings borrow `payload`; `scratch` is used for decoding and may be reset at once. False: not a well-formed record of
 * the queue. */
bool record_brief_of(uint8_t type, struct str payload, struct arena *scratch, struct record_brief *ret_brief);

/* As octets of an index. Strings borrow what the reader reads. */
bool record_brief_put(const struct record_brief *b, struct buf *out);
bool record_brief_get(struct reader *r, struct record_brief *ret_brief);

#endif
