/* dns.c: see dns.h. Names come without compression, as a resolver's library gives them; a pointer is refused. */
#include "mail/dns.h"

enum { LABEL_MAX = 63, WIRE_MAX = 255 };

bool dns_address_eq(const struct dns_address *a, const struct dns_address *b)
{
    return a->is_ipv6 == b->is_ipv6 && memcmp(a->octets, b->octets, a->is_ipv6 ? 16 : 4) == 0;
}

static bool byte_is_fit(char c) { return c > ' ' && c < 0x7f && c != '.' && c != '\\' && c != '"' && c != '\''; }

/* Takes a name off the front of *rest. */
static bool name_take(struct str *rest, struct dns_name *n)
{
    size_t wire = 0;

    n->len = 0;
    while (rest->len) {
        size_t len = (unsigned char)rest->data[0];

        wire += len + 1;
        if (len > LABEL_MAX || wire > WIRE_MAX || len + 1 > rest->len)
            return false;
        if (len == 0) {
            *rest = str_skip(*rest, 1);
            n->text[n->len] = '\0';
            return true;
        }
        if (n->len)
            n->text[n->len++] = '.';
        for (size_t i = 1; i <= len; i++) {
            if (!byte_is_fit(rest->data[i]))
                return false;
            n->text[n->len++] = char_lower(rest->data[i]);
        }
        *rest = str_skip(*rest, len + 1);
    }
    return false;
}

bool dns_name_get(struct str rdata, struct dns_name *ret_name) { return name_take(&rdata, ret_name) && rdata.len == 0; }

bool dns_mx_get(struct str rdata, uint16_t *ret_preference, struct dns_name *ret_host)
{
    struct str name = str_skip(rdata, 2);

    if (rdata.len < 3 || !name_take(&name, ret_host) || name.len)
        return false;
    *ret_preference = (uint16_t)((unsigned char)rdata.data[0] << 8 | (unsigned char)rdata.data[1]);
    return true;
}

bool dns_is_null_mx(const struct dns_answer *a)
{
    struct dns_name host;
    uint16_t        preference;

    return a->outcome == DNS_FOUND && a->count == 1 && dns_mx_get(a->records[0], &preference, &host) && host.len == 0;
}

bool dns_address_get(struct str rdata, enum dns_type type, struct dns_address *ret_address)
{
    size_t len = type == DNS_AAAA ? 16 : 4;

    if ((type != DNS_A && type != DNS_AAAA) || rdata.len != len)
        return false;
    *ret_address = (struct dns_address){.is_ipv6 = type == DNS_AAAA};
    memcpy(ret_address->octets, rdata.data, len);
    return true;
}

bool dns_txt_get(struct str rdata, struct buf *out)
{
    size_t before = out->len;

    if (!rdata.len)
        return false;
    while (rdata.len) {
        size_t len = (unsigned char)rdata.data[0];

        if (len + 1 > rdata.len || !buf_append(out, str_part(rdata, 1, len))) {
            buf_cut(out, before);
            return false;
        }
        rdata = str_skip(rdata, len + 1);
    }
    return true;
}

bool dns_tlsa_get(struct str rdata, struct dns_tlsa *ret_tlsa)
{
    if (rdata.len < 4)
        return false;
    *ret_tlsa =
        (struct dns_tlsa){(uint8_t)rdata.data[0], (uint8_t)rdata.data[1], (uint8_t)rdata.data[2], str_skip(rdata, 3)};
    return true;
}
