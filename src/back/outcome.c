/* outcome.c: what the carrier said of a carriage becomes states of recipients, and when they are tried again.
 *
 *   verdict of the server        recipient
 *   accepted                     delivered
 *   deferred                     pending, tried again by queue.retry (a mailbox of ours: queue.local_retry)
 *   failed                       fails for good
 *   551, and follow_551          replaced by the new address, once
 *   refused by every host        pending, 4.y.z; after REFUSALS of them it fails, 5.y.z, with what the hosts said
 *   the carrier ended, or cut    pending, tried again soon; it counts as no attempt, and nothing is held against the
 *   it off in order to end       server */
#include "back/back.h"
#include "back/contact.h"
#include "queue/schedule.h"
#include "role/log.h"

enum { REFUSALS = 4, REFUSED_MS = 20 * 60 * 1000 };

static struct str status_text(struct attempt *a, struct smtp_status status)
{
    char text[SMTP_STATUS_TEXT];

    return arena_str(&a->arena, smtp_status_text(status, text));
}

static bool is_ours(const struct attempt *a, size_t i)
{
    return config_domain_find(a->back->config, a->to[i].address.domain) != NULL;
}

uint64_t outcome_next_ms(const struct attempt *a, size_t i, uint32_t attempts)
{
    const struct attempt_recipient *to = &a->to[i];
    const struct config            *config = a->back->config;
    const struct config_times *waits = is_ours(a, i) || to->cut ? &config->queue.local_retry : &config->queue.retry;
    uint64_t wait = schedule_wait_ms(waits->ms, waits->count, to->cut ? 1 : attempts, a->id ^ a->back->seed);

    if (to->refused && wait > REFUSED_MS)
        wait = REFUSED_MS;
    return a->now_ms + wait > to->retry_ms ? a->now_ms + wait : to->retry_ms;
}

/* The recipient is replaced by the address that a 551 named: never a second time, and not by one that led here. */
static bool follow(struct attempt *a, size_t i, const struct mail_address *moved_to)
{
    const struct config_route *route =
        config_route_find(a->back->config, attempt_sender(a, i), a->to[i].address.domain);
    struct attempt_recipient *child;

    if (is_ours(a, i) || route->follow_551 != CONFIG_FOLLOW_TRUSTED || a->to[i].flags & EXPANDED_FOLLOWED)
        return false;
    for (size_t k = i;; k = a->to[k].parent) {
        if (mail_address_eq(&a->to[k].address, moved_to))
            return false;
        if (a->to[k].parent == k)
            break;
    }
    child = attempt_expand(a, (uint32_t)i);
    if (!child)
        return false;
    child->address = *moved_to;
    child->flags = (uint8_t)(EXPANDED_FOLLOWED | (a->to[i].flags & EXPANDED_HIDE) |
                             (config_domain_find(a->back->config, moved_to->domain) ? 0 : EXPANDED_REMOTE));
    child->due = true;
    a->to[i].state = RECIPIENT_EXPANDED;
    a->to[i].reason = STR("the server named a new address, which is followed");
    attempt_log(a, i, "followed");
    return true;
}

static void apply_one(struct attempt *a, size_t i, const struct carried *carried, const struct carried_recipient *said)
{
    struct attempt_recipient *to = &a->to[i];
    bool                      was_refused = to->code >= 500, ours = is_ours(a, i);

    to->remote = carried->host;
    to->remote_address = carried->address;
    to->code = said->code;
    to->reply = said->code ? arena_printf(&a->arena, "%u %.*s", said->code, STR_ARG(said->text)) : STR_NONE;
    to->reason = said->words;
    to->retry_ms = carried->retry_ms;
    to->refused = carried->refused;
    to->permanent = said->verdict == SMTP_CLIENT_FAILED;
    to->status = status_text(a, said->status);
    if (!mail_address_is_null(&said->moved_to))
        to->moved_to = &said->moved_to;
    if (!ours && way_is_of_domain(a, i))
        back_contact_learn(a->back, &to->address, carried, said);
    if (said->verdict == SMTP_CLIENT_ACCEPTED) {
        to->state = RECIPIENT_DELIVERED;
        to->relayed = !ours && !carried->dsn;
        to->reports = !ours && carried->dsn;
        attempt_log(a, i, "delivered");
        return;
    }
    if (to->permanent && to->code == 551 && to->moved_to && follow(a, i, to->moved_to))
        return;
    if (to->refused && was_refused && a->progress.attempts + 1 >= REFUSALS) {
        struct smtp_status status = said->status;

        status.class = 5;
        to->status = status_text(a, status);
        to->permanent = true;
    }
    attempt_log(a, i, to->permanent ? "failed" : "deferred");
}

