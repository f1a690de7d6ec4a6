/* client.c: the session: input into replies, replies to the state that waits for them, events, waits, and the end. The
 * states themselves stand in client_hello.c and client_auth.c (up to READY), client_mail.c (the envelope) and
 * client_content.c.
 *
 * An answer counts only if its question had been sent before the answer's first octet came. The caller feeds what it
 * has read and tells what it has sent, so both are known: `asked` is how much had been sent when the input came that is
 * now being read. A greeting of two replies, say, would else be taken for the greeting and the answer to EHLO, and
 * from there on each answer for that to the question before.
 *
 * Everything told or asked is a flag that feed hands out before it takes more input; there is never more than one of
 * each. Rejected: sending what comes next by itself (QUIT after the last message, the next message of a list): when a
 * connection is worth keeping is known to its owner only. */
#include "smtp/client_internal.h"

#include <assert.h>
#include <stdlib.h>

struct smtp_client *smtp_client_new(const struct smtp_client_config *config)
{
    struct smtp_client *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    assert(config->recipients >= 1 && config->recipients <= CLIENT_RECIPIENTS);
    assert(config->user.len <= SMTP_CLIENT_CREDENTIAL_MAX && config->password.len <= SMTP_CLIENT_CREDENTIAL_MAX);
    c->config = config;
    c->helo = config->helo && !config->lmtp;
    buf_init(&c->out, CLIENT_OUTPUT_MAX);
    arena_init(&c->session, CLIENT_AUTH_MAX, CLIENT_SESSION_MAX);
    reply_reader_init(&c->reader);
    arena_init(&c->arena, CLIENT_CHUNK, config->memory);
    return c;
}

void smtp_client_free(struct smtp_client *c)
{
    if (!c)
        return;
    buf_done(&c->out);
    arena_done(&c->session);
    reply_reader_done(&c->reader);
    arena_done(&c->arena);
    free(c);
}

void client_wait_anew(struct smtp_client *c) { c->wait_number++; }

/* The diagram of client.h. */
void client_change(struct smtp_client *c, enum smtp_client_state to)
{
    enum {
        GREETING = 1 << SMTP_CLIENT_IN_GREETING,
        HELLO = 1 << SMTP_CLIENT_IN_HELLO,
        STARTTLS = 1 << SMTP_CLIENT_IN_STARTTLS,
        TLS = 1 << SMTP_CLIENT_IN_TLS,
        AUTH = 1 << SMTP_CLIENT_IN_AUTH,
        READY = 1 << SMTP_CLIENT_IN_READY,
        ENVELOPE = 1 << SMTP_CLIENT_IN_ENVELOPE,
        CONTENT = 1 << SMTP_CLIENT_IN_CONTENT,
        FINAL = 1 << SMTP_CLIENT_IN_FINAL,
        QUIT = 1 << SMTP_CLIENT_IN_QUIT,
    };
    static const unsigned from[] = {
        [SMTP_CLIENT_IN_HELLO] = GREETING | HELLO | TLS,
        [SMTP_CLIENT_IN_STARTTLS] = HELLO,
        [SMTP_CLIENT_IN_TLS] = STARTTLS,
        [SMTP_CLIENT_IN_AUTH] = HELLO | STARTTLS,
        [SMTP_CLIENT_IN_READY] = HELLO | STARTTLS | AUTH | READY | ENVELOPE | FINAL,
        [SMTP_CLIENT_IN_ENVELOPE] = READY | ENVELOPE | FINAL,
        [SMTP_CLIENT_IN_CONTENT] = ENVELOPE,
        [SMTP_CLIENT_IN_FINAL] = CONTENT | ENVELOPE,
        [SMTP_CLIENT_IN_QUIT] = GREETING | HELLO | STARTTLS | AUTH | READY | ENVELOPE,
        [SMTP_CLIENT_IN_CLOSED] = GREETING | HELLO | STARTTLS | TLS | AUTH | READY | ENVELOPE | CONTENT | FINAL | QUIT,
    };

    assert(to > SMTP_CLIENT_IN_GREETING && to <= SMTP_CLIENT_IN_CLOSED && from[to] & 1u << c->state);
    c->state = to;
    client_wait_anew(c);
    switch (to) {
    case SMTP_CLIENT_IN_READY:
        assert(!c->message);
        break;
    case SMTP_CLIENT_IN_ENVELOPE:
        assert(c->message && c->batch_count > 0 && c->accepted == 0);
        break;
    case SMTP_CLIENT_IN_CONTENT: /* the text goes to nobody who was not accepted */
        assert(c->accepted > 0);
        break;
    case SMTP_CLIENT_IN_CLOSED:
        c->tell_close = true;
        break;
    case SMTP_CLIENT_IN_GREETING:
    case SMTP_CLIENT_IN_HELLO:
    case SMTP_CLIENT_IN_STARTTLS:
    case SMTP_CLIENT_IN_TLS:
    case SMTP_CLIENT_IN_FINAL:
    case SMTP_CLIENT_IN_QUIT:
        break;
    case SMTP_CLIENT_IN_AUTH: /* the password goes to who is meant only */
        assert(c->tls || c->config->clear_ok);
        break;
    }
}

