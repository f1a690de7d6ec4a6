/* seven.c: see seven.h. The message is walked once, part by part, to find what must change: edits over the content,
 * each a place, how many octets it takes the place of, and what stands there instead. Writing is then one pass over
 * content and edits, resumed anywhere, so a large message is never there twice.
 *
 *   multipart = [ preamble line-end ] 1*( "--" boundary line-end part line-end ) "--" boundary "--" [ epilogue ]
 *
 * The line end before a boundary belongs to the boundary. Preamble and epilogue are for nobody: octets over 127 in
 * them become "?".
 *
 * Rejected: a converter fed in pieces. A part must be labelled before its octets are seen, so all would have to be
 * encoded for fear of one; and nobody could say beforehand whether the message can be converted at all. */
#include "mail/seven.h"

#include "mail/header.h"

#include <assert.h>

enum edit_kind { EDIT_TEXT, EDIT_ENCODE, EDIT_MASK };

struct mail_seven_edit {
    size_t         at, len; /* of the content */
    struct str     text;    /* TEXT */
    enum edit_kind kind;
};

struct plan {
    struct str              content;
    struct arena           *arena;
    struct mail_seven_edit *edits;
    size_t                  count, room;
    const char             *why;
};

static bool impossible(struct plan *p, const char *why)
{
    p->why = why;
    return false;
}

static bool add(struct plan *p, size_t at, size_t len, enum edit_kind kind, struct str text)
{
    assert(!p->count || p->edits[p->count - 1].at + p->edits[p->count - 1].len <= at);
    if (p->count == MAIL_SEVEN_EDITS)
        return impossible(p, "the message has too many parts");
    if (p->count == p->room) {
        size_t                  room = p->room ? p->room * 2 : 8;
        struct mail_seven_edit *more = arena_alloc(p->arena, room * sizeof *more);

        if (!more)
            return impossible(p, "no memory to convert the message");
        if (p->count)
            memcpy(more, p->edits, p->count * sizeof *more);
        p->edits = more;
        p->room = room;
    }
    p->edits[p->count++] = (struct mail_seven_edit){at, len, text, kind};
    return true;
}

/* ---- what a part says of itself ---- */

/* Cuts the next parameter off *rest at a ";" that stands in no quotes. */
static struct str param_cut(struct str *rest)
{
    bool       quoted = false;
    size_t     at = 0;
    struct str param;

    for (; at < rest->len && (quoted || rest->data[at] != ';'); at++) {
        if (rest->data[at] == '"')
            quoted = !quoted;
        else if (rest->data[at] == '\\' && quoted)
            at++;
    }
    param = str_part(*rest, 0, at);
    *rest = str_skip(*rest, at + 1);
    return param;
}

static struct str trim(struct str s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t' || s.data[0] == '\r' || s.data[0] == '\n'))
        s = str_skip(s, 1);
    while (s.len && strchr(" \t\r\n", s.data[s.len - 1]) && s.data[s.len - 1])
        s.len--;
    return s;
}

/* A quoted boundary has no backslashes: RFC 2046 5.1.1 gives it letters, digits and a few signs. */
static struct str boundary_of(struct str type)
{
    param_cut(&type);
    while (type.len) {
        struct str value = param_cut(&type), name = trim(str_cut(&value, '='));

        value = trim(value);
        if (!str_eq_nocase(name, STR("boundary")))
            continue;
        if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
            value = str_part(value, 1, value.len - 2);
        return value.len <= 70 ? value : STR_NONE;
    }
    return STR_NONE;
}

struct entity {
    size_t            start, body, end; /* in the content */
    bool              has_type, has_encoding, has_version;
    bool              has_end; /* an empty line behind its header */
    struct mail_field type, encoding;
    struct str        type_name, encoding_name;
};

static bool entity_read(struct plan *p, size_t start, size_t end, struct entity *e)
{
    struct str         part = str_part(p->content, start, end - start);
    struct mail_fields fields;
    struct mail_field  field;

    *e = (struct entity){.start = start, .end = end};
    mail_fields_init(&fields, part, MAIL_HEADER_MAX);
    while (mail_fields_next(&fields, &field)) {
        if (!e->has_type && str_eq_nocase(field.name, STR("Content-Type"))) {
            e->has_type = true;
            e->type = field;
        } else if (!e->has_encoding && str_eq_nocase(field.name, STR("Content-Transfer-Encoding"))) {
            e->has_encoding = true;
            e->encoding = field;
        } else if (str_eq_nocase(field.name, STR("MIME-Version"))) {
            e->has_version = true;
        }
    }
    if (!str_is_7bit(str_part(part, 0, fields.at)))
        return impossible(p, "a header in the message has raw UTF-8");
    e->body = start + mail_header_body(part);
    e->has_end = e->body > start + fields.at;
    e->type_name = e->type.body;
    e->type_name = trim(param_cut(&e->type_name));
    e->encoding_name = trim(e->encoding.body);
    return true;
}

