/* loop.c: libuv's loop with our own names, so that no other layer includes its header.
 *
 * Timers, signals, watches and work are libuv's, each in a struct of ours that frees itself in the close callback.
 * Streams are not libuv's: stream.c says why. The end of a round is libuv's prepare phase: everything that came up
 * since the last sleep has been handled, and the loop is about to sleep again. */
#include "io/loop.h"
#include "io/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

struct io_timer {
    uv_timer_t uv;
    void (*fire)(void *arg);
    void *arg;
};

struct io_signal {
    uv_signal_t uv;
    struct list link;
    void (*fire)(int signal, void *arg);
    void *arg;
};

struct io_job {
    uv_work_t uv;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

struct io_watch {
    uv_poll_t uv;
    void (*ready)(unsigned io_ready, void *arg);
    void    *arg;
    unsigned want;
};

static bool uv_fail(struct err *err, int status, const char *what) { return err_set_os(err, -status, "%s", what); }

static void free_handle(uv_handle_t *h) { free(h->data); }

static void run_rounds(uv_prepare_t *prepare)
{
    struct io_loop *loop = prepare->data;

    for (size_t i = 0; i < loop->round_count; i++)
        loop->rounds[i].each(loop->rounds[i].arg);
}

struct io_loop *io_loop_new(struct err *err)
{
    struct io_loop *loop = calloc(1, sizeof *loop);
    int             status;

    if (!loop || !(loop->buffer = malloc(IO_LOOP_BUFFER))) {
        free(loop);
        err_set_os(err, ENOMEM, "event loop");
        return NULL;
    }
    status = uv_loop_init(&loop->uv);
    if (status < 0) {
        uv_fail(err, status, "event loop");
        free(loop->buffer);
        free(loop);
        return NULL;
    }
    list_init(&loop->signals);
    if (!io_stream_loop_init(loop, err)) {
        uv_loop_close(&loop->uv);
        free(loop->buffer);
        free(loop);
        return NULL;
    }
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->prepare.data = loop;
    uv_prepare_start(&loop->prepare, run_rounds);
    uv_unref((uv_handle_t *)&loop->prepare);
    return loop;
}

void io_loop_free(struct io_loop *loop)
{
    int status;

    while (!list_is_empty(&loop->signals)) {
        struct io_signal *s = LIST_ITEM(list_first(&loop->signals), struct io_signal, link);

        list_remove(&s->link);
        uv_close((uv_handle_t *)&s->uv, free_handle);
    }
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    io_stream_loop_close(loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    status = uv_loop_close(&loop->uv);
    assert(status == 0);
    io_stream_loop_done(loop);
    free(loop->buffer);
    free(loop);
}

void io_loop_run(struct io_loop *loop) { uv_run(&loop->uv, UV_RUN_DEFAULT); }

void io_loop_stop(struct io_loop *loop) { uv_stop(&loop->uv); }

uint64_t io_loop_now_ms(const struct io_loop *loop) { return uv_now(&loop->uv); }

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t io_clock_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

uint64_t io_wall_ms(void) { return clock_ms(CLOCK_REALTIME); }

void io_random(void *bytes, size_t len)
{
    unsigned char *at = bytes;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) { /* cannot happen on a kernel this program runs on; going on without would be worse */
            perror("tacit: no random numbers from the kernel");
            abort();
        }
        at += n;
        len -= (size_t)n;
    }
}

void io_loop_on_round(struct io_loop *loop, void (*each)(void *arg), void *arg)
{
    assert(loop->round_count < IO_ROUND_MAX);
    loop->rounds[loop->round_count].each = each;
    loop->rounds[loop->round_count].arg = arg;
    loop->round_count++;
}

static void timer_fired(uv_timer_t *uv)
{
    struct io_timer *t = uv->data;

    t->fire(t->arg);
}

struct io_timer *io_timer_new(struct io_loop *loop, void (*fire)(void *arg), void *arg)
{
    struct io_timer *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    uv_timer_init(&loop->uv, &t->uv);
    t->uv.data = t;
    t->fire = fire;
    t->arg = arg;
    return t;
}

