/* list.c: rows of the control socket, and the status. Messages are read from the spool as they are shown: the
 * queue in memory knows ids, times and states, nothing else. */
#include "back/back.h"
#include "back/json_line.h"
#include "mail/header.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SHOWN_RECIPIENTS = 50, HEADERS_MAX = 64 << 10 };

struct json_t *back_json_text(struct str text)
{
    json_t *value;
    char   *clean;

    if (str_is_utf8(text))
        return json_stringn(text.data ? text.data : "", text.len);
    clean = malloc(text.len + 1);
    if (!clean)
        return json_string("");
    for (size_t i = 0; i < text.len; i++)
        clean[i] = text.data[i] > 0 ? text.data[i] : '?';
    value = json_stringn(clean, text.len);
    free(clean);
    return value;
}

/* ---- reading ---- */

void back_peek_init(struct attempt *ret_peek, struct back *b, const struct queue_message *m, bool with_body)
{
    *ret_peek = (struct attempt){.back = b, .id = m->id, .body_fd = -1, .without_body = !with_body};
    arena_init(&ret_peek->arena, 8 << 10, BACK_ATTEMPT_MEMORY);
    buf_init(&ret_peek->record, BACK_RECORD_MAX);
    attempt_load_begin(ret_peek, m);
}

bool back_peek(struct back *b, const struct queue_message *m, bool with_body, struct attempt *ret_peek, struct err *err)
{
    back_peek_init(ret_peek, b, m, with_body);
    attempt_load(ret_peek);
    if (ret_peek->load_ok)
        return true;
    if (err)
        *err = ret_peek->load_err;
    back_peek_done(ret_peek);
    return false;
}

void back_peek_done(struct attempt *peek)
{
    if (peek->body_fd >= 0)
        close(peek->body_fd);
    arena_done(&peek->arena);
    buf_done(&peek->record);
}

/* ---- rows ---- */

static void put_recipients(struct attempt *a, bool whole, struct buf *out)
{
    size_t shown = 0, more = 0;

    json_line_open(out, "recipients", '[');
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt_recipient *to = &a->to[i];

        if (!whole && recipient_state_is_final(to->state))
            continue;
        if (!whole && shown == SHOWN_RECIPIENTS) {
            more++;
            continue;
        }
        shown++;
        json_line_open(out, NULL, '{');
        json_line_text(out, "address", attempt_address(a, &to->address));
        json_line_text(out, "state", str_from(recipient_state_name(to->state)));
        if (to->root != i)
            json_line_text(out, "original", attempt_address(a, &a->to[to->root].address));
        if (to->status.len)
            json_line_text(out, "status", to->status);
        if (to->reason.len)
            json_line_text(out, "reason", to->reason);
        if (to->remote.len)
            json_line_text(out, "remote", to->remote);
        if (to->remote_address.len)
            json_line_text(out, "remote_address", to->remote_address);
        if (to->code)
            json_line_u64(out, "code", to->code);
        if (to->reply.len)
            json_line_text(out, "reply", to->reply);
        json_line_close(out, '}');
    }
    json_line_close(out, ']');
    if (more)
        json_line_u64(out, "recipients_more", more);
}

static void put_headers(struct attempt *a, struct buf *out)
{
    struct str content = a->message.content;
    char      *head;
    ssize_t    len;

    if (a->message.external) {
        head = arena_alloc(&a->arena, HEADERS_MAX);
        len = head && a->body_fd >= 0 ? pread(a->body_fd, head, HEADERS_MAX, 0) : -1;
        content = len > 0 ? str_of(head, (size_t)len) : STR_NONE;
    }
    json_line_text(out, "headers", str_part(content, 0, mail_header_len(str_part(content, 0, HEADERS_MAX))));
}

static void put_id(struct buf *out, const char *key, uint64_t id)
{
    char text[MESSAGE_ID_TEXT + 1];

    message_id_text(id, text);
    json_line_text(out, key, str_of(text, MESSAGE_ID_TEXT));
}

void back_row(const struct back *b, const struct queue_message *m, struct attempt *a, bool whole, struct buf *out)
{
    const struct envelope *e = &a->message.envelope;

    json_line_open(out, NULL, '{');
    put_id(out, "id", m->id);
    json_line_text(out, "state", str_from(back_state_name(m)));
    json_line_u64(out, "received_ms", a->message.received_ms);
    json_line_u64(out, "size", m->size);
    json_line_text(out, "sender", attempt_address(a, &e->sender));
    json_line_text(out, "class", str_from(client_class_name(e->origin.class)));
    json_line_text(out, "client", e->origin.client);
    json_line_u64(out, "attempts", m->attempts);
    if (m->pending && !(m->flags & PROGRESS_HELD) && !m->busy && !m->out)
        json_line_u64(out, "next_ms", m->next_ms);
    if (m->parked)
        json_line_true(out, "parked");
    if (m->pending || m->unclaimed_count)
        json_line_u64(out, "expires_ms", m->pending ? attempt_expires_ms(a) : m->since_ms + b->queue.unclaimed_keep_ms);
    if (m->parked)
        json_line_text(out, "reason", STR("waits for its turn"));
    json_line_u64(out, "recipient_count", a->count);
    if (a->progress.via.len)
        json_line_text(out, "via", a->progress.via);
    put_recipients(a, whole, out);
    if (whole) {
        json_line_text(out, "session", e->origin.session);
        json_line_text(out, "helo", e->origin.helo);
        json_line_text(out, "protocol", e->origin.protocol);
        if (e->origin.user.len)
            json_line_text(out, "user", e->origin.user);
        if (e->envid.len)
            json_line_text(out, "envid", e->envid);
        if (a->progress.last_ms)
            json_line_u64(out, "last_ms", a->progress.last_ms);
        if (a->message.cause)
            put_id(out, "about", a->message.cause);
        put_headers(a, out);
    }
    json_line_close(out, '}');
    buf_append_byte(out, '\n');
}

