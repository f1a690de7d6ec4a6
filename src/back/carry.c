/* carry.c: channels to the carrier, and the carriages that went through them.
 *
 * Several carriers may live during a reload; the newest gets what is new, and the others end what they have. Nothing is
 * given, to none of them, before each has said WELCOME: until then it is not known what it has from a back that ended.
 * What comes from a carrier is checked as if it had fallen into a stranger's hands: it can say what became of what it
 * was given, and at the start of its channel name mail for other servers that it may have been given, no more.
 *
 * Rejected: to keep each attempt in memory until the last server of a thousand has answered. */
#include "back/back.h"
#include "role/log.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    AT_ONCE = 256,        /* attempts that write down outcomes */
    UNSENT_MAX = 4 << 20, /* octets in the channel; io_ipc_send has a limit */
    UNSENT_MAX_FD = 64 << 10,
    REST_MS = 2000,        /* of a carrier that takes nothing */
    LONG_MS = 3600 * 1000, /* a message of which all is under way is looked at all the same */
    GATHER_MS = 10 * 1000, /* an outcome waits for those of the message's other carriages */
    SAY_MAX = 64,          /* octets of RECORDED or CANCEL */
    ARENA_CHUNK = 16 << 10,
    ARENA_MAX = 8 << 20,
};

struct back_carrier {
    struct list    link;
    struct back   *back;
    struct io_ipc *channel;
    struct list    carriages;
    struct map     sites; /* number -> struct back_park */
    uint64_t       rests_until_ms;
    bool           welcome;
};

/* ---- carriages ---- */

static void carriage_change(struct back_carriage *c, enum back_carriage_state to)
{
    static const unsigned from[] = {
        [BACK_CARRIAGE_OUT] = 0,
        [BACK_CARRIAGE_ANSWERED] = 1u << BACK_CARRIAGE_OUT,
        [BACK_CARRIAGE_CUT] = 1u << BACK_CARRIAGE_OUT,
        [BACK_CARRIAGE_LATE] = 1u << BACK_CARRIAGE_OUT,
        [BACK_CARRIAGE_TAKEN] = 1u << BACK_CARRIAGE_ANSWERED | 1u << BACK_CARRIAGE_CUT | 1u << BACK_CARRIAGE_LATE,
    };

    assert(from[to] & 1u << c->state);
    if (to == BACK_CARRIAGE_TAKEN)
        c->how = c->state;
    c->state = to;
}

struct back_carriage *back_carriage_first(struct back *b, uint64_t id) { return map_get_u64(&b->carry.messages, id); }

struct back_carriage *back_carriage_find(struct back *b, uint64_t id, uint32_t number)
{
    struct back_carriage *c = back_carriage_first(b, id);

    while (c && c->number != number)
        c = c->next;
    return c;
}

struct back_carriage *back_carriage_new(struct back *b, struct back_carrier *carrier, uint64_t id, uint32_t *indices,
                                        size_t count)
{
    struct back_carriage *c = calloc(1, sizeof *c), *first = back_carriage_first(b, id);
    struct queue_message *m = queue_find(&b->queue, id);

    if (!c || !map_put_u64(&b->carry.messages, id, c)) {
        free(c);
        free(indices);
        return NULL;
    }
    c->next = first;
    c->carrier = carrier;
    c->id = id;
    c->number = indices[0];
    c->indices = indices;
    c->count = count;
    c->given_ms = io_wall_ms();
    buf_init(&c->outcome, IPC_MESSAGE_MAX);
    buf_init(&c->record, BACK_RECORD_MAX);
    list_init(&c->answered);
    list_push(&carrier->carriages, &c->link);
    if (m)
        m->out = m->was_out = true;
    return c;
}

void back_carriage_free(struct back *b, struct back_carriage *c)
{
    struct back_carriage *first = back_carriage_first(b, c->id);
    struct queue_message *m = queue_find(&b->queue, c->id);

    if (m && first == c && !c->next)
        m->out = false;
    if (first != c) {
        while (first->next != c)
            first = first->next;
        first->next = c->next;
    } else if (!c->next) {
        map_remove_u64(&b->carry.messages, c->id);
    } else if (!map_put_u64(&b->carry.messages, c->id, c->next)) {
        role_give_up("out of memory", NULL);
    }
    list_remove(&c->link);
    list_remove(&c->answered);
    b->carry.kept -= c->record.len;
    buf_done(&c->outcome);
    buf_done(&c->record);
    free(c->indices);
    free(c);
}

