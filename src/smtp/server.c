/* server.c: the session: input into lines, lines into commands, questions and answers, states and limits. What the
 * commands do stands in server_mail.c (MAIL, RCPT), server_data.c (DATA, BDAT, content) and server_misc.c (the rest).
 *
 * A line that lies whole in the input is read where it lies; only one that comes in parts is copied, and its buffer
 * goes when the line has been done, so an idle session holds none. A line longer than any command may be is not kept
 * at all: its octets are counted until its end, and an end that never comes ends the session.
 *
 * Everything that is told (RESET, HELO, CLOSE) is a flag that feed hands out before it takes more input. So the memory
 * of a transaction that has ended stays until its RESET was told and read, and commands need not care.
 *
 * Rejected: a queue of events (there is never more than one of each kind); a buffer for all input, as most servers have
 * (the caller has one anyway, and 20,000 idle sessions must be cheap); waiting for a CRLF behind a bare LF (who types
 * through a tool that sends LF alone would see nothing but silence): an LF ends a line, and one that came without its
 * CR is refused, never obeyed. */
#include "smtp/server_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(sizeof(struct smtp_server) <= 800, "an idle session is to stay small");

struct smtp_server *smtp_server_new(const struct smtp_server_config *config)
{
    struct smtp_server *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->config = config;
    s->state = SMTP_SERVER_CONNECTED;
    arena_init(&s->arena, SERVER_CHUNK, config->limits.transaction_memory);
    buf_init(&s->out, SERVER_OUTPUT_MAX + (config->lmtp ? (size_t)config->limits.recipients * SERVER_OUTPUT_EACH : 0));
    buf_init(&s->line, SERVER_LINE_MAX);
    server_protocol_set(s);
    return s;
}

void smtp_server_free(struct smtp_server *s)
{
    if (!s)
        return;
    arena_done(&s->arena);
    buf_done(&s->out);
    buf_done(&s->line);
    free(s->helo);
    free(s);
}

/* The diagram of server.h. */
void state_change(struct smtp_server *s, enum smtp_server_state to)
{
    static const unsigned from[] = {
        [SMTP_SERVER_GREETED] = 1 << SMTP_SERVER_CONNECTED | IN_READY | IN_GREETED,
        [SMTP_SERVER_READY] = IN_ANY | 1 << SMTP_SERVER_DATA,
        [SMTP_SERVER_MAIL] = IN_READY,
        [SMTP_SERVER_RCPT] = IN_MAIL | IN_RCPT,
        [SMTP_SERVER_DATA] = IN_RCPT,
        [SMTP_SERVER_BDAT] = IN_RCPT | IN_BDAT,
        [SMTP_SERVER_CLOSING] = 1 << SMTP_SERVER_CONNECTED | IN_ANY | 1 << SMTP_SERVER_DATA,
    };

    assert(to > SMTP_SERVER_CONNECTED && to <= SMTP_SERVER_CLOSING && from[to] & 1u << s->state);
    assert(!s->pending);
    s->state = (uint8_t)to;
    switch (to) {
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_DATA:
    case SMTP_SERVER_BDAT:
        assert(s->envelope.recipient_count > 0);
        break;
    case SMTP_SERVER_CLOSING:
        s->tell_close = true;
        break;
    case SMTP_SERVER_CONNECTED:
    case SMTP_SERVER_GREETED:
    case SMTP_SERVER_READY:
    case SMTP_SERVER_MAIL:
        break;
    }
}

bool server_has_transaction(const struct smtp_server *s)
{
    return s->state >= SMTP_SERVER_MAIL && s->state <= SMTP_SERVER_BDAT;
}

void transaction_wipe(struct smtp_server *s)
{
    struct origin origin = s->envelope.origin;

    arena_done(&s->arena);
    s->envelope = (struct envelope){.origin = origin};
    s->scan = NULL;
    s->verdict = (struct smtp_reply){.code = 0};
    s->rcpt_asked = s->rcpt_room = s->lmtp_answered = 0;
    s->wipe = false;
    server_protocol_set(s);
}

void transaction_end(struct smtp_server *s)
{
    if (!server_has_transaction(s))
        return;
    s->tell_reset = true;
    state_change(s, SMTP_SERVER_READY);
}

static void reply_note(struct smtp_server *s, uint16_t code, struct str line)
{
    s->last_code = code;
    line = str_part(line, 0, str_find_byte(line, '\r'));
    line = str_part(line, 0, sizeof s->last_reply);
    memcpy(s->last_reply, line.data, line.len);
    s->last_reply_len = (uint8_t)line.len;
}

