/* progress.c: codec of the records about a message's fate.
 *
 *   progress  = version id since last next attempts flags [ via ] count *recipient
 *   recipient = state-octet [ status reason ] [ remote remote-address code reply ]
 *                               ; the first two where the octet's high bit is set, the others where the next one is
 *   expansion = version id parent first count 1*( flags address [ sender ] )
 *   finished  = version id
 *   state     = version name value
 *
 * A progress record says everything anew instead of only what changed: then the newest one alone must stay readable,
 * and replay needs no order among them but the newest. It costs one octet for each recipient that is done. */
#include "queue/progress.h"

enum { HAS_TEXT = 0x80, HAS_REMOTE = 0x40, CODE_MAX = 599, RECIPIENTS_MAX = 1 << 22, TARGET_LEAST = 4 };

const char *recipient_state_name(enum recipient_state state)
{
    static const char *const names[] = {
        [RECIPIENT_PENDING] = "pending",     [RECIPIENT_WAITING] = "waiting",   [RECIPIENT_UNCLAIMED] = "unclaimed",
        [RECIPIENT_DELIVERED] = "delivered", [RECIPIENT_EXPANDED] = "expanded", [RECIPIENT_FAILED] = "failed",
        [RECIPIENT_DROPPED] = "dropped",     [RECIPIENT_REMOVED] = "removed",
    };

    return names[state];
}

/* At most `max` octets, and what is left. */
static void put_text(struct buf *out, struct str text, size_t max, size_t *left)
{
    text = str_part(text, 0, max < *left ? max : *left);
    *left -= text.len;
    put_str(out, text);
}

bool progress_put(const struct progress *p, struct buf *out)
{
    put_u8(out, RECORD_VERSION);
    put_u64(out, p->id);
    put_var(out, p->since_ms);
    put_var(out, p->last_ms);
    put_var(out, p->next_ms);
    put_var(out, p->attempts);
    put_u8(out, (uint8_t)((p->flags & ~PROGRESS_VIA) | (p->via.len ? PROGRESS_VIA : 0)));
    if (p->via.len)
        put_str(out, p->via);
    put_var(out, p->recipient_count);
    for (size_t i = 0; i < p->recipient_count; i++) {
        const struct recipient_progress *to = &p->recipients[i];
        bool                             text = to->status.len || to->reason.len;
        bool                             remote = to->remote.len || to->code || to->reply.len;
        size_t                           left = PROGRESS_TEXTS_MAX / p->recipient_count;

        put_u8(out, (uint8_t)((unsigned)to->state | (text ? HAS_TEXT : 0) | (remote ? HAS_REMOTE : 0)));
        if (text) {
            put_text(out, to->status, PROGRESS_STATUS_MAX, &left);
            put_text(out, to->reason, left / 2 < PROGRESS_REASON_MAX ? left / 2 : PROGRESS_REASON_MAX, &left);
        }
        if (remote) {
            put_text(out, to->remote, PROGRESS_REMOTE_MAX, &left);
            put_text(out, to->remote_address, PROGRESS_REMOTE_MAX, &left);
            put_var(out, to->code);
            put_text(out, to->reply, PROGRESS_REPLY_MAX, &left);
        }
    }
    return buf_ok(out);
}

static bool recipient_get(struct reader *r, struct recipient_progress *ret_to)
{
    struct recipient_progress to = {0};
    unsigned                  octet = get_u8(r), state = octet & ~(unsigned)(HAS_TEXT | HAS_REMOTE);

    if (state > RECIPIENT_REMOVED)
        return false;
    to.state = (enum recipient_state)state;
    if (octet & HAS_TEXT) {
        to.status = get_str(r);
        to.reason = get_str(r);
        if (to.status.len > PROGRESS_STATUS_MAX || to.reason.len > PROGRESS_REASON_MAX)
            return false;
    }
    if (octet & HAS_REMOTE) {
        to.remote = get_str(r);
        to.remote_address = get_str(r);
        to.code = (uint16_t)get_var_max(r, CODE_MAX);
        to.reply = get_str(r);
        if (to.remote.len > PROGRESS_REMOTE_MAX || to.remote_address.len > PROGRESS_REMOTE_MAX ||
            to.reply.len > PROGRESS_REPLY_MAX)
            return false;
    }
    *ret_to = to;
    return true;
}

