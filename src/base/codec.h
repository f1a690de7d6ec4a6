/* codec.h: numbers and strings as bytes, for records and for messages between processes.
 *
 * Fixed numbers are little-endian; `var` numbers are LEB128 of at most 10 bytes in their shortest form; strings
 * are a var length and the bytes. Writers append to a buf (check buf_ok once at the end). A reader never reads
 * past its input: after the first shortfall or malformed number it is failed, gives zeros and empty strings, and
 * reader_ok says so at the end. Strings read borrow the input. */
#ifndef TACIT_BASE_CODEC_H
#define TACIT_BASE_CODEC_H

#include "base/buf.h"

void put_u8(struct buf *b, uint8_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
void put_var(struct buf *b, uint64_t v);
void put_str(struct buf *b, struct str s);

struct reader {
    struct str rest;
    bool       failed;
};

static inline struct reader reader_of(struct str s) { return (struct reader){s, false}; }
/* Whether all was read well and nothing is left over. */
static inline bool          reader_ended(const struct reader *r) { return !r->failed && r->rest.len == 0; }
static inline bool          reader_ok(const struct reader *r) { return !r->failed; }

uint8_t    get_u8(struct reader *r);
uint8_t    get_u8_max(struct reader *r, uint8_t max); /* above max: failed, and 0 */
uint32_t   get_u32(struct reader *r);
uint64_t   get_u64(struct reader *r);
uint64_t   get_var(struct reader *r);
uint64_t   get_var_max(struct reader *r, uint64_t max); /* above max: failed */
struct str get_str(struct reader *r);
struct str get_bytes(struct reader *r, size_t len);

#endif
