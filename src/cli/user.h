/* user.h: what the files of `tacit user` share. */
#ifndef TACIT_CLI_USER_H
#define TACIT_CLI_USER_H

#include "cli/cli.h"

#include "directory/directory.h"
#include "server/config.h"

enum { USER_ARENA_CHUNK = 16 << 10, USER_ARENA_MAX = 4 << 20 };

/* One call: the address named, its domain's directory, and memory for both. */
struct user {
    struct cli                 *cli;
    const struct config        *config;
    const struct config_domain *domain;
    struct mail_address         address;
    struct directory           *directory;
    struct arena                arena;
    int                         status; /* to end with if something is wrong */
};

/* `flags`: enum directory_open. */
bool user_open_directory(struct user *u, const struct config_domain *domain, unsigned flags, struct err *err);
int  user_end(struct user *u, int status); /* frees what the call holds; gives back the status */

extern const struct cli_command user_list_command;

#endif
