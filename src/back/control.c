/* control.c: the control socket, data/run/control.sock (mode 0600: whoever may open it is the operator).
 *
 *   request = one line of JSON: {"command": C, ...}
 *   answer  = *( JSON object LF ) ( {"end": true, ...} / {"error": "..."} ) LF
 *   C       = "status" / "drain" / "queue.list" / "queue.show" / "queue.hold" / "queue.release" / "queue.retry" /
 *             "queue.remove" / "queue.reroute" / "queue.stop"
 *
 * One request for each connection: back/order.h has what becomes of it. */
#include "back/order.h"
#include "role/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ORDERS_MAX = 32,
    REQUEST_MAX = 1 << 20,
    REQUEST_WAIT_MS = 10000, /* for the request */
    DRAIN_MS = 20,
    DRAIN_WAIT_MS = 120000,
};

void order_go(struct order *o, enum order_state state)
{
    static const bool may[][ORDER_ENDED + 1] = {
        [ORDER_AWAITED] = {[ORDER_GATHERS] = true, [ORDER_WORKS] = true, [ORDER_ENDED] = true},
        [ORDER_GATHERS] = {[ORDER_SORTS] = true, [ORDER_WORKS] = true, [ORDER_ENDED] = true},
        [ORDER_SORTS] = {[ORDER_WORKS] = true, [ORDER_ENDED] = true},
        [ORDER_WORKS] = {[ORDER_ENDED] = true},
        [ORDER_ENDED] = {false},
    };

    assert(may[o->state][state]);
    o->state = state;
    io_timer_stop(o->timer);
    if (state == ORDER_ENDED)
        order_change_over(o);
}

static void free_if_over(struct order *o)
{
    if (o->state != ORDER_ENDED || o->stream || o->running)
        return;
    list_remove(&o->link);
    o->back->order_count--;
    io_timer_free(o->timer);
    buf_done(&o->in);
    buf_done(&o->out);
    json_decref(o->request);
    back_scan_free(o->scan);
    back_filter_done(&o->filter);
    arena_done(&o->arena);
    free(o->ids.at);
    free(o);
}

void order_returned(struct order *o)
{
    o->running--;
    free_if_over(o);
}

void order_again(struct order *o, uint64_t wait_ms) { io_timer_start(o->timer, wait_ms, 0); }

void order_send(struct order *o, json_t *row)
{
    char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;

    json_decref(row);
    if (text) {
        io_stream_write(o->stream, str_from(text));
        io_stream_write(o->stream, STR("\n"));
    }
    free(text);
}

static void end(struct order *o, json_t *last, const char *result)
{
    bool tells = o->stream && !(o->background && o->state == ORDER_WORKS); /* else its answer has ended before */

    if (o->change.command != COMMAND_ATTEMPT)
        order_change_log(o, result);
    order_go(o, ORDER_ENDED);
    if (tells) {
        order_send(o, last);
        io_stream_finish(o->stream);
    } else {
        json_decref(last);
    }
    free_if_over(o);
}

void order_end_ok(struct order *o) { end(o, json_pack("{s:b, s:I}", "end", 1, "count", (json_int_t)o->done), "done"); }

void order_end_error(struct order *o, const char *text)
{
    json_t *last = json_object();

    json_object_set_new(last, "error", back_json_text(str_from(text)));
    end(o, last, text);
}

static void wake(void *arg)
{
    struct order *o = arg;

    switch (o->state) {
    case ORDER_AWAITED:
        order_end_error(o, "no request came");
        break;
    case ORDER_GATHERS:
        order_gather(o);
        break;
    case ORDER_WORKS:
        o->step(o);
        break;
    case ORDER_SORTS:
    case ORDER_ENDED:
        break;
    }
}

static void scanned(void *arg)
{
    struct order *o = arg;

    if (o->state == ORDER_WORKS) {
        o->scanned(o);
        order_again(o, 0);
    }
    order_returned(o);
}

/* ---- requests about no messages ---- */

static void drain_step(struct order *o)
{
    struct back *b = o->back;

    back_kick(b);
    if (!b->attempt_count && !b->command_count && !b->carry.messages.used && back_store_is_idle(b) &&
        queue_next_due_ms(&b->queue) > io_wall_ms())
        order_end_ok(o);
    else if (io_loop_now_ms(b->loop) - o->began_ms > DRAIN_WAIT_MS)
        order_end_error(o, "the queue is still at work");
    else
        order_again(o, DRAIN_MS);
}

static void status_step(struct order *o)
{
    order_send(o, back_status(o->back));
    order_end_ok(o);
}

/* ---- requests ---- */

