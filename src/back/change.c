/* change.c: an order that changes messages: hold, release, retry, remove, reroute.
 *
 * Some hundreds of messages are under way at a time, so that they share commits; each is durable before it is reported.
 * A message that is being attempted is looked at again, for a while; so is one that is with the carrier, after it was
 * called back (back/recall.c). When that takes too long it is changed all the same: that holds from then on.
 *
 * Who asks is answered as soon as memory knows which messages may be meant: a large change says first how many
 * ({"of": N}), and then tells of each. With "background" the answer ends there, and the change goes on without its
 * client: `tacit status` shows how far it is, the log says what came of it, queue.stop ends it. Without, the change
 * ends with its client, be it by Ctrl-C or a lost terminal; what was done stays done, and the same command does the
 * rest. Going on by itself whenever a client was lost was rejected: nobody could stop what was meant otherwise. A
 * change ends with back in any case; to keep it beyond that would take records of what was meant, for what a command
 * can repeat. */
#include "back/json_line.h"
#include "back/order.h"
#include "role/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHANGES = 256, /* commands under way for one order */
    LONG = 1000,   /* messages; for more, their number is said first */
    WAIT_MS = 25,  /* until messages that wait are looked at again */
    TRIES = 1200,
    SENDING_TRIES = 400, /* then what is being sent is changed all the same */
    BACKGROUND_MAX = 8,
};

struct change {
    struct order       *order;
    struct list         link;
    struct back_recall *recall; /* NULL: it had not to wait, or is no change that calls back */
    uint64_t            id;
};

/* ---- what the request says ---- */

static bool get_to(struct order *o, char ret_wrong[128])
{
    const json_t             *to = json_object_get(o->request, "to");
    struct mail_address_error error;

    if (!to || (json_is_string(to) &&
                mail_address_parse(str_from(json_string_value(to)), true, &o->arena, &o->change.to, &error)))
        return true;
    snprintf(ret_wrong, 128, "\"to\" is not an address");
    return false;
}

static bool get_via(struct order *o, char ret_wrong[128])
{
    const char *text = json_string_value(json_object_get(o->request, "via"));
    struct via  via;

    o->change.via = text && strcmp(text, "configured") != 0 ? str_from(text) : STR_NONE;
    if (text && !o->change.via.data)
        return true;
    if (text && via_parse(o->change.via, &o->arena, &via)) {
        if (via.kind != VIA_SOCKET || config_uses_sockets(o->back->config))
            return true;
        snprintf(ret_wrong, 128,
                 "the carrier opens no Unix socket unless a route or a domain of the configuration goes to one");
        return false;
    }
    snprintf(ret_wrong, 128, "\"via\" must be mx, smtp:HOST, smtp:HOST:PORT, lmtp:..., hold:, discard: or configured");
    return false;
}

bool order_change_get(struct order *o, enum back_command command, char ret_wrong[128])
{
    o->background = command != COMMAND_ATTEMPT && json_is_true(json_object_get(o->request, "background"));
    return get_to(o, ret_wrong) && (command != COMMAND_REROUTE || get_via(o, ret_wrong));
}

/* ---- in the background ---- */

static bool in_background(const struct order *o) { return o->background && o->state == ORDER_WORKS; }

static unsigned background_count(const struct back *b)
{
    unsigned count = 0;

    for (const struct list *l = b->orders.next; l != &b->orders; l = l->next)
        count += in_background(LIST_ITEM(l, struct order, link));
    return count;
}

void order_stop_step(struct order *o)
{
    struct back *b = o->back;

    for (struct list *l = b->orders.next, *next; l != &b->orders; l = next) {
        struct order *other = LIST_ITEM(l, struct order, link);

        next = l->next;
        if (!in_background(other))
            continue;
        o->done++;
        order_end_error(other, "stopped by hand");
    }
    order_end_ok(o);
}

