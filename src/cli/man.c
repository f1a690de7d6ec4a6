/* man.c: manual pages in man(7) macros, from the tables that also make the parsing and --help.
 *
 * `tacit man` (hidden; the build runs it) prints one page: tacit(1) without an argument, tacit-NAME(1) for a command
 * with all its subcommands, tacit.conf(5) for "tacit.conf". */
#include "cli/frame.h"

#include "config/config.h"

#include <string.h>

/* Text of ours as roff: a backslash and a hyphen would mean something else, and so would a dot or a quote that begins
 * a line. */
static void print_text(FILE *out, const char *text, size_t len)
{
    bool begins = true;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (begins && (c == '.' || c == '\''))
            fputs("\\&", out);
        begins = c == '\n';
        if (c == '\\')
            fputs("\\e", out);
        else if (c == '-')
            fputs("\\-", out);
        else if ((unsigned char)c < 0x80)
            fputc(c, out);
        else if (i + 2 < len && memcmp(text + i, "…", 3) == 0) {
            fputs("\\&...", out);
            i += 2;
        } else
            fputc(c, out);
    }
}

static void print_z(FILE *out, const char *text) { print_text(out, text, strlen(text)); }

static void print_head(FILE *out, const char *name, const char *section, const char *summary)
{
    char title[128];
    int  used = snprintf(title, sizeof title, "%s", name);

    for (int i = 0; i < used && i < (int)sizeof title - 1; i++)
        title[i] = title[i] == ' ' ? '-' : char_upper(title[i]);
    fprintf(out, ".TH \"");
    print_z(out, title);
    fprintf(out, "\" %s \"\" \"tacit %s\"\n.SH NAME\n", section, TACIT_VERSION);
    for (const char *c = name; *c; c++)
        fputs(*c == ' ' || *c == '-' ? "\\-" : (char[]){*c, 0}, out);
    fputs(" \\- ", out);
    print_z(out, summary);
    fputc('\n', out);
}

static void print_description(FILE *out, const char *text)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t      len = end ? (size_t)(end - text) : strlen(text);

        fputs(*text == ' ' ? ".PP\n.nf\n" : ".PP\n", out);
        print_text(out, text, len);
        fputs(*text == ' ' ? "\n.fi\n" : "\n", out);
        text += len;
        text += strspn(text, "\n");
    }
}

static void print_option(FILE *out, const struct cli_option *o)
{
    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR%s", o->letter, o->name ? ", " : "");
    if (o->name) {
        fputs("\\fB\\-\\-", out);
        print_z(out, o->name);
        fputs("\\fR", out);
    }
    if (o->value) {
        fputs(o->optional ? "[\\fI" : " \\fI", out);
        print_z(out, o->value);
        fputs(o->optional ? "\\fR]" : "\\fR", out);
    }
    fputc('\n', out);
    print_z(out, o->help);
    fputs(".\n", out);
}

static void print_usage_line(FILE *out, const struct cli_command *c, const char *path)
{
    fputs("\\fB", out);
    print_z(out, path);
    fputs("\\fR ", out);
    fputs(c->subs ? "\\fICOMMAND\\fR" : "[\\fIOPTION\\fR]\\&...", out);
    if (c->arguments) {
        fputs(" \\fI", out);
        print_z(out, c->arguments);
        fputs("\\fR", out);
    }
    fputc('\n', out);
}

static void print_options(FILE *out, const struct cli_command *c)
{
    for (const struct cli_option *o = c->options; o && (o->name || o->letter); o++)
        if (o->help)
            print_option(out, o);
    print_option(out, &(struct cli_option){.name = "help", .help = "show a short help and exit"});
}

static void print_examples(FILE *out, const struct cli_command *c)
{
    if (!c->examples)
        return;
    fputs(".SH EXAMPLES\n.nf\n", out);
    print_z(out, c->examples);
    fputs("\n.fi\n", out);
}

static void print_exit_status(FILE *out)
{
    fputs(".SH EXIT STATUS\n0: done; 1: it failed, and standard error says why; 2: wrong use.\n", out);
}

void cli_print_man(FILE *out, const struct cli_command *c, const char *path)
{
    char sub[128];

    print_head(out, path, "1", c->summary);
    fputs(".SH SYNOPSIS\n", out);
    print_usage_line(out, c, path);
    if (c->description) {
        fputs(".SH DESCRIPTION\n", out);
        print_description(out, c->description);
    }
    if (!c->subs) {
        fputs(".SH OPTIONS\n", out);
        print_options(out, c);
    } else {
        fputs(".SH COMMANDS\n", out);
        for (size_t i = 0; c->subs[i]; i++) {
            if (c->subs[i]->hidden)
                continue;
            snprintf(sub, sizeof sub, "%s %s", path, c->subs[i]->name);
            fputs(".SS ", out);
            print_z(out, sub);
            fputc('\n', out);
            print_usage_line(out, c->subs[i], sub);
            fputs(".PP\n", out);
            print_z(out, c->subs[i]->summary);
            fputs(".\n", out);
            if (c->subs[i]->description)
                print_description(out, c->subs[i]->description);
            print_options(out, c->subs[i]);
            if (c->subs[i]->examples) {
                fputs(".PP\nExamples:\n.PP\n.nf\n", out);
                print_z(out, c->subs[i]->examples);
                fputs("\n.fi\n", out);
            }
        }
    }
    print_examples(out, c);
    if (c != &sendmail_command)
        print_exit_status(out);
    fputs(".SH SEE ALSO\n.BR tacit (1),\n.BR tacit.conf (5)\n", out);
}

