/* client_internal.h: what the files of the client share. Nobody else includes it. */
#ifndef TACIT_SMTP_CLIENT_INTERNAL_H
#define TACIT_SMTP_CLIENT_INTERNAL_H

#include "smtp/client.h"
#include "smtp/client_reply.h"
#include "smtp/content.h"

enum {
    CLIENT_OUTPUT_PAUSE = 16 << 10,  /* octets of output that wait: no further commands are put behind them */
    CLIENT_CONTENT_PAUSE = 64 << 10, /* and no further content is wanted */
    CLIENT_OUTPUT_MAX = 8 << 20,
    CLIENT_BLOCK = 8 << 10, /* of content: each has a wait of its own */
    CLIENT_AUTH_MAX = 256,
    CLIENT_SESSION_MAX = CLIENT_AUTH_MAX + SMTP_CLIENT_TEXT_MAX + 64,
    CLIENT_CHUNK = 4096, /* of the arena, octets */
    CLIENT_RECIPIENTS = 1000,
    CLIENT_COMMAND_MAX = 512, /* octets with CRLF, of a command without parameters (RFC 5321 4.5.3.1.4) */
};

enum slot {
    SLOT_TODO,     /* waits for a transaction */
    SLOT_ASKED,    /* in this one, and not answered */
    SLOT_ACCEPTED, /* by RCPT; waits for the answer to the message */
    SLOT_SETTLED,  /* has its result */
};

/* A reply, or a happening in its place. */
struct client_answer {
    enum smtp_stage            stage;
    uint16_t                   code;
    struct smtp_status         status;
    struct str                 text;
    const char                *words; /* in place of the row's; NULL: none */
    const struct smtp_outcome *row;
    struct str                 kept; /* `text` in the arena, once it was needed there */
};

/* The commands of a transaction are steps: RSET, MAIL, one RCPT for each of its recipients, DATA. */
enum { STEP_RSET, STEP_MAIL, STEP_RCPT };

struct smtp_client {
    const struct smtp_client_config *config;
    enum smtp_client_state           state;
    struct buf                       out;
    struct reply_reader              reader;
    struct smtp_client_caps          caps;
    struct smtp_client_end           end;
    struct arena                     session;     /* mechanisms of AUTH; in the end the text of `end` */
    uint64_t                         sent;        /* octets, since the beginning */
    uint64_t                         asked;       /* of them when the input now being read had not come yet */
    uint64_t                         reply_asked; /* the same for the reply being read */
    uint64_t                         command_end; /* octets up to the end of the command that waits for its answer */
    size_t                           known;       /* octets of input that had come before an event was told */
    uint64_t                         wait_number;
    uint64_t                         block; /* of content, now being sent */
    uint32_t                         transactions;
    bool                             helo, tls, needs_rset;
    bool                             auth_login; /* by LOGIN, else by PLAIN */
    uint8_t                          auth_said;  /* responses of AUTH that were given */
    bool                             tell_ready, tell_done, tell_close, ask_tls, ask_convert, ask_content;

    /* The message. */
    struct arena                      arena;
    const struct smtp_client_message *message;
    uint64_t                          size;     /* of its content, converted or not */
    enum body_type                    body;     /* the same */
    bool                              utf8;     /* SMTPUTF8 is needed */
    bool                              stripped; /* without optional parameters */
    bool                              single;   /* one recipient for each transaction */
    struct smtp_client_result        *results;
    uint8_t                          *slots; /* enum slot */
    uint64_t                         *ends;  /* of the transaction's steps: as command_end */
    uint32_t                         *batch; /* recipients of the transaction */

    /* The transaction. */
    uint32_t            batch_count, steps, send_at, reply_at, accepted;
    uint32_t            final_at; /* LMTP: place in batch of the recipient whose answer comes next */
    bool                mail_taken, optional_sent, chunked;
    bool                void_message; /* a lone dot, for nobody */
    bool                at_line;      /* content: the next octet begins a line */
    uint64_t            given;
    struct smtp_content scan;
};

/* client.c */
void       client_change(struct smtp_client *c, enum smtp_client_state to);
void       client_wait_anew(struct smtp_client *c);
/* Ends a command that was put into `out` piece by piece. */
bool       client_command_end(struct smtp_client *c);
bool       client_command(struct smtp_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the session as `a` says: with QUIT where the server still listens, else at once. */
void       client_leave(struct smtp_client *c, struct client_answer *a, bool politely);
/* The same for what is known without asking; the server still listens. */
void       client_leave_unasked(struct smtp_client *c, enum smtp_stage stage, enum smtp_happening what);
/* What is no reply, at the stage where we are. `words` may be NULL. */
void       client_happen(struct smtp_client *c, enum smtp_happening what, const char *words);
unsigned   client_facts(const struct smtp_client *c);
struct str client_text_cut(struct str text); /* to SMTP_CLIENT_TEXT_MAX octets */

/* client_hello.c */
void client_greeting_reply(struct smtp_client *c, struct client_answer *a);
void client_hello_reply(struct smtp_client *c, struct client_answer *a);
void client_starttls_reply(struct smtp_client *c, struct client_answer *a);
void client_say_hello(struct smtp_client *c);
void client_ready(struct smtp_client *c);

/* client_auth.c */
void client_auth_begin(struct smtp_client *c);
void client_auth_reply(struct smtp_client *c, struct client_answer *a);
bool client_auth_has_more(const struct smtp_client *c); /* to say, if the server asks for it */

/* client_mail.c */
enum smtp_stage client_envelope_stage(const struct smtp_client *c);
void            client_pump(struct smtp_client *c); /* as many commands as may go out now */
void            client_envelope_reply(struct smtp_client *c, struct client_answer *a);
void            client_transaction_end(struct smtp_client *c, bool needs_rset);
/* Gives `recipient` its result. */
void            client_settle(struct smtp_client *c, uint32_t recipient, enum smtp_client_verdict verdict,
                              struct client_answer *a);
/* All of the message's recipients that are in one of `slots`, a set of 1 << enum slot. */
void            client_settle_all(struct smtp_client *c, unsigned slots, enum smtp_client_verdict verdict,
                                  struct client_answer *a);
void            client_slots_change(struct smtp_client *c, enum slot from, enum slot to);

/* client_content.c */
void client_content_begin(struct smtp_client *c);
void client_content_void(struct smtp_client *c);
void client_content_reply(struct smtp_client *c, struct client_answer *a);
void client_final_reply(struct smtp_client *c, struct client_answer *a);

/* The class of the status is the verdict's: a 5yz that asks for another try (SINGLE, say) defers if no try is left on
 * this connection. */
static inline struct smtp_client_result client_result(enum smtp_client_verdict verdict, const struct client_answer *a)
{
    struct smtp_client_result r = {
        .verdict = verdict,
        .stage = a->stage,
        .code = a->code >= 200 ? a->code : 0,
        .status = smtp_outcome_status(a->row, a->status),
        .words = a->words ? a->words : a->row->words,
    };

    if (verdict == SMTP_CLIENT_DEFERRED)
        r.status.class = 4;
    return r;
}

#endif
