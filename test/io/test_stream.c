/* Streams over socket pairs and real connections: slow, rude and vanishing peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "io/net.h"
#include "turns.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct side {
    struct io_loop   *loop;
    struct io_stream *stream;
    struct buf        got;
    int               reads, ends, drains;
    bool              failed;
    struct err        err;
    bool              free_on_read, pause_on_read, stop_at_end;
    struct io_stream *free_too; /* another stream, freed on read */
};

static void on_read(void *arg, struct str data)
{
    struct side *s = arg;

    s->reads++;
    assert_true(data.len > 0);
    buf_append(&s->got, data);
    if (s->free_too) {
        io_stream_free(s->free_too);
        s->free_too = NULL;
    }
    if (s->pause_on_read)
        io_stream_read(s->stream, false);
    if (s->free_on_read) {
        io_stream_free(s->stream);
        s->stream = NULL;
    }
}

static void on_end(void *arg, const struct err *err)
{
    struct side *s = arg;

    s->ends++;
    s->failed = err;
    if (err)
        s->err = *err;
    io_stream_free(s->stream);
    s->stream = NULL;
    if (s->stop_at_end)
        io_loop_stop(s->loop);
}

static void on_drained(void *arg) { ((struct side *)arg)->drains++; }

static const struct io_stream_ops ops = {on_read, on_end, on_drained};

static void side_init(struct side *s, struct io_loop *loop, int fd)
{
    struct err err;

    *s = (struct side){.loop = loop};
    buf_init(&s->got, 64 << 20);
    s->stream = io_stream_new(loop, fd, &ops, s, &err);
    assert_non_null(s->stream);
}

