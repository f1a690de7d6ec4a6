/* report.h: reports about delivery (RFC 3464 in the multipart/report of RFC 6522; RFC 6533 for UTF-8 addresses;
 * RFC 3834 for Auto-Submitted): what happened to a message, first for people, then for programs.
 *
 * A report names only the recipients it is given: the caller leaves out whom the reader must not learn about (other
 * recipients, the members of an alias, the new address of somebody who moved) by giving the address as the sender
 * wrote it as `final`, and nothing of a server behind that address. What another server said is quoted as its own
 * words; they may be hostile, and neither end a line of ours nor begin one. */
#ifndef TACIT_MAIL_REPORT_H
#define TACIT_MAIL_REPORT_H

#include "codes/codes.h"
#include "mail/envelope.h"
#include "mail/locale.h"

enum mail_report_action { /* RFC 3464 2.3.3 */
                          REPORT_FAILED,
                          REPORT_DELAYED,
                          REPORT_DELIVERED,
                          REPORT_RELAYED, /* handed to a server that gives no reports */
                          REPORT_EXPANDED,
};

/* DELAYED: why there is nothing else to tell. */
enum mail_report_wait {
    REPORT_TRIED,
    REPORT_FIRST_ATTEMPT, /* is still under way */
    REPORT_NO_ATTEMPT,    /* yet: others are before it */
};

struct mail_report_recipient {
    struct mail_address     final;
    struct str              original_type; /* of ORCPT; empty: not given */
    struct str              original;      /* decoded */
    enum mail_report_action action;
    struct codes_status     status; /* its class is shown as the action wants it: 5, 4 or 2 */
    enum mail_report_wait   wait;
    struct codes_status     last_status; /* FAILED for time ran out: what stood in the way; class 0: it did not */
    bool                    is_behind;   /* FAILED, DELAYED: final itself is right; what it leads to fails */

    /* Of another server that was asked; all empty and 0: none was, or the reader must not learn of it. */
    struct str remote, remote_address; /* "mx.example.net", "192.0.2.1" or "2001:db8::1"; one may be empty */
    uint16_t   code;                   /* of its reply; 0: none came */
    struct str reply;                  /* the reply as it came, '\n' between lines, each with or without the code */
    struct str happened;               /* where none came: our words, a sentence without a full stop; or empty */

    const struct mail_address *moved_to;        /* the new address, if this reader may see it; with `remote` that server
                                                   says so; or NULL */
    uint32_t                   attempts;        /* 0: not said */
    uint64_t                   last_attempt_ms; /* 0: there was none */
    uint64_t                   retry_until_ms;  /* DELAYED; 0: not said */
    bool                       tells_failure;   /* DELAYED: a failure would be reported too */
};

enum {
    MAIL_REPORT_PEOPLE_MAX = 25,      /* recipients described in the part for people */
    MAIL_REPORT_RECIPIENTS_MAX = 1000 /* recipients in the part for programs; further ones are only counted */
};

struct mail_report {
    struct str                          mta;         /* our host name */
    struct str                          id;          /* the report's own id: Message-ID, MIME boundary */
    uint64_t                            date_ms;     /* now, Unix time */
    struct mail_address                 to;          /* the return path; never null */
    const struct mail_address          *list;        /* the reader owns it, and the message was to it; else NULL */
    struct str                          envelope_id; /* ENVID, decoded; empty: none */
    uint64_t                            arrival_ms;  /* when we took the message; 0: not said */
    const struct locale                *locale;      /* language of the part for people (locale.h); NULL: English */
    bool                                smtputf8;    /* the reader takes UTF-8 headers, and such fields of the report */
    const struct mail_report_recipient *recipients;
    size_t                              recipient_count; /* at least 1 */
    struct str                          content; /* the original, or at least its header; empty: nothing is quoted */
    bool                                full;    /* all of it is returned; else its header */
    bool                                binary;  /* it is BINARYMIME: only its header is returned */
};

/* Appends the whole message with CRLF line ends. *ret_body: what the report needs from servers on its way. False:
 * `out` has met its ceiling; a caller that asked for `full` may try again without. */
bool mail_report_format(const struct mail_report *r, struct buf *out, enum body_type *ret_body);

#endif
