/* word.c: RFC 2047.
 *
 *   encoded-word = "=?" charset ["*" language] "?" ( "B" / "Q" ) "?" encoded-text "?="
 *
 * Blanks between two encoded words belong to neither (6.2). Other charsets would need iconv, which opens files; the
 * ones here are what nearly all mail has, and an encoded word that stays one harms nobody. */
#include "mail/word.h"

enum { WORD_MAX = 1000 }; /* octets; the standard has 75, senders have more */

enum charset { CHARSET_UTF8, CHARSET_WINDOWS_1252 };
struct word {
    enum charset charset;
    bool         base64;
    struct str   text;
};

/* ISO-8859-1 is read as windows-1252, as everybody does: the difference lies in control characters. */
static bool charset_find(struct str name, enum charset *ret_charset)
{
    static const struct {
        const char  *name;
        enum charset charset;
    } known[] = {
        {"utf-8", CHARSET_UTF8},
        {"us-ascii", CHARSET_UTF8},
        {"iso-8859-1", CHARSET_WINDOWS_1252},
        {"windows-1252", CHARSET_WINDOWS_1252},
    };

    name = str_cut(&name, '*');
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eq_nocase(name, str_from(known[i].name))) {
            *ret_charset = known[i].charset;
            return true;
        }
    return false;
}

/* The encoded word at the start of `s`; returns its length, 0: there is none. */
static size_t word_at(struct str s, struct word *ret_word)
{
    struct str rest = str_part(str_skip(s, 2), 0, WORD_MAX), charset, encoding;
    size_t     end;

    if (!str_starts(s, STR("=?")))
        return 0;
    charset = str_cut(&rest, '?');
    encoding = str_cut(&rest, '?');
    end = str_find(rest, STR("?="));
    if (end == STR_NOT_FOUND || encoding.len != 1 || !charset_find(charset, &ret_word->charset))
        return 0;
    ret_word->text = str_part(rest, 0, end);
    ret_word->base64 = char_lower(encoding.data[0]) == 'b';
    if (!ret_word->base64 && char_lower(encoding.data[0]) != 'q')
        return 0;
    return (size_t)(ret_word->text.data - s.data) + end + 2;
}

static bool point_put(uint32_t point, struct buf *out)
{
    if (point < 0x80)
        return buf_append_byte(out, (char)point);
    if (point >= 0x800)
        buf_append_byte(out, (char)(0xe0 | point >> 12));
    buf_append_byte(out, (char)(point >= 0x800 ? 0x80 | (point >> 6 & 0x3f) : 0xc0 | point >> 6));
    return buf_append_byte(out, (char)(0x80 | (point & 0x3f)));
}

static bool octet_put(enum charset charset, unsigned char octet, struct buf *out)
{
    static const uint16_t windows[32] = {/* of 0x80 to 0x9f */
                                         0x20ac, 0xfffd, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021,
                                         0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0xfffd, 0x017d, 0xfffd,
                                         0xfffd, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                         0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0xfffd, 0x017e, 0x0178};

    if (charset == CHARSET_UTF8)
        return buf_append_byte(out, (char)octet);
    return point_put(octet >= 0x80 && octet < 0xa0 ? windows[octet - 0x80] : octet, out);
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : char_is_digit(c)     ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static bool base64_put(const struct word *w, struct buf *out)
{
    struct str text = w->text;
    uint32_t   bits = 0;
    unsigned   count = 0;

    while (text.len && text.data[text.len - 1] == '=')
        text.len--;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            octet_put(w->charset, (unsigned char)(bits >> count), out);
        }
    }
    return true;
}

static bool quoted_put(const struct word *w, struct buf *out)
{
    for (size_t i = 0; i < w->text.len; i++) {
        char c = w->text.data[i];
        int  high, low;

        if (c != '=') {
            octet_put(w->charset, c == '_' ? ' ' : (unsigned char)c, out);
            continue;
        }
        high = i + 1 < w->text.len ? char_hex_value(w->text.data[i + 1]) : -1;
        low = i + 2 < w->text.len ? char_hex_value(w->text.data[i + 2]) : -1;
        if (high < 0 || low < 0)
            return false;
        octet_put(w->charset, (unsigned char)(high * 16 + low), out);
        i += 2;
    }
    return true;
}

static size_t blanks_at(struct str s)
{
    size_t len = 0;

    while (len < s.len && (s.data[len] == ' ' || s.data[len] == '\t'))
        len++;
    return len;
}

bool mail_words_decode(struct str text, struct buf *out)
{
    bool after_word = false;

    while (text.len) {
        struct word w;
        size_t      start = out->len, blanks = after_word ? blanks_at(text) : 0;
        size_t      len = word_at(str_skip(text, blanks), &w);

        if (len && (w.base64 ? base64_put(&w, out) : quoted_put(&w, out))) {
            text = str_skip(text, blanks + len);
            after_word = true;
            continue;
        }
        if (buf_ok(out))
            buf_cut(out, start);
        buf_append_byte(out, text.data[0]);
        text = str_skip(text, 1);
        after_word = false;
    }
    return buf_ok(out);
}
