/* via.h: the way mail takes when it leaves: route.via and domain.deliver of the configuration, and what `tacit queue
 * reroute` is given. Pure.
 *
 *   via    = "mx" / ( "smtp:" / "lmtp:" ) place / "discard:" / "hold:"
 *   place  = [ "//" ] host [ ":" port ]  /  "unix:" path             ; host: a name, an IPv4 address, [IPv6]
 *
 * Without a port SMTP goes to 25 and LMTP to 24. */
#ifndef TACIT_QUEUE_VIA_H
#define TACIT_QUEUE_VIA_H

#include "base/arena.h"

enum via_kind {
    VIA_MX,      /* where the DNS says */
    VIA_HOST,    /* to one host, whatever the DNS says of the domain: a smarthost, an LMTP server */
    VIA_SOCKET,  /* to a Unix socket */
    VIA_DISCARD, /* thrown away, as if it had been delivered */
    VIA_HOLD,    /* kept until an operator says otherwise */
};
struct via {
    enum via_kind kind;
    bool          lmtp;
    bool          literal; /* host is an address, in its shortest form and without brackets */
    struct str    host;    /* canonical, VIA_HOST */
    uint16_t      port;
    struct str    path; /* VIA_SOCKET */
};
enum { VIA_TEXT_MAX = 512 };

/* Strings are of `arena`. False: not of the grammar above. */
bool via_parse(struct str text, struct arena *arena, struct via *ret_via);

#endif
