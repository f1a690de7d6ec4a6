/* disclosure.h: who may learn which addresses exist. The specification is doc/disclosure.md; this is its code.
 *
 * Everything a client sees is made here, from three things only: what the client itself said, the public
 * configuration, and what the keeper said it may know (enum told). Nothing here looks anything up. */
#ifndef TACIT_POLICY_DISCLOSURE_H
#define TACIT_POLICY_DISCLOSURE_H

#include "mail/envelope.h"
#include "smtp/reply.h"

enum vrfy_mode { VRFY_252, VRFY_502, VRFY_ANSWER };
enum strangers_mode { STRANGERS_ACCEPT, STRANGERS_REFUSE };

struct disclosure_config { /* the `disclosure` block of the configuration */
    enum vrfy_mode      vrfy;
    enum strangers_mode strangers;
    uint16_t            rcpt_reply; /* 250, or 252 */
};

/* What the keeper tells the server about one address, for one class of client. */
enum told {
    TOLD_NOTHING, /* this class learns nothing (and nothing was looked up) */
    TOLD_EXISTS,  /* a mailbox, an alias, a list, or caught by a catch-all */
    TOLD_ABSENT,
    TOLD_MOVED_FORWARD, /* moved, we forward, the new address may be shown: 251 */
    TOLD_MOVED_REFUSE,  /* moved, not forwarded, the new address may be shown: 551 */
    TOLD_MOVED_HIDDEN,  /* moved, not forwarded, the new address is not shown: 550 5.1.6 */
    TOLD_DISABLED,      /* 550 5.2.1, only to submitter and relay */
    TOLD_LIST,          /* EXPN and VRFY: a list whose members may be shown / that is a list */
    TOLD_AMBIGUOUS,     /* VRFY of a name that fits several: 553 5.1.4 */
    TOLD_FAILED,        /* the directory cannot answer now: 451 4.3.0, the same for all */
};

/* Decided at MAIL. `in_relay_network`, `is_local_socket`, `is_blocked` are the client's. What a client can prove (SPF,
 * DKIM, its reverse name) will be added here. */
enum client_class disclosure_classify(bool is_local_socket, bool in_relay_network, bool is_blocked,
                                      const struct mail_address *sender /* NULL before MAIL */);

/* Whether this class may be told, so that a question to the keeper makes sense. */
bool disclosure_may_ask_vrfy(const struct disclosure_config *c, enum client_class class);
bool disclosure_may_ask_rcpt(enum client_class class);

/* The replies. `told` is TOLD_NOTHING where nothing was asked. `moved_to` is the new address or NULL. Texts that
 * name an address are put into `arena`; a class that is told nothing always gets the same bytes. */
struct smtp_reply disclosure_vrfy(const struct disclosure_config *c, enum client_class class, enum told told,
                                  const struct mail_address *address, const struct mail_address *moved_to,
                                  bool smtputf8, struct arena *arena);
/* `members`: one address a line, as the reply shows them; only for TOLD_LIST. */
struct smtp_reply disclosure_expn(const struct disclosure_config *c, enum client_class class, enum told told,
                                  struct str members, struct arena *arena);
/* `is_local`: the domain is one of ours. `accepted_before`: recipients already in the transaction. */
struct smtp_reply disclosure_rcpt(const struct disclosure_config *c, enum client_class class, bool is_local,
                                  enum told told, const struct mail_address *address,
                                  const struct mail_address *moved_to, bool smtputf8, size_t accepted_before,
                                  struct arena *arena);
/* Before the content is stored: `answers_ours` matters to CLASS_BOUNCE only. A positive reply means: store it; then
 * the reply to the client is the one the caller makes once the message is durable. */
struct smtp_reply disclosure_message(const struct disclosure_config *c, enum client_class class, bool answers_ours);

/* After acceptance: what becomes of a recipient that cannot be delivered (doc/disclosure.md, After acceptance). */
enum failure_outcome {
    FAILURE_BOUNCE,    /* send a report to the return path */
    FAILURE_UNCLAIMED, /* hold it as unclaimed */
    FAILURE_DROP,      /* null return path: log and drop, a bounce of a bounce is forbidden */
};
enum failure_outcome disclosure_failure(enum client_class class, bool null_sender);
/* Whether a recipient of whom nothing becomes has to cost as much as a delivery: who sent it may not know. */
bool                 disclosure_evens_work(enum client_class class);
/* Whether delay and success reports may go out at all for mail of this class. */
bool                 disclosure_may_report_success(enum client_class class, bool null_sender);

#endif
