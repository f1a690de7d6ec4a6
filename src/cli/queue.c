/* queue.c: tacit queue: what waits, and what to do about it. All of it is asked of the running server: only back knows
 * what it is doing at the moment. */
#include "cli/control_client.h"

#include "io/loop.h"
#include "server/config.h"

#include <stdlib.h>
#include <unistd.h>

#define FILTER_OPTIONS                                                                                          \
    {.name = "sender", .value = "ADDRESS", .help = "messages from this return path; \"<>\" for the null one"},  \
        {.name = "recipient", .value = "ADDRESS", .help = "messages to this recipient"},                        \
        {.name = "domain", .value = "DOMAIN", .help = "messages from or to an address of this domain"},         \
        {.name = "state", .value = "STATE", .help = "queued, active, deferred, waiting, unclaimed or held"},    \
        {.name = "text", .value = "TEXT", .help = "messages of which the status or reason contains this text"}, \
        {.name = "older", .value = "TIME", .help = "received longer ago than this, such as 2h"},                \
        {.name = "newer", .value = "TIME", .help = "received less long ago than this"},                         \
    {                                                                                                           \
        .name = "unclaimed", .help = "mail of strangers for mailboxes that do not exist"                        \
    }
#define ALL_OPTION                                      \
    {                                                   \
        .name = "all", .help = "all messages there are" \
    }

struct output {
    struct cli *cli;
    bool        json;
    uint64_t    count, failed, now_ms;
    uint64_t    of, told_ms; /* messages that may be meant, of a long command; when progress was shown last */
};

static bool add_time(struct cli *cli, json_t *request, const char *option, const char *name)
{
    const char *text = cli_value(cli, option);
    uint64_t    ms, now = io_wall_ms();

    if (!text)
        return true;
    if (!config_time_parse(str_from(text), &ms)) {
        cli_usage(cli, "--%s must be a time such as 30m, 2h or 5d, not \"%s\"", option, text);
        return false;
    }
    json_object_set_new(request, name, json_integer((json_int_t)(ms < now ? now - ms : 0)));
    return true;
}

static bool check_state(struct cli *cli)
{
    static const char *const states[] = {"queued", "active", "deferred", "waiting", "unclaimed", "held"};
    const char              *text = cli_value(cli, "state");

    for (size_t i = 0; text && i < sizeof states / sizeof *states; i++)
        if (strcmp(text, states[i]) == 0)
            text = NULL;
    if (text)
        cli_usage(cli, "--state must be queued, active, deferred, waiting, unclaimed or held, not \"%s\"", text);
    return !text;
}

/* NULL: wrong use, which was said. */
static json_t *make_request(struct cli *cli, const char *command)
{
    static const char *const texts[] = {"sender", "recipient", "domain", "state", "text"};
    static const char *const changes[] = {"to", "via"};
    json_t                  *request = check_state(cli) ? json_object() : NULL, *ids;

    if (!request)
        return NULL;
    json_object_set_new(request, "command", json_string(command));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (cli_value(cli, texts[i]))
            json_object_set_new(request, texts[i], json_string(cli_value(cli, texts[i])));
    if (cli_has(cli, "unclaimed"))
        json_object_set_new(request, "unclaimed", json_true());
    if (cli_has(cli, "all"))
        json_object_set_new(request, "all", json_true());
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        if (cli_value(cli, changes[i]))
            json_object_set_new(request, changes[i], json_string(cli_value(cli, changes[i])));
    if (cli->argc) {
        ids = json_array();
        for (int i = 0; i < cli->argc; i++)
            json_array_append_new(ids, json_string(cli->argv[i]));
        json_object_set_new(request, "ids", ids);
    }
    if (!add_time(cli, request, "older", "older_ms") || !add_time(cli, request, "newer", "newer_ms")) {
        json_decref(request);
        return NULL;
    }
    return request;
}

static void print_json(const json_t *row)
{
    json_dumpf(row, stdout, JSON_COMPACT);
    putchar('\n');
}

static void print_safe(const char *text) { cli_print_safe(stdout, str_from(text)); }

