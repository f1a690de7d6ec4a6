/* conclude.c: what an attempt came to: for each recipient that failed what follows from it (tried again, reported,
 * held, dropped), and the records of all of it in one group, so that a report exists exactly if the failure does.
 *
 *   recipient                            becomes
 *   failed for now, message young        pending, tried again (back/outcome.c)
 *   failed for now, older than expire    failed for good
 *   failed for good                      what policy/disclosure.h says: failed and reported, unclaimed, or dropped
 *   unclaimed, older than unclaimed.keep removed, counted, logged */
#include "back/back.h"
#include "mail/report.h"
#include "queue/schedule.h"
#include "role/log.h"

#include <stdlib.h>

enum { AGAIN_MS = 10 * 1000, ADDRESS_MAX = 1024 };

struct str attempt_address(struct attempt *a, const struct mail_address *address)
{
    struct str text = mail_address_text(address, &a->arena);

    return text.data ? text : STR("?");
}

/* Not of the arena: each recipient of very many has several lines. */
static void log_address(const char *key, const struct mail_address *address)
{
    struct buf text;

    buf_init(&text, ADDRESS_MAX);
    log_str(key, mail_address_format(address, &text) ? buf_str(&text) : STR("?"));
    buf_done(&text);
}

void attempt_log(struct attempt *a, size_t i, const char *result)
{
    const struct attempt_recipient *to = &a->to[i];
    char                            id[MESSAGE_ID_TEXT + 1];

    if (!log_begin(LOG_LEVEL_INFO, "attempt"))
        return;
    message_id_text(a->id, id);
    log_z("id", id);
    log_address("from", attempt_sender(a, i));
    log_address("rcpt", &to->address);
    if (to->root != i)
        log_address("original", &a->to[to->root].address);
    if (to->path && to->state == RECIPIENT_DELIVERED)
        log_z("mailbox", to->path);
    log_u64("attempt", a->progress.attempts + (to->given && !a->counts && !to->cut ? 0u : 1u));
    log_z("result", result);
    if (to->status.len)
        log_str("status", to->status);
    if (to->remote.len)
        log_str("remote", to->remote);
    if (to->remote_address.len)
        log_str("address", to->remote_address);
    if (to->code)
        log_u64("code", to->code);
    if (to->reply.len)
        log_str("reply", to->reply);
    if (to->reason.len)
        log_str("reason", to->reason);
    log_meaning(to->code, to->status, to->reply);
    log_u64("ms", to->began_ms ? io_wall_ms() - to->began_ms : 0);
    log_end();
}

/* ---- records ---- */

static void put_expansions(struct attempt *a, struct back_store *s)
{
    while (a->saved_count < a->count) { /* children of one recipient stand together */
        uint32_t         parent = a->to[a->saved_count].parent;
        struct expansion e = {.id = a->id, .parent = parent, .first = (uint32_t)a->saved_count};

        while (e.first + e.target_count < a->count && a->to[e.first + e.target_count].parent == parent)
            e.target_count++;
        e.targets = malloc(e.target_count * sizeof *e.targets); /* not of the arena, which may be full */
        if (!e.targets)
            role_give_up("out of memory", NULL);
        for (size_t i = 0; i < e.target_count; i++) {
            const struct attempt_recipient *to = &a->to[e.first + i];

            e.targets[i] = (struct expanded){to->address, to->sender, to->flags};
        }
        expansion_put(&e, back_store_record(s, RECORD_EXPANSION));
        free(e.targets);
        a->saved_count += e.target_count;
    }
}

static void put_recipient(const struct attempt_recipient *to, struct recipient_progress *p)
{
    *p = (struct recipient_progress){.state = to->state};
    if (recipient_state_is_final(to->state))
        return;
    p->status = to->status;
    p->reason = to->reason;
    p->remote = to->remote;
    p->remote_address = to->remote_address;
    p->code = to->code;
    p->reply = to->reply;
}

static void put_progress(struct attempt *a, struct back_store *s, struct progress *p)
{
    p->id = a->id;
    p->recipient_count = a->count;
    p->recipients = malloc(a->count * sizeof *p->recipients); /* the same, and a large message is saved often */
    if (!p->recipients)
        role_give_up("out of memory", NULL);
    for (size_t i = 0; i < a->count; i++)
        put_recipient(&a->to[i], &p->recipients[i]);
    progress_put(p, back_store_record(s, RECORD_PROGRESS));
    free(p->recipients);
    p->recipients = NULL;
}