bool progress_get(struct str payload, struct arena *arena, struct progress *ret_progress)
{
    struct reader   r = reader_of(payload);
    struct progress p = {0};
    uint64_t        count;

    if (get_u8(&r) != RECORD_VERSION)
        return false;
    p.id = get_u64(&r);
    p.since_ms = get_var(&r);
    p.last_ms = get_var(&r);
    p.next_ms = get_var(&r);
    p.attempts = (uint32_t)get_var_max(&r, UINT32_MAX);
    p.flags = (uint8_t)get_var_max(&r, PROGRESS_FLAGS);
    if (p.flags & PROGRESS_VIA)
        p.via = get_str(&r);
    count = get_var_max(&r, RECIPIENTS_MAX);
    if (!reader_ok(&r) || count == 0 || count > r.rest.len || p.via.len > VIA_TEXT_MAX ||
        !p.via.len != !(p.flags & PROGRESS_VIA))
        return false;
    p.recipients = arena_alloc(arena, count * sizeof *p.recipients);
    if (!p.recipients)
        return false;
    p.recipient_count = count;
    for (size_t i = 0; i < count; i++)
        if (!recipient_get(&r, &p.recipients[i]))
            return false;
    if (!reader_ended(&r))
        return false;
    *ret_progress = p;
    return true;
}

bool expansion_put(const struct expansion *e, struct buf *out)
{
    put_u8(out, RECORD_VERSION);
    put_u64(out, e->id);
    put_var(out, e->parent);
    put_var(out, e->first);
    put_var(out, e->target_count);
    for (size_t i = 0; i < e->target_count; i++) {
        put_u8(out, e->targets[i].flags);
        put_address(out, &e->targets[i].address);
        if (e->targets[i].flags & EXPANDED_SENDER)
            put_address(out, &e->targets[i].sender);
    }
    return buf_ok(out);
}

bool expansion_get(struct str payload, struct arena *arena, struct expansion *ret_expansion)
{
    struct reader    r = reader_of(payload);
    struct expansion e = {0};
    uint64_t         count;

    if (get_u8(&r) != RECORD_VERSION)
        return false;
    e.id = get_u64(&r);
    e.parent = (uint32_t)get_var_max(&r, RECIPIENTS_MAX);
    e.first = (uint32_t)get_var_max(&r, RECIPIENTS_MAX);
    count = get_var(&r);
    if (!reader_ok(&r) || e.first <= e.parent || count == 0 || count > r.rest.len / TARGET_LEAST)
        return false;
    e.targets = arena_alloc(arena, count * sizeof *e.targets);
    if (!e.targets)
        return false;
    e.target_count = count;
    for (size_t i = 0; i < count; i++) {
        e.targets[i].flags = (uint8_t)get_var_max(&r, EXPANDED_FLAGS);
        get_address(&r, &e.targets[i].address);
        if (e.targets[i].flags & EXPANDED_SENDER)
            get_address(&r, &e.targets[i].sender);
    }
    if (!reader_ended(&r))
        return false;
    *ret_expansion = e;
    return true;
}

bool finished_put(uint64_t id, struct buf *out)
{
    put_u8(out, RECORD_VERSION);
    put_u64(out, id);
    return buf_ok(out);
}

bool finished_get(struct str payload, uint64_t *ret_id)
{
    struct reader r = reader_of(payload);
    uint8_t       version = get_u8(&r);
    uint64_t      id = get_u64(&r);

    if (version != RECORD_VERSION || !reader_ended(&r))
        return false;
    *ret_id = id;
    return true;
}

bool state_put(struct str name, struct str value, struct buf *out)
{
    put_u8(out, RECORD_VERSION);
    put_str(out, name);
    put_str(out, value);
    return buf_ok(out);
}

bool state_get(struct str payload, struct str *ret_name, struct str *ret_value)
{
    struct reader r = reader_of(payload);
    uint8_t       version = get_u8(&r);
    struct str    name = get_str(&r), value = get_str(&r);

    if (version != RECORD_VERSION || !reader_ended(&r) || !name.len || name.len > STATE_NAME_MAX ||
        value.len > STATE_VALUE_MAX)
        return false;
    *ret_name = name;
    *ret_value = value;
    return true;
}
