/* check.c: what values must be together, and what is worth a warning. */
#include "config/lines.h"

#include "config/internal.h"
#include "mail/address.h"
#include "queue/via.h"
#include "smtp/client.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    WARNINGS_MAX = 64,
    HOST_NAME_SIZE = 256,
    DATA_PATH_MAX = sizeof((struct sockaddr_un *)0)->sun_path - sizeof "/run/control.sock",
};

struct checking {
    struct config             *config;
    const struct config_lines *lines;
    struct err                *err;
};

unsigned config_line_of(const struct config_lines *lines, const char *block, size_t index, const char *setting)
{
    for (size_t i = 0; i < config_block_count; i++) {
        const struct config_block *b = &config_blocks[i];

        if (block ? !b->name || strcmp(b->name, block) != 0 : b->name != NULL)
            continue;
        for (size_t k = 0; k < b->setting_count; k++)
            if (strcmp(b->settings[k].name, setting) == 0)
                return config_lines_get(lines, &b->settings[k], index);
    }
    return 0;
}

static bool fail_at(struct checking *c, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail_at(struct checking *c, unsigned line, const char *format, ...)
{
    char    text[sizeof c->err->text];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return line ? err_set(c->err, ERR_CONFIG, "%s:%u: %s", c->config->file, line, text)
                : err_set(c->err, ERR_CONFIG, "%s: %s", c->config->file, text);
}

void config_warn(struct config *config, unsigned line, const char *format, ...)
{
    struct config_list *w = &config->warnings;
    char                text[400];
    struct str          whole;
    va_list             args;

    if (w->count == WARNINGS_MAX)
        return;
    if (!w->items)
        w->items = arena_alloc(&config->arena, WARNINGS_MAX * sizeof *w->items);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    whole = line ? arena_printf(&config->arena, "%s:%u: %s", config->file, line, text)
                 : arena_printf(&config->arena, "%s: %s", config->file, text);
    if (w->items && whole.data)
        w->items[w->count++] = whole.data;
}

/* The machine's own full name, as the resolver of the system knows it (usually /etc/hosts). */
static void machine_name(char ret_name[HOST_NAME_SIZE])
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *found = NULL;

    if (gethostname(ret_name, HOST_NAME_SIZE) != 0)
        ret_name[0] = 0;
    ret_name[HOST_NAME_SIZE - 1] = 0;
    if (!ret_name[0] || strchr(ret_name, '.'))
        return;
    if (getaddrinfo(ret_name, NULL, &hints, &found) == 0 && found->ai_canonname && strchr(found->ai_canonname, '.'))
        snprintf(ret_name, HOST_NAME_SIZE, "%s", found->ai_canonname);
    if (found)
        freeaddrinfo(found);
}

static bool check_hostname(struct checking *c, const char *known)
{
    struct config *config = c->config;
    unsigned       line = config_line_of(c->lines, NULL, 0, "hostname");
    char           name[HOST_NAME_SIZE];
    struct str     canonical;

    if (line)
        snprintf(name, sizeof name, "%s", config->hostname);
    else if (known)
        snprintf(name, sizeof name, "%s", known);
    else
        machine_name(name);
    if (!mail_domain_parse(str_from(name), false, &config->arena, &canonical)) {
        char shown[CONFIG_SHOWN_MAX];

        config_shown(str_from(name), shown);
        return line ? fail_at(c, line, "hostname must be a domain name such as \"mx.example.org\", not \"%s\"", shown)
                    : fail_at(c, 0, "this machine's name (\"%s\") cannot be used: set hostname = \"mx.example.org\"",
                              shown);
    }
    canonical = arena_str(&config->arena, canonical);
    if (!canonical.data)
        return fail_at(c, line, "out of memory");
    config->hostname = canonical.data;
    if (str_find_byte(canonical, '.') == STR_NOT_FOUND)
        config_warn(c->config, line, "hostname \"%s\" is not a full name: other servers may refuse mail from it",
                    config->hostname);
    return true;
}

static bool check_paths(struct checking *c)
{
    struct config *config = c->config;
    struct str     data = str_from(config->data);

    while (data.len > 1 && data.data[data.len - 1] == '/')
        data.len--;
    data = config_path(config->base_dir, data, &config->arena);
    if (!data.data)
        return fail_at(c, 0, "out of memory");
    if (data.len > DATA_PATH_MAX)
        return fail_at(c, config_line_of(c->lines, NULL, 0, "data"),
                       "data may have %d octets, for the names of the sockets in it; choose a shorter path than \"%s\"",
                       DATA_PATH_MAX, data.data);
    config->data = data.data;
    return true;
}

