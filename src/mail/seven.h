/* seven.h: a message of 8-bit content made fit for a server without 8BITMIME (RFC 6152 3; RFC 2045 6.7).
 *
 * Each part that has octets over 127 becomes quoted-printable, and everything around it is labelled 7bit; all else
 * stays as it is, octet by octet. Content without MIME fields gets them: charset utf-8 if that is what it is, else
 * unknown-8bit (RFC 1428). What cannot be done:
 *   - raw UTF-8 in a header, also of a part (that needs SMTPUTF8)
 *   - multipart/signed and multipart/encrypted: the signature is over the octets (RFC 1847 2.1)
 *   - a message within the message but message/rfc822: no other may be encoded (RFC 2046 5.2)
 *   - a part that is labelled base64 or quoted-printable and is not, or has an encoding of its own
 *   - a multipart without boundary, or more than MAIL_SEVEN_DEPTH deep, or more than MAIL_SEVEN_EDITS changes
 * A DKIM signature over the body does not survive it (RFC 6376 5.3 has signers convert first for that reason). */
#ifndef TACIT_MAIL_SEVEN_H
#define TACIT_MAIL_SEVEN_H

#include "base/arena.h"
#include "base/buf.h"

enum { MAIL_SEVEN_DEPTH = 16, MAIL_SEVEN_EDITS = 1000 };

struct mail_seven_edit;
struct mail_seven {
    struct str              content;
    struct mail_seven_edit *edits; /* in the order of the content */
    size_t                  edit_count, at_edit;
    size_t                  at;     /* in the content */
    unsigned                column; /* of the line being encoded */
};

/* `content` is borrowed; its line ends are CRLF. The plan lies in `arena`. False: it cannot be done, and *ret_why says
 * why, without a full stop. */
bool     mail_seven_init(struct mail_seven *s, struct str content, struct arena *arena, const char **ret_why);
/* Octets of what mail_seven_next will give. It does the work once to know. */
uint64_t mail_seven_size(const struct mail_seven *s);
/* Appends the next octets, `max` and a few at most. False: there are no more, or `out` is full. */
bool     mail_seven_next(struct mail_seven *s, size_t max, struct buf *out);

#endif
