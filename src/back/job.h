/* job.h: one recipient of an attempt while it is under way: back/resolve.c finds out where it leads, back/local.c
 * puts the message into a mailbox. Both end in job_end or job_fail, after which the job is gone.
 *
 *   job_start --> ask the keeper --+--> absent, disabled, ...      job_end
 *                                  +--> several targets            job_end, and a job for each of them
 *                                  +--> another domain             job_end
 *                                  +--> a mailbox: job_deliver --> job_end */
#ifndef TACIT_BACK_JOB_H
#define TACIT_BACK_JOB_H

#include "back/back.h"

struct job {
    struct attempt         *attempt;
    size_t                  i; /* of the recipient */
    struct maildir_delivery delivery;
    struct buf              head, path;
    enum maildir_result     result;
    const char             *outcome; /* for the log */
    struct err              err;
};

/* back/resolve.c */
void job_start(struct attempt *a, size_t i);
/* The state, status and reason of the recipient are set; `result` is for the log. */
void job_end(struct job *j, const char *result);
void job_fail(struct job *j, bool permanent, const char *status, struct str reason);
void job_drop(struct job *j); /* it shares the end of another one, and says nothing itself */

/* back/local.c */
void       job_deliver(struct job *j); /* to the mailbox that the recipient was resolved to */
/* The key of a mailbox, or of an address elsewhere, among the recipients of a message; data is NULL: no memory. */
struct str mailbox_key(struct attempt *a, const struct mail_address *mailbox);

#endif
