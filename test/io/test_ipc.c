/* Channels between processes: order, descriptors, slow, dying and hostile peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/ipc.h"
#include "turns.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct side {
    struct io_loop *loop;
    struct io_ipc  *ipc;
    int             next; /* expected number */
    int             ends, fds;
    size_t          octets;
    bool            free_on_message, stop_on_message;
};

static void on_message(void *arg, struct str data, int fd)
{
    struct side *s = arg;
    uint32_t     number;

    assert_true(data.len >= sizeof number);
    memcpy(&number, data.data, sizeof number);
    assert_int_equal(number, (uint32_t)s->next);
    s->next++;
    s->octets += data.len;
    if (fd >= 0) {
        char c = 0;

        s->fds++;
        assert_int_equal(read(fd, &c, 1), 1);
        assert_int_equal(c, (char)number);
        close(fd);
    }
    if (s->free_on_message) {
        io_ipc_free(s->ipc);
        s->ipc = NULL;
    }
    if (s->stop_on_message)
        io_loop_stop(s->loop);
}

static void on_end(void *arg)
{
    struct side *s = arg;

    s->ends++;
    io_ipc_free(s->ipc);
    s->ipc = NULL;
}

static const struct io_ipc_ops ops = {on_message, on_end};

static void side_init(struct side *s, struct io_loop *loop, int fd)
{
    struct err err;

    *s = (struct side){.loop = loop};
    s->ipc = io_ipc_new(loop, fd, &ops, s, &err);
    assert_non_null(s->ipc);
}

static bool send_number(struct side *s, uint32_t number, size_t len, int fd)
{
    static char data[IPC_MESSAGE_MAX];

    memcpy(data, &number, sizeof number);
    return io_ipc_send(s->ipc, str_of(data, len), fd);
}

static int pipe_with(char c)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], &c, 1), 1);
    close(fds[1]);
    return fds[0];
}

static size_t open_fds(void)
{
    DIR   *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void messages_keep_order_and_descriptors(void **state)
{
    struct io_loop *loop;
    struct side     a, b;
    int             fds[2];
    size_t          before;

    (void)state;
    io_loop_free(io_loop_new(NULL)); /* what the first loop of a process opens stays open */
    before = open_fds();
    loop = io_loop_new(NULL);
    assert_true(io_ipc_pair(fds, NULL));
    side_init(&a, loop, fds[0]);
    side_init(&b, loop, fds[1]);
    for (uint32_t i = 0; i < 40; i++) {
        int fd = i % 4 == 0 ? pipe_with((char)i) : -1;

        assert_true(send_number(&a, i, i % 3 ? 5 : IPC_MESSAGE_MAX, fd)); /* far more than the socket holds */
        if (fd >= 0)
            close(fd);
    }
    assert_int_equal(b.next, 0);
    run_until(loop, &b.next, 40);
    assert_int_equal(b.next, 40);
    assert_int_equal(b.fds, 10);
    assert_int_equal(b.octets, 14 * IPC_MESSAGE_MAX + 26 * 5);
    io_ipc_free(a.ipc);
    io_loop_run(loop);
    assert_int_equal(b.ends, 1);
    io_loop_free(loop);
    assert_int_equal(open_fds(), before);
}

static void sizes_are_bounded(void **state)
{
    struct io_loop *loop = io_loop_new(NULL);
    struct side     a, b;
    int             fds[2];
    uint32_t        sent = 0;

    (void)state;
    assert_true(io_ipc_pair(fds, NULL));
    side_init(&a, loop, fds[0]);
    assert_false(io_ipc_send(a.ipc, STR_NONE, -1));
    assert_false(io_ipc_send(a.ipc, str_of("", IPC_MESSAGE_MAX + 1), -1));
    /* nobody reads: 16 MiB wait, then it is over */
    while (send_number(&a, sent, IPC_MESSAGE_MAX, -1))
        assert_true(++sent < 200);
    assert_in_range(sent, 120, 140);
    assert_int_equal(a.ends, 0);
    assert_false(send_number(&a, sent, 5, -1));
    side_init(&b, loop, fds[1]);
    run_until(loop, &a.ends, 1);
    run_until(loop, &b.ends, 1);
    assert_int_equal(a.ends, 1);
    assert_int_equal(b.ends, 1);
    io_loop_free(loop);
}

/* What a peer said before it was killed still arrives, although it left messages of ours unread. */
static void last_messages_of_the_dead_arrive(void **state)
{
    struct io_loop *loop = io_loop_new(NULL);
    struct side     b;
    int             fds[2];
    pid_t           pid;

    (void)state;
    assert_true(io_ipc_pair(fds, NULL));
    pid = fork();
    if (pid == 0) {
        uint32_t number;
        char     c;

        close(fds[1]);
        while (recv(fds[0], &c, 1, MSG_PEEK) < 0 && errno == EAGAIN)
            usleep(1000);
        for (number = 0; number < 3; number++)
            if (send(fds[0], &number, sizeof number, 0) < 0)
                _exit(1);
        _exit(0);
    }
    close(fds[0]);
    side_init(&b, loop, fds[1]);
    assert_true(send_number(&b, 0, 100, -1));
    waitpid(pid, NULL, 0);
    io_loop_run(loop);
    assert_int_equal(b.next, 3);
    assert_int_equal(b.ends, 1);
    io_loop_free(loop);
}

static void send_raw(int fd, size_t len, int passed, int count)
{
    static char   data[IPC_MESSAGE_MAX + 100];
    struct iovec  part = {data, len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char           space[CMSG_SPACE(8 * sizeof(int))];
    } control;

    memset(&control, 0, sizeof control);
    if (count) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        for (int i = 0; i < count; i++)
            memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)) + (size_t)i * sizeof(int), &passed, sizeof passed);
    }
    assert_int_equal(sendmsg(fd, &m, 0), (ssize_t)len);
}

