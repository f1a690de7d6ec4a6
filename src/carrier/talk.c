/* talk.c: one connection: octets between a stream and a smtp/client, the content, and the way out.
 *
 * What the client tells is worked off in `run` alone, which may end the session or give it another message; so nothing
 * is done behind a call of the client but to run. A connection that has said QUIT says goodbye without its session: the
 * next host, or the next message, need not wait for the answer.
 *
 * Content in a file is read here, in pieces and without a thread: it has been written just now, or is read ahead. What
 * must be converted to 7 bits is read as a whole, within a limit for all, because the conversion has to see it twice.
 */
#include "carrier/carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PIECE = 64 << 10,         /* of content that is read */
    UNSENT_PAUSE = 256 << 10, /* octets that the server has not taken: no further content */
    CLIENT_MEMORY = 512 << 10,
    PLAN_CHUNK = 4096,
    PLAN_MEMORY = 512 << 10,
    GOODBYES = 200, /* at once; beyond, connections just end */
};

static void run(struct conn *c, struct str in);

/* ---- the end ---- */

static void message_forget(struct conn *c)
{
    c->carrier->convert_octets -= c->copy_len;
    c->copy_len = 0;
    free(c->copy);
    c->copy = NULL;
    c->seven.content = STR_NONE;
    arena_reset(&c->plan);
    c->carry = NULL;
}

void conn_free(struct conn *c)
{
    message_forget(c);
    list_remove(&c->link);
    io_stream_free(c->stream);
    smtp_client_free(c->client);
    arena_done(&c->plan);
    free(c);
}

static void flush(struct conn *c)
{
    struct str out = smtp_client_output(c->client);

    if (!out.len)
        return;
    io_stream_write(c->stream, out);
    smtp_client_sent(c->client, out.len);
}

void conn_leave(struct conn *c)
{
    struct carrier *r = c->carrier;
    bool            polite;

    c->session = NULL;
    message_forget(c);
    smtp_client_quit(c->client);
    polite = smtp_client_state(c->client) == SMTP_CLIENT_IN_QUIT;
    flush(c);
    list_push(&r->goodbyes, &c->link);
    if (polite && !c->ended && r->goodbye_count < GOODBYES) {
        r->goodbye_count++;
        c->parting = true;
        io_stream_finish(c->stream);
    } else if (!c->busy) {
        conn_free(c);
    }
}

/* ---- content ---- */

