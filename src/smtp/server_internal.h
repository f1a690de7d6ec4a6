/* server_internal.h: what the files of the server share. Nobody else includes it. */
#ifndef TACIT_SMTP_SERVER_INTERNAL_H
#define TACIT_SMTP_SERVER_INTERNAL_H

#include "mail/header.h"
#include "smtp/content.h"
#include "smtp/verb.h"

enum {
    SERVER_LINE_MAX = 1181,         /* octets with CRLF: the longest of verb.def; longer ones are not kept */
    SERVER_LINE_ENDLESS = 64 << 10, /* octets after which a line that does not end ends the session */
    SERVER_OUTPUT_PAUSE = 8 << 10,  /* octets of output that wait: no further input is taken */
    SERVER_OUTPUT_MAX = 512 << 10,  /* ceiling; only a large EXPN reply comes near */
    SERVER_OUTPUT_EACH = 128,       /* what LMTP may need beyond for each recipient, answered all at once */
    SERVER_HELO_MAX = 255,
    SERVER_CHUNK = 3072, /* of the arena, octets: a message with a few recipients fits in one */
};

struct smtp_server {
    const struct smtp_server_config *config;
    struct envelope                  envelope;
    struct arena                     arena; /* of the transaction, or of one VRFY, EXPN or XCLIENT outside one */
    struct buf                       out;
    struct buf                       line; /* start of a line that has not ended yet, or the line just taken */
    char                            *helo; /* owns origin.helo */
    struct mail_scan                *scan; /* in the arena, while content comes */
    struct smtp_reply   verdict; /* on the BDAT chunk that is being swallowed; its text is static or in the arena */
    struct smtp_content content;
    uint64_t            content_size, content_seen; /* octets given out, and taken from the wire */
    uint64_t            chunk_left;                 /* octets of the BDAT chunk still to come */
    uint32_t            line_len;                   /* octets of the line so far, kept or not */
    uint32_t            commands, errors, transactions, idle;
    uint32_t            rcpt_asked, rcpt_room; /* RCPT commands judged right; places in recipients */
    uint32_t            lmtp_answered;
    uint16_t            last_code;
    uint8_t             state;   /* enum smtp_server_state */
    uint8_t             pending; /* enum smtp_event_kind that waits for its answer, or NONE */
    uint8_t             last_reply_len, last_command_len;
    bool                behind : 1;      /* input stood behind the command being done */
    bool                extended : 1;    /* EHLO or LHLO */
    bool                turned_away : 1; /* the greeting was a refusal */
    bool                utf8 : 1;        /* VRFY or EXPN came with SMTPUTF8 */
    bool                oversize : 1;
    bool                chunk_is_last : 1, chunk_swallowed : 1, chunk_ended : 1, chunk_counts : 1;
    bool                tell_reset : 1, tell_helo : 1, tell_close : 1;
    bool                wipe : 1; /* the transaction's memory ends with the next call */
    char                last_reply[96];
    char                last_command[40];
};

/* One for each VERB of verb.def. */
#define VERB(name, states, offer, flags, line_max, syntax, help) \
    void server_##name(struct smtp_server *s, struct str argument, struct smtp_event *event);
#define ABSENT(name)
#include "smtp/verb.def"
#undef VERB
#undef ABSENT

/* server.c */
void state_change(struct smtp_server *s, enum smtp_server_state to);
bool server_has_transaction(const struct smtp_server *s);
void server_reply(struct smtp_server *s, const struct smtp_reply *reply);
void server_error(struct smtp_server *s, const struct smtp_reply *reply); /* a bad command: counted */
void server_end(struct smtp_server *s, const struct smtp_reply *reply);   /* the last words, then CLOSING */
void server_ask(struct smtp_server *s, enum smtp_event_kind kind, struct smtp_event *event);
void transaction_end(struct smtp_server *s);  /* to READY; RESET is told */
void transaction_wipe(struct smtp_server *s); /* gives its memory back */
/* server_misc.c */
void server_greet(struct smtp_server *s);
void server_protocol_set(struct smtp_server *s);
/* server_mail.c */
void server_mail_answer(struct smtp_server *s, const struct smtp_reply *reply);
void server_rcpt_answer(struct smtp_server *s, const struct smtp_reply *reply);
/* The reply to a path that is wrong, in `text` if it names a reason; `detail` is 7 (sender) or 3 (recipient). */
enum { ADDRESS_REPLY_TEXT = 160 };
struct smtp_reply server_address_reply(const struct mail_address_error *error, uint16_t detail,
                                       char text[ADDRESS_REPLY_TEXT]);
/* server_data.c */
size_t            server_content_take(struct smtp_server *s, struct str in, struct smtp_event *event);
size_t            server_chunk_take(struct smtp_server *s, struct str in, struct smtp_event *event);
void              server_data_answer(struct smtp_server *s, const struct smtp_reply *reply);
void              server_message_answer(struct smtp_server *s, const struct smtp_reply *reply);
/* The reply to content at the wrong time; whether it counts as an error. */
struct smtp_reply server_content_sequence(const struct smtp_server *s, bool *ret_counts);
/* Refuses DATA or a BDAT without a size. What came behind it cannot be told from content: then the session ends. */
void              server_content_refuse(struct smtp_server *s, const struct smtp_reply *reply, bool counts);

#endif
