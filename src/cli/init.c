/* init.c: tacit init: from nothing to a server that could be started, and the DNS records that lead mail to it.
 *
 * The configuration is created first and never overwrites another; if what follows fails it is taken away again, so
 * that init can simply be repeated. Everything else (spool, lanes, owners) the server makes when it starts. */
#include "cli/cli.h"

#include "config/config.h"
#include "directory/directory.h"
#include "io/file.h"
#include "keeper/token.h"
#include "mail/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 16384, ADDRESSES_MAX = 8 };

struct init {
    struct cli  *cli;
    struct arena arena;
    const char  *path, *data, *listen, *hostname;
    struct str   domain;
};

/* ---- the configuration ---- */

static void write_text(const struct init *init, struct buf *out)
{
    buf_printf(out,
               "# Made by tacit init for %.*s. All settings with their defaults: tacit.conf(5); to try a change: tacit "
               "check.\n"
               "hostname = \"%s\"\n"
               "data     = \"%s\"\n\n"
               "listen mx { address = \"%s\" }\n\n"
               "domain \"%.*s\" {\n"
               "    directory = \"sqlite:directory.db\"             # who exists; relative to data\n"
               "    deliver   = \"maildir:mail/{domain}/{local}\"   # relative to data\n"
               "}\n\n"
               "# Clients without any proof of who they are learn nothing about which mailboxes exist.\n"
               "disclosure { vrfy = \"252\"  strangers = \"accept\" }\n\n"
               "# Clients that may send mail to other domains:\n"
               "# relay { networks = {\"192.0.2.0/24\"} }\n",
               STR_ARG(init->domain), init->hostname, init->data, init->listen, STR_ARG(init->domain));
}

static bool create_file(const char *path, struct str text, struct err *err)
{
    char *copy = strdup(path);
    bool  good = copy && io_mkdirs(dirname(copy), 0755, err);
    int   fd = -1;

    free(copy);
    if (!good)
        return false;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST)
        return err_set(err, ERR_PERMANENT, "%s is already there and was not changed; name another file with --config",
                       path);
    if (fd < 0)
        return err_set_os(err, errno, "%s", path);
    good = io_fd_write_all(fd, text, err) || err_prefix(err, "%s", path);
    if (good && fsync(fd) != 0)
        good = err_set_os(err, errno, "%s", path);
    if (close(fd) != 0 && good)
        good = err_set_os(err, errno, "%s", path);
    if (!good)
        unlink(path);
    return good;
}

static bool make_directory(const struct config *config, struct err *err)
{
    const struct config_domain *d = &config->domains[0];
    struct directory_entry entry = {.kind = ENTRY_MAILBOX, .local = STR("postmaster"), .domain = str_from(d->title)};
    struct directory      *directory;
    bool                   good;

    if (!io_mkdirs(config->data, 0755, err))
        return false;
    directory = directory_open(d->directory, config->data, DIRECTORY_CREATE, err);
    if (!directory)
        return false;
    good = directory_add(directory, &entry, err);
    if (!good) { /* from an earlier configuration with the same data: as good as new */
        struct arena           arena;
        struct directory_entry found;
        struct mail_address    address = {.local = entry.local, .domain = entry.domain};

        arena_init(&arena, 4096, 1 << 20);
        good = directory_find(directory, &address, 0, &arena, &found, NULL) == DIRECTORY_FOUND;
        arena_done(&arena);
    }
    directory_close(directory);
    return good;
}

/* The key of the server's proofs; one that is there stays. */
static bool make_key(struct init *init, const struct config *config, struct err *err)
{
    struct str       dir = config_path(config->data, STR("keys"), &init->arena);
    struct str       path = config_path(config->data, STR("keys/secret"), &init->arena);
    struct token_key key;
    bool             good;

    if (!dir.data || !path.data)
        return err_set(err, ERR_LIMIT, "out of memory");
    good = io_mkdirs(dir.data, 0700, err) && token_key_open(path.data, &key, err);
    explicit_bzero(&key, sizeof key);
    return good;
}

/* ---- what to do now ---- */

