/* site.h: which delivery goes next to which site. A site is whatever shares its connections: the mail hosts that serve
 * one or many domains, or a smarthost. Pure: time is given, and who connects is somebody else.
 *
 *                  site_push                  sites_next, site_next
 *   IDLE ────────────────────────► READY ────────────────────────────► open connections, one job each
 *    ▲                             │   ▲                                 │ site_succeeded, site_ended
 *    │ no job waits                │   │ room again, or time has come    ▼
 *    └─────────────────────────────┴───┴─ FULL (as many open as it bears) or ASLEEP (rests, or its rate is used up)
 *
 *   state    guarantee
 *   IDLE     no job waits; it is in neither list nor heap
 *   READY    a job waits and may begin now; it is in the round of those that take turns
 *   FULL     a job waits; the next site_ended may make it READY
 *   ASLEEP   a job may wait; at `wake` it is looked at again
 *
 * Fairness: sites take turns, one job each; within a site senders take turns. So neither a large mailing nor a site
 * that takes long holds up anybody else for more than one job of each.
 *
 * How many connections a site bears is learned: one more for each `window` messages that went through, half as many
 * after a connection that was refused, cut or told to come later. A site with which nothing goes through any more
 * rests, each time twice as long; what waits for it is to be put off meanwhile (site_take), so that it costs no memory.
 * After the rest one connection tries.
 *
 * A connection that takes long to come about costs nearly nothing, and there may be very many such hosts: those do not
 * count among the open ones (site_stall), but up to a limit of their own. */
#ifndef TACIT_QUEUE_SITE_H
#define TACIT_QUEUE_SITE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

struct site_rules {
    uint32_t first, most;           /* connections: to a site of which nothing is known, and ever; at least 1 */
    uint64_t rest_ms, rest_most_ms; /* of a site with which nothing goes through: the first time, and at most */
    uint32_t per_minute;            /* messages; 0: no limit */
};

enum site_state { SITE_IDLE, SITE_READY, SITE_FULL, SITE_ASLEEP };

struct site {
    struct str        key; /* behind the struct, in the same allocation */
    struct site_rules rules;
    enum site_state   state;
    struct list       turn;                  /* in sites.ready */
    struct heap_item  wake;                  /* in sites.asleep; key: ms */
    struct list       senders;               /* those with waiting jobs, in their order of turns */
    uint32_t          waiting, open, window; /* in parts of a connection */
    uint32_t          failures;              /* connections that came to nothing since the last success */
    uint64_t          rest_ms, rest_until_ms, used_ms;
    uint64_t          allowance_ms; /* of the rate: a message may go when this is not after now */
};

struct site_job { /* lies in the owner's struct, which frees it */
    struct list         link;
    struct site        *site;
    struct site_sender *sender; /* while it waits */
};

struct sites {
    struct map  sites; /* key -> struct site */
    struct map  senders;
    struct list ready;
    struct heap asleep;
    uint32_t    open, open_most, stalled, stalled_most;
};

void sites_init(struct sites *s, uint64_t seed, uint32_t open_most, uint32_t stalled_most);
void sites_done(struct sites *s); /* no job may wait */

/* The site of that name; made where it is not known. `rules` hold from now on. NULL: no memory. */
struct site *site_get(struct sites *s, struct str key, const struct site_rules *rules, uint64_t now_ms);

/* The job waits. `sender`: whoever shares a turn, as a hash. False: no memory. */
bool             site_push(struct sites *s, struct site *site, struct site_job *job, uint64_t sender, uint64_t now_ms);
/* It waits no longer (put off, removed). */
void             site_remove(struct sites *s, struct site_job *job, uint64_t now_ms);
/* A job for which a connection is to be opened; NULL: none now. */
struct site_job *sites_next(struct sites *s, uint64_t now_ms);
/* One more for a connection that is open and has nothing to do; NULL: none now. */
struct site_job *site_next(struct sites *s, struct site *site, uint64_t now_ms);
/* When sites_next may have something that it has not now, if nothing else happens; UINT64_MAX: never. */
uint64_t         sites_wake_ms(const struct sites *s);

/* The connection takes long to come about: true, it does not count among the open ones until site_unstall, which must
 * come before site_ended. False: there are too many of these, it goes on counting. */
bool site_stall(struct sites *s);
void site_unstall(struct sites *s);
/* A message went through, whatever became of its recipients. */
void site_succeeded(struct sites *s, struct site *site, uint64_t now_ms);
enum site_end {
    SITE_END_WELL,  /* closed for want of work */
    SITE_END_BADLY, /* refused, cut, told to come later, timed out */
};
/* One connection less. */
void             site_ended(struct sites *s, struct site *site, enum site_end how, uint64_t now_ms);
/* Whether it rests, and till when. */
bool             site_rests(const struct site *site, uint64_t now_ms, uint64_t *ret_until_ms);
/* Ends a rest of at least `least_ms`, because somebody asks for it; the next one is longer all the same. */
void             site_hurry(struct sites *s, struct site *site, uint64_t least_ms, uint64_t now_ms);
/* Not before then may the next job begin, as far as rate and rest decide it. */
uint64_t         site_next_ms(const struct site *site);
/* Any of its waiting jobs, taken out; NULL: none. */
struct site_job *site_take(struct sites *s, struct site *site, uint64_t now_ms);
/* Forgets sites that have not been used for `unused_ms`. */
void             sites_sweep(struct sites *s, uint64_t now_ms, uint64_t unused_ms);

#endif
