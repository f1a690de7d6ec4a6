/* queue.c: tacit queue: what waits, and what to do about it. All of it is asked of the running server: only back knows
 * what it is doing at the moment. */
#include "cli/queue.h"

#include "io/loop.h"

#include <unistd.h>

#define CHANGE_OPTIONS                                                                                           \
    CLI_OPTION_CONFIG, CLI_OPTION_JSON, QUEUE_FILTER_OPTIONS, {.name = "all", .help = "all messages there are"}, \
    {                                                                                                            \
        .name = "background", .help = "leave it to the server"                                                   \
    }

struct output {
    struct cli *cli;
    bool        json;
    uint64_t    count, failed;
    uint64_t    of, told_ms; /* messages that may be meant, of a long command; when progress was shown last */
};

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
        show_progress(o, false);
        return;
    }
    show_progress(o, false);
    o->count += ok;
    o->failed += !ok;
    if (o->json)
        queue_print_json(row);
    else if (!ok)
        cli_fail(o->cli, "%s: %s", control_text(row, "id"), control_text(row, "failed"));
    else if (*control_text(row, "sent"))
        printf("%s: %s\n", control_text(row, "id"), control_text(row, "sent"));
}

static int say_background(const struct output *o)
{
    if (o->json)
        printf("{\"of\":%llu}\n", (unsigned long long)o->of);
    else
        printf("the server goes on by itself, with at most %llu message%s; tacit status shows how far it is\n",
               (unsigned long long)o->of, o->of == 1 ? "" : "s");
    return CLI_OK;
}

static int run_change(struct cli *cli, const char *command, const char *done)
{
    static const char *const texts[] = {"to", "via"}, *const flags[] = {"all", "background"};
    struct output o = {.cli = cli, .json = cli_has(cli, "json")};
    json_t       *request;
    int           status;

    if (!queue_names_any(cli) && !cli_has(cli, "all"))
        return cli_usage(cli, "say which messages: by id, by a filter such as --sender ADDRESS, or --all");
    request = queue_request(cli, command);
    if (!request)
        return CLI_USAGE;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (cli_value(cli, texts[i]))
            json_object_set_new(request, texts[i], json_string(cli_value(cli, texts[i])));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (cli_has(cli, flags[i]))
            json_object_set_new(request, flags[i], json_true());
    status = control_call(cli, request, on_done, &o, NULL);
    show_progress(&o, true);
    if (status == CLI_OK && cli_has(cli, "background"))
        return say_background(&o);
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
    return control_call(cli, json_pack("{s:s}", "command", "drain"), NULL, NULL, NULL);
}

static int run_stop(struct cli *cli)
{
    json_t *end = NULL;
    int     status = control_call(cli, json_pack("{s:s}", "command", "queue.stop"), NULL, NULL, &end);

    if (status == CLI_OK)
        printf("%llu stopped\n", (unsigned long long)control_u64(end, "count"));
    json_decref(end);
    return status;
}

static int run_reroute(struct cli *cli)
{
    if (!cli_has(cli, "via"))
        return cli_usage(cli, "say which way: --via mx, --via smtp:HOST:PORT, or --via configured");
    return run_change(cli, "queue.reroute", "rerouted");
}

static const struct cli_option list_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, QUEUE_FILTER_OPTIONS, {0}};
static const struct cli_option show_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, QUEUE_FILTER_OPTIONS, {0}};
static const struct cli_option change_options[] = {CHANGE_OPTIONS, {0}};
static const struct cli_option release_options[] = {
    CHANGE_OPTIONS,
    {.name = "to", .value = "ADDRESS", .help = "deliver unclaimed mail to this address instead"},
    {0},
};
static const struct cli_option reroute_options[] = {
    CHANGE_OPTIONS,
    {.name = "via",
     .value = "VIA",
     .help = "mx, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH, hold:, discard:, or configured"},
    {0},
};
static const struct cli_option stop_options[] = {CLI_OPTION_CONFIG, {0}};
static const struct cli_option drain_options[] = {CLI_OPTION_CONFIG, {0}};

static const struct cli_command list_command = {
    .name = "list",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "shows what waits",
    .description =
        "Shows each message that is not finished, oldest first, with the recipients that it still has and what "
        "was said of them last. NEXT says when it is attempted next; \"turn\": when the server there takes "
        "more, or is no longer left alone because it did not answer.",
    .examples = "tacit queue list --unclaimed\n"
                "tacit queue list --domain example.org --older 2h --json",
    .options = list_options,
    .run = queue_list};
static const struct cli_command show_command = {
    .name = "show",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "shows a message: envelope, recipients and header",
    .description = "Shows all that is known of a message, also the recipients that are done, and its header fields.",
    .examples = "tacit queue show 6gzvxc16r1000\n"
                "tacit queue show --domain example.org --reply 4.7.0",
    .options = show_options,
    .run = queue_show};
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
        "A held message goes on as before. What waits because its way out is hold: goes the way of the route \"*\", or "
        "where that is hold: too, by the DNS. Unclaimed mail is attempted again, in vain as long as its mailbox does "
        "not exist; with --to it is delivered to another address.",
    .examples = "tacit queue release 6gzvxc16r1000 --to alice@example.org\n"
                "tacit queue release --state held",
    .options = release_options,
    .run = run_release};
static const struct cli_command retry_command = {
    .name = "retry",
    .arguments = "[ID...]",
    .max = CLI_UNLIMITED,
    .summary = "attempts messages now",
    .description =
        "The next attempt is made at once, also where the server there did not answer lately and is left alone for "
        "some minutes; later ones follow the schedule.",
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
static const struct cli_command stop_command = {
    .name = "stop",
    .summary = "ends what goes on in the background",
    .description = "Changes that were given to the server with --background end. What they have done stays done.",
    .options = stop_options,
    .run = run_stop};
static const struct cli_command drain_command = {.name = "drain",
                                                 .summary = "waits until nothing is due",
                                                 .options = drain_options,
                                                 .run = run_drain,
                                                 .hidden = true};

static const struct cli_command *const subs[] = {
    &list_command,   &show_command,    &hold_command, &release_command, &retry_command,
    &remove_command, &reroute_command, &stop_command, &drain_command,   NULL};

const struct cli_command queue_command = {
    .name = "queue",
    .summary = "shows and handles messages that are not delivered yet",
    .description =
        "Messages are named by id or by a filter. Several filters must all fit, those about recipients one recipient "
        "that is not done yet. list shows first which messages a command with the same filter means. Searches by "
        "domain, "
        "sender, recipient, site or code of the reply take less than a second in a queue of a million messages.\n\n"
        "What is done to a message is done for all of its recipients that are left. hold, remove and reroute call back "
        "what waits in line for another server. What one is being asked to take at the moment goes on to its end: they "
        "wait for ten seconds, and say what came of it.\n\n"
        "A change of very many messages shows how far it is, and ends with Ctrl-C or when the terminal is lost: what "
        "was "
        "done stays done, and the same command does the rest. With --background the server goes on by itself, until it "
        "is stopped or reloaded.\n\n"
        "States: queued (not attempted yet), active (being attempted), deferred (to be attempted again), waiting (its "
        "way "
        "out is hold:, see tacit.conf; for release), unclaimed (from a stranger for a mailbox that does not exist; "
        "held "
        "for some days), held (by tacit queue hold).",
    .examples = "tacit queue list\n"
                "tacit queue retry --domain example.org",
    .subs = subs};
