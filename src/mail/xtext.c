/* xtext.c: the two spellings of DSN parameters.
 *
 * Decoding never grows its input, so a buffer of the input's length is all it takes from the arena. Both decoders are
 * strict (capital hexadecimal digits in xtext, shortest numbers in \x{...}), so that a text has one spelling only and
 * nothing can be hidden in another. RFC 6533 would let \x{...} name most control characters; an address cannot contain
 * one, so they are refused here. */
#include "mail/xtext.h"

static bool byte_is_plain(char c) { return c > ' ' && c < 127 && c != '+' && c != '='; }

bool mail_xtext_encode(struct str in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        if (byte_is_plain(in.data[i]))
            buf_append_byte(out, in.data[i]);
        else
            buf_printf(out, "+%02X", (unsigned)(unsigned char)in.data[i]);
    }
    return buf_ok(out);
}

static int upper_hex_value(char c) { return c >= 'a' && c <= 'f' ? -1 : char_hex_value(c); }

bool mail_xtext_decode(struct str in, struct arena *arena, struct str *ret_text)
{
    char  *text = arena_alloc(arena, in.len + 1);
    size_t len = 0;

    if (!text)
        return false;
    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] == '+') {
            int high = i + 2 < in.len ? upper_hex_value(in.data[i + 1]) : -1;
            int low = i + 2 < in.len ? upper_hex_value(in.data[i + 2]) : -1;
            int value = high * 16 + low;

            if (high < 0 || low < 0 || value < 32 || value > 126)
                return false;
            text[len++] = (char)value;
            i += 2;
        } else if (byte_is_plain(in.data[i])) {
            text[len++] = in.data[i];
        } else {
            return false;
        }
    }
    *ret_text = str_of(text, len);
    return true;
}

/* Reads one character of well-formed UTF-8. */
static uint32_t utf8_next(struct str s, size_t *at)
{
    unsigned char first = (unsigned char)s.data[(*at)++];
    int           more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t      point = more == 0 ? first : first & (0x3fu >> more);

    while (more-- > 0)
        point = point << 6 | ((unsigned char)s.data[(*at)++] & 0x3fu);
    return point;
}

static size_t utf8_put(uint32_t point, char *out)
{
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    if (len == 1) {
        out[0] = (char)point;
        return 1;
    }
    for (size_t i = len - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)((0xf00u >> len & 0xf0) | point);
    return len;
}

static bool byte_is_qchar(char c) { return byte_is_plain(c) && c != '\\'; }

bool mail_utf8_xtext_encode(struct str in, struct buf *out)
{
    if (!str_is_utf8(in))
        return false;
    for (size_t i = 0; i < in.len;) {
        uint32_t point = utf8_next(in, &i);

        if (point < 0x80 && byte_is_qchar((char)point))
            buf_append_byte(out, (char)point);
        else
            buf_printf(out, "\\x{%02X}", (unsigned)point);
    }
    return buf_ok(out);
}

/* "\x{" HEXPOINT "}" at s[*at]: 2 to 6 digits, none too many, of a blank, "+", "=", "\" or a character over U+009F. */
static bool point_parse(struct str s, size_t *at, uint32_t *ret_point)
{
    struct str rest = str_skip(s, *at);
    uint32_t   point = 0;
    size_t     end, digits;

    if (!str_starts(rest, STR("\\x{")))
        return false;
    rest = str_skip(rest, 3);
    end = str_find_byte(str_part(rest, 0, 7), '}');
    if (end == STR_NOT_FOUND || end < 2)
        return false;
    for (size_t i = 0; i < end; i++) {
        int digit = char_hex_value(rest.data[i]);

        if (digit < 0)
            return false;
        point = point * 16 + (uint32_t)digit;
    }
    digits = point < 0x100 ? 2 : point < 0x1000 ? 3 : point < 0x10000 ? 4 : point < 0x100000 ? 5 : 6;
    if (end != digits || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return false;
    if (point < 0xa0 && point != ' ' && point != '+' && point != '=' && point != '\\')
        return false;
    *at += 3 + end + 1;
    *ret_point = point;
    return true;
}

bool mail_utf8_xtext_decode(struct str in, bool unitext, struct arena *arena, struct str *ret_text)
{
    char  *text;
    size_t len = 0;

    if (in.len == 0 || !(unitext ? str_is_utf8(in) : str_is_ascii(in)))
        return false;
    text = arena_alloc(arena, in.len + 1);
    if (!text)
        return false;
    for (size_t i = 0; i < in.len;) {
        uint32_t point;

        if (in.data[i] == '\\') {
            if (!point_parse(in, &i, &point))
                return false;
        } else {
            point = utf8_next(in, &i);
            if (point < 0x80 ? !byte_is_qchar((char)point) : point < 0xa0)
                return false;
        }
        len += utf8_put(point, text + len);
    }
    *ret_text = str_of(text, len);
    return true;
}

/* addr-type = atom of RFC 822 without specials; a few letters in practice. */
static bool type_is_valid(struct str type)
{
    for (size_t i = 0; i < type.len; i++)
        if (!char_is_alnum(type.data[i]) && type.data[i] != '-' && type.data[i] != '_')
            return false;
    return type.len >= 1 && type.len <= 32;
}

bool mail_orcpt_parse(struct str in, bool smtputf8, struct arena *arena, struct str *ret_type, struct str *ret_address)
{
    struct str type, address, rest = in;
    char      *lower;

    if (in.len > MAIL_ORCPT_MAX)
        return false;
    type = str_cut(&rest, ';');
    if (!rest.data || rest.len == 0 || !type_is_valid(type))
        return false;
    lower = arena_alloc(arena, type.len + 1);
    if (!lower)
        return false;
    for (size_t i = 0; i < type.len; i++)
        lower[i] = char_lower(type.data[i]);
    type = str_of(lower, type.len);
    if (str_eq(type, STR("utf-8")) ? !mail_utf8_xtext_decode(rest, smtputf8, arena, &address)
                                   : !mail_xtext_decode(rest, arena, &address))
        return false;
    *ret_type = type;
    *ret_address = address;
    return true;
}

bool mail_orcpt_format(struct str type, struct str address, struct buf *out)
{
    buf_append(out, type);
    buf_append_byte(out, ';');
    return str_eq_nocase(type, STR("utf-8")) ? mail_utf8_xtext_encode(address, out) : mail_xtext_encode(address, out);
}