static const struct request {
    const char *name;
    void (*step)(struct order *o);
    void (*scanned)(struct order *o); /* NULL: it is about no messages */
    enum back_scan_kind scan;
    enum back_command   command;
    bool                needs_filter;
} requests[] = {
    {"status", status_step, NULL, SCAN_MATCHES, COMMAND_ATTEMPT, false},
    {"drain", drain_step, NULL, SCAN_MATCHES, COMMAND_ATTEMPT, false},
    {"queue.list", order_list_step, order_listed, SCAN_ROWS, COMMAND_ATTEMPT, false},
    {"queue.show", order_show_step, order_listed, SCAN_WHOLE_ROWS, COMMAND_ATTEMPT, true},
    {"queue.hold", order_change_step, order_change_found, SCAN_MATCHES, COMMAND_HOLD, true},
    {"queue.release", order_change_step, order_change_found, SCAN_MATCHES, COMMAND_RELEASE, true},
    {"queue.retry", order_change_step, order_change_found, SCAN_MATCHES, COMMAND_RETRY, true},
    {"queue.remove", order_change_step, order_change_found, SCAN_MATCHES, COMMAND_REMOVE, true},
    {"queue.reroute", order_change_step, order_change_found, SCAN_MATCHES, COMMAND_REROUTE, true},
    {"queue.stop", order_stop_step, NULL, SCAN_MATCHES, COMMAND_ATTEMPT, false},
};

static const struct request *request_find(const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "command"));

    for (size_t i = 0; name && i < sizeof requests / sizeof *requests; i++)
        if (strcmp(requests[i].name, name) == 0)
            return &requests[i];
    return NULL;
}

static bool names_none(const struct order *o)
{
    return back_filter_is_empty(&o->filter) && !json_is_true(json_object_get(o->request, "all"));
}

static void log_request(const struct order *o, struct str line)
{
    if (o->change.command == COMMAND_ATTEMPT || !log_begin(LOG_LEVEL_INFO, "command"))
        return;
    log_z("command", o->name);
    log_str("text", line);
    log_end();
}

static void begin(struct order *o, struct str line)
{
    const struct request *r;
    char                  wrong[128] = "";

    o->request = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
    r = request_find(o->request);
    if (!r) {
        order_end_error(o, json_is_object(o->request) ? "unknown command"
                                                      : "the request must be a JSON object with \"command\"");
        return;
    }
    if (!back_filter_get(o->request, &o->filter, wrong) || !order_change_get(o, r->command, wrong)) {
        order_end_error(o, wrong);
        return;
    }
    if (r->needs_filter && names_none(o)) {
        order_end_error(o, "say which messages: by id, by a filter, or all of them");
        return;
    }
    if (r->scanned && !(o->scan = back_scan_new(o->back, &o->filter, r->scan, scanned, o))) {
        order_end_error(o, "out of memory");
        return;
    }
    o->name = r->name;
    o->change.command = r->command;
    o->step = r->step;
    o->scanned = r->scanned;
    o->began_ms = io_loop_now_ms(o->back->loop);
    log_request(o, line);
    order_go(o, r->scanned ? ORDER_GATHERS : ORDER_WORKS);
    if (r->scanned)
        order_gather(o);
    else
        o->step(o);
}

static void on_read(void *arg, struct str data)
{
    struct order *o = arg;
    size_t        before = o->in.len, line = str_find_byte(data, '\n');

    if (o->state != ORDER_AWAITED)
        return; /* one request */
    if (!buf_append(&o->in, data))
        order_end_error(o, "the request is too long");
    else if (line != STR_NOT_FOUND)
        begin(o, str_part(buf_str(&o->in), 0, before + line));
}

static void on_end(void *arg, const struct err *err)
{
    struct order *o = arg;

    (void)err;
    io_stream_free(o->stream);
    o->stream = NULL;
    if (o->state != ORDER_ENDED && !(o->background && o->state == ORDER_WORKS))
        end(o, NULL, "its client went away");
    else
        free_if_over(o);
}

static void on_drained(void *arg)
{
    struct order *o = arg;

    if (o->state == ORDER_WORKS)
        order_again(o, 0);
}

static void accepted(int fd, const struct io_address *peer, void *arg)
{
    static const struct io_stream_ops ops = {on_read, on_end, on_drained};
    struct back                      *b = arg;
    struct order                     *o = b->order_count < ORDERS_MAX ? calloc(1, sizeof *o) : NULL;

    (void)peer;
    if (!o) {
        close(fd);
        return;
    }
    o->back = b;
    list_init(&o->waiting);
    list_init(&o->ready);
    o->timer = io_timer_new(b->loop, wake, o);
    o->stream = o->timer ? io_stream_new(b->loop, fd, &ops, o, NULL) : NULL;
    if (!o->stream) {
        if (!o->timer)
            close(fd);
        else
            io_timer_free(o->timer);
        free(o);
        return;
    }
    buf_init(&o->in, REQUEST_MAX);
    buf_init(&o->out, ORDER_UNSENT_MAX);
    arena_init(&o->arena, 1024, 64 << 10);
    list_push(&b->orders, &o->link);
    b->order_count++;
    order_again(o, REQUEST_WAIT_MS);
    io_stream_read(o->stream, true);
}

void back_control_listen(struct back *b, int fd)
{
    struct err err;

    if (b->control)
        io_acceptor_free(b->control);
    b->control = io_acceptor_new(b->loop, fd, accepted, b, &err);
    if (!b->control) /* master holds the socket: whoever connects would wait for ever */
        role_give_up("control socket", &err);
}
