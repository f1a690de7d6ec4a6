/* site.c: see site.h.
 *
 * The window is kept in parts of a connection, so that it can grow with each message. Growth by one for
 * each window of successes and halving at failure is what TCP does for the same reason: many who share a site each find
 * their part of it, and nobody has to be told how much it bears. Postfix's cohort counters were the model; per domain,
 * as there, was rejected: ten thousand domains at one provider share its patience.
 *
 * The rate is a clock that runs ahead: each message sets it on by a minute's share, and a burst of what ten seconds
 * allow is saved up. */
#include "queue/site.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    PARTS = 256,    /* of a connection, in `window` */
    DEAD_AFTER = 3, /* failures in a row, with nothing open that could still succeed */
    BURST_MS = 10 * 1000,
};

struct site_sender {
    struct list link; /* in site.senders */
    struct list jobs;
    uint64_t    key; /* in sites.senders */
};

void sites_init(struct sites *s, uint64_t seed, uint32_t open_most, uint32_t stalled_most)
{
    *s = (struct sites){.open_most = open_most, .stalled_most = stalled_most};
    map_init(&s->sites, seed);
    map_init(&s->senders, seed);
    list_init(&s->ready);
    heap_init(&s->asleep);
}

static void site_free(struct sites *s, struct site *site)
{
    assert(list_is_empty(&site->senders));
    list_remove(&site->turn);
    heap_remove(&s->asleep, &site->wake);
    free(site);
}

void sites_done(struct sites *s)
{
    struct site *site;

    for (size_t at = 0; (site = map_next(&s->sites, &at));)
        site_free(s, site);
    map_done(&s->sites);
    map_done(&s->senders);
    heap_done(&s->asleep);
}

/* ---- states ---- */

static uint32_t most_open(const struct site *site)
{
    uint32_t whole = site->window / PARTS;

    return whole < 1 ? 1 : whole > site->rules.most ? site->rules.most : whole;
}

uint64_t site_next_ms(const struct site *site)
{
    uint64_t rate_ms = site->rules.per_minute ? site->allowance_ms : 0;

    return rate_ms > site->rest_until_ms ? rate_ms : site->rest_until_ms;
}

/* The only place where the state changes. */
static void settle(struct sites *s, struct site *site, uint64_t now_ms)
{
    enum site_state state = site->waiting == 0              ? SITE_IDLE
                            : site->open >= most_open(site) ? SITE_FULL
                            : site_next_ms(site) > now_ms   ? SITE_ASLEEP
                                                            : SITE_READY;

    if (state == SITE_ASLEEP) {
        list_remove(&site->turn);
        if (!heap_put(&s->asleep, &site->wake, site_next_ms(site)))
            state = SITE_READY; /* no memory to sleep: it is looked at in each round */
    }
    if (state != SITE_ASLEEP)
        heap_remove(&s->asleep, &site->wake);
    if (state != SITE_READY)
        list_remove(&site->turn);
    else if (list_is_empty(&site->turn))
        list_push(&s->ready, &site->turn);
    site->state = state;
}

static void wake_up(struct sites *s, uint64_t now_ms)
{
    struct heap_item *first;

    while ((first = heap_first(&s->asleep)) && first->key <= now_ms)
        settle(s, LIST_ITEM(first, struct site, wake), now_ms);
}

uint64_t sites_wake_ms(const struct sites *s)
{
    struct heap_item *first = heap_first(&s->asleep);

    return first ? first->key : UINT64_MAX;
}

/* ---- sites and jobs ---- */

struct site *site_get(struct sites *s, struct str key, const struct site_rules *rules, uint64_t now_ms)
{
    struct site *site = map_get(&s->sites, key);

    assert(rules->first >= 1 && rules->most >= 1);
    if (!site) {
        site = calloc(1, sizeof *site + key.len);
        if (!site)
            return NULL;
        if (key.len)
            memcpy(site + 1, key.data, key.len);
        site->key = str_of((const char *)(site + 1), key.len);
        list_init(&site->turn);
        list_init(&site->senders);
        site->window = rules->first * PARTS;
        if (!map_put(&s->sites, site->key, site)) {
            free(site);
            return NULL;
        }
    }
    site->rules = *rules;
    site->used_ms = now_ms;
    settle(s, site, now_ms);
    return site;
}

static struct site_sender *sender_get(struct sites *s, struct site *site, uint64_t sender)
{
    const uint64_t      both[2] = {(uint64_t)(uintptr_t)site, sender};
    uint64_t            key = XXH3_64bits_withSeed(both, sizeof both, s->sites.seed);
    struct site_sender *x = map_get_u64(&s->senders, key);

    if (x)
        return x;
    x = calloc(1, sizeof *x);
    if (!x || !map_put_u64(&s->senders, key, x)) {
        free(x);
        return NULL;
    }
    x->key = key;
    list_init(&x->jobs);
    list_init(&x->link);
    list_push(&site->senders, &x->link);
    return x;
}

bool site_push(struct sites *s, struct site *site, struct site_job *job, uint64_t sender, uint64_t now_ms)
{
    job->site = site;
    job->sender = sender_get(s, site, sender);
    if (!job->sender)
        return false;
    list_init(&job->link);
    list_push(&job->sender->jobs, &job->link);
    site->waiting++;
    site->used_ms = now_ms;
    settle(s, site, now_ms);
    return true;
}

