/* share.h: whose question is put to the DNS next, of those of one asker. Pure: it is told the time.
 *
 *   share_add                share_next                  share_end
 *   --------> WAITS ---------------------> OPEN ------------------------>
 *               | share_late
 *               +----------->
 *
 * Questions are grouped by the domain that somebody had to register: its names cost nothing, and one who owns it can
 * make all of them slow. Groups take turns, the newest first, with SHARE_GROUP_OPEN questions open at most. A group of
 * which a question has been open for SHARE_SLOW_MS is slow, and is so remembered, until one of its questions is
 * answered sooner. All slow groups share SHARE_SLOW_OPEN: so however many domains a dead name server has, the others do
 * not wait for it.
 *
 * Of the room for those that wait a group may have as much as is left to all: one gets half, two a third each, and who
 * has nothing waiting finds room. */
#ifndef TACIT_RESOLVER_SHARE_H
#define TACIT_RESOLVER_SHARE_H

#include "base/list.h"
#include "base/map.h"

enum {
    SHARE_WAITING = 4096,
    SHARE_WAIT_MS = 14 * 1000,
    SHARE_OPEN = 2048,      /* in all */
    SHARE_QUICK_OPEN = 128, /* of groups that are not slow */
    SHARE_SLOW_OPEN = 64,   /* of slow ones; more only where a group turned out to be slow */
    SHARE_GROUP_OPEN = 16,
    SHARE_SLOW_MS = 1000,
    SHARE_REMEMBERED = 4096, /* slow groups that ask nothing; the oldest is forgotten first */
    SHARE_REMEMBER_MS = 15 * 60 * 1000,
};

struct share_group;
struct share_question {
    struct list         in_group; /* that wait */
    struct list         age;      /* in share.waiting, or in share.fresh */
    struct share_group *group;
    uint64_t            since_ms; /* it waits, or is open */
    bool                open;
};

struct share {
    struct map  groups;
    struct list turns[2]; /* groups that may open one: quick, slow */
    size_t      open[2];
    struct list waiting, fresh; /* questions: that wait; that are open and may still be quick. The oldest first */
    size_t      waiting_count;
    struct list remembered; /* slow groups without a question, the oldest first */
    size_t      remembered_count;
};

void                   share_init(struct share *s, uint64_t seed);
void                   share_done(struct share *s); /* no question is left */
/* The part of a name that makes its group: two labels, or three where the second level looks like one of a registry
 * (co.uk). */
struct str             share_group_name(struct str name);
/* `q` waits. NULL: done; else why not, in words for people. */
const char            *share_add(struct share *s, struct share_question *q, struct str name, uint64_t now_ms);
struct share_question *share_next(struct share *s, uint64_t now_ms); /* is open from now on; NULL: none may be */
/* One that has waited for SHARE_WAIT_MS, to be ended; NULL: none. */
struct share_question *share_late(struct share *s, uint64_t now_ms);
/* Waiting or open; `told`: with an answer of its domain. */
void                   share_end(struct share *s, struct share_question *q, bool told, uint64_t now_ms);
/* Now and then: finds out who is slow, and forgets. */
void                   share_tick(struct share *s, uint64_t now_ms);

#endif
