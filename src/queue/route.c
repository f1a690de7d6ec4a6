/* route.c: see route.h.
 *
 * All hosts are looked up at once, not one after the other as they are needed: an answer that is cached costs nothing,
 * the whole plan is known (and logged) before the first attempt, and whether we ourselves are among the hosts, which a
 * loop depends on, can only be told from all their addresses. */
#include "queue/route.h"

#include "mail/address.h"

#include <assert.h>

struct host {
    struct str         name;
    uint16_t           preference;
    bool               ours, secure, asked[2], soft; /* soft: a look-up gave no answer */
    unsigned           count[2];                     /* of IPv6, of IPv4 */
    struct dns_address addresses[2][ROUTE_HOST_ADDRESSES];
};

struct route {
    struct str          domain;
    struct route_rules  rules;
    struct arena       *arena;
    uint64_t            random;
    bool                mx_asked, mx_secure, done;
    unsigned            open; /* questions under way */
    struct host        *hosts;
    size_t              host_count;
    struct route_target targets[ROUTE_TARGETS];
    struct route_result result;
};

/* xorshift64*: only orders equals. */
static uint64_t random_below(struct route *r, uint64_t below)
{
    r->random ^= r->random >> 12;
    r->random ^= r->random << 25;
    r->random ^= r->random >> 27;
    return (r->random * UINT64_C(2685821657736338717) >> 32) % below;
}

/* ---- the end ---- */

static bool conclude(struct route *r, enum route_outcome outcome, const char *status, struct str reason)
{
    r->done = true;
    r->result.outcome = outcome;
    r->result.status = status;
    r->result.reason = reason;
    return reason.data != NULL;
}

#define FAILS(r, status, ...) conclude((r), ROUTE_FAILS, (status), arena_printf((r)->arena, __VA_ARGS__))
#define WAITS(r, ...) conclude((r), ROUTE_WAITS, "4.4.3", arena_printf((r)->arena, __VA_ARGS__))

static bool fail_softly(struct route *r, struct str name, const struct dns_answer *a)
{
    if (a->outcome == DNS_BOGUS)
        return WAITS(r, "what the DNS says about %.*s is signed, and the signatures are wrong%s%s", STR_ARG(name),
                     a->why ? ": " : "", a->why ? a->why : "");
    return WAITS(r, "the DNS gave no answer about %.*s%s%s", STR_ARG(name), a->why ? ": " : "", a->why ? a->why : "");
}

static void target_add(struct route *r, const struct host *h, const struct dns_address *a)
{
    for (size_t i = 0; i < r->result.target_count; i++)
        if (dns_address_eq(&r->targets[i].address, a))
            return; /* two names of one host */
    if (r->result.target_count < ROUTE_TARGETS)
        r->targets[r->result.target_count++] =
            (struct route_target){.host = h->name, .address = *a, .preference = h->preference, .secure = h->secure};
}

static void host_targets(struct route *r, struct host *h)
{
    for (unsigned f = 0; f < 2; f++)
        for (unsigned i = h->count[f]; i > 1; i--) {
            unsigned           other = (unsigned)random_below(r, i);
            struct dns_address kept = h->addresses[f][i - 1];

            h->addresses[f][i - 1] = h->addresses[f][other];
            h->addresses[f][other] = kept;
        }
    for (unsigned i = 0; i < h->count[0] || i < h->count[1]; i++)
        for (unsigned f = 0; f < 2; f++)
            if (i < h->count[f])
                target_add(r, h, &h->addresses[f][i]);
}

static bool is_ours(const struct route *r, const struct host *h)
{
    if (h->ours)
        return true;
    for (unsigned f = 0; f < 2; f++)
        for (unsigned i = 0; i < h->count[f]; i++)
            if (r->rules.is_our_address && r->rules.is_our_address(&h->addresses[f][i], r->rules.arg))
                return true;
    return false;
}

static bool finish(struct route *r)
{
    size_t usable = r->host_count;
    bool   soft = false;

    for (size_t i = 0; i < r->host_count; i++)
        if (is_ours(r, &r->hosts[i])) {
            usable = i;
            while (usable > 0 && r->hosts[usable - 1].preference == r->hosts[i].preference)
                usable--;
            break;
        }
    if (usable == 0)
        return FAILS(r, "5.4.6", "the mail of %.*s is to be brought to this server, which does not take it",
                     STR_ARG(r->domain));
    for (size_t i = 0; i < usable; i++) {
        host_targets(r, &r->hosts[i]);
        soft = soft || r->hosts[i].soft;
    }
    if (r->result.target_count) {
        r->result.targets = r->targets;
        return conclude(r, ROUTE_FOUND, NULL, STR(""));
    }
    if (soft)
        return WAITS(r, "the DNS gave no answer about the mail hosts of %.*s", STR_ARG(r->domain));
    if (r->result.implicit)
        return FAILS(r, "5.4.4", "the domain %.*s exists, but has neither a mail host nor an address",
                     STR_ARG(r->domain));
    return FAILS(r, "5.4.4", "the mail hosts that %.*s names have no address that can be reached", STR_ARG(r->domain));
}

