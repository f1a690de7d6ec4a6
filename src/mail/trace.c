/* trace.c: trace fields. Each is folded at fixed places with parts of bounded length, so no line passes 998 octets
 * whatever the client said. Words of the client (its name in EHLO) keep only what a host name or an address literal
 * is made of; everything else becomes '?'. */
#include "mail/trace.h"

#include "mail/date.h"

enum { WORD_MAX = 255 };

static void word_put(struct str word, struct buf *out)
{
    word = str_part(word, 0, WORD_MAX);
    for (size_t i = 0; i < word.len; i++) {
        char c = word.data[i];

        buf_append_byte(out, char_is_alnum(c) || (c && strchr(".-_:[]+/=~", c)) ? c : '?');
    }
}

/* 0: none; else 4 or 6, judged by the characters alone: it is our own text of an address. */
static int address_family(struct str client)
{
    bool colon = str_find_byte(client, ':') != STR_NOT_FOUND;

    for (size_t i = 0; i < client.len; i++)
        if (colon ? char_hex_value(client.data[i]) < 0 && !strchr(":.", client.data[i] ? client.data[i] : 'x')
                  : !char_is_digit(client.data[i]) && client.data[i] != '.')
            return 0;
    return client.len == 0 ? 0 : colon ? 6 : 4;
}

bool mail_trace_received(const struct mail_received *r, struct buf *out)
{
    int family = address_family(r->client);

    buf_append_z(out, "Received: from ");
    word_put(r->helo.len ? r->helo : family ? STR("unknown") : STR("localhost"), out);
    buf_append_z(out, family == 6 ? " ([IPv6:" : family == 4 ? " ([" : " (");
    word_put(r->client.len ? r->client : STR("unknown"), out);
    buf_append_z(out, family ? "])\r\n\tby " : ")\r\n\tby ");
    word_put(r->by, out);
    if (r->protocol.len) {
        buf_append_z(out, " with ");
        word_put(r->protocol, out);
    }
    if (r->id.len) {
        buf_append_z(out, " id ");
        word_put(r->id, out);
    }
    if (r->recipient && !mail_address_is_null(r->recipient) && (r->smtputf8 || !r->recipient->utf8)) {
        buf_append_z(out, "\r\n\tfor <");
        mail_address_format(r->recipient, out);
        buf_append_byte(out, '>');
    }
    buf_append_z(out, ";\r\n\t");
    mail_date_format(r->received_ms, out);
    return buf_append_z(out, "\r\n");
}

bool mail_trace_received_of(const struct envelope *e, struct str by, struct str id, uint64_t received_ms,
                            struct buf *out)
{
    struct mail_received r = {
        .client = e->origin.client,
        .helo = e->origin.helo,
        .by = by,
        .protocol = e->origin.protocol,
        .id = id,
        .recipient = e->recipient_count == 1 ? &e->recipients[0].address : NULL,
        .smtputf8 = e->smtputf8,
        .received_ms = received_ms,
    };

    return mail_trace_received(&r, out);
}

bool mail_trace_return_path(const struct mail_address *sender, struct buf *out)
{
    buf_append_z(out, "Return-Path: <");
    mail_address_format(sender, out);
    return buf_append_z(out, ">\r\n");
}

bool mail_trace_delivered_to(const struct mail_address *recipient, struct buf *out)
{
    buf_append_z(out, "Delivered-To: ");
    mail_address_format(recipient, out);
    return buf_append_z(out, "\r\n");
}
