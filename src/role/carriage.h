/* carriage.h: what back and the carrier say to each other. A carriage is one message for recipients that go the same
 * way: to one domain, one smarthost, one LMTP server. One message of io/ipc.h each, encoded with base/codec.h.
 *
 *   back -> carrier   CARRY     the message. With it, if its content is in a file, a descriptor of that
 *                     RECORDED  what was said by CARRIED is durable; the carrier may forget it
 *                     CANCEL    it is not to go: PUT_BACK, if it was not begun or can begin no more; else CARRIED
 *                               comes, as without it
 *   carrier -> back   OPEN      (only at the start of a channel) a carriage that the carrier has already, from a back
 *                               that ended: nobody else may carry these recipients now
 *                     WELCOME   that was the last OPEN; from here on CARRY may come
 *                     CARRIED   what became of each recipient; said again on a new channel until RECORDED
 *                     PUT_BACK  nothing was begun, no MAIL was said of it: the site has as many waiting as it should,
 *                               the carrier ends, or CANCEL was said
 *                     ROOM      the site that PUT_BACK named has room for so many again
 *
 * A carriage is known by the message's id and the numbers of its recipients in the message (queue/progress.h), so that
 * a back that was started again recognises what its predecessor had given away: that is how a message is not sent twice
 * when back ends between a server's 250 and the record of it. If the carrier ends, back defers what it had. */
#ifndef TACIT_ROLE_CARRIAGE_H
#define TACIT_ROLE_CARRIAGE_H

#include "base/arena.h"
#include "base/codec.h"
#include "mail/envelope.h"
#include "smtp/client.h"

enum carriage_kind {
    CARRIAGE_CARRY = 1,
    CARRIAGE_RECORDED,
    CARRIAGE_OPEN,
    CARRIAGE_WELCOME,
    CARRIAGE_CARRIED,
    CARRIAGE_PUT_BACK,
    CARRIAGE_ROOM,
    CARRIAGE_CANCEL,
};

enum { CARRIAGE_RECIPIENTS_MAX = 100, CARRIAGE_TEXT_MAX = 512 /* octets of a reply */ };

struct carriage {
    uint64_t            id;      /* the message's */
    uint32_t            number;  /* of this carriage: the lowest of `indices`; with `id` it names it */
    uint32_t           *indices; /* of the recipients in the message, one for each, growing */
    struct recipient   *recipients;
    size_t              recipient_count; /* 1 to CARRIAGE_RECIPIENTS_MAX */
    struct str          via;             /* queue/via.h; "mx": by the DNS of `domain` */
    struct str          route;  /* title of the route whose settings hold (config.h), "*" if none was written */
    struct str          domain; /* canonical, or an address literal; where via is no "mx" only for the log */
    struct mail_address sender;
    enum body_type      body;        /* what the content really is */
    bool                header_utf8; /* raw UTF-8 stands in a header, or an address needs it */
    enum dsn_ret        ret;
    struct str          envid;
    uint64_t            size;     /* octets of the content */
    bool                now;      /* an operator wants it tried: its site rests no longer */
    bool                external; /* the content is in the file whose descriptor came along, else in `content` */
    struct str          content;
};

/* What became of a recipient. Verdicts are those of smtp/client.h, but never NOT_TRIED. */
struct carried_recipient {
    enum smtp_client_verdict verdict;
    enum smtp_stage          stage;
    uint16_t                 code;        /* of the reply; 0: there was none */
    struct smtp_status       status;      /* to report; of class 4 where DEFERRED, also when the reply is 5yz */
    struct str               text;        /* the reply's, '\n' between lines, at most CARRIAGE_TEXT_MAX; or empty */
    struct str               words;       /* for people: a sentence without a full stop; empty: the reply says it */
    bool                     unconfirmed; /* as in smtp/client.h */
    struct mail_address      moved_to;
};
struct carried {
    uint64_t                  id;
    uint32_t                  number;
    struct str                host;     /* whom we spoke to last: "mx.example.net"; empty: nobody */
    struct str                address;  /* its address, "192.0.2.1" */
    bool                      dsn;      /* it sends reports of success itself (DSN was offered) */
    bool                      refused;  /* every host refused us at once with 5xx: a few retries, then it fails */
    bool                      stopped;  /* the carrier ended in the middle of it: what was DEFERRED without a reply says
                                           nothing about the host */
    uint64_t                  retry_ms; /* the site rests until then, Unix ms; 0: as the schedule says */
    struct carried_recipient *recipients;
    size_t                    recipient_count; /* as in the carriage */
};

struct carriage_message {
    enum carriage_kind kind;
    struct carriage    carriage; /* CARRY; of OPEN id, number and indices */
    struct carried     carried;  /* CARRIED; of RECORDED, CANCEL and PUT_BACK id and number */
    uint64_t           site;     /* PUT_BACK (0: no site is to blame), ROOM */
    uint32_t           room;     /* ROOM */
};

/* Appends one message; false: it does not fit into `out`, or not into one message of io/ipc.h. */
bool carriage_put(const struct carriage_message *m, struct buf *out);
/* Strings borrow `message`, arrays are of `arena`. False: malformed, or the arena is full. */
bool carriage_get(struct str message, struct arena *arena, struct carriage_message *ret_message);

#endif
