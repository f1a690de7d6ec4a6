/* client.h: the sending side of SMTP (RFC 5321) and LMTP (RFC 2033) as a pure function of bytes.
 *
 * It owns no socket, clock or file, and no allocator beyond its arena. The caller gives it what the server sent, sends
 * what smtp_client_output holds, and keeps the time (smtp_client_wait). Events tell (READY, DONE, CLOSE) or ask
 * (START_TLS, CONVERT, CONTENT). What a reply does stands in outcome.def, and nowhere else.
 *
 *               220         250                smtp_client_message          all replies are there, one yes at least
 *   GREETING ------> HELLO -----> READY ----------------------> ENVELOPE -------------------------------> CONTENT
 *                    |  ^ |  235    ^ ^                          |  ^   \                                    |
 *           STARTTLS |  | +-> AUTH -+ |  DONE: all settled       |  |    RSET, MAIL, RCPT ..., DATA          | all of
 *                    v  | tls_done    +--------------------------+  |    in one go with PIPELINING           | it given
 *                  STARTTLS, TLS      |                             |    (RFC 2920)                         v
 *                                     +--------------------------- FINAL <-------------------------------------+
 *   HELLO: EHLO, and HELO where that is refused. AUTH: only with a user; also from a STARTTLS that was refused.
 *   any state: smtp_client_quit, a refusal ---> QUIT ---> CLOSED          recipients left over: ENVELOPE again
 *   any state: lost, timed out, garbled, 421 ---> CLOSED.  All changes go through client_change in client.c.
 *
 * With CHUNKING the content goes as one BDAT, once the replies to RCPT are known (RFC 3030); else by DATA. The text is
 * sent only after 354, to nobody but recipients that were accepted; where DATA went ahead in one go and 354 comes with
 * no recipient accepted, a lone dot ends it and its result counts for nothing (RFC 2920 3.1). Optional parameters are
 * given only where they were offered. VRFY and EXPN are never sent. The output of AUTH is a secret: not to be logged.
 *
 * Replies: a line ends in CRLF or LF alone. Being lenient there is safe, for we know what we asked and count the
 * answers: a line more or less is an answer to nothing, or one that misses. What cannot be an answer (no code,
 * 1xx, 600 and up, another code in the middle of a reply, no end, an answer that came before its question was sent, or
 * to none) ends the connection, and what is not confirmed is deferred. Limits are in client_reply.h. */
#ifndef TACIT_SMTP_CLIENT_H
#define TACIT_SMTP_CLIENT_H

#include "mail/envelope.h"
#include "smtp/outcome.h"

enum { SMTP_CLIENT_CREDENTIAL_MAX = 255 }; /* RFC 4616 2 */
enum smtp_client_tls { SMTP_CLIENT_TLS_NEVER, SMTP_CLIENT_TLS_MAY, SMTP_CLIENT_TLS_MUST };

struct smtp_client_config {
    struct str           hostname; /* our own, for EHLO: a domain or an address literal */
    bool                 lmtp;
    bool                 helo; /* after SMTP_DO_RECONNECT_HELO: HELO at once */
    enum smtp_client_tls tls;
    uint32_t             recipients;     /* of one transaction at most; the server's RCPTMAX may be less. 1 to 1000 */
    size_t               memory;         /* ceiling of a message's arena, octets */
    struct str           user, password; /* for AUTH, SMTP_CLIENT_CREDENTIAL_MAX octets each at most; empty: none */
    bool                 clear_ok;       /* the password may go without TLS: nobody is between the host and us */
};

struct smtp_client_caps {
    bool       extended; /* EHLO or LHLO was understood */
    bool       pipelining, size, eight_bit, binary, smtputf8, dsn, chunking, enhanced, starttls;
    uint64_t   size_max;           /* octets; 0: no limit is told */
    uint32_t   mail_max, rcpt_max; /* LIMITS of RFC 9422; 0: none told */
    struct str auth;               /* mechanisms in upper case with blanks between; empty: none */
};

/* Everything is borrowed until DONE. */
struct smtp_client_message {
    struct mail_address     sender;
    const struct recipient *recipients;
    size_t                  recipient_count; /* 1 at least */
    uint64_t                size;            /* octets of the content */
    enum body_type          body;            /* what the content really is */
    bool                    header_utf8;     /* raw UTF-8 stands in a header: needs SMTPUTF8 */
    enum dsn_ret            ret;
    struct str              envid;
};

enum smtp_client_event {
    SMTP_CLIENT_NONE,      /* all input taken */
    SMTP_CLIENT_READY,     /* tells: messages are taken (smtp_client_message) */
    SMTP_CLIENT_START_TLS, /* asks: begin TLS now; then smtp_client_tls_done */
    SMTP_CLIENT_CONVERT,   /* asks: the content must become 7-bit (mail/seven.h); then smtp_client_converted */
    SMTP_CLIENT_CONTENT,   /* asks: give the content from its beginning. May come more than once for a message */
    SMTP_CLIENT_DONE,      /* tells: every recipient of the message has its result */
    SMTP_CLIENT_CLOSE,     /* tells: send the output and close; smtp_client_end says why */
};

