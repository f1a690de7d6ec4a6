/* hint.h: what memory keeps of a message's addresses and of its last reply, so that a search of a large queue reads
 * almost only what it looks for. Pure.
 *
 * A hint is a hash of 16 bits. It can rule a message out, never in: a search of a million messages for one domain of
 * many reads some fifteen too many. Hashes of 32 bits were rejected: with an octet more of each kind they would only
 * spare those fifteen. They stand in indexes of segments (doc/spool-format.md), so they depend on the name alone; who
 * makes names that collide makes an operator's search slower, and nothing else. Letters of ASCII count alike in either
 * case. */
#ifndef TACIT_QUEUE_HINT_H
#define TACIT_QUEUE_HINT_H

#include "queue/progress.h"

enum {
    HINT_ANY,  /* several, or not known: the message must be read */
    HINT_NONE, /* there is none */
};
struct address_hint {
    uint16_t domain, local;
};
struct reply_hint {
    uint16_t remote; /* host that was asked last */
    uint16_t code;   /* that it answered; HINT_NONE: no reply came */
};

uint16_t            hint_of_name(struct str name); /* a domain or a host; never HINT_ANY, nor HINT_NONE */
struct address_hint hint_of_address(const struct mail_address *a);
/* What all of them share. */
struct address_hint hint_of_recipients(const struct recipient *to, size_t count);
/* Of those that are not final. */
struct reply_hint   hint_of_replies(const struct recipient_progress *to, size_t count);

/* Whether a message with this hint cannot be what is looked for; either may be HINT_ANY. */
static inline bool hint_excludes(uint16_t hint, uint16_t wanted)
{
    return hint != HINT_ANY && wanted != HINT_ANY && hint != wanted;
}
static inline bool address_hint_excludes(struct address_hint hint, struct address_hint wanted)
{
    return hint_excludes(hint.domain, wanted.domain) || hint_excludes(hint.local, wanted.local);
}

#endif
