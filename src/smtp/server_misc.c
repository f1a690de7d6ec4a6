/* server_misc.c: greetings, what is offered, and the commands that belong to no message. */
#include "smtp/server_internal.h"

#include "mail/xtext.h"
#include "smtp/param.h"

#include <stdio.h>
#include <stdlib.h>

/* RFC 3848, RFC 6531 3.7.3. */
void server_protocol_set(struct smtp_server *s)
{
    if (s->config->lmtp)
        s->envelope.origin.protocol = s->envelope.smtputf8 ? STR("UTF8LMTP") : STR("LMTP");
    else if (s->extended)
        s->envelope.origin.protocol = s->envelope.smtputf8 ? STR("UTF8SMTP") : STR("ESMTP");
    else
        s->envelope.origin.protocol = STR("SMTP");
}

static void reply_text(struct smtp_server *s, uint16_t code, struct smtp_status status, const struct buf *text)
{
    const struct smtp_reply reply = {code, status, buf_str(text)};

    if (buf_ok(text))
        server_reply(s, &reply);
    else
        server_end(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, closing"));
}

/* The session starts, or starts over after XCLIENT. */
void server_greet(struct smtp_server *s)
{
    struct buf text;

    free(s->helo);
    s->helo = NULL;
    s->envelope.origin.helo = STR_NONE;
    s->extended = false;
    s->tell_helo = false;
    server_protocol_set(s);
    if (s->state != SMTP_SERVER_GREETED)
        state_change(s, SMTP_SERVER_GREETED);
    buf_init(&text, SERVER_LINE_MAX);
    buf_append(&text, s->config->hostname);
    buf_append_z(&text, s->config->lmtp ? " LMTP tacit" : " ESMTP tacit");
    reply_text(s, 220, SMTP_STATUS_NONE, &text);
    buf_done(&text);
}

static void offers_append(const struct smtp_server *s, struct buf *text)
{
    const struct smtp_server_limits *l = &s->config->limits;
    const struct smtp_verb          *verb;

    buf_printf(text, "\nPIPELINING\nSIZE %llu\n8BITMIME\nBINARYMIME\nCHUNKING\nSMTPUTF8\nDSN\nENHANCEDSTATUSCODES",
               (unsigned long long)l->message_size);
    buf_printf(text, "\nLIMITS MAILMAX=%u RCPTMAX=%u", (unsigned)l->transactions, (unsigned)l->recipients);
    for (size_t i = 0; (verb = smtp_verb_at(i)); i++) {
        if (!(verb->flags & VERB_LISTED) || !smtp_verb_is_offered(verb, s->config))
            continue;
        buf_printf(text, "\n%.*s", STR_ARG(verb->name));
        if (verb->act == server_XCLIENT)
            buf_append_z(text, " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
    }
}

/* ehlo = ( "EHLO" / "HELO" / "LHLO" ) SP ( Domain / address-literal )
 * What clients call themselves is rarely valid and proves nothing; any word of printable ASCII is taken. */
static bool helo_is_valid(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] <= ' ' || name.data[i] > '~')
            return false;
    return name.len > 0 && name.len <= SERVER_HELO_MAX;
}

static void hello(struct smtp_server *s, struct str name, bool extended)
{
    struct buf text;
    char      *copy;

    name = str_trim(name);
    if (!helo_is_valid(name)) {
        server_error(s, &SMTP_REPLY(501, 0, 0, 0, "That is no host name"));
        return;
    }
    copy = malloc(name.len);
    if (!copy) {
        server_end(s, &SMTP_REPLY(421, 4, 3, 0, "Out of memory, closing"));
        return;
    }
    memcpy(copy, name.data, name.len);
    transaction_end(s);
    if (s->state != SMTP_SERVER_READY)
        state_change(s, SMTP_SERVER_READY);
    free(s->helo);
    s->helo = copy;
    s->envelope.origin.helo = str_of(copy, name.len);
    s->extended = extended;
    s->tell_helo = true;
    if (!s->tell_reset)
        server_protocol_set(s);
    buf_init(&text, 2 * SERVER_LINE_MAX);
    buf_append(&text, s->config->hostname);
    if (extended)
        offers_append(s, &text);
    reply_text(s, 250, SMTP_STATUS_NONE, &text);
    buf_done(&text);
}

void server_EHLO(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)event;
    hello(s, argument, true);
}

void server_LHLO(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)event;
    hello(s, argument, true);
}

void server_HELO(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)event;
    hello(s, argument, false);
}

void server_RSET(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)argument;
    (void)event;
    transaction_end(s);
    server_reply(s, &SMTP_REPLY(250, 2, 0, 0, "Ok"));
}

void server_NOOP(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)argument;
    (void)event;
    server_reply(s, &SMTP_REPLY(250, 2, 0, 0, "Ok"));
}

void server_QUIT(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    (void)argument;
    (void)event;
    server_end(s, &SMTP_REPLY(221, 2, 0, 0, "Bye"));
}

