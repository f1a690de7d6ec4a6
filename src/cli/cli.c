/* cli.c: from a table to a call: options by getopt_long, then the command's run.
 *
 * The same table gives the text of --help (help.c) and the manual page (man.c), so that the three cannot differ. */
#include "cli/cli.h"

#include "base/nearest.h"
#include "cli/frame.h"
#include "config/config.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTIONS_MAX = 64,
    GOT_HELP = 255,       /* what getopt_long gives for --help; a letter gives itself */
    GOT_LONG_FIRST = 256, /* and for the first option of the table by its long name */
};

struct cli_given {
    const struct cli_option *option;
    const char              *value;
};

static const struct cli_option *find_option(const struct cli *cli, const char *name)
{
    for (const struct cli_option *o = cli->command->options; o && (o->name || o->letter); o++)
        if ((o->name && strcmp(o->name, name) == 0) || (o->letter == name[0] && !name[1]))
            return o;
    return NULL;
}

size_t cli_count(const struct cli *cli, const char *option)
{
    const struct cli_option *o = find_option(cli, option);
    size_t                   count = 0;

    for (size_t i = 0; i < cli->given_count; i++)
        count += cli->given[i].option == o;
    return count;
}

bool cli_has(const struct cli *cli, const char *option) { return cli_count(cli, option) > 0; }

const char *cli_value_at(const struct cli *cli, const char *option, size_t at)
{
    const struct cli_option *o = find_option(cli, option);

    for (size_t i = 0; i < cli->given_count; i++)
        if (cli->given[i].option == o && at-- == 0)
            return cli->given[i].value;
    return NULL;
}

const char *cli_value(const struct cli *cli, const char *option)
{
    size_t count = cli_count(cli, option);

    return count ? cli_value_at(cli, option, count - 1) : NULL;
}

const char *cli_config_path(const struct cli *cli)
{
    const char *path = cli_value(cli, "config");

    if (!path)
        path = getenv("TACIT_CONFIG");
    return path && *path ? path : "/etc/tacit/tacit.conf";
}

const struct config *cli_config(struct cli *cli)
{
    struct err err;

    if (!cli->config)
        cli->config = config_load(cli_config_path(cli), &err);
    if (!cli->config) {
        if (err.os_error == ENOENT)
            cli_fail(cli, "%s (make one with tacit init, or name another with --config)", err.text);
        else
            cli_fail_err(cli, &err);
    }
    return cli->config;
}

static void complain(const char *who, enum cli_colour colour, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void complain(const char *who, enum cli_colour colour, const char *format, va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof text, format, args);
    fflush(stdout);
    fprintf(stderr, "%s%s:%s ", cli_colour(stderr, colour), who, cli_colour(stderr, CLI_PLAIN));
    cli_print_safe(stderr, str_from(text));
    fputc('\n', stderr);
}

int cli_fail(const struct cli *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(cli->path, CLI_RED, format, args);
    va_end(args);
    return CLI_FAILED;
}

int cli_fail_err(const struct cli *cli, const struct err *err) { return cli_fail(cli, "%s", err->text); }

int cli_usage(const struct cli *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(cli->path, CLI_RED, format, args);
    va_end(args);
    fprintf(stderr, "Try: %s --help\n", cli->path);
    return CLI_USAGE;
}

void cli_warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain("warning", CLI_YELLOW, format, args);
    va_end(args);
}

const char *cli_colour(FILE *out, enum cli_colour colour)
{
    static const char *const sequences[] = {"\033[0m", "\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[33m"};
    const char              *off = getenv("NO_COLOR"), *term = getenv("TERM");

    if (!isatty(fileno(out)) || (off && *off) || !term || strcmp(term, "dumb") == 0)
        return "";
    return sequences[colour];
}

size_t cli_print_safe(FILE *out, struct str text)
{
    size_t shown = 0;

    for (size_t i = 0; i < text.len;) {
        uint32_t point;
        size_t   len = str_utf8_point(str_skip(text, i), &point);

        if (len && !point_misleads(point))
            shown += fwrite(text.data + i, len, 1, out);
        else if (len > 1)
            shown += (size_t)fprintf(out, "\\u%04X", (unsigned)point);
        else
            shown += (size_t)fprintf(out, "\\x%02X", (unsigned char)text.data[i]);
        i += len ? len : 1;
    }
    return shown;
}

void cli_print_column(FILE *out, struct str text, size_t width)
{
    size_t shown = cli_print_safe(out, text);

    fprintf(out, "%*s", shown < width ? (int)(width - shown) : 0, "");
}

/* ---- parsing ---- */

static int suggest_option(const struct cli *cli, const char *word)
{
    size_t         len = strcspn(word + 2, "=");
    struct nearest near = nearest_to(str_of(word + 2, len));

    nearest_offer(&near, "help");
    for (const struct cli_option *o = cli->command->options; o && (o->name || o->letter); o++)
        if (o->name && o->help)
            nearest_offer(&near, o->name);
    if (near.best)
        return cli_usage(cli, "there is no option --%.*s; did you mean --%s?", (int)len, word + 2, near.best);
    return cli_usage(cli, "there is no option --%.*s", (int)len, word + 2);
}

