/* storage.h: whether a process can store what it is given. It says so itself in its slot of the counters, for
 * `tacit status`.
 *
 *             storage_look: too little room
 *   (fine) ◄────────────────────────────────► FULL     looked at every second, whether mail comes or not
 *             storage_look: room again
 *
 *             storage_failed
 *   (fine) ◄────────────────────────────────► FAILED   known only by trying: it holds until something is stored
 *             storage_stored
 *
 * FAILED holds over FULL. A trouble that comes back within a minute has not ended. One process writes, any may read:
 * each word is whole, all together may be of two moments. */
#ifndef TACIT_ROLE_STORAGE_H
#define TACIT_ROLE_STORAGE_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

enum storage_problem { STORAGE_FINE, STORAGE_FULL, STORAGE_FAILED };

struct storage {
    _Atomic uint32_t problem;           /* enum storage_problem: that of now, or the last that ended */
    _Atomic int32_t  os_error;          /* FAILED: the last */
    _Atomic uint64_t since_ms, last_ms; /* Unix time: when it began, and when it was last met */
    _Atomic uint64_t until_ms;          /* when it ended; 0: it has not */
    /* FULL, octets: of the file system that are free; of these those left free; those that what waits will need; and
     * the largest message that is taken. */
    _Atomic uint64_t free, reserve, waiting, largest;
};
struct storage_room {
    uint64_t free, reserve, waiting, largest;
};

/* `wanted`: octets of the largest message there may be. now_ms: Unix time, here and below. */
void storage_look(struct storage *s, const struct storage_room *room, uint64_t wanted, uint64_t now_ms);
/* What was no failure of the disk is passed over. */
void storage_failed(struct storage *s, const struct err *err, uint64_t now_ms);
void storage_stored(struct storage *s, uint64_t now_ms);
void storage_reset(struct storage *s); /* nothing was ever wrong */

#endif
