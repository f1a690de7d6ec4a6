/* test_config.c: what a configuration file may say, what comes of it, and how each mistake is told. */
#include "base/nearest.h"
#include "config/config.h"
#include "role/log.h"

#include "policy/disclosure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST "hostname = \"mx.example.test\"\n"

static struct config *parse(const char *text, struct err *err)
{
    *err = (struct err){0};
    return config_parse_text(str_from(text), "t.conf", "/base", err);
}

static struct config *good(const char *text)
{
    struct err     err;
    struct config *c = parse(text, &err);

    if (!c)
        fail_msg("refused: %s\n%s", err.text, text);
    return c;
}

static void bad(const char *text, const char *message)
{
    struct err     err;
    struct config *c = parse(text, &err);

    if (c)
        fail_msg("taken, but should say \"%s\":\n%s", message, text);
    if (strcmp(err.text, message) != 0)
        fail_msg("says      \"%s\"\nnot       \"%s\"\nfor:\n%s", err.text, message, text);
    assert_int_equal(err.class, ERR_CONFIG);
}

static const char whole[] =
    "hostname = \"mx.example.test\"\n"
    "data     = \"data\"                 # spool, directory, ledger; relative to this file\n"
    "\n"
    "listen mx     { address = \"127.0.0.1:2525\" }\n"
    "listen submit { address = \"127.0.0.1:2587\"  submission = true }\n"
    "\n"
    "domain \"example.test\" {\n"
    "    directory = \"sqlite:directory.db\"                 # relative to data\n"
    "    deliver   = \"maildir:mail/{domain}/{local}\"       # also lmtp:… smtp:… pipe:…\n"
    "}\n"
    "\n"
    "disclosure { vrfy = \"252\"  strangers = \"accept\" }\n"
    "\n"
    "route \"*\" { via = \"mx\" }                              # or a smarthost\n"
    "dns { server = \"127.0.0.1:5353\" }                     # default: the system's resolvers\n";

static void test_whole(void **state)
{
    struct config *c = good(whole);

    (void)state;
    assert_string_equal(c->hostname, "mx.example.test");
    assert_string_equal(c->data, "/base/data");
    assert_int_equal(c->listen_count, 2);
    assert_string_equal(c->listens[0].title, "mx");
    assert_string_equal(c->listens[0].address, "127.0.0.1:2525");
    assert_false(c->listens[0].submission);
    assert_int_equal(c->listens[0].line, 4);
    assert_true(c->listens[1].submission);
    assert_int_equal(c->domain_count, 1);
    assert_string_equal(c->domains[0].title, "example.test");
    assert_string_equal(c->domains[0].directory, "sqlite:directory.db");
    assert_string_equal(c->domains[0].deliver, "maildir:mail/{domain}/{local}");
    assert_int_equal(c->domains[0].line, 7);
    assert_int_equal(c->disclosure.vrfy, CONFIG_VRFY_252);
    assert_int_equal(c->route_count, 1);
    assert_string_equal(c->routes[0].title, "*");
    assert_string_equal(c->dns.server, "127.0.0.1:5353");
    assert_int_equal(c->warnings.count, 0);
    assert_true(config_domain_find(c, STR("example.test")) == &c->domains[0]);
    assert_null(config_domain_find(c, STR("example.tes")));
    config_free(c);
}

static void test_defaults(void **state)
{
    struct config *c = good(HOST);

    (void)state;
    assert_int_equal(c->limits.sessions, 20000);
    assert_int_equal(c->limits.message, 50 << 20);
    assert_int_equal(c->timeouts.command, 300000);
    assert_int_equal(c->queue.expire, 5ull * 86400000);
    assert_int_equal(c->queue.retry.count, 6);
    assert_int_equal(c->queue.retry.ms[0], 15 * 60000);
    assert_int_equal(c->queue.retry.ms[5], 8 * 3600000);
    assert_int_equal(c->relay.networks.count, 0);
    assert_int_equal(c->limits.line, 0);
    assert_string_equal(c->users.front, "tacit-front");
    assert_true(c->dns.validate);
    assert_int_equal(c->log_level, 1);
    assert_int_equal(c->listen_count, 0);
    assert_int_equal(c->warnings.count, 2); /* no listen, no domain */
    config_free(c);
}