static bool check_listens(struct checking *c)
{
    struct config *config = c->config;
    struct map     seen;
    bool           good = true;

    map_init(&seen, 0);
    for (size_t i = 0; good && i < config->listen_count; i++) {
        struct config_listen *l = &config->listens[i], *other;
        unsigned              line = config_line_of(c->lines, "listen", i, "address");
        struct str            address = str_from(l->address);

        if (!line) {
            good = fail_at(c, l->line, "listen %s needs an address, such as address = \"0.0.0.0:25\"", l->title);
            break;
        }
        if (str_starts(address, STR("unix:"))) {
            struct str path = config_path(config->data, str_skip(address, 5), &config->arena);

            address = path.data ? arena_printf(&config->arena, "unix:%s", path.data) : STR_NONE;
            if (!address.data) {
                good = fail_at(c, line, "out of memory");
                break;
            }
            l->address = address.data;
        }
        other = map_get(&seen, address);
        if (other && !str_ends(address, STR(":0")))
            good = fail_at(c, line, "listen %s has the same address as listen %s on line %u", l->title, other->title,
                           other->line);
        else if (!map_put(&seen, address, l))
            good = fail_at(c, line, "out of memory");
    }
    map_done(&seen);
    if (good && !config->listen_count)
        config_warn(c->config, 0, "there is no listen block: mail comes only from this machine's tacit sendmail");
    return good;
}

static bool check_domains(struct checking *c)
{
    struct config *config = c->config;

    for (size_t i = 0; i < config->domain_count; i++) {
        struct config_domain *d = &config->domains[i], *other;
        struct str            canonical;
        char                  shown[CONFIG_SHOWN_MAX];

        if (!mail_domain_parse(str_from(d->title), false, &config->arena, &canonical))
            return fail_at(c, d->line, "\"%s\" is not a domain name", config_shown(str_from(d->title), shown));
        canonical = arena_str(&config->arena, canonical);
        if (!canonical.data)
            return fail_at(c, d->line, "out of memory");
        other = map_get(&config->domain_map, canonical);
        if (other)
            return fail_at(c, d->line, "domain \"%s\" is already there on line %u", canonical.data, other->line);
        d->title = canonical.data;
        if (!map_put(&config->domain_map, canonical, d))
            return fail_at(c, d->line, "out of memory");
        if (!str_starts(str_from(d->deliver), STR("maildir:")))
            continue;
        if (!strstr(d->deliver, "{local}"))
            config_warn(c->config, config_line_of(c->lines, "domain", i, "deliver"),
                        "all mail for %s goes to one mailbox: deliver has no {local}", d->title);
        else if (config->domain_count > 1 && !strstr(d->deliver, "{domain}"))
            config_warn(c->config, config_line_of(c->lines, "domain", i, "deliver"),
                        "equal names of %s and other domains may share a mailbox: deliver has no {domain}", d->title);
    }
    if (!config->domain_count && !config->relay.networks.count)
        config_warn(c->config, 0,
                    "there is no domain block and no relay network: all mail from outside will be refused");
    return true;
}

/* Its form is config_route_find's. data is NULL: neither of them. */
static struct str route_title(struct str title, struct arena *arena)
{
    struct mail_address       address;
    struct mail_address_error error;
    struct str                canonical;
    bool                      from = str_starts_nocase(title, STR("from "));

    if (from)
        title = str_trim(str_skip(title, 5));
    if (from && str_find_byte(title, '@') != STR_NOT_FOUND)
        canonical =
            mail_address_parse(title, true, arena, &address, &error) ? mail_address_text(&address, arena) : STR_NONE;
    else if (!mail_domain_parse(title, false, arena, &canonical))
        canonical = STR_NONE;
    return canonical.data ? arena_printf(arena, "%s%.*s", from ? "from " : "", STR_ARG(canonical)) : STR_NONE;
}

/* A password is for the one server that is named, never for whom the DNS names. */
static bool check_credentials(struct checking *c, struct config_route *r)
{
    if (*r->password && *r->password_file)
        return fail_at(c, r->line, "route \"%s\" has password and password_file: keep one", r->title);
    if (!!*r->user != (*r->password || *r->password_file))
        return fail_at(c, r->line, "route \"%s\" needs both user and password, or neither", r->title);
    if (strlen(r->user) > SMTP_CLIENT_CREDENTIAL_MAX || strlen(r->password) > SMTP_CLIENT_CREDENTIAL_MAX)
        return fail_at(c, r->line, "route \"%s\": user and password may have %d octets each", r->title,
                       SMTP_CLIENT_CREDENTIAL_MAX);
    if (*r->user && strcmp(r->via, "mx") == 0)
        return fail_at(c, r->line, "route \"%s\" has a password and no server to tell it: set via", r->title);
    if (*r->password_file)
        r->password_file = config_path(c->config->base_dir, str_from(r->password_file), &c->config->arena).data;
    return r->password_file || fail_at(c, r->line, "out of memory");
}

