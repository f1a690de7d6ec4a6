/* remote.c: what is known of domains and addresses elsewhere, as far as it spares a client a report later:
 *
 *   at MAIL   the sender's domain takes no mail at all: nobody could answer. 550 5.7.27 (RFC 7505 4.2)
 *   at RCPT   of those for whom we send: 556 5.1.10 for a recipient's domain that takes none (4.1); and of submitters,
 *             with contacts.suppress, what other servers said of the address lately
 *
 * All of that is advice. What cannot be found out in time is taken for good, and the message finds out on its way. What
 * is asked follows from the client's own words and from the configuration, never from who exists here. */
#include "front/front.h"

#include "mail/date.h"

static bool has_dns_name(struct str domain) { return domain.len > 0 && domain.data[0] != '['; }

static void ask_null_mx(struct front_session *s, struct str domain, void (*told)(bool is_null, void *session))
{
    enum null_mx_answer answer = null_mx_ask(&s->front->null_mx, domain, told, s, &s->null_mx);

    if (answer != NULL_MX_LATER)
        told(answer == NULL_MX_YES, s);
}

void front_remote_cancel(struct front_session *s)
{
    if (s->null_mx)
        null_mx_cancel(s->null_mx);
    s->null_mx = NULL;
}

/* ---- MAIL ---- */

static void sender_told(bool is_null, void *session)
{
    static const struct smtp_reply no_return = SMTP_REPLY_INIT(
        550, 5, 7, 27, "The sender's domain says in the DNS that it takes no mail (null MX), so nobody could answer");
    struct front_session *s = session;

    s->null_mx = NULL;
    if (!is_null) {
        front_session_answer(s, &SMTP_REPLY(250, 2, 1, 0, "Sender accepted"));
        return;
    }
    front_log_transaction(s->message, "refused", &no_return, NULL);
    front_message_free(s->message);
    front_session_answer(s, &no_return);
}

void front_remote_mail(struct front_session *s, struct str domain)
{
    if (has_dns_name(domain) && !config_domain_find(s->front->config, domain))
        ask_null_mx(s, domain, sender_told);
    else
        sender_told(false, s);
}

/* ---- RCPT ---- */

static void answer(struct front_session *s, const struct smtp_reply *reply)
{
    s->message->remote = (struct mail_address){.utf8 = false};
    front_session_answer(s, reply);
}

static void domain_told(bool is_null, void *session)
{
    struct front_session *s = session;
    struct smtp_reply     reply = disclosure_rcpt(&s->front->disclosure, s->message->class, false, TOLD_NOTHING,
                                                  &s->message->remote, NULL, false, 0, &s->front->arena);

    s->null_mx = NULL;
    if (is_null)
        reply = SMTP_REPLY(556, 5, 1, 10, "The domain says in the DNS that it takes no mail at all (null MX)");
    answer(s, &reply);
}

/* Where mail takes another way than the DNS says, that is not asked. */
static void ask_domain(struct front_session *s)
{
    const struct mail_address *to = &s->message->remote, *from = &smtp_server_envelope(s->smtp)->sender;

    if (has_dns_name(to->domain) && strcmp(config_route_find(s->front->config, from, to->domain)->via, "mx") == 0)
        ask_null_mx(s, to->domain, domain_told);
    else
        domain_told(false, s);
}

void front_remote_rcpt(struct front_session *s, const struct mail_address *to)
{
    const struct config_contacts *contacts = &s->front->config->contacts;
    struct ask                    q = {.kind = ASK_CONTACT, .class = s->message->class, .address = *to};

    s->message->remote = *to;
    if (q.class != CLASS_SUBMITTER || !contacts->suppress || !contacts->keep || !front_ask(s, &q))
        ask_domain(s);
}

/* ---- what other servers said ---- */

/* "; mx.example.net said on 2026-11-21: no such user" */
static struct str who_said_it(const struct contact *c, struct arena *arena)
{
    char       date[MAIL_DATE_SHORT_TEXT + 1];
    struct str host = c->host.len ? c->host : STR("its server");

    mail_date_short_text(c->last_ms, date);
    return arena_printf(arena, "; %.*s said so on %.10s%s%.*s", STR_ARG(host), date, c->text.len ? ": " : "",
                        STR_ARG(c->text));
}

static struct smtp_reply dead_reply(const struct contact *c, bool smtputf8, struct arena *arena)
{
    struct smtp_reply reply = SMTP_REPLY(550, 5, 1, 1, "There is no such mailbox");
    struct str        said = who_said_it(c, arena), moved, text;

    if (c->outcome == CONTACT_NO_MAIL)
        reply = SMTP_REPLY(556, 5, 1, 10, "The domain takes no mail at all");
    if (c->outcome == CONTACT_MOVED) {
        bool shown = !mail_address_is_null(&c->moved_to) && (smtputf8 || !c->moved_to.utf8);

        reply = SMTP_REPLY(550, 5, 1, 6, "The mailbox has moved");
        moved = shown ? mail_address_text(&c->moved_to, arena) : STR_NONE;
        text = moved.len ? arena_printf(arena, "The mailbox has moved to <%.*s>", STR_ARG(moved)) : STR_NONE;
        if (text.len)
            reply = (struct smtp_reply){551, SMTP_STATUS(5, 1, 6), text};
    }
    text = arena_printf(arena, "%.*s%.*s", STR_ARG(reply.text), STR_ARG(said));
    if (text.len)
        reply.text = text;
    return reply;
}

void front_remote_told(struct front_session *s, const struct answer *said)
{
    struct smtp_reply reply;

    if (!said || said->told == TOLD_FAILED || !contact_is_dead(said->contact.outcome)) {
        ask_domain(s);
        return;
    }
    reply = dead_reply(&said->contact, smtp_server_envelope(s->smtp)->smtputf8, &s->front->arena);
    answer(s, &reply);
}
