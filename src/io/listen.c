/* listen.c: listening sockets, and taking connections from them.
 *
 * What an accepted socket inherits from the listening one (no delay, keep-alive) is set there once. */
#include "io/internal.h"
#include "io/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ACCEPT_PER_TURN = 64,
    EXHAUSTED_PAUSE_MS = 100,
    KEEP_IDLE_S = 120, /* a vanished client is noticed after this and 3 probes */
    KEEP_INTERVAL_S = 30,
    KEEP_COUNT = 3,
};

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static bool set_tcp_options(int fd, int family, bool shared)
{
    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) && (!shared || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
           (family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) && set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
}

/* Removes the socket that a dead process has left; false if a living one answers there or it is no socket. */
static bool remove_stale(const struct io_address *a, struct err *err)
{
    const char *path = ((const struct sockaddr_un *)(const void *)&a->storage)->sun_path;
    struct stat st;
    int         fd, os_error;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? true : err_set_os(err, errno, "socket %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFIG, "socket %s: something that is not a socket has this name; move it away", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_os(err, errno, "socket %s", path);
    os_error = connect(fd, (const void *)&a->storage, a->len) == 0 ? 0 : errno;
    close(fd);
    if (os_error != ECONNREFUSED)
        return err_set(err, ERR_CONFIG, "socket %s is in use by another program", path);
    return unlink(path) == 0 || errno == ENOENT ? true : err_set_os(err, errno, "stale socket %s", path);
}

static bool fail_listen(struct err *err, const struct io_address *a, int os_error)
{
    char text[IO_ADDRESS_TEXT];

    io_address_text(a, text);
    switch (os_error) {
    case EADDRINUSE:
        return err_set(err, ERR_CONFIG,
                       "cannot listen on %s: in use by another program; stop it (ss -ltnp shows which) or choose "
                       "another port",
                       text);
    case EACCES:
        if (a->storage.ss_family == AF_UNIX)
            return err_set(err, ERR_CONFIG, "cannot listen on %s: no permission to create it in its directory", text);
        return err_set(err, ERR_CONFIG,
                       "cannot listen on %s: ports below 1024 need root or CAP_NET_BIND_SERVICE; or choose a port "
                       "above 1023",
                       text);
    case EADDRNOTAVAIL:
        return err_set(err, ERR_CONFIG, "cannot listen on %s: not an address of this machine (ip address shows them)",
                       text);
    case EAFNOSUPPORT:
        return err_set(err, ERR_CONFIG, "cannot listen on %s: this machine does not speak that protocol", text);
    default:
        return err_set_os(err, os_error, "cannot listen on %s", text);
    }
}

int io_listen(const struct io_address *a, bool shared, mode_t unix_mode, struct io_address *ret_bound, struct err *err)
{
    int               family = a->storage.ss_family, fd;
    bool              is_unix = family == AF_UNIX;
    struct io_address bound = {.len = sizeof bound.storage};

    if (is_unix && !remove_stale(a, err))
        return -1;
    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        fail_listen(err, a, errno);
        return -1;
    }
    if (is_unix) {
        const char *path = ((const struct sockaddr_un *)(const void *)&a->storage)->sun_path;

        /* The first keeps the socket shut between bind and chmod, whatever the umask is. */
        if (fchmod(fd, 0) != 0 || bind(fd, (const void *)&a->storage, a->len) != 0 || chmod(path, unix_mode) != 0)
            goto fail;
    } else if (!set_tcp_options(fd, family, shared) || bind(fd, (const void *)&a->storage, a->len) != 0) {
        goto fail;
    }
    if (listen(fd, SOMAXCONN) != 0 || getsockname(fd, (void *)&bound.storage, &bound.len) != 0)
        goto fail;
    if (ret_bound)
        *ret_bound = bound;
    return fd;
fail:
    fail_listen(err, a, errno);
    close(fd);
    return -1;
}

struct io_acceptor {
    struct io_watch *watch;
    struct io_timer *timer; /* runs while descriptors are short */
    void (*accepted)(int fd, const struct io_address *peer, void *arg);
    void *arg;
    int   fd;
    bool  exhausted;
    bool  busy, freed; /* inside accepted(): memory stays until that returns */
};

static void set_wanted(struct io_acceptor *a) { io_watch_want(a->watch, a->exhausted ? 0 : IO_READABLE, NULL); }

static void recovered(void *arg)
{
    struct io_acceptor *a = arg;

    a->exhausted = false;
    set_wanted(a);
}

static void ready(unsigned what, void *arg)
{
    struct io_acceptor *a = arg;

    (void)what;
    a->busy = true;
    for (int i = 0; i < ACCEPT_PER_TURN && !a->freed; i++) {
        struct io_address peer = {.len = sizeof peer.storage};
        int               fd = accept4(a->fd, (void *)&peer.storage, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            a->accepted(fd, &peer, a->arg);
            continue;
        }
        if (errno == EAGAIN)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            a->exhausted = true;
            set_wanted(a);
            io_timer_start(a->timer, EXHAUSTED_PAUSE_MS, 0);
            break;
        }
        /* Everything else concerns one connection that failed before it was taken. */
    }
    a->busy = false;
    if (a->freed)
        free(a);
}

struct io_acceptor *io_acceptor_new(struct io_loop *loop, int                                                 listen_fd,
                                    void (*accepted)(int fd, const struct io_address *peer, void *arg), void *arg,
                                    struct err *err)
{
    struct io_acceptor *a = calloc(1, sizeof *a);

    if (!a) {
        err_set_os(err, ENOMEM, "listening socket");
        return NULL;
    }
    a->fd = listen_fd;
    a->accepted = accepted;
    a->arg = arg;
    a->timer = io_timer_new(loop, recovered, a);
    a->watch = io_watch_new(loop, listen_fd, ready, a, err);
    if (a->timer && a->watch && io_watch_want(a->watch, IO_READABLE, err))
        return a;
    if (!a->timer)
        err_set_os(err, ENOMEM, "listening socket");
    io_timer_free(a->timer);
    io_watch_free(a->watch);
    free(a);
    return NULL;
}

void io_acceptor_free(struct io_acceptor *a)
{
    if (!a || a->freed)
        return;
    a->freed = true;
    io_watch_free(a->watch);
    io_timer_free(a->timer);
    close(a->fd);
    if (!a->busy)
        free(a);
}
