/* contact.h: what other servers said of their addresses: back tells the keeper, which remembers it. */
#ifndef TACIT_BACK_CONTACT_H
#define TACIT_BACK_CONTACT_H

#include "directory/contacts.h"
#include "role/carriage.h"

struct back;

/* What became of `address` in a carriage that `by` tells of. Only where the server speaks for the address's domain: the
 * way was "mx", or a route written for this very domain. What a smarthost for everybody says is no word of the domain.
 * Cheap, never waits, and may lose what it is told. */
void back_contact_learn(struct back *b, const struct mail_address *address, const struct carried *by,
                        const struct carried_recipient *r);
/* Each second, and when back drains. */
void back_contact_tick(struct back *b);

/* What it means; for the above, and for tests. False: nothing. Strings borrow the arguments; `text` is raw. */
bool back_contact_judge(const struct mail_address *address, const struct carried *by, const struct carried_recipient *r,
                        uint64_t now_ms, struct contact *ret_contact);

#endif
