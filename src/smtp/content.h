/* content.h: message content on the wire (RFC 5321 4.5.2, RFC 3030): dots removed, line ends judged.
 *
 * Only CRLF ends a line and only CRLF "." CRLF ends a message. At the first NUL, bare CR or bare LF the content is
 * spoilt: nothing further is given out, but its end is still looked for, so that what stands inside is never taken for
 * commands. Lines may be of any length (RFC 5321 4.5.3.1.6 promises 998 octets and CRLF, and real messages pass it);
 * nothing is kept of them but a state of a few bits, so length costs no memory. */
#ifndef TACIT_SMTP_CONTENT_H
#define TACIT_SMTP_CONTENT_H

#include "base/str.h"

enum smtp_content_fault { CONTENT_GOOD, CONTENT_BARE_CR, CONTENT_BARE_LF, CONTENT_NUL };

struct smtp_content {
    uint8_t state; /* enum content_state of content.c */
    uint8_t fault; /* enum smtp_content_fault: the first one met */
};

void smtp_content_init(struct smtp_content *c); /* at the start of a line */

/* DATA: takes octets from the start of `in`, *ret_len of them, and gives the content in them as a part of `in`, which
 * may be empty. True: the end of the message was taken. */
bool smtp_content_feed(struct smtp_content *c, struct str in, size_t *ret_len, struct str *ret_piece);

/* BDAT: judges octets that are content as they are; returns those before the first fault. */
struct str smtp_content_check(struct smtp_content *c, struct str in);
/* BDAT: the content ends here; a CR that still waits for its LF is bare. */
void       smtp_content_check_end(struct smtp_content *c);

#endif