static void print_recipients(const json_t *row, const char *indent)
{
    const json_t *list = json_object_get(row, "recipients"), *to;
    size_t        i;

    json_array_foreach(list, i, to)
    {
        const char *reason = control_text(to, "reason"), *original = control_text(to, "original");

        printf("%s%-9s  ", indent, control_text(to, "state"));
        print_safe(control_text(to, "address"));
        if (*original) {
            printf(" (for ");
            print_safe(original);
            printf(")");
        }
        if (*control_text(to, "status") || *reason) {
            printf("  %s%s%s ", cli_colour(stdout, CLI_DIM), control_text(to, "status"),
                   *control_text(to, "status") ? ":" : "");
            print_safe(reason);
            printf("%s", cli_colour(stdout, CLI_PLAIN));
        }
        putchar('\n');
    }
}

static const char *state_colour(const char *state)
{
    return cli_colour(stdout, strcmp(state, "unclaimed") == 0 || strcmp(state, "held") == 0 ? CLI_YELLOW
                              : strcmp(state, "unreadable") == 0                            ? CLI_RED
                                                                                            : CLI_PLAIN);
}

static void print_row(const struct output *o, const json_t *row)
{
    uint64_t    received = control_u64(row, "received_ms"), next = control_u64(row, "next_ms");
    const char *state = control_text(row, "state"), *sender = control_text(row, "sender");
    char        age[16], size[16];

    control_age_text(o->now_ms > received ? o->now_ms - received : 0, age);
    control_size_text(control_u64(row, "size"), size);
    printf("%s%s%s  %5s  %7s  %s%-9s%s  <", cli_colour(stdout, CLI_BOLD), control_text(row, "id"),
           cli_colour(stdout, CLI_PLAIN), age, size, state_colour(state), state, cli_colour(stdout, CLI_PLAIN));
    print_safe(sender);
    printf(">");
    if (next > o->now_ms) {
        control_age_text(next - o->now_ms, age);
        printf("  next attempt in %s", age);
    }
    printf("%s%s\n", *control_text(row, "reason") ? "  " : "", control_text(row, "reason"));
    print_recipients(row, "    ");
}

static void print_line(struct str line, void *arg)
{
    (void)arg;
    fwrite(line.data, 1, line.len, stdout);
}

static void on_list(json_t *row, void *arg)
{
    struct output *o = arg;

    if (!o->count++)
        printf("%s%-13s  %5s  %7s  %-9s  %s%s\n", cli_colour(stdout, CLI_DIM), "ID", "AGE", "SIZE", "STATE", "SENDER",
               cli_colour(stdout, CLI_PLAIN));
    print_row(o, row);
}

static int run_list(struct cli *cli)
{
    struct output o = {.cli = cli, .json = cli_has(cli, "json"), .now_ms = io_wall_ms()};
    json_t       *request = make_request(cli, "queue.list");
    int           status;

    if (!request)
        return CLI_USAGE;
    status =
        o.json ? control_call_lines(cli, request, print_line, NULL) : control_call(cli, request, on_list, &o, NULL);
    if (status == CLI_OK && !o.json)
        printf("%llu message%s\n", (unsigned long long)o.count, o.count == 1 ? "" : "s");
    return status;
}

static void print_time(const char *label, uint64_t ms)
{
    char text[32];

    if (!ms)
        return;
    control_time_text(ms, text);
    printf("%-12s %s\n", label, text);
}

static void print_text(const char *label, const char *text)
{
    if (!*text)
        return;
    printf("%-12s ", label);
    print_safe(text);
    putchar('\n');
}

static void print_headers(const char *headers)
{
    struct str rest = str_from(headers);

    if (!rest.len)
        return;
    putchar('\n');
    while (rest.len) {
        struct str line = str_cut(&rest, '\n');

        if (str_ends(line, STR("\r")))
            line.len--;
        if (str_starts(line, STR("\t"))) { /* a folded field */
            printf("    ");
            line = str_skip(line, 1);
        }
        cli_print_safe(stdout, line);
        putchar('\n');
    }
}

