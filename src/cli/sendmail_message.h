/* sendmail_message.h: the message that sendmail reads from standard input, made fit to be sent. */
#ifndef TACIT_CLI_SENDMAIL_MESSAGE_H
#define TACIT_CLI_SENDMAIL_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "mail/address.h"

enum { SENDMAIL_LISTS_MAX = 64 /* fields with recipients */ };

struct sendmail_message {
    struct buf content; /* CRLF line ends, complete */
    bool       is_8bit, header_8bit;
    struct str lists[SENDMAIL_LISTS_MAX]; /* bodies of To, Cc and Bcc, or of the Resent- ones where there are any */
    size_t     list_count;
    struct buf input; /* what was read; the lists borrow it */
};

struct sendmail_message_rules {
    const struct mail_address *sender; /* for a From field; the null path: none is added */
    const char                *full_name;
    bool                       dot_ends; /* a line "." ends the message */
    bool                       drop_bcc;
};

/* Reads fd to its end, at most `max` octets (more: ERR_LIMIT). */
bool sendmail_message_read(struct sendmail_message *m, int fd, uint64_t max, const struct sendmail_message_rules *rules,
                           struct err *err);
/* The same from text that is there; for tests. Takes nothing of `input`, which must stay. */
bool sendmail_message_make(struct sendmail_message *m, struct str input, const struct sendmail_message_rules *rules,
                           uint64_t now_ms, struct err *err);
void sendmail_message_done(struct sendmail_message *m);

#endif
