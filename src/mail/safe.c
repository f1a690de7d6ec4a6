/* safe.c: text of strangers made fit to be shown. Besides the controls of ASCII it takes out those of Unicode that
 * end a line or turn the direction of writing (U+0080..9F, U+2028..202E, U+2066..2069), with which a line could be
 * made to read as something else. */
#include "mail/trace.h"

static bool point_is_harmless(uint32_t point)
{
    return point >= 0xa0 && !(point >= 0x2028 && point <= 0x202e) && !(point >= 0x2066 && point <= 0x2069);
}

/* Length of the well-formed, harmless character outside ASCII at the start of `s`; 0: there is none. */
static size_t high_character_len(struct str s)
{
    uint32_t point;
    size_t   len = str_utf8_point(s, &point);

    return len && point_is_harmless(point) ? len : 0;
}

bool mail_safe_text(struct str s, bool utf8, size_t max, struct buf *out)
{
    size_t start = out->len, cut = start; /* cut: the last place that leaves room for the dots */

    while (s.len) {
        char   c = s.data[0];
        bool   high = (unsigned char)c >= 0x80;
        size_t len = high && utf8 ? high_character_len(s) : 0;

        if (out->len - start + (len ? len : 1) > max) {
            buf_cut(out, cut);
            buf_append(out, str_part(STR("..."), 0, max));
            break;
        }
        if (len)
            buf_append(out, str_part(s, 0, len));
        else
            buf_append_byte(out, c == '\t' || c == '\r' || c == '\n' ? ' ' : high || c < ' ' || c == 127 ? '?' : c);
        if (!buf_ok(out))
            break;
        if (out->len - start + 3 <= max)
            cut = out->len;
        s = str_skip(s, len ? len : 1);
    }
    return buf_ok(out);
}