static void test_values(void **state)
{
    struct config *c = good(HOST "log = \"json\" log_level = warning fronts = 3 grace = 1m\n"
                                 "relay { networks = {\"192.0.2.0/24\", 2001:db8::/32} }\n"
                                 "limits { sessions = 5 sessions_per_client = 5\n message = 1m }\n"
                                 "limits { hops = 20 }\n"
                                 "queue { retry = {1s, \"2m\", 3h} expire = 2w local_retry = 30 }\n"
                                 "listen a { address = \"unix:run/a.sock\" mode = \"0600\" protocol = \"lmtp\" }\n"
                                 "listen b { address = \"[::1]:0\" } listen c { address = \"[::1]:0\" }\n"
                                 "domain \"B\303\274cher.Example\" { separator = \"\" quota = 1G }\n"
                                 "disclosure { vrfy = 502 rcpt_reply = \"252\" strangers = refuse }\n"
                                 "route \"Relay.Example\" { via = \"smtp://[2001:db8::1]:587\" }\n");

    (void)state;
    assert_int_equal(c->log, 1);
    assert_int_equal(c->log_level, 2);
    assert_int_equal(c->fronts, 3);
    assert_int_equal(c->grace, 60000);
    assert_int_equal(c->relay.networks.count, 2);
    assert_int_equal(c->relay.networks.items[0].bits, 24);
    assert_int_equal(c->limits.message, 1 << 20);
    assert_int_equal(c->limits.hops, 20);
    assert_int_equal(c->limits.sessions, 5);
    assert_int_equal(c->limits.line, 4);
    assert_int_equal(c->queue.retry.count, 3);
    assert_int_equal(c->queue.retry.ms[0], 1000);
    assert_int_equal(c->queue.retry.ms[2], 3 * 3600000);
    assert_int_equal(c->queue.local_retry.count, 1);
    assert_int_equal(c->queue.local_retry.ms[0], 30000);
    assert_string_equal(c->listens[0].address, "unix:/base/data/run/a.sock");
    assert_int_equal(c->listens[0].mode, 0600);
    assert_int_equal(c->listens[0].protocol, CONFIG_LMTP);
    assert_string_equal(c->domains[0].title, "xn--bcher-kva.example");
    assert_non_null(config_domain_find(c, STR("xn--bcher-kva.example")));
    assert_string_equal(c->domains[0].separator, "");
    assert_int_equal(c->domains[0].quota, 1 << 30);
    assert_int_equal(c->disclosure.vrfy, CONFIG_VRFY_502);
    assert_int_equal(c->disclosure.strangers, CONFIG_STRANGERS_REFUSE);
    assert_int_equal(c->disclosure.rcpt_reply, CONFIG_RCPT_252);
    assert_string_equal(c->routes[0].title, "relay.example");
    config_free(c);

    c = good(HOST "data = \"/var/lib/tacit/\" relay { networks = {} } # last line without an end");
    assert_string_equal(c->data, "/var/lib/tacit");
    assert_int_equal(c->relay.networks.count, 0);
    config_free(c);
}

