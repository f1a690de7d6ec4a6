/* probe.c: tacit probe: what a sender can rightfully learn before mailing: the DNS, then a conversation up to EHLO, and
 * only where it was asked for also VRFY and RCPT, which is taken back. Each answer is put into plain words. */
#include "cli/probe.h"

#include "cli/cli.h"
#include "config/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMORY = 8 << 20, HOSTS_TRIED = 3, LABEL = 14 };

/* ---- for people ---- */

static void row(const char *label, struct str text)
{
    if (!text.len)
        return;
    printf("  %s%-*s%s", cli_colour(stdout, CLI_DIM), LABEL, label, cli_colour(stdout, CLI_PLAIN));
    cli_print_filled(stdout, text, LABEL + 2, LABEL + 2);
}

static struct str target_text(struct probe *p, const struct route_target *t, bool preference)
{
    struct io_address a = io_address_of(&t->address, p->port);
    char              text[IO_ADDRESS_TEXT];

    io_address_host(&a, text);
    return preference ? arena_printf(&p->arena, "%u %.*s [%s]", t->preference, STR_ARG(t->host), text)
                      : arena_printf(&p->arena, "%.*s [%s]", STR_ARG(t->host), text);
}

static void print_dns(struct probe *p)
{
    const struct probe_dns *d = &p->dns;

    if (!p->asks_dns)
        return;
    printf("%sDNS of %.*s%s\n", cli_colour(stdout, CLI_BOLD), STR_ARG(p->domain), cli_colour(stdout, CLI_PLAIN));
    if (d->outcome != ROUTE_FOUND)
        row("mail hosts", arena_printf(&p->arena, "none: %.*s (%.*s)", STR_ARG(d->reason), STR_ARG(d->status)));
    for (size_t i = 0; i < d->target_count && i < 8; i++)
        row(i ? "" : "mail hosts", target_text(p, &d->targets[i], !p->is_host && !d->implicit));
    if (d->target_count > 8)
        row("", arena_printf(&p->arena, "and %zu more", d->target_count - 8));
    if (d->implicit)
        row("", STR("there is no MX record, so mail goes to the domain's own address (implicit MX)"));
    if (d->odd_null)
        row("", STR("a \".\" stands beside other MX records: it is passed over"));
    if (d->aliases)
        row("", STR("a mail host is an alias (CNAME), which RFC 2181 10.3 does not allow; it works with most servers"));
    if (d->outcome == ROUTE_FOUND) {
        row("IPv6", d->has_ipv6 ? STR("yes") : STR("no"));
        row("DNSSEC", d->secure ? STR("validated") : p->validate ? STR("not signed") : STR("not checked"));
    }
    if (p->is_host || p->domain.data[0] == '[')
        return;
    row("SPF", d->spf_count > 1 ? STR("more than one record, which is a mistake: servers treat it as an error")
               : d->spf.len     ? d->spf
                                : STR("none: nobody can check who may send for this domain"));
    row("DMARC", d->dmarc.len ? d->dmarc : STR("none"));
    row("MTA-STS", d->mta_sts.len ? d->mta_sts : STR("none"));
    row("TLS reports", d->tls_rpt);
    if (d->outcome == ROUTE_FOUND)
        row("TLSA", !d->tlsa_count   ? STR("none")
                    : d->tlsa_secure ? arena_printf(&p->arena, "%zu records: DANE", d->tlsa_count)
                                     : STR("there, but not signed, so of no use"));
}

static void print_line(const char *mark, struct str text, uint64_t ms, bool shows_time)
{
    while (text.len) {
        struct str line = str_cut(&text, '\n');

        if (shows_time)
            printf("  %s%7.3f s%s  %s ", cli_colour(stdout, CLI_DIM), (double)ms / 1000, cli_colour(stdout, CLI_PLAIN),
                   mark);
        else
            printf("  %9s  %s ", "", mark);
        cli_print_safe(stdout, line);
        putchar('\n');
        shows_time = false;
    }
}

static void print_tls(struct probe *p)
{
    const struct io_tls_look *l = &p->talk.tls;

    if (!p->talk.starttls)
        row("TLS", STR("not offered: mail goes there in clear"));
    else if (!p->talk.has_tls)
        row("TLS", STR("STARTTLS is offered, but no TLS came about"));
    if (!p->talk.has_tls)
        return;
    row("TLS", arena_printf(&p->arena, "%s, %s", l->protocol, l->cipher));
    row("certificate",
        arena_printf(&p->arena, "for %s; signed by %s; from %s until %s", *l->names ? l->names : "nobody",
                     *l->issuer ? l->issuer : "nobody", l->from, l->until));
    row("", !l->trusted
                ? arena_printf(&p->arena, "not to be trusted: %s; most servers send there all the same", l->problem)
            : l->name_fits ? STR("to be trusted")
                           : STR("of a known authority, but for another name; most servers send there all the same"));
}

