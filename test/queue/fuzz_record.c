/* Any bytes as the payload of any record: read or refused, and what was read gives, written again, the same reading. */
#include "fuzz.h"

#include "queue/brief.h"

#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void message(struct str in, struct arena *arena, struct buf *out)
{
    struct message m, again;

    if (!record_message_get(in, arena, &m))
        return;
    check(record_message_put(&m, out) && buf_append(out, m.content));
    check(record_message_get(buf_str(out), arena, &again));
    check(again.id == m.id && again.envelope.recipient_count == m.envelope.recipient_count &&
          str_eq(again.content, m.content) && str_eq(again.envelope.sender.local, m.envelope.sender.local));
    for (size_t i = 0; i < m.envelope.recipient_count; i++)
        check(m.envelope.recipients[i].address.local.len <= MAIL_LOCAL_MAX);
}

static void progress(struct str in, struct arena *arena, struct buf *out)
{
    struct progress p, again;

    if (!progress_get(in, arena, &p))
        return;
    check(progress_put(&p, out) && progress_get(buf_str(out), arena, &again));
    check(again.id == p.id && again.recipient_count == p.recipient_count);
    for (size_t i = 0; i < p.recipient_count; i++)
        check(again.recipients[i].state == p.recipients[i].state &&
              str_eq(again.recipients[i].reason, p.recipients[i].reason));
}

static void expansion(struct str in, struct arena *arena, struct buf *out)
{
    struct expansion e, again;

    if (!expansion_get(in, arena, &e))
        return;
    check(expansion_put(&e, out) && expansion_get(buf_str(out), arena, &again));
    check(again.parent == e.parent && again.first == e.first && again.target_count == e.target_count);
}

/* What an index says of a record: the same octets again, and of a record that is read its own. */
static void brief(struct str in, struct arena *arena, struct buf *out)
{
    struct reader       r = reader_of(in);
    struct record_brief b, again;
    struct buf          second;

    if (record_brief_get(&r, &b)) {
        check(record_brief_put(&b, out) && str_eq(buf_str(out), str_part(in, 0, in.len - r.rest.len)));
        buf_clear(out);
    }
    if (!record_brief_of(in.len ? (uint8_t)in.data[0] : 0, str_skip(in, 1), arena, &b))
        return;
    check(record_brief_put(&b, out));
    r = reader_of(buf_str(out));
    check(record_brief_get(&r, &again) && reader_ended(&r));
    buf_init(&second, out->max);
    check(record_brief_put(&again, &second) && str_eq(buf_str(&second), buf_str(out)));
    buf_done(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str   in = {(const char *)data + 1, size - 1}, name, value;
    struct arena arena;
    struct buf   out;
    uint64_t     id;

    if (size == 0)
        return 0;
    arena_init(&arena, 4096, 16 << 20);
    buf_init(&out, 16 << 20);
    switch (data[0] & 0x80 ? 0 : data[0] % 5 + 1) {
    case 0:
        brief(in, &arena, &out);
        break;
    case RECORD_MESSAGE:
        message(in, &arena, &out);
        break;
    case RECORD_PROGRESS:
        progress(in, &arena, &out);
        break;
    case RECORD_EXPANSION:
        expansion(in, &arena, &out);
        break;
    case RECORD_FINISHED:
        check(!finished_get(in, &id) || in.len == 9);
        break;
    default:
        check(!state_get(in, &name, &value) || (state_put(name, value, &out) && str_eq(buf_str(&out), in)));
        break;
    }
    buf_done(&out);
    arena_done(&arena);
    return 0;
}
