/* contacts_check.c: tacit contacts check: judges the addresses of a list before mail is sent to them.
 *
 * By what can be known without touching anybody's mail server: the address itself, the DNS of its domain, and what
 * other servers said when mail was sent there. The list is read whole, the domains are asked about once each, and the
 * verdicts come in the order of the list. */
#include "cli/contacts.h"
#include "cli/contacts_list.h"
#include "cli/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { OUT_FLUSH = 64 << 10 };

/* What is said of an address. Those up to VERDICT_GOOD: nothing speaks against it. */
enum verdict {
    VERDICT_OK, /* nothing is known but that its domain takes mail */
    VERDICT_DELIVERED,
    VERDICT_OURS,
    VERDICT_GOOD = VERDICT_OURS,
    VERDICT_FULL,
    VERDICT_MOVED,
    VERDICT_NO_MAILBOX,
    VERDICT_NO_MAIL,
    VERDICT_NO_DOMAIN,
    VERDICT_NO_HOST,
    VERDICT_NO_ANSWER,
    VERDICT_BAD_ADDRESS,
    VERDICTS
};
static const char *const verdict_names[VERDICTS] = {
    [VERDICT_OK] = "ok",
    [VERDICT_DELIVERED] = "delivered",
    [VERDICT_OURS] = "ours",
    [VERDICT_FULL] = "full",
    [VERDICT_MOVED] = "moved",
    [VERDICT_NO_MAILBOX] = "no-mailbox",
    [VERDICT_NO_MAIL] = "no-mail",
    [VERDICT_NO_DOMAIN] = "no-domain",
    [VERDICT_NO_HOST] = "no-host",
    [VERDICT_NO_ANSWER] = "no-answer",
    [VERDICT_BAD_ADDRESS] = "bad-address",
};

struct check {
    struct cli          *cli;
    const struct config *config;
    struct contacts     *contacts; /* NULL: nothing was remembered yet */
    struct contacts_list list;
    struct buf           out;
    size_t               verdicts[VERDICTS];
};

/* ---- verdicts ---- */

static enum verdict of_domain(const struct domain_check *d)
{
    static const struct {
        const char  *status;
        enum verdict verdict;
    } table[] = {{"5.1.10", VERDICT_NO_MAIL}, {"5.1.2", VERDICT_NO_DOMAIN}};

    if (d->outcome == ROUTE_FOUND)
        return VERDICT_OK;
    if (d->outcome == ROUTE_WAITS)
        return VERDICT_NO_ANSWER;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(d->status, table[i].status) == 0)
            return table[i].verdict;
    return VERDICT_NO_HOST;
}

static enum verdict of_contact(enum contact_outcome outcome)
{
    static const enum verdict verdicts[] = {[CONTACT_UNKNOWN] = VERDICT_OK,  [CONTACT_DELIVERED] = VERDICT_DELIVERED,
                                            [CONTACT_MOVED] = VERDICT_MOVED, [CONTACT_NO_MAILBOX] = VERDICT_NO_MAILBOX,
                                            [CONTACT_FULL] = VERDICT_FULL,   [CONTACT_NO_MAIL] = VERDICT_NO_MAIL};

    return verdicts[outcome];
}

/* The DNS of today counts more than what was said of the whole domain, and more than a delivery of yesterday; what a
 * server said of the mailbox counts more than a DNS that gives no answer. */
static enum verdict judge(const struct contacts_row *row, const struct contact *known)
{
    enum verdict domain, contact = of_contact(known->outcome);

    if (row->wrong)
        return VERDICT_BAD_ADDRESS;
    if (!row->domain)
        return VERDICT_OURS;
    domain = of_domain(row->domain);
    if (domain == VERDICT_OK)
        return known->address.local.len ? contact : VERDICT_OK;
    return domain == VERDICT_NO_ANSWER && contact > VERDICT_GOOD ? contact : domain;
}