static void excess_descriptors_are_closed_and_long_messages_end_it(void **state)
{
    struct io_loop *loop = io_loop_new(NULL);
    struct side     b;
    int             fds[2], passed = pipe_with(0);
    size_t          before;

    (void)state;
    assert_true(io_ipc_pair(fds, NULL));
    side_init(&b, loop, fds[1]);
    before = open_fds();
    send_raw(fds[0], 4, passed, 8);
    run_until(loop, &b.fds, 1);
    assert_int_equal(b.fds, 1);
    assert_int_equal(open_fds(), before);
    send_raw(fds[0], IPC_MESSAGE_MAX + 50, passed, 2);
    run_until(loop, &b.ends, 1);
    assert_int_equal(b.ends, 1);
    assert_int_equal(b.next, 1);
    assert_int_equal(open_fds(), before - 1); /* the channel itself */
    close(fds[0]);
    close(passed);
    io_loop_free(loop);
}

static void an_empty_message_is_an_end(void **state)
{
    struct io_loop *loop = io_loop_new(NULL);
    struct side     b;
    int             fds[2];

    (void)state;
    assert_true(io_ipc_pair(fds, NULL));
    side_init(&b, loop, fds[1]);
    assert_int_equal(send(fds[0], "", 0, 0), 0);
    run_until(loop, &b.ends, 1);
    assert_int_equal(b.ends, 1);
    close(fds[0]);
    io_loop_free(loop);
}

static void a_channel_may_be_freed_by_its_own_message(void **state)
{
    struct io_loop *loop = io_loop_new(NULL);
    struct side     a, b;
    int             fds[2];

    (void)state;
    assert_true(io_ipc_pair(fds, NULL));
    side_init(&a, loop, fds[0]);
    side_init(&b, loop, fds[1]);
    b.free_on_message = true;
    for (uint32_t i = 0; i < 5; i++)
        assert_true(send_number(&a, i, 10, -1));
    io_loop_run(loop);
    assert_int_equal(b.next, 1);
    assert_int_equal(b.ends, 0);
    assert_int_equal(a.ends, 1);
    io_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_keep_order_and_descriptors),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(last_messages_of_the_dead_arrive),
        cmocka_unit_test(excess_descriptors_are_closed_and_long_messages_end_it),
        cmocka_unit_test(an_empty_message_is_an_end),
        cmocka_unit_test(a_channel_may_be_freed_by_its_own_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