static void print_talk(struct probe *p)
{
    if (!p->talk.count)
        return;
    printf("%sConversation with %.*s, port %u%s\n", cli_colour(stdout, CLI_BOLD), STR_ARG(p->spoken), p->port,
           cli_colour(stdout, CLI_PLAIN));
    for (size_t i = 0; i < p->talk.count; i++) {
        const struct probe_step *s = &p->talk.steps[i];
        struct str               words = probe_meaning(p, s);

        if ((s->act == PROBE_CONNECT || s->act == PROBE_TLS) && !s->text.len)
            print_line(" ", s->act == PROBE_TLS ? STR("encrypted; QUIT") : STR("connected"), s->ms, true);
        print_line(">", s->said, s->ms, false);
        print_line(s->code ? "<" : "!", s->text, s->ms, true);
        if (words.len && s->act != PROBE_RSET && s->act != PROBE_QUIT) {
            printf("  %9s    %s", "", cli_colour(stdout, CLI_GREEN));
            cli_print_filled(stdout, words, 13, 13);
            printf("%s", cli_colour(stdout, CLI_PLAIN));
        }
    }
    if (p->talk.extended) {
        row("offers", p->talk.extensions);
        print_tls(p);
        if (p->talk.size)
            row("largest", arena_printf(&p->arena, "%llu octets", (unsigned long long)p->talk.size));
    }
}

/* ---- for programs ---- */

static json_t *text_of(struct str text)
{
    json_t *value = json_stringn(text.data ? text.data : "", text.len);

    return value ? value : json_string("");
}

static json_t *dns_json(struct probe *p)
{
    json_t *dns = json_object(), *hosts = json_array();

    if (p->dns.status.len) {
        json_object_set_new(dns, "status", text_of(p->dns.status));
        json_object_set_new(dns, "reason", text_of(p->dns.reason));
    }
    for (size_t i = 0; i < p->dns.target_count; i++)
        json_array_append_new(hosts, text_of(target_text(p, &p->dns.targets[i], false)));
    json_object_set_new(dns, "hosts", hosts);
    json_object_set_new(dns, "implicit", json_boolean(p->dns.implicit));
    json_object_set_new(dns, "ipv6", json_boolean(p->dns.has_ipv6));
    json_object_set_new(dns, "secure", json_boolean(p->dns.secure));
    json_object_set_new(dns, "spf", text_of(p->dns.spf));
    json_object_set_new(dns, "dmarc", text_of(p->dns.dmarc));
    json_object_set_new(dns, "mta_sts", text_of(p->dns.mta_sts));
    json_object_set_new(dns, "tls_rpt", text_of(p->dns.tls_rpt));
    json_object_set_new(dns, "tlsa", json_integer((json_int_t)p->dns.tlsa_count));
    return dns;
}

static json_t *step_json(struct probe *p, const struct probe_step *s)
{
    static const char *const acts[] = {"connect", "greeting", "ehlo",     "helo", "vrfy", "mail",
                                       "rcpt",    "rset",     "starttls", "tls",  "quit"};
    json_t                  *one = json_object();
    struct str               meaning = probe_meaning(p, s);

    json_object_set_new(one, "step", json_string(acts[s->act]));
    json_object_set_new(one, "ms", json_integer((json_int_t)s->ms));
    if (s->said.len)
        json_object_set_new(one, "said", text_of(s->said));
    if (s->code)
        json_object_set_new(one, "code", json_integer((json_int_t)s->code));
    if (s->text.len)
        json_object_set_new(one, "answer", text_of(s->text));
    if (meaning.len)
        json_object_set_new(one, "meaning", text_of(meaning));
    return one;
}

