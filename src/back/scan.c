/* scan.c: reads messages for listings and filters, some hundreds at a time, on a work thread, while the loop goes
 * on delivering.
 *
 * The loop's thread notes where the messages of a run lie, and shows them as they were then. One that is moved or
 * finished before the thread comes to it cannot be read; whatever cannot be read is looked at again on the loop's
 * thread, where nothing changes meanwhile, before anybody is told that it is unreadable. */
#include "back/back.h"
#include "back/json_line.h"

#include <stdlib.h>

enum { RUN_MESSAGES = 256, RUN_WHOLE = 16, ROWS_MAX = 12 << 20 /* below IO_STREAM_UNSENT_MAX */ };

struct item {
    struct queue_message message; /* as it was when the run began */
    struct queue_extra   extra;   /* its expansions, if it has any */
};
struct back_scan {
    struct back              *back;
    const struct back_filter *filter;
    enum back_scan_kind       kind;
    struct back_lookups       lookups;
    struct item               items[RUN_MESSAGES];
    size_t                    count;
    uint64_t                  unread[RUN_MESSAGES]; /* to be looked at again */
    size_t                    unread_count;
    uint64_t                  found[RUN_MESSAGES];
    size_t                    found_count;
    struct buf                rows;
    bool                      running;
    void (*done)(void *arg);
    void *arg;
};

struct back_scan *back_scan_new(struct back *b, const struct back_filter *filter, enum back_scan_kind kind,
                                void (*done)(void *arg), void *arg)
{
    struct back_scan *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->back = b;
    s->filter = filter;
    s->kind = kind;
    s->done = done;
    s->arg = arg;
    buf_init(&s->rows, ROWS_MAX);
    return s;
}

static void items_done(struct back_scan *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i].extra.expansions);
    s->count = 0;
}

void back_scan_free(struct back_scan *s)
{
    if (!s)
        return;
    items_done(s);
    back_lookups_done(&s->lookups);
    buf_done(&s->rows);
    free(s);
}

static void put_unreadable(struct back_scan *s, uint64_t id, const char *reason)
{
    char text[MESSAGE_ID_TEXT + 1];

    message_id_text(id, text);
    json_line_open(&s->rows, NULL, '{');
    json_line_text(&s->rows, "id", str_from(text));
    json_line_text(&s->rows, "state", STR("unreadable"));
    json_line_text(&s->rows, "reason", str_from(reason));
    json_line_open(&s->rows, "recipients", '[');
    json_line_close(&s->rows, ']');
    json_line_close(&s->rows, '}');
    buf_append_byte(&s->rows, '\n');
}

static void look(struct back_scan *s, const struct queue_message *m, struct attempt *peek)
{
    size_t before = s->rows.len;

    if (!back_filter_matches(s->filter, peek))
        return;
    s->found[s->found_count++] = m->id;
    if (s->kind == SCAN_MATCHES)
        return;
    back_row(s->back, m, peek, s->kind == SCAN_WHOLE_ROWS, &s->rows);
    if (buf_ok(&s->rows))
        return;
    s->rows.failed = false;
    buf_cut(&s->rows, before);
    put_unreadable(s, m->id, "there is too much of it to be shown");
}

static void work(void *arg)
{
    struct back_scan *s = arg;
    struct attempt    peek;

    for (size_t i = 0; i < s->count; i++) {
        const struct queue_message *m = &s->items[i].message;

        back_peek_init(&peek, s->back, m, s->kind == SCAN_WHOLE_ROWS);
        peek.lookups = &s->lookups;
        peek.without_progress = s->kind == SCAN_MATCHES && !back_filter_needs_progress(s->filter, m);
        attempt_load(&peek);
        if (peek.load_ok)
            look(s, m, &peek);
        else
            s->unread[s->unread_count++] = m->id;
        back_peek_done(&peek);
    }
}

static void worked(void *arg)
{
    struct back_scan *s = arg;

    for (size_t i = 0; i < s->unread_count; i++) {
        const struct queue_message *m = queue_find(&s->back->queue, s->unread[i]);
        struct attempt              peek;
        struct err                  err;

        if (m && back_peek(s->back, m, s->kind == SCAN_WHOLE_ROWS, &peek, &err)) {
            look(s, m, &peek);
            back_peek_done(&peek);
        } else if (m && s->kind != SCAN_MATCHES) {
            s->found[s->found_count++] = m->id;
            put_unreadable(s, m->id, err.text);
        }
    }
    s->running = false;
    s->done(s->arg);
}

/* ---- runs ---- */

static void add(struct back_scan *s, const struct queue_message *m)
{
    struct item *item = &s->items[s->count];

    *item = (struct item){.message = *m};
    item->message.extra = NULL;
    if (m->extra && m->extra->expansion_count) {
        size_t size = m->extra->expansion_count * sizeof *m->extra->expansions;

        item->extra.expansions = malloc(size);
        if (!item->extra.expansions) {
            s->unread[s->unread_count++] = m->id;
            return;
        }
        memcpy(item->extra.expansions, m->extra->expansions, size);
        item->extra.expansion_count = m->extra->expansion_count;
        item->message.extra = &item->extra;
    }
    s->count++;
}

size_t back_scan_run(struct back_scan *s, const uint64_t *ids, size_t count)
{
    size_t at = 0, most = s->kind == SCAN_WHOLE_ROWS ? RUN_WHOLE : RUN_MESSAGES;

    items_done(s);
    s->unread_count = s->found_count = 0;
    buf_shrink(&s->rows, 1 << 20);
    for (; at < count && s->count + s->unread_count < most; at++) {
        const struct queue_message *m = queue_find(&s->back->queue, ids[at]);

        if (m)
            add(s, m);
    }
    if (!s->count && !s->unread_count)
        return 0;
    s->running = true;
    if (!io_work(s->back->loop, work, worked, s))
        role_give_up("out of memory", NULL);
    return at;
}

bool back_scan_is_running(const struct back_scan *s) { return s && s->running; }

struct str back_scan_rows(const struct back_scan *s) { return buf_str(&s->rows); }

size_t back_scan_found(const struct back_scan *s, const uint64_t **ret_ids)
{
    *ret_ids = s->found;
    return s->found_count;
}
