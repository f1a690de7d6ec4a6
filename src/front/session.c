/* session.c: one session: octets from the stream go into the protocol, its output goes back.
 *
 * What is read is fed from the loop's own buffer; only what cannot be taken yet, because the session waits, is copied.
 * Replies to everything that was taken in one turn go out in one write. A session that waits does not read, so the
 * kernel's window holds the client back. */
#include "front/front.h"
#include "role/log.h"

#include <stdlib.h>

static void settle(struct front_session *s);

enum client_class front_session_class(const struct front_session *s, const struct mail_address *sender)
{
    bool submits = s->is_local_socket || s->user[0];

    return disclosure_classify(submits, s->is_relay, false, sender);
}

bool front_session_in_transaction(const struct front_session *s)
{
    return s->phase == PHASE_TALK && (s->message || smtp_server_is_asking(s->smtp));
}

/* ---- output ---- */

static void note_reply(struct front_session *s)
{
    size_t len = smtp_server_output(s->smtp).len;

    if (len > s->output_seen)
        s->heard_ms = front_now_ms(s->front);
    s->output_seen = len;
}

/* The last line of a reply has a blank behind its code. */
static void count_replies(struct str out)
{
    while (out.len > 3) {
        size_t end = str_find_byte(out, '\n');

        if (out.data[3] != '-')
            count_reply((unsigned)((out.data[0] - '0') * 100 + (out.data[1] - '0') * 10 + (out.data[2] - '0')));
        out = str_skip(out, end == STR_NOT_FOUND ? out.len : end + 1);
    }
}

static bool send_output(struct front_session *s)
{
    struct str out = smtp_server_output(s->smtp);

    if (out.len == 0)
        return false;
    count_replies(out);
    io_stream_write(s->stream, out);
    smtp_server_sent(s->smtp, out.len);
    s->output_seen = 0;
    return true;
}

/* ---- input ---- */

/* For us, not for its client. */
static bool is_stalled(const struct front_session *s)
{
    return smtp_server_is_asking(s->smtp) || (s->message && front_message_is_stalled(s->message));
}

static bool is_waiting(const struct front_session *s)
{
    return is_stalled(s) || io_stream_unsent(s->stream) > FRONT_UNSENT_MAX;
}

static bool takes_content(const struct front_session *s)
{
    enum smtp_server_state state = smtp_server_state(s->smtp);

    return state == SMTP_SERVER_DATA || state == SMTP_SERVER_BDAT;
}

static void heard_content(struct front_session *s, size_t len)
{
    if (!takes_content(s))
        return;
    s->heard_ms = front_now_ms(s->front);
    s->content_octets += len;
}

/* How much of `in` was taken. */
static size_t talk(struct front_session *s, struct str in)
{
    size_t at = 0;

    s->talking = true;
    while (s->phase == PHASE_TALK && !is_waiting(s)) {
        struct smtp_event event = {0};
        size_t            n = smtp_server_feed(s->smtp, str_skip(in, at), &event);

        at += n;
        note_reply(s);
        heard_content(s, n);
        if (event.kind != SMTP_EVENT_NONE)
            front_event(s, &event);
        else if (n == 0 && (at == in.len || !send_output(s)))
            break;
    }
    s->talking = false;
    s->said_all = s->quit && at == in.len;
    return at;
}

void front_session_resume(struct front_session *s)
{
    if (s->phase != PHASE_TALK || s->talking)
        return;
    buf_consume(&s->input, talk(s, buf_str(&s->input)));
    if (s->input.len == 0)
        buf_done(&s->input);
    settle(s);
}

void front_session_answer(struct front_session *s, const struct smtp_reply *reply)
{
    /* LMTP asks once for each recipient; they share one record, and so one fate. */
    do {
        smtp_server_answer(s->smtp, reply);
        note_reply(s);
    } while (smtp_server_is_asking(s->smtp));
    front_session_resume(s);
}