static void side_done(struct side *s)
{
    io_stream_free(s->stream);
    buf_done(&s->got);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static struct io_loop *new_loop(void)
{
    struct io_loop *loop = io_loop_new(NULL);

    assert_non_null(loop);
    return loop;
}

static void bytes_arrive_and_the_end_is_told_once(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     a, b;
    int             fds[2];

    (void)state;
    make_pair(fds);
    side_init(&a, loop, fds[0]);
    side_init(&b, loop, fds[1]);
    io_stream_read(b.stream, true);
    io_stream_write(a.stream, STR("hello"));
    io_stream_write(a.stream, STR_NONE);
    io_stream_free(a.stream);
    a.stream = NULL;
    io_loop_run(loop);
    assert_true(str_eq(buf_str(&b.got), STR("hello")));
    assert_int_equal(b.ends, 1);
    assert_false(b.failed);
    assert_int_equal(a.ends, 0);
    side_done(&a);
    side_done(&b);
    io_loop_free(loop);
}

static void a_new_stream_does_not_read(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     a, b;
    int             fds[2];

    (void)state;
    make_pair(fds);
    side_init(&a, loop, fds[0]);
    side_init(&b, loop, fds[1]);
    io_stream_write(a.stream, STR("early"));
    run_for(loop, 5);
    assert_int_equal(b.reads, 0);
    assert_int_equal(io_stream_waiting(b.stream), 5);
    io_stream_read(b.stream, true); /* nothing new happens on the socket: what waits must come all the same */
    run_for(loop, 5);
    assert_true(str_eq(buf_str(&b.got), STR("early")));
    side_done(&a);
    side_done(&b);
    io_loop_free(loop);
}

/* More than a socket holds goes out as the peer reads, nothing lost, and the writer is told at the end. */
static void a_slow_reader_gets_everything(void **state)
{
    enum { TOTAL = 3 << 20 };
    struct io_loop *loop = new_loop();
    struct side     a, b;
    int             fds[2];
    char           *data = malloc(TOTAL);

    (void)state;
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (char)(i * 7 + i / 251);
    make_pair(fds);
    side_init(&a, loop, fds[0]);
    side_init(&b, loop, fds[1]);
    for (size_t at = 0; at < TOTAL; at += TOTAL / 16)
        io_stream_write(a.stream, str_of(data + at, TOTAL / 16));
    assert_true(io_stream_unsent(a.stream) > TOTAL / 2);
    run_for(loop, 5);
    assert_int_equal(a.drains, 0);
    b.pause_on_read = true;
    while (b.got.len < TOTAL) {
        int reads = b.reads;

        io_stream_read(b.stream, true);
        run_for(loop, 1);
        assert_true(b.reads <= reads + 1); /* off means off */
        assert_true(b.reads == reads + 1);
    }
    assert_true(str_eq(buf_str(&b.got), str_of(data, TOTAL)));
    assert_int_equal(a.drains, 1);
    assert_int_equal(io_stream_unsent(a.stream), 0);
    free(data);
    side_done(&a);
    side_done(&b);
    io_loop_free(loop);
}

static void a_reader_that_never_reads_meets_the_ceiling(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     a;
    int             fds[2];
    char           *data = calloc(1, 1 << 20);

    (void)state;
    make_pair(fds);
    side_init(&a, loop, fds[0]);
    for (int i = 0; i < 18; i++) {
        io_stream_write(a.stream, str_of(data, 1 << 20));
        assert_true(io_stream_unsent(a.stream) <= IO_STREAM_UNSENT_MAX);
    }
    assert_int_equal(a.ends, 0); /* never from inside a call */
    io_loop_run(loop);
    assert_int_equal(a.ends, 1);
    assert_true(a.failed && a.err.class == ERR_LIMIT);
    close(fds[1]);
    free(data);
    side_done(&a);
    io_loop_free(loop);
}

static void writing_to_the_dead_fails_later(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     a;
    int             fds[2];

    (void)state;
    make_pair(fds);
    side_init(&a, loop, fds[0]);
    close(fds[1]);
    io_stream_write(a.stream, STR("x"));
    io_stream_write(a.stream, STR("y"));
    assert_int_equal(a.ends, 0);
    io_loop_run(loop);
    assert_int_equal(a.ends, 1);
    assert_true(a.failed && a.err.os_error == EPIPE);
    side_done(&a);
    io_loop_free(loop);
}

static void a_stream_may_free_itself_and_others_while_it_reads(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     a[2], b[2];
    int             fds[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        make_pair(fds);
        side_init(&a[i], loop, fds[0]);
        side_init(&b[i], loop, fds[1]);
        io_stream_read(b[i].stream, true);
        io_stream_write(a[i].stream, STR("x"));
    }
    /* Both have an event in the same batch; whichever comes first frees the other and itself. */
    b[0].free_too = b[1].stream;
    b[1].free_too = b[0].stream;
    b[0].free_on_read = b[1].free_on_read = true;
    run_for(loop, 10);
    assert_int_equal(b[0].reads + b[1].reads, 1);
    assert_int_equal(b[0].ends + b[1].ends, 0);
    b[0].stream = b[1].stream = NULL;
    for (int i = 0; i < 2; i++) {
        side_done(&a[i]);
        side_done(&b[i]);
    }
    io_loop_free(loop);
}

/* A connected TCP pair through an acceptor. */
struct acceptance {
    struct io_loop     *loop;
    struct io_acceptor *acceptor;
    int                 fds[64];
    int                 count;
    bool                free_at_first;
};

static void accepted(int fd, const struct io_address *peer, void *arg)
{
    struct acceptance *a = arg;
    char               text[IO_ADDRESS_TEXT];

    io_address_host(peer, text);
    assert_string_equal(text, "127.0.0.1");
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(a->count < 64);
    a->fds[a->count++] = fd;
    if (a->free_at_first) {
        io_acceptor_free(a->acceptor);
        a->acceptor = NULL;
    }
}

static int connect_to(const struct io_address *a)
{
    int fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const void *)&a->storage, a->len), 0);
    return fd;
}

static struct io_address listen_on_loopback(struct acceptance *a)
{
    struct io_address any[2], bound;
    size_t            count;
    struct err        err;
    int               fd;

    assert_true(io_address_parse(STR("127.0.0.1:0"), any, 2, &count, &err));
    fd = io_listen(&any[0], true, 0, &bound, &err);
    assert_true(fd >= 0);
    a->acceptor = io_acceptor_new(a->loop, fd, accepted, a, &err);
    assert_non_null(a->acceptor);
    return bound;
}

