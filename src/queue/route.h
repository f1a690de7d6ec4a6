/* route.h: which hosts take a domain's mail, by the DNS (RFC 5321 5.1, RFC 7505). Pure: it says what it wants to know,
 * and is told.
 *
 *   route_new --> asks MX --+--> asks A and AAAA of each host --------------+--> route_result
 *                           +--> asks A and AAAA of the domain itself ------+
 *                           |    (no MX there)                              |
 *                           +--> nothing more: null MX, no such domain, ... +
 *   an address literal asks nothing
 *
 *   DNS says                                     result
 *   one MX, and that the root ("null MX")        fails 5.1.10
 *   MX hosts                                     targets: by preference, equal ones shuffled, all addresses of a host
 *                                                with IPv6 and IPv4 in turn; the root among other hosts is passed over
 *   no MX, but an address of the domain          that is the host (implicit MX)
 *   no such name                                 fails 5.1.2
 *   neither MX nor address; hosts without one    fails 5.4.4; never the domain's own address where it has MX
 *   the same, but a look-up gave no answer       waits 4.4.3
 *   we ourselves among the hosts                 only those preferred to us count; none: fails 5.4.6
 *
 * Limits: the ROUTE_HOSTS most preferred hosts, ROUTE_HOST_ADDRESSES of each, ROUTE_TARGETS in all. */
#ifndef TACIT_QUEUE_ROUTE_H
#define TACIT_QUEUE_ROUTE_H

#include "base/arena.h"
#include "mail/dns.h"

enum { ROUTE_HOSTS = 20, ROUTE_HOST_ADDRESSES = 16, ROUTE_TARGETS = 64 };

struct route_rules {
    bool (*is_our_name)(struct str host, void *arg); /* canonical */
    bool (*is_our_address)(const struct dns_address *a, void *arg);
    void    *arg;
    uint64_t seed;       /* of the shuffling */
    bool     ipv4, ipv6; /* which of them this machine can reach */
};

struct route_target {
    struct str         host; /* for EHLO's other side, logs and certificates; the literal where that was given */
    struct dns_address address;
    uint16_t           preference;
    bool               secure; /* every answer on the way was validated */
};
enum route_outcome { ROUTE_FOUND, ROUTE_FAILS, ROUTE_WAITS };
struct route_result {
    enum route_outcome         outcome;
    const char                *status; /* "5.1.10"; of ROUTE_FOUND NULL */
    struct str                 reason; /* a sentence for people, without a full stop; of ROUTE_FOUND empty */
    const struct route_target *targets;
    size_t                     target_count;
    bool                       implicit; /* no MX: the domain's own address */
    bool                       odd_null; /* a "." stood beside other MX and was passed over */
    bool                       aliases;  /* a host is an alias, which RFC 2181 10.3 forbids: taken all the same */
};

struct route_question {
    struct str    name; /* lives as long as the arena */
    enum dns_type type;
};

struct route;
/* `domain` is canonical (mail/address.h), or an address literal with its brackets. Everything comes from `arena` and
 * ends with it. NULL: no memory. */
struct route *route_new(struct str domain, const struct route_rules *rules, struct arena *arena);
/* The same for a host that is named, a smarthost: its own addresses, whatever MX the name has. */
struct route *route_new_host(struct str host, const struct route_rules *rules, struct arena *arena);
/* The next question that may be asked; false: none now. Several may be under way at once. */
bool          route_next_question(struct route *r, struct route_question *ret_question);
/* To a question that was given, each once, in any order. False: no memory; the route is of no use any more. */
bool          route_answer(struct route *r, const struct route_question *question, const struct dns_answer *answer);
/* NULL as long as answers are missing. */
const struct route_result *route_result(const struct route *r);

#endif