/* ---- status ---- */

static const char *const counter_names[] = {
#define COUNTER(name, kind, help) #name,
#include "role/counters.def"
#undef COUNTER
};

static void set(json_t *row, const char *name, json_t *value) { json_object_set_new(row, name, value); }

static void set_u64(json_t *row, const char *name, uint64_t value)
{
    json_object_set_new(row, name, json_integer((json_int_t)value));
}

static json_t *process_of(const struct counter_slot *slot, uint64_t now_ms)
{
    json_t  *row = json_object(), *values = json_object();
    uint64_t started = slot->started_ms;

    set(row, "role", json_string(role_name((enum role)slot->role)));
    set_u64(row, "index", slot->index);
    set_u64(row, "pid", (uint64_t)slot->pid);
    set_u64(row, "restarts", slot->restarts);
    set_u64(row, "uptime_ms", now_ms > started ? now_ms - started : 0);
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        if (slot->values[i])
            set_u64(values, counter_names[i], slot->values[i]);
    set(row, "counters", values);
    return row;
}

/* A row for each process that cannot store now; in *ret_over those of a trouble that has ended. */
static json_t *storage_of(const struct back *b, json_t **ret_over)
{
    const struct counters *all = b->role->counters;
    json_t                *rows = json_array();
    struct arena           a;

    *ret_over = json_array();
    arena_init(&a, 1024, 1 << 20);
    for (size_t i = 0; i < COUNTER_SLOTS; i++) {
        const struct counter_slot *slot = &all->slots[i];
        const struct storage      *s = &slot->storage;
        enum role                  role = (enum role)slot->role;
        enum storage_problem       problem = (enum storage_problem)s->problem;
        uint64_t                   until_ms = s->until_ms;
        struct str                 dir;
        json_t                    *row;

        if (!slot->pid || (problem != STORAGE_FULL && problem != STORAGE_FAILED))
            continue;
        arena_reset(&a);
        dir = role_lane_dir(b->config, role == ROLE_FRONT ? slot->index + LANE_FRONT_FIRST : LANE_BACK, &a);
        row = json_object();
        set(row, "role", json_string(role_name(role)));
        set_u64(row, "index", slot->index);
        set(row, "problem", json_string(problem == STORAGE_FULL ? "full" : "failed"));
        set(row, "directory", back_json_text(dir));
        set_u64(row, "since_ms", s->since_ms);
        set_u64(row, "last_ms", s->last_ms);
        if (until_ms)
            set_u64(row, "until_ms", until_ms);
        if (problem == STORAGE_FULL) {
            set_u64(row, "free_octets", s->free);
            set_u64(row, "reserve_octets", s->reserve);
            set_u64(row, "waiting_octets", s->waiting);
            set_u64(row, "largest_octets", s->largest);
        } else {
            const char *name = strerrorname_np(s->os_error), *text = strerrordesc_np(s->os_error);

            set(row, "errno", json_string(name ? name : "?"));
            set(row, "error", json_string(text ? text : "unknown error"));
        }
        json_array_append_new(until_ms ? *ret_over : rows, row);
    }
    arena_done(&a);
    return rows;
}

struct json_t *back_status(struct back *b)
{
    const struct counters *all = b->role->counters;
    json_t                *status = json_object(), *processes = json_array(), *totals = json_object();
    json_t                *replies = json_object(), *over, *storage = storage_of(b, &over);
    uint64_t               now = io_wall_ms(), sums[COUNTER_CODES] = {0};

    back_gauges(b);
    for (size_t i = 0; i < COUNTER_SLOTS; i++) {
        if (all->slots[i].pid)
            json_array_append_new(processes, process_of(&all->slots[i], now));
        for (size_t code = 0; code < COUNTER_CODES; code++)
            sums[code] += all->slots[i].replies[code];
    }
    for (size_t i = 0; i < COUNTER_COUNT; i++)
        set_u64(totals, counter_names[i], counters_sum(all, (enum counter)i));
    for (size_t code = 0; code < COUNTER_CODES; code++)
        if (sums[code]) {
            char name[8];

            snprintf(name, sizeof name, "%zu", code + 200);
            set_u64(replies, name, sums[code]);
        }
    set(status, "version", json_string(TACIT_VERSION));
    set(status, "hostname", back_json_text(str_from(b->config->hostname)));
    set_u64(status, "uptime_ms", now > all->started_ms ? now - all->started_ms : 0);
    set_u64(status, "generation", all->generation);
    if (b->config->queue.paused)
        set(status, "paused", json_true());
    set(status, "storage", storage);
    set(status, "storage_over", over);
    back_changes_status(b, status);
    set(status, "processes", processes);
    set(status, "totals", totals);
    set(status, "replies", replies);
    return status;
}
