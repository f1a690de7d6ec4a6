/* queue.h: the files of tacit queue among themselves: queue.c has the commands, queue_request.c what they ask for,
 * queue_rows.c what is shown. */
#ifndef TACIT_CLI_QUEUE_H
#define TACIT_CLI_QUEUE_H

#include "cli/control_client.h"

#define QUEUE_FILTER_OPTIONS                                                                                           \
    {.name = "sender",                                                                                                 \
     .value = "ADDRESS",                                                                                               \
     .help = "messages from this return path; @DOMAIN for all of a domain, \"<>\" for the null one"},                  \
        {.name = "recipient", .value = "ADDRESS", .help = "messages that still have this recipient, or @DOMAIN"},      \
        {.name = "domain", .value = "DOMAIN", .help = "messages that still have a recipient of this domain"},          \
        {.name = "site", .value = "HOST", .help = "messages for which this server was asked last: a name or address"}, \
        {.name = "reply",                                                                                              \
         .value = "REPLY",                                                                                             \
         .help = "messages with this last reply: a code such as 451, a status such as 4.2.1, or a part of its text"},  \
        {.name = "text", .value = "TEXT", .help = "messages of which status, reason or reply contain this text"},      \
        {.name = "state", .value = "STATE", .help = "queued, active, deferred, waiting, unclaimed or held"},           \
        {.name = "older", .value = "TIME", .help = "received longer ago than this, such as 2h"},                       \
        {.name = "newer", .value = "TIME", .help = "received less long ago than this"},                                \
        {.name = "larger", .value = "SIZE", .help = "with more octets than this, such as 10M"},                        \
        {.name = "smaller", .value = "SIZE", .help = "with fewer octets than this"},                                   \
    {                                                                                                                  \
        .name = "unclaimed", .help = "mail of strangers for mailboxes that do not exist"                               \
    }

/* The request for the messages that ids and filters name; other members are added by the caller. NULL: wrong use, which
 * was said. */
json_t *queue_request(struct cli *cli, const char *command);
bool    queue_names_any(const struct cli *cli); /* an id or a filter was given */

void queue_print_json(const json_t *row); /* on a line */
int  queue_list(struct cli *cli);
int  queue_show(struct cli *cli);

#endif
