/* server_mail.c: MAIL and RCPT.
 *
 *   mail = "MAIL FROM:" *SP Reverse-path [ SP parameters ]
 *   rcpt = "RCPT TO:"   *SP Forward-path [ SP parameters ]
 *
 * RFC 5321 allows no blank behind the colon; many programs write one, and it can mean nothing else, so it is read.
 * Paths without angle brackets are refused: what they mean where parameters follow is guesswork.
 *
 * The place of a recipient is made before the question is put, so that a positive answer cannot fail. */
#include "smtp/server_internal.h"

#include "smtp/param.h"

#include <stdio.h>
#include <string.h>

struct smtp_reply server_address_reply(const struct mail_address_error *error, uint16_t detail,
                                       char text[ADDRESS_REPLY_TEXT])
{
    switch (error->fault) {
    case MAIL_ADDRESS_NEEDS_UTF8:
        return SMTP_REPLY(553, 5, 6, 7, "An address outside ASCII needs SMTPUTF8");
    case MAIL_ADDRESS_NO_MEMORY:
        return SMTP_REPLY(452, 4, 3, 1, "No memory for a further address now");
    case MAIL_ADDRESS_SYNTAX:
    case MAIL_ADDRESS_LOCAL_LONG:
    case MAIL_ADDRESS_DOMAIN_LONG:
    case MAIL_ADDRESS_DOMAIN_BAD:
    case MAIL_ADDRESS_NOT_UTF8:
        break;
    }
    snprintf(text, ADDRESS_REPLY_TEXT, "Bad address: %s", error->reason);
    return (struct smtp_reply){501, SMTP_STATUS(5, 1, detail), str_from(text)};
}

/* A limit of ours is no error of the client's. */
static void refuse(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply->code < 500)
        server_reply(s, reply);
    else
        server_error(s, reply);
}

static bool path_take(struct smtp_server *s, struct str argument, struct str word, struct mail_path_rules rules,
                      uint16_t detail, struct mail_address *ret_address, struct str *ret_path, struct str *ret_rest)
{
    struct mail_address_error error;
    char                      text[ADDRESS_REPLY_TEXT];
    struct smtp_reply         reply;
    size_t                    len;

    if (!str_starts_nocase(argument, word)) {
        server_error(s, detail == 7 ? &SMTP_REPLY(501, 5, 5, 4, "Syntax: MAIL FROM:<address>")
                                    : &SMTP_REPLY(501, 5, 5, 4, "Syntax: RCPT TO:<address>"));
        return false;
    }
    argument = str_skip(argument, word.len);
    while (argument.len && argument.data[0] == ' ')
        argument = str_skip(argument, 1);
    if (mail_path_parse(argument, rules, &s->arena, ret_address, &len, &error) != PARSE_OK) {
        reply = server_address_reply(&error, detail, text);
        refuse(s, &reply);
        return false;
    }
    *ret_path = str_part(argument, 0, len);
    *ret_rest = str_skip(argument, len);
    return true;
}

static bool mail_parse(struct smtp_server *s, struct str argument)
{
    struct envelope              *e = &s->envelope;
    const struct mail_path_rules  rules = {.allow_null = true, .utf8 = true}; /* SMTPUTF8 stands behind the path */
    const struct smtp_param_rules known = {.extended = s->extended};
    struct smtp_mail_params       params;
    struct smtp_reply             refusal;
    struct mail_address           sender;
    struct str                    path, rest;

    if (!path_take(s, argument, STR("FROM:"), rules, 7, &sender, &path, &rest))
        return false;
    if (!smtp_param_mail(rest, known, &s->arena, &params, &refusal)) {
        server_error(s, &refusal);
        return false;
    }
    if (!params.smtputf8 && !str_is_ascii(path)) {
        server_error(s, &SMTP_REPLY(553, 5, 6, 7, "An address outside ASCII needs SMTPUTF8"));
        return false;
    }
    if (params.size > s->config->limits.message_size) {
        server_reply(s, &SMTP_REPLY(552, 5, 3, 4, "The message is larger than this server takes"));
        return false;
    }
    e->sender = sender;
    e->declared_size = params.size;
    e->body = params.body;
    e->ret = params.ret;
    e->envid = params.envid;
    e->smtputf8 = params.smtputf8;
    return true;
}

