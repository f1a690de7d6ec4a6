/* main.c: the table of commands, and the names by which the program may be called: as sendmail, mailq or newaliases
 * (links) it does what programs expect of those. */
#include "cli/frame.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int run_help(struct cli *cli);

const struct cli_command help_command = {
    .name = "help",
    .arguments = "[COMMAND]…",
    .max = CLI_UNLIMITED,
    .summary = "tells about a command",
    .description = "The same as COMMAND --help.",
    .run = run_help,
};

const struct cli_command *const cli_commands[] = {
    &init_command,     &serve_command,  &check_command, &user_command,     &queue_command,    &trace_command,
    &contacts_command, &status_command, &spool_command, &sendmail_command, &explain_command,  &compare_command,
    &probe_command,    &pipe_command,   &help_command,  &man_command,      &complete_command, NULL,
};

static const struct cli_command tacit_command = {
    .name = "tacit",
    .summary = "a mail server that keeps its own addresses private",
    .description = "tacit init DOMAIN makes a configuration to begin with, tacit serve runs the server.",
    .subs = cli_commands,
};

static int run_help(struct cli *cli)
{
    const struct cli_command *c = &tacit_command;
    char                      path[128] = "tacit";

    for (int i = 0; i < cli->argc; i++) {
        const struct cli_command *found = NULL;
        size_t                    used = strlen(path);

        for (size_t k = 0; c->subs && c->subs[k]; k++)
            if (strcmp(c->subs[k]->name, cli->argv[i]) == 0)
                found = c->subs[k];
        if (!found)
            return cli_usage(cli, "there is no command \"%s %s\"", path, cli->argv[i]);
        c = found;
        snprintf(path + used, sizeof path - used, " %s", c->name);
    }
    cli_print_help(stdout, c, path);
    return CLI_OK;
}

static int run_as_mailq(int argc, char **argv)
{
    char **args = calloc((size_t)argc + 2, sizeof *args);
    int    status;

    if (!args)
        return CLI_FAILED;
    args[0] = (char[]){"queue"};
    args[1] = (char[]){"list"};
    memcpy(args + 2, argv + 1, (size_t)argc * sizeof *args - sizeof *args);
    status = cli_run(&queue_command, "tacit queue", argc + 1, args);
    free(args);
    return status;
}

/* Where standard input, output or error is closed, what is opened next would take its number. */
static void open_missing(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close(fd);
}

int main(int argc, char **argv)
{
    const char *slash = argc ? strrchr(argv[0], '/') : NULL, *name = slash ? slash + 1 : argc ? argv[0] : "tacit";

    open_missing();
    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "sendmail") == 0) {
        int status = cli_run(&sendmail_command, "sendmail", argc, argv);

        return status == CLI_USAGE ? EX_USAGE : status;
    }
    if (strcmp(name, "mailq") == 0)
        return run_as_mailq(argc, argv);
    if (strcmp(name, "newaliases") == 0)
        return CLI_OK; /* aliases live in the directory, which is never out of date */
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        printf("tacit %s\n", TACIT_VERSION);
        return CLI_OK;
    }
    return cli_run(&tacit_command, "tacit", argc, argv);
}
