/* contacts.c: tacit contacts: what other servers said of their addresses. It opens the keeper's database itself,
 * whether the server runs or not, and changes nothing but by `forget`. */
#include "cli/contacts.h"
#include "cli/control_client.h"

#include "io/loop.h"

#include <errno.h>
#include <time.h>

bool contacts_cli_open(struct cli *cli, unsigned flags, struct contacts **ret_contacts)
{
    const struct config *config = cli_config(cli);
    struct arena         arena;
    struct str           path;
    struct err           err = {0};

    *ret_contacts = NULL;
    if (!config)
        return false;
    arena_init(&arena, 4096, 1 << 16);
    path = config_contacts_path(config, &arena);
    if (path.data)
        *ret_contacts = contacts_open(path.data, flags, NULL, &err);
    else
        err_set_os(&err, ENOMEM, "contacts");
    arena_done(&arena);
    if (*ret_contacts || err.os_error == ENOENT) /* no keeper has made it yet */
        return true;
    cli_fail_err(cli, &err);
    return false;
}

uint64_t contacts_cli_since(const struct config *config)
{
    uint64_t now_ms = io_wall_ms();

    return now_ms > config->contacts.keep ? now_ms - config->contacts.keep : 0;
}

/* ---- which of them ---- */

static bool read_day(const char *text, uint64_t *ret_ms)
{
    struct tm   tm = {0};
    const char *end = strptime(text, "%Y-%m-%d", &tm);

    if (!end || *end)
        return false;
    *ret_ms = (uint64_t)timegm(&tm) * 1000;
    return true;
}

static bool option_since(struct cli *cli, uint64_t *ret_ms)
{
    const char *text = cli_value(cli, "since");
    uint64_t    now_ms = io_wall_ms(), ms;

    if (!text || read_day(text, ret_ms))
        return true;
    if (!config_time_parse(str_from(text), &ms)) {
        cli_usage(cli, "--since \"%s\": a time such as 7d or 12h, or a day such as 2026-11-21", text);
        return false;
    }
    *ret_ms = now_ms > ms ? now_ms - ms : 0;
    return true;
}

static bool option_domain(struct cli *cli, struct arena *arena, struct str *ret_domain)
{
    const char *text = cli_value(cli, "domain");

    if (!text || mail_domain_parse(str_from(text), true, arena, ret_domain))
        return true;
    cli_usage(cli, "\"%s\" is not a domain", text);
    return false;
}

static bool read_filter(struct cli *cli, struct arena *arena, struct contacts_filter *ret_filter)
{
    const char            *outcome = cli_value(cli, "outcome");
    struct contacts_filter f = {.since_ms = 0};

    if (!option_domain(cli, arena, &f.domain) || !option_since(cli, &f.since_ms))
        return false;
    if (outcome && !contact_outcome_parse(str_from(outcome), &f.outcome)) {
        cli_usage(cli, "--outcome \"%s\": one of delivered, moved, no-mailbox, full, no-mail", outcome);
        return false;
    }
    *ret_filter = f;
    return true;
}

/* ---- list, export ---- */

enum form { FORM_TEXT, FORM_CSV, FORM_JSON };

struct listing {
    enum form  form;
    size_t     count;
    struct buf line;
};

static void print_text(struct listing *l, const struct contact *c)
{
    struct buf address;
    bool       bad = contact_is_dead(c->outcome);

    if (!l->count)
        printf("%s%-36s  %-10s  %s%s\n", cli_colour(stdout, CLI_DIM), "ADDRESS", "OUTCOME", "MORE",
               cli_colour(stdout, CLI_PLAIN));
    buf_init(&address, 1024);
    if (c->address.local.len)
        mail_address_format(&c->address, &address);
    else
        buf_printf(&address, "@%.*s", STR_ARG(c->address.domain));
    printf("%s", cli_colour(stdout, CLI_BOLD));
    cli_print_column(stdout, buf_str(&address), 36);
    printf("%s  %s%-10s%s  ", cli_colour(stdout, CLI_PLAIN), cli_colour(stdout, bad ? CLI_RED : CLI_PLAIN),
           contact_outcome_name(c->outcome), cli_colour(stdout, CLI_PLAIN));
    contacts_words(c, &l->line);
    cli_print_safe(stdout, buf_str(&l->line));
    putchar('\n');
    buf_done(&address);
}