void io_timer_start(struct io_timer *t, uint64_t after_ms, uint64_t repeat_ms)
{
    uv_timer_start(&t->uv, timer_fired, after_ms, repeat_ms);
}

void io_timer_stop(struct io_timer *t) { uv_timer_stop(&t->uv); }

void io_timer_free(struct io_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, free_handle);
}

static void signal_fired(uv_signal_t *uv, int signal)
{
    struct io_signal *s = uv->data;

    s->fire(signal, s->arg);
}

bool io_signal_watch(struct io_loop *loop, int signal, void (*fire)(int signal, void *arg), void *arg, struct err *err)
{
    struct io_signal *s = calloc(1, sizeof *s);
    int               status;

    if (!s)
        return err_set_os(err, ENOMEM, "signal");
    uv_signal_init(&loop->uv, &s->uv);
    s->uv.data = s;
    s->fire = fire;
    s->arg = arg;
    list_push(&loop->signals, &s->link);
    status = uv_signal_start(&s->uv, signal_fired, signal);
    return status < 0 ? uv_fail(err, status, "signal") : true;
}

static void job_work(uv_work_t *uv)
{
    struct io_job *job = uv->data;

    job->work(job->arg);
}

static void job_done(uv_work_t *uv, int status)
{
    struct io_job *job = uv->data;

    (void)status; /* jobs are never cancelled */
    job->done(job->arg);
    free(job);
}

bool io_work(struct io_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct io_job *job = calloc(1, sizeof *job);

    if (!job)
        return false;
    job->uv.data = job;
    job->work = work;
    job->done = done;
    job->arg = arg;
    if (uv_queue_work(&loop->uv, &job->uv, job_work, job_done) == 0)
        return true;
    free(job);
    return false;
}

static void no_work(void *arg) { (void)arg; }

void io_work_start(struct io_loop *loop, unsigned threads)
{
    char text[16];

    snprintf(text, sizeof text, "%u", threads);
    setenv("UV_THREADPOOL_SIZE", text, 1);
    /* The first work makes the threads, and ends the process if it cannot. */
    if (!io_work(loop, no_work, no_work, NULL)) {
        perror("tacit: work threads");
        abort();
    }
}

static void watch_fired(uv_poll_t *uv, int status, int events)
{
    struct io_watch *w = uv->data;
    unsigned         ready = (events & UV_READABLE ? IO_READABLE : 0) | (events & UV_WRITABLE ? IO_WRITABLE : 0);

    /* An error is for the owner's next read or write to find. libuv has stopped the handle then. */
    if (status < 0) {
        ready = IO_READABLE | IO_WRITABLE;
        io_watch_want(w, w->want, NULL);
    }
    w->ready(ready, w->arg);
}

struct io_watch *io_watch_new(struct io_loop *loop, int fd, void (*ready)(unsigned io_ready, void *arg), void *arg,
                              struct err *err)
{
    struct io_watch *w = calloc(1, sizeof *w);
    int              status;

    if (!w) {
        err_set_os(err, ENOMEM, "descriptor %d", fd);
        return NULL;
    }
    status = uv_poll_init(&loop->uv, &w->uv, fd);
    if (status < 0) {
        free(w);
        uv_fail(err, status, "watching a descriptor");
        return NULL;
    }
    w->uv.data = w;
    w->ready = ready;
    w->arg = arg;
    return w;
}

bool io_watch_want(struct io_watch *w, unsigned io_ready, struct err *err)
{
    int status, events = (io_ready & IO_READABLE ? UV_READABLE : 0) | (io_ready & IO_WRITABLE ? UV_WRITABLE : 0);

    w->want = io_ready;
    status = events ? uv_poll_start(&w->uv, events, watch_fired) : uv_poll_stop(&w->uv);
    return status < 0 ? uv_fail(err, status, "watching a descriptor") : true;
}

void io_watch_free(struct io_watch *w)
{
    if (w)
        uv_close((uv_handle_t *)&w->uv, free_handle);
}
