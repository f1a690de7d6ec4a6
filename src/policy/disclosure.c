/* disclosure.c: doc/disclosure.md as code.
 *
 * Every function first asks whether the class is told anything. Where it is not, the reply is one constant, chosen from
 * the class and the configuration alone: `told`, the address and the arena are not looked at, so no mistake further
 * down can let them through. The test of this file proves it for every class and every value of `told`.
 *
 * Rejected: a table of all classes by all answers. Most of its cells would repeat the one constant, and a wrong cell
 * would be hard to see; the rule "not told: constant" is one line. */
#include "policy/disclosure.h"

static const struct smtp_reply reply_unverified =
    SMTP_REPLY_INIT(252, 2, 5, 0, "Cannot verify, but will take a message and try to deliver it");
static const struct smtp_reply reply_not_offered = SMTP_REPLY_INIT(502, 5, 5, 1, "Command not offered here");
static const struct smtp_reply reply_blocked = SMTP_REPLY_INIT(554, 5, 7, 1, "Mail from your network is not taken");
static const struct smtp_reply reply_failed = SMTP_REPLY_INIT(451, 4, 3, 0, "Cannot look that up now, try again later");
static const struct smtp_reply reply_absent = SMTP_REPLY_INIT(550, 5, 1, 1, "No such mailbox here");
static const struct smtp_reply reply_moved = SMTP_REPLY_INIT(550, 5, 1, 6, "The mailbox has moved");
static const struct smtp_reply reply_disabled = SMTP_REPLY_INIT(550, 5, 2, 1, "The mailbox is disabled");
static const struct smtp_reply reply_hides_utf8 = SMTP_REPLY_INIT(252, 2, 6, 8, "To see the address, use SMTPUTF8");
static const struct smtp_reply reply_verified = SMTP_REPLY_INIT(250, 2, 1, 5, "The address is valid");

enum client_class disclosure_classify(bool is_local_socket, bool in_relay_network, bool is_blocked,
                                      const struct mail_address *sender)
{
    if (is_local_socket)
        return CLASS_SUBMITTER;
    if (in_relay_network)
        return CLASS_RELAY;
    if (is_blocked)
        return CLASS_BLOCKED;
    return sender && mail_address_is_null(sender) ? CLASS_BOUNCE : CLASS_STRANGER;
}

/* Those who are told the truth about everything, and for whom we send to other domains. */
static bool class_is_trusted(enum client_class class)
{
    switch (class) {
    case CLASS_SUBMITTER:
    case CLASS_RELAY:
    case CLASS_OURSELVES:
        return true;
    case CLASS_CORRESPONDENT:
    case CLASS_ACCOUNTABLE:
    case CLASS_BOUNCE:
    case CLASS_STRANGER:
    case CLASS_BLOCKED:
        break;
    }
    return false;
}

bool disclosure_may_ask_vrfy(const struct disclosure_config *c, enum client_class class)
{
    return class_is_trusted(class) || (c->vrfy == VRFY_ANSWER && class != CLASS_BLOCKED);
}

bool disclosure_may_ask_rcpt(enum client_class class)
{
    return class_is_trusted(class) || class == CLASS_CORRESPONDENT;
}

static struct smtp_reply withheld(const struct disclosure_config *c, enum client_class class)
{
    if (class == CLASS_BLOCKED)
        return reply_blocked;
    return c->vrfy == VRFY_502 ? reply_not_offered : reply_unverified;
}

/* A reply with an address in its text; `otherwise` where it may not be shown or there is no memory. */
static struct smtp_reply naming(uint16_t code, struct smtp_status status, const char *words,
                                const struct mail_address *address, bool smtputf8, struct arena *arena,
                                struct smtp_reply otherwise)
{
    struct str text, all;

    if (!address || (address->utf8 && !smtputf8))
        return otherwise;
    text = mail_address_text(address, arena);
    if (!text.data)
        return otherwise;
    all = arena_printf(arena, "%s<%.*s>", words, STR_ARG(text));
    return all.data ? (struct smtp_reply){code, status, all} : otherwise;
}

static struct smtp_reply moved_refused(const struct mail_address *moved_to, bool smtputf8, struct arena *arena)
{
    return naming(551, SMTP_STATUS(5, 1, 6), "User not local; please try ", moved_to, smtputf8, arena, reply_moved);
}

static struct smtp_reply moved_forwarded(const struct mail_address *moved_to, bool smtputf8, struct arena *arena,
                                         struct smtp_reply otherwise)
{
    return naming(251, SMTP_STATUS(2, 1, 5), "User not local; will forward to ", moved_to, smtputf8, arena, otherwise);
}

struct smtp_reply disclosure_vrfy(const struct disclosure_config *c, enum client_class class, enum told told,
                                  const struct mail_address *address, const struct mail_address *moved_to,
                                  bool smtputf8, struct arena *arena)
{
    const struct smtp_reply hidden = address && address->utf8 && !smtputf8 ? reply_hides_utf8 : reply_verified;

    if (!disclosure_may_ask_vrfy(c, class))
        return withheld(c, class);
    switch (told) {
    case TOLD_NOTHING:
        return reply_unverified; /* another domain's address */
    case TOLD_EXISTS:
    case TOLD_LIST:
        return naming(250, SMTP_STATUS(2, 1, 5), "", address, smtputf8, arena, hidden);
    case TOLD_ABSENT:
        return reply_absent;
    case TOLD_MOVED_FORWARD:
        return moved_forwarded(moved_to, smtputf8, arena,
                               moved_to && moved_to->utf8 && !smtputf8 ? reply_hides_utf8 : reply_verified);
    case TOLD_MOVED_REFUSE:
        return moved_refused(moved_to, smtputf8, arena);
    case TOLD_MOVED_HIDDEN:
        return reply_moved;
    case TOLD_DISABLED:
        return reply_disabled;
    case TOLD_AMBIGUOUS:
        return SMTP_REPLY(553, 5, 1, 4, "The name is ambiguous: ask for an address");
    case TOLD_FAILED:
        break;
    }
    return reply_failed;
}