static bool all_final(const struct attempt *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (!recipient_state_is_final(a->to[i].state))
            return false;
    return true;
}

static bool changed(const struct attempt *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->to[i].tried || a->to[i].state != a->to[i].before)
            return true;
    return false;
}

static void ended(void *arg)
{
    struct attempt *a = arg;

    carry_recorded(a);
    if (all_final(a) && a->message.external)
        back_body_remove(a->back, a->id);
    else
        carry_give(a);
    if (a->command_done)
        a->command_done(a->command_arg, true, NULL);
    back_attempt_free(a);
}

struct back_store *attempt_store(struct attempt *a) { return back_store_new(a->back, ended, a); }

void attempt_end(struct attempt *a, struct back_store *s, struct progress *p)
{
    if (all_final(a)) {
        finished_put(a->id, back_store_record(s, RECORD_FINISHED));
    } else {
        put_expansions(a, s);
        put_progress(a, s, p);
    }
    back_store_put(s);
}

void attempt_save(struct attempt *a)
{
    struct back_store *s = back_store_new(a->back, NULL, NULL);
    struct progress    p = a->progress;

    put_expansions(a, s);
    put_progress(a, s, &p);
    back_store_put(s);
}

/* ---- judgement ---- */

static uint64_t since_ms(const struct attempt *a)
{
    return a->progress.since_ms ? a->progress.since_ms : message_id_time_ms(a->id);
}

uint64_t attempt_expires_ms(const struct attempt *a)
{
    const struct config_queue *q = &a->back->config->queue;

    return since_ms(a) + (mail_address_is_null(&a->message.envelope.sender) ? q->expire_report : q->expire);
}

static bool is_older_than(const struct attempt *a, uint64_t ms) { return a->now_ms >= since_ms(a) + ms; }

/* The sender wants to hear of this (RFC 3461 4.1): 0 means NOTIFY was not given. */
static bool wants(const struct attempt *a, size_t i, enum dsn_notify what)
{
    uint8_t notify = attempt_envelope_recipient(a, i)->notify;

    return notify ? (notify & what) != 0 : what != NOTIFY_SUCCESS;
}

/* It was tried for long enough. "4.2.2" becomes "5.2.2", and what a server said last stays what it said; where nothing
 * better is known it is 5.4.7, time expired. */
static void expire(struct attempt *a, struct attempt_recipient *to)
{
    struct str status = to->status;

    to->last_status = status;
    if (status.len > 1 && (to->code || str_starts(status, STR("4.2."))))
        status = arena_printf(&a->arena, "5%.*s", STR_ARG(str_skip(status, 1)));
    else
        status = STR("5.4.7");
    to->status = status.data ? status : STR("5.4.7");
    to->permanent = true;
}

static void fail_for_good(struct attempt *a, size_t i, struct back_reports *reports)
{
    struct attempt_recipient  *to = &a->to[i];
    const struct mail_address *sender = attempt_sender(a, i);
    enum failure_outcome       outcome;

    if (attempt_is_override(a, i)) /* a list of ours: its owner is told, who asked to be */
        outcome = mail_address_is_null(sender) ? FAILURE_DROP : FAILURE_BOUNCE;
    else
        outcome = disclosure_failure(a->message.envelope.origin.class, mail_address_is_null(sender));
    switch (outcome) {
    case FAILURE_BOUNCE:
        to->state = RECIPIENT_FAILED;
        if (wants(a, i, NOTIFY_FAILURE)) {
            if (!back_reports_add(reports, i, REPORT_FAILED))
                role_give_up("out of memory", NULL);
            attempt_log(a, i, "bounced");
        } else {
            attempt_log(a, i, "failed-silently"); /* NOTIFY=NEVER */
        }
        break;
    case FAILURE_UNCLAIMED:
        to->state = RECIPIENT_UNCLAIMED;
        count(COUNTER_messages_held_total, 1);
        attempt_log(a, i, "held");
        break;
    case FAILURE_DROP:
        to->state = RECIPIENT_DROPPED;
        count(COUNTER_messages_dropped_total, 1);
        attempt_log(a, i, "dropped");
        break;
    }
}