static void gathered(struct back *b, struct back_carriage *c)
{
    list_remove(&c->answered);
    list_push(&b->carry.answered, &c->answered);
}

/* What several servers say of one message within a few seconds is written down at once, and is one report. */
static void answer(struct back *b, struct back_carriage *c, enum back_carriage_state how)
{
    bool others_out = false;

    carriage_change(c, how);
    for (struct back_carriage *o = back_carriage_first(b, c->id); o; o = o->next)
        others_out |= o->state == BACK_CARRIAGE_OUT;
    c->answered_ms = io_loop_now_ms(b->loop);
    list_push(&b->carry.gathering, &c->answered);
    for (struct back_carriage *o = back_carriage_first(b, c->id); o && !others_out; o = o->next)
        if (o->state != BACK_CARRIAGE_TAKEN && !list_is_empty(&o->answered))
            gathered(b, o);
}

static void gathering_end(struct back *b)
{
    uint64_t now = io_loop_now_ms(b->loop);

    while (!list_is_empty(&b->carry.gathering)) {
        struct back_carriage *c = LIST_ITEM(list_first(&b->carry.gathering), struct back_carriage, answered);

        if (!b->draining && now - c->answered_ms < GATHER_MS)
            break;
        gathered(b, c);
    }
}

/* ---- the carrier's side ---- */

struct back_carrier *back_carrier_ready(struct back *b)
{
    struct back_carrier *ready = NULL;

    LIST_EACH (link, &b->carry.carriers) {
        struct back_carrier *c = LIST_ITEM(link, struct back_carrier, link);

        if (!c->welcome)
            return NULL; /* it may have what is to be given */
        if (c->rests_until_ms <= io_loop_now_ms(b->loop) && back_carrier_has_room(c, false))
            ready = c;
    }
    return ready;
}

bool back_carrier_send(struct back_carrier *c, struct str message, int fd)
{
    return io_ipc_send(c->channel, message, fd);
}

bool back_carrier_has_room(const struct back_carrier *c, bool with_fd)
{
    return io_ipc_unsent(c->channel) < (with_fd ? UNSENT_MAX_FD : UNSENT_MAX);
}

bool back_carry_is_open(struct back *b)
{
    return b->carry.messages.used < b->config->queue.remote && back_carrier_ready(b);
}

void back_carrier_rest(struct back_carrier *c) { c->rests_until_ms = io_loop_now_ms(c->back->loop) + REST_MS; }

void back_carrier_say(struct back_carrier *carrier, enum carriage_kind kind, uint64_t id, uint32_t number)
{
    struct carriage_message m = {.kind = kind, .carried = {.id = id, .number = number}};
    struct buf             *out = &carrier->back->carry.out;

    buf_clear(out);
    if (carriage_put(&m, out))
        back_carrier_send(carrier, buf_str(out), -1);
}

static bool on_open(struct back_carrier *carrier, const struct carriage *given)
{
    struct back          *b = carrier->back;
    struct queue_message *m = queue_find(&b->queue, given->id);
    struct back_carriage *c;
    uint32_t             *indices;

    if (carrier->welcome || back_carriage_find(b, given->id, given->number))
        return false;
    if (!m)
        return true; /* its outcome will be answered at once */
    if (!(m->replayed || m->was_out) || given->indices[given->recipient_count - 1] >= m->recipient_count)
        return false; /* nobody can have given that away */
    indices = malloc(given->recipient_count * sizeof *indices);
    if (!indices)
        role_give_up("out of memory", NULL);
    memcpy(indices, given->indices, given->recipient_count * sizeof *indices);
    c = back_carriage_new(b, carrier, given->id, indices, given->recipient_count);
    if (!c)
        role_give_up("out of memory", NULL);
    c->round = m->attempts;
    c->expires_ms = m->since_ms + b->config->queue.expire;
    return true;
}

static bool on_carried(struct back_carrier *carrier, const struct carried *carried, struct str data)
{
    struct back          *b = carrier->back;
    struct back_carriage *c = back_carriage_find(b, carried->id, carried->number);

    if (!c) {
        back_carrier_say(carrier, CARRIAGE_RECORDED, carried->id, carried->number);
        return true;
    }
    if (c->carrier != carrier || carried->recipient_count != c->count)
        return false;
    if (c->state != BACK_CARRIAGE_OUT)
        return true; /* said again; its record is on the way */
    if (!buf_append(&c->outcome, data))
        role_give_up("out of memory", NULL);
    recall_note(b, c, carried);
    answer(b, c, BACK_CARRIAGE_ANSWERED);
    return true;
}

