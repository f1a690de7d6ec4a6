/* power.h: a disk that remembers what was done to it, and shows how a loss of power could have left it.
 *
 * While a log records, every change that the spool, or a delivery, makes below `power_root` is carried out and noted:
 * writes, changes of size, syncs, names that appear, change or go, and directories. A moment is a number of notes. For
 * each moment the directory can be built anew as the power may have left it there, within what POSIX promises and no
 * more:
 *
 *   - what was written and then synced is there;
 *   - what was written and not synced is there, is not, or is in part: any sectors of 512 octets of it, in any order,
 *     or all up to one octet; a file may have grown without its data;
 *   - a change of a directory that was not synced happened or not, any of them without the others, and a move between
 *     two directories may be half of one; what was in a directory that was lost is lost;
 *   - what a failed sync was to write may be there or not, and no later sync mends it: the kernel takes the pages for
 *     clean.
 *
 * Where there is a choice, struct power_choice makes it. */
#ifndef TACIT_TEST_SPOOL_POWER_H
#define TACIT_TEST_SPOOL_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const char *power_root; /* the caller's; recording is about what lies below it */

enum power_how {
    POWER_LOSE,   /* nothing that was not synced */
    POWER_KEEP,   /* all of it */
    POWER_RANDOM, /* by `state` */
    POWER_EACH,   /* one combination after the other: power_choice_next */
    POWER_TEAR,   /* all, but of the newest write that was not synced only the first `tear` octets */
};
enum { POWER_CHOICES_MAX = 48 };
struct power_choice {
    enum power_how how;
    uint64_t       state;
    uint64_t       tear, tear_max; /* tear_max: what can be torn, found while building */
    unsigned       used, depth;
    uint16_t       picks[POWER_CHOICES_MAX], limits[POWER_CHOICES_MAX];
};
bool power_choice_next(struct power_choice *c); /* false: that was the last combination */

/* The syncs, by what they are for. What is muted is not carried out and yet answered with success: as if the program
 * did not ask for it. */
enum power_sync {
    POWER_SYNC_NONE,
    POWER_SYNC_RECORDS,  /* of a segment, or of the file that becomes one, with records */
    POWER_SYNC_CUT,      /* of a segment whose end was cut, or was found */
    POWER_SYNC_BODY,     /* of a large body */
    POWER_SYNC_BODY_DIR, /* of the directory with bodies */
    POWER_SYNC_BEGUN,    /* of a lane's directory in which a segment got its name */
    POWER_SYNC_GONE,     /* of a lane's directory in which a segment lost its name */
    POWER_SYNC_LANE,     /* of a lane's directory in which its own directories are new */
    POWER_SYNC_PARENT,   /* of the directory of the lanes */
    POWER_SYNC_LETTER,   /* of a file in a mailbox */
    POWER_SYNC_NEW,      /* of new/ of a mailbox */
    POWER_SYNC_MAILBOX,  /* of a directory in which a mailbox, or a part of it, is made */
    POWER_SYNC_OTHER,    /* a file that is cleared ahead: speed alone depends on it */
};
extern enum power_sync power_muted;
extern unsigned        power_muted_hits;

/* What the next calls do: the process dies before its change number `power_die_at` (from 1; 0: never), and none of its
 * calls does anything any more; or its sync number `power_fail_at` fails. Counted from power_record on. */
extern unsigned power_die_at, power_fail_at;
extern unsigned power_changes, power_syncs; /* made so far */

struct power_log;
struct power_log *power_record(void); /* what is in the directory now is durable */
void              power_stop(void);   /* the calls are the real ones again, but for syncs, which do nothing */
void              power_revive(void); /* after a death: the next process */
void              power_log_free(struct power_log *log);
size_t            power_moments(const struct power_log *log);
size_t            power_failed(const struct power_log *log); /* the moment of the death, or the failed sync; else 0 */

/* A note of the story's own, in the log that records. */
void power_mark(unsigned what, unsigned from, unsigned to);
/* Calls `each` for the marks before a moment, in their order. */
void power_each_mark(const struct power_log *log, size_t                                       moment,
                     void (*each)(unsigned what, unsigned from, unsigned to, void *arg), void *arg);
void power_build(struct power_log *log, size_t moment, struct power_choice *choice);

#endif
