/* session.c: which host next, which message next.
 *
 *                  session_begin            connected               READY                       DONE, another waits
 *   (a turn) ───────────────────► CONNECTING ────────► OPENING ─────────────► BUSY ◄──────────────────────────────┐
 *                                  ▲   ▲  │ refused      │ refused, lost       │  │ DONE, none waits              │
 *                                  │   └──┴──────────────┘ the next host       │  └──────────────► IDLE ──────────┘
 *                                  └───────────────────────────────────────────┘ lost before it was taken session_take
 *   no host is left, the connection ended in a message, nothing to do for a while: the session ends
 *
 * A connection that was kept may have died meanwhile, or the server have had enough of us. Then the message is begun
 * anew on a fresh one, and that does not count: only what is said on a fresh connection is an answer to the message.
 * The content must not have been asked for, though: after 354 nobody knows what the server did with it. */
#include "carrier/carrier.h"
#include "role/counters.h"
#include "role/log.h"

#include <assert.h>
#include <stdlib.h>

enum { FAIR_MESSAGES = 10 /* on a connection, while others wait for one of theirs */ };

static void timer_fired(void *arg);

void session_change(struct session *s, enum session_state to)
{
    enum {
        CONNECTING = 1 << SESSION_CONNECTING,
        OPENING = 1 << SESSION_OPENING,
        BUSY = 1 << SESSION_BUSY,
        IDLE = 1 << SESSION_IDLE,
    };
    static const unsigned from[] = {
        [SESSION_CONNECTING] = CONNECTING | OPENING | BUSY | IDLE,
        [SESSION_OPENING] = CONNECTING,
        [SESSION_BUSY] = OPENING | IDLE | BUSY,
        [SESSION_IDLE] = BUSY,
    };

    assert(from[to] & 1u << s->state);
    s->state = to;
    assert((to == SESSION_IDLE) == !s->carry && (to == SESSION_CONNECTING) == !s->conn);
}

/* ---- its life ---- */

void session_unstall(struct session *s)
{
    if (s->stalled)
        site_unstall(&s->carrier->sites);
    s->stalled = false;
}

static void idle_end(struct session *s)
{
    if (list_is_empty(&s->idle_link))
        return;
    list_remove(&s->site_idle);
    list_remove(&s->idle_link);
    s->carrier->idle_count--;
}

void session_free(struct session *s)
{
    if (s->carry)
        s->carry->session = NULL;
    idle_end(s);
    session_unstall(s);
    io_connect_free(s->connecting);
    if (s->conn)
        conn_free(s->conn);
    io_timer_free(s->timer);
    list_remove(&s->link);
    free(s);
}

void session_leave(struct session *s, const char *result, const struct host_failure *why)
{
    if (!s->conn)
        return;
    carrier_log_connection(s, result, why);
    count(COUNTER_remote_sessions_open, -1);
    conn_leave(s->conn);
    s->conn = NULL;
}

/* It has no carriage any more. The end of its site's rest, as Unix ms, or 0. */
static uint64_t end(struct session *s, enum site_end how, const char *result)
{
    struct carrier      *c = s->carrier;
    struct carrier_site *site = s->site;
    struct host_failure  why = s->failure;

    assert(!s->carry);
    session_leave(s, result, how == SITE_END_BADLY ? &why : NULL);
    session_free(s);
    return carrier_site_ended(site, c, how, &why);
}

static struct carry *carry_release(struct session *s)
{
    struct carry *y = s->carry;

    s->carry = NULL;
    y->session = NULL;
    return y;
}

/* The session ends with its carriage's. */
void session_end_badly(struct session *s, const char *result)
{
    struct carrier *c = s->carrier;
    struct carry   *y;

    session_leave(s, result, &s->failure);
    y = carry_release(s);
    y->result.retry_ms = end(s, SITE_END_BADLY, result);
    carry_settle(y);
    carrier_check_drained(c);
}

static void end_well(struct session *s, const char *result)
{
    struct carrier *c = s->carrier;

    end(s, SITE_END_WELL, result);
    carrier_check_drained(c);
}

/* ---- messages ---- */

static void message_begin(struct session *s)
{
    session_change(s, SESSION_BUSY);
    conn_message(s->conn, s->carry);
}

/* A turn has come: from the first host on. */
static void carry_take(struct session *s, struct carry *y)
{
    carry_change(y, CARRY_UNDER_WAY);
    s->carry = y;
    y->session = s;
    y->target = 0;
    y->until_ms = carrier_now_ms(s->carrier) + CARRIER_CARRY_MS + y->carriage.size * 1000 / CARRIER_RATE;
}

