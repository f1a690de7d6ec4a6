/* ipc.c: channels between our own processes.
 *
 * SOCK_SEQPACKET keeps the borders of messages and carries descriptors, so there is no framing to get wrong, and the
 * kernel tells of a peer's death at once. The peer is one of ours but may have been taken over (a front), so a message
 * that is too long or descriptors in excess end the channel or are closed, and what waits for a slow peer is bounded.
 */
#include "io/ipc.h"
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MESSAGES_PER_TURN = 64,
    SEND_BUFFER = 2 * IPC_MESSAGE_MAX,
    QUEUE_MAX = 16 << 20, /* octets that wait for the peer */
    QUEUE_COST = 128,     /* what a message counts beside its octets */
    FD_MAX = 2,           /* the kernel rounds the room for one descriptor up to two */
};

struct queued {
    struct queued *next;
    size_t         len;
    int            fd;
    char           data[];
};

struct io_ipc {
    struct io_loop          *loop;
    const struct io_ipc_ops *ops;
    void                    *arg;
    struct io_watch         *watch;
    int                      fd;
    struct queued           *first, **last;
    size_t                   queued; /* octets */
    bool                     ended;  /* nothing is sent any more; `end` was or will be called */
    bool                     busy;   /* inside its own callback: memory stays until that returns */
    bool                     freed;
};

bool io_ipc_pair(int ret_fds[2], struct err *err)
{
    int fds[2], size = SEND_BUFFER;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return err_set_os(err, errno, "channel between processes");
    for (int i = 0; i < 2; i++) {
        /* Beyond the system's ceiling only with privilege; what remains without must still hold a message. */
        int       got = 0;
        socklen_t len = sizeof got;

        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
            setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        getsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &got, &len);
        if (got < IPC_MESSAGE_MAX + 1024) {
            close(fds[0]);
            close(fds[1]);
            return err_set(err, ERR_CONFIG,
                           "channel between processes: send buffers are limited to %d octets; "
                           "raise net.core.wmem_max to at least %d",
                           got, IPC_MESSAGE_MAX);
        }
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return true;
}

static void drop_queue(struct io_ipc *c)
{
    while (c->first) {
        struct queued *q = c->first;

        c->first = q->next;
        if (q->fd >= 0)
            close(q->fd);
        free(q);
    }
    c->last = &c->first;
    c->queued = 0;
}

static void end(struct io_ipc *c)
{
    c->ended = true;
    drop_queue(c);
    io_watch_want(c->watch, 0, NULL);
    c->ops->end(c->arg);
}

/* The end is told from the loop, never from inside a call: the shut-down socket becomes readable. */
static void end_later(struct io_ipc *c)
{
    c->ended = true;
    drop_queue(c);
    shutdown(c->fd, SHUT_RDWR);
    io_watch_want(c->watch, IO_READABLE, NULL);
}

/* 1: gone; 0: the peer is slow; -1: error. */
static int send_now(struct io_ipc *c, struct str data, int fd)
{
    struct iovec  part = {(void *)(uintptr_t)data.data, data.len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char           space[CMSG_SPACE(sizeof(int))];
    } control;

    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = &control;
        m.msg_controllen = sizeof control.space;
        CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof fd);
    }
    while (sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            return errno == EAGAIN || errno == ENOBUFS ? 0 : -1;
    }
    return 1;
}

static bool enqueue(struct io_ipc *c, struct str data, int fd)
{
    struct queued *q;

    if (c->queued + data.len + QUEUE_COST > QUEUE_MAX || !(q = malloc(sizeof *q + data.len)))
        return false;
    q->next = NULL;
    q->len = data.len;
    q->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && q->fd < 0) {
        free(q);
        return false;
    }
    memcpy(q->data, data.data, data.len);
    *c->last = q;
    c->last = &q->next;
    c->queued += data.len + QUEUE_COST;
    return true;
}

