/* address.c: reads addresses into their canonical form and writes them.
 *
 *   Path         = "<" [ At-domain *( "," At-domain ) ":" ] Mailbox ">"      At-domain = "@" Domain
 *   Mailbox      = Local-part "@" ( Domain / address-literal )
 *   Local-part   = Atom *( "." Atom ) / DQUOTE *QcontentSMTP DQUOTE
 *   Atom         = 1*( ALPHA / DIGIT / any of "!#$%&'*+-/=?^_`{|}~" / UTF8-non-ascii )
 *   QcontentSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii / "\" %d32-126
 *
 * A cursor walks over the input once. The local part is decoded into a buffer of its greatest length, so nothing is
 * taken from the arena until the mailbox is known to be right; domains are the business of domain.c.
 *
 * Limits count the decoded local part, not its quotes: what is legal stays legal however it is written. The path's
 * limit is checked on what was sent and again on the canonical form, which A-labels can make longer, so that every
 * address that was accepted can be written into a command again.
 *
 * Rejected: keeping the spelling of the client next to the canonical form. It served only to echo it, and every
 * comparison would have to know which of the two it holds. */
#include "mail/address.h"

#include "mail/domain.h"

struct cursor {
    struct str                 in;
    size_t                     at;
    struct mail_address_error *error;
};

static bool cursor_bad(struct cursor *c, enum mail_address_fault fault, size_t offset, const char *reason)
{
    if (c->error)
        *c->error = (struct mail_address_error){fault, offset, reason};
    return false;
}

static bool cursor_at(const struct cursor *c, char byte) { return c->at < c->in.len && c->in.data[c->at] == byte; }

static bool cursor_take(struct cursor *c, char byte)
{
    bool there = cursor_at(c, byte);

    c->at += there;
    return there;
}

static bool byte_is_high(char c) { return (unsigned char)c >= 0x80; }

static bool byte_is_atext(char c)
{
    return char_is_alnum(c) || byte_is_high(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool byte_is_quotable(char c) { return c >= 32 && c <= 126; }

struct local_part {
    char   bytes[MAIL_LOCAL_MAX];
    size_t len;
};

static bool local_put(struct local_part *local, char byte)
{
    if (local->len == sizeof local->bytes)
        return false;
    local->bytes[local->len++] = byte;
    return true;
}

static bool local_too_long(struct cursor *c, size_t start)
{
    return cursor_bad(c, MAIL_ADDRESS_LOCAL_LONG, start, "the part before the at sign is longer than 64 octets");
}

static bool local_quoted_parse(struct cursor *c, struct local_part *local)
{
    size_t start = c->at++;

    while (c->at < c->in.len && c->in.data[c->at] != '"') {
        size_t at = c->at;
        bool   escaped = cursor_take(c, '\\');

        if (c->at == c->in.len)
            break;
        if (!byte_is_quotable(c->in.data[c->at]) && (escaped || !byte_is_high(c->in.data[c->at])))
            return cursor_bad(c, MAIL_ADDRESS_SYNTAX, at, "a character that may not stand in quotes");
        if (!local_put(local, c->in.data[c->at++]))
            return local_too_long(c, start);
    }
    if (!cursor_take(c, '"'))
        return cursor_bad(c, MAIL_ADDRESS_SYNTAX, start, "the quotes are not closed");
    return true;
}

static bool local_dots_parse(struct cursor *c, struct local_part *local)
{
    size_t start = c->at;

    do {
        size_t atom = c->at;

        while (c->at < c->in.len && byte_is_atext(c->in.data[c->at]))
            if (!local_put(local, c->in.data[c->at++]))
                return local_too_long(c, start);
        if (c->at == atom)
            return cursor_bad(c, MAIL_ADDRESS_SYNTAX, atom,
                              atom == start ? "there is nothing before the at sign, or a character that needs quotes"
                                            : "a dot must stand between characters, or a character needs quotes");
        if (!cursor_at(c, '.'))
            return true;
    } while (local_put(local, c->in.data[c->at++]));
    return local_too_long(c, start);
}

static bool local_parse(struct cursor *c, bool utf8, struct local_part *local, bool *ret_utf8)
{
    size_t     start = c->at;
    struct str bytes;

    local->len = 0;
    if (!(cursor_at(c, '"') ? local_quoted_parse(c, local) : local_dots_parse(c, local)))
        return false;
    bytes = str_of(local->bytes, local->len);
    *ret_utf8 = !str_is_ascii(bytes);
    if (*ret_utf8 && !str_is_utf8(bytes))
        return cursor_bad(c, MAIL_ADDRESS_NOT_UTF8, start, "bytes that are neither ASCII nor UTF-8");
    if (*ret_utf8 && !utf8)
        return cursor_bad(c, MAIL_ADDRESS_NEEDS_UTF8, start, "an address outside ASCII needs SMTPUTF8");
    return true;
}

/* Takes a domain or, where `allow_literal`, an address literal from the input. */
static bool domain_parse(struct cursor *c, bool allow_literal, bool utf8, struct domain_text *domain)
{
    size_t            start = c->at;
    enum domain_fault fault;
    struct str        raw;

    if (allow_literal && cursor_at(c, '[')) {
        size_t end = str_find_byte(str_skip(c->in, start), ']');

        if (end == STR_NOT_FOUND)
            return cursor_bad(c, MAIL_ADDRESS_SYNTAX, start, "the bracket of the address literal is not closed");
        c->at = start + end + 1;
    } else {
        while (c->at < c->in.len && domain_byte_is_valid(c->in.data[c->at]))
            c->at++;
        if (c->at < c->in.len && !strchr(">,:", c->in.data[c->at]))
            return cursor_bad(c, MAIL_ADDRESS_DOMAIN_BAD, c->at, "a character that no domain has");
    }
    raw = str_part(c->in, start, c->at - start);
    if (!str_is_ascii(raw) && !str_is_utf8(raw))
        return cursor_bad(c, MAIL_ADDRESS_NOT_UTF8, start, "bytes that are neither ASCII nor UTF-8");
    if (!str_is_ascii(raw) && !utf8)
        return cursor_bad(c, MAIL_ADDRESS_NEEDS_UTF8, start, "an address outside ASCII needs SMTPUTF8");
    fault = domain_canonical(raw, domain);
    switch (fault) {
    case DOMAIN_OK:
        return true;
    case DOMAIN_LONG:
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_LONG, start, "the domain or a part of it is too long");
    case DOMAIN_BAD_NAME:
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_BAD, start, "not a valid domain");
    case DOMAIN_BAD_IDNA:
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_BAD, start, "not a valid internationalized domain");
    case DOMAIN_BAD_LITERAL:
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_BAD, start, "not a valid address literal");
    case DOMAIN_NO_MEMORY:
        break;
    }
    return cursor_bad(c, MAIL_ADDRESS_NO_MEMORY, start, "no memory");
}

