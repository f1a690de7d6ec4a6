/* users.h: whom the processes run as when tacit is started by root (setting block `users`).
 *
 * A user of the block that does not exist is stood in for by a number of its own without a name: front 60601,
 * keeper 60602, back 60603, resolver 60604, carrier 60605, in a range that systemd leaves unused (60578 to 61183).
 * Files are given over at the start when the users are made later (master/data.c). */
#ifndef TACIT_ROLE_USERS_H
#define TACIT_ROLE_USERS_H

#include "config/config.h"
#include "role/counters.h"

#include <sys/types.h>

enum { USERS_NUMBER_FIRST = 60601 };

struct users {
    bool separate; /* we are root, and may become others; otherwise everything stays with the user who started us */
    struct {
        const char *name;
        bool        is_named; /* in the system's list */
        uid_t       uid;
        gid_t       gid;
    } of[ROLE_COUNT]; /* by enum role; master: who we are */
};

enum { USERS_TEXT = 512 };

/* ret_warning: one sentence on what is less than it could be, and its remedy; "" where nothing is. False only when we
 * are root and the system's list of users cannot be read, or says that a number of ours belongs to somebody. */
bool users_find(const struct config *config, struct users *ret_users, char ret_warning[USERS_TEXT], struct err *err);
/* For good, with the groups the user has. Nothing where they are not separate. */
bool users_become(const struct users *users, enum role role, struct err *err);

#endif
