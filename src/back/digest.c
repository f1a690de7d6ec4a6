/* digest.c: the postmasters' digests of what is held as unclaimed.
 *
 * A domain gets one when something new is held for it and its last one is unclaimed.digest ago (the first: when that
 * much time has passed since it began). When it got the last one is a state record, written in one group with the
 * digest itself, so that a restart neither repeats nor forgets one. Envelopes are read on a work thread; that is the
 * only time when all that is held is looked at, and it is left out while nothing new came. */
#include "mail/digest.h"
#include "back/back.h"
#include "role/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHECK_MS = 60 * 1000, MESSAGES_MAX = 20000, MEMORY = 64 << 20, STATE_TEXT = STATE_NAME_MAX };

struct held {
    uint64_t           id, size, since_ms;
    struct queue_place home, progress;
    const char        *home_dir;
};
struct domain_digest {
    struct str               name;
    struct mail_digest_entry entries[MAIL_DIGEST_ENTRIES_MAX];
    size_t                   count;
    uint64_t                 total, last_ms; /* when it got the one before; 0: never */
    uint64_t                 oldest_new_ms;  /* held since then; 0: nothing new */
    bool                     smtputf8;
};
struct digest_work {
    struct back          *back;
    struct arena          arena, record_arena;
    struct held          *held;
    size_t                count;
    struct domain_digest *domains;
    size_t                domain_count;
    const char           *lane0_dir;
    uint64_t              newest_ms;
};

static struct domain_digest *domain_of(struct digest_work *w, struct str name)
{
    for (size_t i = 0; i < w->domain_count; i++)
        if (str_eq(w->domains[i].name, name))
            return &w->domains[i];
    return NULL;
}

static void add(struct digest_work *w, const struct held *h, const struct message *m, const struct mail_address *to,
                uint64_t held_ms)
{
    struct domain_digest     *d = domain_of(w, to->domain);
    struct mail_digest_entry *e;
    char                      id[MESSAGE_ID_TEXT + 1];

    if (!d)
        return; /* not ours any more */
    d->total++;
    if (held_ms > d->last_ms && (!d->oldest_new_ms || held_ms < d->oldest_new_ms))
        d->oldest_new_ms = held_ms;
    if (d->count == MAIL_DIGEST_ENTRIES_MAX)
        return;
    message_id_text(h->id, id);
    e = &d->entries[d->count];
    *e = (struct mail_digest_entry){.id = arena_str(&w->arena, str_from(id)),
                                    .received_ms = m->received_ms,
                                    .expires_ms = h->since_ms + w->back->config->unclaimed.keep,
                                    .size = h->size,
                                    .client = arena_str(&w->arena, m->envelope.origin.client)};
    if (!e->id.data || !mail_address_copy(&m->envelope.sender, &w->arena, &e->from) ||
        !mail_address_copy(to, &w->arena, &e->to))
        return; /* counted, not shown */
    d->smtputf8 |= e->from.utf8 || e->to.utf8;
    d->count++;
}

static void look(void *arg)
{
    struct digest_work *w = arg;
    struct buf          buffer, second;

    buf_init(&buffer, BACK_RECORD_MAX + 4096);
    buf_init(&second, BACK_RECORD_MAX + 4096);
    for (size_t i = 0; i < w->count; i++) {
        const struct held *h = &w->held[i];
        struct message     m;
        struct progress    p;
        struct str         payload;

        arena_reset(&w->record_arena);
        if (!back_record_read(h->home_dir, h->home, RECORD_MESSAGE, &buffer, &payload, NULL) ||
            !record_message_get(payload, &w->record_arena, &m) ||
            !back_record_read(w->lane0_dir, h->progress, RECORD_PROGRESS, &second, &payload, NULL) ||
            !progress_get(payload, &w->record_arena, &p))
            continue; /* moved or finished meanwhile: in the next one, if at all */
        for (size_t k = 0; k < p.recipient_count; k++)
            if (p.recipients[k].state == RECIPIENT_UNCLAIMED) {
                size_t shown = k < m.envelope.recipient_count ? k : 0; /* of an alias: whoever the sender wrote to */

                add(w, h, &m, &m.envelope.recipients[shown].address, p.last_ms);
            }
    }
    buf_done(&buffer);
    buf_done(&second);
}

static void work_free(struct digest_work *w)
{
    arena_done(&w->arena);
    arena_done(&w->record_arena);
    free(w->held);
    free(w->domains);
    free(w);
}

static void stored(void *arg) { ((struct back *)arg)->digesting = false; }

