/* lookup.c: see lookup.h.
 *
 *   query  = tag:u32 type:u8 name:str
 *   answer = tag:u32 outcome:u8 flags:u8 ttl:u32 why:str count:var *record:str
 *
 * A question is kept as it was sent until it is answered, so that a resolver that was started again gets it anew and
 * nobody who asks has to know that it went away. */
#include "role/lookup.h"

#include "base/codec.h"

#include <stdlib.h>
#include <unistd.h>

enum { FLAG_SECURE = 1, FLAG_CNAME = 2, FLAGS = 3 };
enum { QUERY_MAX = 512, ANSWER_MEMORY = 64 * 1024, WHY_MAX = 500, SPARE = 16 };

struct lookup_question {
    struct list    link;
    struct lookup *lookup;
    uint32_t       tag;
    uint64_t       until_ms;
    void (*answered)(const struct dns_answer *answer, void *arg);
    void      *arg;
    struct buf message;
};

/* ---- the messages ---- */

static bool type_is_known(uint8_t type)
{
    switch ((enum dns_type)type) {
    case DNS_A:
    case DNS_PTR:
    case DNS_MX:
    case DNS_TXT:
    case DNS_AAAA:
    case DNS_TLSA:
        return true;
    }
    return false;
}

bool lookup_query_put(const struct lookup_query *q, struct buf *out)
{
    put_u32(out, q->tag);
    put_u8(out, (uint8_t)q->type);
    put_str(out, q->name);
    return buf_ok(out);
}

bool lookup_query_get(struct str message, struct lookup_query *ret_query)
{
    struct reader       r = reader_of(message);
    struct lookup_query q = {.tag = get_u32(&r)};
    uint8_t             type = get_u8(&r);

    q.type = (enum dns_type)type;
    q.name = get_str(&r);
    if (!reader_ended(&r) || !type_is_known(type) || q.name.len > LOOKUP_NAME_MAX)
        return false;
    *ret_query = q;
    return true;
}

bool lookup_answer_put(uint32_t tag, const struct dns_answer *a, struct buf *out)
{
    const struct dns_answer too_long = {.outcome = DNS_FAILED, .why = "the answer is too long"};
    size_t                  count = 0, room = IPC_MESSAGE_MAX / 2;

    while (count < a->count && count < LOOKUP_RECORDS && a->records[count].len + SPARE <= room)
        room -= a->records[count++].len + SPARE;
    if (a->outcome == DNS_FOUND && count == 0)
        a = &too_long;
    put_u32(out, tag);
    put_u8(out, (uint8_t)a->outcome);
    put_u8(out, (uint8_t)((a->secure ? FLAG_SECURE : 0) | (a->cname ? FLAG_CNAME : 0)));
    put_u32(out, a->ttl_s);
    put_str(out, str_part(str_from(a->why), 0, WHY_MAX));
    put_var(out, count);
    for (size_t i = 0; i < count; i++)
        put_str(out, a->records[i]);
    return buf_ok(out);
}

bool lookup_answer_get(struct str message, struct arena *arena, uint32_t *ret_tag, struct dns_answer *ret_answer)
{
    struct reader     r = reader_of(message);
    uint32_t          tag = get_u32(&r);
    uint8_t           outcome = get_u8(&r), flags = get_u8(&r);
    struct dns_answer a = {.outcome = (enum dns_outcome)outcome,
                           .secure = flags & FLAG_SECURE,
                           .cname = flags & FLAG_CNAME,
                           .ttl_s = get_u32(&r)};
    struct str        why = get_str(&r), *records;

    a.count = get_var_max(&r, LOOKUP_RECORDS);
    records = arena_alloc(arena, (a.count + 1) * sizeof *records);
    a.records = records;
    for (size_t i = 0; records && i < a.count; i++)
        records[i] = get_str(&r);
    if (why.len)
        a.why = arena_str(arena, why).data;
    if (!records || !reader_ended(&r) || outcome > DNS_BOGUS || flags > FLAGS || why.len > WHY_MAX ||
        (why.len && !a.why) || (a.outcome == DNS_FOUND) != (a.count > 0))
        return false;
    *ret_tag = tag;
    *ret_answer = a;
    return true;
}