void back_changes_status(struct back *b, json_t *status)
{
    json_t *changes = json_array();

    for (const struct list *l = b->orders.next; l != &b->orders; l = l->next) {
        const struct order *o = LIST_ITEM(l, struct order, link);

        if (o->change.command != COMMAND_ATTEMPT && o->state == ORDER_WORKS)
            json_array_append_new(changes, json_pack("{s:s, s:I, s:I, s:I, s:b}", "command", o->name, "of",
                                                     (json_int_t)o->of, "done", (json_int_t)o->done, "failed",
                                                     (json_int_t)o->failed, "background", o->background));
    }
    if (json_array_size(changes))
        json_object_set(status, "changes", changes);
    json_decref(changes);
}

void order_change_log(const struct order *o, const char *result)
{
    if (!log_begin(LOG_LEVEL_INFO, "command"))
        return;
    log_z("command", o->name);
    log_z("result", result);
    log_u64("messages", o->done);
    if (o->failed)
        log_u64("failed", o->failed);
    log_u64("ms", io_loop_now_ms(o->back->loop) - o->began_ms);
    log_end();
}

/* ---- the messages ---- */

static void send_out(struct order *o)
{
    if (o->out.len && o->stream && !o->background)
        io_stream_write(o->stream, buf_str(&o->out));
    buf_clear(&o->out);
}

static void put_row(struct order *o, uint64_t id, const char *failed, const char *sent)
{
    char text[MESSAGE_ID_TEXT + 1];

    o->done += !failed;
    o->failed += failed != NULL;
    message_id_text(id, text);
    json_line_open(&o->out, NULL, '{');
    json_line_text(&o->out, "id", str_of(text, MESSAGE_ID_TEXT));
    if (failed)
        json_line_text(&o->out, "failed", str_from(failed));
    else
        json_line_true(&o->out, "done");
    if (*sent)
        json_line_text(&o->out, "sent", str_from(sent));
    json_line_close(&o->out, '}');
    buf_append_byte(&o->out, '\n');
}

static void change_free(struct change *c)
{
    list_remove(&c->link);
    if (c->recall)
        recall_end(c->recall);
    free(c);
}

static void commanded(void *arg, bool ok, const char *text)
{
    struct change *c = arg;
    struct order  *o = c->order;
    char           sent[RECALL_TEXT] = "";

    if (o->state == ORDER_WORKS) {
        if (c->recall)
            recall_text(c->recall, sent);
        put_row(o, c->id, ok ? NULL : text, sent);
        order_again(o, 0);
    } else {
        o->done += ok; /* it had been begun */
    }
    change_free(c);
    order_returned(o);
}

/* ---- messages that must be waited for ---- */

static bool calls_back(const struct order *o)
{
    return o->change.command == COMMAND_HOLD || o->change.command == COMMAND_REMOVE ||
           o->change.command == COMMAND_REROUTE;
}

/* It may be changed now; else what is with the carrier is asked for. */
static bool is_free(struct change *c, const struct queue_message *m)
{
    bool out = m->out && calls_back(c->order) && c->order->tries <= SENDING_TRIES;

    if (out && c->recall)
        recall_ask(c->recall);
    return !m->busy && !out;
}

/* There is nothing left of it to change. */
static void too_late(struct change *c)
{
    char sent[RECALL_TEXT] = "";

    if (c->recall)
        recall_text(c->recall, sent);
    if (*sent)
        put_row(c->order, c->id, sent, "");
    change_free(c);
}

void order_change_over(struct order *o)
{
    while (!list_is_empty(&o->waiting))
        change_free(LIST_ITEM(list_first(&o->waiting), struct change, link));
    while (!list_is_empty(&o->ready))
        change_free(LIST_ITEM(list_first(&o->ready), struct change, link));
}

/* What need not wait any more is looked at as if only that had been meant. */
static void look_again(struct order *o)
{
    o->ids.count = o->next = 0;
    for (struct list *l = o->waiting.next, *next; l != &o->waiting; l = next) {
        struct change        *c = LIST_ITEM(l, struct change, link);
        struct queue_message *m = queue_find(&o->back->queue, c->id);

        next = l->next;
        if (!m) {
            too_late(c);
        } else if (is_free(c, m)) {
            order_ids_add(&o->ids, c->id);
            list_remove(l);
            list_push(&o->ready, l);
        }
    }
    order_again(o, WAIT_MS);
}

