#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST = 64 };

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max}; }

void buf_done(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

void buf_shrink(struct buf *b, size_t keep)
{
    if (b->size > keep)
        buf_done(b);
    else
        buf_clear(b);
}

bool buf_reserve(struct buf *b, size_t more)
{
    size_t need, size;
    char  *data;

    if (b->failed || more > b->max - b->len) {
        b->failed = true;
        return false;
    }
    need = b->len + more + 1;
    if (need <= b->size)
        return true;
    size = b->size ? b->size : BUF_FIRST;
    while (size < need)
        size *= 2;
    if (size > b->max + 1)
        size = b->max + 1;
    data = realloc(b->data, size);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->size = size;
    return true;
}

bool buf_append(struct buf *b, struct str s)
{
    if (!buf_reserve(b, s.len))
        return false;
    if (s.len)
        memcpy(b->data + b->len, s.data, s.len);
    b->len += s.len;
    b->data[b->len] = '\0';
    return true;
}

bool buf_append_byte(struct buf *b, char byte) { return buf_append(b, str_of(&byte, 1)); }

bool buf_append_z(struct buf *b, const char *z) { return buf_append(b, str_from(z)); }

bool buf_append_u64(struct buf *b, uint64_t number)
{
    char text[STR_U64_TEXT];

    return buf_append(b, str_from_u64(number, text));
}

/* Straight into what room there is; only what does not fit is formatted twice. */
bool buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    size_t  room;
    int     len;

    if (!buf_reserve(b, 0))
        return false;
    room = b->size - b->len;
    if (room > b->max - b->len + 1)
        room = b->max - b->len + 1;
    va_copy(again, args);
    len = vsnprintf(b->data + b->len, room, format, again);
    va_end(again);
    assert(len >= 0);
    if ((size_t)len >= room) {
        b->data[b->len] = '\0';
        if (!buf_reserve(b, (size_t)len))
            return false;
        vsnprintf(b->data + b->len, (size_t)len + 1, format, args);
    }
    b->len += (size_t)len;
    return true;
}

bool buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    bool    ok;

    va_start(args, format);
    ok = buf_vprintf(b, format, args);
    va_end(args);
    return ok;
}

void buf_consume(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len + 1);
    b->len -= len;
}

void buf_cut(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    if (b->data)
        b->data[len] = '\0';
}
