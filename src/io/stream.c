/* stream.c: connected streams, made for very many small sessions.
 *
 * All streams of a loop are in an epoll set of their own, which the loop watches as one descriptor. Each is registered
 * once, edge-triggered, and never again: what is known to be readable is remembered in the stream, so that switching
 * reading off and on costs no system call; closing the descriptor ends the registration. (libuv's own streams cost
 * more memory and calls for each, and its poll handles test the descriptor with two epoll_ctl calls at creation.) Only
 * a stream whose peer takes its output slowly is registered a second time, for writability.
 *
 * An event names a descriptor and a generation, not a pointer: an event of a stream that was freed in the same batch,
 * or whose descriptor a child process still holds for a moment, finds another generation and is dropped.
 *
 * A stream takes at most one buffer full in a turn; what is still readable then, or was switched on again, waits in
 * the list `ready` for the next round of the loop, so that one fast peer cannot starve the others. Failures that a
 * write meets wait there too: no callback runs inside a call. */
#include "io/internal.h"
#include "io/net.h"

#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    EVENTS = 256,                /* taken in a round */
    FINISH_STALL_MS = 10 * 1000, /* without progress of the unsent part */
    FINISH_DRAIN_MS = 2 * 1000,
    FINISH_DRAIN_MAX = 64 * 1024, /* octets dropped */
    FAILED_BY_LIMIT = -1,         /* beside errno */
};

struct io_stream {
    struct io_loop             *loop;
    const struct io_stream_ops *ops;
    void                       *arg;
    int                         fd;
    uint32_t                    generation;
    struct list                 link;   /* in loop->ready, or alone */
    struct buf                  unsent; /* from sent_at on */
    size_t                      sent_at;
    struct io_timer            *finish_timer;
    uint32_t                    dropped;  /* octets, while finishing */
    int                         os_error; /* of `failed`: an end that waits for its turn */
    bool                        reading, readable, hung_up, want_writable;
    bool                        finishing, quickly, shut, failed;
};

static bool is_alive(const struct io_loop *loop, int fd, uint32_t generation)
{
    return (size_t)fd < loop->slot_count && loop->slots[fd].stream && loop->slots[fd].generation == generation;
}

static void run_ready(uv_idle_t *idle);

static void turn_later(struct io_stream *s)
{
    if (!list_is_empty(&s->link))
        return;
    list_push(&s->loop->ready, &s->link);
    uv_idle_start(&s->loop->ready_idle, run_ready);
}

static void fail_later(struct io_stream *s, int os_error)
{
    if (!s->failed) {
        s->failed = true;
        s->os_error = os_error;
    }
    turn_later(s);
}

static void end(struct io_stream *s, const struct err *err)
{
    const struct io_stream_ops *ops = s->ops;

    s->ops = NULL;
    if (ops)
        ops->end(s->arg, err);
}

static void end_failed(struct io_stream *s, int os_error)
{
    struct err err;

    if (os_error == FAILED_BY_LIMIT)
        err_set(&err, ERR_LIMIT, "the peer does not read: more than %d octets are unsent", IO_STREAM_UNSENT_MAX);
    else
        err_set_os(&err, os_error, "connection");
    end(s, &err);
}

/* ---- writing ---- */

size_t io_stream_unsent(const struct io_stream *s) { return s->unsent.len - s->sent_at; }

