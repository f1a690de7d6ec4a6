/* event.c: what the protocol asks and tells. Every reply about an address is made by policy/disclosure; here it
 * is only decided whether the keeper may be asked at all. Addresses elsewhere are front/remote.c's.
 *
 * Two spellings of a recipient name no domain that a record could keep: "postmaster" alone, and an address literal of
 * this server. Both belong to the first domain of the configuration, and get its name when they are accepted. */
#include "front/front.h"
#include "role/log.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_trusted(enum client_class class) { return class == CLASS_SUBMITTER || class == CLASS_RELAY; }

static enum client_class class_now(const struct front_session *s)
{
    return s->message ? s->message->class : front_session_class(s, NULL);
}

/* ---- room ---- */

/* Octets that delivery will take once more when the mailboxes lie on the spool's file system: what is queued and not
 * set aside as unclaimed. Without this the spool could take so much that there is no room to deliver it. */
static uint64_t undelivered(const struct front *f)
{
    const struct counter_slot *back = counters_slot(f->role->counters, ROLE_BACK, LANE_BACK);
    uint64_t                   queued = atomic_load_explicit(&back->values[COUNTER_queue_octets], memory_order_relaxed);
    uint64_t held = atomic_load_explicit(&back->values[COUNTER_unclaimed_octets], memory_order_relaxed);

    return queued > held ? queued - held : 0;
}

static const struct smtp_reply disk_full =
    SMTP_REPLY_INIT(452, 4, 3, 1, "Insufficient system storage, try again later");

/* Octets that what was taken already will need. */
static uint64_t waiting(const struct front *f) { return f->memory + lane_pending(f->lane) + undelivered(f); }

void front_look_for_room(struct front *f)
{
    struct storage_room room = {.waiting = waiting(f)};
    struct lane_room    lane;
    struct err          err;

    if (!lane_room(f->lane, front_now_ms(f), &lane, &err)) {
        storage_failed(&f->role->slot->storage, &err, io_wall_ms());
        return;
    }
    room.free = lane.free;
    room.reserve = lane.reserve;
    room.largest = lane.usable > room.waiting ? lane.usable - room.waiting : 0;
    storage_look(&f->role->slot->storage, &room, f->config->limits.message, io_wall_ms());
}

/* Asked at MAIL, so that a sender need not go on in vain, and again before the content comes. */
static bool has_room(struct front_session *s)
{
    struct front *f = s->front;
    uint64_t      need = smtp_server_envelope(s->smtp)->declared_size + waiting(f);
    struct err    err;

    if (lane_has_space(f->lane, need, front_now_ms(f), &err))
        return true;
    count(COUNTER_storage_refused_total, 1);
    front_look_for_room(f);
    front_log_transaction(s->message, "refused", &disk_full, err.text);
    return false;
}

/* ---- MAIL ---- */

static void on_mail(struct front_session *s)
{
    struct envelope *e = smtp_server_envelope(s->smtp);
    enum client_class class = front_session_class(s, &e->sender);

    s->message = front_message_new(s, class);
    if (!s->message) {
        front_session_answer(s, &SMTP_REPLY(452, 4, 3, 1, "Out of memory, try again later"));
        return;
    }
    e->origin.class = class;
    e->origin.session = str_from(s->id);
    e->origin.client = str_from(s->client);
    e->origin.user = str_from(s->user);
    if (!has_room(s)) {
        front_message_free(s->message);
        front_session_answer(s, &disk_full);
        return;
    }
    front_remote_mail(s, e->sender.domain);
}

/* ---- RCPT, VRFY, EXPN ---- */

static bool is_own_literal(const struct front_session *s, struct str domain)
{
    struct io_address a = {.len = sizeof a.storage};
    char              host[IO_ADDRESS_TEXT], text[IO_ADDRESS_TEXT + 8];

    if (!str_starts(domain, STR("[")) || getsockname(s->fd, (void *)&a.storage, &a.len) != 0)
        return false;
    io_address_host(&a, host);
    snprintf(text, sizeof text, strchr(host, ':') ? "[IPv6:%s]" : "[%s]", host);
    return str_eq_nocase(domain, str_from(text));
}

/* Whether the address is in a domain of ours; *ret_domain is empty, or the domain that it gets. */
static bool is_local(const struct front_session *s, const struct mail_address *a, struct str *ret_domain)
{
    const struct config *config = s->front->config;

    *ret_domain = STR_NONE;
    if (a->domain.len > 0 && !is_own_literal(s, a->domain))
        return config_domain_find(config, a->domain) != NULL;
    if (config->domain_count == 0)
        return false;
    *ret_domain = str_from(config->domains[0].title);
    return true;
}

