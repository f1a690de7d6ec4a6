/* explain.h: between the files of tacit explain. */
#ifndef TACIT_CLI_EXPLAIN_H
#define TACIT_CLI_EXPLAIN_H

#include "base/arena.h"
#include "base/buf.h"

/* What a report (RFC 3464) says of one recipient; strings borrow the text, or lie in the arena. */
struct report_recipient {
    struct str address, action, status, diagnostic, remote;
};
enum { REPORT_RECIPIENTS = 100 };
/* The recipients in a pasted report, 0 if it is none. */
size_t explain_report_read(struct str text, struct arena *arena, struct report_recipient ret[REPORT_RECIPIENTS]);

#endif