/* The one that waited for this message, or a new one; those before it are meant no longer. NULL: no memory. */
static struct change *change_of(struct order *o, uint64_t id)
{
    struct change *c;

    while (!list_is_empty(&o->ready)) {
        c = LIST_ITEM(list_first(&o->ready), struct change, link);
        if (c->id == id) {
            list_remove(&c->link);
            return c;
        }
        too_late(c);
    }
    c = malloc(sizeof *c);
    if (c) {
        *c = (struct change){.order = o, .id = id};
        list_init(&c->link);
    }
    return c;
}

static bool begin(struct order *o, uint64_t id)
{
    struct queue_message *m = queue_find(&o->back->queue, id);
    struct change        *c = change_of(o, id);

    if (!c)
        return false;
    if (!m) {
        too_late(c);
        return true;
    }
    if ((m->busy || m->out) && calls_back(o) && !c->recall && !(c->recall = recall_begin(o->back, id))) {
        change_free(c);
        return false;
    }
    if (!is_free(c, m)) {
        list_push(&o->waiting, &c->link);
        return true;
    }
    queue_delay(&o->back->queue, m, 0);
    o->running++;
    if (back_command_start(o->back, m, &o->change, commanded, c))
        return true;
    o->running--;
    change_free(c);
    return false;
}

static void all_begun(struct order *o)
{
    if (o->running)
        return;
    while (!list_is_empty(&o->ready)) /* not meant any more */
        too_late(LIST_ITEM(list_first(&o->ready), struct change, link));
    if (!list_is_empty(&o->waiting) && o->tries++ <= TRIES) {
        look_again(o);
        return;
    }
    while (!list_is_empty(&o->waiting)) {
        struct change *c = LIST_ITEM(list_first(&o->waiting), struct change, link);

        put_row(o, c->id, "an attempt at it is under way; try again later", "");
        change_free(c);
        if (o->out.len > ORDER_UNSENT_MAX / 2)
            send_out(o);
    }
    send_out(o);
    if (o->filter.by_id && !o->done && !o->failed)
        order_end_error(o, "no such message in the queue");
    else
        order_end_ok(o);
}

static bool has_room(const struct order *o)
{
    return o->running < CHANGES && (!o->stream || io_stream_unsent(o->stream) < ORDER_UNSENT_MAX);
}

void order_change_step(struct order *o)
{
    bool needs_message = back_filter_needs_message(&o->filter);

    send_out(o);
    while (has_room(o)) {
        if (o->back->draining) {
            order_end_error(o, "the server stops: not all is done");
            return;
        }
        if (o->chosen_count) {
            o->chosen_count--;
            if (begin(o, *o->chosen++))
                continue;
            order_end_error(o, "out of memory");
            return;
        }
        if (needs_message && order_scan(o))
            return; /* it is called again with what was found */
        if (needs_message || o->next == o->ids.count) {
            all_begun(o);
            return;
        }
        o->chosen = o->ids.at + o->next;
        o->chosen_count = o->ids.count - o->next;
        o->next = o->ids.count;
    }
}

void order_change_found(struct order *o) { o->chosen_count = back_scan_found(o->scan, &o->chosen); }

void order_change_gathered(struct order *o)
{
    if (o->background && background_count(o->back) > BACKGROUND_MAX) {
        o->background = false;
        order_end_error(o, "too many changes go on in the background: wait, or end them with tacit queue stop");
        return;
    }
    o->of = o->ids.count;
    if (o->background || o->of >= LONG)
        order_send(o, json_pack("{s:I}", "of", (json_int_t)o->of));
    if (o->background) {
        order_send(o, json_pack("{s:b, s:I}", "end", 1, "count", 0));
        io_stream_finish(o->stream);
    }
    o->step(o);
}
