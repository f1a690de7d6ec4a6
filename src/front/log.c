/* log.c: one line for each session and each transaction, with the same keys whatever the outcome. */
#include "role/log.h"
#include "front/front.h"

enum { RECIPIENTS_SHOWN = 5 };

static void log_origin(const struct front_session *s)
{
    log_str("client", str_from(s->client));
    if (s->proxy)
        log_str("proxy", str_from(s->proxy));
    log_str("listener", str_from(s->listener->name));
}

void front_log_session(const struct front_session *s)
{
    struct smtp_server_facts facts = {0};

    if (!log_begin(LOG_LEVEL_INFO, "session"))
        return;
    if (s->smtp)
        facts = smtp_server_facts(s->smtp);
    log_str("session", str_from(s->id));
    log_origin(s);
    log_u64("port", s->port);
    if (s->smtp) {
        const struct origin *o = &smtp_server_envelope(s->smtp)->origin;

        log_str("protocol", o->protocol);
        log_str("helo", o->helo);
    }
    log_str("class", str_from(client_class_name(front_session_class(s, NULL))));
    log_u64("commands", facts.commands);
    log_u64("errors", facts.errors);
    log_u64("messages", s->messages);
    log_str("reply", facts.last_reply);
    log_meaning(0, STR_NONE, facts.last_reply);
    log_u64("ms", front_now_ms(s->front) - s->began_ms);
    log_z("reason", s->reason ? s->reason : "");
    log_end();
}

static void log_address(const char *key, const struct mail_address *a, struct front *f)
{
    buf_clear(&f->scratch);
    buf_append_byte(&f->scratch, '<');
    mail_address_format(a, &f->scratch);
    buf_append_byte(&f->scratch, '>');
    log_str(key, buf_str(&f->scratch));
}

static void log_recipients(const struct envelope *e, struct front *f)
{
    buf_clear(&f->scratch);
    for (size_t i = 0; i < e->recipient_count && i < RECIPIENTS_SHOWN; i++) {
        buf_append_z(&f->scratch, i ? ",<" : "<");
        mail_address_format(&e->recipients[i].address, &f->scratch);
        buf_append_byte(&f->scratch, '>');
    }
    log_str("to", buf_str(&f->scratch));
    log_u64("rcpts", e->recipient_count);
}

void front_log_transaction(struct front_message *m, const char *result, const struct smtp_reply *reply,
                           const char *reason)
{
    const struct front_session *s = m->session;
    const struct envelope      *e = smtp_server_envelope(s->smtp);
    struct front               *f = m->front;
    char                        status[SMTP_STATUS_TEXT];

    if (m->logged || !log_begin(LOG_LEVEL_INFO, "transaction"))
        return;
    m->logged = true;
    log_str("session", str_from(s->id));
    log_str("id", str_from(m->id_text));
    log_origin(s);
    log_str("class", str_from(client_class_name(m->class)));
    if (s->user[0])
        log_str("user", str_from(s->user));
    log_address("from", &e->sender, f);
    log_recipients(e, f);
    log_u64("size", m->size);
    log_z("result", result);
    if (reply) {
        log_u64("code", reply->code);
        if (reply->status.class)
            log_str("status", smtp_status_text(reply->status, status));
        log_str("reply", reply->text);
    }
    if (reason)
        log_z("reason", reason);
    if (reply)
        log_meaning(reply->code, smtp_status_text(reply->status, status), reply->text);
    log_u64("ms", front_now_ms(f) - m->began_ms);
    log_end();
}
