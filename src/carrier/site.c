/* site.c: who waits where, whose turn it is, and who is put back. The turns themselves, windows and rests are
 * queue/site.h's; here is what it does not know: sessions that are idle, and what back is told.
 *
 * A site takes a hundred carriages at most, or what it took in a second if that is more, for what waits here has its
 * content in memory, and counts among those that back may have under way: it must not be all of one site's. Back hears
 * of room when half of them have gone, so that there is always something to do while the next come. Room that was
 * promised counts as taken until they have come.
 *
 * What begins happens at the end of a round of the loop (carrier_pump), so that all that a round brought takes part. */
#include "carrier/carrier.h"

#include <stdlib.h>
#include <xxhash.h>

enum {
    FIRST_CONNECTIONS = 5, /* to a site of which nothing is known */
    REST_MS = 60 * 1000,
    REST_MOST_MS = 1800 * 1000,
    WAITING_MOST = 500,
    ROOM_MOST = 100,         /* told at once */
    UNUSED_MS = 3600 * 1000, /* then a site is forgotten */
    UNUSED_SOON_MS = 60 * 1000,
    SWEEP_MS = 10 * 1000,
    HURRY_MS = 3 * 1000, /* between two tries that an operator asks for */
    FULL = 1000,
    PROMISE_MS = 10 * 1000, /* who has not come by then may have been removed meanwhile */
};

/* ---- parking ---- */

void carrier_parking_init(struct carrier *c, struct carrier_parking *p)
{
    *p = (struct carrier_parking){.number = ++c->next_number};
    list_init(&p->link);
}

void carrier_parking_add(struct carrier *c, struct carrier_parking *p)
{
    if (p->parked++ == 0)
        list_push(&c->parkings, &p->link);
}

static void parking_check(struct carrier *c, struct carrier_parking *p, size_t used, size_t most)
{
    uint64_t now_ms = carrier_now_ms(c), room;

    if (p->promised_ms + PROMISE_MS <= now_ms)
        p->promised = 0;
    if (!p->parked || c->draining || used + p->promised > most / 2)
        return;
    room = most - used - p->promised;
    if (room > ROOM_MOST)
        room = ROOM_MOST;
    if (room > p->parked)
        room = p->parked;
    p->parked -= room;
    p->promised += room;
    p->promised_ms = now_ms;
    if (!p->parked)
        list_remove(&p->link);
    carrier_room(c, p, (uint32_t)room);
}

void carrier_parkings_forget(struct carrier *c)
{
    struct list *link;

    while ((link = list_first(&c->parkings))) {
        struct carrier_parking *p = LIST_ITEM(link, struct carrier_parking, link);

        list_remove(link);
        p->parked = p->promised = 0;
    }
}

/* In thousandths, so that memory, files and promises are counted alike. */
static size_t full_by(const struct carrier *c)
{
    size_t memory = c->octets / (CARRIER_OCTETS / FULL), files = c->files * FULL / c->files_most;

    return memory > files ? memory : files;
}

bool carrier_is_full(const struct carrier *c) { return full_by(c) >= FULL; }

void carrier_check_full(struct carrier *c) { parking_check(c, &c->full, full_by(c), FULL); }

static void second_of(const struct carrier *c, struct carrier_site *site)
{
    uint64_t second = carrier_now_ms(c) / 1000;

    if (second == site->second)
        return;
    site->took[1] = second == site->second + 1 ? site->took[0] : 0;
    site->took[0] = 0;
    site->second = second;
}

void carrier_site_took(struct carrier *c, struct carrier_site *site)
{
    second_of(c, site);
    site->took[0]++;
    site_succeeded(&c->sites, site->site, carrier_now_ms(c));
}

static size_t waiting_most(const struct carrier *c, struct carrier_site *site)
{
    uint32_t took;

    second_of(c, site);
    took = site->took[0] > site->took[1] ? site->took[0] : site->took[1];
    return took < CARRIER_WAITING ? CARRIER_WAITING : took < WAITING_MOST ? took : WAITING_MOST;
}

static void check_room(struct carrier *c, struct carrier_site *site)
{
    uint64_t until_ms;

    if (site->parking.parked && !site_rests(site->site, carrier_now_ms(c), &until_ms))
        parking_check(c, &site->parking, site->site->waiting, waiting_most(c, site));
}

/* ---- sites ---- */