static bool print_contact(const struct contact *c, void *arg)
{
    struct listing *l = arg;
    json_t         *o;

    buf_clear(&l->line);
    switch (l->form) {
    case FORM_TEXT:
        print_text(l, c);
        break;
    case FORM_CSV:
        contacts_csv_row(c, &l->line);
        fwrite(l->line.data, 1, l->line.len, stdout);
        break;
    case FORM_JSON:
        o = contacts_json(c);
        cli_print_json(o);
        putchar('\n');
        json_decref(o);
        break;
    }
    l->count++;
    return !ferror(stdout);
}

static int print_all(struct cli *cli, enum form form)
{
    struct listing         l = {.form = form};
    struct contacts       *contacts = NULL;
    struct contacts_filter filter;
    struct arena           arena;
    struct err             err;
    int                    status = CLI_USAGE;

    arena_init(&arena, 4096, 1 << 16);
    buf_init(&l.line, 1 << 16);
    if (read_filter(cli, &arena, &filter)) {
        status = CLI_FAILED;
        if (contacts_cli_open(cli, CONTACTS_READ, &contacts)) {
            uint64_t kept_ms = contacts_cli_since(cli_config(cli));

            filter.since_ms = filter.since_ms > kept_ms ? filter.since_ms : kept_ms;
            if (form == FORM_CSV && contacts_csv_head(&l.line))
                fwrite(l.line.data, 1, l.line.len, stdout);
            status = !contacts || contacts_each(contacts, &filter, print_contact, &l, &err) ? CLI_OK
                                                                                            : cli_fail_err(cli, &err);
            if (status == CLI_OK && form == FORM_TEXT)
                printf("%zu address%s\n", l.count, l.count == 1 ? "" : "es");
        }
    }
    if (fflush(stdout) != 0 && status == CLI_OK)
        status = cli_fail(cli, "writing: %s", strerror(errno));
    contacts_close(contacts);
    buf_done(&l.line);
    arena_done(&arena);
    return status;
}

static int run_list(struct cli *cli) { return print_all(cli, cli_has(cli, "json") ? FORM_JSON : FORM_TEXT); }

static int run_export(struct cli *cli)
{
    if (cli_has(cli, "csv") && cli_has(cli, "json"))
        return cli_usage(cli, "--csv or --json, not both");
    return print_all(cli, cli_has(cli, "json") ? FORM_JSON : FORM_CSV);
}

/* ---- show, forget ---- */

static bool parse_address(struct cli *cli, struct arena *arena, struct mail_address *ret_address)
{
    struct mail_address_error error;

    if (mail_address_parse(str_from(cli->argv[0]), true, arena, ret_address, &error))
        return true;
    cli_fail(cli, "\"%s\" is not an address: %s", cli->argv[0], error.reason);
    return false;
}

static void show(struct cli *cli, const struct contact *c)
{
    struct listing l = {.form = cli_has(cli, "json") ? FORM_JSON : FORM_TEXT, .count = 1};

    buf_init(&l.line, 1 << 16);
    if (l.form == FORM_JSON) {
        print_contact(c, &l);
    } else {
        contacts_words(c, &l.line);
        cli_print_safe(stdout, buf_str(&l.line));
        if (c->host.len) {
            fputs(" (", stdout);
            cli_print_safe(stdout, c->host);
            putchar(')');
        }
        putchar('\n');
    }
    buf_done(&l.line);
}

static int run_show(struct cli *cli)
{
    struct contacts    *contacts = NULL;
    struct mail_address address;
    struct contact      found;
    struct arena        arena;
    struct err          err;
    int                 status = CLI_FAILED;

    arena_init(&arena, 4096, 1 << 20);
    if (parse_address(cli, &arena, &address) && contacts_cli_open(cli, CONTACTS_READ, &contacts)) {
        switch (contacts ? contacts_find(contacts, &address, contacts_cli_since(cli_config(cli)), &arena, &found, &err)
                         : CONTACTS_ABSENT) {
        case CONTACTS_FOUND:
            show(cli, &found);
            status = CLI_OK;
            break;
        case CONTACTS_ABSENT:
            cli_fail(cli, "nothing is known of %s", cli->argv[0]);
            break;
        case CONTACTS_FAILED:
            cli_fail_err(cli, &err);
            break;
        }
    }
    contacts_close(contacts);
    arena_done(&arena);
    return status;
}

