/* metrics.h: a small HTTP server that answers GET /metrics, on a thread of its own (libmicrohttpd). */
#ifndef TACIT_IO_METRICS_H
#define TACIT_IO_METRICS_H

#include "base/buf.h"
#include "base/err.h"

enum { IO_METRICS_MAX = 1 << 20 /* octets of an answer */, IO_METRICS_CONNECTIONS = 16, IO_METRICS_TIMEOUT_S = 10 };

/* Serves on a listening descriptor, which it takes. `fill` makes the text; it runs on the other thread, one at a time.
 * False from it: 500. */
struct io_metrics;
struct io_metrics *io_metrics_start(int listen_fd, bool (*fill)(struct buf *out, void *arg), void *arg,
                                    struct err *err);
/* Waits for the thread and closes the descriptor; the socket goes on listening where another process has it. */
void               io_metrics_stop(struct io_metrics *m);

#endif
