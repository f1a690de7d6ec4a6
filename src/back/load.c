/* load.c: what the spool knows of a message, read for an attempt: its record, the expansions of its recipients in
 * their order, and its newest progress. Nothing of it is kept between attempts: a queue of a million messages that wait
 * for hours needs no memory for their envelopes. */
#include "back/back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

void attempt_load_begin(struct attempt *a, const struct queue_message *m)
{
    struct back *b = a->back;

    a->home = m->home;
    a->progress_place = m->progress;
    a->home_dir = back_lane_dir(b, m->home.lane);
    a->lane0_dir = back_lane_dir(b, LANE_BACK);
    a->body_dir = m->external ? back_lane_dir(b, message_id_lane(m->id)) : NULL;
    a->expansion_count = m->extra ? m->extra->expansion_count : 0;
    a->expansions = arena_alloc(&a->arena, (a->expansion_count + 1) * sizeof *a->expansions);
    if (a->expansions && a->expansion_count)
        memcpy(a->expansions, m->extra->expansions, a->expansion_count * sizeof *a->expansions);
}

static int by_first(const void *x, const void *y)
{
    const struct queue_expansion *a = x, *b = y;

    return (a->first > b->first) - (a->first < b->first);
}

static bool no_memory(struct attempt *a)
{
    return err_set(&a->load_err, ERR_LIMIT, "not enough memory for the message");
}

static bool damaged(struct attempt *a)
{
    return err_set(&a->load_err, ERR_PERMANENT, "its records do not fit together");
}

void back_lookups_done(struct back_lookups *l)
{
    for (size_t lane = 0; lane < QUEUE_LANES; lane++)
        lane_lookup_close(l->of[lane]);
    *l = (struct back_lookups){0};
}

/* The payload is valid until the next call with the same lane, or with this buffer. */
static bool record_read(struct attempt *a, const char *dir, struct queue_place place, enum record_type type,
                        struct buf *buffer, struct str *ret_payload)
{
    struct lane_lookup **l = a->lookups ? &a->lookups->of[place.lane] : NULL;
    struct lane_record   r;

    if (!l)
        return back_record_read(dir, place, type, buffer, ret_payload, &a->load_err);
    if (!*l && !(*l = lane_lookup_open(dir, &a->load_err)))
        return false;
    if (!lane_lookup_read(*l, (struct lane_place){place.seq, place.offset}, &r, &a->load_err))
        return false;
    if (r.type != type)
        return damaged(a);
    *ret_payload = r.payload;
    return true;
}

static bool load_message(struct attempt *a)
{
    struct str payload;

    if (!a->record.len) {
        struct buf buffer;
        bool       ok;

        buf_init(&buffer, BACK_RECORD_MAX + 4096);
        ok = record_read(a, a->home_dir, a->home, RECORD_MESSAGE, &buffer, &payload) &&
             (buf_append(&a->record, payload) || no_memory(a));
        buf_done(&buffer);
        if (!ok)
            return false;
    }
    if (!record_message_get(buf_str(&a->record), &a->arena, &a->message))
        return damaged(a);
    a->count = a->message.envelope.recipient_count;
    a->arena.max = BACK_ATTEMPT_MEMORY + a->count * BACK_RECIPIENT_MEMORY;
    a->room = a->count + 8;
    a->to = arena_alloc(&a->arena, a->room * sizeof *a->to);
    if (!a->to)
        return no_memory(a);
    for (size_t i = 0; i < a->count; i++) {
        a->to[i].address = a->message.envelope.recipients[i].address;
        a->to[i].parent = a->to[i].root = a->to[i].same_as = (uint32_t)i;
    }
    return true;
}

static bool load_expansion(struct attempt *a, const struct queue_expansion *at, struct buf *buffer)
{
    struct expansion e;
    struct str       payload;

    if (!record_read(a, a->lane0_dir, at->place, RECORD_EXPANSION, buffer, &payload))
        return false;
    payload = arena_str(&a->arena, payload);
    if (!payload.data)
        return no_memory(a);
    if (!expansion_get(payload, &a->arena, &e) || e.id != a->id || e.first != a->count || e.parent >= a->count)
        return damaged(a);
    for (size_t i = 0; i < e.target_count; i++) {
        struct attempt_recipient *to = attempt_expand(a, e.parent);

        if (!to)
            return no_memory(a);
        to->address = e.targets[i].address;
        to->sender = e.targets[i].sender;
        to->flags = e.targets[i].flags;
    }
    return true;
}

static bool load_progress(struct attempt *a, struct buf *buffer)
{
    struct str payload;

    if (!a->progress_place.seq || a->without_progress)
        return true;
    if (!record_read(a, a->lane0_dir, a->progress_place, RECORD_PROGRESS, buffer, &payload))
        return false;
    payload = arena_str(&a->arena, payload);
    if (!payload.data)
        return no_memory(a);
    if (!progress_get(payload, &a->arena, &a->progress) || a->progress.id != a->id ||
        a->progress.recipient_count > a->count)
        return damaged(a);
    for (size_t i = 0; i < a->progress.recipient_count; i++) {
        struct attempt_recipient *to = &a->to[i];

        to->state = to->before = a->progress.recipients[i].state;
        to->status = a->progress.recipients[i].status;
        to->reason = a->progress.recipients[i].reason;
        to->remote = a->progress.recipients[i].remote;
        to->remote_address = a->progress.recipients[i].remote_address;
        to->code = a->progress.recipients[i].code;
        to->reply = a->progress.recipients[i].reply;
    }
    return true;
}

static bool load_body(struct attempt *a)
{
    char name[MESSAGE_ID_TEXT + 1], path[4096];

    if (!a->message.external || a->body_fd >= 0 || a->without_body)
        return true;
    message_id_text(a->id, name);
    snprintf(path, sizeof path, "%s/body/%s", a->body_dir ? a->body_dir : "", name);
    a->body_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (a->body_fd < 0)
        return err_set_os(&a->load_err, errno, "body %s", path);
    /* Nothing damaged is delivered. Who only looks at the message need not wait for that. */
    return !a->loading || lane_body_check(path, a->body_fd, a->message.size, a->message.external_xxh3, &a->load_err);
}

static bool load(struct attempt *a)
{
    struct buf buffer;
    bool       ok;

    if (!a->expansions)
        return no_memory(a);
    if (!load_message(a))
        return false;
    qsort(a->expansions, a->expansion_count, sizeof *a->expansions, by_first);
    buf_init(&buffer, BACK_RECORD_MAX + 4096);
    ok = true;
    for (uint32_t i = 0; ok && i < a->expansion_count; i++)
        ok = load_expansion(a, &a->expansions[i], &buffer);
    ok = ok && load_progress(a, &buffer) && load_body(a);
    buf_done(&buffer);
    a->saved_count = a->count;
    return ok;
}

void attempt_load(void *arg)
{
    struct attempt *a = arg;

    a->load_ok = load(a);
}
