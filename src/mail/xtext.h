/* xtext.h: how DSN parameters spell what does not fit into an SMTP command (RFC 3461 4; RFC 6533 3).
 *
 *   xtext    = *( xchar / hexchar )            xchar = "!".."~" but "+" and "="       hexchar = "+" 2(upper hex digit)
 *   utf-8    = 1*( QCHAR / UTF8-2 / UTF8-3 / UTF8-4 / "\x{" HEXPOINT "}" )     QCHAR = "!".."~" but "\", "+" and "="
 *
 * What is decoded is text for people and reports, so neither form may hide a control character: the originals of
 * xtext are printable ASCII and blanks, those of utf-8 are addresses. */
#ifndef TACIT_MAIL_XTEXT_H
#define TACIT_MAIL_XTEXT_H

#include "base/arena.h"
#include "base/buf.h"

/* Octets of the encoded forms: RFC 3461 5.4 and 4.2; the decoded form is never longer. */
enum { MAIL_ENVID_MAX = 100, MAIL_ORCPT_MAX = 500 };

bool mail_xtext_encode(struct str in, struct buf *out);
/* False: not of the grammar, or a decoded octet outside 32..126, or no memory. */
bool mail_xtext_decode(struct str in, struct arena *arena, struct str *ret_text);

/* utf-8-addr-xtext: everything outside QCHAR as \x{...}. False: `in` is not UTF-8, or `out` is full. */
bool mail_utf8_xtext_encode(struct str in, struct buf *out);
/* Reads utf-8-addr-xtext, and utf-8-addr-unitext (raw UTF-8) where `unitext`: only under SMTPUTF8. */
bool mail_utf8_xtext_decode(struct str in, bool unitext, struct arena *arena, struct str *ret_text);

/* The value of ORCPT=: addr-type ";" encoded address. The type is given back in lower case; an address of type
 * "utf-8" is decoded as such, any other as xtext. `smtputf8`: raw UTF-8 is right. */
bool mail_orcpt_parse(struct str in, bool smtputf8, struct arena *arena, struct str *ret_type, struct str *ret_address);
/* The reverse, fit for a 7-bit command line. */
bool mail_orcpt_format(struct str type, struct str address, struct buf *out);

#endif