static bool route_skip(struct cursor *c, bool utf8)
{
    struct domain_text domain;

    do {
        if (!cursor_take(c, '@'))
            return cursor_bad(c, MAIL_ADDRESS_SYNTAX, c->at, "each part of a source route begins with an at sign");
        if (!domain_parse(c, false, utf8, &domain))
            return false;
    } while (cursor_take(c, ','));
    if (!cursor_take(c, ':'))
        return cursor_bad(c, MAIL_ADDRESS_SYNTAX, c->at, "a source route ends in a colon");
    return true;
}

static bool local_needs_quotes(struct str local)
{
    bool after_dot = true;

    for (size_t i = 0; i < local.len; i++) {
        bool dot = local.data[i] == '.';

        if (dot ? after_dot : !byte_is_atext(local.data[i]))
            return true;
        after_dot = dot;
    }
    return after_dot;
}

static size_t local_formatted_len(struct str local)
{
    size_t len = local.len;

    if (local_needs_quotes(local)) {
        len += 2;
        for (size_t i = 0; i < local.len; i++)
            len += local.data[i] == '"' || local.data[i] == '\\';
    }
    return len;
}

static bool address_finish(struct cursor *c, size_t start, const struct local_part *local,
                           const struct domain_text *domain, bool utf8, struct arena *arena,
                           struct mail_address *ret_address)
{
    struct str bytes = str_of(local->bytes, local->len), name = str_of(domain->bytes, domain->len);

    if (local_formatted_len(bytes) + 1 + name.len + 2 > MAIL_PATH_MAX)
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_LONG, start, "the address is longer than 254 octets");
    bytes = arena_str(arena, bytes);
    name = name.len ? arena_str(arena, name) : STR("");
    if (!bytes.data || !name.data)
        return cursor_bad(c, MAIL_ADDRESS_NO_MEMORY, start, "no memory");
    *ret_address = (struct mail_address){bytes, name, utf8};
    return true;
}

static bool mailbox_parse(struct cursor *c, bool allow_bare_postmaster, bool utf8, struct arena *arena,
                          struct mail_address *ret_address)
{
    size_t             start = c->at;
    struct local_part  local;
    struct domain_text domain = {.len = 0};
    bool               local_utf8;