static struct back_park *site_of(struct back_carrier *carrier, uint64_t site)
{
    struct back_park *p = site ? map_get_u64(&carrier->sites, site) : &carrier->back->carry.own;

    if (p)
        return p;
    p = calloc(1, sizeof *p);
    if (!p || !map_put_u64(&carrier->sites, site, p))
        role_give_up("out of memory", NULL);
    p->site = site;
    return p;
}

static bool on_put_back(struct back_carrier *carrier, uint64_t id, uint32_t number, uint64_t site)
{
    struct back          *b = carrier->back;
    struct back_carriage *c = back_carriage_find(b, id, number);
    struct queue_message *m = queue_find(&b->queue, id);

    if (!site && !(c && c->cancelled))
        back_carrier_rest(carrier);
    if (!c)
        return true; /* removed meanwhile */
    if (c->carrier != carrier || c->state != BACK_CARRIAGE_OUT)
        return false;
    if (recall_lasts(b, id)) {
        back_carriage_free(b, c);
        return true;
    }
    if (m && c->expires_ms <= io_wall_ms()) {
        answer(b, c, BACK_CARRIAGE_LATE);
        return true;
    }
    back_carriage_free(b, c);
    if (m)
        park_put(b, site_of(carrier, site), m);
    return true;
}

static void on_room(struct back_carrier *carrier, uint64_t site, uint32_t room)
{
    struct back_park *p = map_get_u64(&carrier->sites, site);

    if (!p)
        return;
    park_take(carrier->back, p, room);
    if (!p->count) {
        map_remove_u64(&carrier->sites, site);
        park_done(p);
        free(p);
    }
}

static void on_message(void *arg, struct str data, int fd)
{
    struct back_carrier    *carrier = arg;
    struct back            *b = carrier->back;
    struct carriage_message m;
    bool                    ok = carriage_get(data, &b->carry.arena, &m);

    if (fd >= 0)
        close(fd);
    switch (ok ? m.kind : 0) {
    case CARRIAGE_OPEN:
        ok = on_open(carrier, &m.carriage);
        break;
    case CARRIAGE_WELCOME:
        carrier->welcome = true;
        break;
    case CARRIAGE_CARRIED:
        ok = on_carried(carrier, &m.carried, data);
        break;
    case CARRIAGE_PUT_BACK:
        ok = on_put_back(carrier, m.carried.id, m.carried.number, m.site);
        break;
    case CARRIAGE_ROOM:
        on_room(carrier, m.site, m.room);
        break;
    case CARRIAGE_CARRY:
    case CARRIAGE_RECORDED:
    case CARRIAGE_CANCEL:
    default:
        ok = false;
    }
    if (!ok)
        log_notice(LOG_LEVEL_WARNING, "a message of the carrier makes no sense");
    arena_reset(&b->carry.arena);
    back_kick(b);
    back_drain_check(b);
}

static void on_end(void *arg)
{
    struct back_carrier *carrier = arg;
    struct back         *b = carrier->back;
    struct back_park    *p;

    while (!list_is_empty(&carrier->carriages)) {
        struct back_carriage *c = LIST_ITEM(list_first(&carrier->carriages), struct back_carriage, link);

        list_remove(&c->link);
        c->carrier = NULL;
        if (c->state != BACK_CARRIAGE_OUT)
            continue;
        recall_note(b, c, NULL);
        answer(b, c, BACK_CARRIAGE_CUT);
    }
    for (size_t at = 0; (p = map_next(&carrier->sites, &at));) {
        park_move(b, p, &b->carry.own);
        free(p);
    }
    map_done(&carrier->sites);
    list_remove(&carrier->link);
    io_ipc_free(carrier->channel);
    free(carrier);
    back_kick(b);
    back_drain_check(b);
}

void back_carrier_attach(struct back *b, int fd)
{
    static const struct io_ipc_ops ops = {on_message, on_end};
    struct back_carrier           *c = calloc(1, sizeof *c);
    struct err                     err = {0};

    if (!c) {
        close(fd);
        return;
    }
    c->back = b;
    list_init(&c->carriages);
    map_init(&c->sites, b->seed);
    c->channel = io_ipc_new(b->loop, fd, &ops, c, &err);
    if (!c->channel) {
        log_notice(LOG_LEVEL_ERROR, "channel to the carrier: %s", err.text);
        free(c);
        return;
    }
    list_push(&b->carry.carriers, &c->link);
}

