/* back_attempt.c: one attempt at a message.
 *
 *   load ──► for each recipient that is due:  ask the keeper ──► absent, disabled, ...          ──┐
 *                                                          ├──► several targets: new recipients ──┤
 *                                                          ├──► another domain: waits           ──┼──► conclude
 *                                                          └──► a mailbox: deliver              ──┘
 *
 * Recipients run side by side, a few of each message, so that one with a thousand of them holds up nobody. A mailbox
 * that several recipients lead to gets the message once. All failures are only noted here; what they mean is decided
 * when the attempt is concluded.
 *
 * Exactly once. Between a delivery and the record of it back may be killed. So a message that was in the spool when
 * back started is looked for in each mailbox before it is delivered there (deliver/maildir.h); one that came later was
 * not seen by any other back, and costs no look. */
#include "mail/trace.h"
#include "server/back.h"
#include "server/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { LOAD_AGAIN_MS = 60 * 1000, LOAD_DAMAGED_MS = 60 * 60 * 1000, ARENA_CHUNK = 8 << 10, PATH_MAX_OCTETS = 4000 };

struct job {
    struct attempt         *attempt;
    size_t                  i;
    struct maildir_delivery delivery;
    struct buf              head, path;
    enum maildir_result     result;
    const char             *outcome; /* for the log */
    struct err              err;
};

struct attempt_recipient *attempt_expand(struct attempt *a, uint32_t parent)
{
    struct attempt_recipient *to;

    if (a->count == a->room) {
        size_t room = a->room * 2;

        to = a->count > UINT32_MAX / 4 ? NULL : arena_alloc(&a->arena, room * sizeof *to);
        if (!to)
            return NULL;
        memcpy(to, a->to, a->count * sizeof *to);
        a->to = to;
        a->room = room;
    }
    to = &a->to[a->count];
    *to = (struct attempt_recipient){.parent = parent, .root = a->to[parent].root, .same_as = (uint32_t)a->count};
    a->to[parent].children++;
    a->count++;
    return to;
}

bool attempt_is_override(const struct attempt *a, size_t i)
{
    for (; a->to[i].parent != i; i = a->to[i].parent)
        if (a->to[i].flags & EXPANDED_SENDER)
            return true;
    return false;
}

const struct mail_address *attempt_sender(const struct attempt *a, size_t i)
{
    for (; a->to[i].parent != i; i = a->to[i].parent)
        if (a->to[i].flags & EXPANDED_SENDER)
            return &a->to[i].sender;
    return &a->message.envelope.sender;
}

const struct recipient *attempt_envelope_recipient(const struct attempt *a, size_t i)
{
    return &a->message.envelope.recipients[a->to[i].root];
}

static void attempt_counted(struct attempt *a, bool in)
{
    unsigned *count = a->command == COMMAND_ATTEMPT ? &a->back->attempt_count : &a->back->command_count;

    *count = in ? *count + 1 : *count - 1;
}

void back_attempt_free(struct attempt *a)
{
    struct back          *b = a->back;
    struct queue_message *m = queue_find(&b->queue, a->id);

    if (m && !queue_set_busy(&b->queue, m, false))
        back_give_up("out of memory", NULL);
    if (a->body_fd >= 0)
        close(a->body_fd);
    list_remove(&a->link);
    attempt_counted(a, false);
    map_done(&a->mailboxes);
    buf_done(&a->record);
    arena_done(&a->arena);
    free(a);
    back_kick(b);
    back_drain_check(b);
}

/* ---- one recipient ---- */

static void jobs_kick_later(struct back *b) { io_timer_start(b->jobs, 0, 0); }

static void job_close(struct job *j, const char *result)
{
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];

    attempt_log(a, j->i, result);
    for (size_t i = 0; i < a->count; i++) /* those that waited for the same mailbox */
        if (a->to[i].same_as == j->i && i != j->i) {
            a->to[i].state = to->state;
            a->to[i].status = to->status;
            a->to[i].reason = to->reason;
            a->to[i].permanent = to->permanent;
            a->to[i].same_as = (uint32_t)i;
            attempt_log(a, i, result);
        }
    a->running--;
    a->back->job_count--;
    a->unsaved++;
    buf_done(&j->head);
    buf_done(&j->path);
    jobs_kick_later(a->back);
    free(j);
}

static void evened(void *arg)
{
    struct job *j = arg;

    job_close(j, j->outcome);
}

