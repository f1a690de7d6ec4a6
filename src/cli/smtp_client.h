/* smtp_client.h: a small blocking SMTP client over a Unix socket, for commands that hand a message to the server. */
#ifndef TACIT_CLI_SMTP_CLIENT_H
#define TACIT_CLI_SMTP_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

enum { SMTP_CLIENT_WAIT_S = 600 /* for one reply, or for room to send */, SMTP_CLIENT_REPLY_MAX = 64 * 1024 };

struct smtp_client {
    int        fd;
    struct buf in;
    size_t     taken;                      /* octets of `in` that earlier replies took */
    bool       size, utf8, eight_bit, dsn; /* offered */
};

struct smtp_client_reply {
    unsigned   code;
    struct str text; /* all lines, each with LF; valid until the next call */
};

/* Connects and reads nothing. Where nobody listens: ERR_TEMPORARY. */
bool smtp_client_open(struct smtp_client *c, const char *path, struct err *err);
void smtp_client_close(struct smtp_client *c);

bool smtp_client_read(struct smtp_client *c, struct smtp_client_reply *ret_reply, struct err *err);
/* Sends a line (without CRLF) and reads the reply. */
bool smtp_client_say(struct smtp_client *c, struct str line, struct smtp_client_reply *ret_reply, struct err *err);
/* Greeting, EHLO (name is ours), and what was offered. False also when either is refused. */
bool smtp_client_hello(struct smtp_client *c, struct str name, struct err *err);
/* After 354: content with CRLF line ends, dots stuffed here, and the end; reads the reply. */
bool smtp_client_content(struct smtp_client *c, struct str content, struct smtp_client_reply *ret_reply,
                         struct err *err);
/* Raw octets. */
bool smtp_client_send(struct smtp_client *c, struct str data, struct err *err);

#endif
