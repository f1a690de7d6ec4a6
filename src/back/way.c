/* way.c: which way a recipient leaves, and who goes together.
 *
 *   recipient                                    way
 *   of a domain of ours                          its `deliver`, where that is no Maildir
 *   of another, message rerouted by hand         what the operator said
 *   of another                                   the route of its domain, of the sender, or "*"
 *
 * Together go those with the same way, settings and sender; by MX only those of one domain. Whom the sender named do
 * not go with whom others stand for: what is said of one may be told of all. Two recipients that lead to one address
 * wait for each other: the second has the message when the first has. */
#include "back/job.h"

enum { OCTETS_MAX = 64 << 10, OCTETS_EACH = 64 }; /* of a carriage's envelope */

bool way_leads_out(const struct attempt *a, size_t i)
{
    return !config_domain_find(a->back->config, a->to[i].address.domain);
}

bool way_may_lead_out(const struct attempt *a, size_t i)
{
    const struct config *config = a->back->config;
    bool                 leaves = way_leads_out(a, i);

    for (size_t k = 0; k < config->domain_count && !leaves; k++)
        leaves = !str_starts(str_from(config->domains[k].deliver), STR("maildir:"));
    return leaves;
}

static bool is_mx(struct str via) { return str_eq(via, STR("mx")); }
static bool is_hold(struct str via) { return str_eq(via, STR("hold:")); }

struct str way_released(const struct attempt *a)
{
    struct str via = str_from(config_route_titled(a->back->config, STR("*"))->via);

    return is_hold(via) ? STR("mx") : via;
}

static struct way *way_of(struct attempt *a, size_t i, struct str via, struct str route)
{
    struct attempt_recipient  *to = &a->to[i];
    const struct mail_address *sender = attempt_sender(a, i);
    struct str                 from = attempt_address(a, sender);
    struct str                 domain = to->address.domain;
    bool                       is_list = attempt_is_override(a, i);
    const char                *kind = is_list ? "list" : to->root == i ? "named" : "";
    struct str  key = arena_printf(&a->arena, "%s\n%.*s\n%.*s\n%.*s\n%.*s", kind, STR_ARG(via), STR_ARG(route),
                                   STR_ARG(from), STR_ARG(is_mx(via) ? domain : STR_NONE));
    struct way *w = key.data ? map_get(&a->way_map, key) : NULL;

    if (w && w->count < CARRIAGE_RECIPIENTS_MAX && w->octets < OCTETS_MAX)
        return w;
    w = key.data ? arena_new(&a->arena, struct way) : NULL;
    if (!w || !map_put(&a->way_map, key, w))
        return NULL;
    *w = (struct way){.via = via, .route = route, .domain = domain, .sender = *sender, .is_list = is_list};
    *a->ways_last = w;
    a->ways_last = &w->next;
    return w;
}

static void join(struct attempt *a, struct way *w, size_t i)
{
    const struct mail_address *address = &a->to[i].leaving;
    const struct recipient    *root = attempt_envelope_recipient(a, i);

    if (w->count++)
        a->to[w->last].way_next = (uint32_t)i;
    else
        w->first = (uint32_t)i;
    w->last = (uint32_t)i;
    w->octets += address->local.len + address->domain.len + root->orcpt.len + OCTETS_EACH;
}

/* True: this one is through with it, or waits for another recipient with the same address. False also without memory:
 * then the message comes twice at worst. */
static bool is_duplicate(struct attempt *a, size_t i, const char **ret_result)
{
    struct attempt_recipient *to = &a->to[i];
    struct str                key = mailbox_key(a, &to->leaving);
    size_t                    first = key.data ? (size_t)(uintptr_t)map_get(&a->mailboxes, key) : 0;

    if (!first || first - 1 == i) {
        if (!first && key.data)
            map_put(&a->mailboxes, key, (void *)(uintptr_t)(i + 1));
        return false;
    }
    if (a->to[first - 1].state != RECIPIENT_DELIVERED)
        return a->to[first - 1].given || a->to[first - 1].leaves;
    to->tried = true;
    to->state = RECIPIENT_DELIVERED;
    to->status = STR("2.1.5");
    to->reason = STR("the address has it already by another recipient");
    *ret_result = "delivered";
    return true;
}

bool way_is_of_domain(const struct attempt *a, size_t i)
{
    const struct attempt_recipient *to = &a->to[i];
    const struct config_route *route = config_route_find(a->back->config, attempt_sender(a, i), to->address.domain);

    if (a->progress.via.len)
        return is_mx(a->progress.via);
    return is_mx(str_from(route->via)) || str_eq(str_from(route->title), to->address.domain);
}

bool way_take(struct attempt *a, size_t i, struct str deliver, const char **ret_result)
{
    struct attempt_recipient  *to = &a->to[i];
    const struct config_route *route =
        deliver.len ? NULL : config_route_find(a->back->config, attempt_sender(a, i), to->address.domain);
    struct str  via = deliver.len ? deliver : a->progress.via.len ? a->progress.via : str_from(route->via);
    struct way *w;

    *ret_result = NULL;
    to->tried = false;
    to->leaving = deliver.len ? to->mailbox : to->address;
    if (is_duplicate(a, i, ret_result))
        return true;
    if (str_eq(via, STR("discard:"))) {
        to->tried = true;
        to->state = RECIPIENT_DELIVERED;
        to->status = STR("2.0.0");
        to->reason = STR("thrown away, as the configuration says");
        *ret_result = "discarded";
        return true;
    }
    if (is_hold(via)) {
        to->state = RECIPIENT_WAITING;
        to->status = STR_NONE;
        to->reason = STR("waiting for release");
        *ret_result = "waiting";
        return true;
    }
    if (io_wall_ms() >= attempt_expires_ms(a) && !back_carry_is_open(a->back)) {
        to->tried = true; /* in vain, for the last time */
        if (!to->status.len) {
            to->status = STR("4.4.7");
            to->reason = STR("no way to other servers came free in time");
        }
        return true;
    }
    w = way_of(a, i, via, deliver.len ? to->address.domain : str_from(route->title));
    if (!w)
        return false;
    to->leaves = true;
    join(a, w, i);
    return true;
}
