/* client_reply.c: see client_reply.h. The line is kept as it comes, for a reply nearly always lies in one piece of
 * input and is short; copying it costs less than telling the cases apart.
 *
 * Rejected: reading on behind a fault to find the next good line. From then on nobody can say which answer belongs to
 * which question, and with BDAT a shift by one would take the answer to RCPT for that to the message. */
#include "smtp/client_reply.h"

#include "codes/codes.h"

void reply_reader_init(struct reply_reader *r)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->text, REPLY_TEXT);
}

void reply_reader_done(struct reply_reader *r) { buf_done(&r->text); }

static void begin(struct reply_reader *r)
{
    r->open = true;
    r->code = 0;
    r->status = SMTP_STATUS_NONE;
    r->lines = 0;
    buf_clear(&r->text);
}

static bool fault(struct reply_reader *r, const char *words)
{
    r->fault = words;
    r->open = false;
    return true;
}

static bool text_keep(struct reply_reader *r, struct str text)
{
    bool utf8 = str_is_utf8(text);

    if (r->text.len + text.len + 1 > REPLY_TEXT)
        return true; /* further lines are dropped */
    if (r->lines > 1)
        buf_append_byte(&r->text, '\n');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];

        buf_append_byte(&r->text, c == '\t' ? ' ' : c < ' ' || c == 127 || (c > 127 && !utf8) ? '?' : text.data[i]);
    }
    return buf_ok(&r->text);
}

static struct smtp_status status_read(struct str text)
{
    struct codes_status status;

    if (!codes_status_parse(str_part(text, 0, str_find_byte(text, ' ')), &status))
        return SMTP_STATUS_NONE;
    return SMTP_STATUS(status.class, status.subject, status.detail);
}

static bool line_is_reply(struct str l)
{
    return l.len >= 3 && char_is_digit(l.data[0]) && char_is_digit(l.data[1]) && char_is_digit(l.data[2]) &&
           (l.len == 3 || l.data[3] == ' ' || l.data[3] == '-');
}

/* True: the reply, or a fault, is whole. */
static bool line_do(struct reply_reader *r, struct str l)
{
    uint64_t   code;
    struct str text = str_skip(l, 4);

    if (!line_is_reply(l))
        return fault(r, "the server said something that is no reply");
    str_to_u64(str_part(l, 0, 3), 999, &code);
    if (code < 200 || code > 599)
        return fault(r, "the server answered with a code that mail has not");
    if (r->code && r->code != code)
        return fault(r, "the server changed the code in the middle of a reply");
    r->code = (uint16_t)code;
    if (++r->lines > REPLY_LINES)
        return fault(r, "the server gave a reply without end");
    if (r->lines == 1)
        r->status = status_read(text);
    if (!text_keep(r, text))
        return fault(r, "no memory for a reply");
    if (l.len > 3 && l.data[3] == '-')
        return false;
    r->open = false;
    return true;
}

bool reply_read(struct reply_reader *r, struct str in, size_t *ret_len)
{
    size_t at = 0;
    bool   whole = false;

    while (at < in.len && !whole) {
        struct str rest = str_skip(in, at);
        size_t     lf = str_find_byte(rest, '\n'), len = lf == STR_NOT_FOUND ? rest.len : lf, room;

        if (!r->open)
            begin(r);
        room = r->line_len < REPLY_LINE_KEPT ? REPLY_LINE_KEPT - r->line_len : 0;
        memcpy(r->line + REPLY_LINE_KEPT - room, rest.data, len < room ? len : room);
        if (r->line_len + len > REPLY_LINE_ENDLESS) {
            at += len;
            whole = fault(r, "the server sent a line without end");
            break;
        }
        r->line_len += (uint32_t)len;
        at += len;
        if (lf == STR_NOT_FOUND)
            break;
        at++;
        len = r->line_len < REPLY_LINE_KEPT ? r->line_len : REPLY_LINE_KEPT;
        if (r->line_len && r->line_len <= REPLY_LINE_KEPT && r->line[len - 1] == '\r')
            len--;
        r->line_len = 0;
        whole = line_do(r, str_of(r->line, len));
    }
    *ret_len = at;
    return whole;
}
