/* expand.c: follows an address to its ends.
 *
 * Depth first in the order in which targets are written, so that the result reads as the entries do. What was met once
 * is not followed again: that ends loops, merges duplicates and bounds the work by the number of different addresses.
 * When two ways lead to one target the first decides under which sender and whether hidden it is delivered.
 *
 * Rejected: failing a whole list for one bad member. Its other members would lose mail for a fault that is not
 * theirs; the bad one is a target of its own that says why it fails. */
#include "directory/expand.h"

#include "base/map.h"
#include "io/loop.h"

struct way { /* how the expansion came to an address */
    unsigned            depth;
    bool                override_sender, hide;
    struct mail_address sender;
};

struct walk {
    const struct expansion_world  *world;
    const struct expansion_sender *sender;
    struct arena                  *arena;
    struct resolution             *out;
    struct map                     seen;
    size_t                         room; /* of out->targets */
    unsigned                       lookups;
    bool                           too_many; /* some ceiling was met: the whole fails as a loop */
    bool                           looped;   /* some way led back to an address already met */
};

static bool no_memory(struct err *err)
{
    return err_set(err, ERR_LIMIT, "directory: the address leads to more than one look-up may take");
}

static struct str seen_name(const char *kind, struct str local, struct str domain, struct arena *arena)
{
    return arena_printf(arena, "%s%.*s@%.*s", kind, STR_ARG(local), STR_ARG(domain));
}

/* Whether it is met for the first time. */
static bool see(struct walk *w, struct str name, bool *ret_new, struct err *err)
{
    *ret_new = name.data && !map_get(&w->seen, name);
    if (!name.data || (*ret_new && !map_put(&w->seen, name, w)))
        return no_memory(err);
    return true;
}

static bool add_target(struct walk *w, const struct way *way, const struct target *target, struct err *err)
{
    struct resolution *out = w->out;
    bool               is_new;
    struct str         name = seen_name(target->kind == TARGET_MAILBOX ? "m:" : "r:", target->address.local,
                                target->address.domain, w->arena);

    if (!see(w, name, &is_new, err))
        return false;
    if (!is_new)
        return true;
    if (out->target_count == EXPAND_TARGETS_MAX) {
        w->too_many = true;
        return true;
    }
    if (out->target_count == w->room) {
        size_t         room = w->room ? w->room * 4 : 4;
        struct target *larger = arena_alloc(w->arena, room * sizeof *larger);

        if (!larger)
            return no_memory(err);
        if (w->room)
            memcpy(larger, out->targets, w->room * sizeof *larger);
        out->targets = larger;
        w->room = room;
    }
    out->targets[out->target_count] = *target;
    out->targets[out->target_count].override_sender = way->override_sender;
    out->targets[out->target_count].sender_override = way->sender;
    out->targets[out->target_count].hide = way->hide;
    out->target_count++;
    return true;
}

/* The end of a way on which nothing can be delivered: the result of the whole if it is the first address itself. */
static bool add_failure(struct walk *w, const struct way *way, const struct mail_address *address,
                        enum resolve_result result, struct err *err)
{
    struct target target = {.kind = TARGET_MAILBOX, .address = *address, .result = result};

    if (way->depth > 0)
        return add_target(w, way, &target, err);
    w->out->result = result;
    return true;
}

static bool address_from_entry(const struct directory_entry *entry, struct mail_address *ret_address)
{
    *ret_address = (struct mail_address){entry->local, entry->domain, !str_is_ascii(entry->local)};
    return true;
}

/* ---- closed lists ---- */

static bool same_mailbox(const struct walk *w, const struct mail_address *a, const struct mail_address *b)
{
    struct expansion_domain domain;
    char                    separator;

    if (!str_eq(a->domain, b->domain))
        return false;
    if (!w->world->domain(w->world->arg, a->domain, &domain))
        return str_eq_nocase(a->local, b->local);
    separator = domain.separator;
    return str_eq(mail_local_key(a->local, separator, w->arena), mail_local_key(b->local, separator, w->arena));
}

/* The return path is all there is to go by as long as senders prove nothing, so a closed list keeps out mistakes and
 * spam that does not know its members, not somebody who forges one of them. */
