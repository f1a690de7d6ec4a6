/* net.c: addresses as text and as networks. The C library's getaddrinfo was not used: it would take names, and a name
 * in the place of an address is a question to somebody else's server. */
#include "io/net.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

static const struct sockaddr_in  *v4(const struct io_address *a) { return (const void *)&a->storage; }
static const struct sockaddr_in6 *v6(const struct io_address *a) { return (const void *)&a->storage; }
static const struct sockaddr_un  *un(const struct io_address *a) { return (const void *)&a->storage; }

static struct io_address make_v4(struct in_addr host, uint16_t port)
{
    struct io_address  a = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = host};

    memcpy(&a.storage, &in, sizeof in);
    return a;
}

static struct io_address make_v6(struct in6_addr host, uint16_t port)
{
    struct io_address   a = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = host};

    memcpy(&a.storage, &in, sizeof in);
    return a;
}

static bool host_parse(int family, struct str text, void *ret_host)
{
    char z[INET6_ADDRSTRLEN];

    if (text.len >= sizeof z || memchr(text.data, '\0', text.len))
        return false;
    memcpy(z, text.data, text.len);
    z[text.len] = '\0';
    return inet_pton(family, z, ret_host) == 1;
}

static bool parse_unix(struct str path, struct io_address *ret_addresses, struct err *err)
{
    struct sockaddr_un in = {.sun_family = AF_UNIX};
    struct io_address  a = {0};

    if (path.len == 0 || memchr(path.data, '\0', path.len))
        return err_set(err, ERR_CONFIG, "unix: needs the path of a socket, as in unix:/run/tacit.sock");
    if (path.len >= sizeof in.sun_path)
        return err_set(err, ERR_CONFIG, "the path of a socket may have at most %zu octets, \"%.*s\" has %zu",
                       sizeof in.sun_path - 1, STR_ARG(str_part(path, 0, 200)), path.len);
    memcpy(in.sun_path, path.data, path.len);
    memcpy(&a.storage, &in, sizeof in);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *ret_addresses = a;
    return true;
}

/* address = "unix:" path / host ":" port
 * host    = IPv4 / "[" IPv6 "]" / "*" */
bool io_address_parse(struct str text, struct io_address *ret_addresses, size_t max, size_t *ret_count, struct err *err)
{
    size_t          colon = str_find_last_byte(text, ':');
    struct str      host;
    uint64_t        port;
    struct in_addr  in4 = {.s_addr = htonl(INADDR_ANY)};
    struct in6_addr in6 = IN6ADDR_ANY_INIT;

    assert(max >= 2);
    if (str_starts(text, STR("unix:"))) {
        if (!parse_unix(str_skip(text, 5), ret_addresses, err))
            return false;
        *ret_count = 1;
        return true;
    }
    if (colon == STR_NOT_FOUND || str_ends(text, STR("]")))
        return err_set(err, ERR_CONFIG, "\"%.*s\" has no port; write ADDRESS:PORT", STR_ARG(str_part(text, 0, 200)));
    host = str_part(text, 0, colon);
    if (!str_to_u64(str_skip(text, colon + 1), 65535, &port))
        return err_set(err, ERR_CONFIG, "\"%.*s\" is not a port (0 to 65535)", STR_ARG(str_part(text, colon + 1, 200)));
    if (str_eq(host, STR("*"))) {
        ret_addresses[0] = make_v4(in4, (uint16_t)port);
        ret_addresses[1] = make_v6(in6, (uint16_t)port);
        *ret_count = 2;
        return true;
    }
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']' &&
        host_parse(AF_INET6, str_part(host, 1, host.len - 2), &in6)) {
        ret_addresses[0] = make_v6(in6, (uint16_t)port);
        *ret_count = 1;
        return true;
    }
    if (host_parse(AF_INET, host, &in4)) {
        ret_addresses[0] = make_v4(in4, (uint16_t)port);
        *ret_count = 1;
        return true;
    }
    return err_set(err, ERR_CONFIG, "\"%.*s\" is not an address; write IPv4:PORT, [IPv6]:PORT, *:PORT or unix:PATH",
                   STR_ARG(str_part(text, 0, 200)));
}

static bool is_mapped(const struct io_address *a)
{
    return a->storage.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6(a)->sin6_addr);
}

void io_address_host(const struct io_address *a, char ret_text[IO_ADDRESS_TEXT])
{
    if (a->storage.ss_family == AF_INET)
        inet_ntop(AF_INET, &v4(a)->sin_addr, ret_text, IO_ADDRESS_TEXT);
    else if (is_mapped(a))
        inet_ntop(AF_INET, v6(a)->sin6_addr.s6_addr + 12, ret_text, IO_ADDRESS_TEXT);
    else if (a->storage.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6(a)->sin6_addr, ret_text, IO_ADDRESS_TEXT);
    else
        snprintf(ret_text, IO_ADDRESS_TEXT, "local");
}

