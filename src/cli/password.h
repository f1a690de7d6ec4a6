/* password.h: passwords that commands ask for. */
#ifndef TACIT_CLI_PASSWORD_H
#define TACIT_CLI_PASSWORD_H

#include "base/arena.h"
#include "cli/cli.h"

/* One line from standard input; on a terminal it is asked for twice, without an echo. *ret_hash: its hash, as entries
 * of a directory hold it, in the arena; the password itself is wiped. False: said why. */
bool cli_password_read(const struct cli *cli, struct arena *arena, struct str *ret_hash);

#endif
