/* answer.c: what the keeper says to whom. No sockets and no clock, so that every rule can be tried alone.
 *
 * A front's question is checked against the table of classes before anything is looked up. Two classes are claims that
 * the keeper cannot verify: submitter (the local socket) and relay (a configured network). A front in wrong hands may
 * claim them and then learns one address with each question; relay is refused where no relay network is configured.
 * What it learns in that way is for the ledger to charge and limit, which sees every answer that is given here. */
#include "keeper/internal.h"

#include <assert.h>
#include <stdlib.h>

enum { BOUNCE_IDS_MAX = 64 };

/* ---- hosted domains ---- */

static const struct keeper_domain *domain_find(const struct keeper *k, struct str name)
{
    const struct config_domain *block = name.len ? config_domain_find(k->config, name) : NULL;

    return block ? &k->domains[block - k->config->domains] : NULL;
}

static bool world_domain(void *arg, struct str name, struct expansion_domain *ret_domain)
{
    const struct keeper_domain *domain = domain_find(arg, name);

    if (!domain)
        return false;
    *ret_domain = domain->expansion;
    return true;
}

/* Undoes what makes an address of ours look like another: a signed return path, and postmaster without a domain. */
static struct mail_address address_plain(const struct keeper *k, const struct mail_address *a, uint64_t now_ms,
                                         struct arena *arena)
{
    struct mail_address plain = *a, inner;
    bool                fresh;

    if (!a->domain.len && str_eq_nocase(a->local, STR("postmaster")) && k->config->domain_count)
        plain.domain = str_from(k->config->domains[0].title);
    /* An expired path still names its mailbox: what was accepted in time may be retried for days. */
    else if (domain_find(k, a->domain) && token_path_open(&k->key, a, now_ms, arena, &inner, &fresh))
        plain = inner;
    return plain;
}

/* ---- who may ask what ---- */

static bool class_is_possible(const struct keeper *k, enum client_class class)
{
    return class != CLASS_OURSELVES && (class != CLASS_RELAY || k->config->relay.networks.count > 0);
}

static bool front_may_ask(const struct keeper *k, const struct ask *ask)
{
    switch (ask->kind) {
    case ASK_RCPT:
        return class_is_possible(k, ask->class) && disclosure_may_ask_rcpt(ask->class);
    case ASK_VRFY:
    case ASK_EXPN:
        return class_is_possible(k, ask->class) && disclosure_may_ask_vrfy(&k->disclosure, ask->class);
    case ASK_BOUNCE:
        return true;
    case ASK_SIGN:
        return mail_address_is_null(&ask->address);
    case ASK_CONTACT:
        return ask->class == CLASS_SUBMITTER;
    case ASK_LEARN:
    case ASK_RESOLVE:
        break;
    }
    return false;
}

static bool back_may_ask(const struct ask *ask)
{
    return ask->kind == ASK_RESOLVE || ask->kind == ASK_SIGN || ask->kind == ASK_LEARN;
}

/* ---- RCPT, VRFY, EXPN ---- */

static struct mail_address as_created(const struct directory_entry *entry, const struct mail_address *asked)
{
    struct mail_address a = {entry->local, entry->domain, !str_is_ascii(entry->local)};

    return entry->implied || str_eq(entry->local, STR("*")) ? *asked : a;
}

static void tell_moved(const struct directory_entry *entry, struct arena *arena, struct answer *answer)
{
    static const enum told told[] = {
        [MOVED_251] = TOLD_MOVED_FORWARD, [MOVED_551] = TOLD_MOVED_REFUSE, [MOVED_HIDE] = TOLD_MOVED_HIDDEN};

    answer->told = told[entry->moved];
    if (entry->moved == MOVED_HIDE)
        return;
    answer->has_moved_to = mail_address_parse(entry->targets[0], true, arena, &answer->moved_to, NULL);
    if (!answer->has_moved_to)
        answer->told = TOLD_FAILED;
}

static void tell_entry(const struct directory_entry *entry, const struct mail_address *asked, char separator,
                       struct arena *arena, struct answer *answer)
{
    answer->address = as_created(entry, asked);
    if (directory_name_is_reserved(asked->local, separator))
        answer->told = TOLD_EXISTS;
    else if (entry->disabled)
        answer->told = TOLD_DISABLED;
    else if (entry->kind == ENTRY_MOVED)
        tell_moved(entry, arena, answer);
    else
        answer->told = TOLD_EXISTS;
}

/* Members as an EXPN reply shows them. A list that does not fit in a reply is not shown. */
static bool tell_members(const struct directory_entry *list, struct arena *arena, struct answer *answer)
{
    struct buf members;
    bool       fits = true;

    buf_init(&members, ASK_TEXT_MAX);
    for (size_t i = 0; i < list->target_count; i++)
        fits = buf_printf(&members, "%s<%.*s>", i ? "\n" : "", STR_ARG(list->targets[i]));
    if (fits) {
        answer->text = arena_str(arena, buf_str(&members));
        fits = answer->text.data != NULL;
    }
    buf_done(&members);
    return fits;
}