static void last_words_reach_a_peer_that_still_talks(void **state)
{
    struct acceptance a = {.loop = new_loop()};
    struct io_address bound = listen_on_loopback(&a);
    int               client = connect_to(&bound);
    struct side       s;
    char              got[64] = "";

    (void)state;
    run_until(a.loop, &a.count, 1);
    assert_int_equal(a.count, 1);
    side_init(&s, a.loop, a.fds[0]);
    io_stream_read(s.stream, true);
    assert_int_equal(write(client, "MAIL", 4), 4); /* unread input: a plain close would send a reset */
    io_stream_write(s.stream, STR("421 bye\r\n"));
    io_stream_finish(s.stream);
    io_stream_write(s.stream, STR("too late"));
    run_for(a.loop, 20);
    assert_int_equal(s.ends, 0);
    assert_int_equal(s.reads, 0);
    assert_int_equal(write(client, "more", 4), 4);
    run_for(a.loop, 20);
    assert_int_equal(read(client, got, sizeof got), 9);
    assert_string_equal(got, "421 bye\r\n");
    assert_int_equal(read(client, got, sizeof got), 0);
    close(client);
    run_until(a.loop, &s.ends, 1);
    assert_int_equal(s.ends, 1);
    assert_false(s.failed);
    side_done(&s);
    io_acceptor_free(a.acceptor);
    io_loop_free(a.loop);
}

static void a_peer_that_has_said_all_is_not_waited_for(void **state)
{
    enum { SIZE = 1024 * 1024 };
    struct io_loop *loop = new_loop();
    struct side     s;
    int             fds[2];
    char           *words = calloc(1, SIZE), *got = malloc(SIZE);
    size_t          len = 0;

    (void)state;
    make_pair(fds);
    side_init(&s, loop, fds[0]);
    io_stream_write(s.stream, str_of(words, SIZE));
    assert_in_range(io_stream_unsent(s.stream), 1, SIZE);
    io_stream_finish_quickly(s.stream);
    run_for(loop, 20);
    assert_int_equal(s.ends, 0); /* not before all is sent */
    while (len < SIZE) {
        ssize_t n = recv(fds[1], got, SIZE, MSG_DONTWAIT);

        len += n > 0 ? (size_t)n : 0;
        run_for(loop, 1);
    }
    run_until(loop, &s.ends, 1);
    assert_int_equal(s.ends, 1);
    assert_false(s.failed);
    side_done(&s);
    assert_int_equal(recv(fds[1], got, SIZE, 0), 0);
    close(fds[1]);
    free(words);
    free(got);
    io_loop_free(loop);
}

static void a_peer_that_does_not_hang_up_is_left(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     s;
    int             fds[2];
    uint64_t        began = io_loop_now_ms(loop);
    char           *flood = calloc(1, 16 * 1024);

    (void)state;
    make_pair(fds);
    side_init(&s, loop, fds[0]);
    io_stream_finish(s.stream);
    io_loop_run(loop); /* nothing ever comes: 2 s */
    assert_int_equal(s.ends, 1);
    assert_in_range(io_loop_now_ms(loop) - began, 1900, 8000);
    close(fds[1]);
    side_done(&s);

    make_pair(fds); /* and one that floods is left after 64 KiB */
    side_init(&s, loop, fds[0]);
    io_stream_finish(s.stream);
    began = io_loop_now_ms(loop);
    for (int i = 0; i < 200 && s.ends == 0; i++) {
        ssize_t n = send(fds[1], flood, 16 * 1024, MSG_NOSIGNAL);

        (void)n;
        run_for(loop, 1);
    }
    assert_int_equal(s.ends, 1);
    assert_true(io_loop_now_ms(loop) - began < 1900);
    close(fds[1]);
    free(flood);
    side_done(&s);
    io_loop_free(loop);
}

static void the_acceptor_survives_a_lack_of_descriptors(void **state)
{
    struct acceptance a = {.loop = new_loop()};
    struct io_address bound = listen_on_loopback(&a);
    struct rlimit     old, tight;
    int               clients[4];
    int               probe;
    uint64_t          began;

    (void)state;
    if (getenv("TACIT_MEMCHECK")) { /* which takes a connection and closes it where there is no descriptor for it */
        io_acceptor_free(a.acceptor);
        io_loop_free(a.loop);
        skip();
    }
    for (int i = 0; i < 4; i++)
        clients[i] = connect_to(&bound);
    probe = dup(0);
    close(probe);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = (rlim_t)probe; /* none is free below */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    began = (uint64_t)clock();
    run_for(a.loop, 250);
    assert_true((uint64_t)clock() - began < CLOCKS_PER_SEC / 10); /* it pauses, it does not spin */
    assert_int_equal(a.count, 0);
    setrlimit(RLIMIT_NOFILE, &old);
    run_until(a.loop, &a.count, 4);
    assert_int_equal(a.count, 4);

    probe = connect_to(&bound);
    a.free_at_first = true;
    run_until(a.loop, &a.count, 5);
    assert_int_equal(a.count, 5);
    assert_null(a.acceptor);
    close(probe);
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    for (int i = 0; i < a.count; i++)
        close(a.fds[i]);
    io_loop_free(a.loop);
}

