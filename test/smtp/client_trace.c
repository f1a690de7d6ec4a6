#include "client_trace.h"

#include "mail/seven.h"
#include "trace.h"

#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void line(struct client_trace *t, const char *kind, struct str text)
{
    buf_append_z(&t->text, kind);
    trace_escape(text, &t->text);
    buf_append_byte(&t->text, '\n');
}

/* Every line of a command is within the length that verb.def gives it; content may be of any length. */
static void output_take(struct client_trace *t)
{
    struct str out;
    size_t     end;

    while ((out = smtp_client_output(t->client)).len) {
        bool content = smtp_client_state(t->client) == SMTP_CLIENT_IN_CONTENT ||
                       smtp_client_state(t->client) == SMTP_CLIENT_IN_FINAL;

        buf_append(&t->output, out);
        smtp_client_sent(t->client, out.len);
        while ((end = str_find(buf_str(&t->output), STR("\r\n"))) != STR_NOT_FOUND) {
            struct str l = str_part(buf_str(&t->output), 0, end);

            check(content || (end + 2 <= 1181 && str_is_utf8(l) && str_find_byte(l, '\n') == STR_NOT_FOUND));
            line(t, "C: ", l);
            buf_consume(&t->output, end + 2);
        }
    }
}

static void output_flush(struct client_trace *t)
{
    if (t->output.len)
        line(t, "C~ ", buf_str(&t->output));
    buf_clear(&t->output);
}

static void address_append(const struct mail_address *a, struct buf *out)
{
    buf_append_byte(out, '<');
    mail_address_format(a, out);
    buf_append_byte(out, '>');
}

static void why_append(const struct smtp_client_result *r, struct buf *out)
{
    char status[SMTP_STATUS_TEXT];

    buf_printf(out, "%s %u %.*s", smtp_stage_name(r->stage), r->code, STR_ARG(smtp_status_text(r->status, status)));
    if (r->text.len)
        buf_printf(out, " [%.*s]", STR_ARG(r->text));
    if (r->words && r->words[0])
        buf_printf(out, " (%s)", r->words);
    check(r->text.len <= SMTP_CLIENT_TEXT_MAX && str_is_utf8(r->text));
}

static void results_take(struct client_trace *t)
{
    static const char *const         verdicts[] = {"not tried", "accepted", "deferred", "failed"};
    const struct smtp_client_result *r = smtp_client_results(t->client);
    struct buf                       text;

    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < t->message.recipient_count; i++) {
        unsigned class = r[i].verdict == SMTP_CLIENT_ACCEPTED ? 2 : r[i].verdict == SMTP_CLIENT_FAILED ? 5 : 4;

        buf_clear(&text);
        address_append(&t->message.recipients[i].address, &text);
        buf_printf(&text, " %s", verdicts[r[i].verdict]);
        if (r[i].verdict != SMTP_CLIENT_NOT_TRIED) {
            buf_append_byte(&text, ' ');
            why_append(&r[i], &text);
            check(r[i].status.class == class && (r[i].code == 0 || r[i].code / 100 == class || class == 4));
        }
        if (r[i].unconfirmed)
            buf_append_z(&text, " unconfirmed");
        if (!mail_address_is_null(&r[i].moved_to))
            buf_append_z(&text, " moved to "), address_append(&r[i].moved_to, &text);
        line(t, "E: ", buf_str(&text));
    }
    buf_done(&text);
}

static void ready_take(struct client_trace *t)
{
    const struct smtp_client_caps *caps = smtp_client_caps(t->client);
    struct buf                     text;

    buf_init(&text, 4096);
    buf_append_z(&text, "READY");
    buf_append_z(&text, caps->extended ? "" : " HELO");
    buf_append_z(&text, caps->pipelining ? " PIPELINING" : "");
    if (caps->size)
        buf_printf(&text, " SIZE=%llu", (unsigned long long)caps->size_max);
    buf_append_z(&text, caps->eight_bit ? " 8BITMIME" : "");
    buf_append_z(&text, caps->binary ? " BINARYMIME" : "");
    buf_append_z(&text, caps->smtputf8 ? " SMTPUTF8" : "");
    buf_append_z(&text, caps->dsn ? " DSN" : "");
    buf_append_z(&text, caps->chunking ? " CHUNKING" : "");
    buf_append_z(&text, caps->enhanced ? " ENHANCEDSTATUSCODES" : "");
    buf_append_z(&text, caps->starttls ? " STARTTLS" : "");
    if (caps->mail_max || caps->rcpt_max)
        buf_printf(&text, " MAILMAX=%u RCPTMAX=%u", caps->mail_max, caps->rcpt_max);
    if (caps->auth.len)
        buf_printf(&text, " AUTH=%.*s", STR_ARG(caps->auth));
    line(t, "E: ", buf_str(&text));
    buf_done(&text);
}