static void put_words(const struct contacts_row *row, enum verdict verdict, const struct contact *known,
                      struct buf *out)
{
    switch (verdict) {
    case VERDICT_BAD_ADDRESS:
        buf_append_z(out, row->wrong);
        break;
    case VERDICT_OURS:
        buf_append_z(out, "a domain of this server: tacit user list shows who exists");
        break;
    case VERDICT_OK:
        buf_append_z(out, "its domain takes mail; nothing is known of the address");
        break;
    case VERDICT_NO_MAIL:
    case VERDICT_NO_DOMAIN:
    case VERDICT_NO_HOST:
    case VERDICT_NO_ANSWER:
        if (row->domain->outcome != ROUTE_FOUND) {
            buf_append(out, row->domain->reason);
            break;
        }
        contacts_words(known, out);
        break;
    case VERDICT_DELIVERED:
    case VERDICT_FULL:
    case VERDICT_MOVED:
    case VERDICT_NO_MAILBOX:
    case VERDICTS:
        contacts_words(known, out);
        break;
    }
}

/* ---- output ---- */

enum { C_LINE, C_ADDRESS, C_VERDICT, C_EXPLANATION, C_MOVED_TO, C_SINCE, C_LAST, COLUMNS };
static const char *const columns[COLUMNS] = {"line", "address", "verdict", "explanation", "moved_to", "since", "last"};

static bool flush(struct check *c, size_t above)
{
    if (c->out.len > above) {
        fwrite(c->out.data, 1, c->out.len, stdout);
        buf_clear(&c->out);
    }
    return !ferror(stdout);
}

static json_t *json_cell(size_t column, struct str cell)
{
    uint64_t number;

    if (column == C_LINE && str_to_u64(cell, UINT32_MAX, &number))
        return json_integer((json_int_t)number);
    return contacts_json_text(cell);
}

static void put_row(struct check *c, bool json, const struct str cells[COLUMNS])
{
    json_t *o = json ? json_object() : NULL;

    for (size_t i = 0; !json && i < COLUMNS; i++)
        csv_put(&c->out, cells[i], i == 0);
    for (size_t i = 0; json && i < COLUMNS; i++)
        if (cells[i].len)
            json_object_set_new(o, columns[i], json_cell(i, cells[i]));
    if (json) {
        cli_print_json(o);
        putchar('\n');
    } else {
        buf_append_z(&c->out, "\r\n");
    }
    json_decref(o);
}

static void put_verdict(struct check *c, bool json, const struct contacts_row *row, enum verdict verdict,
                        const struct contact *known, struct arena *arena)
{
    char       first[CONTACTS_TIME_TEXT + 1] = "", last[CONTACTS_TIME_TEXT + 1] = "", line[16];
    struct buf words;
    bool       is_known = verdict == of_contact(known->outcome) && verdict != VERDICT_OK;
    struct str moved_to = is_known ? mail_address_text(&known->moved_to, arena) : STR("");

    buf_init(&words, CONTACTS_WORDS);
    put_words(row, verdict, known, &words);
    if (is_known) {
        contacts_time_text(known->first_ms, first);
        contacts_time_text(known->last_ms, last);
    }
    snprintf(line, sizeof line, "%u", row->line);
    put_row(c, json,
            (struct str[COLUMNS]){[C_LINE] = str_from(line),
                                  [C_ADDRESS] = row->wrong ? row->text : mail_address_text(&row->address, arena),
                                  [C_VERDICT] = str_from(verdict_names[verdict]),
                                  [C_EXPLANATION] = buf_str(&words),
                                  [C_MOVED_TO] = moved_to,
                                  [C_SINCE] = str_from(first),
                                  [C_LAST] = str_from(last)});
    buf_done(&words);
}

static int put_verdicts(struct check *c)
{
    const uint64_t since_ms = contacts_cli_since(c->config);
    const bool     json = cli_has(c->cli, "json");
    struct arena   arena;
    struct err     err;
    int            status = CLI_OK;

    arena_init(&arena, CONTACTS_ARENA_CHUNK, 1 << 20);
    if (!json)
        put_row(c, false,
                (struct str[COLUMNS]){STR("line"), STR("address"), STR("verdict"), STR("explanation"), STR("moved_to"),
                                      STR("since"), STR("last")});
    for (size_t i = 0; status == CLI_OK && i < c->list.count; i++) {
        const struct contacts_row *row = &c->list.rows[i];
        struct contact             known = {.outcome = CONTACT_UNKNOWN};
        enum verdict               verdict;

        if (c->contacts && row->domain &&
            contacts_find(c->contacts, &row->address, since_ms, &arena, &known, &err) == CONTACTS_FAILED)
            status = cli_fail_err(c->cli, &err);
        verdict = judge(row, &known);
        c->verdicts[verdict]++;
        put_verdict(c, json, row, verdict, &known, &arena);
        arena_reset(&arena);
        if (!flush(c, OUT_FLUSH))
            break;
    }
    if ((!flush(c, 0) || fflush(stdout) != 0) && status == CLI_OK)
        status = cli_fail(c->cli, "writing: %s", strerror(errno));
    arena_done(&arena);
    return status;
}

