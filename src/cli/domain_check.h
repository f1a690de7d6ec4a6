/* domain_check.h: which of very many domains take mail, by the DNS (queue/route.h), many questions at a time, for
 * commands: it runs a loop of its own until all is known. It asks the DNS and connects to no mail server. */
#ifndef TACIT_CLI_DOMAIN_CHECK_H
#define TACIT_CLI_DOMAIN_CHECK_H

#include "base/err.h"
#include "config/config.h"
#include "queue/route.h"

enum { DOMAIN_CHECK_AT_ONCE = 64 };

struct domain_check {
    struct str         name; /* canonical, or an address literal */
    enum route_outcome outcome;
    char               status[12]; /* "5.1.10"; of ROUTE_FOUND empty */
    struct str         reason;     /* a sentence; of ROUTE_FOUND empty */
};

/* Fills in outcome, status and reason, which lies in `arena`, of each. `progress` (may be NULL) is called now and then.
 * False: there is no way to ask. */
bool domain_check_all(const struct config *config, struct domain_check *const *domains, size_t count,
                      void (*progress)(size_t done, size_t count, void *arg), void *arg, struct arena *arena,
                      struct err *err);

#endif
