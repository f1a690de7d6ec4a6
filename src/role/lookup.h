/* lookup.h: questions to the DNS from processes that have no network of their own. They go to the resolver (resolver.h)
 * and come back as messages of io/ipc.h, encoded with base/codec.h; answers carry the tag of their question and may
 * come in another order. */
#ifndef TACIT_ROLE_LOOKUP_H
#define TACIT_ROLE_LOOKUP_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "io/ipc.h"
#include "mail/dns.h"

/* ---- the messages ---- */

struct lookup_query {
    uint32_t      tag;
    enum dns_type type;
    struct str    name;
};
bool lookup_query_put(const struct lookup_query *q, struct buf *out);
bool lookup_query_get(struct str message, struct lookup_query *ret_query); /* false: malformed */
enum { LOOKUP_NAME_MAX = 255 };

enum { LOOKUP_RECORDS = 512 };
/* Records that do not fit into a message are left out. */
bool lookup_answer_put(uint32_t tag, const struct dns_answer *a, struct buf *out);
/* What it points at lies in `message` and `arena`. False: malformed, or no memory. */
bool lookup_answer_get(struct str message, struct arena *arena, uint32_t *ret_tag, struct dns_answer *ret_answer);

/* ---- the asking side ---- */

enum { LOOKUP_PATIENCE_MS = 45 * 1000 }; /* more than the resolver's own */

struct lookup {
    struct io_loop *loop;
    struct io_ipc  *channel; /* NULL: there is no resolver at the moment */
    struct map      by_tag;
    struct list     questions; /* in the order of asking */
    uint32_t        tag;
    uint64_t        patience_ms;
};
struct lookup_question;

void lookup_init(struct lookup *l, struct io_loop *loop);
void lookup_done(struct lookup *l); /* open questions end without an answer */
/* The channel to a resolver, also to one that takes the place of another: what is open is asked anew. Takes fd. */
bool lookup_attach(struct lookup *l, int fd, struct err *err);

/* As io_dns_ask: answered once, never inside this call, also when the resolver is gone or silent (DNS_FAILED). NULL: no
 * memory. */
struct lookup_question *lookup_ask(struct lookup *l, struct str name, enum dns_type type,
                                   void (*answered)(const struct dns_answer *answer, void *arg), void *arg);
void                    lookup_cancel(struct lookup_question *q);
/* Now and then: gives up what has waited for too long. */
void                    lookup_tick(struct lookup *l);

#endif
