/* domain.c: domains and address literals in their one canonical form.
 *
 * ASCII labels are put in lower case and never shown to libidn2: names such as "r3---x" are in use although IDNA
 * reserves them, and an A-label in lower case is canonical already. Each other label goes to libidn2 by itself
 * (IDNA 2008 with the mapping of UTS 46, non-transitional); what comes back must again be one valid ASCII label, so
 * no exotic full stop can slip a dot into a name.
 *
 * Rejected: inet_pton for literals. It takes "::" for a single group and refuses leading zeros, both against RFC 5321;
 * inet_ntop is right for the shortest form (RFC 5952). */
#include "mail/domain.h"

#include <arpa/inet.h>
#include <idn2.h>

enum { LABEL_MAX = 63 };

bool domain_byte_is_valid(char c) { return char_is_alnum(c) || c == '-' || c == '.' || (unsigned char)c >= 0x80; }

static bool domain_put(struct domain_text *d, struct str s)
{
    if (s.len > sizeof d->bytes - d->len)
        return false;
    for (size_t i = 0; i < s.len; i++)
        d->bytes[d->len++] = char_lower(s.data[i]);
    return true;
}

static enum domain_fault label_ascii(struct str label, struct domain_text *d)
{
    if (label.len == 0)
        return DOMAIN_BAD_NAME;
    if (label.len > LABEL_MAX)
        return DOMAIN_LONG;
    if (label.data[0] == '-' || label.data[label.len - 1] == '-')
        return DOMAIN_BAD_NAME;
    for (size_t i = 0; i < label.len; i++)
        if (!char_is_alnum(label.data[i]) && label.data[i] != '-')
            return DOMAIN_BAD_NAME;
    return domain_put(d, label) ? DOMAIN_OK : DOMAIN_LONG;
}

static enum domain_fault label_idna(struct str label, struct domain_text *d)
{
    char              text[MAIL_DOMAIN_MAX + 1];
    uint8_t          *ascii;
    int               status;
    enum domain_fault fault;

    if (label.len > MAIL_DOMAIN_MAX)
        return DOMAIN_LONG;
    memcpy(text, label.data, label.len);
    text[label.len] = '\0';
    status = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (status == IDN2_MALLOC)
        return DOMAIN_NO_MEMORY;
    if (status == IDN2_TOO_BIG_DOMAIN || status == IDN2_TOO_BIG_LABEL)
        return DOMAIN_LONG;
    if (status != IDN2_OK)
        return DOMAIN_BAD_IDNA;
    fault = label_ascii(str_from((const char *)ascii), d);
    idn2_free(ascii);
    return fault == DOMAIN_BAD_NAME ? DOMAIN_BAD_IDNA : fault;
}

static enum domain_fault name_canonical(struct str rest, struct domain_text *d)
{
    do {
        struct str        label = str_cut(&rest, '.');
        enum domain_fault fault = str_is_ascii(label) ? label_ascii(label, d) : label_idna(label, d);

        if (fault != DOMAIN_OK)
            return fault;
        if (rest.data && !domain_put(d, STR(".")))
            return DOMAIN_LONG;
    } while (rest.data);
    return DOMAIN_OK;
}

/* Snum 3( "." Snum ); Snum = 1*3DIGIT of 0 to 255, decimal whatever its leading zeros. */
static bool ipv4_parse(struct str rest, uint8_t ret_octets[4])
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t   value;
        struct str part = str_cut(&rest, '.');

        if (part.len > 3 || !str_to_u64(part, 255, &value) || (i < 3) != (rest.data != NULL))
            return false;
        ret_octets[i] = (uint8_t)value;
    }
    return true;
}

struct ipv6_groups {
    uint8_t bytes[16];
    size_t  count; /* groups of 16 bits */
};

