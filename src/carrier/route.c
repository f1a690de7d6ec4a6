/* route.c: the ways of carriages. Those that come while a way is being asked for wait for the same answers, and
 * for some seconds others take it as it is: a mailing to ten thousand people of one domain asks once. It is not kept
 * for as long as the DNS would allow; that is the resolver's to do, and asking it is cheap.
 *
 * The site of a way is named by the hosts that are preferred, whatever their addresses: domains that are hosted
 * together share connections, turns and patience. A smarthost is named by itself, and by who we are to it.
 *
 * "We ourselves", whom no mail may be sent to, is an address of this machine together with a port that we listen on:
 * another server may well live beside us. */
#include "carrier/carrier.h"
#include "role/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    KEPT_MS = 10 * 1000,
    KEPT_FAILED_MS = 5 * 1000,
    ROUTE_CHUNK = 4096,
    ROUTE_MEMORY = 128 << 10,
    ROUTING_CHUNK = 1024,
    ROUTING_MEMORY = 128 << 10,
    LISTEN_ADDRESSES = 2,
};

struct asked {
    struct list             link; /* in routing.questions */
    struct routing         *routing;
    struct route_question   question;
    struct lookup_question *lookup;
};

/* ---- we ourselves ---- */

static bool is_our_name(struct str host, void *arg)
{
    const struct routing *r = arg;
    const struct config  *config = r->carrier->config;

    return str_eq(host, str_from(config->hostname)) || config_domain_find(config, host);
}

static bool is_any(const struct io_address *a)
{
    char text[IO_ADDRESS_TEXT];

    io_address_host(a, text);
    return strcmp(text, "0.0.0.0") == 0 || strcmp(text, "::") == 0;
}

static bool is_same_host(const struct io_address *a, const struct io_address *b)
{
    char a_text[IO_ADDRESS_TEXT], b_text[IO_ADDRESS_TEXT];

    io_address_host(a, a_text);
    io_address_host(b, b_text);
    return strcmp(a_text, b_text) == 0;
}

static bool is_our_address(const struct dns_address *address, void *arg)
{
    const struct routing *r = arg;
    const struct config  *config = r->carrier->config;
    struct io_address     to = io_address_of(address, r->port), ours[LISTEN_ADDRESSES];
    size_t                count;

    for (size_t i = 0; i < config->listen_count; i++) {
        if (!io_address_parse(str_from(config->listens[i].address), ours, LISTEN_ADDRESSES, &count, NULL))
            continue;
        for (size_t k = 0; k < count; k++)
            if (io_address_port(&ours[k]) == r->port &&
                (is_same_host(&ours[k], &to) || (is_any(&ours[k]) && io_address_is_local(&to))))
                return true;
    }
    return false;
}

/* ---- a way's life ---- */

static void forget(struct routing *r)
{
    if (list_is_empty(&r->age))
        return;
    list_remove(&r->age);
    map_remove(&r->carrier->routing_map, r->key);
}

static void ask_no_more(struct routing *r)
{
    while (!list_is_empty(&r->questions)) {
        struct asked *a = LIST_ITEM(list_first(&r->questions), struct asked, link);

        lookup_cancel(a->lookup);
        list_remove(&a->link);
        free(a);
    }
}

static void free_unused(struct routing *r)
{
    if (r->users || !list_is_empty(&r->age))
        return;
    ask_no_more(r);
    arena_done(&r->scratch);
    arena_done(&r->arena);
    free(r);
}

void routing_leave(struct carry *y)
{
    struct routing *r = y->routing;

    if (!r)
        return;
    y->routing = NULL;
    list_remove(&y->routing_link);
    r->users--;
    free_unused(r);
}

void routings_tick(struct carrier *c)
{
    for (struct list *link = c->routings.next, *next = link->next; link != &c->routings;
         link = next, next = link->next) {
        struct routing *r = LIST_ITEM(link, struct routing, age);

        if ((r->route || r->until_ms > carrier_now_ms(c)) && c->routing_map.used <= CARRIER_ROUTINGS)
            continue;
        forget(r);
        free_unused(r);
    }
}

void routings_done(struct carrier *c)
{
    while (!list_is_empty(&c->routings)) {
        struct routing *r = LIST_ITEM(list_first(&c->routings), struct routing, age);

        forget(r);
        free_unused(r);
    }
}

/* ---- the end of asking ---- */

static struct smtp_status status_of(const char *text)
{
    struct str rest = str_from(text);
    uint64_t class = 0, subject = 0, detail = 0;

    str_to_u64(str_cut(&rest, '.'), 5, &class);
    str_to_u64(str_cut(&rest, '.'), 999, &subject);
    str_to_u64(rest, 999, &detail);
    return (struct smtp_status){(uint8_t) class, (uint16_t)subject, (uint16_t)detail};
}

