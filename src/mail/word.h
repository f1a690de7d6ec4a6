/* word.h: encoded words (RFC 2047) in a header field, made readable. */
#ifndef TACIT_MAIL_WORD_H
#define TACIT_MAIL_WORD_H

#include "base/buf.h"

/* Appends `text` with its encoded words as UTF-8, if their charset is UTF-8, US-ASCII, ISO-8859-1 or windows-1252;
 * what is something else, or no encoded word after all, stays as it is. What comes out may be any bytes: to be shown,
 * it goes through mail_safe_text. False: `out` has met its ceiling. */
bool mail_words_decode(struct str text, struct buf *out);

#endif
