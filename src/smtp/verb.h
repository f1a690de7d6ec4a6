/* verb.h: the verbs of verb.def as a table. */
#ifndef TACIT_SMTP_VERB_H
#define TACIT_SMTP_VERB_H

#include "smtp/server.h"

enum smtp_verb_flag {
    VERB_NEEDS = 1,
    VERB_BARE = 2,
    VERB_IDLE = 4,
    VERB_LISTED = 8,
    VERB_AUTH = 16,
    VERB_CONTENT = 32,
};

enum smtp_verb_offer {
    OFFER_NEVER,
    OFFER_ALWAYS,
    OFFER_SMTP,
    OFFER_LMTP,
    OFFER_VRFY,
    OFFER_EXPN,
    OFFER_XCLIENT,
};

/* Sets of states. */
enum {
    IN_GREETED = 1 << SMTP_SERVER_GREETED,
    IN_READY = 1 << SMTP_SERVER_READY,
    IN_MAIL = 1 << SMTP_SERVER_MAIL,
    IN_RCPT = 1 << SMTP_SERVER_RCPT,
    IN_BDAT = 1 << SMTP_SERVER_BDAT,
    IN_ANY = IN_GREETED | IN_READY | IN_MAIL | IN_RCPT | IN_BDAT,
};

struct smtp_verb {
    struct str           name;
    enum smtp_verb_offer offer;
    unsigned             states, flags;
    size_t               line_max; /* octets with CRLF */
    struct str           syntax, help;
    void (*act)(struct smtp_server *s, struct str argument, struct smtp_event *event); /* NULL: never offered */
};

const struct smtp_verb *smtp_verb_find(struct str name); /* in any case; NULL: no verb of any standard */
const struct smtp_verb *smtp_verb_at(size_t index);      /* in the order of verb.def; NULL behind the last */
bool                    smtp_verb_is_offered(const struct smtp_verb *v, const struct smtp_server_config *c);

#endif