static void job_end(struct job *j, const char *result)
{
    j->outcome = result;
    if (!back_even_start(j->attempt, j->i, evened, j))
        job_close(j, result);
}

static void job_fail(struct job *j, bool permanent, const char *status, struct str reason)
{
    struct attempt_recipient *to = &j->attempt->to[j->i];

    to->permanent = permanent;
    to->status = str_from(status);
    to->reason = arena_str(&j->attempt->arena, str_part(reason, 0, PROGRESS_REASON_MAX));
    job_end(j, permanent ? "failed" : "deferred");
}

static void deliver_work(void *arg)
{
    struct job *j = arg;

    j->result = maildir_deliver(&j->delivery, &j->err);
}

static void deliver_done(void *arg)
{
    struct job               *j = arg;
    struct attempt_recipient *to = &j->attempt->to[j->i];
    struct queue_message     *m;

    switch (j->result) {
    case MAILDIR_DELIVERED:
        to->state = RECIPIENT_DELIVERED;
        to->status = STR("2.1.5");
        to->reason = STR_NONE;
        count(COUNTER_messages_delivered_total, 1);
        job_end(j, "delivered");
        break;
    case MAILDIR_FOUND:
        to->state = RECIPIENT_DELIVERED;
        to->status = STR("2.1.5");
        to->reason = STR("the mailbox has it already by an earlier attempt");
        count(COUNTER_messages_delivered_total, 1);
        job_end(j, "delivered");
        break;
    case MAILDIR_OVER_QUOTA:
        job_fail(j, false, "4.2.2", str_from(j->err.text));
        break;
    case MAILDIR_UNSURE:
        m = queue_find(&j->attempt->back->queue, j->attempt->id);
        if (m)
            m->unsure = true;
        __attribute__((fallthrough));
    case MAILDIR_FAILED:
        if (j->err.class == ERR_LIMIT)
            j->attempt->back->full_until_ms = io_loop_now_ms(j->attempt->back->loop) + BACK_FULL_MS;
        job_fail(j, false, j->err.class == ERR_LIMIT ? "4.3.1" : "4.3.0", str_from(j->err.text));
        break;
    }
}

/* The key of a mailbox among the recipients of a message; data is NULL: no memory. */
static struct str mailbox_key(struct attempt *a, const struct mail_address *mailbox)
{
    struct str local = mail_local_key(mailbox->local, 0, &a->arena);

    return local.data ? arena_printf(&a->arena, "%.*s@%.*s", STR_ARG(local), STR_ARG(mailbox->domain)) : STR_NONE;
}

/* Whether another recipient leads to the same mailbox; if it is not through yet, this one will share its end. Otherwise
 * this one is noted as the mailbox's (without memory for that, another one finds the file: the name is the same). */
static bool job_is_duplicate(struct job *j, struct str key)
{
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];
    size_t                    first = (size_t)(uintptr_t)map_get(&a->mailboxes, key);

    if (first == 0 || first - 1 == j->i) {
        if (first == 0)
            map_put(&a->mailboxes, key, (void *)(uintptr_t)(j->i + 1));
        return false;
    }
    first--;
    if (a->to[first].state != RECIPIENT_DELIVERED && a->to[first].status.len)
        return false; /* it failed in this attempt already: this one may fail for itself */
    if (a->to[first].state != RECIPIENT_DELIVERED) {
        to->same_as = (uint32_t)first;
        a->running--;
        a->back->job_count--;
        free(j);
        jobs_kick_later(a->back);
        return true;
    }
    to->state = RECIPIENT_DELIVERED;
    to->status = STR("2.1.5");
    to->reason = STR("the mailbox has it already by another recipient");
    job_end(j, "delivered");
    return true;
}

/* False: no memory. */
static bool look_for_earlier(struct job *j)
{
    struct attempt             *a = j->attempt;
    struct back                *b = a->back;
    const struct queue_message *m = queue_find(&b->queue, a->id), *other;

    j->delivery.look = a->earlier || (m && (m->replayed || m->unsure));
    if (!j->delivery.look || a->earlier || m->unsure)
        return true;
    if (!b->earlier) {
        uint64_t oldest = UINT64_MAX;

        for (size_t at = 0; (other = queue_next(&b->queue, &at));)
            if (other->id < oldest)
                oldest = other->id;
        b->earlier = maildir_earlier_new(oldest);
    }
    j->delivery.earlier = b->earlier;
    return b->earlier != NULL;
}