static void content_give(struct client_trace *t)
{
    struct str rest = t->content;

    do {
        struct str piece = str_part(rest, 0, t->give);

        rest = str_skip(rest, piece.len);
        smtp_client_give(t->client, piece, rest.len == 0);
        output_take(t);
    } while (rest.len);
}

static void convert(struct client_trace *t)
{
    struct arena      arena;
    struct mail_seven seven;
    const char       *why;

    arena_init(&arena, 4096, 1 << 20);
    if (t->converts && mail_seven_init(&seven, t->content, &arena, &why)) {
        static struct buf converted;

        buf_done(&converted);
        buf_init(&converted, 1 << 24);
        while (mail_seven_next(&seven, 4096, &converted))
            ;
        check(buf_ok(&converted) && converted.len == mail_seven_size(&seven));
        t->content = buf_str(&converted);
        smtp_client_converted(t->client, true, converted.len);
    } else {
        smtp_client_converted(t->client, false, 0);
    }
    arena_done(&arena);
}

static void close_take(struct client_trace *t)
{
    static const char *const actions[] = {
        [SMTP_DO_GO_ON] = "done",
        [SMTP_DO_NEXT_HOST] = "next-host",
        [SMTP_DO_NO_MAIL] = "no-mail",
        [SMTP_DO_REFUSED] = "refused",
        [SMTP_DO_RECONNECT_HELO] = "reconnect-helo",
        [SMTP_DO_RECONNECT_PLAIN] = "reconnect-plain",
        [SMTP_DO_MISCONFIGURED] = "misconfigured",
        [SMTP_DO_CLOSE] = "cut",
    };
    const struct smtp_client_end *end = smtp_client_end(t->client);
    struct buf                    text;

    buf_init(&text, 1 << 16);
    check(actions[end->action] != NULL);
    buf_printf(&text, "CLOSE %s ", actions[end->action]);
    why_append(&end->why, &text);
    line(t, "E: ", buf_str(&text));
    buf_done(&text);
}

static void event_take(struct client_trace *t, enum smtp_client_event event)
{
    output_flush(t);
    switch (event) {
    case SMTP_CLIENT_READY:
        ready_take(t);
        t->ready = true;
        break;
    case SMTP_CLIENT_START_TLS:
        line(t, "E: ", STR("START_TLS"));
        smtp_client_tls_done(t->client, t->tls_works);
        break;
    case SMTP_CLIENT_CONVERT:
        line(t, "E: ", STR("CONVERT"));
        convert(t);
        break;
    case SMTP_CLIENT_CONTENT:
        line(t, "E: ", STR("CONTENT"));
        content_give(t);
        break;
    case SMTP_CLIENT_DONE:
        results_take(t);
        line(t, "E: ", STR("DONE"));
        t->ready = true;
        break;
    case SMTP_CLIENT_CLOSE:
        close_take(t);
        t->closed = true;
        break;
    case SMTP_CLIENT_NONE:
        break;
    }
    output_take(t);
}

/* One piece: until nothing is taken and nothing happens. */
static void piece_feed(void *arg, struct str in)
{
    struct client_trace   *t = arg;
    enum smtp_client_event event;

    output_take(t);
    do {
        size_t taken = smtp_client_feed(t->client, in, &event);

        check(taken <= in.len);
        output_take(t);
        in = str_skip(in, taken);
        event_take(t, event);
    } while (event != SMTP_CLIENT_NONE);
    check(in.len == 0);
}

void client_trace_start(struct client_trace *t, const struct smtp_client_config *config)
{
    *t = (struct client_trace){.client = smtp_client_new(config), .give = 5, .tls_works = true, .converts = true};
    check(t->client != NULL);
    buf_init(&t->text, 64 << 20);
    buf_init(&t->output, 16 << 20);
}

void client_trace_feed(struct client_trace *t, struct str in, size_t piece)
{
    trace_pieces(in, piece, &t->closed, piece_feed, t);
}

void client_trace_message(struct client_trace *t, const struct smtp_client_message *message, struct str content)
{
    t->message = *message;
    t->content = content;
    t->ready = false;
    smtp_client_message(t->client, &t->message);
    piece_feed(t, STR_NONE);
}

void client_trace_go_on(struct client_trace *t)
{
    piece_feed(t, STR_NONE);
    output_flush(t);
}

void client_trace_done(struct client_trace *t)
{
    smtp_client_free(t->client);
    buf_done(&t->text);
    buf_done(&t->output);
}
