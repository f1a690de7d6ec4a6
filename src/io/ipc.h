/* ipc.h: messages between tacit's own processes: SOCK_SEQPACKET pairs, a message is a run of octets and at most one
 * descriptor. Order is kept, nothing is lost while both ends live; a peer's death is an `end`. */
#ifndef TACIT_IO_IPC_H
#define TACIT_IO_IPC_H

#include "base/str.h"
#include "io/loop.h"

enum { IPC_MESSAGE_MAX = 128 * 1024 }; /* octets */

bool io_ipc_pair(int ret_fds[2], struct err *err); /* close-on-exec, non-blocking, send buffers for IPC_MESSAGE_MAX */

struct io_ipc;
struct io_ipc_ops {
    void (*message)(void *arg, struct str data, int fd); /* fd: -1, or now the callee's */
    void (*end)(void *arg);                              /* the peer is gone; call io_ipc_free */
};
/* Takes fd. */
struct io_ipc *io_ipc_new(struct io_loop *loop, int fd, const struct io_ipc_ops *ops, void *arg, struct err *err);
void           io_ipc_free(struct io_ipc *c);
/* Sends, or queues while the peer is slow (up to 16 MiB, then the channel counts as ended). `fd` -1 or passed on (the
 * caller keeps its own copy). False: ended; the message was not sent. */
bool           io_ipc_send(struct io_ipc *c, struct str data, int fd);
size_t         io_ipc_unsent(const struct io_ipc *c); /* octets that are queued */

#endif