static void print_json(struct probe *p, const struct probe_verdict *v)
{
    json_t *all = json_object(), *steps = json_array();

    json_object_set_new(all, "target", text_of(p->domain));
    json_object_set_new(all, "verdict", json_string(v->key));
    json_object_set_new(all, "words", text_of(v->words));
    json_object_set_new(all, "advice", text_of(v->advice));
    json_object_set_new(all, "dns", dns_json(p));
    for (size_t i = 0; i < p->talk.count; i++)
        json_array_append_new(steps, step_json(p, &p->talk.steps[i]));
    json_object_set_new(all, "conversation", steps);
    json_object_set_new(all, "extensions", text_of(p->talk.extensions));
    json_object_set_new(all, "starttls", json_boolean(p->talk.starttls));
    if (p->talk.has_tls)
        json_object_set_new(all, "tls",
                            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s}", "protocol", p->talk.tls.protocol,
                                      "cipher", p->talk.tls.cipher, "names", p->talk.tls.names, "issuer",
                                      p->talk.tls.issuer, "from", p->talk.tls.from, "until", p->talk.tls.until,
                                      "trusted", p->talk.tls.trusted, "name_fits", p->talk.tls.name_fits, "problem",
                                      p->talk.tls.problem));
    json_object_set_new(all, "size", json_integer((json_int_t)p->talk.size));
    cli_print_json(all);
    putchar('\n');
    json_decref(all);
}

/* ---- what is to be probed ---- */

/* "192.0.2.1", "[2001:db8::1]" or "2001:db8::1". */
static bool read_host_address(struct probe *p, struct str s)
{
    bool              bare_v6 = str_find_byte(s, ':') != STR_NOT_FOUND && !str_starts(s, STR("["));
    struct str        text = arena_printf(&p->arena, bare_v6 ? "[%.*s]:%u" : "%.*s:%u", STR_ARG(s), p->port);
    struct io_address found[2];
    size_t            count;
    struct err        err;

    if (!text.data || str_starts(s, STR("*")) || !io_address_parse(text, found, 2, &count, &err) || count != 1)
        return false;
    p->address = found[0];
    return true;
}

static int read_target(struct probe *p, const char *text)
{
    struct mail_address_error error;
    struct str                s = str_trim(str_from(text));

    if (str_starts(s, STR("<")) && str_ends(s, STR(">")))
        s = str_part(s, 1, s.len - 2);
    if (str_find_byte(s, '@') != STR_NOT_FOUND) {
        if (!mail_address_parse(s, true, &p->arena, &p->recipient, &error))
            return cli_fail(p->cli, "\"%s\" is not an address: %s", text, error.reason);
        p->domain = p->recipient.domain;
        return CLI_OK;
    }
    if (read_host_address(p, s)) {
        p->domain = s;
        p->asks_dns = false;
        p->dns.outcome = ROUTE_FOUND;
        return CLI_OK;
    }
    return mail_domain_parse(s, false, &p->arena, &p->domain)
               ? CLI_OK
               : cli_fail(p->cli, "\"%s\" is neither an address nor a domain nor a host", text);
}

static int probe_it(struct probe *p)
{
    struct err err;

    if (!p->asks_dns) {
        p->spoken = p->domain;
        p->wish.tls_host = arena_str(&p->arena, p->domain).data;
        p->has_spoken = probe_talk(&p->address, &p->wish, &p->arena, &p->talk);
        return CLI_OK;
    }
    if (!(p->is_host ? probe_dns_host(p->domain, p->server, p->validate, &p->arena, &p->dns, &err)
                     : probe_dns(p->domain, p->port, p->server, p->validate, &p->arena, &p->dns, &err)))
        return cli_fail_err(p->cli, &err);
    for (size_t i = 0; i < p->dns.target_count && i < HOSTS_TRIED && !p->has_spoken; i++) {
        struct io_address a = io_address_of(&p->dns.targets[i].address, p->port);

        p->spoken = target_text(p, &p->dns.targets[i], false);
        p->wish.tls_host = arena_str(&p->arena, p->dns.targets[i].host).data;
        p->has_spoken = probe_talk(&a, &p->wish, &p->arena, &p->talk);
    }
    return CLI_OK;
}

