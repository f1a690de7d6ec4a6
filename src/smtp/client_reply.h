/* client_reply.h: reads what a server says into replies (RFC 5321 4.2); for the client only.
 *
 *   Reply = *( code "-" [ text ] line-end ) code [ SP [ text ] ] line-end        line-end = [ CR ] LF
 *   code  = "2".."5" 2DIGIT, the same in all lines of a reply
 *
 * Limits: of a line REPLY_LINE_KEPT octets are kept and the rest is dropped; one longer than REPLY_LINE_ENDLESS, or a
 * reply of more than REPLY_LINES, has no end. Of the text REPLY_TEXT octets are kept, in whole lines. What a person
 * must not be shown (controls, what is not UTF-8) becomes "?". */
#ifndef TACIT_SMTP_CLIENT_REPLY_H
#define TACIT_SMTP_CLIENT_REPLY_H

#include "smtp/reply.h"

enum {
    REPLY_LINE_KEPT = 512, /* RFC 5321 4.5.3.1.5 */
    REPLY_LINE_ENDLESS = 16 << 10,
    REPLY_LINES = 256,
    REPLY_TEXT = 8 << 10,
};

struct reply_reader {
    uint16_t           code; /* of the reply that was read; 0: none yet */
    struct smtp_status status;
    struct buf         text;  /* lines parted by '\n' */
    const char        *fault; /* what is wrong, in words; NULL: nothing */
    bool               open;  /* some of a reply has come, and not all */

    uint16_t lines;
    uint32_t line_len;
    char     line[REPLY_LINE_KEPT];
};

void reply_reader_init(struct reply_reader *r);
void reply_reader_done(struct reply_reader *r);
/* Takes octets from the start of `in`, *ret_len of them. True: a reply is whole, or there is a fault; it stays until
 * the next call. After a fault nothing further may be read. */
bool reply_read(struct reply_reader *r, struct str in, size_t *ret_len);

#endif