bool client_command_end(struct smtp_client *c)
{
    bool ok = buf_append_z(&c->out, "\r\n");

    c->command_end = c->sent + c->out.len;
    return ok;
}

bool client_command(struct smtp_client *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(&c->out, format, args);
    va_end(args);
    return client_command_end(c);
}

unsigned client_facts(const struct smtp_client *c)
{
    return (c->state == SMTP_CLIENT_IN_HELLO && !c->helo && !c->config->lmtp ? SMTP_FACT_EHLO : 0u) |
           (c->config->tls == SMTP_CLIENT_TLS_MAY ? SMTP_FACT_TLS_MAY : 0u) |
           (c->optional_sent ? SMTP_FACT_OPTIONAL : 0u) | (c->accepted ? SMTP_FACT_ACCEPTED : 0u) |
           (c->accepted > 1 && !c->config->lmtp ? SMTP_FACT_SEVERAL : 0u) |
           (c->state == SMTP_CLIENT_IN_AUTH && client_auth_has_more(c) ? SMTP_FACT_MORE : 0u);
}

static enum smtp_stage stage_now(const struct smtp_client *c)
{
    switch (c->state) {
    case SMTP_CLIENT_IN_GREETING:
        return SMTP_STAGE_GREETING;
    case SMTP_CLIENT_IN_HELLO:
        return SMTP_STAGE_HELLO;
    case SMTP_CLIENT_IN_STARTTLS:
    case SMTP_CLIENT_IN_TLS:
        return SMTP_STAGE_STARTTLS;
    case SMTP_CLIENT_IN_AUTH:
        return SMTP_STAGE_AUTH;
    case SMTP_CLIENT_IN_READY:
        return SMTP_STAGE_IDLE;
    case SMTP_CLIENT_IN_ENVELOPE:
        return client_envelope_stage(c);
    case SMTP_CLIENT_IN_CONTENT:
    case SMTP_CLIENT_IN_FINAL:
        return SMTP_STAGE_MESSAGE;
    case SMTP_CLIENT_IN_QUIT:
    case SMTP_CLIENT_IN_CLOSED:
        break;
    }
    return SMTP_STAGE_QUIT;
}

/* At the end of a line, or at least of a character. */
struct str client_text_cut(struct str text)
{
    struct str cut = str_part(text, 0, SMTP_CLIENT_TEXT_MAX);
    size_t     line = cut.len < text.len ? str_find_last_byte(cut, '\n') : STR_NOT_FOUND;

    if (line != STR_NOT_FOUND)
        return str_part(cut, 0, line);
    while (cut.len < text.len && cut.len && ((unsigned char)text.data[cut.len] & 0xc0) == 0x80)
        cut.len--;
    return cut;
}

static void end_note(struct smtp_client *c, const struct client_answer *a)
{
    c->end.action = a->row->action < SMTP_DO_DEFER ? a->row->action : SMTP_DO_CLOSE;
    c->end.why = client_result(SMTP_CLIENT_NOT_TRIED, a);
    c->end.why.text = arena_str(&c->session, client_text_cut(a->text));
}

