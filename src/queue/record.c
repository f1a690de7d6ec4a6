/* record.c: the payload of RECORD_MESSAGE.
 *
 *   message   = version id received cause origin sender body flags ret envid declared recipients size [xxh3] content
 *   origin    = class session client helo protocol user
 *   recipients= count 1*( address orcpt-type orcpt notify )
 *   address   = local domain flags
 *
 * Envelope and content are one record, so that a message is accepted by one append; the content stands last and as it
 * came, so that it is copied once and can be borrowed from what was read. Every field is checked when it is read: the
 * checksum says that the bytes are those that were written, not that a writer of another version meant the same. */
#include "queue/record.h"

enum message_flags { MESSAGE_SMTPUTF8 = 1, MESSAGE_EXTERNAL = 2, MESSAGE_FLAGS = 3 };
enum { ADDRESS_UTF8 = 1 };
enum { RECIPIENT_LEAST = 6 }; /* octets: an address of two empty strings, two more, notify */

void put_address(struct buf *out, const struct mail_address *a)
{
    put_str(out, a->local);
    put_str(out, a->domain);
    put_u8(out, a->utf8 ? ADDRESS_UTF8 : 0);
}

/* No address has a control character, quoted or not. */
static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < ' ' || s.data[i] == 127)
            return true;
    return false;
}

void get_address(struct reader *r, struct mail_address *ret_address)
{
    struct mail_address a = {.local = get_str(r), .domain = STR_NONE};

    a.domain = get_str(r);
    a.utf8 = get_var_max(r, ADDRESS_UTF8) != 0;
    if (a.local.len > MAIL_LOCAL_MAX || a.domain.len > MAIL_DOMAIN_MAX || has_control(a.local) || has_control(a.domain))
        r->failed = true;
    *ret_address = a;
}

bool record_message_put(const struct message *m, struct buf *out)
{
    const struct envelope *e = &m->envelope;

    put_u8(out, RECORD_VERSION);
    put_u64(out, m->id);
    put_var(out, m->received_ms);
    put_u64(out, m->cause);
    put_u8(out, (uint8_t)e->origin.class);
    put_str(out, e->origin.session);
    put_str(out, e->origin.client);
    put_str(out, e->origin.helo);
    put_str(out, e->origin.protocol);
    put_str(out, e->origin.user);
    put_address(out, &e->sender);
    put_u8(out, (uint8_t)e->body);
    put_u8(out, (uint8_t)((e->smtputf8 ? MESSAGE_SMTPUTF8 : 0) | (m->external ? MESSAGE_EXTERNAL : 0)));
    put_u8(out, (uint8_t)e->ret);
    put_str(out, e->envid);
    put_var(out, e->declared_size);
    put_var(out, e->recipient_count);
    for (size_t i = 0; i < e->recipient_count; i++) {
        const struct recipient *to = &e->recipients[i];

        put_address(out, &to->address);
        put_str(out, to->orcpt_type);
        put_str(out, to->orcpt);
        put_u8(out, to->notify);
    }
    put_var(out, m->size);
    if (m->external)
        put_u64(out, m->external_xxh3);
    return buf_ok(out);
}

static bool get_recipients(struct reader *r, struct arena *arena, struct envelope *e)
{
    uint64_t count = get_var(r);

    if (!reader_ok(r) || count == 0 || count > r->rest.len / RECIPIENT_LEAST)
        return false;
    e->recipients = arena_alloc(arena, count * sizeof *e->recipients);
    if (!e->recipients)
        return false;
    e->recipient_count = count;
    for (size_t i = 0; i < count; i++) {
        struct recipient *to = &e->recipients[i];

        get_address(r, &to->address);
        to->orcpt_type = get_str(r);
        to->orcpt = get_str(r);
        to->notify = get_u8(r);
        if (to->notify > (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY))
            return false;
    }
    return reader_ok(r);
}

bool record_message_id(struct str payload, uint64_t *ret_id)
{
    struct reader r = reader_of(payload);
    uint8_t       version = get_u8(&r);
    uint64_t      id = get_u64(&r);

    if (version != RECORD_VERSION || !reader_ok(&r))
        return false;
    *ret_id = id;
    return true;
}

bool record_message_get(struct str payload, struct arena *arena, struct message *ret_message)
{
    struct reader    r = reader_of(payload);
    struct message   m = {0};
    struct envelope *e = &m.envelope;
    uint64_t         flags;

    if (get_u8(&r) != RECORD_VERSION)
        return false;
    m.id = get_u64(&r);
    m.received_ms = get_var(&r);
    m.cause = get_u64(&r);
    e->origin.class = (enum client_class)get_var_max(&r, CLASS_OURSELVES);
    e->origin.session = get_str(&r);
    e->origin.client = get_str(&r);
    e->origin.helo = get_str(&r);
    e->origin.protocol = get_str(&r);
    e->origin.user = get_str(&r);
    get_address(&r, &e->sender);
    e->body = (enum body_type)get_var_max(&r, BODY_BINARYMIME);
    flags = get_var_max(&r, MESSAGE_FLAGS);
    e->smtputf8 = flags & MESSAGE_SMTPUTF8;
    m.external = flags & MESSAGE_EXTERNAL;
    e->ret = (enum dsn_ret)get_var_max(&r, RET_FULL);
    e->envid = get_str(&r);
    e->declared_size = get_var(&r);
    if (!get_recipients(&r, arena, e))
        return false;
    m.size = get_var_max(&r, RECORD_SIZE_MAX);
    if (m.external)
        m.external_xxh3 = get_u64(&r);
    else
        m.content = get_bytes(&r, r.rest.len);
    if (!reader_ended(&r) || (!m.external && m.content.len != m.size))
        return false;
    *ret_message = m;
    return true;
}