/* ---- the hosts ---- */

static struct host *host_add(struct route *r, struct str name, uint16_t preference)
{
    struct host *h = &r->hosts[r->host_count++];

    *h = (struct host){.name = name, .preference = preference, .secure = r->mx_secure};
    h->ours = r->rules.is_our_name && r->rules.is_our_name(name, r->rules.arg);
    h->asked[0] = !r->rules.ipv6;
    h->asked[1] = !r->rules.ipv4;
    return h;
}

static bool hosts_alloc(struct route *r, size_t count)
{
    r->hosts = arena_alloc(r->arena, count * sizeof *r->hosts);
    return r->hosts != NULL;
}

static bool take_implicit(struct route *r)
{
    if (!hosts_alloc(r, 1))
        return false;
    r->result.implicit = true;
    host_add(r, r->domain, 0);
    return true;
}

struct mx {
    uint16_t        preference;
    uint64_t        order; /* among equals */
    struct dns_name host;
};

/* Keeps the most preferred of all that the answer has: sorted, the worst goes when it is full. */
static size_t mx_insert(struct mx *list, size_t count, const struct mx *m)
{
    size_t at = count;

    for (size_t i = 0; i < count; i++)
        if (str_eq(dns_name_str(&list[i].host), dns_name_str(&m->host))) {
            if (list[i].preference <= m->preference)
                return count;
            memmove(list + i, list + i + 1, (count - i - 1) * sizeof *list);
            at = --count;
            break;
        }
    while (at > 0 && (list[at - 1].preference > m->preference ||
                      (list[at - 1].preference == m->preference && list[at - 1].order > m->order)))
        at--;
    if (at == ROUTE_HOSTS)
        return count;
    if (count == ROUTE_HOSTS)
        count--;
    memmove(list + at + 1, list + at, (count - at) * sizeof *list);
    list[at] = *m;
    return count + 1;
}

