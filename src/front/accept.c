/* accept.c: from the accepted connection to the greeting.
 *
 *   accepted --all full--> 421 4.3.2         --network full--> 421 4.7.0
 *      |                                     |
 *      +--from a balancer--> PHASE_PROXY --header--+--> PHASE_DELAY --nobody talks early--> greeting
 *                                |                                     --octets wait-----> 554 5.5.0
 *                                +--wrong, none in time--> closed without a word: no client would understand it
 *
 * Every limit here counts connections, whatever they then do. */
#include "front/front.h"
#include "role/log.h"

#include "front/proxy.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOCAL_SHARE = 4 /* of all sessions, the part that one user of this machine may have */ };

static const struct config_networks no_networks;

static const struct config_networks *balancers(const struct front_listener *l)
{
    return l->config ? &l->config->proxy : &no_networks;
}

static void set_host(struct front_session *s, const struct io_address *a)
{
    char host[IO_ADDRESS_TEXT];

    io_address_host(a, host);
    snprintf(s->client, sizeof s->client, "%.*s", (int)sizeof s->client - 1, host);
    s->port = io_address_port(a);
}

/* A user of this machine is a network of its own. */
static struct io_network network_of(const struct front_session *s, const struct io_address *a)
{
    struct io_network n = {{'u'}};
    const long        uid = io_stream_peer_uid(s->stream);

    _Static_assert(sizeof uid < sizeof n.bytes, "the number of a user has room");
    if (!s->is_local_socket)
        return io_address_network(a);
    memcpy(n.bytes + 1, &uid, sizeof uid);
    return n;
}

bool front_set_client(struct front_session *s, const struct io_address *a)
{
    const struct config_limits *l = &s->front->config->limits;
    struct role_context        *c = s->front->role;
    struct io_network           network = network_of(s, a);
    uint64_t                    limit = s->is_local_socket ? l->sessions / LOCAL_SHARE + 1 : l->sessions_per_client;
    uint64_t                    key;

    set_host(s, a);
    s->is_relay = config_networks_have(&s->front->config->relay.networks, a);
    if (s->counted)
        clients_leave(c->counters, c->slot, s->client_key);
    s->counted = false;
    if (s->is_relay)
        return true;
    key = clients_key(c->counters, &network);
    s->client_key = key;
    return clients_enter(c->counters, c->slot, key, limit, &s->counted);
}

void front_forget_client(struct front_session *s)
{
    struct role_context *c = s->front->role;

    if (s->counted)
        clients_leave(c->counters, c->slot, s->client_key);
    s->counted = s->is_relay = false;
    s->port = 0;
    snprintf(s->client, sizeof s->client, "unknown");
}

/* Who has no wait before the greeting cannot have talked too early. The class blocked gets its refusal from
 * front_session_start. */
static void greet(struct front_session *s)
{
    const struct smtp_reply early =
        SMTP_REPLY(554, 5, 5, 0, "You talked before the greeting, which no mail client does");

    if (s->input.len == 0 && (s->phase != PHASE_DELAY || io_stream_waiting(s->stream) == 0))
        front_session_start(s);
    else
        front_session_refuse(s, &early, "early talker");
}

static void known(struct front_session *s, const struct io_address *client)
{
    const struct smtp_reply many =
        s->is_local_socket ? SMTP_REPLY(421, 4, 7, 0, "Too many sessions of your user, try again later")
                           : SMTP_REPLY(421, 4, 7, 0, "Too many sessions from your network, try again later");
    uint64_t delay_ms = s->front->config->limits.greeting_delay;

    if (!front_set_client(s, client)) {
        front_session_refuse(
            s, &many, s->is_local_socket ? "too many sessions of the user" : "too many sessions from the network");
        return;
    }
    s->config.xclient = s->listener->config && config_networks_have(&s->listener->config->xclient, client);
    if (delay_ms == 0 || s->is_local_socket || s->is_relay) {
        greet(s);
        return;
    }
    /* All wait equally long, so a list is in order by itself; the clock of the sessions is too coarse for this. */
    s->phase = PHASE_DELAY;
    s->deadline_ms = front_now_ms(s->front) + delay_ms;
    if (list_is_empty(&s->front->greetings))
        io_timer_start(s->front->greeting, delay_ms, 0);
    list_remove(&s->wheel);
    list_push(&s->front->greetings, &s->wheel);
}

void front_greetings_due(void *arg)
{
    struct front *f = arg;
    struct list  *link;

    while ((link = list_first(&f->greetings))) {
        struct front_session *s = LIST_ITEM(link, struct front_session, wheel);

        if (s->deadline_ms > front_now_ms(f)) {
            io_timer_start(f->greeting, s->deadline_ms - front_now_ms(f), 0);
            return;
        }
        list_remove(&s->wheel);
        greet(s);
    }
}

static struct io_address address_of(const struct proxy_header *h)
{
    struct io_address a = {0};

    if (h->family == PROXY_IPV4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(h->client.port)};

