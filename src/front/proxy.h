/* proxy.h: the header that a load balancer puts in front of a connection (PROXY protocol, versions 1 and 2): who the
 * client really is. Pure: octets in, a struct out. */
#ifndef TACIT_FRONT_PROXY_H
#define TACIT_FRONT_PROXY_H

#include "mail/address.h" /* enum parse_result */

/* Octets of a whole header. Version 1 has at most 107; version 2 may say 65551, but what balancers send (addresses and
 * a few extensions) is far below this. */
enum { PROXY_V1_MAX = 107, PROXY_HEADER_MAX = 4096 };

enum proxy_family {
    PROXY_ITSELF, /* the balancer's own connection (a health check), or a client it does not name */
    PROXY_IPV4,
    PROXY_IPV6,
};

struct proxy_end {
    uint8_t  host[16]; /* the first 4 for IPv4 */
    uint16_t port;
};

struct proxy_header {
    enum proxy_family family;
    struct proxy_end  client, server; /* zero for PROXY_ITSELF */
};

/* PARSE_OK: *ret_header, and in *ret_len the octets it took; PARSE_MORE: right so far; PARSE_BAD: *ret_reason is a
 * static sentence. PARSE_MORE is never said of PROXY_HEADER_MAX octets or more. */
enum parse_result proxy_parse(struct str in, struct proxy_header *ret_header, size_t *ret_len, const char **ret_reason);

#endif
