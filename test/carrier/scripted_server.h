/* scripted_server.h: mail servers in the loop of a test, on 127.0.0.N and all with one port, that say what a table
 * tells them to. */
#ifndef TACIT_TEST_SERVER_SCRIPTED_SERVER_H
#define TACIT_TEST_SERVER_SCRIPTED_SERVER_H

#include "base/buf.h"
#include "base/list.h"
#include "io/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SCRIPTED_SERVERS = 4, SCRIPTED_RULES = 12 };

/* What a command gets whose start is `verb`; "." is the content, "" the greeting. A reply of "" is silence, "!" in
 * front closes instead of a reply, and behind it after the reply. `from`, `to`: the numbers of the connections that it
 * is for, from 1; 0: all. */
struct rule {
    const char *verb, *reply;
    int         from, to;
};

struct server {
    struct io_loop     *loop;
    struct io_acceptor *acceptor;
    struct list         peers;
    struct rule         rules[SCRIPTED_RULES];
    int                 connections, messages, commands, open, most_open, quits;
    struct buf          content; /* of the last message, as it came */
    struct buf          said;    /* all commands */
};

struct peer {
    struct list       link;
    struct server    *server;
    struct io_stream *stream;
    struct buf        in;
    int               number;
    bool              data, closes;
};

static inline void peer_free(struct peer *p)
{
    p->server->open--;
    io_stream_free(p->stream);
    list_remove(&p->link);
    buf_done(&p->in);
    free(p);
}

static inline const char *rule_for(struct peer *p, struct str command)
{
    static const struct rule standard[] = {
        {"EHLO", "250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 1000000\r\n", 0,
         0},
        {"LHLO", "250-mx.test\r\n250 PIPELINING\r\n", 0, 0},
        {"HELO", "250 mx.test\r\n", 0, 0},
        {"MAIL", "250 2.1.0 Ok\r\n", 0, 0},
        {"RCPT", "250 2.1.5 Ok\r\n", 0, 0},
        {"DATA", "354 go on\r\n", 0, 0},
        {"RSET", "250 2.0.0 Ok\r\n", 0, 0},
        {"QUIT", "221 2.0.0 Bye\r\n!", 0, 0},
        {".", "250 2.0.0 Ok: queued\r\n", 0, 0},
    };
    const struct rule *rules = p->server->rules;

    for (size_t i = 0; i < SCRIPTED_RULES && rules[i].verb; i++)
        if ((command.len ? rules[i].verb[0] && str_starts(command, str_from(rules[i].verb)) : !rules[i].verb[0]) &&
            (!rules[i].from || (p->number >= rules[i].from && p->number <= rules[i].to)))
            return rules[i].reply;
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++)
        if (str_starts(command, str_from(standard[i].verb)))
            return standard[i].reply;
    return command.len ? "500 what\r\n" : "220 mx.test ESMTP\r\n";
}

/* False: the peer is gone. */
static inline bool peer_reply(struct peer *p, struct str command)
{
    struct str reply = str_from(rule_for(p, command));

    if (str_starts(reply, STR("!"))) {
        peer_free(p);
        return false;
    }
    if (str_ends(reply, STR("!"))) {
        reply.len--;
        p->closes = true;
    }
    io_stream_write(p->stream, reply);
    if (str_starts(command, STR("DATA")) && str_starts(reply, STR("354")))
        p->data = true;
    if (p->closes)
        io_stream_finish_quickly(p->stream);
    return !p->closes;
}

