/* load.c: sends many messages by SMTP, cheaply, and tells what became of each.
 *
 * One thread, one epoll, a fixed set of sessions; each sends the same text but for a tag in the header, so that the
 * receiver's side can be accounted for message by message (-L). It exists because a generator that costs more than the
 * server measures itself. Replies are parsed only as far as the first digit and the last line, each turn is one write,
 * and a descriptor is registered once. What is left is the kernel's TCP: nine tenths of the time and more.
 *
 * With -p a message on a kept connection is one write and one read: behind the content go the commands of the next
 * message, or QUIT, which RFC 2920 3.1 allows to a client of PIPELINING.
 *
 * Every run ends by itself: by the number of messages (-m) or by the time (-T). */
#include "load_options.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_MAX = 4096, COMMANDS_MAX = 65536 };

enum step { STEP_GREETING, STEP_EHLO, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_CONTENT, STEP_QUIT };

enum ahead { AHEAD_NOTHING, AHEAD_QUIT, AHEAD_MESSAGE }; /* what was sent behind the content */

struct message {
    uint64_t number;
    char     tag[40];
};

struct session {
    int             fd; /* -1: not connected */
    enum step       step;
    enum ahead      ahead;
    unsigned        expected;  /* replies still to come for what was sent */
    unsigned        sent_here; /* messages on this connection */
    char            reply[REPLY_MAX];
    size_t          reply_len;
    size_t          content_sent; /* octets written of content and what goes behind it */
    struct message  message, next;
    uint64_t        begun_ns; /* end of content written */
    uint64_t        retry_ns; /* when to connect again */
    struct session *link;     /* in ready or broken */
};

struct list { /* of sessions that are not connected; first in, first out */
    struct session *first, **last;
};

static struct {
    uint64_t started, tags, accepted, refused, broken, latencies, connects;
} done;
static struct list    ready = {NULL, &ready.first}, broken = {NULL, &broken.first};
static unsigned       connected, unasked; /* connections; those of them that have had no message yet */
static uint32_t      *latency_us;
static struct session sessions[LOAD_SESSIONS_MAX];
static char          *body; /* dot-free lines with CRLF, ends in CRLF.CRLF */
static size_t         body_len;
static char           commands[COMMANDS_MAX]; /* of one message; the same each time unless there is a '#' */
static size_t         commands_len;
static int            epoll_fd;
static char           run_tag[9];
static char           quit[] = "QUIT\r\n";

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(struct session *s, uint32_t events, int op)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (epoll_ctl(epoll_fd, op, s->fd, &e) < 0)
        die("epoll_ctl");
}

static void list_put(struct list *l, struct session *s)
{
    s->link = NULL;
    *l->last = s;
    l->last = &s->link;
}

static struct session *list_take(struct list *l)
{
    struct session *s = l->first;

    l->first = s->link;
    if (!l->first)
        l->last = &l->first;
    return s;
}

static void session_over(struct session *s, bool failed)
{
    s->fd = -1;
    s->retry_ns = failed ? now_ns() + 10000000 : 0;
    if (!failed)
        list_put(&ready, s);
    else if (load_options.reconnect)
        list_put(&broken, s);
}