void session_begin(struct carrier *c, struct carrier_site *site, struct carry *y)
{
    struct session *s = calloc(1, sizeof *s);

    if (s)
        *s = (struct session){.carrier = c, .site = site};
    if (s) {
        list_init(&s->link);
        list_init(&s->site_idle);
        list_init(&s->idle_link);
    }
    if (!s || !(s->timer = io_timer_new(c->loop, timer_fired, s))) {
        free(s);
        site_ended(&c->sites, site->site, SITE_END_WELL, carrier_now_ms(c));
        carry_note_plain(y, SMTP_CLIENT_DEFERRED, (struct smtp_status){4, 3, 0}, STR("this server is out of memory"));
        carry_settle(y);
        return;
    }
    list_push(&c->sessions, &s->link);
    carry_take(s, y);
    session_connect(s);
}

bool session_fits(const struct session *s, const struct carry *y)
{
    for (size_t i = 0; i < y->routing->target_count; i++) {
        const struct io_address *a = &y->routing->targets[i].address;

        if (a->len == s->target.address.len && memcmp(&a->storage, &s->target.address.storage, a->len) == 0)
            return true;
    }
    return false;
}

void session_take(struct session *s, struct carry *y)
{
    bool fits = session_fits(s, y);

    assert(s->state == SESSION_IDLE || s->state == SESSION_BUSY);
    idle_end(s);
    if (!fits)
        session_leave(s, "closed", NULL);
    carry_take(s, y);
    if (fits)
        message_begin(s);
    else
        session_connect(s);
}

/* ---- what comes after a message ---- */

static bool others_wait(const struct carrier *c)
{
    return c->sites.open >= c->sites.open_most && !list_is_empty(&c->sites.ready);
}

static bool may_go_on(const struct session *s)
{
    const struct carrier *c = s->carrier;

    return !c->draining && smtp_client_takes_more(s->conn->client) && s->conn->messages < CARRIER_CONNECTION_MESSAGES &&
           !(s->conn->messages >= FAIR_MESSAGES && others_wait(c));
}

static void idle_begin(struct session *s)
{
    struct carrier *c = s->carrier;

    session_change(s, SESSION_IDLE);
    s->idle_until_ms = carrier_now_ms(c) + CARRIER_IDLE_MS;
    list_insert_before(s->site->idle.next, &s->site_idle);
    list_push(&c->idle, &s->idle_link);
    c->idle_count++;
    session_wait(s);
    if (c->idle_count > CARRIER_IDLE)
        session_quit(LIST_ITEM(list_first(&c->idle), struct session, idle_link));
}

static void next(struct session *s)
{
    struct carry *y;

    if (!may_go_on(s)) {
        end_well(s, "closed");
        return;
    }
    y = carrier_site_next(s->carrier, s->site);
    if (y)
        session_take(s, y);
    else
        idle_begin(s);
}

/* Takes the results over. */
static void collect(struct session *s)
{
    const struct smtp_client_result *results = smtp_client_results(s->conn->client);
    struct carry                    *y = s->carry;

    for (size_t i = 0; results && i < y->todo_count; i++) {
        if (results[i].verdict == SMTP_CLIENT_NOT_TRIED)
            continue;
        carry_note(y, i, &results[i]);
        if (results[i].verdict == SMTP_CLIENT_ACCEPTED)
            s->conn->taken++;
    }
    carry_compact(y);
    carry_note_host(y, s->target.host, str_from(s->address_text));
    y->result.dsn = smtp_client_caps(s->conn->client)->dsn;
}

void session_done(struct session *s)
{
    struct carry *y = s->carry;
    const size_t  asked = y->todo_count;

    collect(s);
    if (y->todo_count < asked)
        carrier_site_took(s->carrier, s->site);
    if (!y->todo_count) {
        carry_settle(carry_release(s));
        next(s);
        return;
    }
    session_failure_set(s, SMTP_STAGE_MAIL, 0, (struct smtp_status){4, 5, 3}, STR_NONE,
                        STR("the server takes no more on a connection"));
    session_leave(s, "closed", NULL);
    if (y->todo_count < asked) {
        y->connections = 0; /* somebody was settled, so this cannot go on for ever */
    } else {
        y->soft++;
        y->target++;
    }
    session_connect(s);
}

/* ---- the end of a connection ---- */

/* What we could not do says nothing about the server. */
static bool is_our_fault(const struct smtp_client_result *why)
{
    return why->code == 0 && (why->status.class == 5 || why->status.subject == 3);
}

