/* loop.h: the event loop of a process, its timers, signals and work threads (libuv underneath; this folder is the only
 * code that knows). Callbacks run on the loop's thread, one at a time. Nothing here allocates after start-up except
 * where a function says so. Out of memory at start-up ends the process with a message. */
#ifndef TACIT_IO_LOOP_H
#define TACIT_IO_LOOP_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct io_loop;

struct io_loop *io_loop_new(struct err *err);
void            io_loop_free(struct io_loop *loop); /* all handles must be closed */
void            io_loop_run(struct io_loop *loop);  /* until io_loop_stop or nothing is left to wait for */
void            io_loop_stop(struct io_loop *loop);
/* Monotonic ms, taken once each round of the loop, or now; and the wall clock as Unix ms, now. */
uint64_t        io_loop_now_ms(const struct io_loop *loop);
uint64_t        io_clock_ms(void);
uint64_t        io_wall_ms(void);
void            io_random(void *bytes, size_t len); /* from the kernel, fit for keys */
/* Called once at the end of each round in which something happened: to write what the round produced in one go (log
 * lines, batches). */
void            io_loop_on_round(struct io_loop *loop, void (*each)(void *arg), void *arg);

struct io_timer;
struct io_timer *io_timer_new(struct io_loop *loop, void (*fire)(void *arg), void *arg);
void             io_timer_start(struct io_timer *t, uint64_t after_ms, uint64_t repeat_ms); /* restarts if running */
void             io_timer_stop(struct io_timer *t);
void             io_timer_free(struct io_timer *t);

/* Delivered in the loop, not in signal context. */
bool io_signal_watch(struct io_loop *loop, int signal, void (*fire)(int signal, void *arg), void *arg, struct err *err);

/* Makes the pool of threads. Without it the first io_work makes one of 4, and where it cannot, the process ends: so
 * call it at start-up. */
void io_work_start(struct io_loop *loop, unsigned threads);
/* Runs `work` on a thread of the pool, then `done` on the loop. False: no memory, nothing runs. */
bool io_work(struct io_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Readiness of a plain file descriptor that stays the caller's (a control channel, a notification socket). */
struct io_watch;
enum io_ready { IO_READABLE = 1, IO_WRITABLE = 2 };
struct io_watch *io_watch_new(struct io_loop *loop, int fd, void (*ready)(unsigned io_ready, void *arg), void *arg,
                              struct err *err);
bool             io_watch_want(struct io_watch *w, unsigned io_ready, struct err *err); /* 0: none */
void             io_watch_free(struct io_watch *w);

#endif