static bool may_see_members(const struct ask *ask, const struct directory_entry *list, struct arena *arena)
{
    struct mail_address owner;

    return list->show_members ||
           (ask->class == CLASS_SUBMITTER && list->owner.len &&
            mail_address_parse(list->owner, true, arena, &owner, NULL) && mail_address_eq(&owner, &ask->sender));
}

/* Of a list whose members this asker may not see EXPN says nothing, not even that it is one. */
static void tell_list(const struct ask *ask, const struct directory_entry *list, struct arena *arena,
                      struct answer *answer)
{
    answer->told = may_see_members(ask, list, arena) && tell_members(list, arena, answer) ? TOLD_LIST : TOLD_NOTHING;
}

static enum keeper_verdict look_up(struct keeper *k, const struct ask *ask, const struct mail_address *address,
                                   struct arena *arena, struct answer *answer, struct directory_entry *ret_entry,
                                   struct err *err)
{
    const struct keeper_domain *domain = domain_find(k, address->domain);

    if (!domain) /* another's: neither existing nor absent is for us to say */
        return KEEPER_ANSWERED;
    switch (directory_find(domain->expansion.directory, address, domain->expansion.separator, arena, ret_entry, err)) {
    case DIRECTORY_ABSENT:
        answer->told = TOLD_ABSENT;
        return KEEPER_ANSWERED;
    case DIRECTORY_FAILED:
        answer->told = TOLD_FAILED;
        return KEEPER_FAILED;
    case DIRECTORY_FOUND:
        break;
    }
    tell_entry(ret_entry, address, domain->expansion.separator, arena, answer);
    if (ask->kind == ASK_EXPN && ret_entry->kind == ENTRY_LIST && !ret_entry->disabled)
        tell_list(ask, ret_entry, arena, answer);
    return KEEPER_ANSWERED;
}

/* A name without a domain: looked for in each of ours. Somebody's own name comes before a catch-all, which would make
 * every name ambiguous. */
static enum keeper_verdict look_up_name(struct keeper *k, const struct ask *ask, struct str name, struct arena *arena,
                                        struct answer *answer, struct err *err)
{
    struct answer best = *answer;
    bool          best_caught = false;

    best.told = TOLD_ABSENT;
    for (size_t i = 0; i < k->config->domain_count; i++) {
        struct answer          one = *answer;
        struct directory_entry entry;
        struct mail_address    address;
        struct str             text = arena_printf(arena, "%.*s@%s", STR_ARG(name), k->config->domains[i].title);
        bool                   caught;

        if (!text.data || !mail_address_parse(text, true, arena, &address, NULL))
            break; /* no local part: absent everywhere */
        if (look_up(k, ask, &address, arena, &one, &entry, err) == KEEPER_FAILED) {
            answer->told = TOLD_FAILED;
            return KEEPER_FAILED;
        }
        if (one.told == TOLD_ABSENT)
            continue;
        caught = str_eq(entry.local, STR("*"));
        if (best.told == TOLD_ABSENT || (best_caught && !caught)) {
            best = one;
            best_caught = caught;
        } else if (best_caught == caught)
            best.told = TOLD_AMBIGUOUS;
    }
    if (best.told == TOLD_AMBIGUOUS)
        best = (struct answer){.tag = answer->tag, .kind = answer->kind, .told = TOLD_AMBIGUOUS};
    *answer = best;
    return KEEPER_ANSWERED;
}

/* "alice", "<alice>", "Alice Smith <alice@example.test>": what people and old programs put behind VRFY. */
static enum keeper_verdict look_up_text(struct keeper *k, const struct ask *ask, uint64_t now_ms, struct arena *arena,
                                        struct answer *answer, struct err *err)
{
    struct str             name = str_trim(ask->text);
    size_t                 open = str_find_last_byte(name, '<');
    struct mail_address    address;
    struct directory_entry entry;

    if (open != STR_NOT_FOUND && str_ends(name, STR(">")))
        name = str_trim(str_part(name, open + 1, name.len - open - 2));
    if (mail_address_parse(name, true, arena, &address, NULL)) {
        address = address_plain(k, &address, now_ms, arena);
        return look_up(k, ask, &address, arena, answer, &entry, err);
    }
    address = (struct mail_address){.local = name};
    address = address_plain(k, &address, now_ms, arena);
    if (address.domain.len)
        return look_up(k, ask, &address, arena, answer, &entry, err);
    if (!name.len || name.len > 2 * MAIL_LOCAL_MAX + 2) {
        answer->told = TOLD_ABSENT;
        return KEEPER_ANSWERED;
    }
    return look_up_name(k, ask, name, arena, answer, err);
}

