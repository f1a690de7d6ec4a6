/* server.h: the receiving side of SMTP (RFC 5321) and LMTP (RFC 2033) as a pure function of bytes.
 *
 * It owns no socket, clock or file, and no allocator beyond its arena. The caller gives it what the client sent and
 * sends what smtp_server_output holds. Decisions that need the world are events: some tell (CONTENT, RESET), some
 * ask (MAIL, RCPT, VRFY, EXPN, DATA, MESSAGE, XCLIENT). While a question waits for smtp_server_answer, feed takes
 * nothing: that alone keeps pipelined replies in order. Everything that can be judged without a look-up (syntax,
 * sequence, parameters, SIZE, SMTPUTF8, number of recipients) is judged here, before and regardless of any question,
 * so that the order of checks betrays nothing about who exists (doc/disclosure.md).
 *
 *                start               EHLO/HELO/LHLO            MAIL ok              RCPT ok (one at least)
 *   CONNECTED ----------> GREETED ------------------> READY ------------> MAIL ------------------------> RCPT
 *                                                       ^                                           DATA |  | BDAT
 *                                                       |            CRLF.CRLF                    (354)  v  v (any)
 *                                                       +-------------------------------------------- DATA  BDAT
 *                                                       |            MESSAGE answered
 *   any state: QUIT, a limit, smtp_server_close ---> CLOSING: the output is to be sent, then the connection closed
 *   RSET, EHLO, a refused message: back to READY.  All changes go through state_change in server.c.
 *
 * Lines: only a line that ends in CRLF is obeyed, and only CRLF.CRLF ends a message. A command line that ends in a bare
 * LF, or has a bare CR or a NUL in it, is answered 500 5.5.2; in content the message is refused, after its end was
 * seen, with 550 5.6.0 that names the cause, never repaired; binary content only comes by BDAT with BODY=BINARYMIME. */
#ifndef TACIT_SMTP_SERVER_H
#define TACIT_SMTP_SERVER_H

#include "mail/envelope.h"
#include "smtp/reply.h"

/* Limits of one session; every count is of attempts, whatever their outcome, so that none depends on who exists. */
struct smtp_server_limits {
    uint64_t message_size;  /* octets; announced by SIZE */
    uint32_t recipients;    /* of one transaction, at least 100; further ones get 452 4.5.3 */
    uint32_t errors;        /* replies 5xx to bad commands and syntax; the next one is 421 4.7.0 and close (answers to
                               questions never count) */
    uint32_t commands;      /* per session, then 421 4.7.0 */
    uint32_t transactions;  /* per session, then 421 4.7.0 */
    uint32_t idle_commands; /* NOOP, RSET, VRFY, EXPN, HELP in a row without a MAIL accepted, then 421 4.7.0 */
    uint32_t hops;          /* Received fields; more: 554 5.4.6 */
    size_t   transaction_memory; /* ceiling of the arena, octets */
};

/* What is offered; the EHLO reply and HELP list exactly what is on. */
struct smtp_server_config {
    struct str                hostname; /* greeting, EHLO */
    bool                      lmtp;     /* LHLO instead of EHLO/HELO; one reply for each recipient after the content */
    bool                      vrfy, expn;   /* false: 502 5.5.1, and not listed */
    bool                      xclient;      /* this client may use XCLIENT */
    bool                      require_auth; /* submission: 530 5.7.0 to MAIL, VRFY and EXPN until authenticated */
    struct smtp_server_limits limits;
};

enum smtp_event_kind {
    SMTP_EVENT_NONE,    /* nothing happened: all input taken, or output waits to be sent */
    SMTP_EVENT_MAIL,    /* asks: may `envelope->sender` send? */
    SMTP_EVENT_RCPT,    /* asks: may `recipient` be one? Added to the envelope only by a positive answer */
    SMTP_EVENT_VRFY,    /* asks: `argument`, and `address` if it is one (else NULL) */
    SMTP_EVENT_EXPN,    /* the same for a list */
    SMTP_EVENT_DATA,    /* asks before the content of a message begins (DATA: a positive answer sends 354, the
                           answer's own text is not used; first BDAT: a positive answer sends nothing) */
    SMTP_EVENT_CONTENT, /* tells: `content`, dots removed, a borrowed piece valid until the next call */
    SMTP_EVENT_MESSAGE, /* asks: the content is complete; a positive answer takes responsibility. In LMTP answer once
                           for each accepted recipient in order */
    SMTP_EVENT_RESET,   /* tells: the transaction ended without a MESSAGE answer (RSET, EHLO, refused, QUIT, closed);
                           sent only if a MAIL had been accepted */
    SMTP_EVENT_HELO,    /* tells: the client gave its name (smtp_server_envelope()->origin.helo) */
    SMTP_EVENT_XCLIENT, /* asks: replace what is known of the client; then the session starts over with a greeting */
    SMTP_EVENT_CLOSE,   /* tells: send the output and close; nothing further is taken */
};

