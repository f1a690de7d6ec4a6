/* back_control.c: the control socket, data/run/control.sock (mode 0600: whoever may open it is the operator).
 *
 *   request = one line of JSON: {"command": C, ...}
 *   answer  = *( JSON object LF ) ( {"end": true, ...} / {"error": "..."} ) LF
 *   C       = "status" / "drain" / "queue.list" / "queue.show" / "queue.hold" / "queue.release" / "queue.retry" /
 *             "queue.remove"
 *
 * One request for each connection. A listing of a large queue goes out in slices, as fast as the reader takes it; a
 * command for many messages handles them one after the other, each durable before it is reported. */
#include "server/back.h"
#include "server/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 32,
    REQUEST_MAX = 1 << 20,
    SLICE = 32,              /* messages shown in one turn */
    UNSENT_MAX = 1 << 20,    /* octets, then the reader is waited for */
    REQUEST_WAIT_MS = 10000, /* for the request */
    BUSY_MS = 25,            /* wait until a message is looked at again */
    BUSY_TRIES = 1200,
    DRAIN_MS = 20,
    DRAIN_WAIT_MS = 120000,
};

struct client {
    struct list         link;
    struct back        *back;
    struct io_stream   *stream; /* NULL: gone, but a command still runs for it */
    struct io_timer    *timer;
    struct buf          in;
    json_t             *request;
    struct back_filter  filter;
    enum back_command   command;
    const char         *name;
    uint64_t           *ids; /* what may match, as it was at the start */
    size_t              id_count, at;
    uint64_t            done_count, until_ms;
    unsigned            tries;
    struct arena        arena;
    struct mail_address to;
    void (*step)(struct client *c);
    bool running, finished;
};

static void client_free(struct client *c)
{
    if (c->stream) {
        io_stream_free(c->stream);
        c->stream = NULL;
    }
    if (c->running)
        return; /* its command comes back here */
    list_remove(&c->link);
    c->back->client_count--;
    io_timer_free(c->timer);
    buf_done(&c->in);
    json_decref(c->request);
    back_filter_done(&c->filter);
    arena_done(&c->arena);
    free(c->ids);
    free(c);
}

static void send_row(struct client *c, json_t *row)
{
    char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;

    json_decref(row);
    if (text && c->stream) {
        io_stream_write(c->stream, str_from(text));
        io_stream_write(c->stream, STR("\n"));
    }
    free(text);
}

static void end(struct client *c, json_t *last)
{
    c->step = NULL;
    c->finished = true;
    io_timer_stop(c->timer);
    send_row(c, last);
    if (c->stream)
        io_stream_finish(c->stream);
    else
        client_free(c);
}

static void end_ok(struct client *c) { end(c, json_pack("{s:b, s:I}", "end", 1, "count", (json_int_t)c->done_count)); }

static void end_error(struct client *c, const char *text)
{
    json_t *last = json_object();

    json_object_set_new(last, "error", back_json_text(str_from(text)));
    end(c, last);
}

static void wake(void *arg)
{
    struct client *c = arg;

    if (c->step)
        c->step(c);
    else if (!c->request)
        end_error(c, "no request came");
}

/* ---- messages ---- */

static int by_id(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return (a > b) - (a < b);
}

static bool gather(struct client *c)
{
    struct queue         *q = &c->back->queue;
    struct queue_message *m;

    c->ids = malloc((q->messages + 1) * sizeof *c->ids);
    if (!c->ids)
        return false;
    for (size_t at = 0; c->id_count < q->messages && (m = queue_next(q, &at));)
        if (back_filter_may_match(&c->filter, m))
            c->ids[c->id_count++] = m->id;
    qsort(c->ids, c->id_count, sizeof *c->ids, by_id);
    return true;
}

