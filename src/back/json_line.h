/* json_line.h: JSON written straight into a buffer, for answers of very many lines. What is small or read again is
 * Jansson's. Commas are put where they belong; pairs of brackets are the caller's duty. */
#ifndef TACIT_BACK_JSON_LINE_H
#define TACIT_BACK_JSON_LINE_H

#include "base/buf.h"

/* `key` is NULL in an array and at the outermost level; it must need no escapes. */
void json_line_open(struct buf *b, const char *key, char bracket); /* '{' or '[' */
void json_line_close(struct buf *b, char bracket);                 /* '}' or ']' */
void json_line_u64(struct buf *b, const char *key, uint64_t value);
/* Octets of a text that is no UTF-8 become '?' where they are not ASCII. */
void json_line_text(struct buf *b, const char *key, struct str text);
void json_line_true(struct buf *b, const char *key);

#endif