static void answer_rcpt(struct front_session *s, const struct mail_address *a, bool local, enum told told,
                        const struct mail_address *moved_to)
{
    struct front     *f = s->front;
    struct envelope  *e = smtp_server_envelope(s->smtp);
    size_t            before = e->recipient_count;
    struct smtp_reply reply =
        disclosure_rcpt(&f->disclosure, class_now(s), local, told, a, moved_to, e->smtputf8, before, &f->arena);
    bool talking = s->talking;

    /* The recipient is completed before the session goes on. */
    s->talking = true;
    front_session_answer(s, &reply);
    s->talking = talking;
    if (s->patch_domain.len > 0 && e->recipient_count == before + 1)
        e->recipients[before].address.domain = s->patch_domain;
    s->patch_domain = STR_NONE;
    front_session_resume(s);
}

/* While all envelopes together take more than their share of memory, none may grow beyond what RFC 5321 grants it: a
 * sender that has more recipients names them in further messages. */
static void limit_recipients(struct front_session *s)
{
    struct front  *f = s->front;
    uint64_t       holds = smtp_server_arena(s->smtp)->used;
    const uint32_t most = (uint32_t)f->config->limits.recipients;

    f->envelopes += holds - s->message->envelope;
    s->message->envelope = holds;
    s->config.limits.recipients =
        f->envelopes > f->config->limits.memory && most > FRONT_RECIPIENTS_MIN ? FRONT_RECIPIENTS_MIN : most;
}

static void on_rcpt(struct front_session *s, const struct mail_address *a)
{
    enum client_class class = class_now(s);
    struct mail_address to = *a;
    bool                local = is_local(s, a, &s->patch_domain);
    struct ask          q = {.kind = ASK_RCPT, .class = class};

    limit_recipients(s);
    if (s->patch_domain.len > 0)
        to.domain = s->patch_domain;
    if (local && disclosure_may_ask_rcpt(class)) {
        q.sender = smtp_server_envelope(s->smtp)->sender;
        q.address = to;
        if (!front_ask(s, &q))
            answer_rcpt(s, &to, true, TOLD_FAILED, NULL);
        return;
    }
    if (!local && is_trusted(class))
        front_remote_rcpt(s, &to);
    else
        answer_rcpt(s, &to, local, TOLD_NOTHING, NULL);
}

static void answer_vrfy(struct front_session *s, const struct mail_address *a, enum told told,
                        const struct mail_address *moved_to)
{
    struct front     *f = s->front;
    struct smtp_reply reply = disclosure_vrfy(&f->disclosure, class_now(s), told, a, moved_to, s->utf8, &f->arena);

    front_session_answer(s, &reply);
}

static void answer_expn(struct front_session *s, enum told told, struct str members)
{
    struct front     *f = s->front;
    struct smtp_reply reply = disclosure_expn(&f->disclosure, class_now(s), told, members, &f->arena);

    front_session_answer(s, &reply);
}

static void on_vrfy(struct front_session *s, const struct smtp_event *event, enum ask_kind kind)
{
    struct ask q = {.kind = kind, .class = class_now(s)};
    struct str domain = STR_NONE;
    bool       ask = disclosure_may_ask_vrfy(&s->front->disclosure, q.class) &&
               (!event->address || is_local(s, event->address, &domain));
    enum told told = ask ? TOLD_FAILED : TOLD_NOTHING;

    s->utf8 = event->smtputf8;
    if (ask) {
        if (event->address) {
            q.address = *event->address;
            if (domain.len > 0)
                q.address.domain = domain;
        } else {
            q.text = event->argument;
        }
        if (front_ask(s, &q))
            return;
    }
    if (kind == ASK_VRFY)
        answer_vrfy(s, event->address, told, NULL);
    else
        answer_expn(s, told, STR_NONE);
}

/* ---- DATA ---- */

static void answer_data(struct front_session *s)
{
    s->content_began_ms = s->heard_ms = front_now_ms(s->front);
    s->content_octets = 0;
    front_session_answer(s, &SMTP_REPLY(354, 0, 0, 0, "Send the message, end it with CRLF.CRLF"));
}

static void on_data(struct front_session *s)
{
    struct front         *f = s->front;
    struct front_message *m = s->message;
    bool                  submits = !s->listener->config || s->listener->config->submission;
    struct smtp_reply     best = disclosure_message(&f->disclosure, m->class, true);
    struct ask            q = {.kind = ASK_SIGN, .class = m->class, .text = str_from(m->id_text)};

    if (!has_room(s)) {
        front_session_answer(s, &disk_full);
        return;
    }
    m->logged = false; /* a refused DATA that is said again may have another end */
    m->takes_content = smtp_reply_is_positive(&best);
    m->adds_fields = submits && is_trusted(m->class);
    if (m->adds_fields || m->class == CLASS_BOUNCE) {
        if (!m->scan && !(m->scan = malloc(sizeof *m->scan))) {
            front_session_answer(s, &SMTP_REPLY(452, 4, 3, 1, "Out of memory, try again later"));
            return;
        }
        mail_scan_init(m->scan, m->class == CLASS_BOUNCE ? s->config.hostname : STR_NONE);
    }
    if (!m->adds_fields || !front_ask(s, &q))
        answer_data(s);
}

/* ---- XCLIENT ---- */

