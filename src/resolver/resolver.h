/* resolver.h: what asks the DNS for fronts and the carrier: one cache for all of them, and the only part that opens
 * sockets to name servers. What comes from there is read by nobody who holds mail, a directory or a client's session.
 * The questions and answers are those of lookup.h. Each asker, and of an asker each domain, has a share of what is open
 * at once (share.h); what finds no room, or no turn in time, is answered DNS_FAILED and says why. */
#ifndef TACIT_RESOLVER_RESOLVER_H
#define TACIT_RESOLVER_RESOLVER_H

#include "io/dns.h"

struct resolver;
struct resolver *resolver_new(struct io_loop *loop, const struct io_dns_options *options, struct err *err);
void             resolver_free(struct resolver *r);
bool             resolver_is_stale(const struct resolver *r);  /* io_dns_is_stale */
bool             resolver_is_broken(const struct resolver *r); /* io_dns_is_broken */
/* The channel of one who asks, until it ends. Takes fd. */
bool             resolver_attach(struct resolver *r, int fd, struct err *err);

#endif
