/* sandbox_calls.h: the system calls' half of sandbox.h. Only sandbox.c includes it. */
#ifndef TACIT_IO_SANDBOX_CALLS_H
#define TACIT_IO_SANDBOX_CALLS_H

#include "io/sandbox.h"

bool sandbox_has_seccomp(void);
bool sandbox_limit_calls(enum sandbox_profile profile, struct err *err); /* all but the rows of the profile */
bool sandbox_forbid_calls(struct err *err);                              /* master's: some, all others stay */

#endif