void server_reply(struct smtp_server *s, const struct smtp_reply *reply)
{
    size_t start = s->out.len;

    if (smtp_reply_format(reply, s->envelope.smtputf8 || s->utf8, &s->out)) {
        reply_note(s, reply->code, str_skip(buf_str(&s->out), start));
        return;
    }
    s->out.failed = false; /* what was there before is whole */
    if (s->state == SMTP_SERVER_CLOSING)
        return;
    server_end(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, closing"));
}

void server_end(struct smtp_server *s, const struct smtp_reply *reply)
{
    s->pending = SMTP_EVENT_NONE;
    s->tell_reset |= server_has_transaction(s);
    state_change(s, SMTP_SERVER_CLOSING);
    server_reply(s, reply);
}

void server_error(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (s->errors >= s->config->limits.errors) {
        server_end(s, &SMTP_REPLY(421, 4, 7, 0, "Too many wrong commands, closing"));
        return;
    }
    s->errors++;
    server_reply(s, reply);
}

void server_ask(struct smtp_server *s, enum smtp_event_kind kind, struct smtp_event *event)
{
    s->pending = (uint8_t)kind;
    event->kind = kind;
}

void smtp_server_start(struct smtp_server *s, const struct smtp_reply *refusal)
{
    assert(s->state == SMTP_SERVER_CONNECTED);
    if (refusal && refusal->code == 421) {
        server_end(s, refusal);
        return;
    }
    state_change(s, SMTP_SERVER_GREETED);
    s->turned_away = refusal != NULL;
    if (refusal)
        server_reply(s, refusal);
    else
        server_greet(s);
}

void smtp_server_close(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (s->state != SMTP_SERVER_CLOSING)
        server_end(s, reply);
}

static void command_note(struct smtp_server *s, struct str line)
{
    line = str_part(line, 0, sizeof s->last_command);
    for (size_t i = 0; i < line.len; i++)
        s->last_command[i] = (char)(line.data[i] < ' ' || line.data[i] > '~' ? '?' : line.data[i]);
    s->last_command_len = (uint8_t)line.len;
}

static void sequence_error(struct smtp_server *s, const struct smtp_verb *verb)
{
    if (verb->flags & VERB_CONTENT) {
        bool              counts;
        struct smtp_reply reply = server_content_sequence(s, &counts);

        server_content_refuse(s, &reply, counts);
    } else if (s->state == SMTP_SERVER_GREETED) {
        server_error(s, s->config->lmtp ? &SMTP_REPLY(503, 5, 5, 1, "Say LHLO first")
                                        : &SMTP_REPLY(503, 5, 5, 1, "Say EHLO or HELO first"));
    } else if (s->state == SMTP_SERVER_READY) {
        server_error(s, &SMTP_REPLY(503, 5, 5, 1, "Say MAIL first"));
    } else {
        server_error(s, &SMTP_REPLY(503, 5, 5, 1, "A message is under way"));
    }
}

static void verb_refuse(struct smtp_server *s, const struct smtp_verb *verb, const struct smtp_reply *reply)
{
    if (verb->flags & VERB_CONTENT)
        server_content_refuse(s, reply, true);
    else
        server_error(s, reply);
}

/* Without enhanced code for EHLO and its like (RFC 2034 4). */
static void argument_missing(struct smtp_server *s, const struct smtp_verb *verb)
{
    bool              plain = verb->act == server_EHLO || verb->act == server_HELO || verb->act == server_LHLO;
    char              text[ADDRESS_REPLY_TEXT];
    struct smtp_reply reply = {501, plain ? SMTP_STATUS_NONE : SMTP_STATUS(5, 5, 4), STR_NONE};

    snprintf(text, sizeof text, "Syntax: %.*s", STR_ARG(verb->syntax));
    reply.text = str_from(text);
    verb_refuse(s, verb, &reply);
}

static bool verb_is_missing(struct smtp_server *s, const struct smtp_verb *verb)
{
    if (!verb)
        server_error(s, &SMTP_REPLY(500, 5, 5, 1, "No such command"));
    else if (verb->offer == OFFER_SMTP && s->config->lmtp)
        server_error(s, &SMTP_REPLY(500, 5, 5, 1, "This is LMTP: say LHLO"));
    else if (verb->offer == OFFER_LMTP && !s->config->lmtp)
        server_error(s, &SMTP_REPLY(500, 5, 5, 1, "This is SMTP: say EHLO"));
    else if (!smtp_verb_is_offered(verb, s->config))
        server_error(s, &SMTP_REPLY(502, 5, 5, 1, "Command not offered here"));
    else
        return false;
    return true;
}

static bool limits_are_met(struct smtp_server *s, const struct smtp_verb *verb)
{
    if (s->commands > s->config->limits.commands)
        server_end(s, &SMTP_REPLY(421, 4, 7, 0, "Too many commands in one session, closing"));
    else if (verb && verb->flags & VERB_IDLE && ++s->idle > s->config->limits.idle_commands)
        server_end(s, &SMTP_REPLY(421, 4, 7, 0, "Too many commands without a message, closing"));
    else
        return false;
    return true;
}

/* command = verb [ SP argument ] *( SP / HTAB ) CRLF */
static void command_do(struct smtp_server *s, struct str line, struct smtp_event *event)
{
    size_t                  len = line.len + 2;
    struct str              argument, name;
    const struct smtp_verb *verb;
    bool                    offered;

    while (line.len && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t'))
        line.len--;
    argument = line;
    name = str_cut(&argument, ' ');
    verb = smtp_verb_find(name);
    offered = verb && smtp_verb_is_offered(verb, s->config);
    if (limits_are_met(s, offered ? verb : NULL))
        return;
    if (s->turned_away && !(verb && verb->act == server_QUIT)) {
        server_error(s, &SMTP_REPLY(503, 5, 5, 1, "No service here, only QUIT"));
        return;
    }
    if (verb_is_missing(s, verb))
        return;
    if (len > verb->line_max)
        verb_refuse(s, verb, &SMTP_REPLY(500, 5, 5, 2, "Line too long"));
    else if (verb->act != server_BDAT && !(verb->states & 1u << s->state)) /* BDAT must read its size first */
        sequence_error(s, verb);
    else if (verb->flags & VERB_AUTH && s->config->require_auth)
        verb_refuse(s, verb, &SMTP_REPLY(530, 5, 7, 0, "Authentication required"));
    else if (verb->flags & VERB_BARE && argument.len)
        verb_refuse(s, verb, &SMTP_REPLY(501, 5, 5, 4, "This command has no argument"));
    else if (verb->flags & VERB_NEEDS && !argument.len)
        argument_missing(s, verb);
    else
        verb->act(s, argument, event);
}

/* Length of the line at the start of `in` with its LF; 0: it does not end here. */
static size_t line_end(struct str in)
{
    size_t lf = str_find_byte(in, '\n');

    return lf == STR_NOT_FOUND ? 0 : lf + 1;
}

/* `line` with its line end. */
static void line_do(struct smtp_server *s, struct str line, bool too_long, struct smtp_event *event)
{
    bool whole = str_ends(line, STR("\r\n"));

    line.len -= whole ? 2 : 1;
    s->commands++;
    command_note(s, line);
    s->utf8 = false;
    if (too_long || !whole || str_find_byte(line, '\0') != STR_NOT_FOUND ||
        str_find_byte(line, '\r') != STR_NOT_FOUND) {
        if (!limits_are_met(s, NULL))
            server_error(s, too_long ? &SMTP_REPLY(500, 5, 5, 2, "Line too long")
                                     : &SMTP_REPLY(500, 5, 5, 2, "NUL, or CR or LF alone: a line ends in CRLF"));
        return;
    }
    command_do(s, line, event);
}

static size_t line_take(struct smtp_server *s, struct str in, struct smtp_event *event)
{
    size_t     end = line_end(in), taken = end ? end : in.len;
    size_t     len = s->line_len + taken;
    bool       kept = len <= SERVER_LINE_MAX;
    struct str line = str_part(in, 0, taken);

    if (len > SERVER_LINE_ENDLESS) {
        server_end(s, &SMTP_REPLY(421, 4, 5, 2, "A line without end, closing"));
        return taken;
    }
    if (!kept) {
        buf_done(&s->line);
    } else if (!end || s->line_len) {
        if (!buf_append(&s->line, line)) {
            server_end(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, closing"));
            return taken;
        }
        line = buf_str(&s->line);
    }
    s->line_len = end ? 0 : (uint32_t)len;
    if (end) {
        s->behind = in.len > taken;
        line_do(s, kept ? line : STR("(too long)\r\n"), !kept, event);
    }
    return taken;
}

static bool tell(struct smtp_server *s, struct smtp_event *event)
{
    if (s->tell_reset) {
        s->tell_reset = false;
        s->wipe = true;
        event->kind = SMTP_EVENT_RESET;
    } else if (s->tell_helo) {
        s->tell_helo = false;
        event->kind = SMTP_EVENT_HELO;
    } else if (s->tell_close) {
        s->tell_close = false;
        event->kind = SMTP_EVENT_CLOSE;
    }
    return event->kind != SMTP_EVENT_NONE;
}

/* Whether something can go on: there is input, or a chunk that is whole waits to be answered. */
static bool has_work(const struct smtp_server *s, struct str in)
{
    return s->state != SMTP_SERVER_CONNECTED && s->state != SMTP_SERVER_CLOSING && !s->pending &&
           s->out.len <= SERVER_OUTPUT_PAUSE && (in.len || s->chunk_ended);
}

size_t smtp_server_feed(struct smtp_server *s, struct str in, struct smtp_event *ret_event)
{
    size_t taken = 0;

    *ret_event = (struct smtp_event){.kind = SMTP_EVENT_NONE};
    if (s->wipe)
        transaction_wipe(s);
    if (!s->line_len && s->line.data)
        buf_done(&s->line);
    while (!tell(s, ret_event) && has_work(s, str_skip(in, taken))) {
        struct str rest = str_skip(in, taken);

        if (s->chunk_left || s->chunk_ended)
            taken += server_chunk_take(s, rest, ret_event);
        else if (s->state == SMTP_SERVER_DATA)
            taken += server_content_take(s, rest, ret_event);
        else
            taken += line_take(s, rest, ret_event);
        if (ret_event->kind != SMTP_EVENT_NONE)
            break;
        if (!s->line_len && s->line.data)
            buf_done(&s->line);
    }
    return taken;
}

void smtp_server_answer(struct smtp_server *s, const struct smtp_reply *reply)
{
    enum smtp_event_kind asked = (enum smtp_event_kind)s->pending;

    assert(asked != SMTP_EVENT_NONE);
    s->pending = SMTP_EVENT_NONE;
    if (!server_has_transaction(s) && asked != SMTP_EVENT_MAIL)
        s->wipe = true;
    if (reply->code == 421) {
        server_end(s, reply);
        return;
    }
    switch (asked) {
    case SMTP_EVENT_MAIL:
        server_mail_answer(s, reply);
        break;
    case SMTP_EVENT_RCPT:
        server_rcpt_answer(s, reply);
        break;
    case SMTP_EVENT_DATA:
        server_data_answer(s, reply);
        break;
    case SMTP_EVENT_MESSAGE:
        server_message_answer(s, reply);
        break;
    case SMTP_EVENT_VRFY:
    case SMTP_EVENT_EXPN:
        server_reply(s, reply);
        break;
    case SMTP_EVENT_XCLIENT:
        if (smtp_reply_is_positive(reply))
            server_greet(s);
        else
            server_reply(s, reply);
        break;
    case SMTP_EVENT_NONE:
    case SMTP_EVENT_CONTENT:
    case SMTP_EVENT_RESET:
    case SMTP_EVENT_HELO:
    case SMTP_EVENT_CLOSE:
        assert(false); /* tells, and asks nothing */
    }
}

bool smtp_server_is_asking(const struct smtp_server *s) { return s->pending != SMTP_EVENT_NONE; }

struct str smtp_server_output(const struct smtp_server *s) { return buf_str(&s->out); }

void smtp_server_sent(struct smtp_server *s, size_t len)
{
    buf_consume(&s->out, len);
    if (s->out.len == 0)
        buf_shrink(&s->out, 512);
}

struct envelope *smtp_server_envelope(struct smtp_server *s) { return &s->envelope; }

struct arena *smtp_server_arena(struct smtp_server *s) { return &s->arena; }

enum smtp_server_state smtp_server_state(const struct smtp_server *s) { return (enum smtp_server_state)s->state; }

struct smtp_server_facts smtp_server_facts(const struct smtp_server *s)
{
    return (struct smtp_server_facts){
        .commands = s->commands,
        .errors = s->errors,
        .transactions = s->transactions,
        .last_code = s->last_code,
        .last_reply = str_of(s->last_reply, s->last_reply_len),
        .last_command = str_of(s->last_command, s->last_command_len),
    };
}