void client_leave(struct smtp_client *c, struct client_answer *a, bool politely)
{
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    if (c->state != SMTP_CLIENT_IN_QUIT) /* there the reason is known already */
        end_note(c, a);
    if (c->message) {
        client_settle_all(c, 1 << SLOT_ASKED | 1 << SLOT_ACCEPTED, SMTP_CLIENT_DEFERRED, a);
        client_settle_all(c, 1 << SLOT_TODO, SMTP_CLIENT_NOT_TRIED, a);
        c->message = NULL;
        c->tell_done = true;
    }
    c->ask_content = c->ask_convert = c->ask_tls = c->tell_ready = false;
    if (politely && client_command(c, "QUIT")) {
        client_change(c, SMTP_CLIENT_IN_QUIT);
        return;
    }
    buf_clear(&c->out);
    client_change(c, SMTP_CLIENT_IN_CLOSED);
}

void client_leave_unasked(struct smtp_client *c, enum smtp_stage stage, enum smtp_happening what)
{
    struct client_answer a = {.stage = stage, .code = (uint16_t)what};

    a.row = smtp_outcome_find(stage, what, SMTP_STATUS_NONE, 0);
    client_leave(c, &a, true);
}

void client_happen(struct smtp_client *c, enum smtp_happening what, const char *words)
{
    struct client_answer a = {.stage = stage_now(c), .code = (uint16_t)what, .words = words};

    a.row = smtp_outcome_find(a.stage, what, SMTP_STATUS_NONE, client_facts(c));
    client_leave(c, &a, false);
}

/* Whether the reply came before the end of what it would answer. While content is on its way an answer may come early,
 * and to QUIT any will do. */
static bool is_early(const struct smtp_client *c)
{
    switch (c->state) {
    case SMTP_CLIENT_IN_ENVELOPE:
        return c->reply_at >= c->send_at || c->reply_asked < c->ends[c->reply_at];
    case SMTP_CLIENT_IN_GREETING:
    case SMTP_CLIENT_IN_HELLO:
    case SMTP_CLIENT_IN_STARTTLS:
    case SMTP_CLIENT_IN_AUTH:
        return c->reply_asked < c->command_end;
    case SMTP_CLIENT_IN_TLS:
    case SMTP_CLIENT_IN_READY:
    case SMTP_CLIENT_IN_CONTENT:
    case SMTP_CLIENT_IN_FINAL:
    case SMTP_CLIENT_IN_QUIT:
    case SMTP_CLIENT_IN_CLOSED:
        break;
    }
    return false;
}

static void reply_do(struct smtp_client *c)
{
    struct client_answer a = {
        .stage = stage_now(c), .code = c->reader.code, .status = c->reader.status, .text = buf_str(&c->reader.text)};

    if (is_early(c) && a.code != 421) {
        client_happen(c, SMTP_GARBLED, "the server answered before it was asked");
        return;
    }
    a.row = smtp_outcome_find(a.stage, a.code, a.status, client_facts(c));
    switch (c->state) {
    case SMTP_CLIENT_IN_GREETING:
        client_greeting_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_HELLO:
        client_hello_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_STARTTLS:
        client_starttls_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_AUTH:
        client_auth_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_ENVELOPE:
        client_envelope_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_CONTENT:
        client_content_reply(c, &a);
        break;
    case SMTP_CLIENT_IN_FINAL:
        (c->reply_asked < c->command_end ? client_content_reply : client_final_reply)(c, &a);
        break;
    case SMTP_CLIENT_IN_READY:
    case SMTP_CLIENT_IN_QUIT:
    case SMTP_CLIENT_IN_TLS:
    case SMTP_CLIENT_IN_CLOSED:
        client_leave(c, &a, false);
        break;
    }
}

static bool tell(struct smtp_client *c, enum smtp_client_event *ret_event)
{
    const struct {
        bool                  *flag;
        enum smtp_client_event event;
    } flags[] = {{&c->ask_tls, SMTP_CLIENT_START_TLS},   {&c->tell_ready, SMTP_CLIENT_READY},
                 {&c->ask_convert, SMTP_CLIENT_CONVERT}, {&c->ask_content, SMTP_CLIENT_CONTENT},
                 {&c->tell_done, SMTP_CLIENT_DONE},      {&c->tell_close, SMTP_CLIENT_CLOSE}};

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (*flags[i].flag) {
            *flags[i].flag = false;
            *ret_event = flags[i].event;
            return true;
        }
    }
    return false;
}

