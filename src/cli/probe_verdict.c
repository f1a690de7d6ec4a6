/* probe_verdict.c: see probe.h. Answers to VRFY and RCPT have words of their own, since the same number means there
 * what it means nowhere else (250 to RCPT proves nothing); all others have those of the catalogue. */
#include "cli/probe.h"

static struct str address_in(struct str text)
{
    size_t begin = str_find_byte(text, '<');
    size_t end = begin == STR_NOT_FOUND ? STR_NOT_FOUND : str_find_byte(str_skip(text, begin), '>');

    return end == STR_NOT_FOUND || end < 2 ? STR_NONE : str_part(text, begin + 1, end - 1);
}

static struct str named(struct probe *p, const char *words, struct str text)
{
    struct str address = address_in(text);

    return address.len ? arena_printf(&p->arena, "%s: %.*s", words, STR_ARG(address)) : str_from(words);
}

static struct str meaning_of_vrfy(struct probe *p, const struct probe_step *s)
{
    switch (s->code) {
    case 250:
        return STR("the server says that the mailbox exists");
    case 251:
        return named(p, "the mailbox is elsewhere, and mail for it is passed on", s->text);
    case 252:
        return STR("not told: the server does not confirm mailboxes, but takes mail and tries to deliver it");
    case 500:
    case 502:
    case 504:
        return STR("not offered here: send a message instead");
    case 551:
        return named(p, "the mailbox has moved, and mail for it is not passed on", s->text);
    case 553:
        return STR("the name is not clear, or not allowed");
    default:
        return STR_NONE;
    }
}

static struct str meaning_of_rcpt(struct probe *p, const struct probe_step *s)
{
    switch (s->code) {
    case 250:
        return STR("taken; that is no proof that the mailbox exists");
    case 251:
        return named(p, "taken, and will be passed on", s->text);
    case 252:
        return STR("not told whether it exists; the message is taken and delivery is tried");
    case 551:
        return named(p, "moved; it must be sent to the new address", s->text);
    case 556:
        return STR("the domain takes no mail at all");
    default:
        return s->code / 100 == 2 ? STR("taken") : STR_NONE;
    }
}

struct str probe_meaning(struct probe *p, const struct probe_step *s)
{
    struct codes_reading r;
    struct str           known = STR_NONE;

    if (!s->code)
        return STR_NONE;
    switch (s->act) {
    case PROBE_VRFY:
        known = meaning_of_vrfy(p, s);
        break;
    case PROBE_RCPT:
        known = meaning_of_rcpt(p, s);
        break;
    case PROBE_GREETING:
        known = s->code == 220   ? STR("ready")
                : s->code == 421 ? STR("not now: busy, or shutting down")
                : s->code == 521 ? STR("this machine never takes mail")
                                 : STR_NONE;
        break;
    case PROBE_EHLO:
    case PROBE_HELO:
    case PROBE_MAIL:
    case PROBE_RSET:
    case PROBE_QUIT:
        known = s->code / 100 == 2 ? STR("understood") : STR_NONE;
        break;
    case PROBE_STARTTLS:
        known = s->code == 220 ? STR("TLS begins") : STR_NONE;
        break;
    case PROBE_CONNECT:
    case PROBE_TLS:
        break;
    }
    return known.data ? known : codes_read(s->text, &r) ? r.words.meaning : STR_NONE;
}

/* ---- the verdict ---- */

static const struct probe_step *step_of(const struct probe *p, enum probe_act act)
{
    for (size_t i = 0; i < p->talk.count; i++)
        if (p->talk.steps[i].act == act)
            return &p->talk.steps[i];
    return NULL;
}

static struct probe_verdict verdict_of_dns(struct probe *p)
{
    if (str_eq(p->dns.status, STR("5.1.10")))
        return (struct probe_verdict){
            "null-mx", PROBE_NEVER,
            STR("The domain takes no mail at all: it says so in the DNS (null MX). A server that is asked "
                "to send there answers 556 5.1.10."),
            STR("Check the domain for a slip, or reach the person in another way.")};
    if (str_eq(p->dns.status, STR("5.1.2")))
        return (struct probe_verdict){"no-domain", PROBE_NEVER, STR("There is no such domain (5.1.2)."),
                                      STR("Check the part of the address behind the at sign.")};
    if (p->dns.outcome == ROUTE_FAILS)
        return (struct probe_verdict){
            "no-hosts", PROBE_NEVER,
            arena_printf(&p->arena, "Mail cannot be sent there: %.*s (%.*s).", STR_ARG(p->dns.reason),
                         STR_ARG(p->dns.status)),
            STR("Check the domain for a slip; if it is right, its administrator has to mend the DNS.")};
    return (struct probe_verdict){
        "dns-unknown", PROBE_NOT_NOW,
        arena_printf(&p->arena, "It cannot be said now: %.*s (%.*s).", STR_ARG(p->dns.reason), STR_ARG(p->dns.status)),
        STR("Try again later; a sending server does so by itself.")};
}