    if (!local_parse(c, utf8, &local, &local_utf8))
        return false;
    if (cursor_take(c, '@')) {
        if (!domain_parse(c, true, utf8, &domain))
            return false;
    } else if (allow_bare_postmaster && str_eq_nocase(str_of(local.bytes, local.len), STR("postmaster"))) {
        memcpy(local.bytes, "postmaster", local.len);
    } else {
        return cursor_bad(c, MAIL_ADDRESS_SYNTAX, c->at,
                          c->at < c->in.len && c->in.data[c->at] != '>' ? "a character that needs quotes"
                                                                        : "there is no at sign");
    }
    return address_finish(c, start, &local, &domain, local_utf8, arena, ret_address);
}

static bool path_parse(struct cursor *c, struct mail_path_rules rules, struct arena *arena,
                       struct mail_address *ret_address)
{
    struct mail_address address;

    if (!cursor_take(c, '<'))
        return cursor_bad(c, MAIL_ADDRESS_SYNTAX, c->at, "a path begins with an angle bracket");
    if (cursor_take(c, '>')) {
        if (!rules.allow_null)
            return cursor_bad(c, MAIL_ADDRESS_SYNTAX, 0, "the empty path is no recipient");
        *ret_address = (struct mail_address){STR(""), STR(""), false};
        return true;
    }
    if (cursor_at(c, '@') && !route_skip(c, rules.utf8))
        return false;
    if (!mailbox_parse(c, rules.allow_bare_postmaster, rules.utf8, arena, &address))
        return false;
    if (!cursor_take(c, '>'))
        return cursor_bad(c, MAIL_ADDRESS_SYNTAX, c->at, "a path ends in an angle bracket");
    if (c->at > MAIL_PATH_MAX)
        return cursor_bad(c, MAIL_ADDRESS_DOMAIN_LONG, 0, "the path is longer than 256 octets");
    *ret_address = address;
    return true;
}

enum parse_result mail_path_parse(struct str in, struct mail_path_rules rules, struct arena *arena,
                                  struct mail_address *ret_address, size_t *ret_len,
                                  struct mail_address_error *ret_error)
{
    struct cursor c = {in, 0, ret_error};

    if (!path_parse(&c, rules, arena, ret_address))
        return PARSE_BAD;
    *ret_len = c.at;
    return PARSE_OK;
}

bool mail_address_parse(struct str in, bool utf8, struct arena *arena, struct mail_address *ret_address,
                        struct mail_address_error *ret_error)
{
    struct cursor       c = {in, 0, ret_error};
    struct mail_address address;

    if (!mailbox_parse(&c, false, utf8, arena, &address))
        return false;
    if (c.at != in.len)
        return cursor_bad(&c, MAIL_ADDRESS_SYNTAX, c.at, "something follows the address");
    if (in.len > MAIL_PATH_MAX - 2)
        return cursor_bad(&c, MAIL_ADDRESS_DOMAIN_LONG, 0, "the address is longer than 254 octets");
    *ret_address = address;
    return true;
}

bool mail_address_eq(const struct mail_address *a, const struct mail_address *b)
{
    return str_eq(a->local, b->local) && str_eq(a->domain, b->domain);
}

bool mail_address_format(const struct mail_address *a, struct buf *out)
{
    if (mail_address_is_null(a))
        return buf_ok(out);
    if (local_needs_quotes(a->local)) {
        buf_append_byte(out, '"');
        for (size_t i = 0; i < a->local.len; i++) {
            if (a->local.data[i] == '"' || a->local.data[i] == '\\')
                buf_append_byte(out, '\\');
            buf_append_byte(out, a->local.data[i]);
        }
        buf_append_byte(out, '"');
    } else {
        buf_append(out, a->local);
    }
    if (a->domain.len) {
        buf_append_byte(out, '@');
        buf_append(out, a->domain);
    }
    return buf_ok(out);
}

struct str mail_address_text(const struct mail_address *a, struct arena *arena)
{
    struct buf text;
    struct str copy;

    buf_init(&text, 2 * a->local.len + a->domain.len + 3);
    copy = mail_address_format(a, &text) ? arena_str(arena, buf_str(&text)) : STR_NONE;
    buf_done(&text);
    return copy;
}

bool mail_address_copy(const struct mail_address *from, struct arena *arena, struct mail_address *ret_address)
{
    struct mail_address copy = {arena_str(arena, from->local), arena_str(arena, from->domain), from->utf8};

    if (!copy.local.data || !copy.domain.data)
        return false;
    *ret_address = copy;
    return true;
}
