/* ask.h: the questions that fronts and back put to the keeper, and its answers.
 *
 * A front asks only what its client's class may be told (policy/disclosure.h) and learns only `enum told`; back, which
 * delivers, learns where an address leads. Which of the two an asker is, the keeper knows from the channel (master
 * made it), never from the message. One message of io/ipc.h each, encoded with base/codec.h; answers carry the tag of
 * their question and may come in another order. */
#ifndef TACIT_SERVER_ASK_H
#define TACIT_SERVER_ASK_H

#include "mail/envelope.h"
#include "policy/disclosure.h"

enum ask_kind {
    ASK_RCPT = 1, /* front: may I tell, and what: address, class, sender */
    ASK_VRFY,     /* front: address, or text that is not one (a bare name: looked up in every domain) */
    ASK_EXPN,
    ASK_BOUNCE,   /* front: does one of these show that the message answers one of ours? address = the recipient (signed
                     return path), text = Message-IDs quoted, parted by '\n' */
    ASK_RESOLVE,  /* back: where does the address lead */
    ASK_SIGN,     /* back and front: a token that proves that a Message-ID is ours; text = the id */
};

struct ask {
    uint32_t            tag;
    enum ask_kind       kind;
    enum client_class   class;
    struct mail_address sender;
    struct mail_address address;
    struct str          text;
};
bool ask_put(const struct ask *a, struct buf *out);
bool ask_get(struct str message, struct arena *arena, struct ask *ret_ask);

enum resolve_result {
    RESOLVE_TARGETS,   /* see targets */
    RESOLVE_ABSENT,    /* no such mailbox: 5.1.1 */
    RESOLVE_DISABLED,  /* 5.2.1 */
    RESOLVE_MOVED,     /* refused, moved: 5.1.6; moved_to if it may be shown */
    RESOLVE_CLOSED,    /* a list closed to this sender: 5.7.2 */
    RESOLVE_LOOP,      /* alias loop or too many: 5.4.6 */
    RESOLVE_FAILED,    /* directory not readable now: 4.3.0 */
};
enum target_kind {
    TARGET_MAILBOX, /* a mailbox of ours: address is as created (names the Maildir) */
    TARGET_REMOTE,  /* another domain's address */
};
struct target {
    enum target_kind    kind;
    struct mail_address address;
    uint64_t            quota;
    struct mail_address sender_override; /* of a list: its owner is the new sender; else null path */
    bool                override_sender;
    bool                hide; /* a forward of a moved mailbox: report its failures from our own return path */
};
struct answer {
    uint32_t            tag;
    enum ask_kind       kind;
    enum told           told;     /* RCPT, VRFY, EXPN */
    bool                yes;      /* BOUNCE */
    struct mail_address address;  /* VRFY: the address as created; RCPT: unused */
    bool                has_moved_to;
    struct mail_address moved_to;
    struct str          text;     /* EXPN: members, one a line; SIGN: the token */
    enum resolve_result resolve;
    struct target      *targets;  /* all the way through aliases, duplicates merged; at most ASK_TARGETS_MAX */
    size_t              target_count;
    bool                is_list;  /* more than one step, or a list: for "expanded" reports */
};
enum { ASK_TARGETS_MAX = 1000 };
bool answer_put(const struct answer *a, struct buf *out);
bool answer_get(struct str message, struct arena *arena, struct answer *ret_answer);

#endif