static void out_of_memory(struct routing *r)
{
    r->outcome = ROUTE_WAITS;
    r->status = (struct smtp_status){4, 3, 0};
    r->reason = STR("this server is out of memory");
}

static int by_name(const void *a, const void *b) { return str_cmp(*(const struct str *)a, *(const struct str *)b); }

/* The hosts of the best preference, each once, in the order of their names. */
static struct str mx_site_key(struct routing *r)
{
    struct str names[ROUTE_TARGETS] = {r->targets[0].host};
    size_t     count = 1;
    struct buf key;
    struct str kept;

    for (size_t i = 1; i < r->target_count && r->targets[i].preference == r->targets[0].preference; i++) {
        bool known = false;

        for (size_t k = 0; k < count; k++)
            known = known || str_eq(names[k], r->targets[i].host);
        if (!known)
            names[count++] = r->targets[i].host;
    }
    qsort(names, count, sizeof *names, by_name);
    buf_init(&key, ROUTING_MEMORY);
    buf_printf(&key, "mx:%u", r->port);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(&key, ' ');
        buf_append(&key, names[i]);
    }
    kept = buf_ok(&key) ? arena_str(&r->arena, buf_str(&key)) : STR_NONE;
    buf_done(&key);
    return kept;
}

static bool take_targets(struct routing *r, const struct route_result *result)
{
    r->targets = arena_alloc(&r->arena, result->target_count * sizeof *r->targets);
    if (!r->targets)
        return false;
    for (size_t i = 0; i < result->target_count; i++) {
        const struct route_target *t = &result->targets[i];

        r->targets[i] =
            (struct carrier_target){arena_str(&r->arena, t->host), io_address_of(&t->address, r->port), t->preference};
        if (!r->targets[i].host.data)
            return false;
    }
    r->target_count = result->target_count;
    r->site_key = r->via.kind == VIA_MX ? mx_site_key(r) : r->key;
    return r->site_key.data != NULL;
}

/* A smarthost that is not found is a slip in our settings, or somebody else's: no mail is lost for it. */
static void take_failure(struct routing *r, const struct route_result *result)
{
    r->status = status_of(result->status);
    r->outcome = result->outcome;
    if (r->via.kind != VIA_MX && r->outcome == ROUTE_FAILS) {
        r->outcome = ROUTE_WAITS;
        r->status.class = 4;
    }
    r->reason = arena_str(&r->arena, result->reason);
    if (!r->reason.data)
        out_of_memory(r);
}

static void routed(struct carry *y)
{
    struct routing *r = y->routing;

    if (r->outcome == ROUTE_FOUND) {
        carrier_site_enter(y);
        return;
    }
    carry_note_plain(y, r->outcome == ROUTE_FAILS ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, r->status, r->reason);
    carry_settle(y);
}

static void conclude(struct routing *r)
{
    const struct route_result *result = route_result(r->route);
    struct list               *link;

    ask_no_more(r); /* some are open only where memory was short */
    r->outcome = ROUTE_FOUND;
    if (!result)
        out_of_memory(r);
    else if (result->outcome != ROUTE_FOUND)
        take_failure(r, result);
    else if (!take_targets(r, result))
        out_of_memory(r);
    if (result)
        carrier_log_route(r, result);
    r->route = NULL;
    arena_done(&r->scratch);
    r->until_ms = carrier_now_ms(r->carrier) + (r->outcome == ROUTE_FOUND ? KEPT_MS : KEPT_FAILED_MS);
    r->users++;
    while ((link = list_first(&r->carries))) {
        list_remove(link);
        routed(LIST_ITEM(link, struct carry, routing_link));
    }
    r->users--;
    free_unused(r);
}

/* ---- asking ---- */

static void ask_on(struct routing *r);

static void answered(const struct dns_answer *answer, void *arg)
{
    struct asked         *a = arg;
    struct routing       *r = a->routing;
    struct route_question question = a->question;

    list_remove(&a->link);
    free(a);
    if (route_answer(r->route, &question, answer))
        ask_on(r);
    else
        conclude(r);
}

static bool ask(struct routing *r, const struct route_question *question)
{
    struct asked *a = calloc(1, sizeof *a);

    if (!a)
        return false;
    *a = (struct asked){.routing = r, .question = *question};
    a->lookup = lookup_ask(&r->carrier->lookup, question->name, question->type, answered, a);
    if (!a->lookup) {
        free(a);
        return false;
    }
    list_init(&a->link);
    list_push(&r->questions, &a->link);
    return true;
}

