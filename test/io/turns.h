/* turns.h: what the tests of the loop share: turning it for a time, or until what is waited for has come. */
#ifndef TACIT_TEST_IO_TURNS_H
#define TACIT_TEST_IO_TURNS_H

#include "io/loop.h"

static inline void turns_stop(void *arg) { io_loop_stop(arg); }

static inline void run_for(struct io_loop *loop, uint64_t ms)
{
    struct io_timer *t = io_timer_new(loop, turns_stop, loop);

    io_timer_start(t, ms, 0);
    io_loop_run(loop);
    io_timer_free(t);
}

/* At most 10 s, so that a busy machine is not taken for a fault. */
static inline void run_until(struct io_loop *loop, const int *count, int wanted)
{
    for (uint64_t began = io_loop_now_ms(loop); *count < wanted && io_loop_now_ms(loop) - began < 10000;)
        run_for(loop, 1);
}

#endif
