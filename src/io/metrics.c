/* metrics.c: GET /metrics by libmicrohttpd.
 *
 * One thread with epoll serves all connections, so `fill` never runs twice at a time; connections, their memory and
 * their idle time are limited. The scraper's reading speed does not concern the loop. */
#include "io/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <unistd.h>

enum { CONNECTION_MEMORY = 16 * 1024 };

struct io_metrics {
    struct MHD_Daemon *daemon;
    bool (*fill)(struct buf *out, void *arg);
    void      *arg;
    struct buf text;
    int        listen_fd;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type, struct str body)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **state)
{
    static int         seen;
    struct io_metrics *m = arg;

    (void)version;
    (void)upload;
    if (!*state) { /* called first with the header alone; a reply now would cut off an upload */
        *state = &seen;
        return MHD_YES;
    }
    if (*upload_len) {
        *upload_len = 0;
        return MHD_YES;
    }
    if (!str_eq(str_from(url), STR("/metrics")))
        return reply(connection, MHD_HTTP_NOT_FOUND, "text/plain", STR("not found; see /metrics\n"));
    if (!str_eq(str_from(method), STR("GET")) && !str_eq(str_from(method), STR("HEAD")))
        return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", STR("only GET\n"));
    buf_clear(&m->text);
    if (!m->fill(&m->text, m->arg) || !buf_ok(&m->text))
        return reply(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", STR("no figures now\n"));
    return reply(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", buf_str(&m->text));
}

struct io_metrics *io_metrics_start(int listen_fd, bool (*fill)(struct buf *out, void *arg), void *arg, struct err *err)
{
    struct io_metrics *m = calloc(1, sizeof *m);

    if (!m) {
        err_set_os(err, ENOMEM, "metrics");
        close(listen_fd);
        return NULL;
    }
    m->fill = fill;
    m->arg = arg;
    m->listen_fd = listen_fd;
    buf_init(&m->text, IO_METRICS_MAX);
    m->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, handle, m, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)IO_METRICS_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IO_METRICS_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    if (!m->daemon) {
        err_set(err, ERR_TEMPORARY, "metrics: the HTTP server does not start");
        close(listen_fd);
        free(m);
        return NULL;
    }
    return m;
}

void io_metrics_stop(struct io_metrics *m)
{
    if (!m)
        return;
    MHD_quiesce_daemon(m->daemon); /* else stop would shut the socket down, for whoever else holds it too */
    MHD_stop_daemon(m->daemon);
    close(m->listen_fd);
    buf_done(&m->text);
    free(m);
}
