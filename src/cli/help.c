/* help.c: --help from the table of a command, filled to the width of a screen. */
#include "cli/frame.h"

#include <string.h>

enum { OPTION_COLUMN = 28 };

void cli_print_filled(FILE *out, struct str text, size_t column, size_t indent)
{
    bool first = true;

    for (text = str_trim(text); text.len; text = str_trim(text)) {
        size_t len = 0, width = 0;

        while (len < text.len && text.data[len] != ' ' && text.data[len] != '\n')
            width += ((unsigned char)text.data[len++] & 0xc0) != 0x80;
        if (!first && column + 1 + width > CLI_WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        cli_print_safe(out, str_part(text, 0, len));
        column += width;
        first = false;
        text = str_skip(text, len);
        while (text.len && text.data[0] == '\n')
            text = str_skip(text, 1);
    }
    fputc('\n', out);
}

/* Paragraphs, parted by an empty line; lines with leading blanks stand as they are. */
static void print_description(FILE *out, const char *text)
{
    char paragraph[2048];

    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t      len = end ? (size_t)(end - text) : strlen(text);

        fputc('\n', out);
        if (*text == ' ')
            fprintf(out, "%.*s\n", (int)len, text);
        else {
            snprintf(paragraph, sizeof paragraph, "%.*s", (int)len, text);
            cli_print_filled(out, str_from(paragraph), 0, 0);
        }
        text += len;
        text += strspn(text, "\n");
    }
}

static void print_option(FILE *out, char letter, const char *name, const char *value, bool optional, const char *help)
{
    char   left[128];
    size_t used = (size_t)snprintf(left, sizeof left, "  ");

    if (letter)
        used += (size_t)snprintf(left + used, sizeof left - used, "-%c%s", letter, name ? ", " : "");
    else
        used += (size_t)snprintf(left + used, sizeof left - used, "    ");
    if (name)
        used += (size_t)snprintf(left + used, sizeof left - used, "--%s", name);
    if (value)
        used += (size_t)snprintf(left + used, sizeof left - used, optional ? "[%s]" : " %s", value);
    fputs(left, out);
    if (used + 2 > OPTION_COLUMN)
        fprintf(out, "\n%*s", OPTION_COLUMN, "");
    else
        fprintf(out, "%*s", (int)(OPTION_COLUMN - used), "");
    cli_print_filled(out, str_from(help), OPTION_COLUMN, OPTION_COLUMN);
}

static void print_examples(FILE *out, const struct cli_command *command)
{
    const char *bold = cli_colour(out, CLI_BOLD), *plain = cli_colour(out, CLI_PLAIN);
    struct str  rest = str_from(command->examples ? command->examples : ""), line;

    if (!rest.len)
        return;
    fprintf(out, "\n%sExamples%s\n", bold, plain);
    while (rest.data) {
        line = str_cut(&rest, '\n');
        fprintf(out, "  %.*s\n", STR_ARG(line));
    }
}

void cli_print_help(FILE *out, const struct cli_command *command, const char *path)
{
    const char *bold = cli_colour(out, CLI_BOLD), *plain = cli_colour(out, CLI_PLAIN);

    fprintf(out, "%s%s%s: %s\n\n", bold, path, plain, command->summary);
    if (command->subs)
        fprintf(out, "Usage: %s COMMAND …\n", path);
    else
        fprintf(out, "Usage: %s [OPTION]…%s%s\n", path, command->arguments ? " " : "",
                command->arguments ? command->arguments : "");
    if (command->description)
        print_description(out, command->description);
    if (command->subs) {
        fprintf(out, "\n%sCommands%s\n", bold, plain);
        for (size_t i = 0; command->subs[i]; i++)
            if (!command->subs[i]->hidden) {
                fprintf(out, "  %-*s  ", 12, command->subs[i]->name);
                cli_print_filled(out, str_from(command->subs[i]->summary), 16, 16);
            }
        print_examples(out, command);
        fprintf(out, "\n%s COMMAND --help tells more about one of them.\n", path);
        return;
    }
    fprintf(out, "\n%sOptions%s\n", bold, plain);
    for (const struct cli_option *o = command->options; o && (o->name || o->letter); o++)
        if (o->help)
            print_option(out, o->letter, o->name, o->value, o->optional, o->help);
    print_option(out, 0, "help", NULL, false, "show this and exit");
    print_examples(out, command);
}
