/* back.c: the channel to back, and the life of a carriage; the diagram is in carrier.h.
 *
 * A result is encoded once, when it is known, and everything else of the carriage ends then: what waits to be recorded
 * is small, and saying it again to another back is one call. Memory for the least of it is there from the start, so
 * that no end of a message is ever lost. Results may be more than the channel holds, where back was away or is slow:
 * they wait for their turn, for a channel that overflows has ended. */
#include "carrier/carrier.h"
#include "role/counters.h"
#include "role/log.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CARRY_CHUNK = 4096,
    CARRY_ARENA = 4 * IPC_MESSAGE_MAX,
    SAID_MAX = 2 * IPC_MESSAGE_MAX,
    SAID_LEAST = 512,       /* octets of a result, without texts and new addresses: host and address, */
    SAID_EACH = 16,         /* and those of each recipient */
    TEXT_SHORT = 100,       /* of each of very many recipients with very long replies */
    UNSENT_PAUSE = 1 << 20, /* octets in the channel: further results wait */
};

static const struct smtp_status no_memory = {4, 3, 0}, wrong_route = {4, 3, 5};

/* ---- what is said to back ---- */

static void say(struct carrier *c, const struct carriage_message *m)
{
    buf_clear(&c->scratch);
    if (c->back && carriage_put(m, &c->scratch))
        io_ipc_send(c->back, buf_str(&c->scratch), -1); /* where it fails the end follows */
}

void carrier_room(struct carrier *c, struct carrier_parking *p, uint32_t room)
{
    say(c, &(struct carriage_message){.kind = CARRIAGE_ROOM, .site = p->number, .room = room});
}

void carrier_say_carried(struct carrier *c)
{
    struct list *link;

    while (c->back && io_ipc_unsent(c->back) < UNSENT_PAUSE && (link = list_first(&c->unsaid))) {
        list_remove(link);
        io_ipc_send(c->back, buf_str(&LIST_ITEM(link, struct carry, unsaid)->said), -1);
    }
}

/* ---- a carriage's life ---- */

static struct str key_str(const struct carry_key *key) { return str_of((const char *)key, sizeof *key); }

static void recount(struct carry *y, size_t octets)
{
    y->carrier->octets += octets - y->octets;
    y->octets = octets;
}

static void body_close(struct carry *y)
{
    if (y->body_fd < 0)
        return;
    close(y->body_fd);
    y->body_fd = -1;
    y->carrier->files--;
}

void carry_change(struct carry *y, enum carry_state to)
{
    static const unsigned from[] = {
        [CARRY_ROUTING] = 0,
        [CARRY_WAITING] = 1 << CARRY_ROUTING,
        [CARRY_UNDER_WAY] = 1 << CARRY_WAITING,
        [CARRY_CARRIED] = 1 << CARRY_ROUTING | 1 << CARRY_WAITING | 1 << CARRY_UNDER_WAY,
    };

    assert(from[to] & 1u << y->state);
    y->state = to;
    if (to == CARRY_CARRIED)
        assert(!y->session && y->todo_count == 0);
}

static void carry_drop(struct carry *y)
{
    recount(y, 0);
    list_remove(&y->unsaid);
    arena_done(&y->arena);
    buf_done(&y->said);
    free(y->indices);
    free(y);
}

/* No session has it. */
void carry_free(struct carry *y)
{
    assert(!y->session);
    if (y->state == CARRY_WAITING)
        site_remove(&y->carrier->sites, &y->job, carrier_now_ms(y->carrier));
    map_remove(&y->carrier->carries, key_str(&y->key));
    routing_leave(y);
    body_close(y);
    carry_drop(y);
}

static void say_put_back(struct carrier *c, uint64_t id, uint32_t number, uint64_t site)
{
    say(c,
        &(struct carriage_message){.kind = CARRIAGE_PUT_BACK, .carried = {.id = id, .number = number}, .site = site});
}

void carry_put_back(struct carry *y, struct carrier_parking *p)
{
    if (p)
        carrier_parking_add(y->carrier, p);
    say_put_back(y->carrier, y->carriage.id, y->carriage.number, p ? p->number : 0);
    carry_free(y);
}

/* ---- results ---- */

static void note(struct carry *y, size_t place, struct carried_recipient r)
{
    r.text = arena_str(&y->arena, str_part(r.text, 0, SMTP_CLIENT_TEXT_MAX));
    r.words = arena_str(&y->arena, r.words);
    if (!r.text.data)
        r.text = STR_NONE;
    if (!r.words.data)
        r.words = STR_NONE;
    if (r.moved_to.domain.len && !mail_address_copy(&r.moved_to, &y->arena, &r.moved_to))
        r.moved_to = (struct mail_address){0};
    y->result.recipients[y->todo[place]] = r;
}

void carry_note(struct carry *y, size_t place, const struct smtp_client_result *result)
{
    note(y, place,
         (struct carried_recipient){.verdict = result->verdict,
                                    .stage = result->stage,
                                    .code = result->code,
                                    .status = result->status,
                                    .text = result->text,
                                    .words = str_from(result->words),
                                    .unconfirmed = result->unconfirmed,
                                    .moved_to = result->moved_to});
}