/* Of a step that was answered with 4yz or 5yz. */
static struct probe_verdict verdict_of_refusal(struct probe *p, const struct probe_step *s, const char *what)
{
    struct codes_reading r;
    bool                 read = codes_read(s->text, &r);
    bool                 later = s->code / 100 == 4;

    return (struct probe_verdict){later ? "later" : "refused", later ? PROBE_NOT_NOW : PROBE_NEVER,
                                  arena_printf(&p->arena, "%s %s: %.*s", what,
                                               later ? "is put off for now" : "is refused",
                                               STR_ARG(read ? r.words.meaning : STR("no reason is known."))),
                                  later  ? STR("Wait: a sending server tries again by itself.")
                                  : read ? r.words.fix_sender
                                         : STR("Ask the administrator of the receiving server.")};
}

static struct probe_verdict verdict_of_rcpt(struct probe *p, const struct probe_step *rcpt)
{
    if (rcpt->code == 551)
        return (struct probe_verdict){
            "moved", PROBE_NEVER,
            arena_printf(&p->arena, "The recipient has moved%s%.*s, and this server does not pass mail on.",
                         address_in(rcpt->text).len ? " to " : "", STR_ARG(address_in(rcpt->text))),
            STR("Send to the new address, if you trust the server, and update your contacts.")};
    if (rcpt->code == 556)
        return (struct probe_verdict){"null-mx", PROBE_NEVER, STR("The domain takes no mail at all (556)."),
                                      STR("Check the domain for a slip, or reach the person in another way.")};
    if (rcpt->code / 100 != 2)
        return verdict_of_refusal(p, rcpt, "The recipient");
    if (rcpt->code == 251)
        return (struct probe_verdict){"forwarded", CLI_OK,
                                      arena_printf(&p->arena, "Mail is taken and passed on%s%.*s.",
                                                   address_in(rcpt->text).len ? " to " : "",
                                                   STR_ARG(address_in(rcpt->text))),
                                      STR("Send. Consider updating the address.")};
    if (rcpt->code == 252)
        return (struct probe_verdict){
            "not-told", CLI_OK,
            STR("Mail is taken, and whether the mailbox exists is not told (252): this is success."),
            STR("Send. If the address is wrong, a bounce comes back later.")};
    return (struct probe_verdict){"taken", CLI_OK,
                                  STR("Mail for this address is taken. That is no proof that the mailbox exists."),
                                  STR("Send. If the address is wrong after all, a bounce comes back later.")};
}

struct probe_verdict probe_verdict(struct probe *p)
{
    const struct probe_step *greeting = step_of(p, PROBE_GREETING), *helo = step_of(p, PROBE_HELO);
    const struct probe_step *ehlo = helo ? helo : step_of(p, PROBE_EHLO);
    const struct probe_step *mail = step_of(p, PROBE_MAIL), *rcpt = step_of(p, PROBE_RCPT);

    if (p->dns.outcome != ROUTE_FOUND)
        return verdict_of_dns(p);
    if (!p->has_spoken || !greeting || !greeting->code)
        return (struct probe_verdict){
            "unreachable", PROBE_NOT_NOW, STR("No mail server of it could be reached from here."),
            STR("Try again later. If other machines reach it, a firewall may be in the way: many "
                "providers block port 25.")};
    if (greeting->code == 521)
        return (struct probe_verdict){"no-mail-host", PROBE_NEVER,
                                      STR("This machine says that it never takes mail (521)."),
                                      STR("Check the domain; another of its hosts may take mail.")};
    if (greeting->code / 100 != 2)
        return verdict_of_refusal(p, greeting, "The connection");
    if (!ehlo || ehlo->code / 100 != 2)
        return ehlo && ehlo->code ? verdict_of_refusal(p, ehlo, "The greeting of this machine")
                                  : (struct probe_verdict){"broken", PROBE_NOT_NOW, STR("The conversation broke off."),
                                                           STR("Try again later.")};
    if (!p->wish.recipient)
        return (struct probe_verdict){"takes-mail", CLI_OK, STR("A mail server answers and is ready to take mail."),
                                      STR("Send. Only a message shows whether an address is right.")};
    if (mail && mail->code && mail->code / 100 != 2)
        return verdict_of_refusal(p, mail, "The sender");
    if (!rcpt || !rcpt->code)
        return (struct probe_verdict){"broken", PROBE_NOT_NOW, STR("The conversation broke off."),
                                      STR("Try again later.")};
    return verdict_of_rcpt(p, rcpt);
}
