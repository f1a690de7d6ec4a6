/* carriage.c: messages between back and the carrier as octets.
 *
 *   message   = kind:u8 ( carry / open / welcome / carried / recorded / put-back / room / cancel )
 *   carry     = id:u64 indices via:str route:str domain:str sender:address body:u8 flags:u8 ret:u8 envid:str size:var
 *               *( address orcpt-type:str orcpt:str notify:u8 ) content:str     ; as many as there are indices
 *   open      = id:u64 indices
 *   indices   = count:var first:var *( step:var )
 *   carried   = id:u64 number:u32 host:str address:str flags:u8 retry:var count:var
 *               *( verdict:u8, and 128 if unconfirmed, stage:u8 code:var status text:str words:str moved-to:address )
 *   status    = class:u8 subject:var detail:var
 *   recorded  = id:u64 number:u32
 *   cancel    = id:u64 number:u32
 *   put-back  = id:u64 number:u32 site:u64
 *   room      = site:u64 count:u32
 *
 * The carrier reads what strangers send, so back checks every value as if the carrier had fallen into their hands. */
#include "role/carriage.h"

#include "io/ipc.h"
#include "queue/record.h"

enum { CARRY_UTF8 = 1, CARRY_EXTERNAL = 2, CARRY_NOW = 4, CARRY_FLAGS = 7 };
enum {
    CARRIED_DSN = 1,
    CARRIED_REFUSED = 2,
    CARRIED_STOPPED = 4,
    CARRIED_FLAGS = 7,
    CARRIED_UNCONFIRMED = 128 /* with a verdict */
};
enum { NOTIFY_ALL = 15, INDEX_MAX = 1 << 22, CODE_MAX = 599, STATUS_MAX = 999 };

static void put_indices(struct buf *out, const struct carriage *c)
{
    put_var(out, c->recipient_count);
    for (size_t i = 0; i < c->recipient_count; i++)
        put_var(out, i ? c->indices[i] - c->indices[i - 1] : c->indices[0]);
}

static bool get_indices(struct reader *r, struct arena *arena, struct carriage *c)
{
    uint64_t at = 0;

    c->recipient_count = (size_t)get_var_max(r, CARRIAGE_RECIPIENTS_MAX);
    if (!reader_ok(r) || !c->recipient_count)
        return false;
    c->indices = arena_alloc(arena, c->recipient_count * sizeof *c->indices);
    if (!c->indices)
        return false;
    for (size_t i = 0; i < c->recipient_count; i++) {
        uint64_t step = get_var_max(r, INDEX_MAX);

        at += step;
        if (!reader_ok(r) || at > INDEX_MAX || (i && !step))
            return false;
        c->indices[i] = (uint32_t)at;
    }
    c->number = c->indices[0];
    return true;
}

static struct str get_text(struct reader *r, size_t max)
{
    struct str text = get_str(r);

    if (text.len > max)
        r->failed = true;
    return text;
}

static void put_carry(struct buf *out, const struct carriage *c)
{
    put_u64(out, c->id);
    put_indices(out, c);
    put_str(out, c->via);
    put_str(out, c->route);
    put_str(out, c->domain);
    put_address(out, &c->sender);
    put_u8(out, (uint8_t)c->body);
    put_u8(out, (uint8_t)((c->header_utf8 ? CARRY_UTF8 : 0) | (c->external ? CARRY_EXTERNAL : 0) |
                          (c->now ? CARRY_NOW : 0)));
    put_u8(out, (uint8_t)c->ret);
    put_str(out, c->envid);
    put_var(out, c->size);
    for (size_t i = 0; i < c->recipient_count; i++) {
        put_address(out, &c->recipients[i].address);
        put_str(out, c->recipients[i].orcpt_type);
        put_str(out, c->recipients[i].orcpt);
        put_u8(out, c->recipients[i].notify);
    }
    put_str(out, c->external ? STR_NONE : c->content);
}

