/* client_trace.h: drives a client without sockets and writes down everything it does, one line each: "C: " a line of
 * output, "E: " an event or a result. Output is sent at once; content is given as soon as it is asked for. */
#ifndef TACIT_TEST_SMTP_CLIENT_TRACE_H
#define TACIT_TEST_SMTP_CLIENT_TRACE_H

#include "smtp/client.h"

struct client_trace {
    struct smtp_client        *client;
    struct buf                 text;   /* what happened */
    struct buf                 output; /* a line that is not whole yet */
    struct smtp_client_message message;
    struct str                 content;
    size_t                     give; /* octets of content given at a time */
    bool                       tls_works, converts;
    bool                       ready; /* a message may be given */
    bool                       closed;
};

void client_trace_start(struct client_trace *t, const struct smtp_client_config *config);
void client_trace_feed(struct client_trace *t, struct str in, size_t piece); /* by trace_pieces of trace.h */
/* `message` is copied; what it points at must stay. */
void client_trace_message(struct client_trace *t, const struct smtp_client_message *message, struct str content);
void client_trace_go_on(struct client_trace *t); /* after a call to the client itself: lost, timed out, quit */
void client_trace_done(struct client_trace *t);

#endif
