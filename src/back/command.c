/* command.c: what an operator's command does to one message: its recipients' states and its progress, recorded as
 * an attempt's are. */
#include "back/back.h"
#include "role/log.h"

/* What waits because its way is "hold:" goes the way that all other mail goes. */
static void send_on(struct attempt *a, struct progress *p)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->to[i].state != RECIPIENT_WAITING)
            continue;
        a->to[i].state = RECIPIENT_PENDING;
        a->to[i].reason = STR_NONE;
        p->next_ms = p->since_ms = a->now_ms;
        if (!p->via.len)
            p->via = way_released(a);
    }
}

static void release(struct attempt *a, struct progress *p)
{
    bool redirect = !mail_address_is_null(&a->command_to);

    p->flags &= (uint8_t)~PROGRESS_HELD;
    send_on(a, p);
    for (size_t i = 0, n = a->count; i < n; i++) {
        struct attempt_recipient *child;

        if (a->to[i].state != RECIPIENT_UNCLAIMED)
            continue;
        p->since_ms = a->now_ms; /* a new life: it must not expire at once */
        p->next_ms = a->now_ms;
        p->attempts = 0;
        a->to[i].state = RECIPIENT_PENDING;
        a->to[i].status = a->to[i].reason = STR_NONE;
        if (!redirect)
            continue;
        child = attempt_expand(a, (uint32_t)i);
        if (!child)
            role_give_up("out of memory", NULL);
        child->address = a->command_to;
        a->to[i].state = RECIPIENT_EXPANDED;
        redirect = false; /* one copy is enough */
        for (size_t k = i + 1; k < n; k++)
            if (a->to[k].state == RECIPIENT_UNCLAIMED)
                a->to[k].state = RECIPIENT_REMOVED;
    }
}

static void removed_unread(void *arg)
{
    struct attempt *a = arg;

    back_body_remove(a->back, a->id); /* if there is one */
    a->command_done(a->command_arg, true, NULL);
    back_attempt_free(a);
}

void attempt_remove_unread(struct attempt *a)
{
    struct back_store *s = back_store_new(a->back, removed_unread, a);
    char               id[MESSAGE_ID_TEXT + 1];

    message_id_text(a->id, id);
    log_notice(LOG_LEVEL_WARNING, "message %s is removed without having been read: %s", id, a->load_err.text);
    finished_put(a->id, back_store_record(s, RECORD_FINISHED));
    back_store_put(s);
}

void attempt_command(struct attempt *a)
{
    static const char *const words[] = {
        [COMMAND_ATTEMPT] = "",         [COMMAND_HOLD] = "held by hand", [COMMAND_RELEASE] = "released",
        [COMMAND_RETRY] = "retried",    [COMMAND_REMOVE] = "removed",    [COMMAND_REROUTE] = "rerouted",
        [COMMAND_DISCARD] = "discarded"};
    struct progress    p = a->progress;
    struct back_store *s = attempt_store(a);

    switch (a->command) {
    case COMMAND_HOLD:
        p.flags |= PROGRESS_HELD;
        break;
    case COMMAND_RELEASE:
        release(a, &p);
        break;
    case COMMAND_REROUTE:
        p.via = a->command_via;
        for (size_t i = 0; i < a->count; i++)
            if (a->to[i].state == RECIPIENT_WAITING)
                a->to[i].state = RECIPIENT_PENDING;
        p.next_ms = a->now_ms;
        break;
    case COMMAND_RETRY:
        send_on(a, &p);
        p.next_ms = a->now_ms;
        break;
    case COMMAND_DISCARD:
    case COMMAND_REMOVE:
        for (size_t i = 0; i < a->count; i++)
            if (a->command == COMMAND_REMOVE ? !recipient_state_is_final(a->to[i].state)
                                             : a->to[i].state == RECIPIENT_UNCLAIMED) {
                a->to[i].state = RECIPIENT_REMOVED;
                count(COUNTER_unclaimed_expired_total, a->command == COMMAND_DISCARD);
            }
        break;
    case COMMAND_ATTEMPT:
        break;
    }
    for (size_t i = 0; i < a->count; i++)
        if (a->to[i].state != a->to[i].before || ((a->command == COMMAND_HOLD || a->command == COMMAND_REROUTE) &&
                                                  !recipient_state_is_final(a->to[i].state)))
            attempt_log(a, i, words[a->command]);
    attempt_end(a, s, &p);
}