/* One call of send: octets that went, or -1 after fail_later. */
static ssize_t send_some(struct io_stream *s, struct str data)
{
    ssize_t n = send(s->fd, data.data, data.len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    fail_later(s, errno);
    return -1;
}

static bool register_stream(struct io_stream *s, int operation, uint32_t events)
{
    struct epoll_event e = {.events = events | EPOLLET, .data.u64 = (uint64_t)s->generation << 32 | (uint32_t)s->fd};

    return epoll_ctl(s->loop->epoll_fd, operation, s->fd, &e) == 0;
}

void io_stream_write(struct io_stream *s, struct str data)
{
    ssize_t n;

    if (!s->ops || s->failed || s->finishing)
        return;
    if (io_stream_unsent(s) == 0) {
        n = send_some(s, data);
        if (n < 0 || (size_t)n == data.len)
            return;
        data = str_skip(data, (size_t)n);
    }
    if (data.len > IO_STREAM_UNSENT_MAX - io_stream_unsent(s)) {
        fail_later(s, FAILED_BY_LIMIT);
        return;
    }
    if (s->unsent.len + data.len > IO_STREAM_UNSENT_MAX) {
        buf_consume(&s->unsent, s->sent_at);
        s->sent_at = 0;
    }
    if (!buf_append(&s->unsent, data)) {
        fail_later(s, ENOMEM);
        return;
    }
    if (!s->want_writable) {
        s->want_writable = true;
        if (!register_stream(s, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP | EPOLLOUT))
            fail_later(s, errno);
    }
}

static void begin_drain(struct io_stream *s)
{
    s->shut = true;
    if (s->quickly) {
        turn_later(s);
        return;
    }
    if (shutdown(s->fd, SHUT_WR) != 0) {
        fail_later(s, errno);
        return;
    }
    io_timer_start(s->finish_timer, FINISH_DRAIN_MS, 0);
    if (s->readable)
        turn_later(s);
}

static void flush(struct io_stream *s)
{
    ssize_t n = 1;

    if (!s->ops || s->failed || io_stream_unsent(s) == 0)
        return;
    while (io_stream_unsent(s) > 0 && (n = send_some(s, str_skip(buf_str(&s->unsent), s->sent_at))) > 0) {
        s->sent_at += (size_t)n;
        if (s->finishing)
            io_timer_start(s->finish_timer, FINISH_STALL_MS, 0);
    }
    if (n < 0)
        return;
    if (io_stream_unsent(s) > 0) {
        if (s->sent_at >= s->unsent.len / 2) {
            buf_consume(&s->unsent, s->sent_at);
            s->sent_at = 0;
        }
        return;
    }
    buf_done(&s->unsent);
    s->sent_at = 0;
    if (s->finishing)
        begin_drain(s);
    else if (s->ops->drained)
        s->ops->drained(s->arg);
}

/* ---- reading ---- */

/* While finishing. */
static void drop_input(struct io_stream *s)
{
    ssize_t n;

    if (s->shut && s->quickly) {
        end(s, NULL);
        return;
    }
    if (!s->shut || !s->readable)
        return;
    n = recv(s->fd, s->loop->buffer, IO_READ_SIZE, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        s->readable = errno == EINTR;
    } else if (n <= 0) {
        end(s, NULL); /* a reset here is no news to anybody */
        return;
    } else {
        s->dropped += (uint32_t)n;
        s->readable = n == IO_READ_SIZE || s->hung_up;
        if (s->dropped >= FINISH_DRAIN_MAX) {
            end(s, NULL);
            return;
        }
    }
    if (s->readable)
        turn_later(s);
}

static void turn(struct io_stream *s)
{
    struct io_loop *loop = s->loop;
    int             fd = s->fd;
    uint32_t        generation = s->generation;
    ssize_t         n;

    if (!s->ops)
        return;
    if (s->failed) {
        end_failed(s, s->os_error);
        return;
    }
    if (s->finishing) {
        drop_input(s);
        return;
    }
    if (!s->reading || !s->readable)
        return;
    n = recv(fd, loop->buffer, IO_READ_SIZE, MSG_DONTWAIT);
    if (n == 0) {
        end(s, NULL);
        return;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        end_failed(s, errno);
        return;
    }
    if (n < 0) {
        s->readable = errno == EINTR;
    } else {
        /* A short read has emptied the socket: what comes later makes a new event. Behind a hang-up none comes. */
        s->readable = n == IO_READ_SIZE || s->hung_up;
        s->ops->read(s->arg, str_of(loop->buffer, (size_t)n));
        if (!is_alive(loop, fd, generation))
            return;
    }
    if (s->reading && s->readable)
        turn_later(s);
}

void io_stream_read(struct io_stream *s, bool on)
{
    s->reading = on;
    if (on && s->readable)
        turn_later(s);
}

/* ---- the loop's side ---- */

static void run_ready(uv_idle_t *idle)
{
    struct io_loop *loop = idle->data;
    struct list     now, *link;

    /* A list of its own: who comes back while it is worked off waits for the next round. */
    list_init(&now);
    while ((link = list_first(&loop->ready))) {
        list_remove(link);
        list_push(&now, link);
    }
    while ((link = list_first(&now))) {
        list_remove(link);
        turn(LIST_ITEM(link, struct io_stream, link));
    }
    if (list_is_empty(&loop->ready))
        uv_idle_stop(idle);
}

static void epoll_fired(uv_poll_t *poll, int status, int events)
{
    struct io_loop    *loop = poll->data;
    struct epoll_event ready[EVENTS];
    int                n = epoll_wait(loop->epoll_fd, ready, EVENTS, 0);

    (void)status;
    (void)events;
    for (int i = 0; i < n; i++) {
        int               fd = (int)(uint32_t)ready[i].data.u64;
        uint32_t          generation = (uint32_t)(ready[i].data.u64 >> 32), what = ready[i].events;
        struct io_stream *s;

        if (!is_alive(loop, fd, generation))
            continue;
        s = loop->slots[fd].stream;
        if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            s->readable = true;
        if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            s->hung_up = true;
        if (what & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            flush(s);
        if (is_alive(loop, fd, generation))
            turn(s);
    }
}

bool io_stream_loop_init(struct io_loop *loop, struct err *err)
{
    int status;

    list_init(&loop->ready);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return err_set_os(err, errno, "event loop");
    status = uv_poll_init(&loop->uv, &loop->epoll_poll, loop->epoll_fd);
    if (status < 0) {
        close(loop->epoll_fd);
        return err_set_os(err, -status, "event loop");
    }
    loop->epoll_poll.data = loop;
    uv_poll_start(&loop->epoll_poll, UV_READABLE, epoll_fired);
    uv_unref((uv_handle_t *)&loop->epoll_poll); /* streams hold the reference: see below */
    uv_idle_init(&loop->uv, &loop->ready_idle);
    loop->ready_idle.data = loop;
    return true;
}

void io_stream_loop_close(struct io_loop *loop)
{
    assert(loop->stream_count == 0);
    uv_close((uv_handle_t *)&loop->ready_idle, NULL);
    uv_close((uv_handle_t *)&loop->epoll_poll, NULL);
}

void io_stream_loop_done(struct io_loop *loop)
{
    close(loop->epoll_fd);
    free(loop->slots);
}

/* ---- a stream's life ---- */

static bool take_slot(struct io_loop *loop, struct io_stream *s)
{
    size_t fd = (size_t)s->fd;

    if (fd >= loop->slot_count) {
        size_t                 count = loop->slot_count ? loop->slot_count : 64;
        struct io_stream_slot *slots;

        while (count <= fd)
            count *= 2;
        slots = realloc(loop->slots, count * sizeof *slots);
        if (!slots)
            return false;
        memset(slots + loop->slot_count, 0, (count - loop->slot_count) * sizeof *slots);
        loop->slots = slots;
        loop->slot_count = count;
    }
    loop->slots[fd].stream = s;
    s->generation = ++loop->slots[fd].generation;
    return true;
}

struct io_stream *io_stream_new(struct io_loop *loop, int fd, const struct io_stream_ops *ops, void *arg,
                                struct err *err)
{
    struct io_stream *s = calloc(1, sizeof *s);

    if (!s)
        goto no_memory;
    s->loop = loop;
    s->ops = ops;
    s->arg = arg;
    s->fd = fd;
    list_init(&s->link);
    buf_init(&s->unsent, IO_STREAM_UNSENT_MAX);
    if (!take_slot(loop, s))
        goto no_memory;
    if (!register_stream(s, EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP)) {
        err_set_os(err, errno, "watching a connection");
        loop->slots[fd].stream = NULL;
        goto fail;
    }
    if (loop->stream_count++ == 0)
        uv_ref((uv_handle_t *)&loop->epoll_poll);
    return s;
no_memory:
    err_set_os(err, ENOMEM, "connection");
fail:
    free(s);
    close(fd);
    return NULL;
}

void io_stream_free(struct io_stream *s)
{
    struct io_loop *loop;

    if (!s)
        return;
    loop = s->loop;
    list_remove(&s->link);
    loop->slots[s->fd].stream = NULL;
    close(s->fd);
    buf_done(&s->unsent);
    io_timer_free(s->finish_timer);
    free(s);
    if (--loop->stream_count == 0)
        uv_unref((uv_handle_t *)&loop->epoll_poll);
}

static void finish_timed_out(void *arg)
{
    struct io_stream *s = arg;

    if (s->shut)
        end(s, NULL);
    else
        end_failed(s, ETIMEDOUT);
}

static void finish(struct io_stream *s, bool quickly)
{
    if (!s->ops || s->failed || s->finishing)
        return;
    s->finishing = true;
    s->quickly = quickly;
    if (quickly && io_stream_unsent(s) == 0) {
        begin_drain(s);
        return;
    }
    s->finish_timer = io_timer_new(s->loop, finish_timed_out, s);
    if (!s->finish_timer)
        fail_later(s, ENOMEM);
    else if (io_stream_unsent(s) == 0)
        begin_drain(s);
    else
        io_timer_start(s->finish_timer, FINISH_STALL_MS, 0);
}

void io_stream_finish(struct io_stream *s) { finish(s, false); }

void io_stream_finish_quickly(struct io_stream *s) { finish(s, true); }

size_t io_stream_waiting(const struct io_stream *s)
{
    int waiting = 0;

    return ioctl(s->fd, FIONREAD, &waiting) == 0 && waiting > 0 ? (size_t)waiting : 0;
}

long io_stream_peer_uid(const struct io_stream *s)
{
    struct ucred who;
    socklen_t    len = sizeof who;
    int          domain = 0;
    socklen_t    domain_len = sizeof domain;

    if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) != 0 || domain != AF_UNIX)
        return -1;
    return getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? (long)who.uid : -1;
}
