/* null_mx.h: whether a domain says in the DNS that it takes no mail at all (RFC 7505), for fronts, whose clients must
 * not wait for the DNS. What is known is answered at once; what is not, within NULL_MX_WAIT_MS; without an answer a
 * domain counts as one that takes mail, for whoever sends there finds out.
 *
 * What is remembered of a domain, for all who ask (domain_change in null_mx.c):
 *
 *   nothing --ask--> ASKED ------- answer, failure -------> KNOWN --its time is over, or others need the room-->
 * nothing | nothing in NULL_MX_WAIT_MS           ^
 *                      +--> LATE --- answer, failure ---------+
 *
 *   ASKED   a look-up is under way; who asks waits for it
 *   LATE    the same, and nobody waits
 *   KNOWN   for the TTL of the answer, within limits; after a failure for NULL_MX_FAILED_MS
 *
 * After NULL_MX_FAILURES look-ups in a row that came late, or failed and took their time, nobody waits at all: one
 * look-up at a time goes on for those who asked, and the first that is answered in time ends that. */
#ifndef TACIT_FRONT_NULL_MX_H
#define TACIT_FRONT_NULL_MX_H

#include "role/lookup.h"

enum {
    NULL_MX_WAIT_MS = 2000,
    NULL_MX_PATIENCE_MS = 10 * 1000, /* of a look-up for which nobody waits any more */
    NULL_MX_TTL_MIN_S = 30,
    NULL_MX_TTL_MAX_S = 600,
    NULL_MX_FAILED_MS = 15 * 1000,
    NULL_MX_FAILURES = 3,
    NULL_MX_QUICK_MS =
        250, /* a failure within that is no reason not to wait: the name servers of one domain are broken */
    NULL_MX_DOMAINS = 4096, /* remembered; the one that was asked for longest ago goes first */
    NULL_MX_OPEN = 1000,    /* look-ups at once; beyond, nobody asks and nobody waits */
};

struct null_mx {
    struct lookup lookup;
    struct map    domains;
    struct list   asked; /* ASKED, oldest first */
    struct list   used;  /* KNOWN, the longest unused first */
    size_t        known; /* how many of these */
    size_t        open;  /* look-ups under way */
    unsigned      failures;
    uint64_t      ahead_ms; /* of the loop's clock: tests need not wait */
};

void null_mx_init(struct null_mx *n, struct io_loop *loop);
void null_mx_done(struct null_mx *n); /* nobody may be waiting */
/* As lookup_attach. Without a resolver everything is answered at once. */
bool null_mx_attach(struct null_mx *n, int fd, struct err *err);
void null_mx_tick(struct null_mx *n); /* now and then: ends waits */

enum null_mx_answer { NULL_MX_NO, NULL_MX_YES, NULL_MX_LATER };
struct null_mx_question;
/* `domain` is canonical (mail/address.h) and no address literal. LATER: `answered` is called once, never inside this
 * call, and until then *ret_question can be cancelled. */
enum null_mx_answer null_mx_ask(struct null_mx *n, struct str domain, void (*answered)(bool is_null, void *arg),
                                void *arg, struct null_mx_question **ret_question);
void                null_mx_cancel(struct null_mx_question *q);

#endif