/* ---- the walk ---- */

static bool has_8bit(const struct plan *p, size_t from, size_t to)
{
    return !str_is_7bit(str_part(p->content, from, to - from));
}

static bool relabel(struct plan *p, const struct entity *e, struct str field)
{
    if (e->has_encoding)
        return add(p, (size_t)(e->encoding.raw.data - p->content.data), e->encoding.raw.len, EDIT_TEXT, field);
    return add(p, e->start, 0, EDIT_TEXT, field);
}

static bool encoding_is_none(const struct entity *e)
{
    return !e->has_encoding || str_eq_nocase(e->encoding_name, STR("8bit")) ||
           str_eq_nocase(e->encoding_name, STR("7bit")) || str_eq_nocase(e->encoding_name, STR("binary"));
}

static bool leaf_plan(struct plan *p, const struct entity *e, bool whole)
{
    struct str body = str_part(p->content, e->body, e->end - e->body);

    if (whole && !e->has_version) {
        if (!add(p, e->start, 0, EDIT_TEXT, STR("MIME-Version: 1.0\r\n")))
            return false;
        if (!e->has_type && !add(p, e->start, 0, EDIT_TEXT,
                                 str_is_utf8(body) ? STR("Content-Type: text/plain; charset=utf-8\r\n")
                                                   : STR("Content-Type: text/plain; charset=unknown-8bit\r\n")))
            return false;
    }
    return relabel(p, e, STR("Content-Transfer-Encoding: quoted-printable\r\n")) &&
           (e->has_end || add(p, e->body, 0, EDIT_TEXT, STR("\r\n"))) &&
           add(p, e->body, e->end - e->body, EDIT_ENCODE, STR_NONE);
}

static bool entity_plan(struct plan *p, size_t start, size_t end, bool whole, unsigned depth);

/* The next line from `from` on that is a boundary: where its line end before begins, where the line behind it does. */
struct boundary {
    size_t before, behind;
    bool   last;
};
static bool boundary_find(const struct plan *p, size_t from, size_t end, struct str boundary, struct boundary *ret)
{
    for (size_t at = from; at < end;) {
        struct str line = str_part(p->content, at, end - at);
        size_t     lf = str_find_byte(line, '\n'), next = lf == STR_NOT_FOUND ? end : at + lf + 1;

        line = str_part(line, 0, next - at);
        if (str_starts(line, STR("--")) && str_starts(str_skip(line, 2), boundary)) {
            struct str rest = str_skip(line, 2 + boundary.len);
            bool       last = str_starts(rest, STR("--"));

            if (trim(str_skip(rest, last ? 2 : 0)).len == 0) {
                size_t before = at;

                before -= before > from && p->content.data[before - 1] == '\n';
                before -= before > from && before < at && p->content.data[before - 1] == '\r';
                *ret = (struct boundary){before, next, last};
                return true;
            }
        }
        at = next;
    }
    return false;
}

static bool mask(struct plan *p, size_t from, size_t to)
{
    return !has_8bit(p, from, to) || add(p, from, to - from, EDIT_MASK, STR_NONE);
}

static bool multipart_plan(struct plan *p, const struct entity *e, unsigned depth)
{
    struct str      boundary = boundary_of(e->type.body);
    struct boundary b;
    size_t          from;

    if (!boundary.len || !boundary_find(p, e->body, e->end, boundary, &b))
        return impossible(p, "a multipart of the message has no boundary");
    if ((e->has_encoding && !relabel(p, e, STR("Content-Transfer-Encoding: 7bit\r\n"))) || !mask(p, e->body, b.before))
        return false;
    while (!b.last) {
        from = b.behind;
        if (!boundary_find(p, from, e->end, boundary, &b))
            return entity_plan(p, from, e->end, false, depth + 1);
        if (!entity_plan(p, from, b.before, false, depth + 1))
            return false;
    }
    return mask(p, b.behind, e->end);
}