/* Postfix XCLIENT_README. NULL: not given, what is known stays; empty: "[UNAVAILABLE]" or "[TEMPUNAVAIL]", known no
 * more. */
struct smtp_xclient {
    struct str name, addr, port, proto, helo, login, dest_addr, dest_port;
};

struct smtp_event {
    enum smtp_event_kind       kind;
    struct recipient           recipient; /* RCPT */
    struct str                 argument;  /* VRFY, EXPN */
    const struct mail_address *address;   /* VRFY, EXPN, or NULL */
    bool                       smtputf8;  /* VRFY, EXPN: the reply may show UTF-8 */
    struct str                 content;   /* CONTENT */
    struct smtp_xclient        xclient;
};

/* About 750 octets. An idle session holds that, its client's name, the start of a line that has not ended, and a few
 * hundred octets for replies. */
struct smtp_server;

/* NULL: no memory. `config` is borrowed for the life of the session. */
struct smtp_server *smtp_server_new(const struct smtp_server_config *config);
void                smtp_server_free(struct smtp_server *s);

/* Queues the greeting: 220, or a refusal, sent as it is: after 421 the session closes at once; after another (554) QUIT
 * is answered and everything else gets 503 (RFC 5321 3.1). */
void smtp_server_start(struct smtp_server *s, const struct smtp_reply *refusal /* or NULL */);

/* Takes up to in.len octets and returns how many; *ret_event says what happened. Call again with the rest, even an
 * empty one, until it returns 0 with SMTP_EVENT_NONE or a question. CONTENT is valid until the next call; what the
 * other events point at lies in the arena. */
size_t smtp_server_feed(struct smtp_server *s, struct str in, struct smtp_event *ret_event);

/* Answers the pending question (asserts that there is one; smtp_server_close takes it back). 421 ends the session. A
 * negative answer to DATA, where input came behind it without waiting, does so too: that input may be content. */
void smtp_server_answer(struct smtp_server *s, const struct smtp_reply *reply);
bool smtp_server_is_asking(const struct smtp_server *s);

/* Output to be sent; smtp_server_sent drops its first `len` octets. Feed takes nothing while more than 8 KiB wait. */
struct str smtp_server_output(const struct smtp_server *s);
void       smtp_server_sent(struct smtp_server *s, size_t len);

/* Ends the session from outside (time-out, shutdown, overload): queues the reply (421 ...), goes to CLOSING.
 * A transaction under way is given up: the next feed returns RESET, then CLOSE. */
void smtp_server_close(struct smtp_server *s, const struct smtp_reply *reply);

/* The current transaction: its sender and recipients as accepted so far, until the first feed after RESET or after the
 * answer to MESSAGE. origin.helo and origin.protocol are the session's own and always valid; the rest of origin is the
 * caller's, stays as it is, and must not point into the arena. */
struct envelope *smtp_server_envelope(struct smtp_server *s);
/* The arena that ends with the transaction. */
struct arena    *smtp_server_arena(struct smtp_server *s);

enum smtp_server_state {
    SMTP_SERVER_CONNECTED,
    SMTP_SERVER_GREETED,
    SMTP_SERVER_READY,
    SMTP_SERVER_MAIL,
    SMTP_SERVER_RCPT,
    SMTP_SERVER_DATA,
    SMTP_SERVER_BDAT,
    SMTP_SERVER_CLOSING,
};
enum smtp_server_state smtp_server_state(const struct smtp_server *s);

/* Facts for log lines and limits. */
struct smtp_server_facts {
    uint32_t   commands, errors, transactions;
    uint16_t   last_code;    /* of the newest reply; 0: none yet */
    struct str last_reply;   /* up to 96 octets of its first line, without CRLF; valid until the next call */
    struct str last_command; /* up to 40 printable octets of the newest command line */
};
struct smtp_server_facts smtp_server_facts(const struct smtp_server *s);

#endif