static void test_mistakes(void **state)
{
    (void)state;
    bad("sessions = 5\n", "t.conf:1: unknown setting \"sessions\" (it belongs in a block limits)");
    bad(HOST "listen mx {\n adress = \"127.0.0.1:25\" }",
        "t.conf:3: unknown setting \"adress\" in block listen (did you "
        "mean \"address\"?)");
    bad("hostnmae = \"x\"", "t.conf:1: unknown setting \"hostnmae\" (did you mean \"hostname\"?)");
    bad("\n\nlisen mx { }", "t.conf:3: unknown setting \"lisen\" (did you mean \"listen\"?)");
    bad("limits { hostname = x }",
        "t.conf:1: unknown setting \"hostname\" in block limits (it belongs outside all blocks)");
    bad("limits { qqqqqqqqqq = x }", "t.conf:1: unknown setting \"qqqqqqqqqq\" in block limits");
    bad("limits|sessions = 5", "t.conf:1: unknown setting \"sessions\" (it belongs in a block limits)");
    bad("limits { sessions = many }", "t.conf:1: sessions must be a number from 1 to 1000000, not \"many\"");
    bad("limits { sessions = 0 }", "t.conf:1: sessions must be a number from 1 to 1000000, not \"0\"");
    bad("limits { sessions = -1 }", "t.conf:1: sessions must be a number from 1 to 1000000, not \"-1\"");
    bad("limits { sessions = 99999999999999999999999 }",
        "t.conf:1: sessions must be a number from 1 to 1000000, not \"99999999999999999999999\"");
    bad("limits {\n message = \"50 apples\" }",
        "t.conf:2: message must be a size from 64K to 2G, such as \"50M\", not \"50 apples\"");
    bad("limits { message = 17179869184G }",
        "t.conf:1: message must be a size from 64K to 2G, such as \"50M\", not \"17179869184G\"");
    bad("timeouts { command = 2h }", "t.conf:1: command must be a time from 1s to 1h, such as \"90s\", not \"2h\"");
    bad("queue { retry = {} }", "t.conf:1: retry needs at least one time, such as {15m}");
    bad("queue { retry = {1m, soon} }",
        "t.conf:1: retry must be a time from 100ms to 365d, such as \"90s\", not \"soon\"");
    bad("dns { validate = perhaps }", "t.conf:1: validate must be true or false, not \"perhaps\"");
    bad("disclosure { vrfy = \"250\" }", "t.conf:1: vrfy must be \"252\", \"502\" or \"answer\", not \"250\"");
    bad("listen a { address = \"127.0.0.1:25\" mode = 0999 }",
        "t.conf:1: mode must be octal permissions such as \"0666\", not \"0999\"");
    bad("hostname = \"a\"\nhostname = \"b\"", "t.conf:2: hostname is set twice, first on line 1");
    bad("limits { hops = 20 }\nlimits { hops = 20 }", "t.conf:2: hops is set twice, first on line 1");
    bad("hostname = \"\"", "t.conf:1: hostname must not be empty");
    bad("\xEF\xBB\xBFhostname = \"\"", "t.conf:1: hostname must not be empty"); /* a byte order mark is no letter */
    bad(HOST "data = \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
        "t.conf:2: data may have 90 octets, for the names of the sockets in it; choose a shorter path than "
        "\"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
    config_free(good(
        HOST "data = \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""));
    bad("listen a { address = \"[::1]\" }", "t.conf:1: \"[::1]\" has no port; write ADDRESS:PORT");
    bad("hostname = \"-bad-.example\"",
        "t.conf:1: hostname must be a domain name such as \"mx.example.org\", not \"-bad-.example\"");
    bad(HOST "listen mx {\n submission = true\n}",
        "t.conf:2: listen mx needs an address, such as address = \"0.0.0.0:25\"");
    bad(HOST "listen a { address = \"127.0.0.1:25\" }\nlisten b {\n address = \"127.0.0.1:25\" }",
        "t.conf:4: listen b has the same address as listen a on line 2");
    bad(HOST "listen a { address = \"127.0.0.1:25\" }\nlisten a { address = \"127.0.0.1:26\" }",
        "t.conf:3: found duplicate title 'a'");
    bad(HOST "domain \"a.example\" { }\ndomain \"A.Example\" {\n}",
        "t.conf:3: domain \"a.example\" is already there on line 2");
    bad(HOST "domain \"no domain\" { }", "t.conf:2: \"no domain\" is not a domain name");
    bad(HOST "domain \"a.example\" { deliver = \"pipe:/bin/x\" }",
        "t.conf:2: deliver = \"pipe:/bin/x\": the server runs no programs; start tacit pipe SOCKET -- PROGRAM as the "
        "user that it is to run as, and deliver to it with \"lmtp:unix:SOCKET\"");
    bad("domain \"a.example\" { deliver = \"maildir:{user}\" }",
        "t.conf:1: deliver may contain {domain} and {local}, and no other braces: \"maildir:{user}\"");
    bad("domain \"a.example\" { deliver = \"mbox:x\" }",
        "t.conf:1: deliver must be \"maildir:PATH\", \"lmtp:HOST:PORT\", \"lmtp:unix:/PATH\", \"smtp:HOST:PORT\" or "
        "\"discard:\", not \"mbox:x\"");
    bad("domain \"a.example\" { directory = \"sqlite:\" }",
        "t.conf:1: directory must be \"sqlite:PATH\" or \"file:PATH\", not \"sqlite:\"");
    bad("domain \"a.example\" { separator = \"+-\" }", "t.conf:1: separator must be one character, or empty");
    bad("domain \"a.example\" { postmaster = \"a@b\" }",
        "t.conf:1: postmaster must be the name of a mailbox without its domain");
    bad(HOST "language = \"xx\"", "t.conf:2: there are no reports in the language \"xx\"; try \"en\" or \"de\"");
    bad(HOST "language = default", "t.conf:2: there are no reports in the language \"default\"; try \"en\" or \"de\"");
    config_free(good(
        HOST "language = de\ndomain \"a.example\" { language = en }\ndomain \"b.example\" { language = default }"));
    bad("metrics { address = \"0.0.0.0:9125\" }",
        "t.conf:1: address must be a loopback address such as \"127.0.0.1:9125\": counters are not for the network");
    bad("route \"*\" { via = \"smtp://:25\" }", "t.conf:1: via must be \"mx\", \"smtp://HOST:PORT\", "
                                                "\"lmtp://HOST:PORT\", \"lmtp:unix:/PATH\", \"discard:\" or "
                                                "\"hold:\", not \"smtp://:25\"");
    bad("route \"*\" { via = \"smtp://h.example:0\" }", "t.conf:1: via must be \"mx\", \"smtp://HOST:PORT\", "
                                                        "\"lmtp://HOST:PORT\", \"lmtp:unix:/PATH\", \"discard:\" or "
                                                        "\"hold:\", not \"smtp://h.example:0\"");
    bad(HOST "domain \"a.example\" { }\nroute \"a.example\" { }",
        "t.conf:3: a.example is a domain of this server: mail for it is not sent elsewhere");
    bad(HOST "route \"a.example\" { }\nroute \"A.example\" { }",
        "t.conf:3: route \"a.example\" is already there on line 2");
}

static void test_routes(void **state)
{
    static const struct {
        const char *local, *domain, *to, *route;
    } cases[] = {
        {"a", "one.example", "x.example", "x.example"}, /* the domain's own comes first */
        {"a", "one.example", "y.example", "from a@one.example"},
        {"b", "one.example", "y.example", "from one.example"},
        {"A b", "two.example", "y.example", "from \"A b\"@two.example"},
        {"a", "two.example", "y.example", "*"},
        {"", "", "y.example", "*"},
    };
    struct config *c = good(HOST "route \"X.example\" { via = \"hold:\" }\n"
                                 "route \"from a@One.example\" { }\n"
                                 "route \"from One.example\" { via = \"smtp://r.example\" user = u password = p }\n"
                                 "route 'from \"A b\"@two.example' { }\n"
                                 "route \"*\" { via = \"smtp:relay.example:26\" port = 26 }\n");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mail_address sender = {.local = str_from(cases[i].local), .domain = str_from(cases[i].domain)};

        assert_string_equal(config_route_find(c, &sender, str_from(cases[i].to))->title, cases[i].route);
    }
    assert_ptr_equal(config_route_titled(c, STR("x.example")), &c->routes[0]);
    config_free(c);

    c = good(HOST);
    assert_string_equal(config_route_titled(c, STR("y.example"))->via, "mx");
    assert_int_equal(config_route_titled(c, STR("y.example"))->port, 25);
    config_free(c);
    bad(HOST "route \"from\" { user = u }", "t.conf:2: route \"from\" needs both user and password, or neither");
    bad(HOST "route \"*\" { user = u password = p }",
        "t.conf:2: route \"*\" has a password and no server to tell it: set via");
    bad(HOST "route \"from @x\" { }",
        "t.conf:2: \"from @x\" is neither a domain, \"from \" and a domain or an address, nor \"*\"");
}

static void test_grammar(void **state)
{
    (void)state;
    bad("listen mx {\n address = \"127.0.0.1:25\"\n",
        "t.conf:1: the block that begins here is never closed: a '}' is missing");
    bad("\nrelay { networks = {\"10.0.0.0/8\"\n",
        "t.conf:2: the list that begins here is never closed: a '}' is missing");
    bad("}", "t.conf:1: this '}' closes nothing");
    bad("limits { spool {", "t.conf:1: a block cannot begin inside another: a '}' is missing before this '{'");
    bad("hostname = \"x\n\"", "t.conf:1: this string has no closing \" on its line");
    bad("hostname = 'x", "t.conf:1: this string has no closing ' on its line");
    bad("hostname = \"x\\", "t.conf:1: this string has no closing \" on its line");
    bad("hostname = \"${HOME}\"", "t.conf:1: variables of the environment (${…}) are not read; write the value itself");
    bad("hostname = ${HOME}", "t.conf:1: variables of the environment (${…}) are not read; write the value itself");
    bad("route * { }", "t.conf:1: put * in quotes: \"*\"");
    bad("// no comment", "t.conf:1: a comment begins with #; put text with // in quotes");
    bad("log = text /* x */", "t.conf:1: a comment begins with #; put text with /* in quotes");
    bad("log = \"te\001xt\"", "t.conf:1: this string has a control character (code 1)");
    bad("log = \"te\\nxt\"", "t.conf:1: log has a control character");
    bad("relay { networks = {\"10.0.0.0\\x1b\"} }", "t.conf:1: networks has a control character");
    bad("listen \"a\\nb\" { }", "t.conf:1: the title of this block has a control character");
    bad("hostname \"x\"", "t.conf:1: missing equal sign after option 'hostname'");
    bad("log = text\nlisten { }", "t.conf:2: missing title for section 'listen'");
    assert_null(config_parse_text(str_of("log\0=", 5), "t.conf", "/", NULL));
}

static bool has_warning(const struct config *c, const char *message)
{
    for (size_t i = 0; i < c->warnings.count; i++)
        if (strcmp(c->warnings.items[i], message) == 0)
            return true;
    return false;
}

static void test_warnings(void **state)
{
    struct config *c = good(HOST "disclosure {\n vrfy = \"answer\" }\nrelay { networks = {\"0.0.0.0/0\"} }\n"
                                 "limits { sessions = 10 }\nqueue { expire = 1h delay_notice = 2h }\n"
                                 "domain \"a.example\" { deliver = \"maildir:all\" }\n"
                                 "domain \"b.example\" { deliver = \"maildir:m/{local}\" }\n"
                                 "contacts { keep = 1d suppress = 2d }\n"
                                 "users {\n keeper = \"root\"\n resolver = \"mail\" carrier = \"mail\" }\n");

    (void)state;
    assert_true(
        has_warning(c, "t.conf:11: keeper = \"root\" gives away all that belongs to root: name a user of its own"));
    assert_true(has_warning(
        c, "t.conf:12: resolver and carrier are the same user: who takes over the one gets what belongs to the other"));
    assert_true(has_warning(c, "t.conf:9: suppress is longer than keep: what is forgotten cannot be refused"));
    assert_true(has_warning(c, "t.conf:3: vrfy = \"answer\" tells anybody on the internet which addresses exist"));
    assert_true(
        has_warning(c, "t.conf:4: networks holds every address there is: this server will relay mail for anybody"));
    assert_true(has_warning(c, "t.conf:6: delay_notice is not before expire: no notice of a delay will be sent"));
    assert_true(has_warning(c, "t.conf:7: all mail for a.example goes to one mailbox: deliver has no {local}"));
    assert_true(has_warning(
        c, "t.conf:8: equal names of b.example and other domains may share a mailbox: deliver has no {domain}"));
    assert_true(has_warning(c, "t.conf: there is no listen block: mail comes only from this machine's tacit sendmail"));
    config_free(c);

    c = good(HOST "route a.example { via = \"smtp://relay.example\" user = u password = p }\n"
                  "route b.example { via = \"smtp://127.0.0.1:2525\" user = u password = p }\n"
                  "route c.example { via = \"lmtp://[::1]\" user = u password = p }\n"
                  "route d.example { via = \"lmtp:unix:/run/x\" user = u password = p }\n"
                  "route e.example { via = \"smtp://127.example\" user = u password = p }\n");
    assert_true(has_warning(c,
                            "t.conf:2: mail of route \"a.example\" will wait: without TLS, which is not built yet, a "
                            "password is sent to this machine only"));
    assert_true(has_warning(c,
                            "t.conf:6: mail of route \"e.example\" will wait: without TLS, which is not built yet, a "
                            "password is sent to this machine only"));
    assert_int_equal(c->warnings.count, 4); /* no listen, no domain */
    config_free(c);
}

static void test_many_blocks(void **state)
{
    struct buf     text;
    struct config *c;
    char           name[32];

    (void)state;
    buf_init(&text, CONFIG_TEXT_MAX);
    buf_append_z(&text, HOST);
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "domain d%d.example { quota = %d }\n", i, i);
    c = good(text.data);
    assert_int_equal(c->domain_count, 3000);
    for (size_t i = 0; i < c->domain_count; i++) {
        snprintf(name, sizeof name, "d%zu.example", i);
        assert_string_equal(c->domains[i].title, name);
        assert_int_equal(c->domains[i].quota, i);
        assert_int_equal(c->domains[i].line, i + 2);
        assert_true(config_domain_find(c, str_from(name)) == &c->domains[i]);
    }
    config_free(c);
    buf_done(&text);
}

static void who_needs_unix_sockets_is_known(void **state)
{
    static const struct {
        const char *text;
        bool        uses;
    } cases[] = {
        {"", false},
        {"route \"*\" { via = \"smtp://unix.test\" }\n", false},
        {"route \"*\" { }\nroute \"a.test\" { via = \"lmtp:unix:/run/lmtp\" }\n", true},
        {"domain \"b.test\" { deliver = \"lmtp:unix:/run/lmtp\" }\n", true},
        {"domain \"b.test\" { deliver = \"lmtp:a.test:24\" }\n", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = good(cases[i].text);

        assert_int_equal(config_uses_sockets(c), cases[i].uses);
        config_free(c);
    }
}

static void test_pack(void **state)
{
    struct err     err;
    struct config *c = good("data = d\n"), *again;
    struct buf     packed;

    (void)state;
    buf_init(&packed, CONFIG_TEXT_MAX);
    assert_true(config_pack(c, true, &packed));
    again = config_unpack(buf_str(&packed), &err);
    assert_non_null(again);
    assert_string_equal(again->hostname, c->hostname); /* found once, not found again */
    assert_string_equal(again->data, "/base/d");
    assert_string_equal(again->file, "t.conf");
    config_free(again);
    for (size_t cut = 0; cut < packed.len; cut++)
        assert_null(config_unpack(str_of(packed.data, cut), &err));
    buf_done(&packed);
    config_free(c);
}

/* Of the passwords only the carrier gets any; all else is the same, on the same lines. */
static void test_hide(void **state)
{
    const char *text =
        HOST "# password = secret0\n"
             "route \"a.example\" { via = \"smtp:h.example\" user = password password = \"secret1\" }\n"
             "route b.example { via = 'smtp:h.example' user = u # secret2\n"
             "password\n=\n'secret\\'3' port = 26 }\n"
             "route c.example { via = 'smtp:h.example' password=secret4/5 user = \"password = secret\" }\n"
             "route d.example { via = 'hold:' }\n";
    struct err     err;
    struct config *c = good(text), *again;
    struct buf     packed;

    (void)state;
    assert_string_equal(c->routes[1].password, "secret'3");
    assert_string_equal(c->routes[2].password, "secret4/5");
    buf_init(&packed, CONFIG_TEXT_MAX);
    assert_true(config_pack(c, false, &packed));
    for (char n = '0'; n < '5'; n++)
        assert_int_equal(str_find(buf_str(&packed), str_of((char[]){'s', 'e', 'c', 'r', 'e', 't', n}, 7)),
                         STR_NOT_FOUND);
    again = config_unpack(buf_str(&packed), &err);
    assert_non_null(again);
    for (size_t i = 0; i < 4; i++) {
        const struct config_route *had = &c->routes[i], *has = &again->routes[i];

        assert_true(strcmp(had->title, has->title) == 0 && strcmp(had->via, has->via) == 0 &&
                    strcmp(had->user, has->user) == 0 && had->port == has->port && had->line == has->line);
        assert_string_equal(has->password, i < 3 ? "x" : "");
    }
    config_free(again);
    buf_done(&packed);
    config_free(c);
}

static void test_load(void **state)
{
    char           dir[] = "/tmp/test_config.XXXXXX", path[64], expected[64];
    struct err     err;
    struct config *c;
    FILE          *file;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tacit.conf", dir);
    assert_null(config_load(path, &err));
    assert_non_null(strstr(err.text, path));
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(whole, file);
    fclose(file);
    c = config_load(path, &err);
    assert_non_null(c);
    snprintf(expected, sizeof expected, "%s/data", dir);
    assert_string_equal(c->data, expected);
    assert_string_equal(c->base_dir, dir);
    config_free(c);
    unlink(path);
    rmdir(dir);
}

static void test_units(void **state)
{
    uint64_t v;

    (void)state;
    assert_true(config_size_parse(STR("1024"), &v) && v == 1024);
    assert_true(config_size_parse(STR("2k"), &v) && v == 2048);
    assert_true(config_size_parse(STR("3MB"), &v) && v == 3 << 20);
    assert_true(config_time_parse(STR("500ms"), &v) && v == 500);
    assert_true(config_time_parse(STR("5"), &v) && v == 5000);
    assert_true(config_time_parse(STR("5D"), &v) && v == 5ull * 86400000);
    static const char *const wrong[] = {
        "", "k", "-1", "1kk", "1 k", "1.5M", "0x10", "18446744073709551616", "99999999999T"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(config_size_parse(str_from(wrong[i]), &v));
    assert_false(config_time_parse(STR("1k"), &v));
    assert_false(config_time_parse(STR("99999999999999999d"), &v));
}

static const char *near(const char *wanted)
{
    struct nearest n = nearest_to(str_from(wanted));

    nearest_offer(&n, "address");
    nearest_offer(&n, "addresses");
    nearest_offer(&n, "queue");
    return n.best;
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(near("adress"), "address");
    assert_string_equal(near("ADDRESS"), "address");
    assert_string_equal(near("qeuue"), "queue");
    assert_null(near("zebra"));
    assert_null(near(""));
    assert_null(near("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

/* A choice's value is the word's place: the enums that name the words must agree with the table. */
static void test_choices(void **state)
{
    static const struct {
        const char *block, *name, *word;
        unsigned    value;
    } known[] = {
        {NULL, "log", "text", LOG_TEXT},
        {NULL, "log", "json", LOG_JSON},
        {NULL, "log_level", "debug", LOG_LEVEL_DEBUG},
        {NULL, "log_level", "error", LOG_LEVEL_ERROR},
        {"listen", "protocol", "smtp", CONFIG_SMTP},
        {"listen", "protocol", "lmtp", CONFIG_LMTP},
        {"disclosure", "vrfy", "252", CONFIG_VRFY_252},
        {"disclosure", "vrfy", "252", VRFY_252},
        {"disclosure", "vrfy", "502", CONFIG_VRFY_502},
        {"disclosure", "vrfy", "502", VRFY_502},
        {"disclosure", "vrfy", "answer", CONFIG_VRFY_ANSWER},
        {"disclosure", "vrfy", "answer", VRFY_ANSWER},
        {"disclosure", "strangers", "accept", CONFIG_STRANGERS_ACCEPT},
        {"disclosure", "strangers", "accept", STRANGERS_ACCEPT},
        {"disclosure", "strangers", "refuse", CONFIG_STRANGERS_REFUSE},
        {"disclosure", "strangers", "refuse", STRANGERS_REFUSE},
        {"disclosure", "rcpt_reply", "250", CONFIG_RCPT_250},
        {"disclosure", "rcpt_reply", "252", CONFIG_RCPT_252},
    };

    (void)state;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        bool found = false;

        for (size_t b = 0; b < config_block_count; b++)
            for (size_t i = 0; i < config_blocks[b].setting_count; i++) {
                const struct config_setting *s = &config_blocks[b].settings[i];
                struct str                   rest;

                if ((s->block ? !known[k].block || strcmp(s->block, known[k].block) != 0 : known[k].block != NULL) ||
                    strcmp(s->name, known[k].name) != 0)
                    continue;
                assert_int_equal(s->type, CONFIG_CHOICE);
                rest = str_from(s->words);
                for (unsigned place = 0; rest.data; place++)
                    if (str_eq(str_cut(&rest, '|'), str_from(known[k].word))) {
                        assert_int_equal(place, known[k].value);
                        found = true;
                    }
            }
        assert_true(found);
    }
}

/* The example that is installed says every setting with its default and nothing else. */
static void test_example(void **state)
{
    const char    *path = getenv("TACIT_EXAMPLE");
    struct err     err;
    struct config *c;
    char          *text;

    (void)state;
    assert_non_null(path);
    c = config_load(path, &err);
    if (!c)
        fail_msg("%s", err.text);
    text = strndup(c->text.data, c->text.len);
    for (size_t b = 0; b < config_block_count; b++) {
        const char *from = text, *to = text + strlen(text);
        char        opening[64], line[256];

        if (config_blocks[b].name) {
            snprintf(opening, sizeof opening, "\n%s ", config_blocks[b].name);
            from = strstr(text, opening);
            if (!from)
                fail_msg("%s has no block %s", path, config_blocks[b].name);
            to = strstr(from, "\n}");
            assert_non_null(to);
        }
        for (size_t i = 0; i < config_blocks[b].setting_count; i++) {
            const struct config_setting *s = &config_blocks[b].settings[i];
            bool is_bare = s->type == CONFIG_LIST || s->type == CONFIG_NETWORKS || s->type == CONFIG_TIMES ||
                           s->type == CONFIG_BOOL || s->type == CONFIG_NUMBER;
            const char *at = from;
            bool        found = false;

            snprintf(line, sizeof line, is_bare ? "%s = %s" : "%s = \"%s\"", s->name, s->fallback);
            while (!found && (at = strstr(at, line)) && at < to) {
                char before = at > text ? at[-1] : '\n';

                found = before == ' ' || before == '\n' || before == '#';
                at++;
            }
            if (!found)
                fail_msg("%s: block %s does not say: %s", path, s->block ? s->block : "(global)", line);
        }
    }
    free(text);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(who_needs_unix_sockets_is_known),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_hide),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_example),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
