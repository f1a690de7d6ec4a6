/* server_data.c: DATA, BDAT, and the content between.
 *
 *   data = "DATA"        bdat = "BDAT" SP 1*20DIGIT [ SP "LAST" ]
 *
 * A message is judged at its end: too large, spoilt (content.h), or too many hops. Until then it is taken, because a
 * client listens again only when it has sent everything; what is judged bad already is no longer given out. How much
 * is thrown away like this has a limit too.
 *
 * A refused DATA, or a BDAT whose size cannot be read, leaves a client that did not wait for the answer in the middle
 * of its message, and us with octets that may be content or commands. Nobody can tell, so the session ends. A refused
 * BDAT with a size does no harm: its octets are counted, thrown away, and then it is answered (RFC 3030 2). */
#include "smtp/server_internal.h"

#include "smtp/param.h"

#include <assert.h>

/* Octets of one message that are taken from the wire, whatever they are. */
static uint64_t discard_max(const struct smtp_server *s)
{
    uint64_t size = s->config->limits.message_size;

    return size < UINT64_MAX / 8 ? 4 * size + (1 << 20) : UINT64_MAX;
}

static void end_flood(struct smtp_server *s)
{
    server_end(s, &SMTP_REPLY(552, 5, 3, 4, "The message is far larger than this server takes, closing"));
}

/* Cuts *in to what may still come; false: nothing may, and the session has ended. */
static bool flood_check(struct smtp_server *s, struct str *in)
{
    uint64_t room = discard_max(s) - s->content_seen;

    if (!room)
        end_flood(s);
    else if (in->len > room)
        in->len = (size_t)room;
    return room > 0;
}

static const struct smtp_reply *content_verdict(const struct smtp_server *s)
{
    static const struct smtp_reply oversize =
                                       SMTP_REPLY_INIT(552, 5, 3, 4, "The message is larger than this server takes"),
                                   loop = SMTP_REPLY_INIT(554, 5, 4, 6, "Too many Received fields: a mail loop"),
                                   cr = SMTP_REPLY_INIT(550, 5, 6, 0, "The message has a CR without LF"),
                                   lf = SMTP_REPLY_INIT(550, 5, 6, 0, "The message has an LF without CR"),
                                   nul = SMTP_REPLY_INIT(550, 5, 6, 0, "The message has a NUL");

    if (s->oversize)
        return &oversize;
    switch ((enum smtp_content_fault)s->content.fault) {
    case CONTENT_BARE_CR:
        return &cr;
    case CONTENT_BARE_LF:
        return &lf;
    case CONTENT_NUL:
        return &nul;
    case CONTENT_GOOD:
        break;
    }
    return s->scan->received > s->config->limits.hops ? &loop : NULL;
}

static bool content_begin(struct smtp_server *s)
{
    s->scan = arena_new(&s->arena, struct mail_scan);
    if (!s->scan)
        return false;
    mail_scan_init(s->scan, STR_NONE);
    smtp_content_init(&s->content);
    s->content_size = s->content_seen = 0;
    s->oversize = false;
    return true;
}

static void content_give(struct smtp_server *s, struct str piece, struct smtp_event *event)
{
    uint64_t room = s->config->limits.message_size - s->content_size;

    if (piece.len > room) {
        s->oversize = true;
        piece = str_part(piece, 0, (size_t)room);
    }
    if (!piece.len)
        return;
    s->content_size += piece.len;
    if (!s->scan->header_ended)
        mail_scan_feed(s->scan, piece);
    event->kind = SMTP_EVENT_CONTENT;
    event->content = piece;
}

static void error_or_reply(struct smtp_server *s, const struct smtp_reply *reply, bool counts)
{
    if (counts)
        server_error(s, reply);
    else
        server_reply(s, reply);
}

/* The message is refused without a question; in LMTP each recipient hears of it. */
static void message_refuse(struct smtp_server *s, const struct smtp_reply *reply, bool is_end)
{
    size_t times = s->config->lmtp && is_end ? s->envelope.recipient_count : 1;

    while (times-- && s->state != SMTP_SERVER_CLOSING)
        server_reply(s, reply);
    transaction_end(s);
}

static void content_end(struct smtp_server *s, struct smtp_event *event)
{
    const struct smtp_reply *verdict = content_verdict(s);

    if (verdict)
        message_refuse(s, verdict, true);
    else
        server_ask(s, SMTP_EVENT_MESSAGE, event);
}

size_t server_content_take(struct smtp_server *s, struct str in, struct smtp_event *event)
{
    struct str piece;
    size_t     taken;
    bool       ended;

    if (!flood_check(s, &in))
        return in.len;
    ended = smtp_content_feed(&s->content, in, &taken, &piece);
    s->content_seen += taken;
    content_give(s, piece, event);
    if (ended)
        content_end(s, event);
    return taken;
}

struct smtp_reply server_content_sequence(const struct smtp_server *s, bool *ret_counts)
{
    *ret_counts = true;
    if (s->state == SMTP_SERVER_BDAT)
        return SMTP_REPLY(503, 5, 5, 1, "The message has begun with BDAT");
    if (s->state == SMTP_SERVER_MAIL && s->rcpt_asked && !s->config->lmtp) {
        *ret_counts = false; /* who exists must not lead to the limit of errors */
        return SMTP_REPLY(554, 5, 5, 1, "No valid recipients");
    }
    *ret_counts = !s->rcpt_asked;
    return SMTP_REPLY(503, 5, 5, 1, "There is no recipient");
}

