/* back_control.c: the control socket, data/run/control.sock (mode 0600: whoever may open it is the operator).
 *
 *   request = one line of JSON: {"command": C, ...}
 *   answer  = *( JSON object LF ) ( {"end": true, ...} / {"error": "..."} ) LF
 *   C       = "status" / "drain" / "queue.list" / "queue.show" / "queue.hold" / "queue.release" / "queue.retry" /
 *             "queue.remove" / "queue.reroute"
 *
 * One request for each connection. Nothing that grows with the queue is done in one go on the loop's thread: messages
 * are gathered in slices and sorted and read on a work thread, and a listing goes out as fast as the reader takes it. A
 * command for many messages has some hundreds of them under way at a time, so that they share commits; each is durable
 * before it is reported. Before a long one stands {"of": N}, the number of messages that may be meant. */
#include "server/back.h"
#include "server/json_line.h"
#include "server/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 32,
    REQUEST_MAX = 1 << 20,
    GATHER = 16384,          /* messages of the queue looked at in one turn */
    CHANGES = 256,           /* commands under way for one client */
    LONG = 1000,             /* messages; for more, their number is said first */
    UNSENT_MAX = 1 << 20,    /* octets, then the reader is waited for */
    REQUEST_WAIT_MS = 10000, /* for the request */
    BUSY_MS = 25,            /* wait until messages that were busy are looked at again */
    BUSY_TRIES = 1200,
    DRAIN_MS = 20,
    DRAIN_WAIT_MS = 120000,
};

struct ids {
    uint64_t *at;
    size_t    count, room;
};

struct client {
    struct list        link;
    struct back       *back;
    struct io_stream  *stream; /* NULL: gone, but something still runs for it */
    struct io_timer   *timer;
    struct buf         in, out;
    json_t            *request;
    struct back_filter filter;
    struct back_change change;
    struct ids         ids; /* what may match, as it was at the start, sorted */
    size_t             next, gathered;
    struct back_scan  *scan;
    const uint64_t    *chosen; /* for the command: those that match */
    size_t             chosen_count;
    struct ids         busy;  /* to be looked at again */
    size_t             begun; /* commands under way */
    uint64_t           done_count, until_ms;
    unsigned           tries;
    struct arena       arena;
    void (*step)(struct client *c);
    void (*then)(struct client *c); /* when all is gathered */
    bool sorting, finished;
};

struct change {
    struct client *client;
    uint64_t       id;
};

