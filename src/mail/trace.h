/* trace.h: the trace fields a server puts in front of a message (RFC 5321 4.4; RFC 3848 and RFC 6531 3.7.3 for the
 * names after "with"). Fields end in CRLF. Whatever a client said is made harmless first: it can neither end a line,
 * nor open or close a comment, nor pass the length of a line. */
#ifndef TACIT_MAIL_TRACE_H
#define TACIT_MAIL_TRACE_H

#include "mail/address.h"
#include "mail/envelope.h"

/*   Received: from HELO ([192.0.2.1])
 *       by BY with PROTOCOL id ID
 *       for <ADDRESS>; DATE                                                                                        */
struct mail_received {
    struct str                 client;      /* "192.0.2.1", "2001:db8::1"; anything else is shown as a word: "local" */
    struct str                 helo;        /* as given; empty: "unknown" */
    struct str                 by;          /* our name */
    struct str                 protocol;    /* ESMTP, ESMTPS, ... */
    struct str                 id;          /* the message's id */
    const struct mail_address *recipient;   /* the only recipient, or NULL: several are never shown to each other */
    bool                       smtputf8;    /* UTF-8 may be shown; without it such a recipient is left out */
    uint64_t                   received_ms; /* Unix time */
};
bool mail_trace_received(const struct mail_received *r, struct buf *out);
/* The same from an envelope: its origin, and its recipient if it has exactly one. */
bool mail_trace_received_of(const struct envelope *e, struct str by, struct str id, uint64_t received_ms,
                            struct buf *out);

bool mail_trace_return_path(const struct mail_address *sender, struct buf *out);
bool mail_trace_delivered_to(const struct mail_address *recipient, struct buf *out);

/* Appends at most `max` octets of `s` for use inside a header field or a line of text: tabs and line ends become
 * blanks; other control characters, and bytes that are not UTF-8 (all bytes over 127 where not `utf8`), become '?'; a
 * cut text ends in "..." and never inside a character. */
bool mail_safe_text(struct str s, bool utf8, size_t max, struct buf *out);

#endif
