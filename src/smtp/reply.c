/* reply.c: writes replies.
 *
 *   Reply-line = *( Reply-code "-" [ status SP ] [ text ] CRLF ) Reply-code [ SP [ status SP ] text ] CRLF
 *
 * Text comes from our own tables and from the directory (addresses); whatever it holds, a line break can only come
 * from '\n' in it and no line passes SMTP_REPLY_LINE_MAX. Rejected: cutting what is too long. A reply that ends in the
 * middle of an address is worse than one of two lines. */
#include "smtp/reply.h"

#include <assert.h>

static size_t character_len(struct str s)
{
    unsigned char first = (unsigned char)s.data[0];
    size_t        len = first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    return len > 1 && len <= s.len && str_is_utf8(str_part(s, 0, len)) ? len : 1;
}

/* Where to end a line of at most `room` octets: behind the last blank, else at the last whole character. */
static size_t fold_at(struct str text, size_t room, bool utf8)
{
    size_t blank, at = 0;

    if (text.len <= room)
        return text.len;
    blank = str_find_last_byte(str_part(text, 0, room + 1), ' ');
    if (blank != STR_NOT_FOUND && blank > 0)
        return blank;
    while (at < room) {
        size_t len = utf8 ? character_len(str_skip(text, at)) : 1;

        if (at + len > room)
            break;
        at += len;
    }
    return at;
}

static bool byte_is_plain(char c) { return c >= ' ' && c <= '~'; }

static void text_append(struct str text, bool utf8, struct buf *out)
{
    while (text.len) {
        size_t len = 0;

        while (len < text.len && byte_is_plain(text.data[len]))
            len++;
        if (!len && utf8)
            len = character_len(text);
        if (len > 1 || (len == 1 && byte_is_plain(text.data[0]))) {
            buf_append(out, str_part(text, 0, len));
        } else {
            buf_append_byte(out, '?');
            len = 1;
        }
        text = str_skip(text, len);
    }
}

static char *number_put(unsigned number, char *at)
{
    char       text[STR_U64_TEXT];
    struct str digits = str_from_u64(number, text);

    memcpy(at, digits.data, digits.len);
    return at + digits.len;
}

struct str smtp_status_text(struct smtp_status status, char ret_text[SMTP_STATUS_TEXT])
{
    char *at = ret_text;

    if (!status.class)
        return STR_NONE;
    at = number_put(status.class, at);
    *at++ = '.';
    at = number_put(status.subject, at);
    *at++ = '.';
    at = number_put(status.detail, at);
    return str_of(ret_text, (size_t)(at - ret_text));
}

static void line_append(const struct smtp_reply *reply, struct str status, struct str text, bool last, bool utf8,
                        struct buf *out)
{
    bool bare = last && !status.len && !text.len;

    buf_append_u64(out, reply->code);
    if (!bare)
        buf_append_byte(out, last ? ' ' : '-');
    buf_append(out, status);
    if (status.len && text.len)
        buf_append_byte(out, ' ');
    text_append(text, utf8, out);
    buf_append(out, STR("\r\n"));
}

bool smtp_reply_format(const struct smtp_reply *reply, bool utf8, struct buf *out)
{
    char       status_text[SMTP_STATUS_TEXT];
    struct str status = smtp_status_text(reply->status, status_text), rest = reply->text;
    size_t     room, start = out->len;

    assert(reply->code >= 200 && reply->code <= 599);
    room = SMTP_REPLY_LINE_MAX - 2 - 4 - (status.len ? status.len + 1 : 0);
    if (str_ends(rest, STR("\n")))
        rest.len--;
    do {
        struct str line = str_cut(&rest, '\n');
        bool       more = rest.data != NULL;

        do {
            size_t end = fold_at(line, room, utf8);
            bool   folded = end < line.len;

            line_append(reply, status, str_part(line, 0, end), !folded && !more, utf8, out);
            line = str_skip(line, end + (folded && line.data[end] == ' '));
        } while (line.len);
        if (!more)
            break;
    } while (true);
    if (!buf_ok(out))
        buf_cut(out, start);
    return buf_ok(out);
}
