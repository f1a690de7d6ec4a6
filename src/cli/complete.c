/* complete.c: what may come next on a command line, for the completion of shells (etc/completion/). They ask the
 * program itself, so that nothing about commands and options is written twice: `tacit complete -- WORD…`, the words
 * behind "tacit", the last one as far as it was typed. A line for each candidate: the word, a tab, what it is. Nothing:
 * names of files, or what only the user knows. */
#include "cli/frame.h"

#include <string.h>

static void offer(const char *prefix, const char *before, const char *word, const char *help)
{
    char   whole[128];
    int    len = snprintf(whole, sizeof whole, "%s%s", before, word);
    size_t typed = strlen(prefix);

    if (len > 0 && (size_t)len < sizeof whole && strncmp(whole, prefix, typed) == 0)
        printf("%s\t%s\n", whole, help);
}

static const struct cli_command *sub_named(const struct cli_command *const *subs, const char *name)
{
    for (size_t i = 0; subs && subs[i]; i++)
        if (strcmp(subs[i]->name, name) == 0)
            return subs[i];
    return NULL;
}

static const struct cli_option *option_named(const struct cli_command *c, const char *word)
{
    for (const struct cli_option *o = c->options; o && (o->name || o->letter); o++)
        if ((o->name && strncmp(word, "--", 2) == 0 && strcmp(word + 2, o->name) == 0) ||
            (o->letter && word[0] == '-' && word[1] == o->letter && !word[2]))
            return o;
    return NULL;
}

static int run_complete(struct cli *cli)
{
    const struct cli_command *const *subs = cli_commands;
    const struct cli_command        *command = NULL;
    const char                      *last = cli->argc ? cli->argv[cli->argc - 1] : "";

    for (int i = 0; i + 1 < cli->argc; i++) {
        const char              *word = cli->argv[i];
        const struct cli_option *o = command ? option_named(command, word) : NULL;

        if (o && o->value && !o->optional && i + 2 >= cli->argc)
            return CLI_OK; /* its value */
        if (o && o->value && !o->optional)
            i++;
        else if (subs && word[0] != '-') {
            command = sub_named(subs, word);
            subs = command ? command->subs : NULL;
            if (!command)
                return CLI_OK;
        }
    }
    for (size_t i = 0; subs && subs[i] && last[0] != '-'; i++)
        if (!subs[i]->hidden)
            offer(last, "", subs[i]->name, subs[i]->summary);
    if (last[0] != '-')
        return CLI_OK;
    if (command && !command->subs)
        for (const struct cli_option *o = command->options; o && (o->name || o->letter); o++)
            if (o->name && o->help)
                offer(last, "--", o->name, o->help);
    offer(last, "--", "help", "tells about the command");
    if (!command)
        offer(last, "--", "version", "prints the version");
    return CLI_OK;
}

const struct cli_command complete_command = {
    .name = "complete",
    .arguments = "[WORD]…",
    .max = CLI_UNLIMITED,
    .hidden = true,
    .summary = "what may come next on a command line",
    .description = "For the completion of shells.",
    .run = run_complete,
};
