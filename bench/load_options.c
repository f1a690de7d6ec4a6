#include "load_options.h"

#include <getopt.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct load_options load_options = {.sessions = 20,
                                    .connecting = LOAD_SESSIONS_MAX,
                                    .recipients = 1,
                                    .per_connection = 1,
                                    .messages = 1000,
                                    .seconds = 60,
                                    .range = 100000,
                                    .size = 4096,
                                    .from = "sender@load.example",
                                    .to = "alice@example.test"};

static void parse_address(const char *text)
{
    char             host[256];
    const char      *colon = strrchr(text, ':');
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};

    if (!colon || (size_t)(colon - text) >= sizeof host) {
        fprintf(stderr, "load: \"%s\" is not ADDRESS:PORT\n", text);
        exit(2);
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) {
        fprintf(stderr, "load: \"%s\" is not ADDRESS:PORT\n", text);
        exit(2);
    }
    memcpy(&load_options.address, found->ai_addr, found->ai_addrlen);
    load_options.address_len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void usage(void)
{
    fputs("usage: load [options] ADDRESS:PORT\n"
          "  -s N   sessions at once (20)          -m N   messages in all (1000)\n"
          "  -k N   messages on a connection (1)   -l N   octets of a message (4096)\n"
          "  -r N   recipients of a message (1)    -p     pipeline MAIL, RCPT and DATA\n"
          "  -f A   sender                         -t A   recipient; '#' in it becomes a number\n"
          "  -n N   of N numbers (100000)            -q     close after QUIT without waiting for its answer\n"
          "  -c N   connections that wait for their greeting at once (all)\n"
          "  -R     connect again when a connection breaks, and send its message again\n"
          "  -T N   end after N seconds (60)       -L F   write the tag of each accepted message to file F\n",
          stderr);
    exit(2);
}

void load_options_read(int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "s:m:k:l:r:c:pqf:t:n:RT:L:h")) != -1;) {
        switch (c) {
        case 's':
            load_options.sessions = (unsigned)atoi(optarg);
            break;
        case 'm':
            load_options.messages = strtoull(optarg, NULL, 10);
            break;
        case 'k':
            load_options.per_connection = (unsigned)atoi(optarg);
            break;
        case 'l':
            load_options.size = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            load_options.recipients = (unsigned)atoi(optarg);
            break;
        case 'p':
            load_options.pipeline = true;
            break;
        case 'c':
            load_options.connecting = (unsigned)atoi(optarg);
            break;
        case 'q':
            load_options.quit = true;
            break;
        case 'f':
            load_options.from = optarg;
            break;
        case 't':
            load_options.to = optarg;
            break;
        case 'n':
            load_options.range = strtoull(optarg, NULL, 10);
            break;
        case 'R':
            load_options.reconnect = true;
            break;
        case 'T':
            load_options.seconds = strtoull(optarg, NULL, 10);
            break;
        case 'L':
            load_options.ledger = fopen(optarg, "a");
            if (!load_options.ledger)
                perror(optarg), exit(1);
            setvbuf(load_options.ledger, NULL, _IOLBF, 0);
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc || load_options.sessions < 1 || load_options.sessions > LOAD_SESSIONS_MAX ||
        load_options.recipients < 1 || load_options.connecting < 1 || load_options.range < 1 ||
        (load_options.recipients > 1 && !load_options.pipeline))
        usage();
    parse_address(argv[optind]);
}
