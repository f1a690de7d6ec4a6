/* connect.c: connections that we make. The kernel's own patience (two minutes and more) is not waited for: a timer ends
 * it. What is known at once is told from the loop all the same, so that nobody who begins a connection has to reckon
 * with its end inside the call. */
#include "io/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct io_connect {
    struct io_loop  *loop;
    struct io_watch *watch; /* while the kernel tries */
    struct io_timer *timer;
    void (*done)(int fd, const struct err *err, void *arg);
    void *arg;
    int   fd;
    int   os_error; /* known at once; 0: connected */
    bool  tries;
};

static void finish(struct io_connect *c, int os_error)
{
    void (*done)(int fd, const struct err *err, void *arg) = c->done;
    void      *arg = c->arg;
    struct err err;
    int        fd = c->fd;

    if (os_error) {
        err_set_os(&err, os_error, "connecting");
        io_connect_free(c);
        done(-1, &err, arg);
        return;
    }
    c->fd = -1;
    io_connect_free(c);
    done(fd, NULL, arg);
}

static void ready(unsigned what, void *arg)
{
    struct io_connect *c = arg;
    int                os_error = 0;
    socklen_t          len = sizeof os_error;

    (void)what;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &os_error, &len) != 0)
        os_error = errno;
    finish(c, os_error);
}

static void fired(void *arg)
{
    struct io_connect *c = arg;

    finish(c, c->tries ? ETIMEDOUT : c->os_error);
}

/* What is said at the end of a message must not wait for the answer to its beginning. */
static void send_at_once(int fd, int family)
{
    const int on = 1;

    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool try(struct io_connect *c, const struct io_address *a, struct err *err)
{
    if (connect(c->fd, (const void *)&a->storage, a->len) == 0)
        return true;
    if (errno != EINPROGRESS) {
        c->os_error = errno;
        return true;
    }
    c->tries = true;
    c->watch = io_watch_new(c->loop, c->fd, ready, c, err);
    return c->watch && io_watch_want(c->watch, IO_WRITABLE, err);
}

struct io_connect *io_connect_new(struct io_loop *loop, const struct io_address *a, uint64_t timeout_ms,
                                  void (*done)(int fd, const struct err *err, void *arg), void *arg, struct err *err)
{
    struct io_connect *c = calloc(1, sizeof *c);

    if (!c) {
        err_set_os(err, ENOMEM, "connecting");
        return NULL;
    }
    *c = (struct io_connect){.loop = loop, .done = done, .arg = arg, .timer = io_timer_new(loop, fired, c)};
    c->fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!c->timer || c->fd < 0) {
        err_set_os(err, c->fd < 0 ? errno : ENOMEM, "connecting");
        io_connect_free(c);
        return NULL;
    }
    send_at_once(c->fd, a->storage.ss_family);
    if (!try(c, a, err)) {
        io_connect_free(c);
        return NULL;
    }
    io_timer_start(c->timer, c->tries ? timeout_ms : 0, 0);
    return c;
}

void io_connect_free(struct io_connect *c)
{
    if (!c)
        return;
    io_watch_free(c->watch);
    io_timer_free(c->timer);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

/* ---- our own addresses ---- */

enum { INTERFACES = 256 };

/* The addresses of all interfaces, secondary ones too. */
static bool has_ipv4(int fd, const struct io_address *a)
{
    struct ifreq  *list = calloc(INTERFACES, sizeof *list);
    struct ifconf  all = {.ifc_len = INTERFACES * (int)sizeof *list, .ifc_req = list};
    struct in_addr wanted = ((const struct sockaddr_in *)(const void *)&a->storage)->sin_addr;
    bool           found = false;

    if (list && ioctl(fd, SIOCGIFCONF, &all) == 0)
        for (size_t i = 0; i < (size_t)all.ifc_len / sizeof *list; i++)
            found = found ||
                    ((const struct sockaddr_in *)(const void *)&list[i].ifr_addr)->sin_addr.s_addr == wanted.s_addr;
    free(list);
    return found || io_address_is_loopback(a);
}

/* Connecting a UDP socket sends nothing; it has the kernel choose the address to send from, and for IPv6 that is the
 * destination itself just where it is one of ours (RFC 6724 5, rule 1). */
static bool has_ipv6(int fd, const struct io_address *a)
{
    struct sockaddr_in6 to, from;
    socklen_t           len = sizeof from;

    memcpy(&to, &a->storage, sizeof to);
    to.sin6_port = htons(1);
    return connect(fd, (const void *)&to, sizeof to) == 0 && getsockname(fd, (void *)&from, &len) == 0 &&
           memcmp(&from.sin6_addr, &to.sin6_addr, sizeof from.sin6_addr) == 0;
}

bool io_address_is_local(const struct io_address *a)
{
    int  fd = socket(a->storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool local;

    if (fd < 0)
        return false;
    local = a->storage.ss_family == AF_INET ? has_ipv4(fd, a) : a->storage.ss_family == AF_INET6 && has_ipv6(fd, a);
    close(fd);
    return local;
}