static bool is_this_machine(const char *via)
{
    struct arena arena;
    struct via   v;
    bool         here;

    arena_init(&arena, 1024, 4096);
    here = via_parse(str_from(via), &arena, &v) &&
           (v.kind != VIA_HOST || str_eq(v.host, STR("localhost")) || str_eq(v.host, STR("::1")) ||
            (v.literal && str_starts(v.host, STR("127."))));
    arena_done(&arena);
    return here;
}

static bool check_routes(struct checking *c)
{
    struct config *config = c->config;

    for (size_t i = 0; i < config->route_count; i++) {
        struct config_route       *r = &config->routes[i];
        const struct config_route *other;
        struct str                 title = str_from(r->title);
        char                       shown[CONFIG_SHOWN_MAX];

        if (!str_eq(title, STR("*"))) {
            title = route_title(title, &config->arena);
            if (!title.data)
                return fail_at(c, r->line,
                               "\"%s\" is neither a domain, \"from \" and a domain or an address, nor \"*\"",
                               config_shown(str_from(r->title), shown));
            r->title = title.data;
        }
        if (config_domain_find(config, title))
            return fail_at(c, r->line, "%s is a domain of this server: mail for it is not sent elsewhere", r->title);
        other = map_get(&config->route_map, title);
        if (other)
            return fail_at(c, r->line, "route \"%s\" is already there on line %u", r->title, other->line);
        if (!map_put(&config->route_map, title, r))
            return fail_at(c, r->line, "out of memory");
        if (!check_credentials(c, r))
            return false;
        if (*r->user && !is_this_machine(r->via))
            config_warn(c->config, r->line,
                        "mail of route \"%s\" will wait: without TLS, which is not built yet, a password is sent to "
                        "this machine only",
                        r->title);
    }
    return true;
}

/* Two roles of one user can open each other's files. */
static void warn_about_users(struct checking *c)
{
    const struct config *config = c->config;
    const struct {
        const char *role, *name;
    } users[] = {{"front", config->users.front},
                 {"keeper", config->users.keeper},
                 {"back", config->users.back},
                 {"resolver", config->users.resolver},
                 {"carrier", config->users.carrier}};

    for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
        unsigned line = config_line_of(c->lines, "users", 0, users[i].role);

        if (strcmp(users[i].name, "root") == 0)
            config_warn(c->config, line, "%s = \"root\" gives away all that belongs to root: name a user of its own",
                        users[i].role);
        for (size_t k = 0; k < i; k++)
            if (strcmp(users[k].name, users[i].name) == 0)
                config_warn(c->config, line,
                            "%s and %s are the same user: who takes over the one gets what belongs to the other",
                            users[k].role, users[i].role);
    }
}

static void warn_about_values(struct checking *c)
{
    const struct config *config = c->config;

    if (config->disclosure.vrfy == CONFIG_VRFY_ANSWER)
        config_warn(c->config, config_line_of(c->lines, "disclosure", 0, "vrfy"),
                    "vrfy = \"answer\" tells anybody on the internet which addresses exist");
    for (size_t i = 0; i < config->relay.networks.count; i++)
        if (config->relay.networks.items[i].bits == 0)
            config_warn(c->config, config_line_of(c->lines, "relay", 0, "networks"),
                        "networks holds every address there is: this server will relay mail for anybody");
    if (config->limits.sessions_per_client > config->limits.sessions)
        config_warn(c->config, config_line_of(c->lines, "limits", 0, "sessions_per_client"),
                    "sessions_per_client is above sessions: one client can take them all");
    if (config->queue.delay_notice && config->queue.delay_notice >= config->queue.expire)
        config_warn(c->config, config_line_of(c->lines, "queue", 0, "delay_notice"),
                    "delay_notice is not before expire: no notice of a delay will be sent");
    if (config->contacts.suppress > config->contacts.keep)
        config_warn(c->config, config_line_of(c->lines, "contacts", 0, "suppress"),
                    "suppress is longer than keep: what is forgotten cannot be refused");
}

bool config_check(struct config *config, const struct config_lines *lines, const char *hostname, struct err *err)
{
    struct checking c = {config, lines, err};

    if (!check_hostname(&c, hostname) || !check_paths(&c) || !check_listens(&c) || !check_domains(&c) ||
        !check_routes(&c))
        return false;
    warn_about_users(&c);
    warn_about_values(&c);
    return true;
}