static void ask_on(struct routing *r)
{
    const struct dns_answer none = {.outcome = DNS_FAILED, .why = "out of memory"};
    struct route_question   question;
    bool                    ok = true;

    while (ok && route_next_question(r->route, &question))
        ok = ask(r, &question) || route_answer(r->route, &question, &none);
    if (!ok || route_result(r->route))
        conclude(r);
}

static void route_begin(struct routing *r, const struct carry *y)
{
    const struct route_rules rules = {.is_our_name = r->via.kind == VIA_MX ? is_our_name : NULL,
                                      .is_our_address = is_our_address,
                                      .arg = r,
                                      .seed = XXH3_64bits(&y->key, sizeof y->key) ^ r->carrier->next_number,
                                      .ipv4 = true,
                                      .ipv6 = true};
    struct str               host = r->via.host;

    if (r->via.literal) /* as the grammar of mail has them */
        host = arena_printf(&r->scratch, str_find_byte(host, ':') == STR_NOT_FOUND ? "[%.*s]" : "[IPv6:%.*s]",
                            STR_ARG(host));
    if (!host.data && r->via.kind != VIA_MX)
        return;
    r->route = r->via.kind == VIA_MX ? route_new(y->carriage.domain, &rules, &r->scratch)
                                     : route_new_host(host, &rules, &r->scratch);
}

static bool take_socket(struct routing *r)
{
    char              text[IO_ADDRESS_TEXT + 8];
    struct io_address addresses[LISTEN_ADDRESSES];
    size_t            count;

    snprintf(text, sizeof text, "unix:%.*s", STR_ARG(r->via.path));
    r->targets = arena_new(&r->arena, struct carrier_target);
    if (!r->targets || !io_address_parse(str_from(text), addresses, LISTEN_ADDRESSES, &count, NULL))
        return false;
    r->targets[0] = (struct carrier_target){.host = r->via.path, .address = addresses[0]};
    r->target_count = 1;
    r->site_key = r->key;
    return true;
}

/* ---- joining ---- */

static struct str key_make(const struct carry *y, struct arena *arena)
{
    const struct via *v = &y->via;
    const char       *protocol = v->lmtp ? "lmtp" : "smtp";

    switch (v->kind) {
    case VIA_MX:
        return arena_printf(arena, "mx:%u %.*s", (unsigned)y->settings->port, STR_ARG(y->carriage.domain));
    case VIA_SOCKET:
        return arena_printf(arena, "%s:%.*s %s", protocol, STR_ARG(v->path), y->settings->user);
    case VIA_HOST:
    case VIA_DISCARD:
    case VIA_HOLD:
        break;
    }
    return arena_printf(arena, "%s:%.*s:%u %s", protocol, STR_ARG(v->host), v->port, y->settings->user);
}

static struct routing *routing_new(struct carry *y, struct str key)
{
    struct carrier *c = y->carrier;
    struct routing *r = calloc(1, sizeof *r);
    bool            ok;

    if (!r)
        return NULL;
    *r = (struct routing){.carrier = c, .via = y->via, .port = y->via.port};
    if (y->via.kind == VIA_MX)
        r->port = (uint16_t)y->settings->port;
    list_init(&r->age);
    list_init(&r->carries);
    list_init(&r->questions);
    arena_init(&r->arena, ROUTING_CHUNK, ROUTING_MEMORY);
    arena_init(&r->scratch, ROUTE_CHUNK, ROUTE_MEMORY);
    r->key = arena_str(&r->arena, key);
    r->via.host = arena_str(&r->arena, y->via.host);
    r->via.path = arena_str(&r->arena, y->via.path);
    ok = r->key.data && r->via.host.data && r->via.path.data;
    if (ok && y->via.kind == VIA_SOCKET)
        ok = take_socket(r);
    else if (ok)
        route_begin(r, y);
    if (ok && (r->route || r->target_count) && map_put(&c->routing_map, r->key, r)) {
        list_push(&c->routings, &r->age);
        return r;
    }
    free_unused(r);
    return NULL;
}

void routing_join(struct carry *y)
{
    struct carrier *c = y->carrier;
    struct str      key = key_make(y, &y->arena);
    struct routing *r = key.data ? map_get(&c->routing_map, key) : NULL;
    bool            fresh = false;

    if (r && !r->route && r->until_ms && r->until_ms <= carrier_now_ms(c)) {
        forget(r);
        free_unused(r);
        r = NULL;
    }
    if (!r && key.data) {
        r = routing_new(y, key);
        fresh = true;
    }
    if (!r) {
        carry_note_plain(y, SMTP_CLIENT_DEFERRED, (struct smtp_status){4, 3, 0}, STR("this server is out of memory"));
        carry_settle(y);
        return;
    }
    y->routing = r;
    r->users++;
    if (!r->route) {
        routed(y);
        return;
    }
    list_push(&r->carries, &y->routing_link);
    if (fresh)
        ask_on(r);
}