static bool take_mx(struct route *r, const struct dns_answer *a)
{
    struct mx list[ROUTE_HOSTS];
    size_t    count = 0;
    bool      null = false;

    for (size_t i = 0; i < a->count; i++) {
        struct mx m = {.order = random_below(r, UINT32_MAX)};

        if (!dns_mx_get(a->records[i], &m.preference, &m.host))
            continue; /* a host with such a name has no address either */
        if (m.host.len == 0)
            null = true;
        else
            count = mx_insert(list, count, &m);
    }
    if (dns_is_null_mx(a))
        return FAILS(r, "5.1.10", "%.*s says in the DNS that it takes no mail at all (null MX)", STR_ARG(r->domain));
    r->result.odd_null = null;
    if (count == 0)
        return FAILS(r, "5.4.4", "the mail hosts that %.*s names are no names of hosts", STR_ARG(r->domain));
    if (!hosts_alloc(r, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct str name = arena_str(r->arena, dns_name_str(&list[i].host));

        if (!name.data)
            return false;
        host_add(r, name, list[i].preference);
    }
    return true;
}

static bool answer_mx(struct route *r, const struct dns_answer *a)
{
    r->mx_secure = a->secure;
    switch (a->outcome) {
    case DNS_FOUND:
        return take_mx(r, a);
    case DNS_NO_DATA:
        return take_implicit(r);
    case DNS_NO_NAME:
        return FAILS(r, "5.1.2", "there is no domain %.*s", STR_ARG(r->domain));
    case DNS_FAILED:
    case DNS_BOGUS:
        break;
    }
    return fail_softly(r, r->domain, a);
}

static void answer_address(struct route *r, struct host *h, enum dns_type type, const struct dns_answer *a)
{
    unsigned family = type == DNS_A;

    h->secure = h->secure && a->secure;
    h->soft = h->soft || a->outcome == DNS_FAILED || a->outcome == DNS_BOGUS;
    if (a->outcome != DNS_FOUND)
        return;
    r->result.aliases = r->result.aliases || (a->cname && !r->result.implicit);
    for (size_t i = 0; i < a->count && h->count[family] < ROUTE_HOST_ADDRESSES; i++)
        if (dns_address_get(a->records[i], type, &h->addresses[family][h->count[family]]))
            h->count[family]++;
}

/* ---- address literals ---- */

static bool ipv4_get(struct str text, unsigned char *ret_octets)
{
    for (int i = 0; i < 4; i++) {
        uint64_t octet;

        if (!str_to_u64(str_cut(&text, '.'), 255, &octet) || (i < 3) != (text.data != NULL))
            return false;
        ret_octets[i] = (unsigned char)octet;
    }
    return true;
}

static size_t groups_get(struct str text, uint16_t groups[8])
{
    size_t count = 0;

    while (text.len) {
        struct str group = str_cut(&text, ':');
        unsigned   value = 0;

        if (count == 8 || group.len == 0 || group.len > 4)
            return SIZE_MAX;
        for (size_t i = 0; i < group.len; i++) {
            if (char_hex_value(group.data[i]) < 0)
                return SIZE_MAX;
            value = value << 4 | (unsigned)char_hex_value(group.data[i]);
        }
        groups[count++] = (uint16_t)value;
    }
    return count;
}

/* In the canonical form that domain_canonical makes: no IPv4 part. */
static bool ipv6_get(struct str text, unsigned char *ret_octets)
{
    uint16_t front[8] = {0}, back[8] = {0};
    size_t   gap = str_find(text, STR("::"));
    size_t   front_count = groups_get(gap == STR_NOT_FOUND ? text : str_part(text, 0, gap), front);
    size_t   back_count = gap == STR_NOT_FOUND ? 0 : groups_get(str_skip(text, gap + 2), back);

    if (front_count > 8 || back_count > 8 || front_count + back_count > 8 || (gap == STR_NOT_FOUND && front_count != 8))
        return false;
    memcpy(front + 8 - back_count, back, back_count * sizeof *back);
    for (size_t i = 0; i < 8; i++) {
        ret_octets[2 * i] = (unsigned char)(front[i] >> 8);
        ret_octets[2 * i + 1] = (unsigned char)front[i];
    }
    return true;
}

static bool take_literal(struct route *r)
{
    struct str         text = str_part(r->domain, 1, r->domain.len - 2);
    struct dns_address a = {0};
    struct host       *h;

    a.is_ipv6 = str_starts_nocase(text, STR("IPv6:"));
    if (!str_ends(r->domain, STR("]")) ||
        !(a.is_ipv6 ? ipv6_get(str_skip(text, 5), a.octets) : ipv4_get(text, a.octets)))
        return FAILS(r, "5.1.3", "%.*s is no address", STR_ARG(r->domain));
    if (!hosts_alloc(r, 1))
        return false;
    h = host_add(r, r->domain, 0);
    h->addresses[!a.is_ipv6][h->count[!a.is_ipv6]++] = a;
    return finish(r);
}

/* ---- questions and answers ---- */

struct route *route_new(struct str domain, const struct route_rules *rules, struct arena *arena)
{
    struct route *r = arena_new(arena, struct route);

    if (!r)
        return NULL;
    r->domain = arena_str(arena, domain);
    r->rules = *rules;
    r->arena = arena;
    r->random = rules->seed ? rules->seed : 1;
    if (!r->domain.data)
        return NULL;
    if (str_starts(domain, STR("["))) {
        r->mx_asked = true;
        return take_literal(r) ? r : NULL;
    }
    return r;
}

struct route *route_new_host(struct str host, const struct route_rules *rules, struct arena *arena)
{
    struct route *r = route_new(host, rules, arena);

    if (r && !r->mx_asked) {
        r->mx_asked = true;
        return take_implicit(r) ? r : NULL;
    }
    return r;
}

bool route_next_question(struct route *r, struct route_question *ret_question)
{
    static const enum dns_type types[2] = {DNS_AAAA, DNS_A};

    if (r->done)
        return false;
    if (!r->mx_asked) {
        r->mx_asked = true;
        r->open++;
        *ret_question = (struct route_question){r->domain, DNS_MX};
        return true;
    }
    for (size_t i = 0; i < r->host_count; i++)
        for (unsigned f = 0; f < 2; f++)
            if (!r->hosts[i].asked[f]) {
                r->hosts[i].asked[f] = true;
                r->open++;
                *ret_question = (struct route_question){r->hosts[i].name, types[f]};
                return true;
            }
    return false;
}

static bool has_more_questions(const struct route *r)
{
    for (size_t i = 0; i < r->host_count; i++)
        if (!r->hosts[i].asked[0] || !r->hosts[i].asked[1])
            return true;
    return false;
}

bool route_answer(struct route *r, const struct route_question *question, const struct dns_answer *answer)
{
    assert(r->open && !r->done);
    r->open--;
    if (question->type == DNS_MX) {
        if (!answer_mx(r, answer))
            return false;
    } else {
        for (size_t i = 0; i < r->host_count; i++)
            if (r->hosts[i].name.data == question->name.data)
                answer_address(r, &r->hosts[i], question->type, answer);
    }
    return r->done || r->open || has_more_questions(r) || finish(r);
}

const struct route_result *route_result(const struct route *r) { return r->done ? &r->result : NULL; }
