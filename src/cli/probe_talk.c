/* probe_talk.c: a conversation with a mail server, one command after the other, with the client's own reader of replies
 * (smtp/client_reply.h). The client itself is not used: it never says VRFY, and never ends before a message.
 *
 * Polite: one connection, one recipient, RSET and QUIT; it waits for the greeting and pipelines nothing. */
#include "cli/probe.h"

#include "io/loop.h"
#include "smtp/client_reply.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_MAX_OCTETS = 1024 };

struct talk {
    int                      fd;
    uint64_t                 began_ms;
    const struct probe_wish *wish;
    struct arena            *arena;
    struct probe_talk       *out;
    struct reply_reader      reader;
    char                     in[4096];
    size_t                   have, used;
};

static struct probe_step *step(struct talk *t, enum probe_act act, struct str said)
{
    struct probe_step *s = &t->out->steps[t->out->count < PROBE_STEPS ? t->out->count++ : PROBE_STEPS - 1];

    *s = (struct probe_step){.act = act, .said = arena_str(t->arena, said)};
    return s;
}

static bool end_step(struct talk *t, struct probe_step *s, const char *why)
{
    s->ms = io_clock_ms() - t->began_ms;
    if (why)
        s->text = str_from(why);
    return !why;
}

static bool wait_for(struct talk *t, short events, uint64_t until_ms)
{
    struct pollfd p = {.fd = t->fd, .events = events};
    uint64_t      now = io_clock_ms();
    int           n;

    do
        n = poll(&p, 1, now >= until_ms ? 0 : (int)(until_ms - now));
    while (n < 0 && errno == EINTR);
    return n > 0;
}

static bool read_reply(struct talk *t, struct probe_step *s)
{
    uint64_t until = io_clock_ms() + t->wish->timeout_ms;
    size_t   taken;

    for (;;) {
        bool    whole = reply_read(&t->reader, str_of(t->in + t->used, t->have - t->used), &taken);
        ssize_t n;

        t->used += taken;
        if (whole)
            break;
        t->used = t->have = 0;
        if (!wait_for(t, POLLIN, until))
            return end_step(t, s, "no answer came in time");
        n = recv(t->fd, t->in, sizeof t->in, 0);
        if (n <= 0)
            return end_step(t, s, n == 0 ? "the server ended the connection" : "the connection broke");
        t->have = (size_t)n;
    }
    if (t->reader.fault)
        return end_step(t, s, t->reader.fault);
    s->code = t->reader.code;
    s->text =
        arena_printf(t->arena, "%u%s%.*s", s->code, t->reader.text.len ? " " : "", STR_ARG(buf_str(&t->reader.text)));
    return end_step(t, s, s->text.data ? NULL : "out of memory");
}

static bool say(struct talk *t, enum probe_act act, struct str line, unsigned *ret_code)
{
    struct probe_step *s = step(t, act, line);
    char               out[LINE_MAX_OCTETS];
    int                len = snprintf(out, sizeof out, "%.*s\r\n", STR_ARG(line));
    uint64_t           until = io_clock_ms() + t->wish->timeout_ms;

    *ret_code = 0;
    if (len < 0 || (size_t)len >= sizeof out)
        return end_step(t, s, "the command would be too long");
    for (int sent = 0; sent < len;) {
        ssize_t n = send(t->fd, out + sent, (size_t)(len - sent), MSG_NOSIGNAL);

        if (n < 0 && (errno != EAGAIN || !wait_for(t, POLLOUT, until)))
            return end_step(t, s, "the connection broke");
        sent += n > 0 ? (int)n : 0;
    }
    if (!read_reply(t, s))
        return false;
    *ret_code = s->code;
    return true;
}

static bool connect_to(struct talk *t, const struct io_address *to)
{
    struct probe_step *s = step(t, PROBE_CONNECT, STR_NONE);
    int                error = 0;
    socklen_t          len = sizeof error;

    t->fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0)
        return end_step(t, s, "no connection can be made from this machine to such an address");
    if (connect(t->fd, (const struct sockaddr *)&to->storage, to->len) != 0) {
        if (errno != EINPROGRESS)
            return end_step(t, s, errno == ENETUNREACH ? "there is no way to that network from here" : "no connection");
        if (!wait_for(t, POLLOUT, io_clock_ms() + t->wish->timeout_ms))
            return end_step(t, s, "no connection came about in time");
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error)
            return end_step(t, s,
                            error == ECONNREFUSED ? "the connection was refused: no mail server listens there"
                                                  : "no connection");
    }
    return end_step(t, s, NULL);
}

