/* contacts.h: the keeper's memory of what other servers said (directory/contacts.h).
 *
 * Questions are answered at once, on the loop's thread. What back tells is written on a work thread with a connection
 * of its own, so a slow disk holds up nobody who asks who exists. Without the database, because it cannot be made, is
 * damaged or locked, nothing is known and nothing remembered, a line in the log says so, and mail goes on. */
#ifndef TACIT_KEEPER_CONTACTS_H
#define TACIT_KEEPER_CONTACTS_H

#include "config/config.h"
#include "directory/contacts.h"
#include "io/loop.h"

struct keeper_contacts;

/* NULL: nothing is remembered; the log says why, where that is not what the configuration says. */
struct keeper_contacts *keeper_contacts_open(const struct config *config);
/* `closed` is called when the last writing has ended, maybe at once. NULL is closed at once. */
void                    keeper_contacts_close(struct keeper_contacts *k, void (*closed)(void *arg), void *arg);

/* Only what contacts.suppress means: an address that was said to be dead no longer ago than that. *ret_contact is
 * CONTACT_UNKNOWN otherwise. False: it cannot be read, err says why. */
bool keeper_contacts_find(struct keeper_contacts *k, const struct mail_address *address, uint64_t now_ms,
                          struct arena *arena, struct contact *ret_contact, struct err *err);

struct keeper_learning;
/* `text`: of ASK_LEARN; copied. `learned` is called later, once. NULL: too much waits, or it makes no sense: not
 * remembered, and `learned` is not called. */
struct keeper_learning *keeper_contacts_learn(struct keeper_contacts *k, struct io_loop *loop, struct str text,
                                              void (*learned)(void *arg, bool remembered), void *arg);
void keeper_learning_forsake(struct keeper_learning *l); /* nobody waits any more: `learned` is not called */
/* Now and then: forgets what is old. */
void keeper_contacts_tick(struct keeper_contacts *k, struct io_loop *loop);

#endif