static bool is_public4(uint32_t a)
{
    return !(a >> 24 == 0 || a >> 24 == 10 || a >> 24 == 127 || a >> 16 == 0xa9fe || a >> 20 == 0xac1 ||
             a >> 16 == 0xc0a8 || a >> 22 == 0x191 /* 100.64/10 */ || a >> 28 >= 0xe);
}

/* Prints this machine's public addresses as records; false: there is none of that family. */
static bool print_addresses(const struct init *init, int family)
{
    struct ifaddrs *all, *i;
    unsigned        count = 0;
    char            text[INET6_ADDRSTRLEN];

    if (getifaddrs(&all) != 0)
        return false;
    for (i = all; i && count < ADDRESSES_MAX; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != family || !(i->ifa_flags & IFF_UP))
            continue;
        if (family == AF_INET) {
            const struct in_addr *in = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;

            if (!is_public4(ntohl(in->s_addr)) || !inet_ntop(family, in, text, sizeof text))
                continue;
        } else {
            const struct in6_addr *in6 = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;

            if ((in6->s6_addr[0] & 0xe0) != 0x20 || !inet_ntop(family, in6, text, sizeof text)) /* 2000::/3 */
                continue;
        }
        printf("  %s.  %s  %s\n", init->hostname, family == AF_INET ? "A   " : "AAAA", text);
        count++;
    }
    freeifaddrs(all);
    return count > 0;
}

static void print_records(const struct init *init)
{
    const char *bold = cli_colour(stdout, CLI_BOLD), *plain = cli_colour(stdout, CLI_PLAIN);

    printf("\n%sPublish in DNS%s\n", bold, plain);
    printf("  %.*s.  MX    10 %s.\n", STR_ARG(init->domain), init->hostname);
    if (!print_addresses(init, AF_INET))
        printf("  %s.  A     (the public IPv4 address of this machine)\n", init->hostname);
    if (!print_addresses(init, AF_INET6))
        printf("  %s.  AAAA  (its public IPv6 address, if it has one)\n", init->hostname);
    printf("  %.*s.  TXT   \"v=spf1 mx ~all\"\n", STR_ARG(init->domain));
    printf("  _dmarc.%.*s.  TXT   \"v=DMARC1; p=none; rua=mailto:postmaster@%.*s\"\n", STR_ARG(init->domain),
           STR_ARG(init->domain));
    printf("The name that belongs to the address (PTR) should be %s; who gave you the address can set it.\n",
           init->hostname);
}

/* " --config FILE" as a shell takes it; empty where that is the default. */
static void put_config_option(const struct init *init, struct buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-";

    if (strcmp(init->path, "/etc/tacit/tacit.conf") == 0)
        return;
    buf_append_z(out, " --config ");
    if (!init->path[strspn(init->path, plain)]) {
        buf_append_z(out, init->path);
        return;
    }
    buf_append_byte(out, '\'');
    for (const char *c = init->path; *c; c++)
        if (*c == '\'')
            buf_append_z(out, "'\\''");
        else
            buf_append_byte(out, *c);
    buf_append_byte(out, '\'');
}

static void print_next(const struct init *init)
{
    struct buf option;

    buf_init(&option, 5 * PATH_MAX);
    put_config_option(init, &option);
    printf("\n%sNext%s\n  tacit user add you@%.*s", cli_colour(stdout, CLI_BOLD), cli_colour(stdout, CLI_PLAIN),
           STR_ARG(init->domain));
    cli_print_safe(stdout, buf_str(&option));
    printf("\n  tacit serve");
    cli_print_safe(stdout, buf_str(&option));
    putchar('\n');
    buf_done(&option);
}

/* ---- the command ---- */

/* The machine's own name where it is a full one, else mx.DOMAIN. */
static const char *default_hostname(struct init *init)
{
    char       name[256];
    struct str canonical;

    if (gethostname(name, sizeof name) == 0 && memchr(name, 0, sizeof name) && strchr(name, '.') &&
        mail_domain_parse(str_from(name), false, &init->arena, &canonical))
        return arena_str(&init->arena, canonical).data;
    return arena_printf(&init->arena, "mx.%.*s", STR_ARG(init->domain)).data;
}

