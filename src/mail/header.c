/* header.c: the header of content that is all there. A field is found by its name and colon, its end by the first line
 * that does not begin with a blank; scan.c sees the same in pieces, and the fuzz target holds the two together.
 *
 *   field-name = 1*( "!".."~" but ":" )
 *
 * Rejected: a parsed copy of the header (a list, a map). Nobody needs more than one or two fields of a message, and a
 * stranger decides how many there are. */
#include "mail/header.h"

static bool byte_is_blank(char c) { return c == ' ' || c == '\t'; }
static bool byte_is_name(char c) { return c > ' ' && c < 127 && c != ':'; }

void mail_fields_init(struct mail_fields *f, struct str content, size_t max)
{
    *f = (struct mail_fields){content, 0, max};
}

/* Where the line that holds `at` ends, behind its LF; STR_NOT_FOUND: it has none. */
static size_t line_end(struct str s, size_t at)
{
    size_t end = str_find_byte(str_skip(s, at), '\n');

    return end == STR_NOT_FOUND ? end : at + end + 1;
}

static struct str without_line_end(struct str s)
{
    if (str_ends(s, STR("\n")))
        s.len--;
    if (str_ends(s, STR("\r")))
        s.len--;
    return s;
}

bool mail_fields_next(struct mail_fields *f, struct mail_field *ret_field)
{
    struct str s = str_part(f->content, 0, f->max);
    size_t     start = f->at, at = start, name_end, colon, end;

    while (at < s.len && byte_is_name(s.data[at]))
        at++;
    name_end = at;
    while (at < s.len && byte_is_blank(s.data[at]))
        at++;
    if (name_end == start || at == s.len || s.data[at] != ':')
        return false;
    colon = at;
    do {
        end = line_end(s, at);
        at = end;
    } while (end != STR_NOT_FOUND && at < s.len && byte_is_blank(s.data[at]));
    if (s.len < f->content.len && (end == STR_NOT_FOUND || end == s.len))
        return false; /* the field may go on behind the ceiling */
    if (end == STR_NOT_FOUND)
        end = s.len;
    ret_field->raw = str_part(s, start, end - start);
    ret_field->name = str_part(s, start, name_end - start);
    ret_field->body = str_part(s, colon + 1, end - colon - 1);
    if (s.data[end - 1] == '\n')
        ret_field->body = without_line_end(ret_field->body);
    f->at = end;
    return true;
}

bool mail_header_find(struct str content, struct str name, struct mail_field *ret_field)
{
    struct mail_fields f;
    struct mail_field  field;

    mail_fields_init(&f, content, MAIL_HEADER_MAX);
    while (mail_fields_next(&f, &field)) {
        if (str_eq_nocase(field.name, name)) {
            *ret_field = field;
            return true;
        }
    }
    return false;
}

size_t mail_header_count(struct str content, struct str name)
{
    struct mail_fields f;
    struct mail_field  field;
    size_t             count = 0;

    mail_fields_init(&f, content, MAIL_HEADER_MAX);
    while (mail_fields_next(&f, &field))
        count += str_eq_nocase(field.name, name);
    return count;
}

size_t mail_header_len(struct str content)
{
    struct mail_fields f;
    struct mail_field  field;

    mail_fields_init(&f, content, MAIL_HEADER_MAX);
    while (mail_fields_next(&f, &field))
        ;
    return f.at;
}

size_t mail_header_body(struct str content)
{
    size_t     len = mail_header_len(content);
    struct str rest = str_skip(content, len);

    return len + (str_starts(rest, STR("\r\n")) ? 2 : str_starts(rest, STR("\n")) ? 1 : 0);
}

bool mail_field_unfold(struct str body, struct buf *out)
{
    while (body.len && strchr(" \t\r\n", body.data[0]) && body.data[0])
        body = str_skip(body, 1);
    while (body.len && strchr(" \t\r\n", body.data[body.len - 1]) && body.data[body.len - 1])
        body.len--;
    for (size_t i = 0; i < body.len; i++)
        if (body.data[i] != '\r' && body.data[i] != '\n')
            buf_append_byte(out, body.data[i]);
    return buf_ok(out);
}

struct str mail_message_id(struct str body, bool utf8)
{
    size_t start = 0;
    bool   open = false, at_sign = false;

    for (size_t i = 0; i < body.len; i++) {
        char c = body.data[i];

        if (c == '<') {
            start = i;
            open = true;
            at_sign = false;
        } else if (c == '>' && open) {
            struct str id = str_part(body, start, i + 1 - start);

            if (at_sign && id.len <= MAIL_MESSAGE_ID_MAX && (str_is_ascii(id) || (utf8 && str_is_utf8(id))))
                return id;
            open = false;
        } else if (c == '@') {
            at_sign = true;
        } else if (((unsigned char)c < 128 && !(c > ' ' && c < 127)) || c == '>') {
            open = false;
        }
    }
    return STR_NONE;
}