/* Reads up to the end of one reply. */
static size_t input_take(struct smtp_client *c, struct str in)
{
    size_t taken;

    if (c->state == SMTP_CLIENT_IN_TLS) {
        client_happen(c, SMTP_GARBLED, "the server went on in clear behind its yes to STARTTLS");
        return in.len;
    }
    if (!c->reader.open)
        c->reply_asked = c->asked;
    if (!reply_read(&c->reader, in, &taken))
        return taken;
    if (c->reader.fault)
        client_happen(c, SMTP_GARBLED, c->reader.fault);
    else if (c->state == SMTP_CLIENT_IN_STARTTLS && taken < in.len && c->reader.code == 220)
        client_happen(c, SMTP_GARBLED, "the server went on in clear behind its yes to STARTTLS");
    else
        reply_do(c);
    return taken;
}

size_t smtp_client_feed(struct smtp_client *c, struct str in, enum smtp_client_event *ret_event)
{
    size_t taken = 0;

    *ret_event = SMTP_CLIENT_NONE;
    if (!c->known)
        c->asked = c->sent;
    while (!tell(c, ret_event) && taken < in.len && c->state != SMTP_CLIENT_IN_CLOSED)
        taken += input_take(c, str_skip(in, taken));
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        taken = in.len;
    c->known = in.len - taken;
    return taken;
}

struct str smtp_client_output(const struct smtp_client *c) { return buf_str(&c->out); }

void smtp_client_sent(struct smtp_client *c, size_t len)
{
    assert(len <= c->out.len);
    buf_consume(&c->out, len);
    c->sent += len;
    if (c->out.len == 0)
        buf_shrink(&c->out, CLIENT_CONTENT_PAUSE * 2);
    if (c->state == SMTP_CLIENT_IN_ENVELOPE)
        client_pump(c);
    if (c->state == SMTP_CLIENT_IN_CONTENT && c->sent / CLIENT_BLOCK != c->block) {
        c->block = c->sent / CLIENT_BLOCK;
        client_wait_anew(c);
    }
}

struct smtp_client_wait smtp_client_wait(const struct smtp_client *c)
{
    /* RFC 5321 4.5.3.2; for what it does not name the five minutes of most. Whether QUIT is answered matters little. */
    static const uint32_t seconds[] = {
        [SMTP_STAGE_CONNECT] = 300,  [SMTP_STAGE_GREETING] = 300, [SMTP_STAGE_HELLO] = 300,
        [SMTP_STAGE_STARTTLS] = 300, [SMTP_STAGE_AUTH] = 300,     [SMTP_STAGE_IDLE] = 0,
        [SMTP_STAGE_RSET] = 300,     [SMTP_STAGE_MAIL] = 300,     [SMTP_STAGE_RCPT] = 300,
        [SMTP_STAGE_DATA] = 120,     [SMTP_STAGE_MESSAGE] = 600,  [SMTP_STAGE_QUIT] = 10,
    };
    uint32_t wait = c->state == SMTP_CLIENT_IN_CONTENT ? 180 : seconds[stage_now(c)];

    return (struct smtp_client_wait){c->wait_number, c->state == SMTP_CLIENT_IN_CLOSED ? 0 : wait * 1000};
}

void smtp_client_timed_out(struct smtp_client *c) { client_happen(c, SMTP_TIMED_OUT, NULL); }

void smtp_client_lost(struct smtp_client *c)
{
    client_happen(c, SMTP_LOST, c->reader.open ? "the connection ended in the middle of a reply" : NULL);
}

void smtp_client_quit(struct smtp_client *c)
{
    struct client_answer a = {.stage = SMTP_STAGE_QUIT, .code = 221};

    if (c->state >= SMTP_CLIENT_IN_QUIT)
        return;
    if (c->state != SMTP_CLIENT_IN_READY || c->message) {
        client_happen(c, SMTP_OUR_FAULT, NULL);
        return;
    }
    a.row = smtp_outcome_find(a.stage, a.code, SMTP_STATUS_NONE, 0);
    client_leave(c, &a, true);
}

void smtp_client_stop(struct smtp_client *c)
{
    if (c->state < SMTP_CLIENT_IN_QUIT && c->message)
        client_happen(c, SMTP_STOPPED, NULL);
    else
        smtp_client_quit(c);
}

enum smtp_client_state smtp_client_state(const struct smtp_client *c) { return c->state; }

const struct smtp_client_caps *smtp_client_caps(const struct smtp_client *c) { return &c->caps; }

const struct smtp_client_end *smtp_client_end(const struct smtp_client *c) { return &c->end; }
