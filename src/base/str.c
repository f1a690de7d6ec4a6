#include "base/str.h"

struct str str_skip(struct str s, size_t from)
{
    if (from > s.len)
        from = s.len;
    return str_of(s.data ? s.data + from : NULL, s.len - from);
}

struct str str_part(struct str s, size_t from, size_t len)
{
    s = str_skip(s, from);
    if (len < s.len)
        s.len = len;
    return s;
}

bool str_eq(struct str a, struct str b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (char_lower(a.data[i]) != char_lower(b.data[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int    order = shorter ? memcmp(a.data, b.data, shorter) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix) { return str_eq(str_part(s, 0, prefix.len), prefix); }

bool str_starts_nocase(struct str s, struct str prefix) { return str_eq_nocase(str_part(s, 0, prefix.len), prefix); }

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

bool str_ends_nocase(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq_nocase(str_skip(s, s.len - suffix.len), suffix);
}

size_t str_find_byte(struct str s, char byte)
{
    const char *at = s.len ? memchr(s.data, byte, s.len) : NULL;

    return at ? (size_t)(at - s.data) : STR_NOT_FOUND;
}

size_t str_find_last_byte(struct str s, char byte)
{
    const char *at = s.len ? memrchr(s.data, byte, s.len) : NULL;

    return at ? (size_t)(at - s.data) : STR_NOT_FOUND;
}

size_t str_find(struct str s, struct str what)
{
    const char *at;

    if (what.len == 0)
        return 0;
    if (s.len == 0)
        return STR_NOT_FOUND;
    at = memmem(s.data, s.len, what.data, what.len);
    return at ? (size_t)(at - s.data) : STR_NOT_FOUND;
}

struct str str_trim(struct str s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = str_skip(s, 1);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct str str_cut(struct str *rest, char byte)
{
    size_t     at = str_find_byte(*rest, byte);
    struct str head = *rest;

    if (at == STR_NOT_FOUND) {
        *rest = STR_NONE;
        return head;
    }
    head.len = at;
    *rest = str_skip(*rest, at + 1);
    return head;
}

struct str str_from_u64(uint64_t value, char ret_text[STR_U64_TEXT])
{
    size_t at = STR_U64_TEXT;

    do
        ret_text[--at] = (char)('0' + value % 10);
    while (value /= 10);
    return str_of(ret_text + at, STR_U64_TEXT - at);
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit;

        if (!char_is_digit(s.data[i]))
            return false;
        digit = (uint64_t)(s.data[i] - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

bool str_is_7bit(struct str s)
{
    size_t i = 0;

    for (; i + sizeof(uint64_t) <= s.len; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, s.data + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            return false;
    }
    while (i < s.len && (unsigned char)s.data[i] < 0x80)
        i++;
    return i == s.len;
}

bool str_is_ascii(struct str s) { return str_is_7bit(s) && str_find_byte(s, '\0') == STR_NOT_FOUND; }

size_t str_utf8_point(struct str s, uint32_t *ret_point)
{
    const unsigned char *p = (const unsigned char *)s.data;
    size_t               len;
    uint32_t             point;

    if (!s.len || p[0] == 0)
        return 0;
    if (p[0] < 0x80)
        len = 1, point = p[0];
    else if (p[0] >= 0xc2 && p[0] <= 0xdf)
        len = 2, point = p[0] & 0x1fU;
    else if ((p[0] & 0xf0) == 0xe0)
        len = 3, point = p[0] & 0x0fU;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        len = 4, point = p[0] & 0x07U;
    else
        return 0;
    if (s.len < len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3fU);
    }
    if ((len == 3 && point < 0x800) || (len == 4 && point < 0x10000) || point > 0x10ffff ||
        (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return len;
}

bool str_is_utf8(struct str s)
{
    uint32_t point;
    size_t   len;

    while (s.len) {
        len = str_utf8_point(s, &point);
        if (!len)
            return false;
        s = str_skip(s, len);
    }
    return true;
}

bool point_misleads(uint32_t point)
{
    return point < ' ' || (point >= 0x7f && point < 0xa0) || point == 0x61c || (point >= 0x200b && point <= 0x200f) ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2060 && point <= 0x206f) || point == 0xfeff;
}
