/* contacts.h: the memory of what other servers said of their addresses: delivered, moved, no such mailbox, full; and of
 * domains, that they take no mail. An SQLite database, data/contacts.db: the keeper writes it and asks it, `tacit
 * contacts` opens it by itself. Nothing depends on it but advice: where it cannot be read, nothing is known.
 *
 * An address has one entry: the last that was said of it, and since when the same was said. A domain's entry has an
 * empty local part; mail that is delivered to one of its addresses ends it. Addresses are canonical (mail/address.h)
 * and known by mail_local_key(local, 0), so "Ann@example.net" and "ann@example.net" are one. That a mailbox takes mail
 * is written once in CONTACTS_FRESH_MS, however often it is said.
 *
 * A change is atomic, but not durable when it returns: a power cut may take the last minutes with it, and nothing else.
 * All calls may block on disk. One thread at a time for each `struct contacts`; several may have one database open. */
#ifndef TACIT_DIRECTORY_CONTACTS_H
#define TACIT_DIRECTORY_CONTACTS_H

#include "base/err.h"
#include "mail/address.h"

enum contact_outcome {
    CONTACT_UNKNOWN,    /* nothing was said, or nothing that tells anything of the address */
    CONTACT_DELIVERED,  /* taken; with moved_to if the server named another address (251) */
    CONTACT_MOVED,      /* refused: moved, to moved_to if that is not the null path */
    CONTACT_NO_MAILBOX, /* refused: no such mailbox, or one that is closed for good */
    CONTACT_FULL,       /* the mailbox exists and has no room */
    CONTACT_NO_MAIL,    /* the whole domain takes no mail (RFC 7505); only of a domain */
};
/* "delivered", "moved", "no-mailbox", "full", "no-mail". */
const char *contact_outcome_name(enum contact_outcome outcome);
bool        contact_outcome_parse(struct str name, enum contact_outcome *ret_outcome);
/* Whether a message sent there now would be refused for good. */
bool        contact_is_dead(enum contact_outcome outcome);

enum {
    CONTACT_TEXT_MAX = 256, /* octets kept of a reply */
    CONTACT_HOST_MAX = 255,
    CONTACTS_FRESH_MS = 24 * 3600 * 1000,
};

struct contact {
    struct mail_address  address; /* as it was written last; local empty: the whole domain */
    enum contact_outcome outcome;
    bool                 unconfirmed;  /* CONTACT_DELIVERED, but the server said 252: it did not look */
    uint64_t             first_ms;     /* since when it says so, Unix ms */
    uint64_t             last_ms;      /* when it said so last */
    uint64_t             delivered_ms; /* when mail was last taken, to CONTACTS_FRESH_MS; 0: never */
    uint16_t             code;         /* of the reply; 0: there was none */
    char                 status[16];   /* "5.1.1"; may be empty */
    struct str           text;         /* the reply, one line, without codes; may be empty */
    struct str           host;         /* who said it; may be empty */
    struct mail_address  moved_to;     /* null path: none */
};

struct contacts;
struct contacts_rules {
    uint64_t keep_ms; /* what was said last before that is forgotten */
    uint64_t max;     /* entries; beyond, those go first of which nothing was said for longest */
};

enum contacts_open {
    CONTACTS_READ = 1, /* nothing will be changed */
    CONTACTS_CREATE = 2,
    CONTACTS_MEND = 4, /* a database that is damaged is moved aside, and another one made in its place */
};
/* NULL with class ERR_PERMANENT and os_error ENOENT: there is none. CONTACTS_MEND: *ret_mended (may be NULL) says
 * whether that was done; the damaged one is then `path` with ".damaged" behind it. */
struct contacts *contacts_open(const char *path, unsigned flags, bool *ret_mended, struct err *err);
void             contacts_close(struct contacts *c);
bool             contacts_is_damaged(const struct contacts *c); /* the last call met damage */

/* Takes what was said, in that order, in one transaction; `first_ms` and `delivered_ms` of it mean nothing. Forgets
 * some of what the rules do not keep, as much as is added and a little more; *ret_more: there is more to forget. `said`
 * may be empty. ERR_PERMANENT: the database is damaged; it is marked, so that the next who opens it with CONTACTS_MEND
 * sees. */
bool contacts_learn(struct contacts *c, const struct contact *said, size_t count, const struct contacts_rules *rules,
                    uint64_t now_ms, bool *ret_more, struct err *err);

enum contacts_find { CONTACTS_FOUND, CONTACTS_ABSENT, CONTACTS_FAILED };
/* What is known of the address, if it was said after `since_ms`; its domain's entry comes first. Lies in `arena`. */
enum contacts_find contacts_find(struct contacts *c, const struct mail_address *address, uint64_t since_ms,
                                 struct arena *arena, struct contact *ret_contact, struct err *err);

struct contacts_filter {
    struct str           domain;  /* empty: any */
    enum contact_outcome outcome; /* CONTACT_UNKNOWN: any */
    uint64_t             since_ms;
};
/* In order of domain and address; stops and returns true early when `each` returns false. A contact is valid during the
 * call only. Others may learn meanwhile. */
bool contacts_each(struct contacts *c, const struct contacts_filter             *filter,
                   bool (*each)(const struct contact *contact, void *arg), void *arg, struct err *err);

/* An address, or with an empty local part a domain and all its addresses. */
bool contacts_forget(struct contacts *c, const struct mail_address *address, uint64_t *ret_count, struct err *err);

#endif
