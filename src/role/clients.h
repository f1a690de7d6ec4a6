/* clients.h: how many sessions each client network has, over all fronts.
 *
 * With SO_REUSEPORT the kernel spreads the connections of one client over all fronts, so a limit that each front kept
 * for itself would be the limit times the fronts. Each front therefore counts in a table of its own in the memory that
 * all share (counters.h), and adds up the others' before it lets a client in. A table has one writer, so that a front
 * that is killed leaves nothing half-done; its successor clears it, and tables of processes that do not run are not
 * looked at.
 *
 * What is guaranteed: a network never has more sessions than its limit, but for connections that several fronts accept
 * in the same instant (at most one too many for each further front). A table holds the networks of about 30,000
 * sessions; a network that finds no room in it is let in uncounted: by then the limit of sessions in all is what
 * protects. */
#ifndef TACIT_ROLE_CLIENTS_H
#define TACIT_ROLE_CLIENTS_H

#include "io/net.h"

#include <stdatomic.h>

enum { CLIENTS_BUCKETS = 4096, CLIENTS_WAYS = 8 /* a cache line */ };

struct clients_table {
    _Atomic uint64_t ways[CLIENTS_BUCKETS][CLIENTS_WAYS]; /* 44 bits of the key, 20 bits of count; 0: free */
};

struct counters;
struct counter_slot;

/* The network's key, the same in every process that maps `all`. */
uint64_t clients_key(struct counters *all, const struct io_network *network);
/* Empties the table of this slot: at the start of its process. */
void     clients_clear(struct counters *all, const struct counter_slot *self);
/* One session more. False: the network has `limit` sessions; nothing is counted. *ret_counted: clients_leave is due. */
bool     clients_enter(struct counters *all, const struct counter_slot *self, uint64_t key, uint64_t limit,
                       bool *ret_counted);
void     clients_leave(struct counters *all, const struct counter_slot *self, uint64_t key);
/* Sessions of the network in all running processes. */
uint64_t clients_count(const struct counters *all, uint64_t key);

#endif