/* What goes into a quoted string of the file. */
static bool is_plain(const char *text) { return !strpbrk(text, "\"\\$\n\r\t{}") && str_is_utf8(str_from(text)); }

static int make(struct init *init)
{
    struct cli    *cli = init->cli;
    struct err     err;
    struct buf     text;
    struct config *config = NULL;
    bool           good;

    buf_init(&text, CONFIG_FILE_MAX);
    write_text(init, &text);
    good = buf_ok(&text) ? create_file(init->path, buf_str(&text), &err)
                         : err_set(&err, ERR_LIMIT, "the names are too long");
    buf_done(&text);
    if (!good)
        return cli_fail_err(cli, &err);
    config = config_load(init->path, &err);
    if (!config || !make_directory(config, &err) || !make_key(init, config, &err)) {
        unlink(init->path);
        config_free(config);
        return cli_fail_err(cli, &err);
    }
    printf("Wrote %s; the directory of mailboxes is in %s and has postmaster@%.*s.\n", init->path, config->data,
           STR_ARG(init->domain));
    config_free(config);
    print_records(init);
    print_next(init);
    return CLI_OK;
}

static int run_init(struct cli *cli)
{
    struct init init = {.cli = cli, .path = cli_config_path(cli)};
    int         status;
    struct str  canonical;

    arena_init(&init.arena, 4096, 1 << 20);
    init.data = cli_value(cli, "data");
    if (init.data && init.data[0] != '/') { /* a path from here, but the file counts from its own place */
        char *here = getcwd(NULL, 0);

        init.data = here ? config_path(here, str_from(init.data), &init.arena).data : NULL;
        free(here);
    } else if (!init.data) {
        init.data = strcmp(init.path, "/etc/tacit/tacit.conf") == 0 ? "/var/lib/tacit" : "data";
    }
    init.listen = cli_value(cli, "listen");
    if (!init.listen)
        init.listen = geteuid() == 0 ? "*:25" : "*:2525";
    if (!mail_domain_parse(str_from(cli->argv[0]), false, &init.arena, &init.domain))
        status = cli_usage(cli, "\"%s\" is not a domain name such as example.org", cli->argv[0]);
    else if (cli_has(cli, "hostname") &&
             !mail_domain_parse(str_from(cli_value(cli, "hostname")), false, &init.arena, &canonical))
        status = cli_usage(cli, "\"%s\" is not a host's name such as mx.example.org", cli_value(cli, "hostname"));
    else {
        init.hostname = cli_has(cli, "hostname") ? arena_str(&init.arena, canonical).data : default_hostname(&init);
        if (!init.data || !init.hostname)
            status = cli_fail(cli, "out of memory");
        else if (!is_plain(init.data) || !is_plain(init.listen))
            status = cli_usage(cli, "quotes, braces, $ and \\ cannot stand in a path or an address here");
        else
            status = make(&init);
    }
    arena_done(&init.arena);
    return status;
}

static const struct cli_option options[] = {
    {.name = "config",
     .letter = 'c',
     .value = "FILE",
     .help = "configuration to write (default: $TACIT_CONFIG, else /etc/tacit/tacit.conf)"},
    {.name = "data",
     .value = "DIR",
     .help = "where spool, mailboxes and directory go (default: /var/lib/tacit, or data beside FILE)"},
    {.name = "hostname", .value = "NAME", .help = "the server's full name (default: this machine's, else mx.DOMAIN)"},
    {.name = "listen", .value = "ADDRESS", .help = "address and port for mail (default: *:25, or *:2525 unless root)"},
    {0},
};

const struct cli_command init_command = {
    .name = "init",
    .arguments = "DOMAIN",
    .min = 1,
    .max = 1,
    .summary = "writes a working configuration for a domain and prints its DNS records",
    .description = "Makes the configuration file, the data directory with the server's secret key, and a directory of "
                   "mailboxes with the mailbox postmaster. A file that is already there is never changed.",
    .examples = "tacit init example.org\n"
                "tacit init example.org --hostname mx.example.org\n"
                "tacit init example.test --config ./tacit.conf --listen 127.0.0.1:2525",
    .options = options,
    .run = run_init,
};