static bool get_carry(struct reader *r, struct arena *arena, struct carriage *c)
{
    uint8_t flags;

    c->id = get_u64(r);
    if (!get_indices(r, arena, c))
        return false;
    c->via = get_str(r);
    c->route = get_str(r);
    c->domain = get_str(r);
    get_address(r, &c->sender);
    c->body = (enum body_type)get_u8_max(r, BODY_BINARYMIME);
    flags = get_u8_max(r, CARRY_FLAGS);
    c->header_utf8 = flags & CARRY_UTF8;
    c->external = flags & CARRY_EXTERNAL;
    c->now = flags & CARRY_NOW;
    c->ret = (enum dsn_ret)get_u8_max(r, RET_FULL);
    c->envid = get_str(r);
    c->size = get_var(r);
    c->recipients = reader_ok(r) ? arena_alloc(arena, c->recipient_count * sizeof *c->recipients) : NULL;
    if (!c->recipients)
        return false;
    for (size_t i = 0; i < c->recipient_count; i++) {
        struct recipient *to = &c->recipients[i];

        *to = (struct recipient){0};
        get_address(r, &to->address);
        to->orcpt_type = get_str(r);
        to->orcpt = get_str(r);
        to->notify = get_u8_max(r, NOTIFY_ALL);
    }
    c->content = get_str(r);
    return reader_ok(r) && (c->external ? c->content.len == 0 : c->content.len == c->size);
}

/* Never within a character: what is no UTF-8 any more would be malformed. */
static struct str cut(struct str text)
{
    size_t len = CARRIAGE_TEXT_MAX;

    if (text.len <= len)
        return text;
    while (len && ((unsigned char)text.data[len] & 0xc0) == 0x80)
        len--;
    return str_part(text, 0, len);
}

static void put_carried(struct buf *out, const struct carried *c)
{
    put_u64(out, c->id);
    put_u32(out, c->number);
    put_str(out, c->host);
    put_str(out, c->address);
    put_u8(out, (uint8_t)((c->dsn ? CARRIED_DSN : 0) | (c->refused ? CARRIED_REFUSED : 0) |
                          (c->stopped ? CARRIED_STOPPED : 0)));
    put_var(out, c->retry_ms);
    put_var(out, c->recipient_count);
    for (size_t i = 0; i < c->recipient_count; i++) {
        const struct carried_recipient *to = &c->recipients[i];

        put_u8(out, (uint8_t)((unsigned)to->verdict | (to->unconfirmed ? CARRIED_UNCONFIRMED : 0)));
        put_u8(out, (uint8_t)to->stage);
        put_var(out, to->code);
        put_u8(out, to->status.class);
        put_var(out, to->status.subject);
        put_var(out, to->status.detail);
        put_str(out, cut(to->text));
        put_str(out, cut(to->words));
        put_address(out, &to->moved_to);
    }
}

/* Nothing in it may begin a line elsewhere, but '\n' between the lines of a reply. */
static bool is_clean(struct str s, bool lines)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.data[i] < ' ' && !(lines && s.data[i] == '\n')) || s.data[i] == 127)
            return false;
    return str_is_utf8(s);
}

