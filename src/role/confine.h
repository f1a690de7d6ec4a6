/* confine.h: how each role is confined (io/sandbox.h has the means, doc/security.md the reasons). */
#ifndef TACIT_ROLE_CONFINE_H
#define TACIT_ROLE_CONFINE_H

#include "role/users.h"

/* The role's user, and no privileges. First of all, while only the configuration has been read. */
bool confine_user(const struct config *config, enum role role, struct err *err);
/* Its files and its system calls. First of all as well; but for the keeper when its databases are open, since the files
 * that SQLite keeps beside them must be there to be named, and for the resolver when its library is set up. */
bool confine_role(const struct config *config, enum role role, unsigned lane, struct err *err);

/* One sentence on what is in force; true: all of it. */
enum { CONFINE_TEXT = 400 };
bool confine_describe(const struct users *users, char ret_text[CONFINE_TEXT]);

#endif