/* Nothing is decided, and the content was not asked for. */
static bool was_not_begun(const struct session *s)
{
    const struct smtp_client_result *results = smtp_client_results(s->conn->client);
    const struct smtp_client_result *why = &smtp_client_end(s->conn->client)->why;

    if (s->conn->messages < 2 || (why->code && why->code != 421) || why->stage > SMTP_STAGE_DATA || is_our_fault(why))
        return false;
    for (size_t i = 0; results && i < s->carry->todo_count; i++)
        if (results[i].verdict == SMTP_CLIENT_ACCEPTED || results[i].verdict == SMTP_CLIENT_FAILED)
            return false;
    return true;
}

/* It refused the message before it had all of it, which ends the connection all the same. */
static bool is_early_answer(const struct smtp_client_result *why)
{
    return why->stage == SMTP_STAGE_MESSAGE && why->code >= 400 && why->code != 421;
}

static void message_over(struct session *s, const struct smtp_client_end *ended)
{
    bool answered;

    if (was_not_begun(s)) {
        session_leave(s, "closed", NULL);
        session_connect(s);
        return;
    }
    session_failure_of(s, &ended->why);
    collect(s);
    carry_note_all(s->carry, SMTP_CLIENT_DEFERRED, &s->failure);
    answered = is_early_answer(&ended->why);
    if (answered)
        carrier_site_took(s->carrier, s->site);
    if (answered || is_our_fault(&ended->why)) {
        const char *result = s->carry->result.stopped ? "stopped" : "ended";

        carry_settle(carry_release(s));
        end_well(s, result);
    } else {
        session_end_badly(s, "lost");
    }
}

void session_over(struct session *s)
{
    const struct smtp_client_end *ended = smtp_client_end(s->conn->client);

    switch (s->state) {
    case SESSION_OPENING:
        session_host_over(s, ended);
        break;
    case SESSION_BUSY:
        message_over(s, ended);
        break;
    case SESSION_IDLE:
        end_well(s, "closed");
        break;
    case SESSION_CONNECTING:
        assert(false); /* there is no connection */
    }
}

void session_ready(struct session *s) { message_begin(s); }

void session_quit(struct session *s)
{
    assert(s->state == SESSION_IDLE);
    conn_quit(s->conn);
}

/* ---- the clock ---- */

static void idle_over(struct session *s)
{
    struct carry *y = carrier_site_next(s->carrier, s->site);

    if (y)
        session_take(s, y);
    else if (carrier_now_ms(s->carrier) >= s->idle_until_ms)
        session_quit(s);
    else
        session_wait(s);
}

static void timer_fired(void *arg)
{
    struct session *s = arg;

    switch (s->state) {
    case SESSION_CONNECTING:
        s->stalled = site_stall(&s->carrier->sites);
        break;
    case SESSION_OPENING:
    case SESSION_BUSY:
        conn_timed_out(s->conn);
        break;
    case SESSION_IDLE:
        idle_over(s);
        break;
    }
}

void session_wait(struct session *s)
{
    uint64_t now_ms = carrier_now_ms(s->carrier), at_ms;

    if (s->state == SESSION_IDLE) {
        at_ms = s->idle_until_ms;
        if (s->site->site->waiting && site_next_ms(s->site->site) < at_ms)
            at_ms = site_next_ms(s->site->site);
        io_timer_start(s->timer, at_ms > now_ms ? at_ms - now_ms : 1, 0);
    } else if (s->conn) {
        struct smtp_client_wait wait = smtp_client_wait(s->conn->client);

        if (wait.number == s->conn->wait_number)
            return;
        s->conn->wait_number = wait.number;
        at_ms = wait.ms ? now_ms + wait.ms : UINT64_MAX;
        if (s->conn->until_ms < at_ms)
            at_ms = s->conn->until_ms;
        io_timer_start(s->timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
    }
}

/* ---- the end ---- */

/* Nothing was begun; or some recipients have theirs, where a server took no more on a connection. */
void session_give_back(struct session *s)
{
    struct carry *y = carry_release(s);

    if (y->todo_count == y->carriage.recipient_count) {
        carry_put_back(y, NULL);
    } else {
        carry_note_all(y, SMTP_CLIENT_DEFERRED, &s->failure);
        carry_settle(y);
    }
    end_well(s, "closed");
}

void session_drain(struct session *s, bool at_once)
{
    switch (s->state) {
    case SESSION_CONNECTING:
    case SESSION_OPENING:
        session_give_back(s);
        break;
    case SESSION_BUSY:
        if (at_once) {
            s->carry->result.stopped = true;
            conn_stop(s->conn);
        }
        break;
    case SESSION_IDLE:
        session_quit(s);
        break;
    }
}

void session_cancel(struct session *s)
{
    if (s->state == SESSION_BUSY)
        s->carry->cancelled = true;
    else
        session_give_back(s);
}