static bool entity_plan(struct plan *p, size_t start, size_t end, bool whole, unsigned depth)
{
    struct entity e;

    if (!has_8bit(p, start, end))
        return true;
    if (depth > MAIL_SEVEN_DEPTH)
        return impossible(p, "the parts of the message are nested too deep");
    if (!entity_read(p, start, end, &e))
        return false;
    if (!encoding_is_none(&e))
        return impossible(p, "a part of the message is not encoded as it says");
    if (str_eq_nocase(e.type_name, STR("multipart/signed")) || str_eq_nocase(e.type_name, STR("multipart/encrypted")))
        return impossible(p, "the message is signed or encrypted, and converting it would break that");
    if (str_starts_nocase(e.type_name, STR("multipart/")))
        return multipart_plan(p, &e, depth);
    if (str_eq_nocase(e.type_name, STR("message/rfc822")))
        return (!e.has_encoding || relabel(p, &e, STR("Content-Transfer-Encoding: 7bit\r\n"))) &&
               entity_plan(p, e.body, end, true, depth + 1);
    if (str_starts_nocase(e.type_name, STR("message/")))
        return impossible(p, "the message holds another of a kind that cannot be encoded");
    return leaf_plan(p, &e, whole);
}

bool mail_seven_init(struct mail_seven *s, struct str content, struct arena *arena, const char **ret_why)
{
    struct plan p = {.content = content, .arena = arena};

    if (!entity_plan(&p, 0, content.len, true, 0)) {
        *ret_why = p.why;
        return false;
    }
    *s = (struct mail_seven){.content = content, .edits = p.edits, .edit_count = p.count};
    return true;
}

/* ---- writing ---- */

enum { LINE_MAX_COLUMNS = 75 }; /* and "=" */

/* One octet, or a line end, of what is encoded; returns how many octets it took. */
static size_t encode_one(struct mail_seven *s, size_t end, struct buf *out)
{
    struct str    rest = str_part(s->content, s->at, end - s->at);
    unsigned char c = (unsigned char)rest.data[0];
    bool          line_end = rest.len == 1 || str_starts(str_skip(rest, 1), STR("\r\n"));
    bool          plain = (c > ' ' && c < 127 && c != '=') || ((c == ' ' || c == '\t') && !line_end);
    unsigned      columns = plain ? 1 : 3;

    if (str_starts(rest, STR("\r\n"))) {
        buf_append(out, STR("\r\n"));
        s->column = 0;
        return 2;
    }
    if (s->column + columns > LINE_MAX_COLUMNS) {
        buf_append(out, STR("=\r\n"));
        s->column = 0;
    }
    if (plain)
        buf_append_byte(out, (char)c);
    else
        buf_printf(out, "=%02X", c);
    s->column += columns;
    return 1;
}

static void edit_write(struct mail_seven *s, const struct mail_seven_edit *e, size_t max, struct buf *out)
{
    size_t end = e->at + e->len, start = out->len;

    switch (e->kind) {
    case EDIT_TEXT:
        buf_append(out, e->text);
        s->at = end;
        break;
    case EDIT_ENCODE:
        while (s->at < end && out->len - start < max && buf_ok(out))
            s->at += encode_one(s, end, out);
        break;
    case EDIT_MASK:
        for (; s->at < end && out->len - start < max && buf_ok(out); s->at++)
            buf_append_byte(out, (unsigned char)s->content.data[s->at] > 127 ? '?' : s->content.data[s->at]);
        break;
    }
    if (s->at == end) {
        s->at_edit++;
        s->column = 0;
    }
}

bool mail_seven_next(struct mail_seven *s, size_t max, struct buf *out)
{
    const struct mail_seven_edit *e = s->at_edit < s->edit_count ? &s->edits[s->at_edit] : NULL;
    size_t                        plain_end = e ? e->at : s->content.len;

    if (!e && s->at == s->content.len)
        return false;
    if (s->at < plain_end) {
        struct str piece = str_part(s->content, s->at, plain_end - s->at < max ? plain_end - s->at : max);

        buf_append(out, piece);
        s->at += piece.len;
    } else {
        edit_write(s, e, max, out);
    }
    return buf_ok(out);
}

uint64_t mail_seven_size(const struct mail_seven *s)
{
    struct mail_seven copy = {.content = s->content, .edits = s->edits, .edit_count = s->edit_count};
    struct buf        piece;
    uint64_t          size = 0;

    buf_init(&piece, 64 << 10);
    while (mail_seven_next(&copy, 16 << 10, &piece)) {
        size += piece.len;
        buf_clear(&piece);
    }
    buf_done(&piece);
    return size;
}