/* ---- outcomes ---- */

void carry_recorded(struct attempt *a)
{
    struct back *b = a->back;

    while (!list_is_empty(&a->taken)) {
        struct back_carriage *c = LIST_ITEM(list_first(&a->taken), struct back_carriage, answered);

        if (c->carrier)
            back_carrier_say(c->carrier, CARRIAGE_RECORDED, c->id, c->number);
        back_carriage_free(b, c);
    }
}

void carry_take(struct attempt *a)
{
    for (struct back_carriage *c = back_carriage_first(a->back, a->id); c; c = c->next) {
        for (size_t i = 0; i < c->count; i++)
            if (c->indices[i] < a->count && a->to[c->indices[i]].state == RECIPIENT_PENDING &&
                way_may_lead_out(a, c->indices[i]))
                a->to[c->indices[i]].given = true;
        if (c->state == BACK_CARRIAGE_OUT || c->state == BACK_CARRIAGE_TAKEN)
            continue;
        list_remove(&c->answered);
        carriage_change(c, BACK_CARRIAGE_TAKEN);
        list_push(&a->taken, &c->answered);
        outcome_apply(a, c);
    }
}

void back_carry_settle(struct back *b, struct queue_message *m)
{
    bool out = false;

    for (struct back_carriage *c = back_carriage_first(b, m->id); c; c = c->next) {
        out |= c->state == BACK_CARRIAGE_OUT;
        if (c->state != BACK_CARRIAGE_OUT && c->state != BACK_CARRIAGE_TAKEN && list_is_empty(&c->answered))
            list_push(&b->carry.answered, &c->answered);
    }
    if (out && !m->parked && m->next_ms <= io_wall_ms() && !queue_delay(&b->queue, m, park_until_ms(b, m, LONG_MS)))
        role_give_up("out of memory", NULL);
}

void back_carry_kick(struct back *b)
{
    gathering_end(b);
    while (!b->store_waits && b->carry.attempts < AT_ONCE && !list_is_empty(&b->carry.answered)) {
        struct back_carriage *c = LIST_ITEM(list_first(&b->carry.answered), struct back_carriage, answered);
        struct queue_message *m = queue_find(&b->queue, c->id);

        list_remove(&c->answered);
        if (!m) {
            outcome_log_removed(b, c);
            if (c->carrier)
                back_carrier_say(c->carrier, CARRIAGE_RECORDED, c->id, c->number);
            back_carriage_free(b, c);
        } else if (!m->busy) { /* else its end comes here */
            if (!m->parked)
                queue_delay(&b->queue, m, 0);
            if (!back_attempt_start_outcome(b, m, buf_str(&c->record)))
                role_give_up("out of memory", NULL);
        }
    }
}

bool back_carry_is_idle(const struct back *b)
{
    return !b->carry.attempts && list_is_empty(&b->carry.answered) && list_is_empty(&b->carry.gathering);
}

bool back_carry_is_out(const struct back *b)
{
    LIST_EACH (link, &b->carry.carriers)
        LIST_EACH (out, &LIST_ITEM(link, struct back_carrier, link)->carriages)
            if (LIST_ITEM(out, struct back_carriage, link)->state == BACK_CARRIAGE_OUT)
                return true;
    return false;
}

/* A message that is lost for want of memory would leave its recipients under way for ever. */
bool back_carry_init(struct back *b, struct err *err)
{
    static_assert(CARRIAGE_RECIPIENTS_MAX * sizeof(struct carried_recipient) <= ARENA_CHUNK, "no message needs more");

    list_init(&b->carry.carriers);
    list_init(&b->carry.answered);
    list_init(&b->carry.gathering);
    map_init(&b->carry.messages, b->seed);
    map_init(&b->carry.recalls, b->seed);
    arena_init(&b->carry.arena, ARENA_CHUNK, ARENA_MAX);
    buf_init(&b->carry.out, SAY_MAX);
    if (!arena_alloc(&b->carry.arena, 1) || !buf_reserve(&b->carry.out, SAY_MAX))
        return err_set(err, ERR_LIMIT, "out of memory");
    arena_reset(&b->carry.arena);
    return true;
}