static void job_deliver(struct job *j)
{
    struct attempt             *a = j->attempt;
    struct attempt_recipient   *to = &a->to[j->i];
    const struct config        *config = a->back->config;
    const struct config_domain *domain = config_domain_find(config, to->mailbox.domain);
    struct str                  way = str_from(domain ? domain->deliver : "");
    struct str                  key = mailbox_key(a, &to->mailbox);
    struct err                  err;

    if (!str_starts(way, STR("maildir:"))) {
        job_fail(j, false, "4.3.5", STR("there is no way to deliver to this domain at the moment"));
        return;
    }
    if (!key.data) {
        job_fail(j, false, "4.3.0", STR("out of memory"));
        return;
    }
    if (job_is_duplicate(j, key))
        return;
    buf_init(&j->head, 16 << 10);
    buf_init(&j->path, PATH_MAX_OCTETS);
    if (!maildir_path(str_skip(way, 8), str_from(config->data), to->mailbox.local, to->mailbox.domain, &j->path,
                      &err)) {
        job_fail(j, err.class == ERR_PERMANENT, err.class == ERR_PERMANENT ? "5.1.3" : "4.3.0", str_from(err.text));
        return;
    }
    to->path = arena_str(&a->arena, buf_str(&j->path)).data;
    if (!mail_trace_return_path(attempt_sender(a, j->i), &j->head) ||
        !mail_trace_delivered_to(&to->mailbox, &j->head)) {
        job_fail(j, false, "4.3.0", STR("out of memory"));
        return;
    }
    j->delivery = (struct maildir_delivery){.path = j->path.data,
                                            .id = a->id,
                                            .mailbox = key,
                                            .head = buf_str(&j->head),
                                            .content = a->message.content,
                                            .content_fd = a->message.external ? a->body_fd : -1,
                                            .binary = a->message.envelope.body == BODY_BINARYMIME,
                                            .hostname = config->hostname,
                                            .quota = to->quota};
    if (!look_for_earlier(j) || !io_work(a->back->loop, deliver_work, deliver_done, j))
        job_fail(j, false, "4.3.0", STR("out of memory"));
}

