/* load.c: sends many messages by SMTP, cheaply, and tells what became of each.
 *
 * One thread, one epoll, a fixed set of sessions; each sends the same text but for a tag in the header, so that the
 * receiver's side can be accounted for message by message (--ledger). It exists because a generator that costs more
 * than the server measures itself: with --pipeline a message is two writes and two reads. Replies are parsed only as
 * far as the first digit and the last line.
 *
 * Every run ends by itself: by the number of messages or by --seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS_MAX = 20000, REPLY_MAX = 4096, COMMANDS_MAX = 65536 };

enum step { STEP_GREETING, STEP_EHLO, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_CONTENT, STEP_QUIT };

struct session {
    int       fd; /* -1: not connected */
    enum step step;
    unsigned  expected;       /* replies still to come for what was sent */
    unsigned  positive_rcpts; /* of this transaction */
    unsigned  sent_here;      /* messages on this connection */
    bool      failed;         /* this transaction cannot succeed */
    char      reply[REPLY_MAX];
    size_t    reply_len;
    size_t    content_sent; /* octets of the current message written */
    char      tag[40];
    uint64_t  begun_ns; /* end of content written */
    uint64_t  retry_ns; /* when to connect again */
};

static struct {
    struct sockaddr_storage address;
    socklen_t               address_len;
    unsigned                sessions, recipients, per_connection;
    uint64_t                messages, seconds;
    size_t                  size;
    bool                    pipeline, reconnect;
    const char             *from, *to;
    FILE                   *ledger;
} opt = {.sessions = 20,
         .recipients = 1,
         .per_connection = 1,
         .messages = 1000,
         .seconds = 60,
         .size = 4096,
         .from = "sender@load.example",
         .to = "alice@example.test"};

static struct {
    uint64_t started, tags, accepted, refused, broken, latencies, connects;
} done;
static uint32_t      *latency_us;
static struct session sessions[SESSIONS_MAX];
static char          *body; /* dot-free lines with CRLF, ends in CRLF.CRLF */
static size_t         body_len;
static int            epoll_fd;
static char           run_tag[9];

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