static void a_reset_is_an_end_with_a_reason(void **state)
{
    struct acceptance a = {.loop = new_loop()};
    struct io_address bound = listen_on_loopback(&a);
    int               client = connect_to(&bound);
    struct linger     hard = {1, 0};
    struct side       s;

    (void)state;
    run_until(a.loop, &a.count, 1);
    side_init(&s, a.loop, a.fds[0]);
    io_stream_read(s.stream, true);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(client);
    run_until(a.loop, &s.ends, 1);
    assert_int_equal(s.ends, 1);
    assert_true(s.failed && s.err.os_error == ECONNRESET);
    side_done(&s);
    io_acceptor_free(a.acceptor);
    io_loop_free(a.loop);
}

static void half_closing_peers_still_get_answers(void **state)
{
    struct io_loop *loop = new_loop();
    struct side     s;
    int             fds[2];
    char            got[8] = "";

    (void)state;
    make_pair(fds);
    side_init(&s, loop, fds[0]);
    s.pause_on_read = true;
    io_stream_read(s.stream, true);
    assert_int_equal(write(fds[1], "QUIT", 4), 4);
    shutdown(fds[1], SHUT_WR);
    run_until(loop, &s.reads, 1);
    assert_int_equal(s.reads, 1);
    assert_int_equal(s.ends, 0); /* reading is off */
    io_stream_write(s.stream, STR("221"));
    assert_int_equal(read(fds[1], got, sizeof got), 3);
    io_stream_read(s.stream, true);
    run_until(loop, &s.ends, 1);
    assert_int_equal(s.ends, 1);
    close(fds[1]);
    side_done(&s);
    io_loop_free(loop);
}

static void idle_streams_are_small(void **state)
{
    enum { COUNT = 200 };
    struct io_loop    *loop = new_loop();
    static struct side sides[COUNT];
    int                fds[2], others[COUNT];
    struct mallinfo2   before, after;

    (void)state;
    make_pair(fds); /* the table of descriptors grows here, once */
    assert_int_equal(dup2(fds[0], 1000), 1000);
    side_init(&sides[0], loop, 1000);
    side_done(&sides[0]);
    close(fds[0]);
    close(fds[1]);
    before = mallinfo2();
    for (int i = 0; i < COUNT; i++) {
        make_pair(fds);
        side_init(&sides[i], loop, fds[0]);
        io_stream_read(sides[i].stream, true);
        others[i] = fds[1];
        assert_int_equal(write(fds[1], "x", 1), 1);
    }
    run_for(loop, 10);
    after = mallinfo2();
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(sides[i].reads, 1);
    /* beside the stream: the 65 bytes of the test's own buffer */
    assert_true(after.uordblks == 0 || (after.uordblks - before.uordblks) / COUNT <= 300 + 96);
    assert_int_equal(io_stream_peer_uid(sides[0].stream), getuid());
    for (int i = 0; i < COUNT; i++) {
        side_done(&sides[i]);
        close(others[i]);
    }
    io_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_and_the_end_is_told_once),
        cmocka_unit_test(a_new_stream_does_not_read),
        cmocka_unit_test(a_slow_reader_gets_everything),
        cmocka_unit_test(a_reader_that_never_reads_meets_the_ceiling),
        cmocka_unit_test(writing_to_the_dead_fails_later),
        cmocka_unit_test(a_stream_may_free_itself_and_others_while_it_reads),
        cmocka_unit_test(last_words_reach_a_peer_that_still_talks),
        cmocka_unit_test(a_peer_that_has_said_all_is_not_waited_for),
        cmocka_unit_test(a_peer_that_does_not_hang_up_is_left),
        cmocka_unit_test(the_acceptor_survives_a_lack_of_descriptors),
        cmocka_unit_test(a_reset_is_an_end_with_a_reason),
        cmocka_unit_test(half_closing_peers_still_get_answers),
        cmocka_unit_test(idle_streams_are_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
