/* internal.h: what the files of io/ share about the loop. Nobody else includes it. */
#ifndef TACIT_IO_INTERNAL_H
#define TACIT_IO_INTERNAL_H

#include "base/list.h"
#include "io/ipc.h"
#include "io/loop.h"

#include <uv.h>

struct io_stream;

enum {
    IO_READ_SIZE = 64 * 1024,             /* octets that a stream reads at a time */
    IO_LOOP_BUFFER = IPC_MESSAGE_MAX + 8, /* of the loop, shared by streams and channels */
    IO_ROUND_MAX = 8,                     /* callbacks of io_loop_on_round */
};

struct io_stream_slot {
    struct io_stream *stream; /* NULL: this descriptor is no stream */
    uint32_t          generation;
};

struct io_loop {
    uv_loop_t    uv;
    uv_prepare_t prepare;
    struct {
        void (*each)(void *arg);
        void *arg;
    } rounds[IO_ROUND_MAX];
    size_t      round_count;
    struct list signals;

    /* streams: stream.c */
    int                    epoll_fd;
    uv_poll_t              epoll_poll;
    uv_idle_t              ready_idle; /* runs while `ready` has members, so that the loop does not sleep on them */
    struct list            ready;
    struct io_stream_slot *slots; /* by descriptor */
    size_t                 slot_count, stream_count;

    char *buffer; /* IO_LOOP_BUFFER octets */
};

bool io_stream_loop_init(struct io_loop *loop, struct err *err);
void io_stream_loop_close(struct io_loop *loop); /* begins to close the handles */
void io_stream_loop_done(struct io_loop *loop);

#endif
