/* status.c: tacit status: the processes and what they have counted. */
#include "cli/control_client.h"
#include "io/loop.h"

#include <stdlib.h>

static void keep(json_t *row, void *arg) { *(json_t **)arg = json_incref(row); }

static void print_processes(const json_t *status)
{
    const json_t *list = json_object_get(status, "processes"), *p;
    size_t        i;

    printf("%s%-10s  %7s  %7s  %8s%s\n", cli_colour(stdout, CLI_DIM), "PROCESS", "PID", "UP", "RESTARTS",
           cli_colour(stdout, CLI_PLAIN));
    json_array_foreach(list, i, p)
    {
        char name[32], up[16];

        snprintf(name, sizeof name, "%s-%llu", control_text(p, "role"), (unsigned long long)control_u64(p, "index"));
        control_age_text(control_u64(p, "uptime_ms"), up);
        printf("%-10s  %7llu  %7s  %8llu\n", name, (unsigned long long)control_u64(p, "pid"), up,
               (unsigned long long)control_u64(p, "restarts"));
    }
}

/* ---- what cannot be stored ---- */

enum { WHOLE_PAGE = 4096 /* where less than this is left, nothing is taken */ };

static bool is_front(const json_t *row) { return strcmp(control_text(row, "role"), "front") == 0; }
static bool is_full(const json_t *row) { return strcmp(control_text(row, "problem"), "full") == 0; }

/* What the server does not do. */
static const char *refusal(const json_t *row, char ret_text[64])
{
    char size[16];

    if (!is_front(row))
        return "delivers nothing";
    if (!is_full(row) || control_u64(row, "largest_octets") < WHOLE_PAGE)
        return "refuses mail";
    control_size_text(control_u64(row, "largest_octets"), size);
    snprintf(ret_text, 64, "refuses messages above %s", size);
    return ret_text;
}

static void print_over(const json_t *row)
{
    char since[32], until[32];

    control_time_text(control_u64(row, "since_ms"), since);
    control_time_text(control_u64(row, "until_ms"), until);
    printf("%s-%llu %s from %s to %s, and no more: %s in %s\n", control_text(row, "role"),
           (unsigned long long)control_u64(row, "index"), is_front(row) ? "refused mail" : "delivered nothing", since,
           until, is_full(row) ? "no room" : control_text(row, "error"), control_text(row, "directory"));
}

static void print_trouble(const json_t *row)
{
    char text[64], since[32], last[32], age[16], free_octets[16], reserve[16], waiting[16];

    control_time_text(control_u64(row, "since_ms"), since);
    control_age_text(io_wall_ms() - control_u64(row, "since_ms"), age);
    printf("%s%s-%llu %s since %s (%s): ", cli_colour(stdout, CLI_RED), control_text(row, "role"),
           (unsigned long long)control_u64(row, "index"), refusal(row, text), since, age);
    if (is_full(row)) {
        control_size_text(control_u64(row, "free_octets"), free_octets);
        control_size_text(control_u64(row, "reserve_octets"), reserve);
        control_size_text(control_u64(row, "waiting_octets"), waiting);
        printf("no room in %s: %s are free, %s must stay free, %s are for mail that waits",
               control_text(row, "directory"), free_octets, reserve, waiting);
    } else {
        control_time_text(control_u64(row, "last_ms"), last);
        printf("cannot store in %s: %s (%s), last at %s", control_text(row, "directory"), control_text(row, "error"),
               control_text(row, "errno"), last);
    }
    printf("%s\n", cli_colour(stdout, CLI_PLAIN));
}

static void print_storage(const json_t *status)
{
    const json_t *rows = json_object_get(status, "storage"), *over = json_object_get(status, "storage_over"), *row;
    const char   *full = NULL, *failed = NULL;
    size_t        i;

    json_array_foreach(rows, i, row)
    {
        const char **dir = is_full(row) ? &full : &failed;

        print_trouble(row);
        if (!*dir)
            *dir = control_text(row, "directory");
    }
    if (full)
        printf("Make room on the file system of %s: mail is taken again within a second of it.\n", full);
    if (failed)
        printf("Look for the disk of %s in the kernel's log, and whether it is full: df, df -i. It is tried again with "
               "all "
               "that comes; this goes away with the first that is stored.\n",
               failed);
    json_array_foreach(over, i, row) { print_over(row); }
    if (full || failed || json_array_size(over))
        putchar('\n');
}

