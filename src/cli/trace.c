/* trace.c: tacit trace: everything that the log says about a message, an address or a client, told in the order of
 * time.
 *
 * The log has a line for each session, each transaction and each attempt. An id ties a transaction to its attempts, a
 * session's name ties it to its transactions, and a report names the message it is about. The log is read three times:
 * for the lines that name what was asked for, for what hangs on those, and to print. That needs memory only for names,
 * not for the log. A session that was found by one of its messages is shown without its other messages. What another
 * server said at an attempt stands below it, with what it means; and at the end, if the server runs, what comes next.
 */
#include "base/array.h"
#include "cli/control_client.h"
#include "cli/meaning.h"

#include "base/map.h"
#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

enum { NAMES_MAX = 200000, LINES_MAX = 100000, LOG_FILES = 10, NEXT_MAX = 50, LOOK_BACK = 200, KIND_WIDTH = 11 };

struct names {
    struct map map;
};
struct told { /* a line to be printed */
    json_t *line;
    size_t  number; /* in the log */
};
struct trace {
    struct cli  *cli;
    const char  *what;
    char         dir[4096];
    struct names ids, sessions, shown_sessions; /* the last: alone, without what else they brought */
    struct told *lines;
    size_t       line_count, line_room, number;
    bool         too_many;
};

static bool has(const struct names *n, const char *name)
{
    return name && *name && map_get(&n->map, str_from(name)) != NULL;
}

static void add(struct trace *t, struct names *n, const char *name)
{
    char *copy;

    if (!name || !*name || has(n, name))
        return;
    if (n->map.used >= NAMES_MAX) {
        t->too_many = true;
        return;
    }
    copy = strdup(name);
    if (copy && !map_put(&n->map, str_from(copy), copy))
        free(copy);
}

static void names_done(struct names *n)
{
    char *name;

    for (size_t at = 0; (name = map_next(&n->map, &at));)
        free(name);
    map_done(&n->map);
}

/* line = time SP level SP kind *( SP key "=" ( word / JSON-string ) ); a JSON line is an object already. */
static json_t *parse_text(char *line)
{
    static const char *const heads[] = {"time", "level", "kind"};
    json_t                  *row = json_object();
    char                    *at = line;

    for (size_t i = 0; i < 3; i++) {
        size_t len = strcspn(at, " ");

        json_object_set_new(row, heads[i], json_stringn(at, len));
        at += len + (at[len] == ' ');
    }
    while (*at) {
        char        *equals = strchr(at, '=');
        json_error_t error;
        json_t      *value;
        size_t       len;

        if (!equals)
            break;
        *equals = 0;
        if (equals[1] == '"') {
            value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
            len = value ? (size_t)error.position : strlen(equals + 1);
        } else {
            len = strcspn(equals + 1, " ");
            value = json_stringn(equals + 1, len);
        }
        if (value)
            json_object_set_new(row, at, value);
        at = equals + 1 + len;
        at += strspn(at, " ");
    }
    return row;
}

static json_t *parse(char *line)
{
    json_t *row;

    line[strcspn(line, "\r\n")] = 0;
    row = *line == '{' ? json_loads(line, 0, NULL) : parse_text(line);
    if (json_is_object(row))
        return row;
    json_decref(row);
    return NULL;
}

static bool each_line(struct trace *t, bool (*each)(struct trace *t, json_t *row))
{
    char  *line = NULL;
    size_t size = 0;
    bool   any = false;

    t->number = 0;
    for (int i = LOG_FILES; i >= 0; i--) {
        char  path[4200];
        FILE *file;

        if (i)
            snprintf(path, sizeof path, "%s/tacit.log.%d", t->dir, i);
        else
            snprintf(path, sizeof path, "%s/tacit.log", t->dir);
        file = fopen(path, "re");
        if (!file)
            continue;
        any = true;
        while (getline(&line, &size, file) > 0) {
            json_t *row = parse(line);

            t->number++;
            if (row)
                each(t, row);
            json_decref(row);
        }
        fclose(file);
    }
    free(line);
    return any;
}

/* Whether `what` stands in the text as a whole word of addresses and names. */
static bool contains(const char *text, const char *what)
{
    size_t len = strlen(what);

    for (const char *at = text; *at; at++)
        if (strncasecmp(at, what, len) == 0 && (at == text || strchr(" <,;", at[-1])) &&
            (at[len] == 0 || strchr(" >,;", at[len])))
            return true;
    return false;
}

