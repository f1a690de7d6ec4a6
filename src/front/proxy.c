/* proxy.c: PROXY protocol.
 *
 *   version 1 = "PROXY" SP ( "TCP4" / "TCP6" ) SP client SP server SP client-port SP server-port CRLF
 *             / "PROXY" SP "UNKNOWN" *( any octet but CR and LF ) CRLF                       at most 107 octets
 *
 *   version 2 = signature %x20-21 family length addresses *extension
 *   signature = 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
 *               %x20: the balancer itself (LOCAL), %x21: on behalf of a client (PROXY)
 *   family    = 00 unspecified / 11 TCP over IPv4 / 21 TCP over IPv6 / 31 stream over Unix sockets
 *   length    = 2 octets, high first: of all that follows
 *   addresses = client server client-port server-port       12 octets for IPv4, 36 for IPv6, 216 for Unix
 *
 * Extensions are passed over: none of them says more about who the client is. Datagram families are refused, since the
 * connection is a stream. A header that cannot become right any more is refused at its first wrong octet, so that a
 * client that speaks SMTP at once does not have to be waited out. */
#include "front/proxy.h"

#include <arpa/inet.h>

enum { V2_FIXED = 16, V2_IPV4 = 12, V2_IPV6 = 36, V2_UNIX = 216 };

static const struct str v1_start = {"PROXY ", 6};
static const struct str v2_signature = {"\r\n\r\n\0\r\nQUIT\n", 12};

static enum parse_result bad(const char *reason, const char **ret_reason)
{
    *ret_reason = reason;
    return PARSE_BAD;
}

static bool host_parse(int family, struct str text, uint8_t ret_host[16])
{
    char z[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof z || memchr(text.data, '\0', text.len))
        return false;
    memcpy(z, text.data, text.len);
    z[text.len] = '\0';
    return inet_pton(family, z, ret_host) == 1;
}

static bool port_parse(struct str text, uint16_t *ret_port)
{
    uint64_t port;

    if (!str_to_u64(text, UINT16_MAX, &port))
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static enum parse_result parse_v1(struct str in, struct proxy_header *ret_header, size_t *ret_len,
                                  const char **ret_reason)
{
    struct str          line = str_part(in, 0, PROXY_V1_MAX), rest, word;
    size_t              end = str_find(line, STR("\r\n"));
    struct proxy_header h = {0};
    int                 family;

    if (end == STR_NOT_FOUND)
        return in.len < PROXY_V1_MAX ? PARSE_MORE : bad("the line has no end", ret_reason);
    rest = str_skip(str_part(line, 0, end), v1_start.len);
    word = str_cut(&rest, ' ');
    if (!str_eq(word, STR("UNKNOWN"))) {
        h.family = str_eq(word, STR("TCP4")) ? PROXY_IPV4 : PROXY_IPV6;
        family = h.family == PROXY_IPV4 ? AF_INET : AF_INET6;
        if (h.family == PROXY_IPV6 && !str_eq(word, STR("TCP6")))
            return bad("neither TCP4, TCP6 nor UNKNOWN", ret_reason);
        if (!host_parse(family, str_cut(&rest, ' '), h.client.host) ||
            !host_parse(family, str_cut(&rest, ' '), h.server.host))
            return bad("a wrong address", ret_reason);
        if (!port_parse(str_cut(&rest, ' '), &h.client.port) || !port_parse(rest, &h.server.port))
            return bad("a wrong port", ret_reason);
    }
    *ret_header = h;
    *ret_len = end + 2;
    return PARSE_OK;
}

static void get_ends(const uint8_t *at, size_t host_len, struct proxy_header *h)
{
    const uint8_t *ports = at + 2 * host_len;

    memcpy(h->client.host, at, host_len);
    memcpy(h->server.host, at + host_len, host_len);
    h->client.port = (uint16_t)(ports[0] << 8 | ports[1]);
    h->server.port = (uint16_t)(ports[2] << 8 | ports[3]);
}

static enum parse_result parse_v2(struct str in, struct proxy_header *ret_header, size_t *ret_len,
                                  const char **ret_reason)
{
    const uint8_t      *at = (const uint8_t *)in.data;
    struct proxy_header h = {0};
    size_t              len, need;

    if (in.len > 12 && at[12] != 0x20 && at[12] != 0x21)
        return bad("neither version 2 nor a known command", ret_reason);
    if (in.len > 13 && at[13] != 0x00 && at[13] != 0x11 && at[13] != 0x21 && at[13] != 0x31)
        return bad("not a stream of a known family", ret_reason);
    if (in.len < V2_FIXED)
        return PARSE_MORE;
    len = (size_t)at[14] << 8 | at[15];
    need = at[13] == 0x11 ? V2_IPV4 : at[13] == 0x21 ? V2_IPV6 : at[13] == 0x31 ? V2_UNIX : 0;
    if (len < need && at[12] == 0x21)
        return bad("shorter than its addresses", ret_reason);
    if (len > PROXY_HEADER_MAX - V2_FIXED)
        return bad("too long", ret_reason);
    if (in.len < V2_FIXED + len)
        return PARSE_MORE;
    if (at[12] == 0x21 && at[13] == 0x11) {
        h.family = PROXY_IPV4;
        get_ends(at + V2_FIXED, 4, &h);
    } else if (at[12] == 0x21 && at[13] == 0x21) {
        h.family = PROXY_IPV6;
        get_ends(at + V2_FIXED, 16, &h);
    }
    *ret_header = h;
    *ret_len = V2_FIXED + len;
    return PARSE_OK;
}

enum parse_result proxy_parse(struct str in, struct proxy_header *ret_header, size_t *ret_len, const char **ret_reason)
{
    if (str_starts(in, v2_signature))
        return parse_v2(in, ret_header, ret_len, ret_reason);
    if (str_starts(in, v1_start))
        return parse_v1(in, ret_header, ret_len, ret_reason);
    if (str_starts(v1_start, in) || str_starts(v2_signature, in))
        return PARSE_MORE;
    return bad("no header", ret_reason);
}