void server_MAIL(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    if (!mail_parse(s, argument)) {
        transaction_wipe(s);
        return;
    }
    if (s->transactions >= s->config->limits.transactions) {
        transaction_wipe(s);
        server_end(s, &SMTP_REPLY(421, 4, 7, 0, "Too many messages in one session, closing"));
        return;
    }
    s->transactions++;
    server_protocol_set(s);
    server_ask(s, SMTP_EVENT_MAIL, event);
}

void server_mail_answer(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply)) {
        s->idle = 0;
        state_change(s, SMTP_SERVER_MAIL);
    } else {
        s->wipe = true;
    }
    server_reply(s, reply);
}

/* Makes room for one more; the array doubles, so all its copies together are at most twice its end size. */
static bool recipient_room(struct smtp_server *s)
{
    struct envelope  *e = &s->envelope;
    uint32_t          room = s->rcpt_room ? 2 * s->rcpt_room : 4;
    struct recipient *larger;

    if (e->recipient_count < s->rcpt_room)
        return true;
    larger = arena_alloc(&s->arena, room * sizeof *larger);
    if (!larger)
        return false;
    if (e->recipient_count)
        memcpy(larger, e->recipients, e->recipient_count * sizeof *larger);
    e->recipients = larger;
    s->rcpt_room = room;
    return true;
}

static bool rcpt_parse(struct smtp_server *s, struct str argument, struct mail_address *ret_address,
                       struct smtp_rcpt_params *ret_params)
{
    const struct mail_path_rules  rules = {.allow_bare_postmaster = true, .utf8 = s->envelope.smtputf8};
    const struct smtp_param_rules known = {.extended = s->extended, .smtputf8 = s->envelope.smtputf8};
    struct smtp_reply             refusal;
    struct str                    path, rest;

    if (!path_take(s, argument, STR("TO:"), rules, 3, ret_address, &path, &rest))
        return false;
    if (!smtp_param_rcpt(rest, known, &s->arena, ret_params, &refusal)) {
        server_error(s, &refusal);
        return false;
    }
    return true;
}

/* One too many is judged all the same, but in an arena of its own: it is to cost the transaction no memory. */
static void rcpt_beyond(struct smtp_server *s, struct str argument)
{
    struct arena            kept = s->arena;
    struct smtp_rcpt_params params;
    struct mail_address     address;

    arena_init(&s->arena, SERVER_CHUNK, kept.max);
    if (rcpt_parse(s, argument, &address, &params))
        server_reply(s, &SMTP_REPLY(452, 4, 5, 3, "Too many recipients in one message"));
    arena_done(&s->arena);
    s->arena = kept;
}

void server_RCPT(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    struct recipient       *recipient;
    struct smtp_rcpt_params params;
    struct mail_address     address;

    if (s->rcpt_asked >= s->config->limits.recipients) {
        rcpt_beyond(s, argument);
        return;
    }
    if (!rcpt_parse(s, argument, &address, &params))
        return;
    if (!recipient_room(s)) {
        server_reply(s, &SMTP_REPLY(452, 4, 3, 1, "No memory for a further address now"));
        return;
    }
    s->rcpt_asked++;
    recipient = &s->envelope.recipients[s->envelope.recipient_count];
    *recipient = (struct recipient){address, params.orcpt_type, params.orcpt, params.notify};
    event->recipient = *recipient;
    server_ask(s, SMTP_EVENT_RCPT, event);
}

void server_rcpt_answer(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply)) {
        s->envelope.recipient_count++;
        state_change(s, SMTP_SERVER_RCPT);
    }
    server_reply(s, reply);
}