static void put_digest(struct back *b, const struct domain_digest *d)
{
    struct back_store  *s = back_store_new(b, NULL, NULL);
    uint64_t            id = message_id_next(&b->ids, io_wall_ms());
    char                text[MESSAGE_ID_TEXT + 1], name[STATE_TEXT], value[24];
    struct mail_address to = {.local = STR("postmaster"), .domain = d->name};
    struct mail_digest  digest = {.mta = str_from(b->config->hostname),
                                  .id = str_from(text),
                                  .domain = d->name,
                                  .date_ms = message_id_time_ms(id),
                                  .entries = d->entries,
                                  .entry_count = d->count,
                                  .total = d->total,
                                  .smtputf8 = d->smtputf8};
    enum body_type      body;
    struct buf          out;

    message_id_text(id, text);
    digest.id = str_from(text);
    buf_init(&out, BACK_REPORT_MAX);
    if (!mail_digest_format(&digest, &out, &body) ||
        !back_message_put(b, s, id, 0, &to, body, d->smtputf8, buf_str(&out)))
        role_give_up("a digest cannot be made: out of memory", NULL);
    buf_done(&out);
    snprintf(name, sizeof name, "digest/%.*s", STR_ARG(d->name));
    snprintf(value, sizeof value, "%llu", (unsigned long long)io_wall_ms());
    state_put(str_from(name), str_from(value), back_store_record(s, RECORD_STATE));
    back_store_put(s);
    if (log_begin(LOG_LEVEL_INFO, "digest")) {
        log_z("id", text);
        log_str("domain", d->name);
        log_u64("messages", d->total);
        log_end();
    }
}

static void looked(void *arg)
{
    struct digest_work *w = arg;
    struct back        *b = w->back;
    struct back_store  *last = back_store_new(b, stored, b);
    uint64_t            now = io_wall_ms();
    bool                waits = false;

    for (size_t i = 0; i < w->domain_count; i++) {
        const struct domain_digest *d = &w->domains[i];

        if (!d->oldest_new_ms)
            continue;
        if (now - (d->last_ms ? d->last_ms : d->oldest_new_ms) >= b->config->unclaimed.digest)
            put_digest(b, d);
        else
            waits = true;
    }
    if (!waits)
        b->digest_done_ms = w->newest_ms;
    back_store_put(last); /* no record: it comes to its end after the others */
    work_free(w);
}

static bool gather(struct digest_work *w)
{
    struct back          *b = w->back;
    struct queue_message *m;

    w->held = calloc(b->queue.unclaimed_messages < MESSAGES_MAX ? b->queue.unclaimed_messages : MESSAGES_MAX,
                     sizeof *w->held);
    w->domains = calloc(b->config->domain_count, sizeof *w->domains);
    if (!w->held || !w->domains)
        return false;
    for (size_t at = 0;
         w->count < MESSAGES_MAX && w->count < b->queue.unclaimed_messages && (m = queue_next(&b->queue, &at));)
        if (m->unclaimed_count)
            w->held[w->count++] = (struct held){.id = m->id,
                                                .size = m->size,
                                                .since_ms = m->since_ms,
                                                .home = m->home,
                                                .progress = m->progress,
                                                .home_dir = back_lane_dir(b, m->home.lane)};
    for (; w->domain_count < b->config->domain_count; w->domain_count++) {
        struct domain_digest *d = &w->domains[w->domain_count];
        char                  name[STATE_TEXT];

        d->name = str_from(b->config->domains[w->domain_count].title);
        snprintf(name, sizeof name, "digest/%.*s", STR_ARG(d->name));
        str_to_u64(queue_state_value(&b->queue, str_from(name)), UINT64_MAX, &d->last_ms);
    }
    return true;
}

void back_digest_tick(struct back *b)
{
    uint64_t            every = b->config->unclaimed.digest, now = io_loop_now_ms(b->loop);
    struct digest_work *w;

    if (!every || b->digesting || !b->queue.unclaimed_messages || b->queue.newest_unclaimed_ms == b->digest_done_ms ||
        now - b->digest_checked_ms < (every < CHECK_MS ? every : CHECK_MS))
        return;
    b->digest_checked_ms = now;
    w = calloc(1, sizeof *w);
    if (!w)
        return;
    w->back = b;
    w->lane0_dir = back_lane_dir(b, LANE_BACK);
    w->newest_ms = b->queue.newest_unclaimed_ms;
    arena_init(&w->arena, 64 << 10, MEMORY);
    arena_init(&w->record_arena, 64 << 10, MEMORY);
    b->digesting = true;
    if (!gather(w) || !io_work(b->loop, look, looked, w)) {
        b->digesting = false;
        work_free(w);
    }
}