static int summary(const struct check *c)
{
    size_t      bad = 0;
    const char *parted = ": ";

    fprintf(stderr, "%zu address%s", c->list.count, c->list.count == 1 ? "" : "es");
    for (size_t i = 0; i < VERDICTS; i++) {
        if (c->verdicts[i]) {
            fprintf(stderr, "%s%zu %s", parted, c->verdicts[i], verdict_names[i]);
            parted = ", ";
        }
        bad += i > VERDICT_GOOD ? c->verdicts[i] : 0;
    }
    fputs("\n", stderr);
    return bad ? CLI_FAILED : CLI_OK;
}

static void progress(size_t done, size_t count, void *arg)
{
    (void)arg;
    fprintf(stderr, "\rasking the DNS: %zu of %zu domains%s", done, count, done == count ? "\n" : "");
}

static int check(struct check *c)
{
    struct err err;
    int        status;

    if (!c->config || !contacts_list_read(&c->list, c->cli, c->config, c->cli->argv[0], cli_value(c->cli, "column")) ||
        !contacts_cli_open(c->cli, CONTACTS_READ, &c->contacts))
        return CLI_FAILED;
    if (!domain_check_all(c->config, c->list.domains, c->list.domain_count, isatty(STDERR_FILENO) ? progress : NULL,
                          NULL, &c->list.arena, &err))
        return cli_fail_err(c->cli, &err);
    status = put_verdicts(c);
    return status == CLI_OK ? summary(c) : status;
}

static int run_check(struct cli *cli)
{
    struct check c = {.cli = cli, .config = cli_config(cli)};
    int          status;

    contacts_list_init(&c.list);
    buf_init(&c.out, 2 * OUT_FLUSH);
    status = check(&c);
    contacts_close(c.contacts);
    buf_done(&c.out);
    contacts_list_done(&c.list);
    return status;
}

static const struct cli_option options[] = {
    CLI_OPTION_CONFIG,
    CLI_OPTION_JSON,
    {.name = "column", .value = "NAME", .help = "where the addresses stand: the name or the number of a column"},
    {0},
};

const struct cli_command contacts_check_command = {
    .name = "check",
    .arguments = "FILE",
    .min = 1,
    .max = 1,
    .summary = "judges the addresses of a list, without sending anything",
    .description =
        "Reads a table (CSV with commas, semicolons or tabs, UTF-8; - is standard input) and says of each address what "
        "can be known without asking a mail server: whether it is written right, whether the DNS has a mail host for "
        "its "
        "domain, and what its server said when mail was sent there.\n\n"
        "The addresses are taken from the column that is called email, mail or address, else from the first.\n\n"
        "Prints a table with the columns line, address, verdict, explanation, moved_to, since, last. Verdicts:\n\n"
        "  ok           the domain takes mail; nothing is known of the address\n"
        "  delivered    mail was delivered there\n"
        "  ours         a domain of this server\n"
        "  full         the mailbox was full\n"
        "  moved        refused: moved, to moved_to if the server named it\n"
        "  no-mailbox   refused: no such mailbox\n"
        "  no-mail      the domain takes no mail\n"
        "  no-domain    there is no such domain\n"
        "  no-host      the domain has no mail host that can be reached\n"
        "  no-answer    the DNS gave no answer; try again later\n"
        "  bad-address  it is no mail address\n\n"
        "Exit status 0 if all are ok, delivered or ours, else 1.",
    .examples = "tacit contacts check list.csv > judged.csv\n"
                "tacit contacts check --column \"E-Mail\" --json customers.csv",
    .options = options,
    .run = run_check};