static bool fail_as(struct attempt_recipient *to, enum resolve_result result)
{
    static const struct {
        const char *status, *reason;
    } how[] = {
        [RESOLVE_TARGETS] = {"4.3.0", "the directory names nobody"},
        [RESOLVE_ABSENT] = {"5.1.1", "there is no such mailbox"},
        [RESOLVE_DISABLED] = {"5.2.1", "the mailbox is disabled"},
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

static void wait_for_route(struct attempt_recipient *to)
{
    to->state = RECIPIENT_WAITING;
    to->status = STR("4.4.4");
    to->reason = STR("waiting for a route");
}

/* Puts the targets in the place of the recipient. */
static void job_expand(struct job *j, const struct answer *answer)
{
    struct attempt *a = j->attempt;
    size_t          before = a->count;

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
            wait_for_route(to);
            attempt_log(a, a->count - 1, "waiting");
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
        wait_for_route(to);
        job_end(j, "waiting");
    } else {
        job_expand(j, answer);
    }
}

static void job_start(struct attempt *a, size_t i)
{
    struct attempt_recipient *to = &a->to[i];
    struct job               *j = calloc(1, sizeof *j);
    struct ask                ask = {.kind = ASK_RESOLVE,
                                     .class = a->message.envelope.origin.class,
                                     .sender = a->message.envelope.sender,
                                     .address = to->address};

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

/* ---- the attempt ---- */

void attempt_step(struct attempt *a)
{
    struct back *b = a->back;

    if (a->loading || a->ending)
        return;
    while (!b->draining && a->next < a->count && a->running < BACK_JOBS_PER_MESSAGE &&
           b->job_count < b->config->queue.deliveries) {
        if (a->to[a->next].due)
            job_start(a, a->next);
        a->next++;
    }
    if (a->running == 0 && (b->draining || a->next >= a->count)) {
        a->ending = true;
        attempt_conclude(a);
    } else if (a->unsaved >= BACK_SAVE_EVERY) {
        a->unsaved = 0;
        attempt_save(a);
    }
}

void back_jobs_kick(struct back *b)
{
    for (struct list *l = b->attempts.next, *next; l != &b->attempts; l = next) {
        next = l->next;
        attempt_step(LIST_ITEM(l, struct attempt, link));
    }
}

static void load_failed(struct attempt *a)
{
    struct back          *b = a->back;
    struct queue_message *m = queue_find(&b->queue, a->id);
    char                  id[MESSAGE_ID_TEXT + 1];

    message_id_text(a->id, id);
    if (a->load_err.class == ERR_PERMANENT)
        log_notice(
            LOG_LEVEL_ERROR,
            "message %s cannot be read: %s; look at the disk, restore the file from a backup while the server is "
            "stopped, or give the message up: tacit queue remove %s; it stays in the queue, and is tried once in "
            "an hour",
            id, a->load_err.text, id);
    else
        log_notice(LOG_LEVEL_ERROR, "message %s cannot be read: %s; tried again in a minute", id, a->load_err.text);
    if (m)
        queue_delay(&b->queue, m,
                    io_wall_ms() + (a->load_err.class == ERR_PERMANENT ? LOAD_DAMAGED_MS : LOAD_AGAIN_MS));
    if (a->command_done)
        a->command_done(a->command_arg, false, a->load_err.text);
    back_attempt_free(a);
}

/* Which recipients are to be tried now; and which mailboxes have the message already. */
static void choose(struct attempt *a, const struct queue_message *m)
{
    for (size_t i = 0; i < a->count; i++) {
        struct attempt_recipient *to = &a->to[i];

        to->due = to->state == RECIPIENT_PENDING && m->next_ms <= a->now_ms;
        a->earlier |= to->state == RECIPIENT_DELIVERED;
        if (to->state == RECIPIENT_DELIVERED) {
            struct str key = mailbox_key(a, &to->address);

            if (key.data && !map_get(&a->mailboxes, key))
                map_put(&a->mailboxes, key, (void *)(uintptr_t)(i + 1));
        }
    }
}

static void loaded(void *arg)
{
    struct attempt       *a = arg;
    struct queue_message *m = queue_find(&a->back->queue, a->id);

    a->loading = false;
    if (!a->load_ok && m && (m->home.seq != a->home.seq || m->progress.seq != a->progress_place.seq) &&
        !a->command_done) { /* moved by compaction while we read: at once again, from its new place */
        back_attempt_free(a);
        return;
    }
    if (!a->load_ok && m && a->command == COMMAND_REMOVE) {
        a->ending = true;
        attempt_remove_unread(a);
        return;
    }
    if (!a->load_ok || !m) {
        load_failed(a);
        return;
    }
    a->now_ms = io_wall_ms();
    if (a->command != COMMAND_ATTEMPT) {
        a->ending = true;
        attempt_command(a);
        return;
    }
    choose(a, m);
    attempt_step(a);
}

static struct attempt *attempt_new(struct back *b, struct queue_message *m, enum back_command command)
{
    struct attempt *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->back = b;
    a->id = m->id;
    a->command = command;
    a->body_fd = -1;
    a->loading = true;
    a->began_ms = io_loop_now_ms(b->loop);
    arena_init(&a->arena, ARENA_CHUNK, BACK_ATTEMPT_MEMORY);
    buf_init(&a->record, BACK_RECORD_MAX);
    map_init(&a->mailboxes, b->seed);
    list_push(&b->attempts, &a->link);
    attempt_counted(a, true);
    queue_set_busy(&b->queue, m, true);
    attempt_load_begin(a, m);
    return a;
}

static bool attempt_go(struct attempt *a)
{
    if (io_work(a->back->loop, attempt_load, loaded, a))
        return true;
    attempt_counted(a, false);
    list_remove(&a->link);
    return false;
}

bool back_attempt_start(struct back *b, struct queue_message *m, struct str payload)
{
    struct attempt *a = attempt_new(b, m, COMMAND_ATTEMPT);

    if (!a)
        return false;
    if (!payload.len || !buf_append(&a->record, payload))
        return attempt_go(a);
    attempt_load(a); /* its only record is at hand */
    loaded(a);
    return true;
}

bool back_command_start(struct back *b, struct queue_message *m, const struct back_change *change,
                        void (*done)(void *arg, bool ok, const char *text), void *arg)
{
    struct attempt *a = attempt_new(b, m, change->command);

    if (!a)
        return false;
    a->command_done = done;
    a->command_arg = arg;
    a->command_via = arena_str(&a->arena, change->via);
    if (!mail_address_copy(&change->to, &a->arena, &a->command_to) || (change->via.len && !a->command_via.data))
        back_give_up("out of memory", NULL);
    return attempt_go(a);
}
