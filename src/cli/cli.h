/* cli.h: the frame of every command.
 *
 * A command is one table: its options make the parsing, --help and the manual page. main.c finds the command, parses
 * its arguments and calls run, whose value is the exit status. A command with subcommands has `subs` instead of `run`.
 *
 *     static const struct cli_option options[] = {
 *         CLI_OPTION_CONFIG,
 *         CLI_OPTION_JSON,
 *         {.name = "quota", .value = "SIZE", .help = "octets the mailbox may hold, such as 1G"},
 *         {.name = "alias-of", .value = "ADDRESS", .many = true, .help = "…"},
 *         {0},
 *     };
 *     const struct cli_command user_add_command = {
 *         .name = "add", .arguments = "ADDRESS", .min = 1, .max = 1, .summary = "makes a mailbox",
 *         .description = "…", .examples = "tacit user add alice@example.org", .options = options, .run = user_add};
 *
 * Every command has --help. Commands print what was asked for to standard output and everything else to standard
 * error; they do not call exit. */
#ifndef TACIT_CLI_CLI_H
#define TACIT_CLI_CLI_H

#include "base/err.h"
#include "base/str.h"

#include <stdio.h>

struct config;

enum cli_status { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_option {
    const char *name;     /* long, without dashes; may be NULL if there is a letter */
    char        letter;   /* 0: none */
    const char *value;    /* what its value is called, "FILE"; NULL: a flag */
    const char *help;     /* one sentence, without capital and full stop; NULL: not shown */
    bool        many;     /* may be given more than once */
    bool        optional; /* the value may be missing, and is joined to the option where it is not */
};
#define CLI_OPTION_CONFIG                                                            \
    {                                                                                \
        .name = "config", .letter = 'c', .value = "FILE",                            \
        .help = "configuration (default: $TACIT_CONFIG, else /etc/tacit/tacit.conf)" \
    }
/* The same without the letter, where -c has another meaning. */
#define CLI_OPTION_CONFIG_LONG                                                       \
    {                                                                                \
        .name = "config", .value = "FILE",                                           \
        .help = "configuration (default: $TACIT_CONFIG, else /etc/tacit/tacit.conf)" \
    }
#define CLI_OPTION_JSON                                         \
    {                                                           \
        .name = "json", .help = "print JSON: one object a line" \
    }

enum { CLI_UNLIMITED = -1 };

struct cli;
struct cli_command {
    const char *name;
    const char *arguments;   /* as the synopsis shows them after the options; NULL: none */
    int         min, max;    /* how many arguments; max CLI_UNLIMITED: any number */
    const char *summary;     /* one line for the list of commands, without a full stop */
    const char *description; /* paragraphs, parted by an empty line; a line with leading blanks stands as it is */
    const char *examples;    /* command lines, one a line; may be NULL */
    const struct cli_option *options; /* ends with {0}; may be NULL */
    int (*run)(struct cli *cli);
    const struct cli_command *const *subs;   /* ends with NULL */
    bool                             hidden; /* not listed */
};

/* One call of a command. */
struct cli {
    const struct cli_command *command;
    const char               *path; /* "tacit user add" */
    int                       argc; /* the arguments that are not options; argv[0] is the first of them */
    char                    **argv;
    /* the frame's own */
    struct cli_given         *given;
    size_t                    given_count;
    struct config            *config;
};

/* Options by their long name, or "x" for one with only a letter. */
bool        cli_has(const struct cli *cli, const char *option);
size_t      cli_count(const struct cli *cli, const char *option);
const char *cli_value(const struct cli *cli, const char *option);              /* the last one given, or NULL */
const char *cli_value_at(const struct cli *cli, const char *option, size_t i); /* i < cli_count */

/* The configuration that --config names, loaded once; the frame frees it. NULL: the error is printed, return
 * CLI_FAILED. */
const struct config *cli_config(struct cli *cli);
const char          *cli_config_path(const struct cli *cli);

/* Print "tacit user add: text" to standard error; return CLI_FAILED. The second prints err's text. */
int  cli_fail(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
int  cli_fail_err(const struct cli *cli, const struct err *err);
/* The same with a pointer to --help; returns CLI_USAGE. */
int  cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints "warning: …" to standard error: it was done, and is perhaps not what was wanted. */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Escape sequences where `out` is a terminal and NO_COLOR is not set, else "". */
enum cli_colour { CLI_PLAIN, CLI_BOLD, CLI_DIM, CLI_RED, CLI_GREEN, CLI_YELLOW };
const char *cli_colour(FILE *out, enum cli_colour colour);

/* Text from strangers, fit for a terminal: controls and bytes that are not UTF-8 become \xNN, characters that mislead
 * (base/str.h) \uNNNN. How many characters that made. */
size_t cli_print_safe(FILE *out, struct str text);
/* Compact JSON to standard output, without an end of line. What would steer or mislead is written \uNNNN, which means
 * the same. The second takes text that is JSON already. */
struct json_t;
void cli_print_json(const struct json_t *value);
void cli_print_json_text(struct str text);
/* cli_print_safe with blanks behind it, up to `width` characters. */
void cli_print_column(FILE *out, struct str text, size_t width);

/* Words, made fit in the same way, from `column` on, where the line stands already, with lines broken before CLI_WIDTH
 * and begun at `indent`; then an end of line. */
enum { CLI_WIDTH = 80 };
void cli_print_filled(FILE *out, struct str text, size_t column, size_t indent);

/* The commands, each in its own file. `user`, `queue`, `contacts` and `spool` have subcommands. */
extern const struct cli_command init_command, serve_command, check_command, user_command, queue_command, trace_command,
    status_command, spool_command, contacts_command, sendmail_command, explain_command, compare_command, probe_command,
    pipe_command, help_command, man_command, complete_command;

#endif
