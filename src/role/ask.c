/* ask.c: questions and answers as octets.
 *
 *   ask     = tag:u32 kind:u8 class:u8 sender:address address:address text:str
 *   answer  = tag:u32 kind:u8 told:u8 flags:u8 address:address [ moved-to:address ] text:str resolve:u8 count:var
 *             *target [ contact, of ASK_CONTACT only ]
 *   target  = kind:u8 result:u8 flags:u8 address:address quota:var [ sender:address ]
 *   contact = outcome:u8 unconfirmed:u8 address:address first:u64 last:u64 delivered:u64 code:var status:str text:str
 *             host:str moved-to:address
 *
 * A question may come from a front that fell into wrong hands, so every value is checked against what can be: addresses
 * (get_address), numbers of kinds, and that nothing is left over. Members of a list share its owner; a target that has
 * the sender of the one before it only says so, which keeps the longest answer within a message. */
#include "role/ask.h"

#include "queue/record.h"

enum answer_flags { ANSWER_YES = 1, ANSWER_MOVED_TO = 2, ANSWER_LIST = 4, ANSWER_FLAGS = 7 };
enum target_flags { TARGET_SENDER = 1, TARGET_SAME_SENDER = 2, TARGET_HIDE = 4, TARGET_FLAGS = 7 };
enum { TARGET_LEAST = 7, CONTACT_LEAST = 36 /* octets */, REPLY_CODE_MAX = 599 };

static struct str get_text(struct reader *r)
{
    struct str text = get_str(r);

    if (text.len > ASK_TEXT_MAX)
        r->failed = true;
    return text;
}

/* ---- contacts ---- */

bool ask_contact_put(const struct contact *c, struct buf *out)
{
    size_t before = out->len;

    if (!buf_ok(out))
        return false;
    put_u8(out, (uint8_t)c->outcome);
    put_u8(out, c->unconfirmed);
    put_address(out, &c->address);
    put_u64(out, c->first_ms);
    put_u64(out, c->last_ms);
    put_u64(out, c->delivered_ms);
    put_var(out, c->code);
    put_str(out, str_from(c->status));
    put_str(out, str_part(c->text, 0, CONTACT_TEXT_MAX));
    put_str(out, str_part(c->host, 0, CONTACT_HOST_MAX));
    put_address(out, &c->moved_to);
    if (buf_ok(out))
        return true;
    out->failed = false;
    buf_cut(out, before);
    return false;
}

static struct str get_str_max(struct reader *r, size_t max)
{
    struct str s = get_str(r);

    if (s.len > max)
        r->failed = true;
    return s;
}

static void get_contact(struct reader *r, struct contact *ret_contact)
{
    struct contact c = {.outcome = (enum contact_outcome)get_u8_max(r, CONTACT_NO_MAIL)};
    struct str     status;

    c.unconfirmed = get_u8_max(r, 1) != 0;
    get_address(r, &c.address);
    c.first_ms = get_u64(r);
    c.last_ms = get_u64(r);
    c.delivered_ms = get_u64(r);
    c.code = (uint16_t)get_var_max(r, REPLY_CODE_MAX);
    status = get_str_max(r, sizeof c.status - 1);
    if (status.len && !r->failed)
        memcpy(c.status, status.data, status.len);
    if (strlen(c.status) != status.len)
        r->failed = true;
    c.text = get_str_max(r, CONTACT_TEXT_MAX);
    c.host = get_str_max(r, CONTACT_HOST_MAX);
    get_address(r, &c.moved_to);
    *ret_contact = c;
}

bool ask_contacts_get(struct str text, struct arena *arena, struct contact **ret_contacts, size_t *ret_count)
{
    struct reader   r = reader_of(text);
    size_t          room = text.len / CONTACT_LEAST, count = 0;
    struct contact *contacts;

    room = room < ASK_LEARN_MAX ? room : ASK_LEARN_MAX;
    contacts = arena_alloc(arena, (room ? room : 1) * sizeof *contacts);
    if (!contacts)
        return false;
    while (count < room && reader_ok(&r) && r.rest.len)
        get_contact(&r, &contacts[count++]);
    if (!reader_ended(&r))
        return false;
    *ret_contacts = contacts;
    *ret_count = count;
    return true;
}

/* ---- questions and answers ---- */

bool ask_put(const struct ask *a, struct buf *out)
{
    put_u32(out, a->tag);
    put_u8(out, (uint8_t)a->kind);
    put_u8(out, (uint8_t)a->class);
    put_address(out, &a->sender);
    put_address(out, &a->address);
    put_str(out, a->text);
    return buf_ok(out);
}

