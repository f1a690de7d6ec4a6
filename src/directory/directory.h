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
enum moved_reply {
    MOVED_251,  /* forward, and say so */
    MOVED_551,  /* refuse, and say where to */
    MOVED_HIDE, /* refuse, and say nothing */
};

struct directory_entry {
    enum entry_kind  kind;
    struct str       local; /* as created, for display and for the path of the mailbox; "*" is the catch-all */
    struct str       domain;
    bool             disabled;
    bool             closed;       /* a list that only its members and relays may write to */
    bool             show_members; /* a list that EXPN may show */
    uint64_t         quota;        /* octets; 0: none */
    struct str       password;     /* crypt(5) hash, or empty: cannot log in */
    struct str      *targets;      /* addresses of an alias, list or moved mailbox, canonical texts */
    size_t           target_count;
    struct str       owner; /* of a list: where its bounces go; may be empty */
    enum moved_reply moved;
    bool             implied; /* not in the directory: postmaster or abuse, which exist in every domain */
};

/* "mailbox", "alias", "list", "moved"; "251", "551", "hide". */
const char *directory_kind_name(enum entry_kind kind);
bool        directory_kind_parse(struct str name, enum entry_kind *ret_kind);
const char *directory_moved_name(enum moved_reply moved);
bool        directory_moved_parse(struct str name, enum moved_reply *ret_moved);

struct directory;

/* What one entry may hold. */
enum { DIRECTORY_TARGETS_MAX = 1000, DIRECTORY_PASSWORD_MAX = 384 /* octets of a crypt(5) hash */ };

enum directory_open {
    DIRECTORY_CREATE =
        1, /* what is missing or empty is made; without it an empty database is an error: somebody lost it */
    DIRECTORY_PATIENT = 2, /* what cannot be read now is opened all the same: look-ups fail until it can */
};
/* `spec` as in the configuration; relative paths are relative to `base` (the data directory). The schema is brought up
 * to date. `flags`: enum directory_open. */
struct directory *directory_open(const char *spec, const char *base, unsigned flags, struct err *err);
void              directory_close(struct directory *d);

enum directory_find { DIRECTORY_FOUND, DIRECTORY_ABSENT, DIRECTORY_FAILED };
/* By exact key, then without "+tag", then the catch-all "*". postmaster and abuse of a domain are found always: where
 * no entry says otherwise (a catch-all does), as an `implied` mailbox "postmaster". Everything found lies in `arena`.
 * DIRECTORY_FAILED: the directory cannot be read now, err says why; ERR_LIMIT if `arena` is full. DIRECTORY_ABSENT is
 * said only where the whole directory was there to look at. */
enum directory_find directory_find(struct directory *d, const struct mail_address *address, char separator,
                                   struct arena *arena, struct directory_entry *ret_entry, struct err *err);

/* Changes are atomic and durable when they return, also while other processes read or change the directory. An entry is
 * known by domain and mail_local_key(local, 0). add fails (ERR_PERMANENT) if the key exists, update and remove if it
 * does not; update keeps `local` as it was created. */
bool directory_add(struct directory *d, const struct directory_entry *entry, struct err *err);
bool directory_update(struct directory *d, const struct directory_entry *entry, struct err *err);
bool directory_remove(struct directory *d, struct str local, struct str domain, struct err *err);
/* All of `domain`, or of every domain if it is empty, in order of domain and key; stops and returns true early when
 * `each` returns false. The entry is valid during the call only; `each` must not change the directory. */
bool directory_each(struct directory *d, struct str                                     domain,
                    bool (*each)(const struct directory_entry *entry, void *arg), void *arg, struct err *err);

/* The entry with exactly this key, without tags, catch-all and implied mailboxes: for those who change it. */
enum directory_find directory_get(struct directory *d, struct str local, struct str domain, struct arena *arena,
                                  struct directory_entry *ret_entry, struct err *err);
/* Whether the name is postmaster or abuse, in any case and with any tag. */
bool                directory_name_is_reserved(struct str local, char separator);

/* Passwords: yescrypt by crypt(3). check does equal work for an unknown user when `hash` is empty. */
bool directory_password_hash(struct str password, char *ret_hash, size_t size, struct err *err);
bool directory_password_check(struct str password, struct str hash);

#endif
