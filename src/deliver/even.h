/* even.h: the work of a delivery without one (doc/disclosure.md, After acceptance).
 *
 * A message that a mailbox gets is written, synced, renamed, and synced again; for a name without a mailbox nothing of
 * that is needed. Whoever sends messages of his own meanwhile sees the disk being busy, and so who exists. So for mail
 * of those who may not know that, as much is written where nobody reads. */
#ifndef TACIT_DELIVER_EVEN_H
#define TACIT_DELIVER_EVEN_H

#include <stdint.h>

/* Writes `size` octets into a file below `path`, which is made if it is missing, with the calls of maildir_deliver.
 * What stands in the file means nothing. Blocking; several threads may do it at once. It may fail in silence: nothing
 * depends on it. */
void even_write(const char *path, uint64_t size);

#endif