static void session_connect(struct session *s)
{
    int one = 1;

    s->fd = socket(opt.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        die("socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->step = STEP_GREETING;
    s->expected = 1;
    s->reply_len = 0;
    s->sent_here = 0;
    done.connects++;
    if (connect(s->fd, (struct sockaddr *)&opt.address, opt.address_len) < 0 && errno != EINPROGRESS) {
        close(s->fd);
        s->fd = -1;
        s->retry_ns = now_ns() + 10000000;
        return;
    }
    watch(s, EPOLLIN, EPOLL_CTL_ADD);
}

static void session_end(struct session *s, bool broken)
{
    if (broken) {
        done.broken++;
        if (!opt.reconnect && done.broken == 1)
            fprintf(stderr, "load: a connection broke at step %d\n", (int)s->step);
    }
    if (s->step > STEP_EHLO && s->step < STEP_QUIT && done.started && opt.reconnect)
        done.started--; /* the message goes again */
    close(s->fd);
    s->fd = -1;
    s->retry_ns = broken ? now_ns() + 10000000 : 0;
}

static void session_write(struct session *s, const char *data, size_t len)
{
    ssize_t n = send(s->fd, data, len, MSG_NOSIGNAL);

    if (n != (ssize_t)len)
        s->failed = true; /* commands are small: a socket that does not take them is broken; the read end says so */
}

static void content_write(struct session *s)
{
    char   head[200];
    size_t head_len =
        (size_t)snprintf(head, sizeof head, "From: <%s>\r\nTo: <%s>\r\nSubject: load %s\r\nX-Load-Tag: %s\r\n\r\n",
                         opt.from, opt.to, s->tag, s->tag);

    for (;;) {
        struct iovec  parts[2] = {{head, head_len}, {body, body_len}};
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
        size_t        skip = s->content_sent;
        ssize_t       n;

        if (skip >= head_len) {
            m.msg_iov = &parts[1];
            m.msg_iovlen = 1;
            parts[1].iov_base = body + (skip - head_len);
            parts[1].iov_len = body_len - (skip - head_len);
        } else {
            parts[0].iov_base = head + skip;
            parts[0].iov_len = head_len - skip;
        }
        n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(s, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (n < 0) {
            s->failed = true;
            return;
        }
        s->content_sent += (size_t)n;
        if (s->content_sent == head_len + body_len)
            break;
    }
    s->begun_ns = now_ns();
    s->expected = 1;
}

static void commands_write(struct session *s)
{
    static char text[COMMANDS_MAX];
    size_t      len = (size_t)snprintf(text, sizeof text, "MAIL FROM:<%s>\r\n", opt.from);

    for (unsigned i = 0; i < opt.recipients && len < sizeof text - 400; i++) {
        const char *hash = strchr(opt.to, '#'); /* '#' stands for a number, a new one for each recipient */

        if (hash)
            len += (size_t)snprintf(text + len, sizeof text - len, "RCPT TO:<%.*s%llu%s>\r\n", (int)(hash - opt.to),
                                    opt.to, (unsigned long long)(done.started + i) % 100000, hash + 1);
        else
            len += (size_t)snprintf(text + len, sizeof text - len, "RCPT TO:<%s>\r\n", opt.to);
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "DATA\r\n");
    s->positive_rcpts = 0;
    if (opt.pipeline) {
        s->step = STEP_MAIL;
        s->expected = opt.recipients + 2;
        session_write(s, text, len);
    } else {
        s->step = STEP_MAIL;
        s->expected = 1;
        session_write(s, text, (size_t)(strchr(text, '\n') - text + 1));
    }
}

static void transaction_begin(struct session *s)
{
    if (done.started >= opt.messages || s->sent_here >= opt.per_connection) {
        s->step = STEP_QUIT;
        s->expected = 1;
        session_write(s, "QUIT\r\n", 6);
        return;
    }
    snprintf(s->tag, sizeof s->tag, "%s-%llu-%u", run_tag, (unsigned long long)done.tags++, (unsigned)(s - sessions));
    done.started++;
    s->sent_here++;
    s->failed = false;
    commands_write(s);
}

static void next_command(struct session *s)
{
    char text[400];
    int  len;

    if (s->step == STEP_MAIL || (s->step == STEP_RCPT && s->expected == 0)) {
        s->step = s->step == STEP_MAIL ? STEP_RCPT : STEP_DATA;
        len = s->step == STEP_RCPT ? snprintf(text, sizeof text, "RCPT TO:<%s>\r\n", opt.to)
                                   : snprintf(text, sizeof text, "DATA\r\n");
        s->expected = 1;
        session_write(s, text, (size_t)len);
    }
}

static void message_over(struct session *s, bool positive)
{
    if (positive) {
        if (done.latencies < opt.messages)
            latency_us[done.latencies++] = (uint32_t)((now_ns() - s->begun_ns) / 1000);
        done.accepted++;
        if (opt.ledger)
            fprintf(opt.ledger, "%s\n", s->tag);
    } else {
        done.refused++;
    }
    transaction_begin(s);
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
    case STEP_RCPT:
        if (!opt.pipeline) {
            if (!positive) {
                message_over(s, false);
                return;
            }
            next_command(s);
            return;
        }
        if (s->expected == opt.recipients + 1) { /* MAIL's */
            s->failed |= !positive;
        } else if (s->expected >= 1) {
            s->positive_rcpts += positive;
        } else if (line[0] == '3') {
            s->step = STEP_CONTENT;
            s->content_sent = 0;
            content_write(s);
        } else {
            message_over(s, false);
        }
        return;
    case STEP_DATA:
        if (line[0] != '3') {
            message_over(s, false);
            return;
        }
        s->step = STEP_CONTENT;
        s->content_sent = 0;
        content_write(s);
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
    memmove(s->reply, s->reply + at, s->reply_len - at);
    s->reply_len -= at;
    if (s->reply_len == sizeof s->reply)
        s->reply_len = 0;
}

static void parse_address(const char *text)
{
    char             host[256];
    const char      *colon = strrchr(text, ':');
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};

    if (!colon || (size_t)(colon - text) >= sizeof host) {
        fprintf(stderr, "load: \"%s\" is not ADDRESS:PORT\n", text);
        exit(2);
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        fprintf(stderr, "load: \"%s\" is not ADDRESS:PORT\n", text);
        exit(2);
    }
    memcpy(&opt.address, found->ai_addr, found->ai_addrlen);
    opt.address_len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void body_make(void)
{
    size_t head = 150, want = opt.size > head + 100 ? opt.size - head : 100;

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

static void usage(void)
{
    fputs("usage: load [options] ADDRESS:PORT\n"
          "  -s N   sessions at once (20)          -m N   messages in all (1000)\n"
          "  -k N   messages on a connection (1)   -l N   octets of a message (4096)\n"
          "  -r N   recipients of a message (1)    -p     pipeline MAIL, RCPT and DATA\n"
          "  -f A   sender                         -t A   recipient; '#' in it becomes a number\n"
          "  -R     connect again when a connection breaks, and send its message again\n"
          "  -T N   end after N seconds (60)       -L F   write the tag of each accepted message to file F\n",
          stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t           began, deadline;
    struct epoll_event events[256];
    struct rusage      use;
    double             took;
    uint32_t           random_tag;

    for (int c; (c = getopt(argc, argv, "s:m:k:l:r:pf:t:RT:L:h")) != -1;) {
        switch (c) {
        case 's':
            opt.sessions = (unsigned)atoi(optarg);
            break;
        case 'm':
            opt.messages = strtoull(optarg, NULL, 10);
            break;
        case 'k':
            opt.per_connection = (unsigned)atoi(optarg);
            break;
        case 'l':
            opt.size = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            opt.recipients = (unsigned)atoi(optarg);
            break;
        case 'p':
            opt.pipeline = true;
            break;
        case 'f':
            opt.from = optarg;
            break;
        case 't':
            opt.to = optarg;
            break;
        case 'R':
            opt.reconnect = true;
            break;
        case 'T':
            opt.seconds = strtoull(optarg, NULL, 10);
            break;
        case 'L':
            opt.ledger = fopen(optarg, "a");
            if (!opt.ledger)
                die(optarg);
            setvbuf(opt.ledger, NULL, _IOLBF, 0);
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc || opt.sessions < 1 || opt.sessions > SESSIONS_MAX || opt.recipients < 1 ||
        (opt.recipients > 1 && !opt.pipeline))
        usage();
    parse_address(argv[optind]);
    body_make();
    latency_us = calloc(opt.messages + 1, sizeof *latency_us);
    if (getrandom(&random_tag, sizeof random_tag, 0) != sizeof random_tag || !latency_us || !body)
        die("start");
    snprintf(run_tag, sizeof run_tag, "%08x", random_tag);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    began = now_ns();
    deadline = began + opt.seconds * 1000000000U;
    for (unsigned i = 0; i < opt.sessions; i++)
        sessions[i].fd = -1;
    for (bool busy = true; busy && now_ns() < deadline;) {
        int n;

        busy = false;
        for (unsigned i = 0; i < opt.sessions; i++) {
            struct session *s = &sessions[i];

            if (s->fd < 0 && done.started < opt.messages &&
                (s->retry_ns == 0 || (opt.reconnect && s->retry_ns < now_ns())))
                session_connect(s);
            busy |= s->fd >= 0 || (opt.reconnect && done.started < opt.messages);
        }
        n = epoll_wait(epoll_fd, events, 256, 10);
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;

            if (s->fd < 0)
                continue;
            if ((events[i].events & EPOLLOUT) && s->step == STEP_CONTENT && !s->failed) {
                watch(s, EPOLLIN, EPOLL_CTL_MOD);
                content_write(s);
            }
            if (s->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
                session_read(s);
        }
    }
    took = (double)(now_ns() - began) / 1e9;
    getrusage(RUSAGE_SELF, &use);
    qsort(latency_us, done.latencies, sizeof *latency_us, by_value);
    printf("accepted %llu  refused %llu  broken %llu  connections %llu  seconds %.3f  per_second %.0f",
           (unsigned long long)done.accepted, (unsigned long long)done.refused, (unsigned long long)done.broken,
           (unsigned long long)done.connects, took, (double)done.accepted / took);
    if (done.latencies)
        printf("  latency_us p50 %u p99 %u max %u", latency_us[done.latencies / 2],
               latency_us[done.latencies * 99 / 100], latency_us[done.latencies - 1]);
    printf("  own_cpu_us_per_message %.1f\n", done.accepted
                                                  ? ((double)use.ru_utime.tv_sec * 1e6 + (double)use.ru_utime.tv_usec +
                                                     (double)use.ru_stime.tv_sec * 1e6 + (double)use.ru_stime.tv_usec) /
                                                        (double)done.accepted
                                                  : 0.0);
    return done.accepted + done.refused >= opt.messages ? 0 : 1;
}