static void on_show(json_t *row, void *arg)
{
    struct output *o = arg;
    char           size[16];

    if (o->json) {
        print_json(row);
        return;
    }
    if (o->count++)
        putchar('\n');
    print_text("message", control_text(row, "id"));
    print_text("state", control_text(row, "state"));
    print_text("about", control_text(row, "about"));
    printf("%-12s <", "sender");
    print_safe(control_text(row, "sender"));
    printf(">\n");
    print_text("client", control_text(row, "client"));
    print_text("class", control_text(row, "class"));
    print_text("helo", control_text(row, "helo"));
    print_text("protocol", control_text(row, "protocol"));
    print_text("user", control_text(row, "user"));
    print_text("session", control_text(row, "session"));
    print_text("envelope id", control_text(row, "envid"));
    control_size_text(control_u64(row, "size"), size);
    print_text("size", size);
    print_time("received", control_u64(row, "received_ms"));
    print_time("last attempt", control_u64(row, "last_ms"));
    print_time("next attempt", control_u64(row, "next_ms"));
    print_time("expires", control_u64(row, "expires_ms"));
    printf("%-12s %llu\n", "attempts", (unsigned long long)control_u64(row, "attempts"));
    print_text("via", control_text(row, "via"));
    print_text("reason", control_text(row, "reason"));
    printf("recipients\n");
    print_recipients(row, "    ");
    print_headers(control_text(row, "headers"));
}

static int run_show(struct cli *cli)
{
    struct output o = {.cli = cli, .json = cli_has(cli, "json"), .now_ms = io_wall_ms()};
    json_t       *request = make_request(cli, "queue.show");

    return request ? control_call(cli, request, on_show, &o, NULL) : CLI_USAGE;
}

enum { PROGRESS_MS = 250 };

/* Of a command for very many messages, for people. */
static void show_progress(struct output *o, bool last)
{
    uint64_t now = io_wall_ms();

    if (!o->of || !isatty(STDERR_FILENO) || (!last && now - o->told_ms < PROGRESS_MS))
        return;
    o->told_ms = now;
    if (last)
        fprintf(stderr, "\r\033[K");
    else
        fprintf(stderr, "\r%llu of at most %llu ", (unsigned long long)(o->count + o->failed),
                (unsigned long long)o->of);
}

static void on_done(json_t *row, void *arg)
{
    struct output *o = arg;
    bool           ok = json_is_true(json_object_get(row, "done"));

    if (json_object_get(row, "of")) {
        o->of = control_u64(row, "of");
        return;
    }
    show_progress(o, false);
    o->count += ok;
    o->failed += !ok;
    if (o->json)
        print_json(row);
    else if (!ok)
        cli_fail(o->cli, "%s: %s", control_text(row, "id"), control_text(row, "failed"));
}

static bool any_filter(const struct cli *cli)
{
    static const char *const filters[] = {"sender", "recipient", "domain", "state",
                                          "text",   "older",     "newer",  "unclaimed"};
    bool                     any = false;

    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        any |= cli_has(cli, filters[i]);
    return any;
}

static int run_change(struct cli *cli, const char *command, const char *done)
{
    struct output o = {.cli = cli, .json = cli_has(cli, "json")};
    json_t       *request;
    int           status;

    if (!cli->argc && !any_filter(cli) && !cli_has(cli, "all"))
        return cli_usage(cli, "say which messages: by id, by a filter such as --sender ADDRESS, or --all");
    request = make_request(cli, command);
    if (!request)
        return CLI_USAGE;
    status = control_call(cli, request, on_done, &o, NULL);
    show_progress(&o, true);
    if (status == CLI_OK && !o.json)
        printf("%llu message%s %s\n", (unsigned long long)o.count, o.count == 1 ? "" : "s", done);
    return o.failed ? CLI_FAILED : status;
}

static int run_hold(struct cli *cli) { return run_change(cli, "queue.hold", "held"); }
static int run_release(struct cli *cli) { return run_change(cli, "queue.release", "released"); }
static int run_retry(struct cli *cli) { return run_change(cli, "queue.retry", "tried again"); }
static int run_remove(struct cli *cli) { return run_change(cli, "queue.remove", "removed"); }

static int run_drain(struct cli *cli)
{
    return control_call(cli, json_pack("{s:s}", "command", "drain"), on_list, NULL, NULL);
}

static int run_reroute(struct cli *cli)
{
    if (!cli_has(cli, "via"))
        return cli_usage(cli, "say which way: --via mx, --via smtp:HOST:PORT, or --via configured");
    return run_change(cli, "queue.reroute", "rerouted");
}