void server_HELP(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    const struct smtp_verb *verb = smtp_verb_find(argument);
    struct buf              text;
    size_t                  line = 0;

    (void)event;
    buf_init(&text, 2 * SERVER_LINE_MAX);
    if (!argument.len) {
        buf_append_z(&text, "Commands:");
        for (size_t i = 0; (verb = smtp_verb_at(i)); i++)
            if (smtp_verb_is_offered(verb, s->config))
                buf_printf(&text, line++ % 8 ? " %.*s" : "\n  %.*s", STR_ARG(verb->name));
        buf_append_z(&text, "\nHELP and a command tells more of it. People: write to postmaster.");
        reply_text(s, 214, SMTP_STATUS(2, 0, 0), &text);
    } else if (verb && smtp_verb_is_offered(verb, s->config)) {
        buf_printf(&text, "%.*s\n%.*s", STR_ARG(verb->syntax), STR_ARG(verb->help));
        reply_text(s, 214, SMTP_STATUS(2, 0, 0), &text);
    } else {
        server_reply(s, &SMTP_REPLY(504, 5, 5, 4, "No help on that"));
    }
    buf_done(&text);
}

/* String of VRFY and EXPN, as people type it: "<local@domain>", "local@domain", or a name. What has an at sign must be
 * an address; everything else is for the directory. */
static bool question_parse(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    struct mail_address_error error;
    struct mail_address       address;
    char                      text[ADDRESS_REPLY_TEXT];
    struct smtp_reply         reply;
    struct mail_address      *kept;
    bool                      bracketed;

    if (s->extended && str_ends_nocase(argument, STR(" SMTPUTF8"))) {
        s->utf8 = true;
        argument = str_trim(str_part(argument, 0, argument.len - 9));
    }
    argument = str_trim(argument);
    bracketed = argument.len > 2 && argument.data[0] == '<' && argument.data[argument.len - 1] == '>';
    event->argument = bracketed ? str_part(argument, 1, argument.len - 2) : argument;
    for (size_t i = 0; i < event->argument.len; i++)
        if ((unsigned char)event->argument.data[i] < ' ' || event->argument.data[i] == 127)
            event->argument.len = 0;
    if (!event->argument.len || !str_is_utf8(event->argument)) {
        server_error(s, &SMTP_REPLY(501, 5, 5, 4, "That is neither an address nor a name"));
        return false;
    }
    if (!s->utf8 && !str_is_ascii(event->argument)) {
        server_error(s, &SMTP_REPLY(553, 5, 6, 7, "An address outside ASCII needs SMTPUTF8"));
        return false;
    }
    event->argument = arena_str(&s->arena, event->argument); /* the answer may take a while */
    if (!event->argument.data) {
        server_reply(s, &SMTP_REPLY(452, 4, 3, 1, "No memory for a further address now"));
        return false;
    }
    if (str_find_byte(event->argument, '@') == STR_NOT_FOUND)
        return true;
    if (!mail_address_parse(event->argument, s->utf8, &s->arena, &address, &error)) {
        reply = server_address_reply(&error, 3, text);
        (reply.code < 500 ? server_reply : server_error)(s, &reply);
        return false;
    }
    kept = arena_new(&s->arena, struct mail_address);
    if (!kept) {
        server_reply(s, &SMTP_REPLY(452, 4, 3, 1, "No memory for a further address now"));
        return false;
    }
    *kept = address;
    event->address = kept;
    return true;
}

static void question(struct smtp_server *s, enum smtp_event_kind kind, struct str argument, struct smtp_event *event)
{
    if (question_parse(s, argument, event)) {
        event->smtputf8 = s->utf8;
        server_ask(s, kind, event);
        return;
    }
    *event = (struct smtp_event){.kind = SMTP_EVENT_NONE};
    if (!server_has_transaction(s))
        transaction_wipe(s);
}

void server_VRFY(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    question(s, SMTP_EVENT_VRFY, argument, event);
}

void server_EXPN(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    question(s, SMTP_EVENT_EXPN, argument, event);
}

/* xclient = "XCLIENT" 1*( SP name "=" xtext ), as in Postfix's XCLIENT_README. "[UNAVAILABLE]" and "[TEMPUNAVAIL]" say
 * that there is no value; an IPv6 address has "IPV6:" in front. */
static bool xclient_parse(struct smtp_server *s, struct str rest, struct smtp_xclient *ret)
{
    struct smtp_xclient x = {.name = STR_NONE};
    struct str          word;
    const struct {
        const char *name;
        struct str *value;
    } table[] = {
        {"NAME", &x.name}, {"ADDR", &x.addr},   {"PORT", &x.port},          {"PROTO", &x.proto},
        {"HELO", &x.helo}, {"LOGIN", &x.login}, {"DESTADDR", &x.dest_addr}, {"DESTPORT", &x.dest_port},
    };

    while (smtp_param_word(&rest, &word)) {
        struct str name = str_cut(&word, '='), value;
        size_t     at = 0, count = sizeof table / sizeof table[0];

        while (at < count && !str_eq_nocase(name, str_from(table[at].name)))
            at++;
        if (at == count || !word.len || !mail_xtext_decode(word, &s->arena, &value))
            return false;
        if (str_eq_nocase(value, STR("[UNAVAILABLE]")) || str_eq_nocase(value, STR("[TEMPUNAVAIL]")))
            value = STR("");
        if (str_starts_nocase(value, STR("IPV6:")))
            value = str_skip(value, 5);
        *table[at].value = value;
    }
    *ret = x;
    return true;
}

void server_XCLIENT(struct smtp_server *s, struct str argument, struct smtp_event *event)
{
    if (!xclient_parse(s, argument, &event->xclient)) {
        transaction_wipe(s);
        server_error(s, &SMTP_REPLY(501, 5, 5, 4, "Syntax: XCLIENT NAME=VALUE ..., values as xtext"));
        return;
    }
    server_ask(s, SMTP_EVENT_XCLIENT, event);
}