/* The lines of the answer to EHLO behind the first. */
static void read_extensions(struct talk *t)
{
    struct probe_talk *o = t->out;
    struct str         rest = buf_str(&t->reader.text);
    struct buf         all;

    buf_init(&all, 8 << 10);
    str_cut(&rest, '\n');
    while (rest.len) {
        struct str line = str_cut(&rest, '\n'), args = line, name = str_cut(&args, ' ');
        uint64_t   size;

        if (!name.len)
            continue;
        o->starttls |= str_eq_nocase(name, STR("STARTTLS"));
        o->smtputf8 |= str_eq_nocase(name, STR("SMTPUTF8"));
        o->dsn |= str_eq_nocase(name, STR("DSN"));
        o->auth |= str_eq_nocase(name, STR("AUTH"));
        if (str_eq_nocase(name, STR("SIZE")) && str_to_u64(str_trim(args), UINT64_MAX, &size))
            o->size = size;
        if (all.len)
            buf_append(&all, STR(", "));
        buf_append(&all, line);
    }
    o->extensions = arena_str(t->arena, buf_str(&all));
    buf_done(&all);
}

/* QUIT; where TLS is offered, within it, so that the certificate is seen. */
static void leave(struct talk *t)
{
    unsigned           code;
    struct err         err;
    struct probe_step *s;

    if (!t->out->starttls || !t->wish->tls_host) {
        say(t, PROBE_QUIT, STR("QUIT"), &code);
        return;
    }
    if (!say(t, PROBE_STARTTLS, STR("STARTTLS"), &code) || code != 220) {
        if (code && code != 421)
            say(t, PROBE_QUIT, STR("QUIT"), &code);
        return;
    }
    s = step(t, PROBE_TLS, STR_NONE);
    t->out->has_tls = io_tls_look(t->fd, t->wish->tls_host, STR("QUIT\r\n"), t->wish->timeout_ms, &t->out->tls, &err);
    end_step(t, s, t->out->has_tls ? NULL : arena_str(t->arena, str_from(err.text)).data);
}

static void ask_about(struct talk *t, const struct mail_address *recipient)
{
    struct str to = mail_address_text(recipient, t->arena), from = mail_address_text(t->wish->sender, t->arena);
    unsigned   code;

    if (!say(t, PROBE_VRFY, arena_printf(t->arena, "VRFY <%.*s>", STR_ARG(to)), &code) || code == 421 ||
        !say(t, PROBE_MAIL, arena_printf(t->arena, "MAIL FROM:<%.*s>", STR_ARG(from)), &code) || code == 421)
        return;
    if (code / 100 == 2 &&
        (!say(t, PROBE_RCPT, arena_printf(t->arena, "RCPT TO:<%.*s>", STR_ARG(to)), &code) || code == 421))
        return;
    if (say(t, PROBE_RSET, STR("RSET"), &code) && code != 421)
        leave(t);
}

static void converse(struct talk *t)
{
    struct probe_step *greeting = step(t, PROBE_GREETING, STR_NONE);
    unsigned           code;

    if (!read_reply(t, greeting))
        return;
    if (greeting->code / 100 == 2) {
        if (!say(t, PROBE_EHLO, arena_printf(t->arena, "EHLO %s", t->wish->helo), &code))
            return;
        if (code / 100 == 2) {
            t->out->extended = true;
            read_extensions(t);
        } else if (code / 100 == 5 && !say(t, PROBE_HELO, arena_printf(t->arena, "HELO %s", t->wish->helo), &code)) {
            return;
        }
        if (t->wish->recipient && code / 100 == 2) {
            ask_about(t, t->wish->recipient);
            return;
        }
    }
    if (greeting->code != 421)
        leave(t);
}

bool probe_talk(const struct io_address *to, const struct probe_wish *wish, struct arena *arena, struct probe_talk *ret)
{
    struct talk t = {.fd = -1, .began_ms = io_clock_ms(), .wish = wish, .arena = arena, .out = ret};

    *ret = (struct probe_talk){.count = 0};
    reply_reader_init(&t.reader);
    if (connect_to(&t, to))
        converse(&t);
    if (t.fd >= 0)
        close(t.fd);
    reply_reader_done(&t.reader);
    return ret->count > 1 && ret->steps[1].code;
}
