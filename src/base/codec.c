#include "base/codec.h"

static void put_fixed(struct buf *b, uint64_t v, size_t len)
{
    char bytes[8];

    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(v >> (8 * i));
    buf_append(b, str_of(bytes, len));
}

void put_u8(struct buf *b, uint8_t v) { put_fixed(b, v, 1); }
void put_u32(struct buf *b, uint32_t v) { put_fixed(b, v, 4); }
void put_u64(struct buf *b, uint64_t v) { put_fixed(b, v, 8); }

void put_var(struct buf *b, uint64_t v)
{
    char   bytes[10];
    size_t len = 0;

    do {
        bytes[len++] = (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    buf_append(b, str_of(bytes, len));
}

void put_str(struct buf *b, struct str s)
{
    put_var(b, s.len);
    buf_append(b, s);
}

struct str get_bytes(struct reader *r, size_t len)
{
    struct str s;

    if (r->failed || len > r->rest.len) {
        r->failed = true;
        return STR_NONE;
    }
    s = str_part(r->rest, 0, len);
    r->rest = str_skip(r->rest, len);
    return s;
}

static uint64_t get_fixed(struct reader *r, size_t len)
{
    struct str s = get_bytes(r, len);
    uint64_t   v = 0;

    for (size_t i = 0; i < s.len; i++)
        v |= (uint64_t)(unsigned char)s.data[i] << (8 * i);
    return v;
}

uint8_t get_u8(struct reader *r) { return (uint8_t)get_fixed(r, 1); }
uint8_t get_u8_max(struct reader *r, uint8_t max)
{
    uint8_t value = get_u8(r);

    if (value <= max)
        return value;
    r->failed = true;
    return 0;
}

uint32_t get_u32(struct reader *r) { return (uint32_t)get_fixed(r, 4); }
uint64_t get_u64(struct reader *r) { return get_fixed(r, 8); }

uint64_t get_var(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = get_u8(r);

        if (r->failed)
            return 0;
        if ((shift == 63 && byte > 1) || (shift && byte == 0))
            break; /* over 64 bits, or not the shortest form */
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    r->failed = true;
    return 0;
}

uint64_t get_var_max(struct reader *r, uint64_t max)
{
    uint64_t v = get_var(r);

    if (v <= max)
        return v;
    r->failed = true;
    return 0;
}

struct str get_str(struct reader *r)
{
    uint64_t len = get_var(r);

    if (r->failed || len > r->rest.len) {
        r->failed = true;
        return STR_NONE;
    }
    return get_bytes(r, (size_t)len);
}