        memcpy(&in.sin_addr, h->client.host, sizeof in.sin_addr);
        memcpy(&a.storage, &in, sizeof in);
        a.len = sizeof in;
    } else {
        struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(h->client.port)};

        memcpy(&in.sin6_addr, h->client.host, sizeof in.sin6_addr);
        memcpy(&a.storage, &in, sizeof in);
        a.len = sizeof in;
    }
    return a;
}

static void header_input(struct front_session *s)
{
    struct proxy_header h;
    struct io_address   client;
    size_t              len;
    const char         *why;

    switch (proxy_parse(buf_str(&s->input), &h, &len, &why)) {
    case PARSE_MORE:
        return;
    case PARSE_BAD:
        log_notice(LOG_LEVEL_WARNING, "%s: wrong PROXY header: %s", s->client, why);
        front_session_refuse(s, NULL, "wrong PROXY header");
        return;
    case PARSE_OK:
        break;
    }
    buf_consume(&s->input, len);
    io_stream_read(s->stream, false);
    if (h.family == PROXY_ITSELF) {
        client.len = sizeof client.storage;
        if (getpeername(s->fd, (void *)&client.storage, &client.len) != 0) {
            front_session_refuse(s, NULL, "connection lost");
            return;
        }
    } else {
        s->proxy = strdup(s->client);
        client = address_of(&h);
    }
    known(s, &client);
}

void front_accept_input(struct front_session *s, struct str in)
{
    if (s->phase != PHASE_PROXY)
        return;
    if (buf_append(&s->input, in))
        header_input(s);
    else
        front_session_refuse(s, NULL, "no memory");
}

void front_accept_due(struct front_session *s) { front_session_refuse(s, NULL, "no PROXY header in time"); }

static struct front_session *session_new(struct front_listener *l, int fd, struct err *err)
{
    struct front         *f = l->front;
    struct front_session *s = calloc(1, sizeof *s);

    if (!s) {
        err_set_os(err, ENOMEM, "session");
        close(fd);
        return NULL;
    }
    s->fd = fd;
    s->stream = io_stream_new(f->loop, fd, &front_stream_ops, s, err);
    if (!s->stream) {
        free(s);
        return NULL;
    }
    s->front = f;
    s->listener = l;
    s->began_ms = front_now_ms(f);
    list_init(&s->wheel);
    buf_init(&s->input, FRONT_INPUT_MAX);
    message_id_text(message_id_next(&f->ids, io_wall_ms()), s->id);
    list_push(&f->sessions, &s->link);
    return s;
}

static void accepted(int fd, const struct io_address *peer, void *arg)
{
    const struct smtp_reply full = SMTP_REPLY(421, 4, 3, 2, "Too many sessions, try again later");
    struct front_listener  *l = arg;
    struct front           *f = l->front;
    struct err              err;
    struct front_session   *s = session_new(l, fd, &err);

    if (!s) {
        log_notice(LOG_LEVEL_ERROR, "a connection is lost: %s", err.text);
        return;
    }
    count(COUNTER_sessions_total, 1);
    s->is_local_socket = !l->config;
    set_host(s, peer);
    if (s->is_local_socket)
        snprintf(s->user, sizeof s->user, "%ld", io_stream_peer_uid(s->stream));
    if (counters_sum(f->role->counters, COUNTER_sessions_open) >= f->config->limits.sessions) {
        front_session_refuse(s, &full, "too many sessions");
        return;
    }
    count(COUNTER_sessions_open, 1);
    s->admitted = true;
    if (!config_networks_have(balancers(l), peer)) {
        known(s, peer);
        return;
    }
    s->phase = PHASE_PROXY;
    front_clock_set(s, front_now_ms(f) + f->config->timeouts.proxy);
    io_stream_read(s->stream, true);
}

bool front_listen(struct front *f, unsigned number, int fd, struct err *err)
{
    struct front_listener *l;

    if (number != FRONT_LISTEN_SUBMIT && number >= f->config->listen_count) {
        close(fd);
        return err_set(err, ERR_PERMANENT, "there is no listen block number %u", number);
    }
    l = calloc(1, sizeof *l);
    if (!l) {
        close(fd);
        return err_set_os(err, ENOMEM, "listening socket");
    }
    l->front = f;
    if (number == FRONT_LISTEN_SUBMIT) {
        l->name = "submit.sock";
    } else {
        l->config = &f->config->listens[number];
        l->name = l->config->title;
    }
    l->acceptor = io_acceptor_new(f->loop, fd, accepted, l, err);
    if (!l->acceptor) {
        close(fd);
        free(l);
        return false;
    }
    list_push(&f->listeners, &l->link);
    return true;
}

/* Sessions go on looking at their listener's settings, so the structs stay. */
void front_unlisten(struct front *f)
{
    LIST_EACH (link, &f->listeners) {
        struct front_listener *l = LIST_ITEM(link, struct front_listener, link);

        io_acceptor_free(l->acceptor);
        l->acceptor = NULL;
    }
}
