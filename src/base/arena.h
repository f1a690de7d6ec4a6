/* arena.h: memory that ends together.
 *
 * An arena belongs to one session, one transaction or one attempt; arena_reset ends everything taken from it
 * in one call. Its ceiling counts the bytes handed out. Memory is aligned for any type and zeroed. An arena
 * that was never used owns nothing. */
#ifndef TACIT_BASE_ARENA_H
#define TACIT_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t              used;   /* bytes handed out since the last reset */
    size_t              max;
    size_t              chunk_size;
};

/* `chunk_size`: bytes fetched from malloc at a time (a larger single request gets a chunk of its own). */
void arena_init(struct arena *a, size_t chunk_size, size_t max);
void arena_reset(struct arena *a); /* ends everything taken; keeps one chunk for the next use */
void arena_done(struct arena *a);  /* ends everything taken and gives all memory back; usable again */

/* NULL when the ceiling or the machine's memory is met. */
void      *arena_alloc(struct arena *a, size_t len);
/* A copy with a NUL behind it; on failure data is NULL, which no successful copy has. */
struct str arena_str(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))

#endif