static bool get_carried(struct reader *r, struct arena *arena, struct carried *c)
{
    uint8_t flags;
    bool    clean;

    c->id = get_u64(r);
    c->number = get_u32(r);
    c->host = get_text(r, MAIL_DOMAIN_MAX + 2);
    c->address = get_text(r, MAIL_DOMAIN_MAX);
    flags = get_u8_max(r, CARRIED_FLAGS);
    c->dsn = flags & CARRIED_DSN;
    c->refused = flags & CARRIED_REFUSED;
    c->stopped = flags & CARRIED_STOPPED;
    c->retry_ms = get_var(r);
    c->recipient_count = (size_t)get_var_max(r, CARRIAGE_RECIPIENTS_MAX);
    clean = reader_ok(r) && is_clean(c->host, false) && is_clean(c->address, false);
    c->recipients = clean && c->recipient_count ? arena_alloc(arena, c->recipient_count * sizeof *c->recipients) : NULL;
    if (!c->recipients)
        return false;
    for (size_t i = 0; i < c->recipient_count; i++) {
        struct carried_recipient *to = &c->recipients[i];

        flags = get_u8_max(r, CARRIED_UNCONFIRMED | SMTP_CLIENT_FAILED);
        to->verdict = (enum smtp_client_verdict)(flags & SMTP_CLIENT_FAILED);
        to->unconfirmed = flags & CARRIED_UNCONFIRMED;
        to->stage = (enum smtp_stage)get_u8_max(r, SMTP_STAGE_QUIT);
        to->code = (uint16_t)get_var_max(r, CODE_MAX);
        to->status.class = get_u8_max(r, 5);
        to->status.subject = (uint16_t)get_var_max(r, STATUS_MAX);
        to->status.detail = (uint16_t)get_var_max(r, STATUS_MAX);
        to->text = get_text(r, CARRIAGE_TEXT_MAX);
        to->words = get_text(r, CARRIAGE_TEXT_MAX);
        get_address(r, &to->moved_to);
        if (!reader_ok(r) || (flags & ~(CARRIED_UNCONFIRMED | SMTP_CLIENT_FAILED)) ||
            to->verdict == SMTP_CLIENT_NOT_TRIED || !is_clean(to->text, true) || !is_clean(to->words, false))
            return false;
    }
    return true;
}

bool carriage_put(const struct carriage_message *m, struct buf *out)
{
    size_t before = out->len;

    put_u8(out, (uint8_t)m->kind);
    switch (m->kind) {
    case CARRIAGE_CARRY:
        put_carry(out, &m->carriage);
        break;
    case CARRIAGE_OPEN:
        put_u64(out, m->carriage.id);
        put_indices(out, &m->carriage);
        break;
    case CARRIAGE_CARRIED:
        put_carried(out, &m->carried);
        break;
    case CARRIAGE_RECORDED:
    case CARRIAGE_CANCEL:
    case CARRIAGE_PUT_BACK:
        put_u64(out, m->carried.id);
        put_u32(out, m->carried.number);
        if (m->kind == CARRIAGE_PUT_BACK)
            put_u64(out, m->site);
        break;
    case CARRIAGE_ROOM:
        put_u64(out, m->site);
        put_u32(out, m->room);
        break;
    case CARRIAGE_WELCOME:
        break;
    }
    return buf_ok(out) && out->len - before <= IPC_MESSAGE_MAX;
}

bool carriage_get(struct str message, struct arena *arena, struct carriage_message *ret_message)
{
    struct reader           r = reader_of(message);
    struct carriage_message m = {.kind = (enum carriage_kind)get_u8_max(&r, CARRIAGE_CANCEL)};
    bool                    ok = true;

    switch (m.kind) {
    case CARRIAGE_CARRY:
        ok = get_carry(&r, arena, &m.carriage);
        break;
    case CARRIAGE_OPEN:
        m.carriage.id = get_u64(&r);
        ok = get_indices(&r, arena, &m.carriage);
        break;
    case CARRIAGE_CARRIED:
        ok = get_carried(&r, arena, &m.carried);
        break;
    case CARRIAGE_RECORDED:
    case CARRIAGE_CANCEL:
    case CARRIAGE_PUT_BACK:
        m.carried.id = get_u64(&r);
        m.carried.number = get_u32(&r);
        if (m.kind == CARRIAGE_PUT_BACK)
            m.site = get_u64(&r);
        break;
    case CARRIAGE_ROOM:
        m.site = get_u64(&r);
        m.room = get_u32(&r);
        break;
    case CARRIAGE_WELCOME:
        break;
    default:
        ok = false;
    }
    if (!ok || !reader_ended(&r))
        return false;
    *ret_message = m;
    return true;
}
