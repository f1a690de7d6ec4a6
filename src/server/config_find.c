/* config_find.c: which block holds for an address. */
#include "server/config.h"

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

struct str config_contacts_path(const struct config *config, struct arena *arena)
{
    return config_path(config->data, STR("contacts.db"), arena);
}
