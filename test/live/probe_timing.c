/* probe_timing.c: asks a mail server the same things about many names and tells how long each reply took.
 *
 *   probe-timing [--host ADDRESS] --port PORT STEP... < names > times
 *
 * For each name, one a line, all steps are done in order. A step is `[@][N:]TEXT`: TEXT is sent in one write, with
 * "%s" replaced by the name and "\n" by CRLF, and N replies (default 1) are waited for; with '@' it happens on the
 * second connection. For each name one line is written: nanoseconds from the write to the end of the last reply, for
 * each step.
 *
 * It does not know which names exist, so it cannot treat them differently. Every step must get the same bytes for every
 * name, but for the word after "queued as"; the first reply that differs ends it with status 3 and both texts.
 *
 * One thread and blocking reads: a prober that spins takes a core from the server, which no client in the network can
 * do. Both connections stay open, so that a probe is a few writes and reads. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STEPS_MAX = 32, TEXT_MAX = 65536, NAME_MAX_LEN = 512, REPLY_MAX = 16384, WAIT_S = 60 };

struct step {
    const char *text;
    bool        second; /* connection */
    unsigned    replies;
    char       *expected; /* what the first name got; NULL: nothing yet */
};

static struct step steps[STEPS_MAX];
static size_t      step_count;
static char        out[TEXT_MAX];

static void die(const char *what)
{
    fprintf(stderr, "probe-timing: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Reads `count` replies, whole; what they say, without the ids of messages, is left in `text`. */
static void reply_read(int fd, unsigned count, char text[REPLY_MAX])
{
    size_t have = 0, seen = 0;

    while (count) {
        ssize_t n = recv(fd, text + have, REPLY_MAX - 1 - have, 0);
        char   *end;

        if (n <= 0) {
            if (n == 0)
                errno = ECONNRESET;
            die("reading a reply");
        }
        have += (size_t)n;
        text[have] = 0;
        while (count && (end = strchr(text + seen, '\n'))) {
            count -= end - (text + seen) > 3 && text[seen + 3] != '-';
            seen = (size_t)(end + 1 - text);
        }
        if (have == REPLY_MAX - 1 && count) {
            errno = EMSGSIZE;
            die("reading a reply");
        }
    }
}

static void ids_mask(char *text)
{
    static const char before[] = "queued as ";

    for (char *at = text; (at = strstr(at, before));)
        for (at += sizeof before - 1; *at && *at != '\r'; at++)
            *at = '*';
}

static void check(struct step *s, char *reply)
{
    ids_mask(reply);
    if (!s->expected && !(s->expected = strdup(reply)))
        die("reply");
    if (strcmp(s->expected, reply) == 0)
        return;
    printf("\"%s\" was answered differently:\n%s%s", s->text, s->expected, reply);
    exit(3);
}

static size_t text_make(const struct step *s, const char *name)
{
    size_t len = 0, name_len = strlen(name);

    for (const char *at = s->text; *at; at++) {
        if (len + name_len + 2 >= sizeof out) {
            errno = EMSGSIZE;
            die("step");
        }
        if (at[0] == '%' && at[1] == 's') {
            memcpy(out + len, name, name_len);
            len += name_len;
            at++;
        } else if (at[0] == '\\' && at[1] == 'n') {
            memcpy(out + len, "\r\n", 2);
            len += 2;
            at++;
        } else {
            out[len++] = *at;
        }
    }
    return len;
}

static uint64_t step_do(struct step *s, int fd, const char *name)
{
    static char reply[REPLY_MAX];
    size_t      len = text_make(s, name);
    uint64_t    began = now_ns(), took;

    if (send(fd, out, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("sending");
    reply_read(fd, s->replies, reply);
    took = now_ns() - began;
    check(s, reply);
    return took;
}

static int session_open(const struct sockaddr_in *to)
{
    static const char    helo[] = "EHLO probe.example\r\n";
    const struct timeval wait = {.tv_sec = WAIT_S};
    const int            one = 1;
    char                 reply[REPLY_MAX];
    int                  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const void *)to, sizeof *to) != 0)
        die("connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    reply_read(fd, 1, reply);
    if (send(fd, helo, sizeof helo - 1, MSG_NOSIGNAL) != sizeof helo - 1)
        die("sending");
    reply_read(fd, 1, reply);
    return fd;
}

static void step_add(const char *text)
{
    struct step *s = &steps[step_count++];
    char        *end;

    s->second = *text == '@';
    text += s->second;
    s->replies = (unsigned)strtoul(text, &end, 10);
    if (end > text && *end == ':')
        text = end + 1;
    else
        s->replies = 1;
    s->text = text;
}

static void usage(void)
{
    fputs("usage: probe-timing [--host ADDRESS] --port PORT STEP... < names\n", stderr);
    exit(2);
}

static void options(int argc, char **argv, struct sockaddr_in *ret_to)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'}, {"port", required_argument, NULL, 'p'}, {0}};
    int c;

    *ret_to = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    while ((c = getopt_long(argc, argv, "+", known, NULL)) != -1)
        switch (c) {
        case 'h':
            if (inet_pton(AF_INET, optarg, &ret_to->sin_addr) != 1)
                usage();
            break;
        case 'p':
            ret_to->sin_port = htons((uint16_t)atoi(optarg));
            break;
        default:
            usage();
        }
    if (!ret_to->sin_port || optind == argc || argc - optind > STEPS_MAX)
        usage();
    for (int i = optind; i < argc; i++)
        step_add(argv[i]);
}

int main(int argc, char **argv)
{
    struct sockaddr_in to;
    char               name[NAME_MAX_LEN];
    int                fds[2];

    options(argc, argv, &to);
    for (int i = 0; i < 2; i++)
        fds[i] = session_open(&to);
    mlockall(MCL_CURRENT); /* no page fault between write and reply; where it is not allowed it goes without */
    while (fgets(name, sizeof name, stdin)) {
        name[strcspn(name, "\n")] = 0;
        for (size_t i = 0; i < step_count; i++)
            printf("%llu ", (unsigned long long)step_do(&steps[i], fds[steps[i].second], name));
        putchar('\n');
    }
    return 0;
}
