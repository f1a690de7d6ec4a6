/* sessions.h: how many sessions there are, in all and of each client network.
 *
 * Pure counting: who counts as one network is the caller's business (IPv4 /32, IPv6 /64: io/net.h gives nine octets).
 * Only sessions are counted, never what came of them, so the limits say nothing about who exists (doc/disclosure.md).
 * There are never more networks than sessions, so the ceiling on sessions is the ceiling on memory. */
#ifndef TACIT_POLICY_SESSIONS_H
#define TACIT_POLICY_SESSIONS_H

#include "base/map.h"

enum { SESSIONS_NETWORK_LEN = 9 }; /* octets of a network */

enum sessions_verdict {
    SESSIONS_TAKEN,
    SESSIONS_NETWORK_FULL, /* too many of this network */
    SESSIONS_FULL,         /* too many in all, or no memory */
};

struct sessions {
    struct map networks;
    uint32_t   total, total_max, network_max;
};

void sessions_init(struct sessions *s, uint32_t total_max, uint32_t network_max, uint64_t seed);
void sessions_done(struct sessions *s);

/* A session wants to begin. Taken: it is counted until sessions_leave with the same network. An empty `network` is
 * counted in all only (clients whose number is not limited); any other has SESSIONS_NETWORK_LEN octets. The limit of
 * the network is looked at first: a client that has too many is told so however full the server is. */
enum sessions_verdict sessions_enter(struct sessions *s, struct str network);
void                  sessions_leave(struct sessions *s, struct str network);

uint32_t sessions_of(const struct sessions *s, struct str network);

#endif
