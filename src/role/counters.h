/* counters.h: what each process counts, in memory shared between them (made by master, inherited by the others).
 *
 * A slot belongs to one process, all of whose threads may count; anybody may read. Slots outlive their process, so
 * totals survive a restart of a role. */
#ifndef TACIT_ROLE_COUNTERS_H
#define TACIT_ROLE_COUNTERS_H

#include "base/buf.h"
#include "base/err.h"
#include "role/clients.h"
#include "role/storage.h"

#include <stdatomic.h>

enum counter {
#define COUNTER(name, kind, help) COUNTER_##name,
#include "role/counters.def"
#undef COUNTER
    COUNTER_COUNT
};
/* Replies sent by code are counted beside them: refused by reply. */
enum {
    COUNTER_CODES = 400 /* 200..599 */,
    COUNTER_SLOTS = 141 /* master, keeper, resolver, 4 carriers, back, 133 fronts */
};
enum role { ROLE_MASTER, ROLE_FRONT, ROLE_KEEPER, ROLE_BACK, ROLE_RESOLVER, ROLE_CARRIER };
#define ROLE_FIRST ROLE_FRONT /* of those that master starts */
#define ROLE_LAST ROLE_CARRIER
enum { ROLE_COUNT = ROLE_LAST + 1 };
enum { CARRIERS_MAX = 4 }; /* at once: one that works, the others end; their lanes are 0 to 3 */
const char *role_name(enum role role);

struct counter_slot {
    _Atomic uint64_t values[COUNTER_COUNT];
    _Atomic uint64_t replies[COUNTER_CODES];
    _Atomic uint32_t role, index; /* enum role; number among its like */
    _Atomic int32_t  pid;         /* 0: not running */
    _Atomic uint32_t restarts;
    _Atomic uint64_t started_ms; /* Unix time */
    struct storage   storage;
};
struct counters {
    _Atomic uint64_t     started_ms;
    _Atomic uint32_t     generation; /* of the configuration: grows with each reload */
    struct counter_slot  slots[COUNTER_SLOTS];
    /* Sessions of each client network: clients.h. Only what fronts have touched takes memory. */
    _Atomic uint64_t     clients_seed;
    struct clients_table clients[COUNTER_SLOTS]; /* by slot */
};

struct counters *counters_create(int *ret_fd, struct err *err); /* a memfd */
struct counters *counters_map(int fd, bool writable, struct err *err);

/* This process's slot; set once at start. Before that counts go nowhere. */
void counters_use(struct counter_slot *slot);
void count(enum counter c, int64_t by);
void count_set(enum counter c, uint64_t value);
void count_reply(unsigned code);

/* The slot of a process: a front's follows from the lane it writes, a carrier's from its number. NULL: too high. */
struct counter_slot *counters_slot(struct counters *all, enum role role, unsigned lane);
void                 counters_reset_gauges(struct counter_slot *slot); /* and storage: when its process has ended */

uint64_t counters_sum(const struct counters *all, enum counter c);
bool     counters_prometheus(const struct counters *all, struct buf *out);

#endif