/* ---- counters ---- */

/* A counter's name says its unit: octets, or us for a time; "us" itself is not for people. */
static void print_counter(const char *name, uint64_t value)
{
    char words[64] = "", number[32];

    if (strstr(name, "octets"))
        control_size_text(value, number);
    else if (!strstr(name, "_us_"))
        snprintf(number, sizeof number, "%llu", (unsigned long long)value);
    else
        snprintf(number, sizeof number, value < 10000000 ? "%.1f ms" : "%.0f s",
                 (double)value / (value < 10000000 ? 1e3 : 1e6));
    for (const char *c = name; *c;) {
        struct str word = str_of(c, strcspn(c, "_"));

        c += word.len + (c[word.len] == '_');
        if (str_eq(word, STR("us")))
            word = STR("time");
        snprintf(words + strlen(words), sizeof words - strlen(words), "%s%.*s", *words ? " " : "", STR_ARG(word));
    }
    printf("%-26s %s\n", words, number);
}

static void print_counters(const json_t *status)
{
    json_t     *totals = json_object_get(status, "totals"), *value;
    const char *name;

    putchar('\n');
    json_object_foreach(totals, name, value) { print_counter(name, (uint64_t)json_integer_value(value)); }
}

static void print_changes(const json_t *status)
{
    const json_t *list = json_object_get(status, "changes"), *c;
    size_t        i;

    json_array_foreach(list, i, c)
    {
        printf("%s%s goes on%s: %llu of at most %llu messages", i ? "" : "\n", control_text(c, "command"),
               json_is_true(json_object_get(c, "background")) ? " in the background" : "",
               (unsigned long long)(control_u64(c, "done") + control_u64(c, "failed")),
               (unsigned long long)control_u64(c, "of"));
        if (control_u64(c, "failed"))
            printf(", %llu could not be changed", (unsigned long long)control_u64(c, "failed"));
        putchar('\n');
    }
}

static void print_replies(const json_t *status)
{
    json_t     *replies = json_object_get(status, "replies"), *value;
    const char *code;

    if (!json_object_size(replies))
        return;
    printf("\nreplies");
    json_object_foreach(replies, code, value)
    {
        printf("  %s: %llu", code, (unsigned long long)json_integer_value(value));
    }
    putchar('\n');
}

static int run_status(struct cli *cli)
{
    json_t *status = NULL;
    char    up[16];
    int     result = control_call(cli, json_pack("{s:s}", "command", "status"), keep, &status, NULL);

    if (result != CLI_OK)
        return result;
    if (cli_has(cli, "json")) {
        cli_print_json(status);
        putchar('\n');
    } else {
        control_age_text(control_u64(status, "uptime_ms"), up);
        printf("%s%s%s runs for %s (tacit %s)\n\n", cli_colour(stdout, CLI_BOLD), control_text(status, "hostname"),
               cli_colour(stdout, CLI_PLAIN), up, control_text(status, "version"));
        if (json_is_true(json_object_get(status, "paused")))
            printf("%sNothing is delivered: queue { paused = true }%s\n\n", cli_colour(stdout, CLI_BOLD),
                   cli_colour(stdout, CLI_PLAIN));
        print_storage(status);
        print_processes(status);
        print_counters(status);
        print_replies(status);
        print_changes(status);
    }
    json_decref(status);
    return CLI_OK;
}

static const struct cli_option options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, {0}};

const struct cli_command status_command = {
    .name = "status",
    .summary = "shows the processes of the running server and what they have counted",
    .description =
        "Where the server cannot store mail, and so refuses it, that stands first: since when, where, why, and what to "
        "do; "
        "and, once it is over, when it was. In --json that is the list storage, empty while all is well, and "
        "storage_over. "
        "The exit status tells only whether the server answered. "
        "Totals count since the server started, over all processes that it has had; the others say how it is "
        "now. Octets are shown with K, M, G or T (powers of 1024). The same counters are served to Prometheus where "
        "the block metrics names an address.",
    .examples = "tacit status\n"
                "tacit status --json | jq .totals.queue_messages",
    .options = options,
    .run = run_status};