static void client_free(struct client *c)
{
    if (c->stream) {
        io_stream_free(c->stream);
        c->stream = NULL;
        c->step = NULL; /* nothing new is begun */
        io_timer_stop(c->timer);
    }
    if (c->begun || c->sorting || back_scan_is_running(c->scan))
        return; /* they come back here */
    list_remove(&c->link);
    c->back->client_count--;
    io_timer_free(c->timer);
    buf_done(&c->in);
    buf_done(&c->out);
    json_decref(c->request);
    back_scan_free(c->scan);
    back_filter_done(&c->filter);
    arena_done(&c->arena);
    free(c->ids.at);
    free(c->busy.at);
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

    if (c->step && !c->sorting)
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

static void add_id(struct ids *ids, uint64_t id)
{
    if (ids->count == ids->room) {
        size_t    room = ids->room ? ids->room * 2 : 64;
        uint64_t *at = realloc(ids->at, room * sizeof *at);

        if (!at)
            back_give_up("out of memory", NULL);
        ids->at = at;
        ids->room = room;
    }
    ids->at[ids->count++] = id;
}

static void sort(void *arg)
{
    struct client *c = arg;

    qsort(c->ids.at, c->ids.count, sizeof *c->ids.at, by_id);
}

static void sorted(void *arg)
{
    struct client *c = arg;

    c->sorting = false;
    if (!c->stream)
        client_free(c);
    else if (c->step)
        c->step(c);
}

static void gather_step(struct client *c)
{
    struct queue         *q = &c->back->queue;
    struct queue_message *m;
    size_t                turn = GATHER;

    for (size_t i = 0; c->filter.by_id && i < c->filter.id_count; i++) /* they are sorted */
        if ((i == 0 || c->filter.ids[i] != c->filter.ids[i - 1]) && (m = queue_find(q, c->filter.ids[i])) &&
            back_filter_may_match(&c->filter, m))
            add_id(&c->ids, m->id);
    for (m = NULL; !c->filter.by_id && turn && (m = queue_next(q, &c->gathered)); turn--)
        if (back_filter_may_match(&c->filter, m))
            add_id(&c->ids, m->id);
    if (m && !c->filter.by_id) {
        io_timer_start(c->timer, 0, 0);
        return;
    }
    c->step = c->then;
    if (c->change.command != COMMAND_ATTEMPT && c->ids.count >= LONG)
        send_row(c, json_pack("{s:I}", "of", (json_int_t)c->ids.count));
    c->sorting = !c->filter.by_id && c->ids.count;
    if (!c->sorting)
        c->step(c);
    else if (!io_work(c->back->loop, sort, sorted, c))
        back_give_up("out of memory", NULL);
}

/* The next messages are read, unless a run is under way. False: there are none. */
static bool scan(struct client *c)
{
    size_t taken;

    if (back_scan_is_running(c->scan))
        return true;
    taken = back_scan_run(c->scan, c->ids.at + c->next, c->ids.count - c->next);
    c->next += taken;
    return taken > 0;
}

static void list_step(struct client *c)
{
    if (io_stream_unsent(c->stream) < UNSENT_MAX && !scan(c)) /* else `drained` wakes us */
        end_ok(c);
}

static void show_step(struct client *c)
{
    if (!c->ids.count)
        end_error(c, "no such message in the queue: it was delivered, removed, or never there; see tacit trace");
    else
        list_step(c);
}

static void send_out(struct client *c)
{
    if (c->out.len && c->stream)
        io_stream_write(c->stream, buf_str(&c->out));
    buf_clear(&c->out);
}

static void commanded(void *arg, bool ok, const char *text)
{
    struct change *change = arg;
    struct client *c = change->client;
    char           id[MESSAGE_ID_TEXT + 1];

    message_id_text(change->id, id);
    free(change);
    c->begun--;
    if (!c->stream) {
        client_free(c);
        return;
    }
    json_line_open(&c->out, NULL, '{');
    json_line_text(&c->out, "id", str_of(id, MESSAGE_ID_TEXT));
    if (ok)
        json_line_true(&c->out, "done");
    else
        json_line_text(&c->out, "failed", str_from(text));
    json_line_close(&c->out, '}');
    buf_append_byte(&c->out, '\n');
    c->done_count += ok;
    io_timer_start(c->timer, 0, 0);
}

static bool change_begin(struct client *c, uint64_t id)
{
    struct queue_message *m = queue_find(&c->back->queue, id);
    struct change        *change;

    if (!m)
        return true;
    if (m->busy) {
        add_id(&c->busy, id);
        return true;
    }
    change = malloc(sizeof *change);
    if (!change)
        return false;
    *change = (struct change){c, id};
    queue_delay(&c->back->queue, m, 0);
    c->begun++;
    if (back_command_start(c->back, m, &c->change, commanded, change))
        return true;
    c->begun--;
    free(change);
    return false;
}

/* Those that were busy, once more, as if only they had been meant. */
static void busy_again(struct client *c)
{
    struct ids old = c->ids;

    c->ids = c->busy;
    c->busy = old;
    c->busy.count = 0;
    c->next = 0;
    io_timer_start(c->timer, BUSY_MS, 0);
}

static void command_step(struct client *c)
{
    bool needs_message = back_filter_needs_message(&c->filter);

    send_out(c);
    while (c->begun < CHANGES && io_stream_unsent(c->stream) < UNSENT_MAX) {
        if (c->back->draining) {
            end_error(c, "the server stops: not all is done");
            return;
        }
        if (c->chosen_count) {
            c->chosen_count--;
            if (change_begin(c, *c->chosen++))
                continue;
            end_error(c, "out of memory");
            return;
        }
        if (needs_message && scan(c))
            return; /* `scanned` comes back */
        if (!needs_message && c->next < c->ids.count) {
            c->chosen = c->ids.at + c->next;
            c->chosen_count = c->ids.count - c->next;
            c->next = c->ids.count;
            continue;
        }
        if (c->begun)
            return;
        if (c->busy.count && c->tries++ < BUSY_TRIES)
            busy_again(c);
        else if (c->filter.by_id && !c->done_count)
            end_error(c, "no such message in the queue");
        else
            end_ok(c);
        return;
    }
}

static void scanned(void *arg)
{
    struct client *c = arg;
    size_t         count;

    if (!c->stream) {
        client_free(c);
        return;
    }
    if (!c->step)
        return; /* it was ended meanwhile */
    count = back_scan_found(c->scan, &c->chosen);
    if (c->then == command_step) {
        c->chosen_count = count;
    } else {
        io_stream_write(c->stream, back_scan_rows(c->scan));
        c->done_count += count;
    }
    c->step(c);
}

static void drain_step(struct client *c)
{
    struct back *b = c->back;

    back_kick(b);
    if (!b->attempt_count && !b->command_count && back_store_is_idle(b) && queue_next_due_ms(&b->queue) > io_wall_ms())
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
    enum back_scan_kind scan;
    bool                of_messages;
    enum back_command   command;
    bool                needs_filter;
} requests[] = {
    {"status", status_step, SCAN_MATCHES, false, COMMAND_ATTEMPT, false},
    {"drain", drain_step, SCAN_MATCHES, false, COMMAND_ATTEMPT, false},
    {"queue.list", list_step, SCAN_ROWS, true, COMMAND_ATTEMPT, false},
    {"queue.show", show_step, SCAN_WHOLE_ROWS, true, COMMAND_ATTEMPT, true},
    {"queue.hold", command_step, SCAN_MATCHES, true, COMMAND_HOLD, true},
    {"queue.release", command_step, SCAN_MATCHES, true, COMMAND_RELEASE, true},
    {"queue.retry", command_step, SCAN_MATCHES, true, COMMAND_RETRY, true},
    {"queue.remove", command_step, SCAN_MATCHES, true, COMMAND_REMOVE, true},
    {"queue.reroute", command_step, SCAN_MATCHES, true, COMMAND_REROUTE, true},
};

static bool get_to(struct client *c, char ret_wrong[128])
{
    const json_t             *to = json_object_get(c->request, "to");
    struct mail_address_error error;

    if (!to)
        return true;
    if (json_is_string(to) &&
        mail_address_parse(str_from(json_string_value(to)), true, &c->arena, &c->change.to, &error))
        return true;
    snprintf(ret_wrong, 128, "\"to\" is not an address");
    return false;
}

static bool get_via(struct client *c, bool needed, char ret_wrong[128])
{
    const char *text = json_string_value(json_object_get(c->request, "via"));
    struct via  via;

    if (!text && !needed)
        return true;
    c->change.via = text && strcmp(text, "configured") != 0 ? str_from(text) : STR_NONE;
    if (text && (!c->change.via.data || via_parse(c->change.via, &c->arena, &via)))
        return true;
    snprintf(ret_wrong, 128, "\"via\" must be mx, smtp:HOST, smtp:HOST:PORT, lmtp:..., hold:, discard: or configured");
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
        if (!get_via(c, requests[i].command == COMMAND_REROUTE, wrong)) {
            end_error(c, wrong);
            return;
        }
        if (requests[i].command != COMMAND_ATTEMPT && log_begin(LOG_LEVEL_INFO, "command")) {
            log_z("command", name);
            log_str("text", line);
            log_end();
        }
        c->change.command = requests[i].command;
        c->then = requests[i].step;
        c->step = requests[i].of_messages ? gather_step : c->then;
        c->until_ms = io_loop_now_ms(c->back->loop) + DRAIN_WAIT_MS;
        if (requests[i].of_messages)
            c->scan = back_scan_new(c->back, &c->filter, requests[i].scan, scanned, c);
        if (requests[i].of_messages && !c->scan)
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
    size_t         before = c->in.len, line = str_find_byte(data, '\n');

    if (c->finished || c->request)
        return; /* one request */
    if (!buf_append(&c->in, data)) {
        c->request = json_object();
        end_error(c, "the request is too long");
        return;
    }
    if (line == STR_NOT_FOUND)
        return;
    io_timer_stop(c->timer);
    request(c, str_part(buf_str(&c->in), 0, before + line));
}

static void on_end(void *arg, const struct err *err)
{
    (void)err;
    client_free(arg);
}

static void on_drained(void *arg)
{
    struct client *c = arg;

    if (c->step && c->step == c->then)
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
    buf_init(&c->out, UNSENT_MAX);
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