static int refuse_option(const struct cli *cli, int why, int got, const char *word)
{
    const struct cli_option *options = cli->command->options;

    if (why == ':' && got >= GOT_LONG_FIRST)
        return cli_usage(cli, "--%s needs a value: %s", options[got - GOT_LONG_FIRST].name,
                         options[got - GOT_LONG_FIRST].value);
    if (why == ':')
        return cli_usage(cli, "-%c needs a value", got);
    if (got >= GOT_HELP) /* known, but with a value that it does not take */
        return cli_usage(cli, "--%s takes no value", got == GOT_HELP ? "help" : options[got - GOT_LONG_FIRST].name);
    if (got)
        return cli_usage(cli, "there is no option -%c", got);
    return suggest_option(cli, word);
}

/* The two forms that getopt_long wants. -h is help where the command has no other use for it. */
static void make_tables(const struct cli *cli, struct option longs[OPTIONS_MAX + 2], char letters[3 * OPTIONS_MAX + 4])
{
    const struct cli_option *options = cli->command->options;
    size_t                   used = 0, count = 0;

    letters[used++] = ':';
    if (!find_option(cli, "h"))
        letters[used++] = 'h';
    longs[count++] = (struct option){"help", no_argument, NULL, GOT_HELP};
    for (int i = 0; options && (options[i].name || options[i].letter); i++) {
        const struct cli_option *o = &options[i];
        int                      kind = !o->value ? no_argument : o->optional ? optional_argument : required_argument;

        assert(i < OPTIONS_MAX);
        if (o->name)
            longs[count++] = (struct option){o->name, kind, NULL, GOT_LONG_FIRST + i};
        if (o->letter) {
            letters[used++] = o->letter;
            for (int k = 0; k < kind; k++) /* ":" and "::" */
                letters[used++] = ':';
        }
    }
    letters[used] = 0;
    longs[count] = (struct option){0};
}

static const struct cli_option *option_got(const struct cli *cli, int got)
{
    if (got >= GOT_LONG_FIRST)
        return &cli->command->options[got - GOT_LONG_FIRST];
    return find_option(cli, (char[]){(char)got, 0});
}

static int parse_options(struct cli *cli, int argc, char **argv, bool *ret_help)
{
    struct option longs[OPTIONS_MAX + 2];
    char          letters[3 * OPTIONS_MAX + 4];
    size_t        room = 1;
    int           got;

    for (int i = 1; i < argc; i++) /* letters can stand together: more options than words */
        room += strlen(argv[i]);
    cli->given = calloc(room, sizeof *cli->given);
    if (!cli->given)
        return cli_fail(cli, "out of memory");
    make_tables(cli, longs, letters);
    opterr = 0;
    optind = 0; /* begins anew, also in what glibc remembers */
    while ((got = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct cli_option *o;

        if (got == '?' || got == ':')
            return refuse_option(cli, got, optopt, argv[optind - 1]);
        o = got == GOT_HELP ? NULL : option_got(cli, got);
        if (!o) {
            *ret_help = true;
            return CLI_OK;
        }
        for (size_t i = 0; i < cli->given_count && o->value && !o->many; i++)
            if (cli->given[i].option == o)
                return o->name ? cli_usage(cli, "--%s is given twice", o->name)
                               : cli_usage(cli, "-%c is given twice", o->letter);
        assert(cli->given_count < room);
        cli->given[cli->given_count++] = (struct cli_given){o, optarg};
    }
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    return CLI_OK;
}

static int check_arguments(const struct cli *cli)
{
    const struct cli_command *c = cli->command;

    if (cli->argc < c->min)
        return cli_usage(cli, "%s: %s", cli->argc ? "something is missing" : "an argument is missing", c->arguments);
    if (c->max != CLI_UNLIMITED && cli->argc > c->max)
        return cli_usage(cli, "\"%s\" is one argument too many", cli->argv[c->max]);
    return CLI_OK;
}

static int run_group(const struct cli *cli, int argc, char **argv)
{
    const struct cli_command *c = cli->command;
    const char               *word = argc > 1 ? argv[1] : NULL;
    struct nearest            near;
    char                      path[128];

    if (!word || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        cli_print_help(word ? stdout : stderr, c, cli->path);
        return word ? CLI_OK : CLI_USAGE;
    }
    near = nearest_to(str_from(word));
    for (size_t i = 0; c->subs[i]; i++) {
        if (strcmp(c->subs[i]->name, word) == 0) {
            snprintf(path, sizeof path, "%s %s", cli->path, word);
            return cli_run(c->subs[i], path, argc - 1, argv + 1);
        }
        if (!c->subs[i]->hidden)
            nearest_offer(&near, c->subs[i]->name);
    }
    if (word[0] == '-')
        return cli_usage(cli, "options follow the command: %s COMMAND %s", cli->path, word);
    if (near.best)
        return cli_usage(cli, "there is no command \"%s\"; did you mean \"%s\"?", word, near.best);
    return cli_usage(cli, "there is no command \"%s\"", word);
}

int cli_run(const struct cli_command *command, const char *path, int argc, char **argv)
{
    struct cli cli = {.command = command, .path = path};
    bool       help = false;
    int        status;

    if (command->subs)
        return run_group(&cli, argc, argv);
    status = parse_options(&cli, argc, argv, &help);
    if (status == CLI_OK && help)
        cli_print_help(stdout, command, path);
    else if (status == CLI_OK && (status = check_arguments(&cli)) == CLI_OK)
        status = command->run(&cli);
    if (fflush(stdout) != 0 && status == CLI_OK)
        status =
            errno == EPIPE ? CLI_FAILED : cli_fail(&cli, "standard output could not be written: %s", strerror(errno));
    free(cli.given);
    config_free(cli.config);
    return status;
}
