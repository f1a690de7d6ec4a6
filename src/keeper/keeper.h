/* keeper.h: the process that knows who exists.
 *
 * It opens the directories and the server's key, and answers the questions of ask.h. Who asks, it knows from the
 * channel; what a front says of its client (class, sender) it must believe, so a front in wrong hands can ask what the
 * most trusted class may ask, one address at a time, and no more: not where an address leads, not a list of all. What a
 * front may never ask is refused and logged. */
#ifndef TACIT_KEEPER_KEEPER_H
#define TACIT_KEEPER_KEEPER_H

#include "config/config.h"
#include "role/ask.h"
#include "role/counters.h"

struct keeper;

/* Opens all directories and the key, and makes them where there is no key yet. `patient`: also directories that cannot
 * be read now. `config` must stay. */
struct keeper *keeper_new(const struct config *config, bool patient, struct err *err);
void           keeper_free(struct keeper *k);

enum keeper_verdict {
    KEEPER_ANSWERED,
    KEEPER_REFUSED, /* the asker may not ask this; the answer says nothing. Worth a warning */
    KEEPER_FAILED,  /* a directory could not be read, err says why; the answer says that it failed */
    KEEPER_LEARNS,  /* ASK_LEARN: keeper_contacts_learn takes it, and the answer comes later */
};
/* The answer to one question, with its tag; everything in it lies in `arena` or in the question. Touches nothing but
 * the directories. */
enum keeper_verdict keeper_answer(struct keeper *k, const struct ask *ask, bool from_front, uint64_t now_ms,
                                  struct arena *arena, struct answer *ret_answer, struct err *err);

#endif