bool ask_get(struct str message, struct arena *arena, struct ask *ret_ask)
{
    struct reader r = reader_of(message);
    struct ask    a = {.tag = get_u32(&r)};

    (void)arena;
    a.kind = (enum ask_kind)get_u8_max(&r, ASK_LEARN);
    a.class = (enum client_class)get_u8_max(&r, CLASS_OURSELVES);
    get_address(&r, &a.sender);
    get_address(&r, &a.address);
    a.text = get_text(&r);
    if (!reader_ended(&r) || a.kind < ASK_RCPT)
        return false;
    *ret_ask = a;
    return true;
}

static bool same_sender(const struct target *a, const struct target *b)
{
    return a->override_sender && b->override_sender && mail_address_eq(&a->sender_override, &b->sender_override);
}

static void put_target(const struct target *t, const struct target *before, struct buf *out)
{
    bool same = before && same_sender(t, before);

    put_u8(out, (uint8_t)t->kind);
    put_u8(out, (uint8_t)t->result);
    put_u8(out, (uint8_t)((t->override_sender ? same ? TARGET_SAME_SENDER : TARGET_SENDER : 0) |
                          (t->hide ? TARGET_HIDE : 0)));
    put_address(out, &t->address);
    put_var(out, t->quota);
    if (t->override_sender && !same)
        put_address(out, &t->sender_override);
}

static void get_target(struct reader *r, const struct target *before, struct target *ret_target)
{
    struct target t = {.kind = (enum target_kind)get_u8_max(r, TARGET_REMOTE)};
    uint8_t       flags;

    t.result = (enum resolve_result)get_u8_max(r, RESOLVE_FAILED);
    flags = get_u8_max(r, TARGET_FLAGS);
    get_address(r, &t.address);
    t.quota = get_var(r);
    t.hide = flags & TARGET_HIDE;
    t.override_sender = flags & (TARGET_SENDER | TARGET_SAME_SENDER);
    if (flags & TARGET_SENDER)
        get_address(r, &t.sender_override);
    if (flags & TARGET_SAME_SENDER) {
        if (!before || !before->override_sender || (flags & TARGET_SENDER))
            r->failed = true;
        else
            t.sender_override = before->sender_override;
    }
    *ret_target = t;
}

bool answer_put(const struct answer *a, struct buf *out)
{
    put_u32(out, a->tag);
    put_u8(out, (uint8_t)a->kind);
    put_u8(out, (uint8_t)a->told);
    put_u8(out, (uint8_t)((a->yes ? ANSWER_YES : 0) | (a->has_moved_to ? ANSWER_MOVED_TO : 0) |
                          (a->is_list ? ANSWER_LIST : 0)));
    put_address(out, &a->address);
    if (a->has_moved_to)
        put_address(out, &a->moved_to);
    put_str(out, a->text);
    put_u8(out, (uint8_t)a->resolve);
    put_var(out, a->target_count);
    for (size_t i = 0; i < a->target_count; i++)
        put_target(&a->targets[i], i ? &a->targets[i - 1] : NULL, out);
    if (a->kind == ASK_CONTACT)
        ask_contact_put(&a->contact, out);
    return buf_ok(out);
}

static bool get_targets(struct reader *r, struct arena *arena, struct answer *a)
{
    a->target_count = (size_t)get_var_max(r, ASK_TARGETS_MAX);
    if (!reader_ok(r) || a->target_count > r->rest.len / TARGET_LEAST)
        return false;
    if (!a->target_count)
        return true;
    a->targets = arena_alloc(arena, a->target_count * sizeof *a->targets);
    if (!a->targets)
        return false;
    for (size_t i = 0; i < a->target_count; i++)
        get_target(r, i ? &a->targets[i - 1] : NULL, &a->targets[i]);
    return true;
}

bool answer_get(struct str message, struct arena *arena, struct answer *ret_answer)
{
    struct reader r = reader_of(message);
    struct answer a = {.tag = get_u32(&r)};
    uint8_t       flags;

    a.kind = (enum ask_kind)get_u8_max(&r, ASK_LEARN);
    a.told = (enum told)get_u8_max(&r, TOLD_FAILED);
    flags = get_u8_max(&r, ANSWER_FLAGS);
    a.yes = flags & ANSWER_YES;
    a.has_moved_to = flags & ANSWER_MOVED_TO;
    a.is_list = flags & ANSWER_LIST;
    get_address(&r, &a.address);
    if (a.has_moved_to)
        get_address(&r, &a.moved_to);
    a.text = get_text(&r);
    a.resolve = (enum resolve_result)get_u8_max(&r, RESOLVE_FAILED);
    if (!get_targets(&r, arena, &a))
        return false;
    if (a.kind == ASK_CONTACT)
        get_contact(&r, &a.contact);
    if (!reader_ended(&r) || a.kind < ASK_RCPT)
        return false;
    *ret_answer = a;
    return true;
}
