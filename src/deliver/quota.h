/* quota.h: how much a mailbox holds: the file "maildirsize" of Maildir++ as Courier and Dovecot keep it.
 *
 *   maildirsize = limit LF *( octets " " messages LF )        ; entries may be negative
 *   limit       = octets "S"
 *
 * Whoever delivers or removes appends an entry; the sum is what is used. It is counted anew when the limit in its first
 * line is another, when it has grown past 5120 octets, or when it says that the mailbox is full and is older than 15
 * minutes or more than one entry: others may have removed messages without a word. */
#ifndef TACIT_DELIVER_QUOTA_H
#define TACIT_DELIVER_QUOTA_H

#include "base/err.h"

#include <stdint.h>

/* Whether `octets` more fit under `limit` (not 0). Sets *ret_fits; false: the mailbox could not be read. */
bool quota_fits(const char *maildir, uint64_t limit, uint64_t octets, bool *ret_fits, uint64_t *ret_used,
                struct err *err);
/* Notes a message that is about to be delivered, where the file is kept. False: it could not be noted, which matters
 * only under a limit (not 0). Before the delivery and not after it: what is noted too much is found out when the
 * mailbox seems full, what is noted too little would not be. */
bool quota_add(const char *maildir, uint64_t limit, uint64_t octets, struct err *err);
/* The mailbox may hold something else than is noted: counted anew when next asked for. */
void quota_forget(const char *maildir);

#endif