/* ---- BOUNCE, SIGN, RESOLVE, CONTACT ---- */

static void answer_bounce(struct keeper *k, const struct ask *ask, uint64_t now_ms, struct arena *arena,
                          struct answer *answer)
{
    struct str          rest = ask->text, hostname = str_from(k->config->hostname);
    struct mail_address inner;
    bool                fresh;

    answer->yes = domain_find(k, ask->address.domain) &&
                  token_path_open(&k->key, &ask->address, now_ms, arena, &inner, &fresh) && fresh;
    for (int i = 0; !answer->yes && rest.len && i < BOUNCE_IDS_MAX; i++)
        answer->yes = token_check(&k->key, str_cut(&rest, '\n'), hostname);
}

static void answer_sign(struct keeper *k, const struct ask *ask, uint64_t now_ms, struct arena *arena,
                        struct answer *answer)
{
    char token[TOKEN_DIGITS + 1];

    if (!mail_address_is_null(&ask->address)) {
        answer->address = ask->address;
        answer->yes = domain_find(k, ask->address.domain) &&
                      token_path_sign(&k->key, &ask->address, now_ms, arena, &answer->address);
    } else if (token_make(&k->key, ask->text, token)) {
        answer->text = arena_str(arena, str_of(token, TOKEN_DIGITS));
        answer->yes = answer->text.data != NULL;
    }
}

static bool writes_to_closed_lists(enum client_class class) { return class == CLASS_RELAY || class == CLASS_OURSELVES; }

static enum keeper_verdict answer_resolve(struct keeper *k, const struct ask *ask, uint64_t now_ms, struct arena *arena,
                                          struct answer *answer, struct err *err)
{
    struct mail_address           address = address_plain(k, &ask->address, now_ms, arena);
    const struct expansion_world  world = {world_domain, k};
    const struct expansion_sender sender = {address_plain(k, &ask->sender, now_ms, arena),
                                            writes_to_closed_lists(ask->class)};
    struct resolution             found;

    if (!directory_expand(&world, &address, &sender, arena, &found, err)) {
        answer->resolve = RESOLVE_FAILED;
        return KEEPER_FAILED;
    }
    answer->resolve = found.result;
    answer->targets = found.targets;
    answer->target_count = found.target_count;
    answer->is_list = found.is_list;
    answer->has_moved_to = found.has_moved_to;
    answer->moved_to = found.moved_to;
    return KEEPER_ANSWERED;
}

/* Of our own addresses the directory knows. */
static enum keeper_verdict answer_contact(struct keeper *k, const struct ask *ask, uint64_t now_ms, struct arena *arena,
                                          struct answer *answer, struct err *err)
{
    bool known = domain_find(k, ask->address.domain) ||
                 keeper_contacts_find(k->contacts, &ask->address, now_ms, arena, &answer->contact, err);

    return known ? KEEPER_ANSWERED : KEEPER_FAILED;
}

enum keeper_verdict keeper_answer(struct keeper *k, const struct ask *ask, bool from_front, uint64_t now_ms,
                                  struct arena *arena, struct answer *ret_answer, struct err *err)
{
    struct answer          answer = {.tag = ask->tag, .kind = ask->kind, .resolve = RESOLVE_FAILED};
    struct directory_entry entry;
    struct mail_address    address;
    enum keeper_verdict    verdict = KEEPER_ANSWERED;

    assert(ask->kind >= ASK_RCPT && ask->kind <= ASK_LEARN); /* ask_get let it through */
    if (!(from_front ? front_may_ask(k, ask) : back_may_ask(ask))) {
        *ret_answer = answer;
        err_set(err, ERR_PERMANENT, "a question that %s may not ask: kind %d for class %s",
                from_front ? "a front" : "back", (int)ask->kind, client_class_name(ask->class));
        return KEEPER_REFUSED;
    }
    switch (ask->kind) {
    case ASK_RCPT:
    case ASK_VRFY:
    case ASK_EXPN:
        address = address_plain(k, &ask->address, now_ms, arena);
        verdict = address.domain.len || ask->kind == ASK_RCPT ? look_up(k, ask, &address, arena, &answer, &entry, err)
                                                              : look_up_text(k, ask, now_ms, arena, &answer, err);
        break;
    case ASK_BOUNCE:
        answer_bounce(k, ask, now_ms, arena, &answer);
        break;
    case ASK_SIGN:
        answer_sign(k, ask, now_ms, arena, &answer);
        break;
    case ASK_RESOLVE:
        verdict = answer_resolve(k, ask, now_ms, arena, &answer, err);
        break;
    case ASK_CONTACT:
        verdict = answer_contact(k, ask, now_ms, arena, &answer, err);
        break;
    case ASK_LEARN:
        verdict = KEEPER_LEARNS;
        break;
    }
    *ret_answer = answer;
    return verdict;
}
