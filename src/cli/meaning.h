/* meaning.h: what became of a message, in plain words, for tacit queue show and tacit trace. */
#ifndef TACIT_CLI_MEANING_H
#define TACIT_CLI_MEANING_H

#include <jansson.h>

/* Prints, each line behind `indent`, what another server said of a recipient, if one was asked, and what that or the
 * status means, if it is bad news. `row`: a recipient of queue.show, or an attempt of the log. */
void meaning_print(const json_t *row, const char *indent);

/* Prints what happens next to a message that is in the queue, and when: a line. `row`: of queue.show. */
void meaning_print_next(const json_t *row);

#endif
