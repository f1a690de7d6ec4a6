/* power_queue_story.h: what a queue lives through while power.h notes each change: a front's lane with messages, back's
 * lane with what became of them, segments that are released, used again, and emptied by compaction. Back follows the
 * front's lane only as far as that is durable; it releases and compacts as src/back/ does, without waiting for
 * segments to settle. Include cmocka before it. The variables say what the newest story did. */
#ifndef TACIT_TEST_SPOOL_POWER_QUEUE_STORY_H
#define TACIT_TEST_SPOOL_POWER_QUEUE_STORY_H

#include "harness.h"
#include "power.h"
#include "queue/queue.h"

enum { LANES = 2, MESSAGES = 120 };
enum mark { MARK_ACCEPTED = 1, MARK_PROGRESS, MARK_FINISHING, MARK_FINISHED }; /* of a message; how many attempts */
enum state { UNKNOWN, ACCEPTED, FINISHING, FINISHED };

extern char            dirs[LANES][300];
extern struct queue    q;
extern uint64_t        ids[MESSAGES];
extern unsigned        count, attempts[MESSAGES], releases, compactions;
extern enum power_sync mute_late; /* left out by the next processes */

bool writers_open(void);
void writers_close(void);
bool replay(void); /* as back does at its start; then queue_end */
void queue_end(void);

/* In the directory of harness.h; the log begins. */
struct power_log *story_begin(void);
void              story_end(struct power_log *log);
/* False: the process died in it (power_die_at). */
bool              tell(void);
/* The next processes, in a log of their own or in that of those who died; the recording ends. `states`: what was known
 * of each message. Whom recovery shows them they send, and whom it does not, they never send again. */
void              recover_and_go_on(const enum state states[MESSAGES]);

#endif