void cli_print_man_tacit(FILE *out)
{
    print_head(out, "tacit", "1", "a mail server that keeps its own addresses private");
    fputs(".SH SYNOPSIS\n\\fBtacit\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]\\&... [\\fIARGUMENT\\fR]\\&...\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; cli_commands[i]; i++)
        if (!cli_commands[i]->hidden && cli_commands[i] != &help_command) { /* which has no page of its own */
            fprintf(out, ".TP\n.BR tacit\\-%s (1)\n", cli_commands[i]->name);
            print_z(out, cli_commands[i]->summary);
            fputs(".\n", out);
        }
    fputs(".SH ENVIRONMENT\n.TP\n.B TACIT_CONFIG\nThe configuration, where \\-\\-config is not given.\n"
          ".TP\n.B NO_COLOR\nNo colour, also on a terminal.\n"
          ".SH FILES\n.TP\n.I /etc/tacit/tacit.conf\nThe configuration; see\n.BR tacit.conf (5).\n",
          out);
    print_exit_status(out);
    fputs(".SH SEE ALSO\n.BR tacit.conf (5)\n", out);
}

static void print_setting(FILE *out, const struct config_setting *s)
{
    static const char *const kinds[] = {
        [CONFIG_STRING] = "text",         [CONFIG_LIST] = "list",       [CONFIG_BOOL] = "true or false",
        [CONFIG_NUMBER] = "number",       [CONFIG_SIZE] = "size",       [CONFIG_TIME] = "time",
        [CONFIG_MODE] = "octal number",   [CONFIG_CHOICE] = "one word", [CONFIG_NETWORKS] = "list of networks",
        [CONFIG_TIMES] = "list of times",
    };

    fputs(".TP\n\\fB", out);
    print_z(out, s->name);
    fprintf(out, "\\fR = \\fI%s\\fR\n", kinds[s->type]);
    print_z(out, s->help);
    fputs(".\n", out);
    if (s->words) {
        struct str rest = str_from(s->words);

        for (const char *between = "One of: "; rest.data; between = ", ") {
            struct str word = str_cut(&rest, '|');

            fputs(between, out);
            print_text(out, word.data, word.len);
        }
        fputs(".\n", out);
    }
    if (s->fallback[0]) {
        fputs("Default: ", out);
        print_z(out, s->fallback);
        fputs(".\n", out);
    }
    if (!s->reload)
        fputs("A change needs a restart.\n", out);
}

void cli_print_man_config(FILE *out)
{
    print_head(out, "tacit.conf", "5", "the configuration of tacit");
    fputs(
        ".SH DESCRIPTION\nOne file of settings and blocks. A setting is \\fIname = value\\fR; values with anything but "
        "letters, digits, dots, colons and hyphens stand in quotes. A list is \\fI{value, value}\\fR. A block is "
        "\\fIname { settings }\\fR, with a title in front of the brace where it may occur many times. A # begins a "
        "comment. Sizes are octets with K, M, G or T for powers of 1024; times have ms, s, m, h, d or w behind the "
        "number, seconds without. What is not set has its default.\n.PP\n"
        "\\fBtacit check\\fR tells whether a file is right. A running server reads it again on SIGHUP and keeps "
        "what it has if the new one is not right.\n.PP\nA whole configuration for one domain:\n.PP\n.nf\n"
        "hostname = \"mx.example.org\"\nlisten mx { address = \"*:25\" }\ndomain \"example.org\" { }\n.fi\n",
        out);
    for (size_t i = 0; i < config_block_count; i++) {
        const struct config_block *b = &config_blocks[i];

        fputs(".SH \"", out);
        if (b->name) {
            print_z(out, b->name);
            fprintf(out, "%s { }\"\n", b->titled ? " TITLE" : "");
            print_z(out, b->help);
            fputs(b->many ? ". May occur many times.\n" : ".\n", out);
        } else {
            fputs("SETTINGS OUTSIDE BLOCKS\"\n", out);
        }
        for (size_t k = 0; k < b->setting_count; k++)
            print_setting(out, &b->settings[k]);
    }
    fputs(".SH SEE ALSO\n.BR tacit (1),\n.BR tacit\\-check (1)\n", out);
}

static int run_man(struct cli *cli)
{
    char        path[64];
    const char *name = cli->argc ? cli->argv[0] : NULL;

    if (!name)
        return cli_print_man_tacit(stdout), CLI_OK;
    if (strcmp(name, "tacit.conf") == 0)
        return cli_print_man_config(stdout), CLI_OK;
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0) {
            snprintf(path, sizeof path, "tacit %s", name);
            cli_print_man(stdout, cli_commands[i], path);
            return CLI_OK;
        }
    return cli_fail(cli, "there is no page for \"%s\"", name);
}

const struct cli_command man_command = {
    .name = "man",
    .arguments = "[NAME]",
    .max = 1,
    .summary = "prints a manual page in roff",
    .description = "Without a name it is tacit(1); \"tacit.conf\" is the page of the configuration.",
    .run = run_man,
    .hidden = true,
};