static bool read_at(int fd, char *to, size_t len, uint64_t from)
{
    while (len) {
        ssize_t n = pread(fd, to, len, (off_t)from);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        from += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

/* False: it cannot be read. What it points at lasts to the next call. */
static bool next_piece(struct conn *c, struct str *ret_piece, bool *ret_end)
{
    const struct carriage *g = &c->carry->carriage;
    struct buf            *piece = &c->carrier->scratch;

    if (c->seven.content.data) {
        buf_clear(piece);
        *ret_end = !mail_seven_next(&c->giving, PIECE, piece);
        *ret_piece = buf_str(piece);
        return buf_ok(piece);
    }
    if (!g->external) {
        *ret_piece = g->content;
    } else {
        size_t len = g->size - c->at < PIECE ? (size_t)(g->size - c->at) : PIECE;

        buf_clear(piece);
        if (!buf_reserve(piece, len) || !read_at(c->carry->body_fd, piece->data, len, c->at))
            return false;
        *ret_piece = str_of(piece->data, len);
    }
    c->at += ret_piece->len;
    *ret_end = c->at == g->size;
    return true;
}

static void give(struct conn *c)
{
    struct str piece;
    bool       end = false;

    while (!end && smtp_client_wants_content(c->client) && io_stream_unsent(c->stream) < UNSENT_PAUSE) {
        if (!next_piece(c, &piece, &end)) {
            smtp_client_quit(c->client);
            return;
        }
        smtp_client_give(c->client, piece, end);
        flush(c);
    }
}

static void content_begin(struct conn *c)
{
    c->at = 0;
    c->giving = c->seven;
    give(c);
}

/* ---- conversion ---- */

static bool copy_content(struct conn *c, struct str *ret_content)
{
    const struct carriage *g = &c->carry->carriage;

    if (!g->external) {
        *ret_content = g->content;
        return true;
    }
    if (c->carrier->convert_octets + g->size > CARRIER_CONVERT_OCTETS)
        return false;
    c->copy = malloc(g->size ? g->size : 1);
    if (!c->copy)
        return false;
    c->copy_len = g->size;
    c->carrier->convert_octets += c->copy_len;
    *ret_content = str_of(c->copy, g->size);
    return read_at(c->carry->body_fd, c->copy, g->size, 0);
}

static void convert(struct conn *c)
{
    struct str  content;
    const char *why;

    if (!copy_content(c, &content)) {
        smtp_client_quit(c->client); /* too many at once: later */
    } else if (mail_seven_init(&c->seven, content, &c->plan, &why)) {
        smtp_client_converted(c->client, true, mail_seven_size(&c->seven));
    } else {
        c->seven.content = STR_NONE;
        smtp_client_converted(c->client, false, 0);
    }
}

/* ---- the conversation ---- */

static void tell(struct conn *c, enum smtp_client_event event)
{
    switch (event) {
    case SMTP_CLIENT_READY:
        session_ready(c->session);
        break;
    case SMTP_CLIENT_START_TLS: /* never asked for: config.tls */
        smtp_client_tls_done(c->client, false);
        break;
    case SMTP_CLIENT_CONVERT:
        convert(c);
        break;
    case SMTP_CLIENT_CONTENT:
        content_begin(c);
        break;
    case SMTP_CLIENT_DONE:
        if (smtp_client_state(c->client) == SMTP_CLIENT_IN_READY) { /* else it is over: see run */
            message_forget(c);
            session_done(c->session);
        }
        break;
    case SMTP_CLIENT_NONE:
    case SMTP_CLIENT_CLOSE:
        break;
    }
}

static void run(struct conn *c, struct str in)
{
    enum smtp_client_event event;

    if (c->busy)
        return;
    c->busy = true;
    do {
        in = str_skip(in, smtp_client_feed(c->client, in, &event));
        tell(c, event);
    } while (c->session && event != SMTP_CLIENT_NONE);
    if (c->session && smtp_client_state(c->client) >= SMTP_CLIENT_IN_QUIT)
        session_over(c->session);
    c->busy = false;
    if (c->session) {
        flush(c);
        session_wait(c->session);
    } else if (!c->parting) {
        conn_free(c);
    }
}

static void on_read(void *arg, struct str data) { run(arg, data); }

static void on_drained(void *arg)
{
    struct conn *c = arg;

    if (c->session && c->carry)
        give(c);
    run(c, STR_NONE);
}

static void on_end(void *arg, const struct err *err)
{
    struct conn *c = arg;

    (void)err;
    c->ended = true;
    if (c->parting) {
        c->carrier->goodbye_count--;
        conn_free(c);
        return;
    }
    smtp_client_lost(c->client);
    run(c, STR_NONE);
}

void conn_timed_out(struct conn *c)
{
    smtp_client_timed_out(c->client);
    run(c, STR_NONE);
}

void conn_quit(struct conn *c)
{
    smtp_client_quit(c->client);
    run(c, STR_NONE);
}

void conn_stop(struct conn *c)
{
    smtp_client_stop(c->client);
    run(c, STR_NONE);
}

void conn_message(struct conn *c, struct carry *y)
{
    const struct carriage *g = &y->carriage;

    c->carry = y;
    c->messages++;
    c->until_ms = carrier_now_ms(c->carrier) + CARRIER_MESSAGE_MS + g->size * 1000 / CARRIER_RATE;
    c->message = (struct smtp_client_message){.sender = g->sender,
                                              .recipients = y->asked,
                                              .recipient_count = y->todo_count,
                                              .size = g->size,
                                              .body = g->body,
                                              .header_utf8 = g->header_utf8,
                                              .ret = g->ret,
                                              .envid = g->envid};
    smtp_client_message(c->client, &c->message);
    run(c, STR_NONE);
}

struct conn *conn_new(struct session *s, int fd, struct err *err)
{
    static const struct io_stream_ops ops = {on_read, on_end, on_drained};
    const struct carry               *y = s->carry;
    const struct config_route        *route = y->settings;
    struct conn                      *c = calloc(1, sizeof *c);

    if (!c) {
        close(fd);
        err_set_os(err, ENOMEM, "connection");
        return NULL;
    }
    *c = (struct conn){.session = s, .carrier = s->carrier, .wait_number = UINT64_MAX, .until_ms = UINT64_MAX};
    c->config = (struct smtp_client_config){
        .hostname = str_from(s->carrier->config->hostname),
        .lmtp = y->via.lmtp,
        .helo = y->helo,
        .tls = SMTP_CLIENT_TLS_NEVER,
        .recipients = CARRIAGE_RECIPIENTS_MAX,
        .memory = CLIENT_MEMORY,
        .user = y->via.kind == VIA_MX ? STR_NONE : str_from(route->user),
        .password = y->via.kind == VIA_MX ? STR_NONE : str_from(route->password),
        .clear_ok = y->via.kind == VIA_SOCKET || io_address_is_loopback(&s->target.address),
    };
    list_init(&c->link);
    arena_init(&c->plan, PLAN_CHUNK, PLAN_MEMORY);
    c->client = smtp_client_new(&c->config);
    c->stream = io_stream_new(s->carrier->loop, fd, &ops, c, err);
    if (c->client && c->stream) {
        io_stream_read(c->stream, true);
        return c;
    }
    if (!c->client)
        err_set_os(err, ENOMEM, "connection");
    conn_free(c);
    return NULL;
}
