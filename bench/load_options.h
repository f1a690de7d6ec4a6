/* load_options.h: what the load generator was told on its command line. */
#ifndef TACIT_BENCH_LOAD_OPTIONS_H
#define TACIT_BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

enum { LOAD_SESSIONS_MAX = 20000 };

struct load_options {
    struct sockaddr_storage address;
    socklen_t               address_len;
    unsigned                sessions, recipients, per_connection;
    unsigned                connecting; /* connections that may wait for their greeting at once */
    uint64_t                messages, seconds;
    uint64_t                range; /* numbers that '#' in `to` becomes */
    size_t                  size;
    bool                    pipeline, reconnect;
    bool                    quit; /* after QUIT, do not wait for its answer */
    const char             *from, *to;
    FILE                   *ledger; /* NULL: none */
};
extern struct load_options load_options;

/* Ends the program with status 2 and the usage where the arguments are wrong. */
void load_options_read(int argc, char **argv);

#endif
