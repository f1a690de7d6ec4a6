/* users.h: whom the processes run as when tacit is started by root (setting block `users`). */
#ifndef TACIT_SERVER_USERS_H
#define TACIT_SERVER_USERS_H

#include "server/config.h"
#include "server/counters.h"

#include <sys/types.h>

struct users {
    bool separate; /* we are root and all three exist; otherwise everything stays with the user who started us */
    struct {
        const char *name;
        uid_t       uid;
        gid_t       gid;
    } of[4]; /* by enum role; master: who we are */
};

/* False only when we are root and the system's list of users cannot be read. *ret_missing: the first user that does
 * not exist, or NULL. */
bool users_find(const struct config *config, struct users *ret_users, const char **ret_missing, struct err *err);
/* For good, with the groups the user has. Nothing where they are not separate. */
bool users_become(const struct users *users, enum role role, struct err *err);

#endif
