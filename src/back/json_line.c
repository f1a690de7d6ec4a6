/* json_line.c: see json_line.h. Building a tree of values and printing it was measured at five times the cost. */
#include "back/json_line.h"

static void begin(struct buf *b, const char *key)
{
    char last = b->len ? b->data[b->len - 1] : '{';

    if (last != '{' && last != '[' && last != '\n')
        buf_append_byte(b, ',');
    if (!key)
        return;
    buf_append_byte(b, '"');
    buf_append_z(b, key);
    buf_append(b, STR("\":"));
}

void json_line_open(struct buf *b, const char *key, char bracket)
{
    begin(b, key);
    buf_append_byte(b, bracket);
}

void json_line_close(struct buf *b, char bracket) { buf_append_byte(b, bracket); }

void json_line_u64(struct buf *b, const char *key, uint64_t value)
{
    begin(b, key);
    buf_append_u64(b, value);
}

void json_line_true(struct buf *b, const char *key)
{
    begin(b, key);
    buf_append(b, STR("true"));
}

static bool is_plain(unsigned char c) { return c >= ' ' && c != '"' && c != '\\' && c < 0x80; }

static void put_escaped(struct buf *b, unsigned char c)
{
    static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char       *at = c ? strchr(names, c) : NULL;

    if (at) {
        buf_append_byte(b, '\\');
        buf_append_byte(b, letters[at - names]);
    } else {
        buf_printf(b, "\\u%04X", c);
    }
}

void json_line_text(struct buf *b, const char *key, struct str text)
{
    size_t from = 0, at = 0;
    bool   utf8 = true, known = false;

    begin(b, key);
    buf_append_byte(b, '"');
    for (; at < text.len; at++) {
        unsigned char c = (unsigned char)text.data[at];

        if (is_plain(c))
            continue;
        if (c >= 0x80 && !known) {
            utf8 = str_is_utf8(text);
            known = true;
        }
        if (c >= 0x80 && utf8)
            continue;
        buf_append(b, str_part(text, from, at - from));
        from = at + 1;
        if (c >= 0x80)
            buf_append_byte(b, '?');
        else
            put_escaped(b, c);
    }
    buf_append(b, str_part(text, from, at - from));
    buf_append_byte(b, '"');
}
