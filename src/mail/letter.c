/* letter.c: writing mail. Everything that came from a stranger goes through letter_text, letter_address or
 * letter_word, so that no line can be ended, begun or made too long from outside. */
#include "mail/letter.h"

#include "mail/date.h"
#include "mail/trace.h"
#include "mail/xtext.h"

enum { COLUMNS = 76, SUBJECT_MAX = 200, WORD_MAX = 128 };

bool letter_line(struct buf *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(out, format, args);
    va_end(args);
    return buf_append_z(out, "\r\n");
}

bool letter_text(struct buf *out, bool utf8, const char *first, const char *rest, struct str text)
{
    size_t     column = strlen(first), words = 0;
    struct buf safe;
    struct str left;

    buf_init(&safe, LETTER_TEXT_MAX);
    mail_safe_text(text, utf8, LETTER_TEXT_MAX, &safe);
    left = buf_str(&safe);
    buf_append_z(out, first);
    while (left.len) {
        struct str word = str_cut(&left, ' ');

        if (word.len == 0)
            continue;
        if (words && column + 1 + word.len > COLUMNS) {
            buf_append_z(out, "\r\n");
            buf_append_z(out, rest);
            column = strlen(rest);
        } else if (words) {
            buf_append_byte(out, ' ');
            column++;
        }
        buf_append(out, word);
        column += word.len;
        words++;
    }
    if (!buf_ok(&safe))
        out->failed = true;
    buf_done(&safe);
    return buf_append_z(out, "\r\n");
}

bool letter_word(struct buf *out, struct str word)
{
    word = str_part(word, 0, WORD_MAX);
    for (size_t i = 0; i < word.len; i++)
        if (char_is_alnum(word.data[i]) || (word.data[i] && strchr(".-_:[]", word.data[i])))
            buf_append_byte(out, word.data[i]);
    return buf_ok(out);
}

bool letter_address(struct buf *out, const struct mail_address *a, struct str mta, bool utf8)
{
    struct buf text;

    if (mail_address_is_null(a))
        return buf_append_z(out, "<>");
    if (a->utf8 && !utf8) {
        buf_init(&text, 4 * MAIL_PATH_MAX);
        mail_address_format(a, &text);
        if (!mail_utf8_xtext_encode(buf_str(&text), out))
            mail_safe_text(buf_str(&text), false, 2 * MAIL_PATH_MAX, out);
        if (!buf_ok(&text))
            out->failed = true;
        buf_done(&text);
    } else {
        mail_address_format(a, out);
    }
    if (!a->domain.len) {
        buf_append_byte(out, '@');
        letter_word(out, mta);
    }
    return buf_ok(out);
}

bool letter_size(struct buf *out, uint64_t octets)
{
    static const char *const units[] = {"kB", "MB", "GB"};
    size_t                   unit = 0;

    if (octets < 1000)
        return buf_printf(out, "%u octets", (unsigned)octets);
    while (octets >= 999950 && unit < 2) {
        octets /= 1000;
        unit++;
    }
    if (octets < 9950)
        return buf_printf(out, "%u.%u %s", (unsigned)((octets + 50) / 1000), (unsigned)((octets + 50) / 100 % 10),
                          units[unit]);
    return buf_printf(out, "%llu %s", (unsigned long long)((octets + 500) / 1000), units[unit]);
}

/* A long subject is cut between two words, since half an encoded word (RFC 2047) is no word at all. */
static void subject_put(const struct letter *l, struct buf *out)
{
    struct str of = str_trim(l->subject_of);
    bool       cut = of.len > SUBJECT_MAX;
    struct buf text;

    if (cut) {
        size_t blank = str_find_last_byte(str_part(of, 0, SUBJECT_MAX), ' ');

        of = blank == STR_NOT_FOUND ? STR_NONE : str_part(of, 0, blank);
    }
    buf_init(&text, LETTER_TEXT_MAX);
    buf_append_z(&text, l->subject);
    if (of.len) {
        buf_append_z(&text, ": ");
        buf_append(&text, of);
        buf_append_z(&text, cut ? " ..." : "");
    }
    if (!buf_ok(&text))
        out->failed = true;
    letter_text(out, l->utf8, "Subject: ", " ", buf_str(&text));
    buf_done(&text);
}

bool letter_head(const struct letter *l, struct buf *out)
{
    buf_append_z(out, "From: Mail Delivery System <postmaster@");
    letter_word(out, l->mta);
    buf_append_z(out, ">\r\nTo: <");
    letter_address(out, l->to, l->mta, l->utf8);
    buf_append_z(out, ">\r\n");
    subject_put(l, out);
    buf_append_z(out, "Date: ");
    mail_date_format(l->date_ms, out);
    buf_append_z(out, "\r\nMessage-ID: <");
    letter_word(out, l->id);
    buf_append_byte(out, '@');
    letter_word(out, l->mta);
    buf_append_z(out, ">\r\n");
    if (l->answers.len) {
        buf_append_z(out, "In-Reply-To: ");
        buf_append(out, l->answers);
        buf_append_z(out, "\r\nReferences: ");
        buf_append(out, l->answers);
        buf_append_z(out, "\r\n");
    }
    return letter_line(out, "Auto-Submitted: %s\r\nMIME-Version: 1.0", l->kind);
}