/* By this server itself. */
static void cut(struct attempt *a, size_t i)
{
    const struct smtp_outcome *o = smtp_outcome_find(SMTP_STAGE_MESSAGE, SMTP_STOPPED, SMTP_STATUS_NONE, 0);
    struct attempt_recipient  *to = &a->to[i];

    to->cut = true;
    to->status = status_text(a, o->status);
    to->reason = str_from(o->words);
    to->remote = to->remote_address = to->reply = STR_NONE;
    to->code = 0;
    attempt_log(a, i, "deferred");
}

static void too_late(struct attempt *a, size_t i)
{
    struct attempt_recipient *to = &a->to[i];

    if (!to->status.len) {
        to->status = STR("4.4.7");
        to->reason = STR("no turn came in time");
    }
    attempt_log(a, i, "deferred");
}

/* What became of the recipient `k` of the carriage, which is `i` of the message. */
static void apply(struct attempt *a, size_t i, const struct back_carriage *c, const struct carried *carried, size_t k)
{
    const struct carried_recipient *said = c->how == BACK_CARRIAGE_ANSWERED ? &carried->recipients[k] : NULL;

    if (c->how == BACK_CARRIAGE_CUT ||
        (said && carried->stopped && said->verdict == SMTP_CLIENT_DEFERRED && !said->code)) {
        cut(a, i);
        return;
    }
    a->counts |= c->round == a->progress.attempts;
    if (said)
        apply_one(a, i, carried, said);
    else
        too_late(a, i);
}

void outcome_apply(struct attempt *a, const struct back_carriage *c)
{
    struct carriage_message m = {0};
    struct str              said = arena_str(&a->arena, buf_str(&c->outcome)); /* longer than the carriage */

    if (!said.data || (c->how == BACK_CARRIAGE_ANSWERED && !carriage_get(said, &a->arena, &m)))
        role_give_up("out of memory", NULL); /* it could be read when it came */
    for (size_t k = 0; k < c->count; k++) {
        size_t i = c->indices[k];

        if (i >= a->count || a->to[i].state != RECIPIENT_PENDING || !way_may_lead_out(a, i))
            continue; /* removed meanwhile, or never given */
        a->to[i].tried = true;
        a->to[i].permanent = false;
        a->to[i].began_ms = c->given_ms;
        apply(a, i, c, &m.carried, k);
    }
}

/* Whose addresses they were is forgotten with the message. */
void outcome_log_removed(struct back *b, const struct back_carriage *c)
{
    static const char *const results[] = {
        [SMTP_CLIENT_ACCEPTED] = "delivered", [SMTP_CLIENT_DEFERRED] = "deferred", [SMTP_CLIENT_FAILED] = "failed"};
    struct carriage_message m = {0};
    char                    id[MESSAGE_ID_TEXT + 1], status[SMTP_STATUS_TEXT];

    if (c->state == BACK_CARRIAGE_ANSWERED && !carriage_get(buf_str(&c->outcome), &b->carry.arena, &m))
        role_give_up("out of memory", NULL); /* it could be read when it came */
    for (size_t i = 0; i < m.carried.recipient_count; i++) {
        const struct carried_recipient *to = &m.carried.recipients[i];

        if (!log_begin(LOG_LEVEL_INFO, "attempt"))
            continue;
        message_id_text(c->id, id);
        log_z("id", id);
        log_z("result", results[to->verdict]);
        log_str("status", smtp_status_text(to->status, status));
        log_str("remote", m.carried.host);
        log_str("address", m.carried.address);
        if (to->code) {
            log_u64("code", to->code);
            log_str("reply", to->text);
        }
        log_z("reason", "it was removed while it was being sent");
        log_end();
    }
    arena_reset(&b->carry.arena);
}
