/* earlier.h: which messages lay in a mailbox before this process delivered anything there.
 *
 * After a restart many messages of one mailbox may have to be looked for. Its directories are read once, at the first
 * question, and what can matter is remembered (16 octets for each message that is not older than the oldest in the
 * queue): what another process delivered is there by then, and what this one delivers it knows. */
#ifndef TACIT_DELIVER_EARLIER_H
#define TACIT_DELIVER_EARLIER_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct maildir_earlier;

/* Nothing older than `oldest_id` will be asked for. NULL: no memory. */
struct maildir_earlier *maildir_earlier_new(uint64_t oldest_id);
void                    maildir_earlier_free(struct maildir_earlier *e); /* NULL: nothing */

/* Whether the message lies in new/ or cur/, under whatever flags; if so, it is durable. False: that cannot be told now.
 * Blocking; several threads may ask at once. */
bool maildir_earlier_find(struct maildir_earlier *e, const char *maildir, uint64_t id, uint64_t mailbox_hash,
                          bool *ret_found, struct err *err);

/* The first part of a file's name: TIME.MmicrosQidRhash and a dot. Returns its length. */
enum { MAILDIR_STEM_MAX = 80 };
size_t maildir_stem(uint64_t id, uint64_t mailbox_hash, char ret_stem[MAILDIR_STEM_MAX]);

#endif