static inline void peer_read(void *arg, struct str data)
{
    struct peer   *p = arg;
    struct server *s = p->server;

    buf_append(&p->in, data);
    for (;;) {
        struct str in = buf_str(&p->in);
        size_t     end = p->data ? str_find(in, STR("\r\n.\r\n")) : str_find(in, STR("\r\n"));

        if (p->data && str_starts(in, STR(".\r\n"))) {
            end = 0;
        } else if (end == STR_NOT_FOUND) {
            return;
        } else if (p->data) {
            end += 2;
        }
        if (p->data) {
            buf_clear(&s->content);
            buf_append(&s->content, str_part(in, 0, end));
            buf_consume(&p->in, end + 3);
            p->data = false;
            s->messages++;
            if (!peer_reply(p, STR(".")))
                return;
        } else {
            char       line[600];
            struct str command;

            snprintf(line, sizeof line, "%.*s", (int)end, in.data);
            command = str_from(line);
            buf_append(&s->said, command);
            buf_append_byte(&s->said, '\n');
            buf_consume(&p->in, end + 2);
            s->commands++;
            s->quits += str_eq(command, STR("QUIT"));
            if (!peer_reply(p, command))
                return;
        }
    }
}

static inline void peer_end(void *arg, const struct err *err)
{
    (void)err;
    peer_free(arg);
}

static inline void server_accepted(int fd, const struct io_address *from, void *arg)
{
    static const struct io_stream_ops ops = {peer_read, peer_end, NULL};
    struct server                    *s = arg;
    struct peer                      *p = calloc(1, sizeof *p);
    struct err                        err;

    (void)from;
    p->server = s;
    p->number = ++s->connections;
    if (++s->open > s->most_open)
        s->most_open = s->open;
    list_init(&p->link);
    list_push(&s->peers, &p->link);
    buf_init(&p->in, 8 << 20);
    p->stream = io_stream_new(s->loop, fd, &ops, p, &err);
    if (peer_reply(p, STR("")))
        io_stream_read(p->stream, true);
}

/* A listener on 127.0.0.N; -1: somebody has that port there. */
static inline int server_listen(size_t number, uint16_t *port)
{
    struct io_address a[2], bound;
    struct err        err;
    char              text[40];
    size_t            count;
    int               fd;

    snprintf(text, sizeof text, "127.0.0.%zu:%u", number + 1, *port);
    assert_true(io_address_parse(str_from(text), a, 2, &count, &err));
    fd = io_listen(&a[0], false, 0, &bound, &err);
    if (fd >= 0)
        *port = io_address_port(&bound);
    return fd;
}

static inline bool servers_listen(int fds[SCRIPTED_SERVERS], uint16_t *port)
{
    *port = 0;
    for (size_t i = 0; i < SCRIPTED_SERVERS; i++) {
        fds[i] = server_listen(i, port);
        if (fds[i] < 0) {
            while (i-- > 0)
                close(fds[i]);
            return false;
        }
    }
    return true;
}

/* Gives the port. */
static inline uint16_t servers_init(struct server servers[SCRIPTED_SERVERS], struct io_loop *loop)
{
    struct err err;
    uint16_t   port;
    int        fds[SCRIPTED_SERVERS], tries = 0;

    while (!servers_listen(fds, &port))
        assert_true(++tries < 100);
    for (size_t i = 0; i < SCRIPTED_SERVERS; i++) {
        struct server *s = &servers[i];

        s->loop = loop;
        list_init(&s->peers);
        buf_init(&s->content, 8 << 20);
        buf_init(&s->said, 8 << 20);
        s->acceptor = io_acceptor_new(loop, fds[i], server_accepted, s, &err);
        assert_non_null(s->acceptor);
    }
    return port;
}

static inline void server_hang_up(struct server *s)
{
    while (!list_is_empty(&s->peers))
        peer_free(LIST_ITEM(list_first(&s->peers), struct peer, link));
}

/* To all who are connected. */
static inline void server_say(struct server *s, const char *text)
{
    LIST_EACH (link, &s->peers)
        io_stream_write(LIST_ITEM(link, struct peer, link)->stream, str_from(text));
}

static inline void server_done(struct server *s)
{
    io_acceptor_free(s->acceptor);
    server_hang_up(s);
    buf_done(&s->content);
    buf_done(&s->said);
}

#endif