bool io_ipc_send(struct io_ipc *c, struct str data, int fd)
{
    int sent;

    if (c->ended)
        return false;
    if (data.len == 0 || data.len > IPC_MESSAGE_MAX)
        return false;
    sent = c->first ? 0 : send_now(c, data, fd);
    if (sent > 0)
        return true;
    if (sent == 0 && enqueue(c, data, fd)) {
        io_watch_want(c->watch, IO_READABLE | IO_WRITABLE, NULL);
        return true;
    }
    end_later(c);
    return false;
}

size_t io_ipc_unsent(const struct io_ipc *c) { return c->queued; }

static void send_queued(struct io_ipc *c)
{
    while (c->first) {
        struct queued *q = c->first;
        int            sent = send_now(c, str_of(q->data, q->len), q->fd);

        if (sent == 0)
            return;
        if (sent < 0) {
            end_later(c);
            return;
        }
        c->first = q->next;
        if (!c->first)
            c->last = &c->first;
        c->queued -= q->len + QUEUE_COST;
        if (q->fd >= 0)
            close(q->fd);
        free(q);
    }
    io_watch_want(c->watch, IO_READABLE, NULL);
}

/* The first descriptor that came along, or -1; others are closed. */
static int take_fd(struct msghdr *m)
{
    int fd = -1;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        size_t count;

        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int each;

            memcpy(&each, CMSG_DATA(h) + i * sizeof each, sizeof each);
            if (fd < 0)
                fd = each;
            else
                close(each);
        }
    }
    return fd;
}

/* False: nothing further now, or the channel was ended or freed. */
static bool receive(struct io_ipc *c)
{
    struct iovec  part = {c->loop->buffer, IO_LOOP_BUFFER};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char           space[CMSG_SPACE(FD_MAX * sizeof(int))];
    } control;
    ssize_t n;
    int     fd;

    m.msg_control = &control;
    m.msg_controllen = sizeof control.space;
    n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EAGAIN)
        return false;
    /* A peer that dies with messages of ours unread makes one ECONNRESET; what it had sent before still follows. */
    if (n < 0 && (errno == EINTR || errno == ECONNRESET))
        return true;
    if (n <= 0 || m.msg_flags & MSG_TRUNC || n > IPC_MESSAGE_MAX) {
        fd = n > 0 ? take_fd(&m) : -1;
        if (fd >= 0)
            close(fd);
        end(c);
        return false;
    }
    fd = take_fd(&m);
    c->ops->message(c->arg, str_of(c->loop->buffer, (size_t)n), fd);
    return !c->freed;
}

static void free_now(struct io_ipc *c)
{
    drop_queue(c);
    free(c);
}

static void ready(unsigned what, void *arg)
{
    struct io_ipc *c = arg;

    c->busy = true;
    if (what & IO_WRITABLE && !c->ended)
        send_queued(c);
    if (what & IO_READABLE)
        for (int i = 0; i < MESSAGES_PER_TURN && receive(c); i++)
            ;
    c->busy = false;
    if (c->freed)
        free_now(c);
}

struct io_ipc *io_ipc_new(struct io_loop *loop, int fd, const struct io_ipc_ops *ops, void *arg, struct err *err)
{
    struct io_ipc *c = calloc(1, sizeof *c);

    if (!c) {
        err_set_os(err, ENOMEM, "channel between processes");
        close(fd);
        return NULL;
    }
    c->loop = loop;
    c->ops = ops;
    c->arg = arg;
    c->fd = fd;
    c->last = &c->first;
    c->watch = io_watch_new(loop, fd, ready, c, err);
    if (!c->watch || !io_watch_want(c->watch, IO_READABLE, err)) {
        io_watch_free(c->watch);
        close(fd);
        free(c);
        return NULL;
    }
    return c;
}

void io_ipc_free(struct io_ipc *c)
{
    if (!c || c->freed)
        return;
    c->freed = true;
    io_watch_free(c->watch);
    close(c->fd);
    if (!c->busy)
        free_now(c);
}