void carrier_sites_init(struct carrier *c)
{
    const struct config_times *retry = &c->config->queue.retry;

    c->rests = (struct site_rules){.rest_ms = REST_MS, .rest_most_ms = REST_MOST_MS};
    if (retry->count && retry->ms[0] < REST_MS)
        c->rests.rest_ms = retry->ms[0];
    if (retry->count && retry->ms[retry->count - 1] < REST_MOST_MS)
        c->rests.rest_most_ms = retry->ms[retry->count - 1];
    carrier_parking_init(c, &c->full);
}

static void site_drop(struct carrier *c, struct carrier_site *site)
{
    map_remove(&c->site_map, site->key);
    list_remove(&site->parking.link);
    free(site->failure);
    free(site);
}

void carrier_sites_done(struct carrier *c)
{
    struct carrier_site *site;

    for (size_t at = 0; (site = map_next(&c->site_map, &at));)
        site_drop(c, site);
    map_done(&c->site_map);
    sites_done(&c->sites);
}

static struct site_rules rules_of(const struct carrier *c, const struct config_route *settings)
{
    struct site_rules rules = c->rests;

    rules.most = (uint32_t)settings->connections;
    rules.first = rules.most < FIRST_CONNECTIONS ? rules.most : FIRST_CONNECTIONS;
    rules.per_minute = (uint32_t)settings->per_minute;
    return rules;
}

/* NULL: no memory, or too many are known. */
static struct carrier_site *site_find(struct carry *y)
{
    struct carrier         *c = y->carrier;
    const struct site_rules rules = rules_of(c, y->settings);
    struct str              key = y->routing->site_key;
    struct carrier_site    *site = map_get(&c->site_map, key);

    if (site) {
        site->site = site_get(&c->sites, key, &rules, carrier_now_ms(c));
        return site;
    }
    site = c->site_map.used < CARRIER_SITES ? calloc(1, sizeof *site + key.len) : NULL;
    if (!site)
        return NULL;
    memcpy(site + 1, key.data, key.len);
    site->key = str_of((const char *)(site + 1), key.len);
    carrier_parking_init(c, &site->parking);
    list_init(&site->idle);
    site->site = site_get(&c->sites, site->key, &rules, carrier_now_ms(c));
    if (site->site && map_put(&c->site_map, site->key, site))
        return site;
    free(site);
    return NULL;
}

/* The two ways of forgetting are one: what is left here is used again, so that sites_sweep leaves it too. */
static void sweep(struct carrier *c, uint64_t unused_ms)
{
    uint64_t             now_ms = carrier_now_ms(c), until_ms;
    struct carrier_site *site;

    for (size_t at = 0; (site = map_next(&c->site_map, &at));) {
        if (site->parking.parked)
            site->site->used_ms = now_ms;
        if (!site->site->waiting && !site->site->open && !site_rests(site->site, now_ms, &until_ms) &&
            site->site->used_ms + unused_ms <= now_ms)
            site_drop(c, site);
    }
    sites_sweep(&c->sites, now_ms, unused_ms);
}

void carrier_sites_tick(struct carrier *c)
{
    for (struct list *link = c->parkings.next, *next = link->next; link != &c->parkings;
         link = next, next = link->next) {
        struct carrier_parking *p = LIST_ITEM(link, struct carrier_parking, link);

        if (p != &c->full)
            check_room(c, LIST_ITEM(p, struct carrier_site, parking));
    }
    carrier_check_full(c);
    if (carrier_now_ms(c) < c->swept_ms + SWEEP_MS)
        return;
    c->swept_ms = carrier_now_ms(c);
    sweep(c, c->site_map.used < CARRIER_SITES / 2 ? UNUSED_MS : UNUSED_SOON_MS);
}

/* ---- turns ---- */

/* Who shares a turn: a sender, without what mailing lists and signed return paths put into each of their addresses. */
static uint64_t sender_of(const struct mail_address *a)
{
    size_t len = 0;

    while (len < a->local.len && !strchr("+-=", a->local.data[len]))
        len++;
    return XXH3_64bits(a->local.data, len) ^ XXH3_64bits_withSeed(a->domain.data, a->domain.len, 1);
}

static struct carry *carry_of(struct site_job *job) { return job ? LIST_ITEM(job, struct carry, job) : NULL; }