enum smtp_client_verdict {
    SMTP_CLIENT_NOT_TRIED, /* the session ended before; another host may be asked at once */
    SMTP_CLIENT_ACCEPTED,  /* the server has taken responsibility */
    SMTP_CLIENT_DEFERRED,
    SMTP_CLIENT_FAILED,
};
enum { SMTP_CLIENT_TEXT_MAX = 1024 };
struct smtp_client_result {
    enum smtp_client_verdict verdict;
    enum smtp_stage          stage;
    uint16_t                 code; /* of the reply; 0: there was none */
    struct smtp_status       status;
    struct str               text;        /* the reply's, enhanced code included, '\n' between lines, cut to
                                             SMTP_CLIENT_TEXT_MAX octets; printable UTF-8 */
    const char              *words;       /* of outcome.def, or what was odd; "": the reply says it */
    bool                     unconfirmed; /* RCPT was answered 252: taken, but the server does not know the address */
    struct mail_address      moved_to;    /* out of a 251 or 551; null: none. Not to be believed blindly */
};

/* Why the session ended, for the choice of what comes next: SMTP_DO_GO_ON (we said QUIT), NEXT_HOST, NO_MAIL, REFUSED,
 * RECONNECT_HELO, RECONNECT_PLAIN, MISCONFIGURED, or CLOSE (in the middle of a message). */
struct smtp_client_end {
    enum smtp_action          action;
    struct smtp_client_result why; /* verdict and moved_to mean nothing */
};

struct smtp_client;

/* NULL: no memory. `config` is borrowed for the life of the session. */
struct smtp_client *smtp_client_new(const struct smtp_client_config *config);
void                smtp_client_free(struct smtp_client *c);

/* Takes up to in.len octets and returns how many; *ret_event says what happened. After anything (feed, sent, an answer,
 * a message, a time-out) call it with what is left, even if that is nothing, until it returns SMTP_CLIENT_NONE. */
size_t smtp_client_feed(struct smtp_client *c, struct str in, enum smtp_client_event *ret_event);

/* Output to be sent; any call may add to it. smtp_client_sent drops its first `len` octets, which are on their way:
 * what was fed before that cannot be an answer to them. */
struct str smtp_client_output(const struct smtp_client *c);
void       smtp_client_sent(struct smtp_client *c, size_t len);

/* After READY or DONE, if smtp_client_takes_more. Without memory for its results: CLOSE comes without DONE. */
bool smtp_client_takes_more(const struct smtp_client *c); /* false: MAILMAX is met, or the session ends */
void smtp_client_message(struct smtp_client *c, const struct smtp_client_message *message);
/* One for each recipient, in order; valid from DONE to the next message. */
const struct smtp_client_result *smtp_client_results(const struct smtp_client *c);

/* Answers START_TLS: whatever stood in clear before is forgotten, and EHLO is said again. */
void smtp_client_tls_done(struct smtp_client *c, bool done);
/* Answers CONVERT. `possible`: from now on CONTENT wants the converted content, of `size` octets, in 7 bits. */
void smtp_client_converted(struct smtp_client *c, bool possible, uint64_t size);
/* Answers CONTENT, piece by piece, best while smtp_client_wants_content; dots are doubled here. After `end` there is no
 * more. If octets are missing or too many, or the content is spoilt, it is not sent to its end. */
bool smtp_client_wants_content(const struct smtp_client *c);
void smtp_client_give(struct smtp_client *c, struct str piece, bool end);

/* How long this may last (RFC 5321 4.5.3.2); a new number begins a new wait. 0 ms: for ever. */
struct smtp_client_wait {
    uint64_t number;
    uint32_t ms;
};
struct smtp_client_wait smtp_client_wait(const struct smtp_client *c);
void                    smtp_client_timed_out(struct smtp_client *c); /* the wait is over */
void                    smtp_client_lost(struct smtp_client *c);      /* the connection ended, after all was fed */
/* From READY: QUIT, and CLOSE when it was answered or not. In the middle of things: CLOSE at once, and what is not
 * settled is deferred. */
void                    smtp_client_quit(struct smtp_client *c);
void smtp_client_stop(struct smtp_client *c); /* the same, because this server ends: its words say so */

enum smtp_client_state {
    SMTP_CLIENT_IN_GREETING,
    SMTP_CLIENT_IN_HELLO,
    SMTP_CLIENT_IN_STARTTLS,
    SMTP_CLIENT_IN_TLS,
    SMTP_CLIENT_IN_AUTH,
    SMTP_CLIENT_IN_READY,
    SMTP_CLIENT_IN_ENVELOPE,
    SMTP_CLIENT_IN_CONTENT,
    SMTP_CLIENT_IN_FINAL,
    SMTP_CLIENT_IN_QUIT,
    SMTP_CLIENT_IN_CLOSED,
};
enum smtp_client_state         smtp_client_state(const struct smtp_client *c);
const struct smtp_client_caps *smtp_client_caps(const struct smtp_client *c);
const struct smtp_client_end  *smtp_client_end(const struct smtp_client *c); /* from CLOSE on */

#endif