static void on_read(void *arg, struct str data)
{
    struct front_session *s = arg;

    if (s->phase != PHASE_TALK) {
        front_accept_input(s, data);
        return;
    }
    if (s->input.len == 0)
        data = str_skip(data, talk(s, data));
    if (s->phase == PHASE_TALK && data.len > 0 && !buf_append(&s->input, data)) {
        front_session_end(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, try again later"), "no memory");
        return;
    }
    settle(s);
}

static void on_drained(void *arg) { front_session_resume(arg); }

/* ---- time ---- */

static uint64_t deadline(const struct front_session *s)
{
    const struct config_timeouts *t = &s->front->config->timeouts;
    uint64_t                      life_ms = s->front->config->limits.session_time, end, when;

    /* What we make it wait for has limits of its own. */
    if (s->stalled_ms)
        return UINT64_MAX;
    if (takes_content(s)) {
        when = s->heard_ms + t->data;
        if (t->data_rate) {
            end = s->content_began_ms + 60 * 1000 + s->content_octets * 1000 / t->data_rate;
            when = when < end ? when : end;
        }
    } else {
        when = s->heard_ms + t->command;
    }
    end = s->began_ms + (front_session_in_transaction(s) ? 2 : 1) * life_ms;
    return when < end ? when : end;
}

void front_session_due(struct front_session *s)
{
    if (s->phase == PHASE_PROXY || s->phase == PHASE_DELAY) {
        front_accept_due(s);
    } else if (s->phase == PHASE_TALK) {
        uint64_t now_ms = front_now_ms(s->front);

        if (now_ms >= s->began_ms + s->front->config->limits.session_time)
            front_session_end(s, &SMTP_REPLY(421, 4, 4, 2, "The session has lasted too long"), "session time");
        else
            front_session_end(s, &SMTP_REPLY(421, 4, 4, 2, "Timeout, closing the connection"), "timeout");
    }
}

/* The time that it waits for us is not the client's. */
static void note_stall(struct front_session *s)
{
    uint64_t now_ms = front_now_ms(s->front);

    if (is_stalled(s)) {
        if (!s->stalled_ms)
            s->stalled_ms = now_ms;
    } else if (s->stalled_ms) {
        s->content_began_ms += now_ms - s->stalled_ms;
        s->heard_ms = now_ms;
        s->stalled_ms = 0;
    }
}

/* ---- the end ---- */

/* After every turn. */
static void settle(struct front_session *s)
{
    struct front *f = s->front;

    if (s->phase == PHASE_GONE)
        return;
    send_output(s);
    if (s->phase == PHASE_CLOSING) {
        front_clock_set(s, UINT64_MAX);
        if (s->said_all)
            io_stream_finish_quickly(s->stream);
        else
            io_stream_finish(s->stream);
        return;
    }
    if (f->draining && !front_session_in_transaction(s)) {
        front_session_end(s, &FRONT_SHUTDOWN, "shutdown");
        return;
    }
    note_stall(s);
    io_stream_read(s->stream, s->input.len == 0 && !is_waiting(s));
    front_clock_set(s, deadline(s));
}

void front_session_end(struct front_session *s, const struct smtp_reply *reply, const char *reason)
{
    const struct smtp_reply busy = SMTP_REPLY(451, 4, 3, 2, "Not answered in time, try again later");

    if (s->phase == PHASE_PROXY || s->phase == PHASE_DELAY) {
        front_session_refuse(s, reply, reason);
        return;
    }
    if (s->phase != PHASE_TALK)
        return;
    s->reason = reason;
    front_ask_cancel(s);
    front_remote_cancel(s);
    while (smtp_server_is_asking(s->smtp)) {
        smtp_server_answer(s->smtp, &busy);
        note_reply(s);
    }
    if (s->message) {
        front_log_transaction(s->message, "abandoned", NULL, reason);
        front_message_free(s->message);
    }
    smtp_server_close(s->smtp, reply);
    note_reply(s);
    buf_done(&s->input);
    talk(s, STR_NONE);
    s->phase = PHASE_CLOSING;
    settle(s);
}

void front_session_refuse(struct front_session *s, const struct smtp_reply *reply, const char *reason)
{
    struct front *f = s->front;

    s->reason = reason;
    s->phase = PHASE_CLOSING;
    buf_done(&s->input);
    count(COUNTER_sessions_refused_total, 1);
    buf_clear(&f->scratch);
    if (reply && smtp_reply_format(reply, false, &f->scratch)) {
        count_reply(reply->code);
        io_stream_write(s->stream, buf_str(&f->scratch));
    }
    list_remove(&s->wheel); /* it may wait for its greeting, which must not hold up the others' now */
    front_clock_set(s, UINT64_MAX);
    if (f->farewells < FRONT_FAREWELLS) {
        s->farewell = true;
        f->farewells++;
        io_stream_finish(s->stream);
    } else {
        front_session_free(s);
    }
}

void front_session_drain(struct front_session *s)
{
    if (!front_session_in_transaction(s))
        front_session_end(s, &FRONT_SHUTDOWN, "shutdown");
}

void front_session_free(struct front_session *s)
{
    struct front        *f = s->front;
    struct role_context *c = f->role;

    front_ask_cancel(s);
    front_remote_cancel(s);
    if (s->message) {
        front_log_transaction(s->message, "abandoned", NULL, s->reason);
        front_message_free(s->message);
    }
    front_log_session(s);
    list_remove(&s->link);
    list_remove(&s->wheel);
    if (s->farewell)
        f->farewells--;
    if (s->admitted)
        count(COUNTER_sessions_open, -1);
    if (s->counted)
        clients_leave(c->counters, c->slot, s->client_key);
    io_stream_free(s->stream);
    if (s->smtp)
        smtp_server_free(s->smtp);
    buf_done(&s->input);
    free(s->proxy);
    free(s);
    front_may_be_drained(f);
}

static void on_end(void *arg, const struct err *err)
{
    struct front_session *s = arg;

    if (!s->reason)
        s->reason = !err ? "client closed" : err->class == ERR_LIMIT ? "client does not read" : "connection lost";
    s->phase = PHASE_GONE;
    front_clock_set(s, UINT64_MAX);
    io_stream_free(s->stream);
    s->stream = NULL;
    if (!s->message || s->message->step != MESSAGE_COMMITTING)
        front_session_free(s);
}

const struct io_stream_ops front_stream_ops = {on_read, on_end, on_drained};

/* ---- the beginning ---- */

void front_session_start(struct front_session *s)
{
    const struct smtp_reply     blocked = SMTP_REPLY(554, 5, 7, 1, "Your address is blocked here");
    const struct config        *config = s->front->config;
    const struct config_limits *l = &config->limits;
    enum client_class class = front_session_class(s, NULL);
    bool trusted = class == CLASS_SUBMITTER || class == CLASS_RELAY;
    bool offers_vrfy = trusted || s->front->disclosure.vrfy != VRFY_502;

    s->config.hostname = str_from(config->hostname);
    s->config.lmtp = s->listener->config && s->listener->config->protocol == CONFIG_LMTP;
    s->config.vrfy = s->config.expn = offers_vrfy;
    s->config.require_auth = s->listener->config && s->listener->config->submission && !trusted;
    s->config.limits = (struct smtp_server_limits){
        .message_size = l->message,
        .recipients = (uint32_t)l->recipients,
        .errors = (uint32_t)l->errors,
        .commands = (uint32_t)l->commands,
        .transactions = (uint32_t)l->transactions,
        .idle_commands = (uint32_t)l->idle_commands,
        .hops = (uint32_t)l->hops,
        .transaction_memory = (size_t)l->recipients * 1024 + 64 * 1024,
    };
    s->smtp = smtp_server_new(&s->config);
    if (!s->smtp) {
        front_session_refuse(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, try again later"), "no memory");
        return;
    }
    s->phase = PHASE_TALK;
    s->heard_ms = front_now_ms(s->front);
    smtp_server_start(s->smtp, class == CLASS_BLOCKED ? &blocked : NULL);
    note_reply(s);
    settle(s);
}