void server_content_refuse(struct smtp_server *s, const struct smtp_reply *reply, bool counts)
{
    error_or_reply(s, reply, counts);
    if (s->behind && s->state != SMTP_SERVER_CLOSING)
        server_end(s, &SMTP_REPLY(421, 4, 5, 0, "Input came before the answer and may be content, closing"));
}

void server_DATA(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)argument;
    if (s->envelope.body == BODY_BINARYMIME) {
        server_content_refuse(s, &SMTP_REPLY(503, 5, 5, 1, "BINARYMIME needs BDAT"), true);
        return;
    }
    server_ask(s, SMTP_EVENT_DATA, event);
}

static bool chunk_parse(struct str argument, uint64_t *ret_size, bool *ret_last)
{
    struct str number, last, more;

    if (!smtp_param_word(&argument, &number) || number.len > 20 || !str_to_u64(number, UINT64_MAX, ret_size))
        return false;
    *ret_last = smtp_param_word(&argument, &last);
    return (!*ret_last || str_eq_nocase(last, STR("LAST"))) && !smtp_param_word(&argument, &more);
}

static void chunk_swallow(struct smtp_server *s, struct smtp_reply verdict, bool counts)
{
    s->verdict = verdict;
    s->chunk_swallowed = true;
    s->chunk_counts = counts;
}

void server_BDAT(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    uint64_t          size;
    bool              last, counts;
    struct smtp_reply reply;

    if (!chunk_parse(argument, &size, &last)) {
        server_content_refuse(s, &SMTP_REPLY(501, 5, 5, 4, "Syntax: BDAT octets [LAST]"), true);
        return;
    }
    if (size > discard_max(s)) {
        end_flood(s);
        return;
    }
    s->chunk_left = size;
    s->chunk_ended = size == 0;
    s->chunk_is_last = last;
    s->chunk_swallowed = false;
    if (s->state != SMTP_SERVER_RCPT && s->state != SMTP_SERVER_BDAT) {
        reply = server_content_sequence(s, &counts);
        chunk_swallow(s, reply, counts);
    } else if (!s->extended) {
        chunk_swallow(s, SMTP_REPLY(503, 5, 5, 1, "Say EHLO first: BDAT is an extension"), true);
    } else if (s->state == SMTP_SERVER_RCPT) {
        server_ask(s, SMTP_EVENT_DATA, event);
    }
}

void server_data_answer(struct smtp_server *s, const struct smtp_reply *reply)
{
    static const struct smtp_reply memory = SMTP_REPLY_INIT(452, 4, 3, 1, "No memory for a message now");
    bool                           chunk = s->chunk_left || s->chunk_ended;

    if (smtp_reply_is_positive(reply) && !content_begin(s))
        reply = &memory;
    if (smtp_reply_is_positive(reply)) {
        state_change(s, chunk ? SMTP_SERVER_BDAT : SMTP_SERVER_DATA);
        if (!chunk)
            server_reply(s, &SMTP_REPLY(354, 0, 0, 0, "Send the message, end it with <CRLF>.<CRLF>"));
    } else if (!chunk) {
        server_content_refuse(s, reply, false);
    } else {
        struct smtp_reply verdict = *reply;

        verdict.text = arena_str(&s->arena, reply->text);
        chunk_swallow(s, verdict.text.data ? verdict : memory, false);
    }
}

/* The chunk is whole. A refusal of the first one, or of the content so far, ends the transaction: the further chunks
 * that a client has sent without waiting are then swallowed, each with 503. */
static void chunk_end(struct smtp_server *s, struct smtp_event *event)
{
    const struct smtp_reply *verdict;

    s->chunk_ended = false;
    if (s->chunk_swallowed) {
        s->chunk_swallowed = false;
        if (s->state == SMTP_SERVER_RCPT && !s->chunk_counts)
            message_refuse(s, &s->verdict, s->chunk_is_last);
        else
            error_or_reply(s, &s->verdict, s->chunk_counts);
        return;
    }
    if (s->chunk_is_last && s->envelope.body != BODY_BINARYMIME)
        smtp_content_check_end(&s->content);
    verdict = content_verdict(s);
    if (s->chunk_is_last)
        content_end(s, event);
    else if (verdict)
        message_refuse(s, verdict, false);
    else
        server_reply(s, &SMTP_REPLY(250, 2, 0, 0, "Chunk taken"));
}

size_t server_chunk_take(struct smtp_server *s, struct str in, struct smtp_event *event)
{
    struct str piece = str_part(in, 0, s->chunk_left < in.len ? (size_t)s->chunk_left : in.len);

    if (!s->chunk_left) {
        chunk_end(s, event);
        return 0;
    }
    if (!s->chunk_swallowed && !flood_check(s, &piece))
        return piece.len;
    s->chunk_left -= piece.len;
    s->chunk_ended = s->chunk_left == 0;
    if (s->chunk_swallowed)
        return piece.len;
    s->content_seen += piece.len;
    content_give(s, s->envelope.body == BODY_BINARYMIME ? piece : smtp_content_check(&s->content, piece), event);
    return piece.len;
}

void server_message_answer(struct smtp_server *s, const struct smtp_reply *reply)
{
    server_reply(s, reply);
    if (s->state == SMTP_SERVER_CLOSING)
        return;
    if (s->config->lmtp && ++s->lmtp_answered < s->envelope.recipient_count) {
        s->pending = SMTP_EVENT_MESSAGE;
        return;
    }
    state_change(s, SMTP_SERVER_READY);
    s->wipe = true;
}
