/* control_client.h: a request to the running server on its control socket, for commands. */
#ifndef TACIT_CLI_CONTROL_CLIENT_H
#define TACIT_CLI_CONTROL_CLIENT_H

#include "cli/cli.h"

#include <jansson.h>

/* Sends the request (taken) and calls `row` for each object that comes before the end; a row stays the caller's of
 * `row` only during the call. Prints what is wrong. *ret_end (may be NULL): the last object, to be freed. */
int  control_call(struct cli *cli, json_t *request, void (*row)(json_t *row, void *arg), void *arg, json_t **ret_end);
/* As control_call, where an answer is welcome and not needed: nothing is printed if the server does not run or refuses.
 */
void control_ask(struct cli *cli, json_t *request, void (*row)(json_t *row, void *arg), void *arg);
/* As control_call, for very many rows that are only passed on: `line` gets each as the server wrote it, with its LF. */
int  control_call_lines(struct cli *cli, json_t *request, void (*line)(struct str line, void *arg), void *arg);

/* "3m", "2h", "5d": a duration as tables show it; and a time of day with its date, local, with its
 * distance from UTC. */
void        control_age_text(uint64_t ms, char ret_text[16]);
void        control_time_text(uint64_t unix_ms, char ret_text[32]);
void        control_size_text(uint64_t octets, char ret_text[16]);
/* Members of a row: "" or 0 where they are missing. A number may be written as text. */
const char *control_text(const json_t *row, const char *name);
uint64_t    control_u64(const json_t *row, const char *name);

#endif
