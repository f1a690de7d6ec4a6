/* string.c: what a string must look like, by the setting that it is for. */
#include "config/internal.h"

#include "mail/address.h"
#include "mail/locale.h"
#include "queue/via.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static bool check_listen_address(const char *value, struct err *err)
{
    struct io_address addresses[2];
    size_t            count;

    return io_address_parse(str_from(value), addresses, 2, &count, err);
}

static bool check_resolver(const char *value, struct err *err)
{
    struct io_address addresses[2];
    size_t            count;

    if (!*value)
        return true;
    if (!io_address_parse(str_from(value), addresses, 2, &count, err))
        return false;
    if (count != 1 || addresses[0].storage.ss_family == AF_UNIX || !io_address_port(&addresses[0]))
        return err_set(err, ERR_CONFIG, "server must be one address and port, such as \"127.0.0.1:53\"");
    return true;
}

static bool check_metrics_address(const char *value, struct err *err)
{
    struct io_address addresses[2];
    size_t            count;
    bool              is_loopback = false;

    if (!*value)
        return true;
    if (!io_address_parse(str_from(value), addresses, 2, &count, err))
        return false;
    if (count == 1 && addresses[0].storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&addresses[0].storage;

        is_loopback = ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    } else if (count == 1 && addresses[0].storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&addresses[0].storage;

        is_loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    if (!is_loopback)
        return err_set(
            err, ERR_CONFIG,
            "address must be a loopback address such as \"127.0.0.1:9125\": counters are not for the network");
    return true;
}

static bool check_directory(const char *value, struct err *err)
{
    struct str s = str_from(value), kind = str_cut(&s, ':');
    char       shown[CONFIG_SHOWN_MAX];

    if (!s.len || !(str_eq(kind, STR("sqlite")) || str_eq(kind, STR("file"))))
        return err_set(err, ERR_CONFIG, "directory must be \"sqlite:PATH\" or \"file:PATH\", not \"%s\"",
                       config_shown(str_from(value), shown));
    return true;
}

/* maildir:PATH with {local} and {domain} in it, or a way out of via.h that is a place of its own. */
static bool check_deliver(const char *value, struct err *err)
{
    struct str   s = str_from(value), kind = str_cut(&s, ':');
    struct arena arena;
    struct via   via;
    char         shown[CONFIG_SHOWN_MAX];
    bool         is_via;

    config_shown(str_from(value), shown);
    arena_init(&arena, 1024, 4096);
    is_via = via_parse(str_from(value), &arena, &via) && via.kind != VIA_MX && via.kind != VIA_HOLD;
    arena_done(&arena);
    if (is_via)
        return true;
    if (str_eq(kind, STR("pipe")))
        return err_set(err, ERR_CONFIG,
                       "deliver = \"%s\": the server runs no programs; start tacit pipe SOCKET -- PROGRAM as the user "
                       "that it is to run as, and deliver to it with \"lmtp:unix:SOCKET\"",
                       shown);
    if (!s.len || !str_eq(kind, STR("maildir")))
        return err_set(err, ERR_CONFIG,
                       "deliver must be \"maildir:PATH\", \"lmtp:HOST:PORT\", \"lmtp:unix:/PATH\", "
                       "\"smtp:HOST:PORT\" or \"discard:\", not \"%s\"",
                       shown);
    while (s.len) {
        struct str name;

        str_cut(&s, '{');
        if (!s.data)
            break;
        name = str_cut(&s, '}');
        if (!s.data || !(str_eq(name, STR("domain")) || str_eq(name, STR("local"))))
            return err_set(err, ERR_CONFIG, "deliver may contain {domain} and {local}, and no other braces: \"%s\"",
                           shown);
    }
    return true;
}

static bool check_separator(const char *value, struct err *err)
{
    if (value[0] && (value[1] || (unsigned char)value[0] <= ' ' || value[0] == '@' || value[0] == '"'))
        return err_set(err, ERR_CONFIG, "separator must be one character, or empty");
    return true;
}

static bool check_local_part(const char *value, struct err *err)
{
    if (!*value || strlen(value) > MAIL_LOCAL_MAX || strpbrk(value, "@ \"\\<>"))
        return err_set(err, ERR_CONFIG, "postmaster must be the name of a mailbox without its domain");
    return true;
}

static bool check_not_empty(const struct config_setting *s, const char *value, struct err *err)
{
    return *value ? true : err_set(err, ERR_CONFIG, "%s must not be empty", s->name);
}

static bool check_via(const char *value, struct err *err)
{
    struct arena arena;
    struct via   via;
    char         shown[CONFIG_SHOWN_MAX];
    bool         good;

    arena_init(&arena, 1024, 4096);
    good = via_parse(str_from(value), &arena, &via);
    arena_done(&arena);
    if (!good)
        return err_set(err, ERR_CONFIG,
                       "via must be \"mx\", \"smtp://HOST:PORT\", \"lmtp://HOST:PORT\", \"lmtp:unix:/PATH\", "
                       "\"discard:\" or \"hold:\", not \"%s\"",
                       config_shown(str_from(value), shown));
    return true;
}

static bool check_language(const struct config_setting *s, const char *value, struct err *err)
{
    char shown[CONFIG_SHOWN_MAX];

    if (strcmp(value, "en") == 0 || locale_named(str_from(value)) || (s->block && strcmp(value, "default") == 0))
        return true;
    return err_set(err, ERR_CONFIG, "there are no reports in the language \"%s\"; try \"en\" or \"de\"",
                   config_shown(str_from(value), shown));
}

bool config_check_string(const struct config_setting *s, const char *value, struct err *err)
{
    static const struct {
        const char *block, *name;
        bool (*check)(const char *value, struct err *err);
    } checks[] = {
        {"listen", "address", check_listen_address},   {"domain", "directory", check_directory},
        {"domain", "deliver", check_deliver},          {"domain", "separator", check_separator},
        {"domain", "postmaster", check_local_part},    {"route", "via", check_via},
        {"metrics", "address", check_metrics_address}, {"dns", "server", check_resolver},
    };

    for (size_t i = 0; s->block && i < sizeof checks / sizeof *checks; i++)
        if (strcmp(s->block, checks[i].block) == 0 && strcmp(s->name, checks[i].name) == 0)
            return checks[i].check(value, err);
    return strcmp(s->name, "language") == 0 ? check_language(s, value, err) : check_not_empty(s, value, err);
}