/* Shows or passes over one message. */
static void show(struct client *c, uint64_t id, bool whole)
{
    struct queue_message *m = queue_find(&c->back->queue, id);
    struct attempt        peek;
    struct err            err;

    if (!m)
        return; /* finished meanwhile */
    if (!back_peek(c->back, m, whole, &peek, &err)) {
        char text[MESSAGE_ID_TEXT + 1];

        message_id_text(id, text);
        send_row(
            c, json_pack("{s:s, s:s, s:s, s:[]}", "id", text, "state", "unreadable", "reason", err.text, "recipients"));
        c->done_count++;
        return;
    }
    if (back_filter_matches(&c->filter, &peek)) {
        send_row(c, back_row(c->back, m, &peek, whole));
        c->done_count++;
    }
    back_peek_done(&peek);
}

static void list_step(struct client *c)
{
    for (int i = 0; i < SLICE && c->at < c->id_count && io_stream_unsent(c->stream) < UNSENT_MAX; i++)
        show(c, c->ids[c->at++], false);
    if (c->at == c->id_count)
        end_ok(c);
    else if (io_stream_unsent(c->stream) < UNSENT_MAX)
        io_timer_start(c->timer, 0, 0); /* else `drained` wakes us */
}

static void show_step(struct client *c)
{
    if (!c->id_count) {
        end_error(c, "no such message in the queue: it was delivered, removed, or never there; see tacit trace");
        return;
    }
    while (c->at < c->id_count)
        show(c, c->ids[c->at++], true);
    end_ok(c);
}

static void commanded(void *arg, bool ok, const char *text)
{
    struct client *c = arg;
    char           id[MESSAGE_ID_TEXT + 1];

    c->running = false;
    if (!c->stream) {
        client_free(c);
        return;
    }
    message_id_text(c->ids[c->at++], id);
    send_row(c, ok ? json_pack("{s:s, s:b}", "id", id, "done", 1) : json_pack("{s:s, s:s}", "id", id, "failed", text));
    c->done_count += ok;
    c->tries = 0;
    io_timer_start(c->timer, 0, 0);
}

static void command_step(struct client *c)
{
    for (; c->at < c->id_count; c->at++) {
        struct queue_message *m = queue_find(&c->back->queue, c->ids[c->at]);
        struct attempt        peek;
        bool                  matches;

        if (!m)
            continue;
        if (m->busy && c->tries++ < BUSY_TRIES) {
            io_timer_start(c->timer, BUSY_MS, 0);
            return;
        }
        if (m->busy) {
            c->tries = 0;
            continue;
        }
        if (back_filter_needs_message(&c->filter)) {
            if (!back_peek(c->back, m, false, &peek, NULL))
                continue;
            matches = back_filter_matches(&c->filter, &peek);
            back_peek_done(&peek);
            if (!matches)
                continue;
        }
        queue_delay(&c->back->queue, m, 0);
        c->running = true;
        if (back_command_start(c->back, m, c->command, c->to.local.len ? &c->to : NULL, commanded, c))
            return;
        c->running = false;
        end_error(c, "out of memory");
        return;
    }
    if (c->filter.by_id && !c->done_count)
        end_error(c, "no such message in the queue");
    else
        end_ok(c);
}

static void drain_step(struct client *c)
{
    struct back *b = c->back;

    back_kick(b);
    if (!b->attempt_count && back_store_is_idle(b) && queue_next_due_ms(&b->queue) > io_wall_ms())
        end_ok(c);
    else if (io_loop_now_ms(b->loop) > c->until_ms)
        end_error(c, "the queue is still at work");
    else
        io_timer_start(c->timer, DRAIN_MS, 0);
}

static void status_step(struct client *c)
{
    send_row(c, back_status(c->back));
    end_ok(c);
}

/* ---- requests ---- */

static const struct {
    const char *name;
    void (*step)(struct client *c);
    enum back_command command;
    bool              needs_filter;
} requests[] = {
    {"status", status_step, COMMAND_ATTEMPT, false},    {"drain", drain_step, COMMAND_ATTEMPT, false},
    {"queue.list", list_step, COMMAND_ATTEMPT, false},  {"queue.show", show_step, COMMAND_ATTEMPT, true},
    {"queue.hold", command_step, COMMAND_HOLD, true},   {"queue.release", command_step, COMMAND_RELEASE, true},
    {"queue.retry", command_step, COMMAND_RETRY, true}, {"queue.remove", command_step, COMMAND_REMOVE, true},
};

