/* The loop: timers, work, signals, rounds, watches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/loop.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

struct seen {
    struct io_loop  *loop;
    struct io_timer *timer;
    struct io_watch *watch;
    int              fired, rounds, fd;
    pthread_t        thread;
};

static struct io_loop *new_loop(void)
{
    struct err      err;
    struct io_loop *loop = io_loop_new(&err);

    assert_non_null(loop);
    return loop;
}

static void fire_thrice(void *arg)
{
    struct seen *s = arg;

    if (++s->fired == 3)
        io_timer_free(s->timer);
}

static void timers_repeat_until_they_are_freed(void **state)
{
    struct seen s = {.loop = new_loop()};
    uint64_t    began;

    (void)state;
    s.timer = io_timer_new(s.loop, fire_thrice, &s);
    began = io_loop_now_ms(s.loop);
    io_timer_start(s.timer, 1, 5);
    io_loop_run(s.loop);
    assert_int_equal(s.fired, 3);
    assert_true(io_loop_now_ms(s.loop) - began >= 11);
    io_loop_free(s.loop);
}

static void count_fire(void *arg) { ((struct seen *)arg)->fired++; }

static void a_timer_that_is_stopped_does_not_fire(void **state)
{
    struct seen s = {.loop = new_loop()};

    (void)state;
    s.timer = io_timer_new(s.loop, count_fire, &s);
    io_timer_start(s.timer, 1, 0);
    io_timer_stop(s.timer);
    io_loop_run(s.loop);
    assert_int_equal(s.fired, 0);
    io_timer_start(s.timer, 1, 0);
    io_timer_start(s.timer, 2, 0); /* restarts, does not fire twice */
    io_loop_run(s.loop);
    assert_int_equal(s.fired, 1);
    io_timer_free(s.timer);
    io_loop_free(s.loop);
}

static void work(void *arg) { ((struct seen *)arg)->thread = pthread_self(); }

static void work_done(void *arg)
{
    struct seen *s = arg;

    assert_false(pthread_equal(s->thread, pthread_self()));
    s->fired++;
}

static void count_round(void *arg) { ((struct seen *)arg)->rounds++; }

static void work_runs_elsewhere_and_ends_here(void **state)
{
    struct seen s[8];
    int         rounds = 0;

    (void)state;
    s[0].loop = new_loop();
    for (int i = 0; i < 8; i++) {
        s[i].fired = s[i].rounds = 0;
        assert_true(io_work(s[0].loop, work, work_done, &s[i]));
    }
    io_loop_on_round(s[0].loop, count_round, &s[0]);
    io_loop_run(s[0].loop);
    for (int i = 0; i < 8; i++)
        assert_int_equal(s[i].fired, 1);
    rounds = s[0].rounds;
    assert_true(rounds >= 1);
    io_loop_free(s[0].loop);
}

static void on_signal(int signal, void *arg)
{
    struct seen *s = arg;

    assert_int_equal(signal, SIGUSR1);
    s->fired++;
    io_loop_stop(s->loop);
}

static void signals_arrive_in_the_loop(void **state)
{
    struct seen s = {.loop = new_loop()};
    struct err  err;

    (void)state;
    assert_true(io_signal_watch(s.loop, SIGUSR1, on_signal, &s, &err));
    kill(getpid(), SIGUSR1);
    assert_int_equal(s.fired, 0);
    io_loop_run(s.loop);
    assert_int_equal(s.fired, 1);
    io_loop_free(s.loop);
}

static void pipe_ready(unsigned what, void *arg)
{
    struct seen *s = arg;
    char         c;

    assert_true(what & IO_READABLE);
    s->fired++;
    if (read(s->fd, &c, 1) == 0) {
        io_watch_free(s->watch);
        s->watch = NULL;
    }
}

static void a_watch_tells_of_data_and_of_the_end(void **state)
{
    struct seen s = {.loop = new_loop()};
    struct err  err;
    int         fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    s.fd = fds[0];
    s.watch = io_watch_new(s.loop, fds[0], pipe_ready, &s, &err);
    assert_non_null(s.watch);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    io_loop_run(s.loop); /* nothing is wanted: nothing to wait for */
    assert_int_equal(s.fired, 0);
    assert_true(io_watch_want(s.watch, IO_READABLE, &err));
    close(fds[1]);
    io_loop_run(s.loop);
    assert_int_equal(s.fired, 3);
    assert_null(s.watch);
    close(fds[0]);
    io_loop_free(s.loop);
}

static void random_is_not_all_the_same(void **state)
{
    unsigned char a[300] = {0}, b[300] = {0};

    (void)state;
    io_random(a, sizeof a);
    io_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(io_wall_ms() > 1700000000000ULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_repeat_until_they_are_freed),   cmocka_unit_test(a_timer_that_is_stopped_does_not_fire),
        cmocka_unit_test(work_runs_elsewhere_and_ends_here),    cmocka_unit_test(signals_arrive_in_the_loop),
        cmocka_unit_test(a_watch_tells_of_data_and_of_the_end), cmocka_unit_test(random_is_not_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