/* [ IPv6-hex *( ":" IPv6-hex ) [ ":" IPv4 ] ]; IPv6-hex = 1*4HEXDIG */
static bool ipv6_groups_parse(struct str rest, bool allow_ipv4, struct ipv6_groups *g)
{
    g->count = 0;
    if (rest.len == 0)
        return true;
    do {
        struct str part = str_cut(&rest, ':');
        unsigned   value = 0;

        if (allow_ipv4 && !rest.data && str_find_byte(part, '.') != STR_NOT_FOUND) {
            if (g->count > 6 || !ipv4_parse(part, g->bytes + 2 * g->count))
                return false;
            g->count += 2;
            return true;
        }
        if (part.len < 1 || part.len > 4 || g->count == 8)
            return false;
        for (size_t i = 0; i < part.len; i++) {
            int digit = char_hex_value(part.data[i]);

            if (digit < 0)
                return false;
            value = value * 16 + (unsigned)digit;
        }
        g->bytes[2 * g->count] = (uint8_t)(value >> 8);
        g->bytes[2 * g->count + 1] = (uint8_t)(value & 255);
        g->count++;
    } while (rest.data);
    return true;
}

/* IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp. "::" stands for two groups of zeros at least (RFC 5321 4.1.3). */
static bool ipv6_parse(struct str in, uint8_t ret_bytes[16])
{
    struct ipv6_groups head, tail;
    size_t             gap = str_find(in, STR("::"));

    if (gap == STR_NOT_FOUND) {
        if (!ipv6_groups_parse(in, true, &head) || head.count != 8)
            return false;
        memcpy(ret_bytes, head.bytes, 16);
        return true;
    }
    if (!ipv6_groups_parse(str_part(in, 0, gap), false, &head) ||
        !ipv6_groups_parse(str_skip(in, gap + 2), true, &tail) || head.count + tail.count > 6)
        return false;
    memset(ret_bytes, 0, 16);
    memcpy(ret_bytes, head.bytes, 2 * head.count);
    memcpy(ret_bytes + 16 - 2 * tail.count, tail.bytes, 2 * tail.count);
    return true;
}

static enum domain_fault literal_canonical(struct str in, struct domain_text *d)
{
    char       text[INET6_ADDRSTRLEN];
    uint8_t    bytes[16];
    struct str inner = str_part(in, 1, in.len - 2), tag = STR("IPv6:");
    bool       ipv6 = str_starts_nocase(inner, tag);

    if (in.len < 2 || in.data[in.len - 1] != ']')
        return DOMAIN_BAD_LITERAL;
    if (ipv6 ? !ipv6_parse(str_skip(inner, tag.len), bytes) : !ipv4_parse(inner, bytes))
        return DOMAIN_BAD_LITERAL;
    if (!inet_ntop(ipv6 ? AF_INET6 : AF_INET, bytes, text, sizeof text))
        return DOMAIN_BAD_LITERAL;
    d->len = 0;
    d->bytes[d->len++] = '[';
    if (ipv6) {
        memcpy(d->bytes + d->len, tag.data, tag.len); /* the one canonical spelling with capitals */
        d->len += tag.len;
    }
    return domain_put(d, str_from(text)) && domain_put(d, STR("]")) ? DOMAIN_OK : DOMAIN_BAD_LITERAL;
}

enum domain_fault domain_canonical(struct str in, struct domain_text *ret_domain)
{
    ret_domain->len = 0;
    return str_starts(in, STR("[")) ? literal_canonical(in, ret_domain) : name_canonical(in, ret_domain);
}

bool mail_domain_parse(struct str in, bool allow_literal, struct arena *arena, struct str *ret_domain)
{
    struct domain_text domain;
    struct str         copy;

    if (str_starts(in, STR("[")) && !allow_literal)
        return false;
    if ((!str_is_ascii(in) && !str_is_utf8(in)) || domain_canonical(in, &domain) != DOMAIN_OK)
        return false;
    copy = arena_str(arena, str_of(domain.bytes, domain.len));
    if (!copy.data)
        return false;
    *ret_domain = copy;
    return true;
}