static bool get_to(struct client *c, char ret_wrong[128])
{
    const json_t             *to = json_object_get(c->request, "to");
    struct mail_address_error error;

    if (!to)
        return true;
    if (json_is_string(to) && mail_address_parse(str_from(json_string_value(to)), true, &c->arena, &c->to, &error))
        return true;
    snprintf(ret_wrong, 128, "\"to\" is not an address");
    return false;
}

static void request(struct client *c, struct str line)
{
    char        wrong[128] = "";
    const char *name;

    c->request = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
    name = json_string_value(json_object_get(c->request, "command"));
    if (!name) {
        if (!c->request)
            c->request = json_object();
        end_error(c, "the request must be a JSON object with \"command\"");
        return;
    }
    if (!back_filter_get(c->request, &c->filter, wrong) || !get_to(c, wrong)) {
        end_error(c, wrong);
        return;
    }
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        if (strcmp(requests[i].name, name) != 0)
            continue;
        if (requests[i].needs_filter && back_filter_is_empty(&c->filter) &&
            !json_is_true(json_object_get(c->request, "all"))) {
            end_error(c, "say which messages: by id, by a filter, or all of them");
            return;
        }
        if (requests[i].command != COMMAND_ATTEMPT && log_begin(LOG_LEVEL_INFO, "command")) {
            log_z("command", name);
            log_str("text", line);
            log_end();
        }
        c->command = requests[i].command;
        c->step = requests[i].step;
        c->until_ms = io_loop_now_ms(c->back->loop) + DRAIN_WAIT_MS;
        if (!gather(c))
            end_error(c, "out of memory");
        else
            c->step(c);
        return;
    }
    end_error(c, "unknown command");
}

static void on_read(void *arg, struct str data)
{
    struct client *c = arg;
    size_t         line;

    if (c->finished || c->request)
        return; /* one request */
    if (!buf_append(&c->in, data)) {
        c->request = json_object();
        end_error(c, "the request is too long");
        return;
    }
    line = str_find_byte(buf_str(&c->in), '\n');
    if (line == STR_NOT_FOUND)
        return;
    io_timer_stop(c->timer);
    request(c, str_part(buf_str(&c->in), 0, line));
}

static void on_end(void *arg, const struct err *err)
{
    (void)err;
    client_free(arg);
}

static void on_drained(void *arg)
{
    struct client *c = arg;

    if (c->step == list_step)
        io_timer_start(c->timer, 0, 0);
}

static void accepted(int fd, const struct io_address *peer, void *arg)
{
    static const struct io_stream_ops ops = {on_read, on_end, on_drained};
    struct back                      *b = arg;
    struct client                    *c = b->client_count < CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;

    (void)peer;
    if (!c) {
        close(fd);
        return;
    }
    c->back = b;
    c->timer = io_timer_new(b->loop, wake, c);
    c->stream = c->timer ? io_stream_new(b->loop, fd, &ops, c, NULL) : NULL;
    if (!c->stream) {
        if (!c->timer)
            close(fd);
        else
            io_timer_free(c->timer);
        free(c);
        return;
    }
    buf_init(&c->in, REQUEST_MAX);
    arena_init(&c->arena, 1024, 64 << 10);
    list_push(&b->clients, &c->link);
    b->client_count++;
    io_timer_start(c->timer, REQUEST_WAIT_MS, 0);
    io_stream_read(c->stream, true);
}

void back_control_listen(struct back *b, int fd)
{
    struct err err;

    if (b->control)
        io_acceptor_free(b->control);
    b->control = io_acceptor_new(b->loop, fd, accepted, b, &err);
    if (!b->control)
        log_notice(LOG_LEVEL_ERROR, "control socket: %s", err.text);
}
