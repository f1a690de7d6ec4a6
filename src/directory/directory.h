/* directory.h: who exists. The keeper (and `tacit user`, by itself) opens directories; nobody else may.
 *
 * One directory per `domain` block; several domains may share one. Backends: "sqlite:PATH" (default) and "file:PATH";
 * postgres and ldap come later behind the same table of functions. All calls may block on disk, none on a network.
 * Addresses come canonical (mail/address.h); a directory looks up by mail_local_key with the domain's separator. */
#ifndef TACIT_DIRECTORY_DIRECTORY_H
#define TACIT_DIRECTORY_DIRECTORY_H

#include "base/err.h"
#include "mail/address.h"

enum entry_kind { ENTRY_MAILBOX, ENTRY_ALIAS, ENTRY_LIST, ENTRY_MOVED };
enum moved_reply { MOVED_251, MOVED_551, MOVED_HIDE }; /* forward and say so; refuse and say where to; refuse, say nothing */

struct directory_entry {
    enum entry_kind kind;
    struct str      local;        /* as created, for display and for the path of the mailbox; "*" is the catch-all */
    struct str      domain;
    bool            disabled;
    bool            closed;       /* a list that only its members and relays may write to */
    bool            show_members; /* a list that EXPN may show */
    uint64_t        quota;        /* octets; 0: none */
    struct str      password;     /* crypt(5) hash, or empty: cannot log in */
    struct str     *targets;      /* addresses of an alias, list or moved mailbox, canonical texts */
    size_t          target_count;
    struct str      owner;        /* of a list: where its bounces go; may be empty */
    enum moved_reply moved;
};

struct directory;

/* `spec` as in the configuration; relative paths are relative to `base` (the data directory). Missing files are
 * created when `create`. The schema is made or brought up to date. */
struct directory *directory_open(const char *spec, const char *base, bool create, struct err *err);
void              directory_close(struct directory *d);

enum directory_find { DIRECTORY_FOUND, DIRECTORY_ABSENT, DIRECTORY_FAILED };
/* By exact key, then without "+tag", then the catch-all "*". postmaster and abuse of a domain are found always: where
 * no entry says otherwise, as a mailbox "postmaster". Everything found lies in `arena`. */
enum directory_find directory_find(struct directory *d, const struct mail_address *address, char separator,
                                   struct arena *arena, struct directory_entry *ret_entry, struct err *err);

/* Changes are atomic and durable when they return. add: fails (ERR_PERMANENT) if the key exists. */
bool directory_add(struct directory *d, const struct directory_entry *entry, struct err *err);
bool directory_update(struct directory *d, const struct directory_entry *entry, struct err *err);
bool directory_remove(struct directory *d, struct str local, struct str domain, struct err *err);
/* In order of domain and local part; stops and returns true early when `each` returns false. */
bool directory_each(struct directory *d, struct str domain /* or empty: all */,
                    bool (*each)(const struct directory_entry *entry, void *arg), void *arg, struct err *err);

/* Passwords: yescrypt by crypt(3). check does equal work for an unknown user when `hash` is empty. */
bool directory_password_hash(struct str password, char *ret_hash, size_t size, struct err *err);
bool directory_password_check(struct str password, struct str hash);

#endif
