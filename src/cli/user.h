/* user.h: what the files of `tacit user` share. */
#ifndef TACIT_CLI_USER_H
#define TACIT_CLI_USER_H

#include "cli/cli.h"

#include "config/config.h"
#include "directory/directory.h"

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

/* The first argument of the call is an address in a domain of ours, whose directory is opened; `flags`: enum
 * directory_open. False: said why. user_end is called either way. */
bool user_begin(struct user *u, struct cli *cli, unsigned flags);
int  user_end(struct user *u, int status); /* frees what the call holds; gives back the status */

/* For a call that goes through domains instead of user_begin. Says nothing. */
bool user_open_directory(struct user *u, const struct config_domain *domain, unsigned flags, struct err *err);

/* An address as entries hold it: canonical, in the arena. False: said why. */
bool user_target(struct user *u, const char *text, struct str *ret_target);

/* The entry that the first argument names, in the arena. False: said why. */
bool user_get_entry(struct user *u, struct directory_entry *ret_entry);

/* Says which addresses of ours that the entry leads to do not exist. */
void user_warn_of_targets(struct user *u, const struct directory_entry *entry);

/* Writes it back and says so, and what user_warn_of_targets has to say. The exit status; a failure was said. */
int user_put_entry(struct user *u, const struct directory_entry *entry, const char *done);

/* What was done to the address, in a word ("": none), with what it is. CLI_OK. */
int user_said(struct user *u, const char *done, enum entry_kind kind);

extern const struct cli_command user_add_command, user_change_command, user_list_command;

#endif
