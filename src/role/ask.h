/* ask.h: the questions that fronts and back put to the keeper, and its answers.
 *
 * A front asks only what its client's class may be told (policy/disclosure.h) and learns only `enum told`; back, which
 * delivers, learns where an address leads. Which of the two an asker is, the keeper knows from the channel (master
 * made it), never from the message. One message of io/ipc.h each, encoded with base/codec.h; answers carry the tag of
 * their question and may come in another order. */
#ifndef TACIT_ROLE_ASK_H
#define TACIT_ROLE_ASK_H

#include "directory/contacts.h" /* struct contact */
#include "directory/expand.h"   /* enum resolve_result, struct target */
#include "mail/envelope.h"
#include "policy/disclosure.h"

enum ask_kind {
    ASK_RCPT = 1, /* front: may I tell, and what: address, class, sender */
    ASK_VRFY,     /* front: address, or text that is not one (a bare name: looked up in every domain) */
    ASK_EXPN,
    ASK_BOUNCE,  /* front: does one of these show that the message answers one of ours? address = the recipient (signed
                    return path), text = Message-IDs quoted, parted by '\n' */
    ASK_RESOLVE, /* back: where does the address lead */
    ASK_SIGN,    /* back and front: a token that proves that a Message-ID is ours; text = the id (ours become
                    <ID.TOKEN@hostname>). back, with an address of ours instead: its signed return path */
    ASK_CONTACT, /* front, class submitter only: what did other servers say of this address of another domain */
    ASK_LEARN,   /* back: other servers said this; text = contacts as ask_contact_put makes them. Answered when it is
                    remembered, or will not be */
};

struct ask {
    uint32_t      tag;
    enum ask_kind kind;
    enum client_class class;
    struct mail_address sender;
    struct mail_address address;
    struct str          text;
};
/* Appends one message; false: `out` has met its ceiling. */
bool ask_put(const struct ask *a, struct buf *out);
/* False: malformed, or the arena is full. Strings borrow `message`. */
bool ask_get(struct str message, struct arena *arena, struct ask *ret_ask);

struct answer {
    uint32_t            tag;
    enum ask_kind       kind;
    enum told           told;    /* RCPT, VRFY, EXPN */
    bool                yes;     /* BOUNCE; SIGN: signed; LEARN: remembered */
    struct mail_address address; /* VRFY: the address as created; SIGN of an address: the return path; RCPT: unused */
    bool                has_moved_to;
    struct mail_address moved_to;
    struct str          text; /* EXPN: members as "<a@b>", one a line; SIGN: the token */
    enum resolve_result resolve;
    struct target      *targets; /* all the way through aliases, duplicates merged; at most ASK_TARGETS_MAX */
    size_t              target_count;
    bool                is_list; /* an alias, list or forward lies on the way: for "expanded" reports */
    struct contact contact; /* CONTACT: CONTACT_UNKNOWN, or that it was said to be dead within contacts.suppress; an
                               entry of its domain stands for it */
};
enum { ASK_TARGETS_MAX = EXPAND_TARGETS_MAX, ASK_TEXT_MAX = 96 * 1024 };
/* Contacts one after the other, as many as fit into ASK_TEXT_MAX, ASK_LEARN_MAX at most. put: false, and `out` is as
 * before, if it does not fit. get: false: malformed, or the arena is full; strings borrow `text`. */
enum { ASK_LEARN_MAX = 1000 };
bool ask_contact_put(const struct contact *contact, struct buf *out);
bool ask_contacts_get(struct str text, struct arena *arena, struct contact **ret_contacts, size_t *ret_count);

bool answer_put(const struct answer *a, struct buf *out);
bool answer_get(struct str message, struct arena *arena, struct answer *ret_answer);

#endif
