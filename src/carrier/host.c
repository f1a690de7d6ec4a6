/* host.c: the hosts that take a carriage's mail, one after the other, until one of them has greeted us.
 *
 *   what a host does                              what is done
 *   cannot be reached, 4yz, garbage, silence      the next; in the end the mail is put off
 *   5yz                                           the next; where all do so, back tries a few times more
 *   521: takes no mail at all (RFC 7504)          the next; where all do so, the mail fails
 *   ends the connection at EHLO                   the same once more, with HELO
 *   refuses user and password                     the mail is put off: they are no better at another host
 *
 * RECONNECT_PLAIN does not come: TLS is not tried yet (carrier/talk.c). What is kept of all of them is what the last
 * one said. */
#include "carrier/carrier.h"
#include "role/counters.h"
#include "role/log.h"

#include <errno.h>
#include <stdio.h>

void session_failure_set(struct session *s, enum smtp_stage stage, uint16_t code, struct smtp_status status,
                         struct str text, struct str words)
{
    host_failure_set(&s->failure, stage, code, status, text, words);
    snprintf(s->failure.host, sizeof s->failure.host, "%s", s->host_text);
    snprintf(s->failure.address, sizeof s->failure.address, "%s", s->address_text);
}

void session_failure_of(struct session *s, const struct smtp_client_result *why)
{
    session_failure_set(s, why->stage, why->code, why->status, why->text, str_from(why->words));
}

static void failure_of_connecting(struct session *s, const struct err *err)
{
    const struct smtp_outcome *o = smtp_outcome_find(
        SMTP_STAGE_CONNECT, err->os_error == ETIMEDOUT ? SMTP_TIMED_OUT : SMTP_NOBODY, SMTP_STATUS_NONE, 0);
    char words[CARRIAGE_TEXT_MAX];

    snprintf(words, sizeof words, err->os_error && err->os_error != ETIMEDOUT ? "%s: %s" : "%s", o->words,
             strerror(err->os_error));
    session_failure_set(s, SMTP_STAGE_CONNECT, 0, o->status, STR_NONE, str_from(words));
}

/* All that were tried said no, and the last of them what is kept. Temporary words count more than final ones. */
static void give_up(struct session *s)
{
    struct carry *y = s->carry;
    bool          fails = !y->soft && !y->refused && y->no_mail;

    y->result.refused = !y->soft && y->refused;
    carry_note_all(y, fails ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, &s->failure);
    session_end_badly(s, "failed");
}

static void no_connection(struct session *s, const struct err *err)
{
    session_unstall(s);
    failure_of_connecting(s, err);
    carrier_log_connection(s, "unreachable", &s->failure);
    s->carry->soft++;
    s->carry->target++;
    session_connect(s);
}

static void connected(int fd, const struct err *err, void *arg)
{
    struct session *s = arg;
    struct err      none;

    s->connecting = NULL;
    if (!err) {
        session_unstall(s);
        s->conn = conn_new(s, fd, &none);
        err = &none;
    }
    if (!s->conn) {
        no_connection(s, err);
        return;
    }
    session_change(s, SESSION_OPENING);
    count(COUNTER_remote_sessions_total, 1);
    count(COUNTER_remote_sessions_open, 1);
    session_wait(s);
}

void session_connect(struct session *s)
{
    struct carrier              *c = s->carrier;
    struct carry                *y = s->carry;
    const struct carrier_target *t = &y->routing->targets[y->target];
    struct err                   err;

    if (y->cancelled) {
        session_give_back(s);
        return;
    }
    if (y->target >= y->routing->target_count || y->connections >= CARRIER_HOSTS || carrier_now_ms(c) >= y->until_ms) {
        give_up(s);
        return;
    }
    y->connections++;
    session_change(s, SESSION_CONNECTING);
    s->target = *t;
    snprintf(s->host_text, sizeof s->host_text, "%.*s", STR_ARG(t->host));
    s->target.host = str_from(s->host_text);
    if (y->via.kind == VIA_SOCKET)
        s->address_text[0] = '\0';
    else
        io_address_host(&t->address, s->address_text);
    s->began_ms = carrier_now_ms(c);
    s->connecting = io_connect_new(c->loop, &t->address, y->settings->connect_timeout, connected, s, &err);
    if (s->connecting)
        io_timer_start(s->timer, CARRIER_STALL_MS, 0);
    else
        no_connection(s, &err);
}

/* Before READY: the host takes nothing of us. */
void session_host_over(struct session *s, const struct smtp_client_end *ended)
{
    const enum smtp_action action = ended->action;
    struct carry          *y = s->carry;

    session_failure_of(s, &ended->why);
    if (action == SMTP_DO_MISCONFIGURED) {
        log_notice(LOG_LEVEL_ERROR, "route \"%.*s\": %s: %.*s; its mail waits", STR_ARG(y->carriage.route),
                   s->host_text, (int)s->failure.words_len, s->failure.words);
        carry_note_all(y, SMTP_CLIENT_DEFERRED, &s->failure);
        session_end_badly(s, "misconfigured");
        return;
    }
    y->helo = action == SMTP_DO_RECONNECT_HELO;
    y->no_mail += action == SMTP_DO_NO_MAIL;
    y->refused += action == SMTP_DO_REFUSED;
    y->soft += action != SMTP_DO_NO_MAIL && action != SMTP_DO_REFUSED && !y->helo;
    y->target += !y->helo;
    session_leave(s, "refused", &s->failure);
    session_connect(s);
}
