/* digest.h: the daily letter to a postmaster about unclaimed mail: messages from strangers for mailboxes that do not
 * exist, which are held for some days. It shows envelopes, never content. */
#ifndef TACIT_MAIL_DIGEST_H
#define TACIT_MAIL_DIGEST_H

#include "mail/envelope.h"

struct mail_digest_entry {
    struct str          id; /* as `tacit queue` takes it */
    uint64_t            received_ms;
    uint64_t            expires_ms; /* then it is removed */
    uint64_t            size;       /* octets */
    struct mail_address from, to;
    struct str          client; /* address of the client, as text; may be empty */
};

enum { MAIL_DIGEST_ENTRIES_MAX = 200 }; /* shown; the rest is counted */

struct mail_digest {
    struct str                      mta;    /* our host name */
    struct str                      id;     /* the digest's own id */
    struct str                      domain; /* whose mail it is */
    uint64_t                        date_ms;
    const struct mail_digest_entry *entries; /* as many as there are, or the first of them */
    size_t                          entry_count;
    uint64_t                        total; /* of all held for this domain; at least entry_count */
    bool                            smtputf8;
};

/* Appends the whole message, to postmaster@domain, with CRLF line ends. False: `out` has met its ceiling. */
bool mail_digest_format(const struct mail_digest *d, struct buf *out, enum body_type *ret_body);

#endif
