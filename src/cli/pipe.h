/* pipe.h: what the parts of tacit pipe share: an LMTP server (RFC 2033) on a Unix socket that gives each message to a
 * program. It is no part of the mail server, whose processes run no programs: it is started by whoever the program is
 * to run as, and meets neither queue nor mailboxes nor keys. The server delivers to it as to any LMTP server, so the
 * queue, further tries and reports are the server's.
 *
 *   pipe.c          the command: the socket, who may connect, a process for each connection
 *   pipe_session.c  that process: the conversation
 *   pipe_program.c  one run of the program, and the reply that its end makes
 *
 * A message may come again: a program that has done its work, and is killed before the 250 of it has arrived, gets it
 * once more (RFC 5321 4.5.3.2.6). */
#ifndef TACIT_CLI_PIPE_H
#define TACIT_CLI_PIPE_H

#include "mail/envelope.h"
#include "smtp/reply.h"

#include <stdio.h>

enum {
    PIPE_SAID_MAX = 300,        /* octets of what a program says that go into the reply */
    PIPE_KILL_AFTER_MS = 5000,  /* from SIGTERM to SIGKILL, for a program that takes too long */
    PIPE_COMMAND_MS = 300000,   /* wait for the client, RFC 5321 4.5.3.2.7 */
    PIPE_MEMORY_MAX = 1 << 20,  /* octets of a transaction, without its content */
    PIPE_RECIPIENTS_MAX = 1000, /* of a transaction */
    PIPE_MESSAGE_MS = 1500000,  /* for all runs of a transaction: our carrier gives it half an hour */
};

struct pipe_rules {
    char *const *words; /* the program with its whole path, then its arguments, with {…} in them; ends with NULL */
    uint64_t     timeout_ms, message_size;
};

struct pipe_message {
    const struct mail_address *sender;
    const struct recipient    *to;
    int                        content; /* a file, with the line ends that the program gets */
};

/* pipe_program.c */
/* False: a word has {…} with a name that does not exist, which is then in ret_name (borrowed). */
bool              pipe_words_check(char *const *words, struct str *ret_name);
/* Whether the message can be given to the program at all: no word may begin with the hyphen of a value, which the
 * program would take for an option. */
bool              pipe_takes(const struct pipe_rules *rules, const struct pipe_message *m);
/* Runs the program, blocking, at most PIPE_KILL_AFTER_MS longer than the rules allow. The reply's text is of `arena`.
 */
struct smtp_reply pipe_run(const struct pipe_rules *rules, const struct pipe_message *m, struct arena *arena);

/* A file without a name, which programs do not inherit; NULL: see errno. */
FILE *pipe_file(void);

/* pipe.c. Whether a signal to stop has come: what runs goes on to its end, and nothing is begun. Such signals are
 * blocked but for the waits, and a wait that has something to do at once takes none: so ask before anything is begun.
 */
bool pipe_is_stopping(void);

/* pipe_session.c */
/* The whole life of a connection, in a process of its own. Takes fd. */
void pipe_session(const struct pipe_rules *rules, int fd);

#endif
