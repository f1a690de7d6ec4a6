/* via.c: see via.h. */
#include "queue/via.h"

#include "mail/address.h"

enum { PORT_SMTP = 25, PORT_LMTP = 24, SOCKET_PATH_MAX = 107 };

/* A literal is checked by the parser of address literals, which makes it canonical too. */
static bool parse_host(struct str text, bool v6, struct arena *arena, struct via *v)
{
    struct str literal = arena_printf(arena, "[%s%.*s]", v6 ? "IPv6:" : "", STR_ARG(text)), canonical;

    if (literal.data && mail_domain_parse(literal, true, arena, &canonical)) {
        v->literal = true;
        v->host = str_part(canonical, v6 ? 6 : 1, canonical.len - (v6 ? 7 : 2));
        return true;
    }
    return !v6 && mail_domain_parse(text, false, arena, &v->host);
}

static bool parse_place(struct str s, struct arena *arena, struct via *v)
{
    struct str host, port;
    uint64_t   number = v->lmtp ? PORT_LMTP : PORT_SMTP;
    bool       v6;

    if (str_starts(s, STR("unix:"))) {
        v->kind = VIA_SOCKET;
        v->path = arena_str(arena, str_skip(s, 5));
        return v->path.data && v->path.len && v->path.len <= SOCKET_PATH_MAX && v->path.data[0] == '/' &&
               str_find_byte(v->path, 0) == STR_NOT_FOUND;
    }
    v->kind = VIA_HOST;
    if (str_starts(s, STR("//")))
        s = str_skip(s, 2);
    v6 = str_starts(s, STR("["));
    if (v6) {
        s = str_skip(s, 1);
        host = str_cut(&s, ']');
        if (!s.data || (s.len && s.data[0] != ':'))
            return false;
        port = s.len ? str_skip(s, 1) : STR_NONE;
        if (s.len && !port.len)
            return false;
    } else {
        host = str_cut(&s, ':');
        port = s;
        if (s.data && !s.len)
            return false;
    }
    if (port.len && (!str_to_u64(port, UINT16_MAX, &number) || number == 0))
        return false;
    v->port = (uint16_t)number;
    return host.len && parse_host(host, v6, arena, v);
}

bool via_parse(struct str text, struct arena *arena, struct via *ret_via)
{
    struct via v = {.kind = VIA_MX};
    bool       ok = true;

    if (text.len > VIA_TEXT_MAX)
        return false;
    if (str_eq(text, STR("discard:"))) {
        v.kind = VIA_DISCARD;
    } else if (str_eq(text, STR("hold:"))) {
        v.kind = VIA_HOLD;
    } else if (!str_eq(text, STR("mx"))) {
        v.lmtp = str_starts(text, STR("lmtp:"));
        ok = (v.lmtp || str_starts(text, STR("smtp:"))) && parse_place(str_skip(text, 5), arena, &v);
    }
    if (ok)
        *ret_via = v;
    return ok;
}
