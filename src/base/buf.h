/* buf.h: an owned, growing run of bytes with a ceiling.
 *
 * Every buffer has a ceiling in bytes, given at init: what a stranger sends can never make it grow past that.
 * An append that would pass the ceiling, or for which there is no memory, adds nothing, returns false and marks
 * the buffer as failed; later appends do nothing either until buf_clear, so a chain of appends can be checked
 * once at its end with buf_ok. The bytes always have a NUL behind them that is not counted. */
#ifndef TACIT_BASE_BUF_H
#define TACIT_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct buf {
    char  *data; /* NULL until the first append */
    size_t len;
    size_t size; /* bytes allocated */
    size_t max;  /* ceiling for len */
    bool   failed;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees; the buffer may be used again as after buf_init with the same ceiling */
void buf_clear(struct buf *b); /* empties and un-fails, keeps the memory */
/* As buf_clear, and gives memory back if more than `keep` bytes are allocated. */
void buf_shrink(struct buf *b, size_t keep);

static inline bool       buf_ok(const struct buf *b) { return !b->failed; }
static inline struct str buf_str(const struct buf *b) { return str_of(b->data ? b->data : "", b->len); }

bool buf_reserve(struct buf *b, size_t more); /* room for `more` further bytes */
bool buf_append(struct buf *b, struct str s);
bool buf_append_byte(struct buf *b, char byte);
bool buf_append_z(struct buf *b, const char *z);
bool buf_append_u64(struct buf *b, uint64_t number); /* decimal */
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t len); /* drops the first `len` bytes */
void buf_cut(struct buf *b, size_t len);     /* keeps the first `len` bytes */

#endif
