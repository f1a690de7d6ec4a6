/* resolve.c: one recipient from its start to its end: where it leads, which only the keeper knows, and what is
 * noted of it. Failures are only noted; what they mean is decided when the attempt is concluded. */
#include "back/job.h"

#include <stdlib.h>

void job_drop(struct job *j)
{
    struct attempt *a = j->attempt;

    a->running--;
    a->back->job_count--;
    buf_done(&j->head);
    buf_done(&j->path);
    free(j);
    io_timer_start(a->back->jobs, 0, 0);
}

static void job_close(struct job *j, const char *result)
{
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];

    attempt_log(a, j->i, result);
    for (size_t i = 0; i < a->count && a->sharing; i++) /* those that waited for the same mailbox */
        if (a->to[i].same_as == j->i && i != j->i) {
            a->to[i].state = to->state;
            a->to[i].status = to->status;
            a->to[i].reason = to->reason;
            a->to[i].permanent = to->permanent;
            a->to[i].same_as = (uint32_t)i;
            a->sharing--;
            attempt_log(a, i, result);
        }
    a->unsaved++;
    job_drop(j);
}

static void evened(void *arg)
{
    struct job *j = arg;

    job_close(j, j->outcome);
}

void job_end(struct job *j, const char *result)
{
    j->outcome = result;
    if (!back_even_start(j->attempt, j->i, evened, j))
        job_close(j, result);
}

void job_fail(struct job *j, bool permanent, const char *status, struct str reason)
{
    struct attempt_recipient *to = &j->attempt->to[j->i];

    to->permanent = permanent;
    to->status = str_from(status);
    to->reason = arena_str(&j->attempt->arena, str_part(reason, 0, PROGRESS_REASON_MAX));
    job_end(j, permanent ? "failed" : "deferred");
}

static bool fail_as(struct attempt_recipient *to, enum resolve_result result)
{
    static const struct {
        const char *status, *reason;
    } how[] = {
        [RESOLVE_TARGETS] = {"4.3.0", "the directory names nobody"},
        [RESOLVE_ABSENT] = {"5.1.1", "there is no such mailbox"},
        [RESOLVE_DISABLED] = {"5.2.1", "the address is disabled, or a list without members"},
        [RESOLVE_MOVED] = {"5.1.6", "the mailbox has moved"},
        [RESOLVE_CLOSED] = {"5.7.2", "the list takes no mail from this sender"},
        [RESOLVE_LOOP] = {"5.4.6", "the address leads back to itself or to too many others"},
        [RESOLVE_FAILED] = {"4.3.0", "the directory cannot be asked at the moment"},
    };

    to->status = str_from(how[result].status);
    to->reason = str_from(how[result].reason);
    to->permanent = how[result].status[0] == '5';
    return to->permanent;
}

/* It leaves this server; there is no job (any more). */
static void leave(struct attempt *a, size_t i)
{
    const char *result;

    if (!way_take(a, i, STR_NONE, &result)) {
        a->to[i].tried = true;
        a->to[i].status = STR("4.3.0");
        a->to[i].reason = STR("out of memory");
        result = "deferred";
    }
    if (result)
        attempt_log(a, i, result);
}

/* Puts the targets in the place of the recipient. */
static void job_expand(struct job *j, const struct answer *answer)
{
    struct attempt *a = j->attempt;
    size_t          before = a->count;

    if (before + answer->target_count > a->message.envelope.recipient_count + BACK_EXPANDED_MAX) {
        job_fail(j, true, "5.5.3", STR("the recipients of the message lead to more than one message may have"));
        return;
    }
    for (size_t i = 0; i < answer->target_count; i++) {
        const struct target      *target = &answer->targets[i];
        struct attempt_recipient *to = attempt_expand(a, (uint32_t)j->i);

        if (!to || !mail_address_copy(&target->address, &a->arena, &to->address) ||
            (target->override_sender && !mail_address_copy(&target->sender_override, &a->arena, &to->sender))) {
            a->count = before;
            a->to[j->i].children = 0;
            job_fail(j, false, "4.3.0", STR("not enough memory for all its targets"));
            return;
        }
        to->flags = (uint8_t)((target->override_sender ? EXPANDED_SENDER : 0) | (target->hide ? EXPANDED_HIDE : 0) |
                              (target->kind == TARGET_REMOTE ? EXPANDED_REMOTE : 0));
        to->began_ms = io_wall_ms();
        if (target->result != RESOLVE_TARGETS) {
            to->tried = true;
            fail_as(to, target->result);
            attempt_log(a, a->count - 1, to->permanent ? "failed" : "deferred");
        } else if (target->kind == TARGET_REMOTE) {
            to->due = true;
        } else {
            to->due = to->resolved = true;
            to->mailbox = to->address;
            to->quota = target->quota;
        }
    }
    a->to[j->i].state = RECIPIENT_EXPANDED;
    a->to[j->i].status = STR_NONE;
    a->to[j->i].reason = STR_NONE;
    job_end(j, "expanded");
}

static void answered(void *arg, const struct answer *answer)
{
    struct job               *j = arg;
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];
    const struct target      *target = answer && answer->target_count ? &answer->targets[0] : NULL;

    if (!answer || answer->kind != ASK_RESOLVE || answer->resolve != RESOLVE_TARGETS || !target) {
        bool permanent = fail_as(to, answer && answer->kind == ASK_RESOLVE ? answer->resolve : RESOLVE_FAILED);

        if (answer && answer->has_moved_to && answer->resolve == RESOLVE_MOVED) {
            struct mail_address *moved = arena_new(&a->arena, struct mail_address);

            if (moved && mail_address_copy(&answer->moved_to, &a->arena, moved))
                to->moved_to = moved;
        }
        job_end(j, permanent ? "failed" : "deferred");
    } else if (answer->target_count == 1 && target->kind == TARGET_MAILBOX && target->result == RESOLVE_TARGETS &&
               !target->override_sender) {
        if (!mail_address_copy(&target->address, &a->arena, &to->mailbox)) {
            job_fail(j, false, "4.3.0", STR("out of memory"));
            return;
        }
        to->quota = target->quota;
        to->resolved = true;
        job_deliver(j);
    } else if (answer->target_count == 1 && target->kind == TARGET_REMOTE && target->result == RESOLVE_TARGETS &&
               mail_address_eq(&target->address, &to->address)) {
        size_t i = j->i;

        job_drop(j); /* a domain that was ours until now */
        leave(a, i);
    } else {
        job_expand(j, answer);
    }
}

void job_start(struct attempt *a, size_t i)
{
    struct attempt_recipient *to = &a->to[i];
    struct job               *j;
    struct ask                ask = {.kind = ASK_RESOLVE,
                                     .class = a->message.envelope.origin.class,
                                     .sender = a->message.envelope.sender,
                                     .address = to->address};

    if (way_leads_out(a, i)) {
        leave(a, i);
        return;
    }
    j = calloc(1, sizeof *j);
    if (!j)
        return; /* stays pending, tried again later */
    j->attempt = a;
    j->i = i;
    to->tried = true;
    to->permanent = false;
    to->status = STR_NONE;
    to->began_ms = io_wall_ms();
    a->running++;
    a->back->job_count++;
    if (to->resolved)
        job_deliver(j);
    else if (!back_ask(a->back, &ask, answered, j))
        job_fail(j, false, "4.3.0", STR("out of memory"));
}