static void unlink_job(struct sites *s, struct site_job *job)
{
    struct site_sender *x = job->sender;

    list_remove(&job->link);
    job->site->waiting--;
    job->sender = NULL;
    if (!list_is_empty(&x->jobs))
        return;
    list_remove(&x->link);
    map_remove_u64(&s->senders, x->key);
    free(x);
}

void site_remove(struct sites *s, struct site_job *job, uint64_t now_ms)
{
    unlink_job(s, job);
    settle(s, job->site, now_ms);
}

/* The first job of the sender whose turn it is; who has more goes to the end of the round. */
static struct site_job *pop(struct sites *s, struct site *site)
{
    struct list        *first = list_first(&site->senders);
    struct site_job    *job;
    struct site_sender *x;

    if (!first)
        return NULL;
    x = LIST_ITEM(first, struct site_sender, link);
    job = LIST_ITEM(list_first(&x->jobs), struct site_job, link);
    list_remove(&x->link);
    list_push(&site->senders, &x->link);
    unlink_job(s, job);
    return job;
}

static void spend_rate(struct site *site, uint64_t now_ms)
{
    if (!site->rules.per_minute)
        return;
    if (site->allowance_ms + BURST_MS < now_ms)
        site->allowance_ms = now_ms - BURST_MS;
    site->allowance_ms += 60 * 1000 / site->rules.per_minute + (60 * 1000 % site->rules.per_minute != 0);
}

struct site_job *sites_next(struct sites *s, uint64_t now_ms)
{
    struct list     *first;
    struct site     *site;
    struct site_job *job;

    wake_up(s, now_ms);
    if (s->open >= s->open_most)
        return NULL;
    while ((first = list_first(&s->ready))) {
        site = LIST_ITEM(first, struct site, turn);
        list_remove(&site->turn);
        settle(s, site, now_ms); /* at the end of the round, if it may still */
        if (site->state != SITE_READY)
            continue;
        job = pop(s, site);
        site->open++;
        s->open++;
        site->used_ms = now_ms;
        spend_rate(site, now_ms);
        settle(s, site, now_ms);
        return job;
    }
    return NULL;
}

struct site_job *site_next(struct sites *s, struct site *site, uint64_t now_ms)
{
    struct site_job *job;

    /* Too many are open for what it bears by now: this one is not to go on. */
    if (site->waiting == 0 || site_next_ms(site) > now_ms || site->open > most_open(site))
        return NULL;
    job = pop(s, site);
    site->used_ms = now_ms;
    spend_rate(site, now_ms);
    settle(s, site, now_ms);
    return job;
}

struct site_job *site_take(struct sites *s, struct site *site, uint64_t now_ms)
{
    struct site_job *job = pop(s, site);

    settle(s, site, now_ms);
    return job;
}

/* ---- what became of it ---- */

bool site_stall(struct sites *s)
{
    if (s->stalled >= s->stalled_most)
        return false;
    s->stalled++;
    s->open--;
    return true;
}

void site_unstall(struct sites *s)
{
    assert(s->stalled > 0);
    s->stalled--;
    s->open++;
}

void site_succeeded(struct sites *s, struct site *site, uint64_t now_ms)
{
    site->failures = 0;
    site->rest_ms = site->rest_until_ms = 0;
    site->used_ms = now_ms;
    if (site->window < site->rules.most * PARTS) {
        uint32_t step = PARTS / most_open(site);

        site->window += step ? step : 1;
    }
    settle(s, site, now_ms);
}

static void rest(struct site *site, uint64_t now_ms)
{
    uint64_t most = site->rules.rest_most_ms;

    site->rest_ms = site->rest_ms ? site->rest_ms * 2 : site->rules.rest_ms;
    if (site->rest_ms > most)
        site->rest_ms = most;
    site->rest_until_ms = now_ms + site->rest_ms;
    site->window = PARTS; /* one tries first */
}

void site_ended(struct sites *s, struct site *site, enum site_end how, uint64_t now_ms)
{
    assert(site->open > 0 && s->open > 0);
    site->open--;
    s->open--;
    site->used_ms = now_ms;
    if (how == SITE_END_BADLY) {
        site->failures++;
        site->window = site->window / 2 < PARTS ? PARTS : site->window / 2;
        /* While it rests those that were opened before may still end badly: that is not another time. */
        if (site->rest_until_ms <= now_ms && site->open == 0 && (site->failures >= DEAD_AFTER || site->rest_ms))
            rest(site, now_ms);
    }
    settle(s, site, now_ms);
}

bool site_rests(const struct site *site, uint64_t now_ms, uint64_t *ret_until_ms)
{
    if (site->rest_until_ms <= now_ms)
        return false;
    *ret_until_ms = site->rest_until_ms;
    return true;
}

void site_hurry(struct sites *s, struct site *site, uint64_t least_ms, uint64_t now_ms)
{
    if (site->rest_until_ms <= now_ms || now_ms < site->rest_until_ms - site->rest_ms + least_ms)
        return;
    site->rest_until_ms = now_ms;
    settle(s, site, now_ms);
}

void sites_sweep(struct sites *s, uint64_t now_ms, uint64_t unused_ms)
{
    struct site *site;

    for (size_t at = 0; (site = map_next(&s->sites, &at));)
        if (!site->waiting && !site->open && site->used_ms + unused_ms <= now_ms && site->rest_until_ms <= now_ms) {
            map_remove(&s->sites, site->key);
            site_free(s, site);
        }
}
