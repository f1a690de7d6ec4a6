/* reply.h: an SMTP reply (RFC 5321 4.2, RFC 2034, RFC 3463). */
#ifndef TACIT_SMTP_REPLY_H
#define TACIT_SMTP_REPLY_H

#include "base/buf.h"

enum { SMTP_REPLY_LINE_MAX = 512 }; /* octets with CRLF, RFC 5321 4.5.3.1.5 */

struct smtp_status { /* X.Y.Z; class 0: the reply carries no enhanced code */
    uint8_t class;
    uint16_t subject, detail;
};
#define SMTP_STATUS(c, s, d) ((struct smtp_status){(c), (s), (d)})
#define SMTP_STATUS_NONE ((struct smtp_status){0, 0, 0})
enum { SMTP_STATUS_TEXT = 13 }; /* octets of the longest, without NUL */
/* "4.2.1"; empty where the class is 0. */
struct str smtp_status_text(struct smtp_status status, char ret_text[SMTP_STATUS_TEXT]);

struct smtp_reply {
    uint16_t           code; /* 200..599 */
    struct smtp_status status;
    struct str         text; /* '\n' parts the lines of a multi-line reply; no other control characters */
};

/* A reply with a fixed text; and the same to initialise what is static. */
/* Left as it stands: the formatter would take the braces for a block. */
/* clang-format off */
#define SMTP_REPLY_INIT(code, c, s, d, text) {(code), {(c), (s), (d)}, {"" text, sizeof(text) - 1}}
/* clang-format on */
#define SMTP_REPLY(code, c, s, d, text) ((struct smtp_reply)SMTP_REPLY_INIT(code, c, s, d, text))

/* Appends the reply's lines with CRLF. Each line repeats code and enhanced code; lines that would pass
 * SMTP_REPLY_LINE_MAX are folded at a blank, bytes outside ASCII become '?' unless `utf8`. */
bool smtp_reply_format(const struct smtp_reply *reply, bool utf8, struct buf *out);

static inline bool smtp_reply_is_positive(const struct smtp_reply *r) { return r->code >= 200 && r->code < 400; }

#endif