static int read_options(struct probe *p)
{
    struct cli               *cli = p->cli;
    const struct config      *config = NULL;
    struct mail_address_error error;
    uint64_t                  port = 25, timeout = 15000;

    if (cli_has(cli, "config") || access(cli_config_path(cli), R_OK) == 0)
        config = cli_config(cli);
    if (cli_has(cli, "config") && !config)
        return CLI_FAILED;
    if (cli_has(cli, "port") && (!str_to_u64(str_from(cli_value(cli, "port")), 65535, &port) || !port))
        return cli_usage(cli, "\"%s\" is not a port", cli_value(cli, "port"));
    if (cli_has(cli, "timeout") &&
        (!config_time_parse(str_from(cli_value(cli, "timeout")), &timeout) || timeout < 100 || timeout > 600000))
        return cli_usage(cli, "\"%s\" is not a time between 100ms and 10m", cli_value(cli, "timeout"));
    if (cli_has(cli, "from") && *cli_value(cli, "from") &&
        !mail_address_parse(str_from(cli_value(cli, "from")), true, &p->arena, &p->sender, &error))
        return cli_usage(cli, "\"%s\" is not an address: %s", cli_value(cli, "from"), error.reason);
    p->port = (uint16_t)port;
    p->server = cli_has(cli, "dns") ? cli_value(cli, "dns") : config ? config->dns.server : NULL;
    p->validate = cli_has(cli, "dns") ? false : !config || config->dns.validate;
    p->is_host = cli_has(cli, "host");
    p->asks_dns = true;
    p->wish = (struct probe_wish){.helo = cli_has(cli, "helo") ? cli_value(cli, "helo")
                                          : config             ? config->hostname
                                                               : NULL,
                                  .sender = &p->sender,
                                  .timeout_ms = (unsigned)timeout};
    if (!p->wish.helo) {
        static char name[256];

        p->wish.helo = gethostname(name, sizeof name - 1) == 0 && *name ? name : "localhost";
    }
    return CLI_OK;
}

static int run_probe(struct cli *cli)
{
    struct probe         p = {.cli = cli};
    struct probe_verdict v = {0};
    int                  status;

    arena_init(&p.arena, 64 << 10, MEMORY);
    status = read_options(&p);
    if (status == CLI_OK)
        status = read_target(&p, cli->argv[0]);
    if (status == CLI_OK && cli_has(cli, "rcpt")) {
        if (!p.recipient.domain.len)
            status = cli_usage(cli, "--rcpt needs an address, such as anna@example.org");
        p.wish.recipient = &p.recipient;
    }
    if (status == CLI_OK)
        status = probe_it(&p);
    if (status == CLI_OK) {
        v = probe_verdict(&p);
        status = v.exit;
        if (cli_has(cli, "json")) {
            print_json(&p, &v);
        } else {
            print_dns(&p);
            print_talk(&p);
            printf("%sVerdict%s\n", cli_colour(stdout, CLI_BOLD), cli_colour(stdout, CLI_PLAIN));
            row(v.key, v.words);
            row("", v.advice);
        }
    }
    arena_done(&p.arena);
    return status;
}

static const struct cli_option options[] = {
    CLI_OPTION_CONFIG,
    CLI_OPTION_JSON,
    {.name = "rcpt", .help = "also ask VRFY and RCPT about the address, and take it back (RSET)"},
    {.name = "host", .help = "the name is that of a mail host, not of a domain: no MX is looked up"},
    {.name = "from", .value = "ADDRESS", .help = "the sender of the question by RCPT; default: the null sender"},
    {.name = "helo", .value = "NAME", .help = "name of this machine; default: the configuration's hostname"},
    {.name = "port", .value = "PORT", .help = "port of the mail servers; default: 25"},
    {.name = "dns", .value = "ADDRESS:PORT", .help = "resolver to ask; default: the configuration's, or the system's"},
    {.name = "timeout", .value = "TIME", .help = "longest wait for each answer; default: 15s"},
    {0},
};

const struct cli_command probe_command = {
    .name = "probe",
    .arguments = "ADDRESS | DOMAIN | HOST",
    .min = 1,
    .max = 1,
    .summary = "how a remote server answers, and what that means for sending to it",
    .description =
        "Looks into the DNS (mail hosts, null MX, IPv6, SPF, DMARC, MTA-STS, TLSA), then talks with a mail server up "
        "to EHLO, "
        "and says in plain words what a sender has to expect. Nothing is sent.\n\n"
        "Only with --rcpt it also asks about the address itself, by VRFY and RCPT; that is taken back at once. Use it "
        "for an "
        "address that you are about to write to, not to try out many: servers notice, and 250 is no proof.\n\n"
        "Exit status: 0 mail is taken; 3 not now, or it cannot be said; 4 not at all; 1 the probe itself failed; 2 "
        "wrong use.",
    .examples = "tacit probe example.org\n"
                "tacit probe --rcpt anna@example.org\n"
                "tacit probe --host mx1.example.org --json",
    .options = options,
    .run = run_probe};