/* ---- the asking side ---- */

void lookup_init(struct lookup *l, struct io_loop *loop)
{
    uint64_t seed;

    io_random(&seed, sizeof seed);
    *l = (struct lookup){.loop = loop, .patience_ms = LOOKUP_PATIENCE_MS};
    map_init(&l->by_tag, seed);
    list_init(&l->questions);
}

static void question_free(struct lookup_question *q)
{
    map_remove_u64(&q->lookup->by_tag, q->tag);
    list_remove(&q->link);
    buf_done(&q->message);
    free(q);
}

void lookup_cancel(struct lookup_question *q) { question_free(q); }

static void answer(struct lookup_question *q, const struct dns_answer *a)
{
    void (*answered)(const struct dns_answer *answer, void *arg) = q->answered;
    void *arg = q->arg;

    question_free(q);
    answered(a, arg);
}

void lookup_done(struct lookup *l)
{
    while (!list_is_empty(&l->questions))
        question_free(LIST_ITEM(list_first(&l->questions), struct lookup_question, link));
    map_done(&l->by_tag);
    io_ipc_free(l->channel);
}

static void on_message(void *arg, struct str data, int fd)
{
    const struct dns_answer unread = {.outcome = DNS_FAILED, .why = "the answer cannot be read"}; /* or no memory */
    struct lookup          *l = arg;
    struct reader           r = reader_of(data);
    struct lookup_question *q = map_get_u64(&l->by_tag, get_u32(&r));
    struct dns_answer       a;
    struct arena            arena;
    uint32_t                tag;

    if (fd >= 0)
        close(fd);
    if (!q)
        return;
    arena_init(&arena, 4096, ANSWER_MEMORY);
    answer(q, lookup_answer_get(data, &arena, &tag, &a) ? &a : &unread);
    arena_done(&arena);
}

static void on_end(void *arg)
{
    struct lookup *l = arg;

    io_ipc_free(l->channel);
    l->channel = NULL;
}

bool lookup_attach(struct lookup *l, int fd, struct err *err)
{
    static const struct io_ipc_ops ops = {on_message, on_end};

    io_ipc_free(l->channel);
    l->channel = io_ipc_new(l->loop, fd, &ops, l, err);
    if (!l->channel)
        return false;
    LIST_EACH (link, &l->questions)
        if (!io_ipc_send(l->channel, buf_str(&LIST_ITEM(link, struct lookup_question, link)->message), -1))
            break; /* ended again: the next one gets them */
    return true;
}

struct lookup_question *lookup_ask(struct lookup *l, struct str name, enum dns_type type,
                                   void (*answered)(const struct dns_answer *answer, void *arg), void *arg)
{
    struct lookup_question *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    *q = (struct lookup_question){.lookup = l,
                                  .tag = ++l->tag,
                                  .until_ms = io_loop_now_ms(l->loop) + l->patience_ms,
                                  .answered = answered,
                                  .arg = arg};
    list_init(&q->link);
    buf_init(&q->message, QUERY_MAX);
    if (!lookup_query_put(&(struct lookup_query){q->tag, type, name}, &q->message) ||
        !map_put_u64(&l->by_tag, q->tag, q)) {
        buf_done(&q->message);
        free(q);
        return NULL;
    }
    list_push(&l->questions, &q->link);
    if (l->channel)
        io_ipc_send(l->channel, buf_str(&q->message), -1);
    return q;
}

void lookup_tick(struct lookup *l)
{
    const struct dns_answer silent = {.outcome = DNS_FAILED, .why = "the resolver does not answer"};
    uint64_t                now_ms = io_loop_now_ms(l->loop);
    struct list            *first;

    while ((first = list_first(&l->questions)) && LIST_ITEM(first, struct lookup_question, link)->until_ms <= now_ms)
        answer(LIST_ITEM(first, struct lookup_question, link), &silent);
}