void io_address_text(const struct io_address *a, char ret_text[IO_ADDRESS_TEXT])
{
    char host[IO_ADDRESS_TEXT];

    io_address_host(a, host);
    if (a->storage.ss_family == AF_INET || is_mapped(a))
        snprintf(ret_text, IO_ADDRESS_TEXT, "%.*s:%u", INET6_ADDRSTRLEN, host, io_address_port(a));
    else if (a->storage.ss_family == AF_INET6)
        snprintf(ret_text, IO_ADDRESS_TEXT, "[%.*s]:%u", INET6_ADDRSTRLEN, host, io_address_port(a));
    else if (a->storage.ss_family == AF_UNIX && a->len > offsetof(struct sockaddr_un, sun_path))
        snprintf(ret_text, IO_ADDRESS_TEXT, "unix:%.108s", un(a)->sun_path);
    else
        snprintf(ret_text, IO_ADDRESS_TEXT, "local");
}

struct io_address io_address_of(const struct dns_address *a, uint16_t port)
{
    struct in_addr  in4;
    struct in6_addr in6;

    memcpy(&in4, a->octets, sizeof in4);
    memcpy(&in6, a->octets, sizeof in6);
    return a->is_ipv6 ? make_v6(in6, port) : make_v4(in4, port);
}

bool io_address_is_loopback(const struct io_address *a)
{
    if (a->storage.ss_family == AF_INET)
        return ntohl(v4(a)->sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
    return a->storage.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6(a)->sin6_addr);
}

uint16_t io_address_port(const struct io_address *a)
{
    if (a->storage.ss_family == AF_INET)
        return ntohs(v4(a)->sin_port);
    if (a->storage.ss_family == AF_INET6)
        return ntohs(v6(a)->sin6_port);
    return 0;
}

struct io_network io_address_network(const struct io_address *a)
{
    struct io_network n = {{0}};

    if (a->storage.ss_family == AF_INET || is_mapped(a)) {
        n.bytes[0] = 4;
        memcpy(n.bytes + 1, is_mapped(a) ? (const void *)(v6(a)->sin6_addr.s6_addr + 12) : &v4(a)->sin_addr, 4);
    } else if (a->storage.ss_family == AF_INET6) {
        n.bytes[0] = 6;
        memcpy(n.bytes + 1, &v6(a)->sin6_addr, 8);
    }
    return n;
}

/* cidr = address [ "/" bits ] ; bits behind the prefix must be 0: "10.0.0.1/8" is more likely a slip than a network */
bool io_cidr_parse(struct str text, struct io_cidr *ret_cidr, struct err *err)
{
    struct str     rest = text, host = str_cut(&rest, '/');
    struct io_cidr c = {.family = 4, .bits = 32};
    unsigned       least = 0; /* of the bits in the text, where the address is an IPv4-mapped one */
    uint64_t       bits;

    if (!host_parse(AF_INET, host, c.octets)) {
        struct in6_addr in6;

        if (!host_parse(AF_INET6, host, &in6))
            return err_set(err, ERR_CONFIG, "\"%.*s\" is not a network; write ADDRESS or ADDRESS/BITS",
                           STR_ARG(str_part(text, 0, 200)));
        if (IN6_IS_ADDR_V4MAPPED(&in6)) {
            memcpy(c.octets, in6.s6_addr + 12, 4);
            least = 96;
        } else {
            memcpy(c.octets, &in6, 16);
            c.family = 6;
            c.bits = 128;
        }
    }
    if (rest.data) {
        if (!str_to_u64(rest, c.bits + least, &bits) || bits < least)
            return err_set(err, ERR_CONFIG, "\"%.*s\": the number of bits must be %u to %u",
                           STR_ARG(str_part(text, 0, 200)), least, c.bits + least);
        c.bits = (unsigned char)(bits - least);
    }
    for (unsigned bit = c.bits; bit < (c.family == 4 ? 32 : 128); bit++)
        if (c.octets[bit / 8] & 0x80 >> bit % 8)
            return err_set(err, ERR_CONFIG,
                           "\"%.*s\": the address has bits behind the first %u; leave out /%u or clear them",
                           STR_ARG(str_part(text, 0, 200)), c.bits + least, c.bits + least);
    *ret_cidr = c;
    return true;
}

bool io_cidr_has(const struct io_cidr *c, const struct io_address *a)
{
    const unsigned char *octets;
    size_t               whole = c->bits / 8;
    unsigned             part = c->bits % 8;

    if (a->storage.ss_family != AF_INET && a->storage.ss_family != AF_INET6)
        return false;
    if ((c->family == 4) != (a->storage.ss_family == AF_INET || is_mapped(a)))
        return false;
    octets = a->storage.ss_family == AF_INET ? (const void *)&v4(a)->sin_addr : (const void *)&v6(a)->sin6_addr;
    if (is_mapped(a))
        octets += 12;
    return memcmp(octets, c->octets, whole) == 0 &&
           (part == 0 || ((octets[whole] ^ c->octets[whole]) & (0xff00 >> part & 0xff)) == 0);
}
