/* trace.h: drives a server without sockets and writes down everything it does, one line each: "S: " a line of output,
 * "E: " an event. Content is gathered over pieces, so that the trace does not depend on how the input was cut; that it
 * does not is what the tests prove. */
#ifndef TACIT_TEST_SMTP_TRACE_H
#define TACIT_TEST_SMTP_TRACE_H

#include "smtp/server.h"

struct trace {
    struct smtp_server *server;
    struct buf          text;    /* what happened */
    struct buf          content; /* not yet in `text` */
    struct buf          output;  /* a line that is not whole yet */
    struct smtp_reply (*answer)(void *arg, const struct smtp_event *event, size_t number); /* number: of the question */
    void  *arg;
    size_t questions;
    bool   closed;
    bool   started;
};

void trace_start(struct trace *t, const struct smtp_server_config *config, const struct smtp_reply *refusal,
                 struct smtp_reply (*answer)(void *, const struct smtp_event *, size_t), void *arg);
void trace_feed(struct trace *t, struct str in, size_t piece);     /* by trace_pieces */
void trace_close(struct trace *t, const struct smtp_reply *reply); /* from outside */
void trace_end(struct trace *t);                                   /* the text stays */
void trace_done(struct trace *t);

/* Gives `in` to `feed` in pieces of up to `piece` octets, each in memory of exactly its size that is gone after the
 * call, until *closed. */
void trace_pieces(struct str in, size_t piece, const bool *closed, void (*feed)(void *arg, struct str in), void *arg);

/* The text of a file of scripts, until the next call; where it cannot be read, the process ends. */
struct str trace_file(const char *path);
/* Whether a line of a trace is what a script wants; "..." at the end of that stands for whatever follows. */
bool       trace_fits(struct str line, struct str want);

/* Bytes outside printable ASCII, and backslashes, as \xHH. */
void        trace_escape(struct str s, struct buf *out);
/* The octets that a script writes with \r \n \0 \\ \xHH. NULL, or what is wrong with it. */
const char *trace_unescape(struct str in, struct arena *arena, struct str *ret_octets);

#endif
