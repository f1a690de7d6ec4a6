#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t              size;
    size_t              used;
    max_align_t         bytes[];
};

void arena_init(struct arena *a, size_t chunk_size, size_t max)
{
    *a = (struct arena){.max = max, .chunk_size = chunk_size};
}

static void chunks_free(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;

        free(c);
        c = next;
    }
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *kept = NULL;

    a->used = 0;
    if (!a->chunks)
        return;
    for (struct arena_chunk **at = &a->chunks; *at; at = &(*at)->next)
        if ((*at)->size == a->chunk_size) {
            kept = *at;
            *at = kept->next;
            break;
        }
    chunks_free(a->chunks);
    a->chunks = kept;
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
}

void arena_done(struct arena *a)
{
    chunks_free(a->chunks);
    a->chunks = NULL;
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t len)
{
    const size_t        align = _Alignof(max_align_t);
    struct arena_chunk *c = a->chunks;
    char               *at;

    if (len > a->max - a->used)
        return NULL;
    len = (len + align - 1) / align * align;
    if (len > a->max - a->used)
        return NULL;
    if (!c || c->size - c->used < len) {
        size_t size = len > a->chunk_size ? len : a->chunk_size;

        c = malloc(sizeof *c + size);
        if (!c)
            return NULL;
        c->size = size;
        c->used = 0;
        c->next = a->chunks;
        a->chunks = c;
    }
    at = (char *)c->bytes + c->used;
    c->used += len;
    a->used += len;
    return memset(at, 0, len);
}

struct str arena_str(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.len + 1);

    if (!copy)
        return STR_NONE;
    if (s.len)
        memcpy(copy, s.data, s.len);
    return str_of(copy, s.len);
}

struct str arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    int     len;
    char   *at;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return STR_NONE;
    at = arena_alloc(a, (size_t)len + 1);
    if (!at)
        return STR_NONE;
    va_start(args, format);
    vsnprintf(at, (size_t)len + 1, format, args);
    va_end(args);
    return str_of(at, (size_t)len);
}
