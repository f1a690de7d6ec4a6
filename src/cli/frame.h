/* frame.h: what the files of the frame share; commands need only cli.h. */
#ifndef TACIT_CLI_FRAME_H
#define TACIT_CLI_FRAME_H

#include "cli/cli.h"

/* Parses argv (argv[0] is the command's own name) and runs the command; the exit status. */
int cli_run(const struct cli_command *command, const char *path, int argc, char **argv);

void cli_print_help(FILE *out, const struct cli_command *command, const char *path);
void cli_print_man(FILE *out, const struct cli_command *command, const char *path);
void cli_print_man_tacit(FILE *out);
void cli_print_man_config(FILE *out);

/* All commands, in the order of help; ends with NULL. */
extern const struct cli_command *const cli_commands[];

#endif