static void note_all(struct carry *y, const struct carried_recipient *r)
{
    for (size_t i = 0; i < y->todo_count; i++)
        note(y, i, *r);
    y->todo_count = 0;
}

void carry_note_host(struct carry *y, struct str host, struct str address)
{
    y->result.host = arena_str(&y->arena, host);
    y->result.address = arena_str(&y->arena, address);
}

void carry_note_all(struct carry *y, enum smtp_client_verdict verdict, const struct host_failure *why)
{
    struct carried_recipient r = {.verdict = verdict,
                                  .stage = why->stage,
                                  .code = why->code,
                                  .status = why->status,
                                  .text = str_of(why->text, why->text_len),
                                  .words = str_of(why->words, why->words_len)};

    if (verdict == SMTP_CLIENT_DEFERRED)
        r.status.class = 4; /* what one host means for good is not the end while others are asked again */
    carry_note_host(y, str_from(why->host), str_from(why->address));
    note_all(y, &r);
}

void carry_note_plain(struct carry *y, enum smtp_client_verdict verdict, struct smtp_status status, struct str words)
{
    note_all(y, &(struct carried_recipient){.verdict = verdict, .status = status, .words = words});
}

void carry_compact(struct carry *y)
{
    size_t count = 0;

    for (size_t i = 0; i < y->todo_count; i++)
        if (y->result.recipients[y->todo[i]].verdict == SMTP_CLIENT_NOT_TRIED) {
            y->asked[count] = y->asked[i];
            y->todo[count++] = y->todo[i];
        }
    y->todo_count = count;
}

static bool encode(struct carry *y)
{
    const struct carriage_message m = {.kind = CARRIAGE_CARRIED, .carried = y->result};

    buf_clear(&y->said);
    return carriage_put(&m, &y->said);
}

/* To octets of words; with none of them it fits into what was reserved. */
static void shorten(struct carry *y, size_t words)
{
    for (size_t i = 0; i < y->result.recipient_count; i++) {
        struct carried_recipient *to = &y->result.recipients[i];

        to->text = STR_NONE;
        to->words = str_part(to->words, 0, words);
        if (!words)
            to->moved_to = (struct mail_address){0};
    }
}

static void count_results(const struct carry *y)
{
    static const enum counter counters[] = {[SMTP_CLIENT_ACCEPTED] = COUNTER_remote_accepted_total,
                                            [SMTP_CLIENT_DEFERRED] = COUNTER_remote_deferred_total,
                                            [SMTP_CLIENT_FAILED] = COUNTER_remote_failed_total};

    for (size_t i = 0; i < y->result.recipient_count; i++)
        count(counters[y->result.recipients[i].verdict], 1);
}

void carry_settle(struct carry *y)
{
    struct carrier *c = y->carrier;

    carry_change(y, CARRY_CARRIED);
    count_results(y);
    if (!encode(y)) { /* a hundred recipients with long replies, or no memory for them */
        shorten(y, TEXT_SHORT);
        if (!encode(y)) {
            shorten(y, 0);
            encode(y);
        }
    }
    routing_leave(y);
    body_close(y);
    arena_done(&y->arena);
    y->carriage = (struct carriage){.id = y->carriage.id,
                                    .number = y->carriage.number,
                                    .indices = y->indices,
                                    .recipient_count = y->carriage.recipient_count};
    recount(y, sizeof *y + y->said.size);
    assert(buf_ok(&y->said));
    list_push(&c->unsaid, &y->unsaid);
    carrier_say_carried(c);
}

/* ---- what back says ---- */

static bool arrays_alloc(struct carry *y)
{
    size_t n = y->carriage.recipient_count;

    y->todo = arena_alloc(&y->arena, n * sizeof *y->todo);
    y->asked = arena_alloc(&y->arena, n * sizeof *y->asked);
    y->result.recipients = arena_alloc(&y->arena, n * sizeof *y->result.recipients);
    y->indices = malloc(n * sizeof *y->indices);
    if (!y->todo || !y->asked || !y->result.recipients || !y->indices)
        return false;
    y->todo_count = y->result.recipient_count = n;
    for (size_t i = 0; i < n; i++) {
        y->todo[i] = (uint32_t)i;
        y->asked[i] = y->carriage.recipients[i];
        y->indices[i] = y->carriage.indices[i];
    }
    y->carriage.indices = y->indices;
    return true;
}

/* NULL: no memory, or malformed. */
static struct carry *carry_new(struct carrier *c, struct str message)
{
    struct carry           *y = calloc(1, sizeof *y);
    struct carriage_message m;

