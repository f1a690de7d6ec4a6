/* envelope.h: what is known of a message besides its content (RFC 5321 2.3.1, RFC 3461, RFC 5598 4.1).
 *
 * Everything an envelope points at lies in one arena (a transaction's, or an attempt's) or in a record it was
 * read from. */
#ifndef TACIT_MAIL_ENVELOPE_H
#define TACIT_MAIL_ENVELOPE_H

#include "mail/address.h"

/* Who the client is to us, highest trust first: doc/disclosure.md, and policy/disclosure.h, which decides. */
enum client_class {
    CLASS_SUBMITTER,     /* the local submission socket; later AUTH */
    CLASS_RELAY,         /* a configured network; later a client certificate */
    CLASS_CORRESPONDENT, /* later: needs SPF and a memory of what our users sent */
    CLASS_ACCOUNTABLE,   /* later: needs SPF or DKIM */
    CLASS_BOUNCE,        /* the null reverse-path */
    CLASS_STRANGER,
    CLASS_BLOCKED,
    CLASS_OURSELVES, /* messages that this server makes: reports, digests */
};
const char *client_class_name(enum client_class class);

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };

/* RFC 3461 4.1; no bit set: NOTIFY was not given, which means FAILURE and perhaps DELAY. */
enum dsn_notify { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum dsn_ret { RET_UNSET, RET_HDRS, RET_FULL };

struct recipient {
    struct mail_address address;
    struct str          orcpt_type; /* "rfc822", "utf-8", ...; empty: ORCPT was not given */
    struct str          orcpt;      /* decoded from xtext */
    uint8_t             notify;     /* enum dsn_notify bits */
};

/* Where a message came from; all of it goes into the record, the trace and the log. */
struct origin {
    enum client_class class;
    struct str session;  /* the session's id, as in the log */
    struct str client;   /* address of the client as text, "192.0.2.1" or "2001:db8::1"; "local" for the socket */
    struct str helo;     /* as given */
    struct str protocol; /* RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, LMTP, UTF8SMTP, ... */
    struct str user;     /* who was authenticated, or empty */
};

struct envelope {
    struct origin       origin;
    struct mail_address sender;
    enum body_type      body;
    bool                smtputf8;
    enum dsn_ret        ret;
    struct str          envid;         /* decoded from xtext; empty: not given */
    uint64_t            declared_size; /* MAIL SIZE=, octets; 0: not given */
    struct recipient   *recipients;
    size_t              recipient_count;
};

#endif