struct carry *carrier_site_next(struct carrier *c, struct carrier_site *site)
{
    struct carry *y = c->draining ? NULL : carry_of(site_next(&c->sites, site->site, carrier_now_ms(c)));

    check_room(c, site);
    return y;
}

static struct session *idle_of(struct carrier_site *site)
{
    struct list *link = list_first(&site->idle);

    return link ? LIST_ITEM(link, struct session, site_idle) : NULL;
}

void carrier_site_enter(struct carry *y)
{
    struct carrier      *c = y->carrier;
    struct carrier_site *site = y->site = site_find(y);
    uint64_t             now_ms = carrier_now_ms(c), until_ms;
    struct session      *idle;

    if (!site) {
        carry_put_back(y, &c->full);
        return;
    }
    if (site->parking.promised)
        site->parking.promised--;
    if (y->carriage.now)
        site_hurry(&c->sites, site->site, HURRY_MS, now_ms);
    if (site_rests(site->site, now_ms, &until_ms) || site->site->waiting >= waiting_most(c, site) ||
        !site_push(&c->sites, site->site, &y->job, sender_of(&y->carriage.sender), now_ms)) {
        carry_put_back(y, &site->parking);
        return;
    }
    carry_change(y, CARRY_WAITING);
    idle = idle_of(site);
    y = idle ? carrier_site_next(c, site) : NULL;
    if (y)
        session_take(idle, y);
}

static void begin(struct carrier *c, struct carry *y)
{
    struct carrier_site *site = y->site;
    struct session      *idle = idle_of(site);

    if (idle && session_fits(idle, y)) {
        site_ended(&c->sites, site->site, SITE_END_WELL, carrier_now_ms(c)); /* the one that was counted for it */
        session_take(idle, y);
    } else {
        session_begin(c, site, y);
    }
    check_room(c, site);
}

void carrier_pump(void *carrier)
{
    struct carrier *c = carrier;
    struct carry   *y;
    uint64_t        wake_ms;

    carrier_say_carried(c);
    if (c->draining)
        return;
    /* Idle connections must not keep others from theirs. */
    while (c->sites.open >= c->sites.open_most && !list_is_empty(&c->sites.ready) && !list_is_empty(&c->idle))
        session_quit(LIST_ITEM(list_first(&c->idle), struct session, idle_link));
    while ((y = carry_of(sites_next(&c->sites, carrier_now_ms(c)))))
        begin(c, y);
    wake_ms = sites_wake_ms(&c->sites);
    if (wake_ms == UINT64_MAX)
        io_timer_stop(c->wake);
    else
        io_timer_start(c->wake, wake_ms > carrier_now_ms(c) ? wake_ms - carrier_now_ms(c) : 0, 0);
}

/* ---- the end of a session ---- */

static void put_off(struct carrier *c, struct carrier_site *site, uint64_t until_ms)
{
    struct carry *y;

    while ((y = carry_of(site_take(&c->sites, site->site, carrier_now_ms(c))))) {
        carry_note_all(y, SMTP_CLIENT_DEFERRED, site->failure);
        y->result.retry_ms = until_ms;
        carry_settle(y);
    }
}

/* What was said in a transaction is about its message, and may name whom that was for: who wrote others hears only that
 * it was broken off. */
static void failure_keep(struct host_failure *kept, const struct host_failure *why)
{
    *kept = *why;
    if (why->stage >= SMTP_STAGE_RSET && why->stage <= SMTP_STAGE_MESSAGE)
        host_failure_set(kept, SMTP_STAGE_IDLE, 0, (struct smtp_status){4, 4, 2}, STR_NONE,
                         STR("the server breaks off what is sent to it"));
}

uint64_t carrier_site_ended(struct carrier_site *site, struct carrier *c, enum site_end how,
                            const struct host_failure *why)
{
    uint64_t now_ms = carrier_now_ms(c), until_ms;

    if (how == SITE_END_BADLY) {
        if (!site->failure)
            site->failure = malloc(sizeof *site->failure);
        if (site->failure)
            failure_keep(site->failure, why);
    }
    site_ended(&c->sites, site->site, how, now_ms);
    if (how != SITE_END_BADLY || !site_rests(site->site, now_ms, &until_ms))
        return 0;
    until_ms = io_wall_ms() + (until_ms - now_ms);
    if (site->failure)
        put_off(c, site, until_ms);
    return until_ms;
}
