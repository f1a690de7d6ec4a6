/* store.c: what back writes: groups of records, committed together.
 *
 * Groups gather while a batch is being written and go with the next one, as in a front. A group's records are applied
 * to the queue only when they are durable, and by reading them back from lane 0 as at a replay: there is one way for a
 * record into the queue, so memory cannot say what disk does not. A batch that fails is appended again until it
 * succeeds: what it says has happened (a message lies in its mailbox) and must not be forgotten; meanwhile back starts
 * nothing new, so that what waits stays bounded. */
#include "back/back.h"
#include "base/array.h"
#include "role/log.h"

#include <assert.h>
#include <stdlib.h>

enum { RETRY_MS = 1000, RECORDS_MAX = 1 << 20, BATCH_MAX = LANE_PENDING_MAX / 2 };

struct part {
    enum record_type type;
    struct buf       payload;
};
struct back_store {
    struct list  link;
    struct back *back;
    void (*done)(void *arg);
    void        *arg;
    struct part *parts;
    size_t       count, room;
};

struct back_store *back_store_new(struct back *b, void (*done)(void *arg), void *arg)
{
    struct back_store *s = calloc(1, sizeof *s);

    if (!s)
        role_give_up("out of memory", NULL);
    list_init(&s->link);
    s->back = b;
    s->done = done;
    s->arg = arg;
    return s;
}

struct buf *back_store_record(struct back_store *s, enum record_type type)
{
    if (s->count == RECORDS_MAX || !ARRAY_ROOM(s->parts, s->count, s->room, 4))
        role_give_up("out of memory", NULL);
    s->parts[s->count].type = type;
    buf_init(&s->parts[s->count].payload, BACK_RECORD_MAX);
    return &s->parts[s->count++].payload;
}

static size_t store_size(const struct back_store *s)
{
    size_t size = 0;

    for (size_t i = 0; i < s->count; i++)
        size += s->parts[i].payload.len;
    return size;
}

static void store_free(struct back_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        buf_done(&s->parts[i].payload);
    free(s->parts);
    free(s);
}

void back_store_put(struct back_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (!buf_ok(&s->parts[i].payload))
            role_give_up("a record could not be made: out of memory", NULL);
    list_push(&s->back->stores, &s->link);
}

bool back_store_is_idle(const struct back *b)
{
    return !b->batch && list_is_empty(&b->stores) && list_is_empty(&b->writing);
}

static void write_batch(void *arg)
{
    struct back *b = arg;

    b->batch_ok = lane_batch_write(b->batch, &b->batch_err);
}

static void finish(struct back *b)
{
    while (!list_is_empty(&b->writing)) {
        struct back_store *s = LIST_ITEM(list_first(&b->writing), struct back_store, link);

        list_remove(&s->link);
        if (s->done)
            s->done(s->arg);
        store_free(s);
    }
}

static void batch_written(void *arg)
{
    struct back      *b = arg;
    struct lane_place committed;

    lane_batch_end(b->batch, &committed);
    b->batch = NULL;
    if (!b->batch_ok) {
        log_notice(LOG_LEVEL_ERROR, "progress of the queue cannot be stored: %s; tried again", b->batch_err.text);
        count(COUNTER_commit_failures_total, 1);
        storage_failed(&b->role->slot->storage, &b->batch_err, io_wall_ms());
        while (!list_is_empty(&b->stores)) { /* in the order in which they came: the failed ones first */
            struct list *l = list_first(&b->stores);

            list_remove(l);
            list_push(&b->writing, l);
        }
        while (!list_is_empty(&b->writing)) {
            struct list *l = list_first(&b->writing);

            list_remove(l);
            list_push(&b->stores, l);
        }
        b->store_waits = true;
        io_timer_start(b->store_retry, RETRY_MS, 0);
        return;
    }
    storage_stored(&b->role->slot->storage, io_wall_ms());
    back_lane_committed(b, LANE_BACK, committed);
    finish(b);
    back_kick(b);
}

/* What is more than a batch should have waits for the next one, and a group that is more by itself has one alone. */
static void append_all(struct back *b)
{
    while (!list_is_empty(&b->stores)) {
        struct back_store *s = LIST_ITEM(list_first(&b->stores), struct back_store, link);
        size_t             pending = lane_pending(b->writer);

        if (pending && pending + store_size(s) > BATCH_MAX)
            return;
        for (size_t i = 0; i < s->count; i++) {
            struct str        payload = buf_str(&s->parts[i].payload);
            struct lane_place place;
            struct err        err;

            if (!lane_append(b->writer, (uint8_t)s->parts[i].type, i + 1 < s->count ? LANE_MORE : 0, &payload, 1,
                             &place, &err))
                role_give_up("a record cannot be appended", &err);
        }
        list_remove(&s->link);
        list_push(&b->writing, &s->link);
    }
}

void back_store_round(struct back *b)
{
    if (b->batch || b->store_waits || list_is_empty(&b->stores))
        return;
    append_all(b);
    b->batch = lane_batch_begin(b->writer);
    if (!b->batch) { /* groups without records only */
        finish(b);
        return;
    }
    if (!io_work(b->loop, write_batch, batch_written, b))
        role_give_up("out of memory", NULL);
}
