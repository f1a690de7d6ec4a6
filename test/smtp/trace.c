#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_MAX = 1 << 20 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

void trace_escape(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];

        if (c < ' ' || c > '~' || c == '\\')
            buf_printf(out, "\\x%02x", c);
        else
            buf_append_byte(out, (char)c);
    }
}

static void line(struct trace *t, const char *kind, struct str text)
{
    buf_append_z(&t->text, kind);
    trace_escape(text, &t->text);
    buf_append_byte(&t->text, '\n');
}

static void content_flush(struct trace *t)
{
    if (t->content.len)
        line(t, "E: CONTENT ", buf_str(&t->content));
    buf_clear(&t->content);
}

/* Every line of output is a reply line within its length. */
static void output_take(struct trace *t)
{
    struct str out = smtp_server_output(t->server);
    size_t     end;

    if (!out.len)
        return;
    content_flush(t);
    buf_append(&t->output, out);
    smtp_server_sent(t->server, out.len);
    check(smtp_server_output(t->server).len == 0);
    while ((end = str_find(buf_str(&t->output), STR("\r\n"))) != STR_NOT_FOUND) {
        struct str l = str_part(buf_str(&t->output), 0, end);

        check(end + 2 <= SMTP_REPLY_LINE_MAX && end >= 3 && l.data[0] >= '2' && l.data[0] <= '5' &&
              (end == 3 || l.data[3] == ' ' || l.data[3] == '-'));
        check(str_find_byte(l, '\n') == STR_NOT_FOUND && str_find_byte(l, '\r') == STR_NOT_FOUND &&
              str_find_byte(l, '\0') == STR_NOT_FOUND);
        line(t, "S: ", l);
        buf_consume(&t->output, end + 2);
    }
    check(t->output.len == 0);
}

static void address_append(const struct mail_address *a, struct buf *out)
{
    buf_append_byte(out, '<');
    mail_address_format(a, out);
    buf_append_byte(out, '>');
}

static void describe_mail(const struct envelope *e, struct buf *out)
{
    static const char *const bodies[] = {"7BIT", "8BITMIME", "BINARYMIME"}, *const rets[] = {"", " HDRS", " FULL"};

    address_append(&e->sender, out);
    buf_printf(out, " %s %s%s%s", e->origin.protocol.data, bodies[e->body], e->smtputf8 ? " SMTPUTF8" : "",
               rets[e->ret]);
    if (e->declared_size)
        buf_printf(out, " SIZE=%llu", (unsigned long long)e->declared_size);
    if (e->envid.len)
        buf_printf(out, " ENVID=%.*s", STR_ARG(e->envid));
}

static void describe_recipient(const struct recipient *r, struct buf *out)
{
    address_append(&r->address, out);
    if (r->notify)
        buf_printf(out, " NOTIFY=%u", r->notify);
    if (r->orcpt_type.len)
        buf_printf(out, " ORCPT=%.*s;%.*s", STR_ARG(r->orcpt_type), STR_ARG(r->orcpt));
}

static void describe(struct trace *t, const struct smtp_event *e, struct buf *out)
{
    struct envelope           *envelope = smtp_server_envelope(t->server);
    const struct smtp_xclient *x = &e->xclient;

    switch (e->kind) {
    case SMTP_EVENT_MAIL:
        buf_append_z(out, "MAIL ");
        describe_mail(envelope, out);
        break;
    case SMTP_EVENT_RCPT:
        buf_append_z(out, "RCPT ");
        describe_recipient(&e->recipient, out);
        break;
    case SMTP_EVENT_VRFY:
    case SMTP_EVENT_EXPN:
        buf_printf(out, "%s %.*s", e->kind == SMTP_EVENT_VRFY ? "VRFY" : "EXPN", STR_ARG(e->argument));
        if (e->address)
            buf_append_byte(out, ' '), address_append(e->address, out);
        if (e->smtputf8)
            buf_append_z(out, " SMTPUTF8");
        break;
    case SMTP_EVENT_DATA:
        buf_append_z(out, "DATA");
        break;
    case SMTP_EVENT_MESSAGE:
        buf_append_z(out, "MESSAGE");
        for (size_t i = 0; i < envelope->recipient_count; i++)
            buf_append_byte(out, ' '), address_append(&envelope->recipients[i].address, out);
        break;
    case SMTP_EVENT_RESET:
        buf_append_z(out, "RESET ");
        address_append(&envelope->sender, out);
        break;
    case SMTP_EVENT_HELO:
        buf_printf(out, "HELO %.*s %.*s", STR_ARG(envelope->origin.helo), STR_ARG(envelope->origin.protocol));
        break;
    case SMTP_EVENT_XCLIENT:
        buf_printf(out, "XCLIENT %.*s %.*s %.*s %.*s %.*s %.*s", STR_ARG(x->name), STR_ARG(x->addr), STR_ARG(x->port),
                   STR_ARG(x->proto), STR_ARG(x->helo), STR_ARG(x->login));
        break;
    case SMTP_EVENT_CLOSE:
        buf_append_z(out, "CLOSE");
        break;
    case SMTP_EVENT_NONE:
    case SMTP_EVENT_CONTENT:
        break;
    }
}

