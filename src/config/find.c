/* find.c: which block holds for an address. */
#include "config/config.h"

#include "queue/via.h"

#include <stdio.h>

enum { TITLE_MAX = 512 };

const struct config_domain *config_domain_find(const struct config *config, struct str domain)
{
    return map_get(&config->domain_map, domain);
}

const struct config_route *config_route_titled(const struct config *config, struct str title)
{
    const struct config_route *r = map_get(&config->route_map, title);

    return r ? r : &config->route_default;
}

static const struct config_route *route_of_sender(const struct config *config, const struct mail_address *sender)
{
    const struct config_route *r = NULL;
    struct buf                 title;

    buf_init(&title, TITLE_MAX);
    buf_append(&title, STR("from "));
    if (mail_address_format(sender, &title))
        r = map_get(&config->route_map, buf_str(&title));
    if (!r) {
        buf_clear(&title);
        buf_append(&title, STR("from "));
        if (buf_append(&title, sender->domain))
            r = map_get(&config->route_map, buf_str(&title));
    }
    buf_done(&title);
    return r;
}

const struct config_route *config_route_find(const struct config *config, const struct mail_address *sender,
                                             struct str domain)
{
    const struct config_route *r = map_get(&config->route_map, domain);

    if (!r && config->route_count && sender->domain.len)
        r = route_of_sender(config, sender);
    return r ? r : config_route_titled(config, STR("*"));
}

static bool is_socket(const char *via)
{
    struct arena arena;
    struct via   parsed;
    bool         is;

    arena_init(&arena, VIA_TEXT_MAX, 4 * VIA_TEXT_MAX);
    is = via_parse(str_from(via), &arena, &parsed) && parsed.kind == VIA_SOCKET;
    arena_done(&arena);
    return is;
}

bool config_uses_sockets(const struct config *config)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (is_socket(config->routes[i].via))
            return true;
    for (size_t i = 0; i < config->domain_count; i++)
        if (is_socket(config->domains[i].deliver))
            return true;
    return false;
}

struct str config_contacts_path(const struct config *config, struct arena *arena)
{
    return config_path(config->data, STR("contacts.db"), arena);
}
