/* submission.h: a small blocking SMTP client over a Unix socket, for commands that hand a message to the server. */
#ifndef TACIT_CLI_SUBMISSION_H
#define TACIT_CLI_SUBMISSION_H

#include "base/buf.h"
#include "base/err.h"

enum { SUBMISSION_WAIT_S = 600 /* for one reply, or for room to send */, SUBMISSION_REPLY_MAX = 64 * 1024 };

struct submission {
    int        fd;
    struct buf in;
    size_t     taken;                      /* octets of `in` that earlier replies took */
    bool       size, utf8, eight_bit, dsn; /* offered */
};

struct submission_reply {
    unsigned   code;
    struct str text; /* all lines, each with LF; valid until the next call */
};

/* Connects and reads nothing. Where nobody listens: ERR_TEMPORARY. */
bool submission_open(struct submission *c, const char *path, struct err *err);
void submission_close(struct submission *c);

bool submission_read(struct submission *c, struct submission_reply *ret_reply, struct err *err);
/* Sends a line (without CRLF) and reads the reply. */
bool submission_say(struct submission *c, struct str line, struct submission_reply *ret_reply, struct err *err);
/* Greeting, EHLO (name is ours), and what was offered. False also when either is refused. */
bool submission_hello(struct submission *c, struct str name, struct err *err);
/* After 354: content with CRLF line ends, dots stuffed here, and the end; reads the reply. */
bool submission_content(struct submission *c, struct str content, struct submission_reply *ret_reply, struct err *err);
/* Raw octets. */
bool submission_send(struct submission *c, struct str data, struct err *err);

#endif