static int forget(struct cli *cli, const struct mail_address *address)
{
    struct contacts *contacts;
    struct err       err;
    uint64_t         count = 0;

    if (!contacts_cli_open(cli, 0, &contacts))
        return CLI_FAILED;
    if (contacts && !contacts_forget(contacts, address, &count, &err)) {
        contacts_close(contacts);
        return cli_fail_err(cli, &err);
    }
    contacts_close(contacts);
    if (!count)
        return cli_fail(cli, "nothing is known of it");
    printf("forgot %llu address%s\n", (unsigned long long)count, count == 1 ? "" : "es");
    return CLI_OK;
}

static int run_forget(struct cli *cli)
{
    struct mail_address address = {.local = STR("")};
    struct arena        arena;
    int                 status = CLI_USAGE;

    if ((cli->argc > 0) == cli_has(cli, "domain"))
        return cli_usage(cli, "either an address or --domain");
    arena_init(&arena, 4096, 1 << 16);
    if (cli->argc == 0 ? option_domain(cli, &arena, &address.domain) : parse_address(cli, &arena, &address))
        status = forget(cli, &address);
    else if (cli->argc)
        status = CLI_FAILED;
    arena_done(&arena);
    return status;
}

/* ---- the commands ---- */

#define OPTIONS_FILTER                                                                                              \
    {.name = "domain", .value = "DOMAIN", .help = "only addresses of this domain"},                                 \
        {.name = "outcome", .value = "OUTCOME", .help = "only these: delivered, moved, no-mailbox, full, no-mail"}, \
    {                                                                                                               \
        .name = "since", .value = "TIME", .help = "only what was said since then: 7d, 12h, or a day as 2026-11-21"  \
    }
static const struct cli_option list_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, OPTIONS_FILTER, {0}};
static const struct cli_option show_options[] = {CLI_OPTION_CONFIG, CLI_OPTION_JSON, {0}};
static const struct cli_option export_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "csv", .help = "a table with commas (RFC 4180); the default"},
    CLI_OPTION_JSON,
    OPTIONS_FILTER,
    {0},
};
static const struct cli_option forget_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "domain", .value = "DOMAIN", .help = "the domain and all of its addresses"},
    {0},
};

static const struct cli_command list_command = {
    .name = "list",
    .max = 0,
    .summary = "shows what is remembered",
    .description =
        "One address a line, with what was said of it last and since when. A line that begins with @ is of a "
        "whole domain.",
    .examples = "tacit contacts list --outcome no-mailbox --since 30d\n"
                "tacit contacts list --domain example.net --json",
    .options = list_options,
    .run = run_list};
static const struct cli_command show_command = {.name = "show",
                                                .arguments = "ADDRESS",
                                                .min = 1,
                                                .max = 1,
                                                .summary = "shows what is remembered of one address",
                                                .description = "Exit status 1 if nothing is known of it.",
                                                .examples = "tacit contacts show ann@example.net",
                                                .options = show_options,
                                                .run = run_show};
static const struct cli_command export_command = {
    .name = "export",
    .max = 0,
    .summary = "writes what is remembered, for other programs",
    .description = "Columns: address, domain, outcome, confirmed, first, last, delivered, code, status, reply, host, "
                   "moved_to. One "
                   "may be added at the end; none is renamed. Times are UTC. A row without an address is of a whole "
                   "domain. A cell "
                   "of the table that a spreadsheet would take for a formula has a ' in front.",
    .examples = "tacit contacts export > contacts.csv\n"
                "tacit contacts export --json --outcome moved",
    .options = export_options,
    .run = run_export};
static const struct cli_command forget_command = {
    .name = "forget",
    .arguments = "[ADDRESS]",
    .min = 0,
    .max = 1,
    .summary = "forgets an address, or a domain",
    .description = "What is forgotten is overwritten in the database. It will be known again when mail is sent there.",
    .examples = "tacit contacts forget ann@example.net\n"
                "tacit contacts forget --domain example.net",
    .options = forget_options,
    .run = run_forget};

static const struct cli_command *const commands[] = {&list_command,   &show_command,           &export_command,
                                                     &forget_command, &contacts_check_command, NULL};

const struct cli_command contacts_command = {
    .name = "contacts",
    .summary = "what other servers said of their addresses",
    .description =
        "The server remembers of each address that it sent mail to whether it was delivered, moved, full, or not "
        "there, as long as the setting contacts.keep says.",
    .examples = "tacit contacts list --outcome moved\n"
                "tacit contacts check list.csv > judged.csv",
    .subs = commands};
