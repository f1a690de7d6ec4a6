/* attempt.c: one attempt at a message: it is loaded, each recipient that is due gets a job (back/job.h), and when
 * all are through it is concluded (back/conclude.c).
 *
 * Recipients run side by side, a few of each message, so that one with a thousand of them holds up nobody. */
#include "back/job.h"
#include "role/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { LOAD_AGAIN_MS = 60 * 1000, LOAD_DAMAGED_MS = 60 * 60 * 1000, ARENA_CHUNK = 8 << 10 };

struct attempt_recipient *attempt_expand(struct attempt *a, uint32_t parent)
{
    struct attempt_recipient *to;

    if (a->count == a->room) {
        size_t room = a->room + (a->room < BACK_EXPANDED_MAX ? a->room : BACK_EXPANDED_MAX);

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

void back_attempt_free(struct attempt *a)
{
    struct back          *b = a->back;
    struct queue_message *m = queue_find(&b->queue, a->id);

    if (m && !queue_set_busy(&b->queue, m, false))
        role_give_up("out of memory", NULL);
    if (m && a->load_ok)
        back_carry_settle(b, m);
    if (m)
        m->hurried = a->command == COMMAND_RETRY || a->command == COMMAND_REROUTE;
    if (a->body_fd >= 0)
        close(a->body_fd);
    list_remove(&a->link);
    --*a->counted;
    map_done(&a->mailboxes);
    map_done(&a->way_map);
    buf_done(&a->record);
    arena_done(&a->arena);
    free(a);
    back_kick(b);
    back_drain_check(b);
}

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
    } else if (a->unsaved >= BACK_SAVE_EVERY && a->unsaved >= a->count / BACK_SAVES_MAX) {
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

/* Which recipients are to be tried now; and which mailboxes have the message already, or perhaps get it. */
static void choose(struct attempt *a, const struct queue_message *m)
{
    bool may = m->next_ms <= a->now_ms && !m->parked && !(m->flags & PROGRESS_HELD) && !a->back->config->queue.paused &&
               !recall_lasts(a->back, a->id);

    carry_take(a);
    for (size_t i = 0; i < a->count; i++) {
        struct attempt_recipient *to = &a->to[i];

        to->due |= to->state == RECIPIENT_PENDING && may && !to->given;
        a->earlier |= to->state == RECIPIENT_DELIVERED;
        if (to->state == RECIPIENT_DELIVERED || to->given) {
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

static struct attempt *attempt_new(struct back *b, struct queue_message *m, enum back_command command,
                                   unsigned *counted)
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
    map_init(&a->way_map, b->seed);
    a->ways_last = &a->ways;
    list_init(&a->taken);
    list_push(&b->attempts, &a->link);
    a->counted = counted;
    ++*counted;
    queue_set_busy(&b->queue, m, true);
    attempt_load_begin(a, m);
    return a;
}

static bool attempt_go(struct attempt *a)
{
    if (io_work(a->back->loop, attempt_load, loaded, a))
        return true;
    --*a->counted;
    list_remove(&a->link);
    return false;
}

static bool start(struct back *b, struct queue_message *m, struct str payload, unsigned *counted)
{
    struct attempt *a = attempt_new(b, m, COMMAND_ATTEMPT, counted);

    if (!a)
        return false;
    if (!payload.len || !buf_append(&a->record, payload))
        return attempt_go(a);
    attempt_load(a); /* its only record is at hand */
    loaded(a);
    return true;
}

bool back_attempt_start(struct back *b, struct queue_message *m, struct str payload)
{
    m->parked = false; /* its time has come all the same */
    return start(b, m, payload, &b->attempt_count);
}

bool back_attempt_start_outcome(struct back *b, struct queue_message *m, struct str payload)
{
    bool only = !m->progress.seq && !m->extra; /* nothing was written since */

    return start(b, m, only ? payload : STR_NONE, &b->carry.attempts);
}

bool back_command_start(struct back *b, struct queue_message *m, const struct back_change *change,
                        void (*done)(void *arg, bool ok, const char *text), void *arg)
{
    struct attempt *a = attempt_new(b, m, change->command, &b->command_count);

    if (!a)
        return false;
    a->command_done = done;
    a->command_arg = arg;
    a->command_via = arena_str(&a->arena, change->via);
    if (!mail_address_copy(&change->to, &a->arena, &a->command_to) || (change->via.len && !a->command_via.data))
        role_give_up("out of memory", NULL);
    return attempt_go(a);
}
