/* queue_rows.c: tacit queue list and show. */
#include "cli/queue.h"

#include "cli/meaning.h"
#include "io/loop.h"

struct output {
    bool     json;
    uint64_t count, now_ms;
};

void queue_print_json(const json_t *row)
{
    cli_print_json(row);
    putchar('\n');
}

static void print_safe(const char *text) { cli_print_safe(stdout, str_from(text)); }

/* What the server that was asked last answered, unless the reason says so already. */
static void print_reply(const json_t *to, const char *indent)
{
    const char *reply = control_text(to, "reply"), *remote = control_text(to, "remote");
    const char *address = control_text(to, "remote_address");
    struct str  rest = str_from(reply);

    if ((!*remote && !*reply) || (*reply && strstr(control_text(to, "reason"), reply)))
        return;
    printf("%s           %s", indent, cli_colour(stdout, CLI_DIM));
    print_safe(remote);
    if (*address) {
        printf(" [");
        print_safe(address);
        printf("]");
    }
    printf(": %s", rest.len ? "" : "no reply");
    cli_print_safe(stdout, str_cut(&rest, '\n'));
    printf("%s%s\n", rest.len ? " ..." : "", cli_colour(stdout, CLI_PLAIN));
}

static void print_recipients(const json_t *row, const char *indent, bool whole)
{
    const json_t *list = json_object_get(row, "recipients"), *to;
    uint64_t      more = control_u64(row, "recipients_more");
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
            printf("  %s", cli_colour(stdout, CLI_DIM));
            print_safe(control_text(to, "status"));
            printf("%s", *control_text(to, "status") && *reason ? ": " : "");
            print_safe(reason);
            printf("%s", cli_colour(stdout, CLI_PLAIN));
        }
        putchar('\n');
        if (whole)
            meaning_print(to, "               ");
        else
            print_reply(to, indent);
    }
    if (more)
        printf("%sand %llu more\n", indent, (unsigned long long)more);
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
    char        age[16], size[16], wait[16] = "-";

    control_age_text(o->now_ms > received ? o->now_ms - received : 0, age);
    if (json_is_true(json_object_get(row, "parked")))
        strcpy(wait, "turn");
    else if (next)
        control_age_text(next > o->now_ms ? next - o->now_ms : 0, wait);
    control_size_text(control_u64(row, "size"), size);
    printf("%s%s%s  %5s  %7s  %s%-10s%s  %5s  <", cli_colour(stdout, CLI_BOLD), control_text(row, "id"),
           cli_colour(stdout, CLI_PLAIN), age, size, state_colour(state), state, cli_colour(stdout, CLI_PLAIN), wait);
    print_safe(sender);
    printf(">%s", *control_text(row, "via") ? "  via " : "");
    print_safe(control_text(row, "via"));
    printf("%s", *control_text(row, "reason") ? "  " : "");
    print_safe(control_text(row, "reason"));
    putchar('\n');
    print_recipients(row, "    ", false);
}

static void print_line(struct str line, void *arg)
{
    (void)arg;
    cli_print_json_text(line);
}

static void on_list(json_t *row, void *arg)
{
    struct output *o = arg;

    if (!o->count++)
        printf("%s%-13s  %5s  %7s  %-10s  %5s  %s%s\n", cli_colour(stdout, CLI_DIM), "ID", "AGE", "SIZE", "STATE",
               "NEXT", "SENDER", cli_colour(stdout, CLI_PLAIN));
    print_row(o, row);
}

int queue_list(struct cli *cli)
{
    struct output o = {.json = cli_has(cli, "json"), .now_ms = io_wall_ms()};
    json_t       *request = queue_request(cli, "queue.list");
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
        queue_print_json(row);
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
    printf("%-12s ", "what next");
    meaning_print_next(row);
    printf("recipients\n");
    print_recipients(row, "    ", true);
    print_headers(control_text(row, "headers"));
}

int queue_show(struct cli *cli)
{
    struct output o = {.json = cli_has(cli, "json"), .now_ms = io_wall_ms()};
    json_t       *request;

    if (!queue_names_any(cli))
        return cli_usage(cli, "say which messages: by id, or by a filter such as --domain DOMAIN");
    request = queue_request(cli, "queue.show");
    return request ? control_call(cli, request, on_show, &o, NULL) : CLI_USAGE;
}