static bool may_write(const struct walk *w, const struct directory_entry *list)
{
    struct mail_address member;

    if (!list->closed || w->sender->trusted)
        return true;
    if (mail_address_is_null(&w->sender->address))
        return false;
    for (size_t i = 0; i <= list->target_count; i++) {
        struct str text = i < list->target_count ? list->targets[i] : list->owner;

        if (text.len && mail_address_parse(text, true, w->arena, &member, NULL) &&
            same_mailbox(w, &member, &w->sender->address))
            return true;
    }
    return false;
}

/* ---- following ---- */

static bool follow(struct walk *w, struct way way, const struct mail_address *address, struct err *err);

static bool follow_all(struct walk *w, struct way way, const struct directory_entry *entry, struct err *err)
{
    w->out->is_list = true;
    way.depth++;
    for (size_t i = 0; i < entry->target_count && !w->too_many; i++) {
        struct mail_address target;

        if (!mail_address_parse(entry->targets[i], true, w->arena, &target, NULL))
            return no_memory(err); /* it was parsed when it was read */
        if (!follow(w, way, &target, err))
            return false;
    }
    return true;
}

static bool follow_list(struct walk *w, struct way way, const struct mail_address *address,
                        const struct directory_entry *entry, struct err *err)
{
    if (!may_write(w, entry))
        return add_failure(w, &way, address, RESOLVE_CLOSED, err);
    if (entry->owner.len && !mail_address_is_null(&w->sender->address)) {
        way.override_sender = true;
        if (!mail_address_parse(entry->owner, true, w->arena, &way.sender, NULL))
            return no_memory(err);
    }
    return follow_all(w, way, entry, err);
}

static bool follow_moved(struct walk *w, struct way way, const struct mail_address *address,
                         const struct directory_entry *entry, struct err *err)
{
    if (entry->moved == MOVED_251) {
        way.hide = true;
        return follow_all(w, way, entry, err);
    }
    if (way.depth == 0 && entry->moved == MOVED_551) {
        w->out->has_moved_to = mail_address_parse(entry->targets[0], true, w->arena, &w->out->moved_to, NULL);
        if (!w->out->has_moved_to)
            return no_memory(err);
    }
    return add_failure(w, &way, address, RESOLVE_MOVED, err);
}

/* The mailbox that gets postmaster's mail where the directory names none. A setting that leads nowhere, or back here,
 * is passed over: this mail must arrive. */
static bool follow_implied(struct walk *w, struct way way, const struct expansion_domain *domain,
                           const struct directory_entry *entry, struct err *err)
{
    struct mail_address    postmaster = {.local = domain->postmaster, .domain = entry->domain};
    size_t                 before = w->out->target_count;
    struct directory_entry named;
    struct target          target = {.kind = TARGET_MAILBOX, .quota = domain->quota};
    enum directory_find    found = DIRECTORY_ABSENT;

    if (postmaster.local.len && !directory_name_is_reserved(postmaster.local, domain->separator))
        found = directory_find(domain->directory, &postmaster, domain->separator, w->arena, &named, err);
    if (found == DIRECTORY_FAILED)
        return false;
    if (found == DIRECTORY_FOUND && named.kind == ENTRY_MAILBOX && !named.disabled) {
        target.quota = named.quota ? named.quota : domain->quota;
        return address_from_entry(&named, &target.address) && add_target(w, &way, &target, err);
    }
    if (found == DIRECTORY_FOUND && !named.disabled && (named.kind != ENTRY_MOVED || named.moved == MOVED_251)) {
        way.depth++;
        if (!follow(w, way, &postmaster, err))
            return false;
        for (size_t i = before; i < w->out->target_count; i++)
            if (w->out->targets[i].result == RESOLVE_TARGETS)
                return true;
        w->out->target_count = before;
        way.depth--;
    }
    return address_from_entry(entry, &target.address) && add_target(w, &way, &target, err);
}