static void judge_failures(struct attempt *a, struct back_reports *reports)
{
    const struct config *config = a->back->config;

    for (size_t i = 0; i < a->count; i++) {
        struct attempt_recipient *to = &a->to[i];

        if (to->state == RECIPIENT_UNCLAIMED && is_older_than(a, config->unclaimed.keep)) {
            to->state = RECIPIENT_REMOVED;
            count(COUNTER_unclaimed_expired_total, 1);
            attempt_log(a, i, "expired");
        } else if (to->state == RECIPIENT_PENDING && to->tried) {
            if (!to->permanent && a->now_ms >= attempt_expires_ms(a))
                expire(a, to);
            if (to->permanent)
                fail_for_good(a, i, reports);
            else
                count(COUNTER_attempts_deferred_total, 1);
        }
    }
}

/* What another server took is reported by that server, unless it cannot (RFC 3461 5.2.2, 5.2.3). */
static void judge_successes(struct attempt *a, struct back_reports *reports)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt_recipient *to = &a->to[i];
        bool                            direct = to->root == i || a->to[to->parent].children == 1;

        if (to->state == to->before || !wants(a, i, NOTIFY_SUCCESS) || attempt_is_override(a, i) || to->reports)
            continue;
        if (to->state == RECIPIENT_DELIVERED && direct)
            back_reports_add(reports, i, to->relayed ? REPORT_RELAYED : REPORT_DELIVERED);
        else if (to->state == RECIPIENT_EXPANDED && to->root == i && to->children > 1)
            back_reports_add(reports, i, REPORT_EXPANDED);
    }
}

/* Once for each message, when it has taken long. True: told, or nobody wants to know or may (`reports` is NULL). */
static bool judge_delay(struct attempt *a, struct back_reports *reports)
{
    uint64_t notice_ms = a->back->config->queue.delay_notice;
    bool     late = false;

    if (!notice_ms || !is_older_than(a, notice_ms))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        enum recipient_state state = a->to[i].state;

        if (state != RECIPIENT_PENDING)
            continue;
        late = true;
        if (reports && wants(a, i, NOTIFY_DELAY) && !attempt_is_override(a, i))
            back_reports_add(reports, i, REPORT_DELAYED);
    }
    return late;
}

/* The earliest of those that were tried, unless others come earlier. */
static uint64_t next_attempt_ms(const struct attempt *a, uint32_t attempts)
{
    uint64_t end = attempt_expires_ms(a), next = UINT64_MAX;

    for (size_t i = 0; i < a->count; i++)
        if (a->to[i].tried && a->to[i].state == RECIPIENT_PENDING) {
            uint64_t at = outcome_next_ms(a, i, attempts);

            if (at < next)
                next = at;
        }
    if (next == UINT64_MAX || (a->progress.next_ms > a->now_ms && a->progress.next_ms < next))
        next = a->progress.next_ms;
    return end > a->now_ms && next > end ? end : next;
}

static bool any_tried(struct attempt *a)
{
    bool any = false;

    for (size_t i = 0; i < a->count; i++) {
        any |= a->to[i].tried;
        a->counts |= a->to[i].tried && !a->to[i].given;
    }
    return any;
}

void attempt_conclude(struct attempt *a)
{
    struct progress      p = a->progress;
    struct back_reports *reports = back_reports_new(a);
    struct back_store   *s;
    bool                 tell, tried;

    a->now_ms = io_wall_ms();
    tried = any_tried(a);
    judge_failures(a, reports);
    tell = disclosure_may_report_success(a->message.envelope.origin.class,
                                         mail_address_is_null(&a->message.envelope.sender));
    if (tell)
        judge_successes(a, reports);
    if (!(p.flags & PROGRESS_DELAY_TOLD) && judge_delay(a, tell ? reports : NULL))
        p.flags |= PROGRESS_DELAY_TOLD;
    if (tried) {
        p.attempts += a->counts;
        p.last_ms = a->now_ms;
        p.next_ms = next_attempt_ms(a, p.attempts);
    }
    if (!changed(a) && p.flags == a->progress.flags && !all_final(a)) {
        struct queue_message *m = queue_find(&a->back->queue, a->id);

        back_reports_put(reports, NULL);
        carry_give(a);
        if (m && !m->parked && !back_carriage_first(a->back, a->id)) /* stopped before it began */
            queue_delay(&a->back->queue, m, a->now_ms + AGAIN_MS);
        back_attempt_free(a);
        return;
    }
    s = attempt_store(a);
    back_reports_put(reports, s);
    attempt_end(a, s, &p);
}