/* What must be true whatever happens. */
static void check_facts(const struct trace *t)
{
    struct smtp_server_facts f = smtp_server_facts(t->server);
    const struct envelope   *e = smtp_server_envelope(t->server);

    check(f.last_command.len <= 40 && e->origin.protocol.len);
    check(e->recipient_count == 0 || smtp_server_state(t->server) >= SMTP_SERVER_READY);
    for (size_t i = 0; i < f.last_command.len; i++)
        check(f.last_command.data[i] >= ' ' && f.last_command.data[i] <= '~');
    for (size_t i = 0; i < e->recipient_count; i++)
        check(e->recipients[i].address.local.len <= MAIL_LOCAL_MAX && e->recipients[i].address.domain.len <= 255);
}

static void event_take(struct trace *t, const struct smtp_event *e)
{
    struct buf text;

    if (e->kind == SMTP_EVENT_CONTENT) {
        check(e->content.len > 0 && !smtp_server_is_asking(t->server));
        buf_append(&t->content, e->content);
        return;
    }
    content_flush(t);
    buf_init(&text, 1 << 20);
    describe(t, e, &text);
    line(t, "E: ", buf_str(&text));
    buf_done(&text);
    t->closed |= e->kind == SMTP_EVENT_CLOSE;
    while (smtp_server_is_asking(t->server)) {
        struct smtp_reply reply = t->answer(t->arg, e, t->questions++);
        struct smtp_event none;

        check(smtp_server_feed(t->server, STR("NOOP\r\n"), &none) == 0 && none.kind == SMTP_EVENT_NONE);
        smtp_server_answer(t->server, &reply);
        output_take(t);
    }
}

/* One piece: until nothing is taken and nothing happens. */
static void piece_feed(void *arg, struct str in)
{
    struct trace *t = arg;

    while (true) {
        struct smtp_event event;
        size_t            taken = smtp_server_feed(t->server, in, &event);

        check(taken <= in.len);
        output_take(t);
        check_facts(t);
        in = str_skip(in, taken);
        if (event.kind != SMTP_EVENT_NONE)
            event_take(t, &event);
        else if (taken == 0)
            break;
    }
    check(in.len == 0 || t->closed);
}

void trace_start(struct trace *t, const struct smtp_server_config *config, const struct smtp_reply *refusal,
                 struct smtp_reply (*answer)(void *, const struct smtp_event *, size_t), void *arg)
{
    *t = (struct trace){.server = smtp_server_new(config), .answer = answer, .arg = arg};
    check(t->server != NULL);
    buf_init(&t->text, 64 << 20);
    buf_init(&t->content, 64 << 20);
    buf_init(&t->output, 4 << 20);
    smtp_server_start(t->server, refusal);
    output_take(t);
    piece_feed(t, STR_NONE);
}

void trace_pieces(struct str in, size_t piece, const bool *closed, void (*feed)(void *arg, struct str in), void *arg)
{
    while (in.len && !*closed) {
        size_t len = piece < in.len ? piece : in.len;
        char  *copy = malloc(len);

        check(copy != NULL);
        memcpy(copy, in.data, len);
        feed(arg, str_of(copy, len));
        free(copy);
        in = str_skip(in, len);
    }
}

void trace_feed(struct trace *t, struct str in, size_t piece) { trace_pieces(in, piece, &t->closed, piece_feed, t); }

void trace_close(struct trace *t, const struct smtp_reply *reply)
{
    smtp_server_close(t->server, reply);
    output_take(t);
    piece_feed(t, STR_NONE);
}

void trace_end(struct trace *t)
{
    content_flush(t);
    smtp_server_free(t->server);
    t->server = NULL;
    buf_done(&t->content);
    buf_done(&t->output);
}

void trace_done(struct trace *t)
{
    if (t->server)
        trace_end(t);
    buf_done(&t->text);
}

const char *trace_unescape(struct str in, struct arena *arena, struct str *ret_octets)
{
    char  *out = arena_alloc(arena, in.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] != '\\') {
            out[len++] = in.data[i];
            continue;
        }
        if (++i == in.len)
            return "a backslash at the end";
        switch (in.data[i]) {
        case 'r':
            out[len++] = '\r';
            break;
        case 'n':
            out[len++] = '\n';
            break;
        case '0':
            out[len++] = '\0';
            break;
        case '\\':
            out[len++] = '\\';
            break;
        case 'x':
            if (i + 2 >= in.len || char_hex_value(in.data[i + 1]) < 0 || char_hex_value(in.data[i + 2]) < 0)
                return "not a hexadecimal octet";
            out[len++] = (char)(char_hex_value(in.data[i + 1]) * 16 + char_hex_value(in.data[i + 2]));
            i += 2;
            break;
        default:
            return "an unknown escape";
        }
    }
    *ret_octets = str_of(out, len);
    return NULL;
}

struct str trace_file(const char *path)
{
    static char text[FILE_MAX];
    FILE       *file = fopen(path, "rb");
    size_t      len;

    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    return str_of(text, len);
}

bool trace_fits(struct str line, struct str want)
{
    return str_ends(want, STR("...")) ? str_starts(line, str_part(want, 0, want.len - 3)) : str_eq(line, want);
}
