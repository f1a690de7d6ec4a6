/* expand.h: where an address of ours leads in the end: through aliases, lists and the forwards of moved mailboxes, from
 * one hosted domain to the next, to mailboxes and to addresses of other domains.
 *
 * Every address is looked up once and every target is named once, whatever the number of ways that lead to it, so a
 * knot of lists costs no more than its members. A loop adds nobody: what lies beside it is still reached. */
#ifndef TACIT_DIRECTORY_EXPAND_H
#define TACIT_DIRECTORY_EXPAND_H

#include "directory/directory.h"

enum {
    EXPAND_DEPTH_MAX = 20,     /* steps from the first address to a target */
    EXPAND_TARGETS_MAX = 1000, /* targets of one address */
    EXPAND_LOOKUPS_MAX = 5000, /* addresses looked up on the way */
};

enum resolve_result {
    RESOLVE_TARGETS,  /* see targets */
    RESOLVE_ABSENT,   /* no such mailbox: 5.1.1 */
    RESOLVE_DISABLED, /* 5.2.1; a list without members too */
    RESOLVE_MOVED,    /* refused, moved: 5.1.6; moved_to if it may be shown */
    RESOLVE_CLOSED,   /* a list closed to this sender: 5.7.2 */
    RESOLVE_LOOP,     /* alias loop or too many: 5.4.6 */
    RESOLVE_FAILED,   /* directory not readable now: 4.3.0 */
};
enum target_kind {
    TARGET_MAILBOX, /* a mailbox of ours: address is as created (names the Maildir) */
    TARGET_REMOTE,  /* another domain's address */
};
struct target {
    enum target_kind    kind;
    struct mail_address address;
    /* RESOLVE_TARGETS: deliver. Else a member of an alias or list that cannot be delivered to, and why; asked for
     * alone, its address has the same result. Never set for the first address itself. */
    enum resolve_result result;
    uint64_t            quota;
    struct mail_address sender_override; /* of a list: its owner is the new sender; else null path */
    bool                override_sender;
    bool                hide; /* a forward of a moved mailbox: report its failures from our own return path */
};

struct expansion_domain { /* of a hosted domain */
    struct directory *directory;
    char              separator;  /* 0: no tags */
    uint64_t          quota;      /* of mailboxes that have none of their own; 0: none */
    struct str        postmaster; /* local part of the mailbox that stands in where the directory names none */
};
struct expansion_world {
    /* False: the domain is not ours. */
    bool (*domain)(void *arg, struct str name, struct expansion_domain *ret_domain);
    void *arg;
};
struct expansion_sender { /* decides who may write to a closed list */
    struct mail_address address;
    bool                trusted; /* may write to all of them */
};
struct resolution {
    enum resolve_result result;
    struct target      *targets;
    size_t              target_count;
    bool                is_list; /* an alias, a list or a forward lies on the way */
    bool                has_moved_to;
    struct mail_address moved_to;
};

/* Everything in *ret_resolution lies in `arena`. False: RESOLVE_FAILED, with the reason in err; ret_resolution is
 * written all the same. postmaster and abuse of a hosted domain always lead to some mailbox. A null sender stays null
 * through lists, since a report about a report is forbidden. */
bool directory_expand(const struct expansion_world *world, const struct mail_address *address,
                      const struct expansion_sender *sender, struct arena *arena, struct resolution *ret_resolution,
                      struct err *err);

#endif