static void session_connect(struct session *s)
{
    int one = 1;

    s->fd = socket(load_options.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        die("socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->step = STEP_GREETING;
    s->ahead = AHEAD_NOTHING;
    s->expected = 1;
    s->reply_len = 0;
    s->sent_here = 0;
    done.connects++;
    if (connect(s->fd, (struct sockaddr *)&load_options.address, load_options.address_len) < 0 &&
        errno != EINPROGRESS) {
        close(s->fd);
        session_over(s, true);
        return;
    }
    connected++;
    unasked++;
    watch(s, EPOLLIN, EPOLL_CTL_ADD);
}

static void session_end(struct session *s, bool failed)
{
    if (failed) {
        done.broken++;
        if (!load_options.reconnect && done.broken == 1)
            fprintf(stderr, "load: a connection broke at step %d\n", (int)s->step);
    }
    if (load_options.reconnect) /* what was under way goes again */
        done.started -= (s->step > STEP_EHLO && s->step < STEP_QUIT) + (s->ahead == AHEAD_MESSAGE ? 1U : 0U);
    close(s->fd);
    connected--;
    unasked -= s->sent_here == 0 && s->step != STEP_QUIT;
    session_over(s, failed);
}

/* Commands are small: a socket that does not take them is broken, and the read end says so. */
static void session_write(struct session *s, const char *data, size_t len)
{
    if (send(s->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        shutdown(s->fd, SHUT_RDWR);
}

static void commands_make(uint64_t number)
{
    const char *hash = strchr(load_options.to, '#'); /* '#' stands for a number, a new one for each recipient */
    size_t      len;

    if (commands_len && !hash)
        return;
    len = (size_t)snprintf(commands, sizeof commands, "MAIL FROM:<%s>\r\n", load_options.from);
    for (unsigned i = 0; i < load_options.recipients; i++) {
        if (hash)
            len += (size_t)snprintf(commands + len, sizeof commands - len, "RCPT TO:<%.*s%llu%s>\r\n",
                                    (int)(hash - load_options.to), load_options.to,
                                    (unsigned long long)(number + i) % load_options.range, hash + 1);
        else
            len += (size_t)snprintf(commands + len, sizeof commands - len, "RCPT TO:<%s>\r\n", load_options.to);
        if (len >= sizeof commands - 400) {
            fputs("load: too many recipients\n", stderr);
            exit(2);
        }
    }
    commands_len = len + (size_t)snprintf(commands + len, sizeof commands - len, "DATA\r\n");
}

/* The nth line of the commands. */
static void command_write(struct session *s, unsigned n)
{
    const char *at = commands, *end;

    commands_make(s->message.number);
    while (n--)
        at = strchr(at, '\n') + 1;
    end = strchr(at, '\n') + 1;
    s->expected = 1;
    session_write(s, at, (size_t)(end - at));
}

/* Takes one of the messages that are left for this connection. */
static bool message_take(struct session *s, struct message *ret_message)
{
    if (done.started >= load_options.messages || s->sent_here >= load_options.per_connection)
        return false;
    ret_message->number = done.started++;
    snprintf(ret_message->tag, sizeof ret_message->tag, "%s-%llu-%u", run_tag, (unsigned long long)done.tags++,
             (unsigned)(s - sessions));
    s->sent_here++;
    return true;
}

static void transaction_begin(struct session *s)
{
    unasked -= s->sent_here == 0;
    if (!message_take(s, &s->message)) {
        s->step = STEP_QUIT;
        s->expected = 1;
        session_write(s, quit, sizeof quit - 1);
        if (load_options.quit)
            session_end(s, false);
        return;
    }
    s->step = STEP_MAIL;
    if (!load_options.pipeline) {
        command_write(s, 0);
        return;
    }
    commands_make(s->message.number);
    s->expected = load_options.recipients + 2;
    session_write(s, commands, commands_len);
}

static void content_write(struct session *s)
{
    char          head[200];
    struct iovec  all[3] = {{head, 0}, {body, body_len}, {NULL, 0}}, *parts = all;
    struct msghdr m = {0};
    size_t        left, skip = s->content_sent;
    ssize_t       n;

    all[0].iov_len =
        (size_t)snprintf(head, sizeof head, "From: <%s>\r\nTo: <%s>\r\nSubject: load %s\r\nX-Load-Tag: %s\r\n\r\n",
                         load_options.from, load_options.to, s->message.tag, s->message.tag);
    if (s->ahead == AHEAD_MESSAGE) {
        commands_make(s->next.number);
        all[2] = (struct iovec){commands, commands_len};
    } else if (s->ahead == AHEAD_QUIT) {
        all[2] = (struct iovec){quit, sizeof quit - 1};
    }
    left = all[0].iov_len + all[1].iov_len + all[2].iov_len - skip;
    while (left) {
        for (; skip >= parts->iov_len; parts++)
            skip -= parts->iov_len;
        parts->iov_base = (char *)parts->iov_base + skip;
        parts->iov_len -= skip;
        m.msg_iov = parts;
        m.msg_iovlen = (size_t)(all + 3 - parts);
        n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN)
                watch(s, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return; /* else it is broken: the read end says so */
        }
        s->content_sent += (size_t)n;
        left -= (size_t)n;
        skip = (size_t)n;
    }
    s->begun_ns = now_ns();
}

static void content_begin(struct session *s)
{
    s->step = STEP_CONTENT;
    s->expected = 1;
    s->content_sent = 0;
    if (load_options.pipeline)
        s->ahead = message_take(s, &s->next) ? AHEAD_MESSAGE : AHEAD_QUIT;
    content_write(s);
}

static void message_over(struct session *s, bool positive)
{
    enum ahead ahead = s->ahead;

    if (positive) {
        if (done.latencies < load_options.messages)
            latency_us[done.latencies++] = (uint32_t)((now_ns() - s->begun_ns) / 1000);
        done.accepted++;
        if (load_options.ledger)
            fprintf(load_options.ledger, "%s\n", s->message.tag);
    } else {
        done.refused++;
    }
    s->ahead = AHEAD_NOTHING;
    if (ahead == AHEAD_NOTHING) {
        transaction_begin(s);
        return;
    }
    s->step = ahead == AHEAD_QUIT ? STEP_QUIT : STEP_MAIL;
    s->expected = ahead == AHEAD_QUIT ? 1 : load_options.recipients + 2;
    s->message = s->next;
    if (ahead == AHEAD_QUIT && load_options.quit)
        session_end(s, false);
}

/* One whole reply has arrived. */
static void reply_take(struct session *s, const char *line)
{
    bool positive = line[0] == '2' || line[0] == '3';

    if (s->expected)
        s->expected--;
    switch (s->step) {
    case STEP_GREETING:
        s->step = STEP_EHLO;
        s->expected = 1;
        session_write(s, "EHLO load.example\r\n", 19);
        return;
    case STEP_EHLO:
        transaction_begin(s);
        return;
    case STEP_MAIL:
        if (load_options.pipeline) { /* of many replies the last counts: without a sender or recipient, it is no 354 */
            if (s->expected)
                return;
            if (line[0] == '3')
                content_begin(s);
            else
                message_over(s, false);
        } else if (positive) {
            s->step = STEP_RCPT;
            command_write(s, 1);
        } else {
            message_over(s, false);
        }
        return;
    case STEP_RCPT:
        if (positive) {
            s->step = STEP_DATA;
            command_write(s, 2);
        } else {
            message_over(s, false);
        }
        return;
    case STEP_DATA:
        if (line[0] == '3')
            content_begin(s);
        else
            message_over(s, false);
        return;
    case STEP_CONTENT:
        message_over(s, positive);
        return;
    case STEP_QUIT:
        session_end(s, false);
        return;
    }
}

static void session_read(struct session *s)
{
    ssize_t n = recv(s->fd, s->reply + s->reply_len, sizeof s->reply - s->reply_len, 0);
    size_t  at = 0;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        session_end(s, s->step != STEP_QUIT);
        return;
    }
    s->reply_len += (size_t)n;
    for (char *nl; s->fd >= 0 && (nl = memchr(s->reply + at, '\n', s->reply_len - at));) {
        const char *line = s->reply + at;
        size_t      len = (size_t)(nl - line) + 1;

        at += len;
        if (len >= 5 && line[3] == '-')
            continue;
        reply_take(s, line);
    }
    if (s->fd < 0)
        return;
    s->reply_len -= at;
    memmove(s->reply, s->reply + at, s->reply_len);
    if (s->reply_len == sizeof s->reply)
        s->reply_len = 0;
}

static void body_make(void)
{
    size_t head = 150, want = load_options.size > head + 100 ? load_options.size - head : 100;

    body = malloc(want + 100);
    while (body_len + 2 < want) {
        size_t line = want - body_len - 2 < 72 ? want - body_len - 2 : 72;

        for (size_t i = 0; i < line; i++, body_len++)
            body[body_len] = (char)('a' + (body_len * 7 + i) % 26);
        body[body_len++] = '\r';
        body[body_len++] = '\n';
    }
    memcpy(body + body_len, ".\r\n", 3);
    body_len += 3;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Connects who may, as long as there are more messages than connections to take them. */
static void sessions_connect(void)
{
    while (ready.first && done.started + unasked < load_options.messages && unasked < load_options.connecting)
        session_connect(list_take(&ready));
    while (broken.first && done.started + unasked < load_options.messages && broken.first->retry_ns <= now_ns())
        session_connect(list_take(&broken));
}

static void run(uint64_t deadline)
{
    struct epoll_event events[256];

    for (;;) {
        int n;

        sessions_connect();
        if (connected == unasked && done.accepted + done.refused >= load_options.messages)
            return;
        if ((connected == 0 && !broken.first) || now_ns() >= deadline)
            return;
        n = epoll_wait(epoll_fd, events, 256, 10);
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;

            if ((events[i].events & EPOLLOUT) && s->step == STEP_CONTENT) {
                watch(s, EPOLLIN, EPOLL_CTL_MOD);
                content_write(s);
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                session_read(s);
        }
    }
}

static double cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    uint64_t began;
    double   took;
    uint32_t random_tag;

    load_options_read(argc, argv);
    body_make();
    latency_us = calloc(load_options.messages + 1, sizeof *latency_us);
    if (getrandom(&random_tag, sizeof random_tag, 0) != sizeof random_tag || !latency_us || !body)
        die("start");
    snprintf(run_tag, sizeof run_tag, "%08x", random_tag);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < load_options.sessions; i++)
        session_over(&sessions[i], false);
    began = now_ns();
    run(began + load_options.seconds * 1000000000U);
    took = (double)(now_ns() - began) / 1e9;
    qsort(latency_us, done.latencies, sizeof *latency_us, by_value);
    printf("accepted %llu  refused %llu  broken %llu  connections %llu  seconds %.3f  per_second %.0f",
           (unsigned long long)done.accepted, (unsigned long long)done.refused, (unsigned long long)done.broken,
           (unsigned long long)done.connects, took, (double)done.accepted / took);
    if (done.latencies)
        printf("  latency_us p50 %u p99 %u max %u", latency_us[done.latencies / 2],
               latency_us[done.latencies * 99 / 100], latency_us[done.latencies - 1]);
    printf("  own_cpu_us_per_message %.1f\n", done.accepted ? cpu_us() / (double)done.accepted : 0.0);
    return done.accepted + done.refused >= load_options.messages ? 0 : 1;
}