static bool xclient_address(const struct smtp_xclient *x, struct io_address *ret_address)
{
    struct str        host = x->addr;
    bool              v6 = str_starts_nocase(host, STR("IPV6:"));
    uint64_t          port = 0;
    struct io_address a[2];
    char              text[IO_ADDRESS_TEXT];
    size_t            n;

    if (v6)
        host = str_skip(host, 5);
    v6 = v6 || str_find_byte(host, ':') != STR_NOT_FOUND;
    if (host.len > 64 || (x->port.len > 0 && !str_to_u64(x->port, UINT16_MAX, &port)) || str_find_byte(host, '*') == 0)
        return false;
    snprintf(text, sizeof text, v6 ? "[%.*s]:%u" : "%.*s:%u", STR_ARG(host), (unsigned)port);
    if (!io_address_parse(str_from(text), a, 2, &n, NULL) || a[0].storage.ss_family == AF_UNIX)
        return false;
    *ret_address = a[0];
    return true;
}

/* The gateway is trusted to say who its client is; what the client may do then follows as if it had come itself. */
static void on_xclient(struct front_session *s, const struct smtp_xclient *x)
{
    const struct front *f = s->front;
    struct io_address   a;
    enum client_class class;

    if (x->addr.len > 0 && !xclient_address(x, &a)) {
        front_session_answer(s, &SMTP_REPLY(501, 5, 5, 4, "ADDR or PORT is not an address or port"));
        return;
    }
    if (x->addr.data && !s->proxy)
        s->proxy = strdup(s->client);
    if (x->addr.len > 0 && !front_set_client(s, &a)) {
        front_session_answer(s, &SMTP_REPLY(421, 4, 7, 0, "Too many sessions from your network, try again later"));
        return;
    }
    if (x->addr.data && x->addr.len == 0)
        front_forget_client(s);
    if (x->login.data)
        snprintf(s->user, sizeof s->user, "%.*s",
                 (int)(x->login.len < sizeof s->user ? x->login.len : sizeof s->user - 1), x->login.data);
    class = front_session_class(s, NULL);
    s->config.vrfy = s->config.expn = is_trusted(class) || f->disclosure.vrfy != VRFY_502;
    s->config.require_auth = s->listener->config && s->listener->config->submission && !is_trusted(class);
    front_session_answer(s, &SMTP_REPLY(220, 0, 0, 0, "Client replaced"));
}

/* ---- all ---- */

void front_event(struct front_session *s, const struct smtp_event *event)
{
    arena_reset(&s->front->arena);
    switch (event->kind) {
    case SMTP_EVENT_MAIL:
        on_mail(s);
        break;
    case SMTP_EVENT_RCPT:
        on_rcpt(s, &event->recipient.address);
        break;
    case SMTP_EVENT_VRFY:
        on_vrfy(s, event, ASK_VRFY);
        break;
    case SMTP_EVENT_EXPN:
        on_vrfy(s, event, ASK_EXPN);
        break;
    case SMTP_EVENT_DATA:
        on_data(s);
        break;
    case SMTP_EVENT_CONTENT:
        if (s->message)
            front_message_content(s->message, event->content);
        break;
    case SMTP_EVENT_MESSAGE:
        front_store(s->message);
        break;
    case SMTP_EVENT_RESET:
        if (s->message) {
            front_log_transaction(s->message, "abandoned", NULL, NULL);
            front_message_free(s->message);
        }
        break;
    case SMTP_EVENT_XCLIENT:
        on_xclient(s, &event->xclient);
        break;
    case SMTP_EVENT_CLOSE:
        s->phase = PHASE_CLOSING;
        s->quit = smtp_server_facts(s->smtp).last_code == 221;
        if (!s->reason)
            s->reason = s->quit ? "quit" : "closed by the server";
        break;
    case SMTP_EVENT_NONE:
    case SMTP_EVENT_HELO:
        break;
    }
}

void front_event_told(struct front_session *s, const struct ask *ask, const struct answer *answer)
{
    enum told                  told = answer ? answer->told : TOLD_FAILED;
    const struct mail_address *moved_to = answer && answer->has_moved_to ? &answer->moved_to : NULL;
    const struct mail_address *found = answer && answer->address.local.len > 0 ? &answer->address : NULL;

    switch (ask->kind) {
    case ASK_RCPT:
        answer_rcpt(s, &ask->address, true, told, moved_to);
        break;
    case ASK_VRFY:
        answer_vrfy(s, found ? found : ask->address.local.len > 0 ? &ask->address : NULL, told, moved_to);
        break;
    case ASK_EXPN:
        answer_expn(s, told, answer ? answer->text : STR_NONE);
        break;
    case ASK_BOUNCE:
        front_store_told(s->message, answer && answer->yes, !answer || answer->told == TOLD_FAILED);
        break;
    case ASK_SIGN:
        /* Without a token the message still goes out; only a bounce of it cannot prove what it answers. */
        if (answer && answer->text.len < sizeof s->message->token)
            memcpy(s->message->token, answer->text.data, answer->text.len);
        answer_data(s);
        break;
    case ASK_CONTACT:
        front_remote_told(s, answer);
        break;
    case ASK_RESOLVE:
    case ASK_LEARN:
        break;
    }
}