static bool follow_entry(struct walk *w, struct way way, const struct mail_address *address,
                         const struct expansion_domain *domain, const struct directory_entry *entry, struct err *err)
{
    struct target target = {.kind = TARGET_MAILBOX, .quota = entry->quota ? entry->quota : domain->quota};

    if (entry->disabled)
        return add_failure(w, &way, address, RESOLVE_DISABLED, err);
    if (entry->implied)
        return follow_implied(w, way, domain, entry, err);
    switch (entry->kind) {
    case ENTRY_ALIAS:
        return follow_all(w, way, entry, err);
    case ENTRY_LIST:
        return follow_list(w, way, address, entry, err);
    case ENTRY_MOVED:
        return follow_moved(w, way, address, entry, err);
    case ENTRY_MAILBOX:
        break;
    }
    return address_from_entry(entry, &target.address) && add_target(w, &way, &target, err);
}

static bool follow(struct walk *w, struct way way, const struct mail_address *address, struct err *err)
{
    struct expansion_domain domain;
    struct directory_entry  entry;
    struct target           remote = {.kind = TARGET_REMOTE, .address = *address};
    struct str              key;
    bool                    is_new;

    if (way.depth > EXPAND_DEPTH_MAX || w->lookups >= EXPAND_LOOKUPS_MAX) {
        w->too_many = true;
        return true;
    }
    if (!w->world->domain(w->world->arg, address->domain, &domain))
        return add_target(w, &way, &remote, err);
    key = mail_local_key(address->local, 0, w->arena);
    if (!key.data)
        return no_memory(err);
    if (!see(w, seen_name("", key, address->domain, w->arena), &is_new, err))
        return false;
    if (!is_new) {
        w->looped = true;
        return true;
    }
    w->lookups++;
    switch (directory_find(domain.directory, address, domain.separator, w->arena, &entry, err)) {
    case DIRECTORY_FOUND:
        return follow_entry(w, way, address, &domain, &entry, err);
    case DIRECTORY_ABSENT:
        return add_failure(w, &way, address, RESOLVE_ABSENT, err);
    case DIRECTORY_FAILED:
        break;
    }
    return false;
}

/* Mail to postmaster and abuse arrives whatever the directory says of them. */
static bool rescue_reserved(struct walk *w, const struct mail_address *address, struct err *err)
{
    struct expansion_domain domain;
    struct target target = {.kind = TARGET_MAILBOX, .address = {.local = STR("postmaster"), .domain = address->domain}};

    for (size_t i = 0; i < w->out->target_count; i++)
        if (w->out->result == RESOLVE_TARGETS && w->out->targets[i].result == RESOLVE_TARGETS)
            return true;
    if (!w->world->domain(w->world->arg, address->domain, &domain) ||
        !directory_name_is_reserved(address->local, domain.separator))
        return true;
    target.quota = domain.quota;
    w->out->result = RESOLVE_TARGETS;
    w->out->has_moved_to = false;
    w->out->target_count = 0;
    map_done(&w->seen);
    return add_target(w, &(struct way){0}, &target, err);
}

bool directory_expand(const struct expansion_world *world, const struct mail_address *address,
                      const struct expansion_sender *sender, struct arena *arena, struct resolution *ret_resolution,
                      struct err *err)
{
    struct walk w = {.world = world, .sender = sender, .arena = arena, .out = ret_resolution};
    uint64_t    seed;
    bool        ok;

    *ret_resolution = (struct resolution){.result = RESOLVE_TARGETS};
    io_random(&seed, sizeof seed);
    map_init(&w.seen, seed);
    ok = follow(&w, (struct way){0}, address, err);
    if (ok && w.too_many)
        ret_resolution->result = RESOLVE_LOOP;
    else if (ok && ret_resolution->result == RESOLVE_TARGETS && !ret_resolution->target_count)
        ret_resolution->result = w.looped ? RESOLVE_LOOP : RESOLVE_DISABLED;
    ok = ok && rescue_reserved(&w, address, err);
    map_done(&w.seen);
    if (!ok)
        *ret_resolution = (struct resolution){.result = RESOLVE_FAILED};
    else if (ret_resolution->result != RESOLVE_TARGETS)
        ret_resolution->target_count = 0;
    return ok;
}