    if (!y)
        return NULL;
    *y = (struct carry){.carrier = c, .body_fd = -1};
    arena_init(&y->arena, CARRY_CHUNK, CARRY_ARENA);
    buf_init(&y->said, SAID_MAX);
    list_init(&y->routing_link);
    list_init(&y->unsaid);
    message = arena_str(&y->arena, message);
    if (message.data && carriage_get(message, &y->arena, &m)) {
        y->carriage = m.carriage;
        y->key = (struct carry_key){m.carriage.id, m.carriage.number};
        y->result = (struct carried){.id = m.carriage.id, .number = m.carriage.number};
        y->settings = config_route_titled(c->config, m.carriage.route);
        if (arrays_alloc(y) && buf_reserve(&y->said, SAID_LEAST + SAID_EACH * m.carriage.recipient_count)) {
            recount(y, sizeof *y + y->arena.used);
            return y;
        }
    }
    free(y->indices);
    buf_done(&y->said);
    arena_done(&y->arena);
    free(y);
    return NULL;
}

static void body_take(struct carry *y, int fd)
{
    if (fd >= 0 && y->carriage.external) {
        y->body_fd = fd;
        y->carrier->files++;
    } else if (fd >= 0) {
        close(fd);
    }
}

static void carry_begin(struct carry *y)
{
    struct carrier *c = y->carrier;

    if (c->full.promised)
        c->full.promised--;
    if (c->draining) {
        carry_put_back(y, NULL);
    } else if (carrier_is_full(c)) {
        carry_put_back(y, &c->full);
    } else if (y->carriage.external && y->body_fd < 0) {
        carry_note_plain(y, SMTP_CLIENT_DEFERRED, no_memory, STR("the content of the message did not come along"));
        carry_settle(y);
    } else if (!via_parse(y->carriage.via, &y->arena, &y->via) || y->via.kind >= VIA_DISCARD) {
        carry_note_plain(y, SMTP_CLIENT_DEFERRED, wrong_route, STR("the way of this mail makes no sense"));
        carry_settle(y);
    } else {
        routing_join(y);
    }
}

/* There is no memory for it. */
static void refuse(struct carrier *c, struct str message)
{
    struct carriage_message m;

    arena_reset(&c->message_arena);
    if (!carriage_get(message, &c->message_arena, &m))
        return;
    carrier_parking_add(c, &c->full);
    say_put_back(c, m.carriage.id, m.carriage.number, c->full.number);
}

static void carry(struct carrier *c, struct str message, int fd)
{
    struct carry *y = carry_new(c, message);
    bool          known = y && map_get(&c->carries, key_str(&y->key));

    /* What was OPEN is CARRIED one day, and must not go twice. */
    if (known || !y || !map_put(&c->carries, key_str(&y->key), y)) {
        if (fd >= 0)
            close(fd);
        if (!known)
            refuse(c, message);
        if (y)
            carry_drop(y);
        return;
    }
    body_take(y, fd);
    carry_begin(y);
}

static void recorded(struct carry *y)
{
    struct carrier *c = y->carrier;

    if (y->state == CARRY_CARRIED)
        carry_free(y);
    carrier_check_full(c);
    carrier_check_drained(c);
}

static void cancel(struct carry *y)
{
    switch (y->state) {
    case CARRY_ROUTING:
    case CARRY_WAITING:
        carry_put_back(y, NULL);
        break;
    case CARRY_UNDER_WAY:
        session_cancel(y->session);
        break;
    case CARRY_CARRIED:
        break;
    }
}

void carrier_back_said(void *arg, struct str message, int fd)
{
    struct carrier         *c = arg;
    struct carriage_message m;
    struct carry           *y;

    if (message.len && (unsigned char)message.data[0] == CARRIAGE_CARRY) {
        carry(c, message, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    arena_reset(&c->message_arena);
    if (!carriage_get(message, &c->message_arena, &m))
        return;
    y = map_get(&c->carries, key_str(&(struct carry_key){m.carried.id, m.carried.number}));
    if (y && m.kind == CARRIAGE_RECORDED)
        recorded(y);
    else if (y && m.kind == CARRIAGE_CANCEL) /* else it is put back, and back will hear of it */
        cancel(y);
}

/* ---- one back ends, another begins ---- */

void carrier_back_gone(void *arg)
{
    struct carrier *c = arg;
    struct carry   *y;

    io_ipc_free(c->back);
    c->back = NULL;
    carrier_parkings_forget(c);
    for (size_t at = 0; (y = map_next(&c->carries, &at));)
        if (y->state == CARRY_WAITING || y->state == CARRY_ROUTING)
            carry_free(y);
    carrier_check_drained(c);
}

void carrier_welcome(struct carrier *c)
{
    struct carry *y;

    for (size_t at = 0; (y = map_next(&c->carries, &at));) {
        const struct carriage_message open = {.kind = CARRIAGE_OPEN, .carriage = y->carriage};

        say(c, &open);
        if (y->state == CARRY_CARRIED && list_is_empty(&y->unsaid))
            list_push(&c->unsaid, &y->unsaid);
    }
    say(c, &(struct carriage_message){.kind = CARRIAGE_WELCOME});
    carrier_say_carried(c);
}