struct smtp_reply disclosure_expn(const struct disclosure_config *c, enum client_class class, enum told told,
                                  struct str members, struct arena *arena)
{
    struct str text;

    if (!disclosure_may_ask_vrfy(c, class))
        return withheld(c, class);
    switch (told) {
    case TOLD_NOTHING:
        return reply_unverified;
    case TOLD_LIST:
        if (!members.len)
            return SMTP_REPLY(250, 2, 1, 5, "The list has no members");
        text = arena_str(arena, members);
        return text.data ? (struct smtp_reply){250, SMTP_STATUS(2, 1, 5), text} : reply_failed;
    case TOLD_ABSENT:
        return SMTP_REPLY(550, 5, 1, 1, "No such list here");
    case TOLD_EXISTS:
    case TOLD_MOVED_FORWARD:
    case TOLD_MOVED_REFUSE:
    case TOLD_MOVED_HIDDEN:
    case TOLD_DISABLED:
        return SMTP_REPLY(550, 5, 2, 4, "That is a mailbox and no list");
    case TOLD_AMBIGUOUS:
        return SMTP_REPLY(553, 5, 1, 4, "The name is ambiguous: ask for an address");
    case TOLD_FAILED:
        break;
    }
    return reply_failed;
}

struct smtp_reply disclosure_rcpt(const struct disclosure_config *c, enum client_class class, bool is_local,
                                  enum told told, const struct mail_address *address,
                                  const struct mail_address *moved_to, bool smtputf8, size_t accepted_before,
                                  struct arena *arena)
{
    static const struct smtp_reply looked_up = SMTP_REPLY_INIT(250, 2, 1, 5, "Recipient ok");
    struct smtp_reply              taken = SMTP_REPLY(250, 2, 1, 0, "Recipient taken");

    (void)address; /* what the client has said is not said back to it */
    if (class == CLASS_BLOCKED)
        return reply_blocked;
    if (!is_local)
        return class_is_trusted(class) ? taken : SMTP_REPLY(550, 5, 7, 1, "Relaying denied: not a domain of ours");
    if (class == CLASS_BOUNCE && accepted_before)
        return SMTP_REPLY(452, 4, 5, 3, "A message from <> has one recipient");
    if (!disclosure_may_ask_rcpt(class)) {
        taken.code = c->rcpt_reply;
        return taken;
    }
    switch (told) {
    case TOLD_NOTHING:
        return taken;
    case TOLD_EXISTS:
    case TOLD_LIST:
    case TOLD_AMBIGUOUS:
        return looked_up;
    case TOLD_ABSENT:
        return reply_absent;
    case TOLD_MOVED_FORWARD:
        return moved_forwarded(moved_to, smtputf8, arena, looked_up);
    case TOLD_MOVED_REFUSE:
        return moved_refused(moved_to, smtputf8, arena);
    case TOLD_MOVED_HIDDEN:
        return reply_moved;
    case TOLD_DISABLED:
        return class_is_trusted(class) ? reply_disabled : looked_up;
    case TOLD_FAILED:
        break;
    }
    return reply_failed;
}

struct smtp_reply disclosure_message(const struct disclosure_config *c, enum client_class class, bool answers_ours)
{
    switch (class) {
    case CLASS_STRANGER:
        if (c->strangers == STRANGERS_REFUSE)
            return SMTP_REPLY(550, 5, 7, 26, "The sender is not authenticated: SPF or DKIM must vouch for it");
        break;
    case CLASS_BOUNCE:
        if (!answers_ours)
            return SMTP_REPLY(550, 5, 7, 1, "This report answers nothing that was sent from here");
        break;
    case CLASS_BLOCKED:
        return reply_blocked;
    case CLASS_SUBMITTER:
    case CLASS_RELAY:
    case CLASS_CORRESPONDENT:
    case CLASS_ACCOUNTABLE:
    case CLASS_OURSELVES:
        break;
    }
    return SMTP_REPLY(250, 2, 0, 0, "Ok");
}

enum failure_outcome disclosure_failure(enum client_class class, bool null_sender)
{
    if (null_sender)
        return FAILURE_DROP;
    switch (class) {
    case CLASS_SUBMITTER:
    case CLASS_RELAY:
    case CLASS_CORRESPONDENT:
    case CLASS_ACCOUNTABLE:
        return FAILURE_BOUNCE;
    case CLASS_BOUNCE:
    case CLASS_OURSELVES:
        return FAILURE_DROP;
    case CLASS_STRANGER:
    case CLASS_BLOCKED:
        break;
    }
    return FAILURE_UNCLAIMED;
}

bool disclosure_evens_work(enum client_class class) { return !class_is_trusted(class); }

bool disclosure_may_report_success(enum client_class class, bool null_sender)
{
    switch (class) {
    case CLASS_SUBMITTER:
    case CLASS_RELAY:
    case CLASS_CORRESPONDENT:
        return !null_sender;
    case CLASS_ACCOUNTABLE:
    case CLASS_BOUNCE:
    case CLASS_STRANGER:
    case CLASS_BLOCKED:
    case CLASS_OURSELVES:
        break;
    }
    return false;
}