static bool names_it(const struct trace *t, const json_t *row)
{
    static const char *const keys[] = {"id", "from", "to", "rcpt", "original", "domain"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (contains(control_text(row, keys[i]), t->what))
            return true;
    return false;
}

static bool find(struct trace *t, json_t *row)
{
    bool of_session = contains(control_text(row, "client"), t->what) ||
                      contains(control_text(row, "session"), t->what) || contains(control_text(row, "helo"), t->what);

    if (of_session)
        add(t, &t->sessions, control_text(row, "session"));
    if (of_session || names_it(t, row))
        add(t, &t->ids, control_text(row, "id"));
    if (!of_session && names_it(t, row))
        add(t, &t->shown_sessions, control_text(row, "session"));
    return true;
}

static bool is_report(const json_t *row) { return strcmp(control_text(row, "kind"), "report") == 0; }

/* The id of the message that a report is about: its reason ends in "of ID". */
static const char *about(const json_t *row)
{
    const char *reason = control_text(row, "reason"), *blank = strrchr(reason, ' ');

    return blank ? blank + 1 : "";
}

static bool follow(struct trace *t, json_t *row)
{
    if (has(&t->sessions, control_text(row, "session")))
        add(t, &t->ids, control_text(row, "id"));
    if (has(&t->ids, control_text(row, "id")))
        add(t, &t->shown_sessions, control_text(row, "session"));
    if (is_report(row) && has(&t->ids, about(row)))
        add(t, &t->ids, control_text(row, "id"));
    return true;
}

static bool keep(struct trace *t, json_t *row)
{
    const char *session = control_text(row, "session"), *id = control_text(row, "id");
    bool        shown = has(&t->ids, id) || has(&t->sessions, session) || (!*id && has(&t->shown_sessions, session)) ||
                 (!*session && !*id && names_it(t, row));

    if (!shown)
        return true;
    if (t->line_count == LINES_MAX || !ARRAY_ROOM(t->lines, t->line_count, t->line_room, 256)) {
        t->too_many = true;
        return true;
    }
    t->lines[t->line_count++] = (struct told){json_incref(row), t->number};
    return true;
}

static int by_time(const void *x, const void *y)
{
    const struct told *a = x, *b = y;
    int                order = strcmp(control_text(a->line, "time"), control_text(b->line, "time"));

    return order ? order : (a->number > b->number) - (a->number < b->number);
}

static void print_text(const char *before, const json_t *row, const char *key, const char *after)
{
    const char *text = control_text(row, key);

    if (!*text)
        return;
    printf("%s", before);
    cli_print_safe(stdout, str_from(text));
    printf("%s", after);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static bool is_attempt(const json_t *row) { return strcmp(control_text(row, "kind"), "attempt") == 0; }

static enum cli_colour colour_of(const char *result)
{
    static const char *const good[] = {"delivered", "accepted", NULL}, *const bad[] = {"failed", "bounced", "refused",
                                                                                       NULL};

    return is_one_of(result, good) ? CLI_GREEN : is_one_of(result, bad) ? CLI_RED : *result ? CLI_YELLOW : CLI_PLAIN;
}

/* The keys that print_story has no words for. */
static void print_rest(json_t *row)
{
    static const char *const said[] = {"time",   "level", "kind", "role",   "id",      "result",
                                       "rcpt",   "from",  "to",   "client", "reply",   "reason",
                                       "status", "text",  "code", "host",   "address", NULL};
    const char              *key;
    json_t                  *value;

    json_object_foreach(row, key, value)
    {
        if (is_one_of(key, said) || (!json_is_integer(value) && !json_is_string(value)))
            continue;
        putchar(' ');
        cli_print_safe(stdout, str_from(key));
        putchar('=');
        if (json_is_integer(value))
            printf("%lld", (long long)json_integer_value(value));
        else
            cli_print_safe(stdout, str_from(json_string_value(value)));
    }
}

/* A line as a sentence: what matters in words, the rest as keys. All roles write into the log, also one that has fallen
 * into wrong hands: nothing of it reaches the terminal as it is. */
static void print_story(json_t *row)
{
    const char *kind = control_text(row, "kind");

    printf("%s", cli_colour(stdout, CLI_DIM));
    print_text("", row, "time", "");
    printf("%s  ", cli_colour(stdout, CLI_PLAIN));
    print_text("", row, "kind", "");
    printf("%*s ", strlen(kind) < KIND_WIDTH ? (int)(KIND_WIDTH - strlen(kind)) : 0, "");
    print_text("", row, "id", "  ");
    printf("%s", cli_colour(stdout, colour_of(control_text(row, "result"))));
    print_text("", row, "result", "  ");
    printf("%s", cli_colour(stdout, CLI_PLAIN));
    print_text("client ", row, "client", "  ");
    print_text("from ", row, "from", "  ");
    print_text("to ", row, "rcpt", "  ");
    print_text("to ", row, "to", "  ");
    if (!is_attempt(row)) {
        print_text("at ", row, "remote", " ");
        print_text("[", row, "address", "]  ");
        if (control_u64(row, "code"))
            printf("%u ", (unsigned)control_u64(row, "code"));
        if (strncmp(control_text(row, "reply"), control_text(row, "status"), strlen(control_text(row, "status"))) != 0)
            print_text("", row, "status", " ");
        print_text("", row, "reply", "  ");
    } else {
        print_text("", row, "status", "  ");
    }
    print_text("", row, "reason", "  ");
    print_text("", row, "text", "  ");
    printf("%s", cli_colour(stdout, CLI_DIM));
    print_rest(row);
    printf("%s\n", cli_colour(stdout, CLI_PLAIN));
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(control_text(a, key), control_text(b, key)) == 0;
}

/* An attempt that asked somebody; what followed from it ("bounced", "held") has a line of its own without that. */
static bool is_answer(const json_t *row)
{
    static const char *const results[] = {"delivered", "deferred", "failed", NULL};

    return is_attempt(row) && is_one_of(control_text(row, "result"), results);
}

static void print_answer(const struct trace *t, size_t at)
{
    const json_t *row = t->lines[at].line;

    if (!is_answer(row))
        return;
    for (size_t i = at; i > 0 && at - i < LOOK_BACK; i--) {
        const json_t *earlier = t->lines[i - 1].line;

        if (!is_answer(earlier) || !same(earlier, row, "id") || !same(earlier, row, "rcpt"))
            continue;
        if (*control_text(row, "reply") && same(earlier, row, "reply") && same(earlier, row, "remote")) {
            printf("        the same answer again\n");
            return;
        }
        break;
    }
    meaning_print(row, "        ");
}

static void print_next(json_t *row, void *arg)
{
    (void)arg;
    printf("%s  %s, %s: ", control_text(row, "id"), "still in the queue", control_text(row, "state"));
    meaning_print_next(row);
}

/* Of the newest messages that were told of. */
static void tell_next(struct trace *t)
{
    struct names seen = {0};
    json_t      *ids = json_array();

    map_init(&seen.map, 0);
    for (size_t i = t->line_count; i > 0 && json_array_size(ids) < NEXT_MAX; i--) {
        const char *id = control_text(t->lines[i - 1].line, "id");

        if (*id && !has(&seen, id))
            json_array_append_new(ids, json_string(id));
        add(t, &seen, id);
    }
    if (json_array_size(ids))
        control_ask(t->cli, json_pack("{s:s, s:O}", "command", "queue.show", "ids", ids), print_next, NULL);
    json_decref(ids);
    names_done(&seen);
}

static int tell(struct trace *t)
{
    if (t->line_count == 0)
        return cli_fail(t->cli, "the log says nothing about \"%s\"", t->what);
    qsort(t->lines, t->line_count, sizeof *t->lines, by_time);
    for (size_t i = 0; i < t->line_count; i++)
        if (cli_has(t->cli, "json")) {
            cli_print_json(t->lines[i].line);
            putchar('\n');
        } else {
            print_story(t->lines[i].line);
            print_answer(t, i);
        }
    if (!cli_has(t->cli, "json"))
        tell_next(t);
    if (t->too_many)
        fprintf(stderr, "tacit trace: there is more than this; ask for less\n");
    return CLI_OK;
}

static int run_trace(struct cli *cli)
{
    const struct config *config = cli_config(cli);
    struct trace         t = {.cli = cli, .what = cli->argv[0]};
    int                  status;

    if (!config)
        return CLI_FAILED;
    if (!*t.what)
        return cli_usage(cli, "name a message, an address or a client");
    map_init(&t.ids.map, 0);
    map_init(&t.sessions.map, 0);
    map_init(&t.shown_sessions.map, 0);
    snprintf(t.dir, sizeof t.dir, "%s/log", config->data);
    if (each_line(&t, find)) {
        each_line(&t, follow);
        each_line(&t, keep);
        status = tell(&t);
    } else {
        status =
            cli_fail(cli,
                     errno == EACCES ? "the log in %s may not be read by this user: be root, or who runs the server"
                                     : "there is no log in %s: the server has not run yet",
                     t.dir);
    }
    for (size_t i = 0; i < t.line_count; i++)
        json_decref(t.lines[i].line);
    free(t.lines);
    names_done(&t.ids);
    names_done(&t.sessions);
    names_done(&t.shown_sessions);
    return status;
}

static const struct cli_option options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, {0}};

const struct cli_command trace_command = {
    .name = "trace",
    .arguments = "ID|ADDRESS|CLIENT",
    .min = 1,
    .max = 1,
    .summary = "tells what happened to a message, an address or a client",
    .description =
        "Reads the log (data/log/tacit.log and its predecessors) and shows, in the order of time, the sessions, "
        "messages, attempts and reports that have to do with a message (by its id), an address, or a client (by "
        "its IP address), refused sessions too. What another server said of a recipient stands below the attempt, "
        "with what it means. The server need not run; if it does, the last lines say what happens next.",
    .examples = "tacit trace alice@example.org\n"
                "tacit trace 192.0.2.7\n"
                "tacit trace 6gzvxc0w00g00 --json",
    .options = options,
    .run = run_trace};
