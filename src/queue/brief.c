/* brief.c: briefs of records, and their codec.
 *
 *   brief     = type ( message / progress / expansion / finished / state )
 *   message   = id size octets recipients class external hint hint     ; of the sender, of the recipients
 *   progress  = id since last next attempts flags recipients pending waiting unclaimed hint      ; of the last reply
 *   expansion = id first
 *   finished  = id
 *   state     = name value
 *
 * Ids have 8 octets, hints (two halves) 4, type and flags one, all other numbers are var. Everything is checked when it
 * is read, as in the records themselves. */
#include "queue/brief.h"

static bool of_message(struct str payload, struct arena *scratch, struct record_brief *b)
{
    struct message m;

    if (!record_message_get(payload, scratch, &m) || m.envelope.recipient_count > UINT32_MAX)
        return false;
    b->id = m.id;
    b->message.size = m.size;
    b->message.octets = payload.len;
    b->message.recipients = (uint32_t)m.envelope.recipient_count;
    b->message.from = hint_of_address(&m.envelope.sender);
    b->message.to = hint_of_recipients(m.envelope.recipients, m.envelope.recipient_count);
    b->message.class = (uint8_t)m.envelope.origin.class;
    b->message.external = m.external;
    return true;
}

static bool of_progress(struct str payload, struct arena *scratch, struct record_brief *b)
{
    struct progress p;

    if (!progress_get(payload, scratch, &p))
        return false;
    b->id = p.id;
    b->progress.since_ms = p.since_ms;
    b->progress.last_ms = p.last_ms;
    b->progress.next_ms = p.next_ms;
    b->progress.attempts = p.attempts;
    b->progress.flags = p.flags;
    b->progress.reply = hint_of_replies(p.recipients, p.recipient_count);
    b->progress.recipients = (uint32_t)p.recipient_count;
    for (size_t i = 0; i < p.recipient_count; i++) {
        b->progress.pending += p.recipients[i].state == RECIPIENT_PENDING;
        b->progress.waiting += p.recipients[i].state == RECIPIENT_WAITING;
        b->progress.unclaimed += p.recipients[i].state == RECIPIENT_UNCLAIMED;
    }
    return true;
}

static bool of_expansion(struct str payload, struct arena *scratch, struct record_brief *b)
{
    struct expansion e;

    if (!expansion_get(payload, scratch, &e))
        return false;
    b->id = e.id;
    b->expansion.first = e.first;
    return true;
}

/* No message has the id 0. */
static bool has_id(const struct record_brief *b) { return b->id != 0 || b->type == RECORD_STATE; }

bool record_brief_of(uint8_t type, struct str payload, struct arena *scratch, struct record_brief *ret_brief)
{
    struct record_brief b = {.type = (enum record_type)type};
    bool                ok = false;

    switch (b.type) {
    case RECORD_MESSAGE:
        ok = of_message(payload, scratch, &b);
        break;
    case RECORD_PROGRESS:
        ok = of_progress(payload, scratch, &b);
        break;
    case RECORD_EXPANSION:
        ok = of_expansion(payload, scratch, &b);
        break;
    case RECORD_FINISHED:
        ok = finished_get(payload, &b.id);
        break;
    case RECORD_STATE:
        ok = state_get(payload, &b.state.name, &b.state.value);
        break;
    }
    if (!ok || !has_id(&b))
        return false;
    *ret_brief = b;
    return true;
}

static void put_hint(struct buf *out, unsigned low, unsigned high) { put_u32(out, low | high << 16); }

static void get_hint(struct reader *r, uint16_t *ret_low, uint16_t *ret_high)
{
    uint32_t both = get_u32(r);

    *ret_low = (uint16_t)both;
    *ret_high = (uint16_t)(both >> 16);
}

bool record_brief_put(const struct record_brief *b, struct buf *out)
{
    put_u8(out, (uint8_t)b->type);
    if (b->type != RECORD_STATE)
        put_u64(out, b->id);
    switch (b->type) {
    case RECORD_MESSAGE:
        put_var(out, b->message.size);
        put_var(out, b->message.octets);
        put_var(out, b->message.recipients);
        put_u8(out, b->message.class);
        put_u8(out, b->message.external);
        put_hint(out, b->message.from.domain, b->message.from.local);
        put_hint(out, b->message.to.domain, b->message.to.local);
        break;
    case RECORD_PROGRESS:
        put_var(out, b->progress.since_ms);
        put_var(out, b->progress.last_ms);
        put_var(out, b->progress.next_ms);
        put_var(out, b->progress.attempts);
        put_u8(out, b->progress.flags);
        put_var(out, b->progress.recipients);
        put_var(out, b->progress.pending);
        put_var(out, b->progress.waiting);
        put_var(out, b->progress.unclaimed);
        put_hint(out, b->progress.reply.remote, b->progress.reply.code);
        break;
    case RECORD_EXPANSION:
        put_var(out, b->expansion.first);
        break;
    case RECORD_FINISHED:
        break;
    case RECORD_STATE:
        put_str(out, b->state.name);
        put_str(out, b->state.value);
        break;
    }
    return buf_ok(out);
}

static uint32_t get_count(struct reader *r) { return (uint32_t)get_var_max(r, UINT32_MAX); }

bool record_brief_get(struct reader *r, struct record_brief *ret_brief)
{
    struct record_brief b = {.type = (enum record_type)get_u8(r)};
    bool                ok = true;

    if (b.type != RECORD_STATE)
        b.id = get_u64(r);
    switch (b.type) {
    case RECORD_MESSAGE:
        b.message.size = get_var(r);
        b.message.octets = get_var(r);
        b.message.recipients = get_count(r);
        b.message.class = (uint8_t)get_var_max(r, CLASS_OURSELVES);
        b.message.external = get_var_max(r, 1) != 0;
        get_hint(r, &b.message.from.domain, &b.message.from.local);
        get_hint(r, &b.message.to.domain, &b.message.to.local);
        ok = b.message.recipients != 0;
        break;
    case RECORD_PROGRESS:
        b.progress.since_ms = get_var(r);
        b.progress.last_ms = get_var(r);
        b.progress.next_ms = get_var(r);
        b.progress.attempts = get_count(r);
        b.progress.flags = (uint8_t)get_var_max(r, PROGRESS_FLAGS);
        b.progress.recipients = get_count(r);
        b.progress.pending = get_count(r);
        b.progress.waiting = get_count(r);
        b.progress.unclaimed = get_count(r);
        get_hint(r, &b.progress.reply.remote, &b.progress.reply.code);
        ok = (uint64_t)b.progress.pending + b.progress.waiting + b.progress.unclaimed <= b.progress.recipients;
        break;
    case RECORD_EXPANSION:
        b.expansion.first = get_count(r);
        break;
    case RECORD_FINISHED:
        break;
    case RECORD_STATE:
        b.state.name = get_str(r);
        b.state.value = get_str(r);
        ok = b.state.name.len && b.state.name.len <= STATE_NAME_MAX && b.state.value.len <= STATE_VALUE_MAX;
        break;
    default:
        ok = false;
    }
    if (!ok || !has_id(&b) || !reader_ok(r))
        return false;
    *ret_brief = b;
    return true;
}