static const struct cli_option list_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, FILTER_OPTIONS, {0}};
static const struct cli_option show_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, {0}};
static const struct cli_option change_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, FILTER_OPTIONS, ALL_OPTION, {0}};
static const struct cli_option release_options[] = {
    CLI_OPTION_CONFIG,
    CLI_OPTION_JSON,
    FILTER_OPTIONS,
    ALL_OPTION,
    {.name = "to", .value = "ADDRESS", .help = "deliver unclaimed mail to this address instead"},
    {0},
};
static const struct cli_option reroute_options[] = {
    CLI_OPTION_CONFIG,
    CLI_OPTION_JSON,
    FILTER_OPTIONS,
    ALL_OPTION,
    {.name = "via",
     .value = "VIA",
     .help = "mx, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH, hold:, discard:, or configured"},
    {0},
};
static const struct cli_option drain_options[] = {CLI_OPTION_CONFIG, {0}};

static const struct cli_command list_command = {
    .name = "list",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "shows what waits",
    .description = "Shows each message that is not finished, oldest first, with the recipients that it still has.",
    .examples = "tacit queue list --unclaimed\n"
                "tacit queue list --domain example.org --older 2h --json",
    .options = list_options,
    .run = run_list};
static const struct cli_command show_command = {
    .name = "show",
    .arguments = "ID...",
    .min = 1,
    .max = CLI_UNLIMITED,
    .summary = "shows a message: envelope, recipients and header",
    .description = "Shows all that is known of a message, also the recipients that are done, and its header fields.",
    .examples = "tacit queue show 6gzvxc16r1000",
    .options = show_options,
    .run = run_show};
static const struct cli_command hold_command = {
    .name = "hold",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "stops attempts until released",
    .description = "Held messages are neither attempted nor given up, however long it takes.",
    .examples = "tacit queue hold --sender news@elsewhere.example",
    .options = change_options,
    .run = run_hold};
static const struct cli_command release_command = {
    .name = "release",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "lets held or unclaimed messages go on",
    .description =
        "A held message goes on as before. Unclaimed mail is attempted again, in vain as long as its mailbox "
        "does not exist; with --to it is delivered to another address.",
    .examples = "tacit queue release 6gzvxc16r1000 --to alice@example.org\n"
                "tacit queue release --state held",
    .options = release_options,
    .run = run_release};
static const struct cli_command retry_command = {
    .name = "retry",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "attempts messages now",
    .description = "The next attempt is made at once; later ones follow the schedule.",
    .examples = "tacit queue retry --text quota",
    .options = change_options,
    .run = run_retry};
static const struct cli_command remove_command = {
    .name = "remove",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "removes messages; nobody is told",
    .description =
        "The messages are gone, and neither senders nor recipients hear of it. The log keeps a line for each.",
    .examples = "tacit queue remove --unclaimed --older 2d",
    .options = change_options,
    .run = run_remove};
static const struct cli_command reroute_command = {
    .name = "reroute",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "sends messages another way, from now on",
    .description =
        "Mail to other domains goes the way that is given, whatever route says in the configuration, and is attempted "
        "at once. It stays so for these messages until they are done or rerouted again; configured gives them back to "
        "the configuration. Recipients here are not touched, and what is held stays held.",
    .examples = "tacit queue reroute --domain example.org --via smtp:relay.example.net:587\n"
                "tacit queue reroute 6gzvxc16r1000 --via configured",
    .options = reroute_options,
    .run = run_reroute};
static const struct cli_command drain_command = {.name = "drain",
                                                 .summary = "waits until nothing is due",
                                                 .options = drain_options,
                                                 .run = run_drain,
                                                 .hidden = true};

static const struct cli_command *const subs[] = {&list_command,    &show_command,  &hold_command,
                                                 &release_command, &retry_command, &remove_command,
                                                 &reroute_command, &drain_command, NULL};

const struct cli_command queue_command = {
    .name = "queue",
    .summary = "shows and handles messages that are not delivered yet",
    .description =
        "Messages are named by id or by a filter; several filters must all fit.\n\nStates: queued (not attempted "
        "yet), active (being attempted), deferred (to be attempted again), waiting (for a way to another "
        "server), unclaimed (from a stranger for a mailbox that does not exist; held for some days), held (by "
        "tacit queue hold).",
    .examples = "tacit queue list\n"
                "tacit queue retry --domain example.org",
    .subs = subs};
