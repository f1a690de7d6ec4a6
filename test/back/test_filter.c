/* Which messages a request of an operator means: each filter, mixes of them, and what is wrong with a request. The
 * queue is made of records, so what memory rules out is judged as it is in a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "back/back.h"

enum { RECIPIENTS = 3 };

struct to {
    const char          *local, *domain;
    enum recipient_state state;
    const char          *status, *reason, *remote, *address, *reply;
    uint16_t             code;
    uint32_t             parent; /* 0: of the envelope, else it takes the place of the one before */
};
static const struct sample {
    const char *local, *domain; /* of the sender */
    uint64_t    size, received_ms;
    uint8_t     flags;
    struct to   to[RECIPIENTS];
} samples[] = {
    {"news",
     "shop.test",
     100,
     1000,
     0,
     {{"bob", "big.test", RECIPIENT_PENDING, "4.2.1", "busy", "mx1.big.test", "192.0.2.1", "451 4.7.0 Slow down", 451,
       0}}},
    {"News",
     "shop.test",
     5000,
     2000,
     0,
     {{"bob", "big.test", RECIPIENT_DELIVERED, "", "", "mx1.big.test", "192.0.2.1", "", 250, 0},
      {"amy", "small.test", RECIPIENT_PENDING, "4.2.2", "full", "mx.small.test", "2001:db8::1", "452 4.2.2 Full", 452,
       0}}},
    {"", "", 100, 3000, PROGRESS_HELD, {{"amy", "small.test", RECIPIENT_PENDING, "", "", "", "", "", 0, 0}}},
    {"eve",
     "x.test",
     100,
     4000,
     0,
     {{"team", "ours.test", RECIPIENT_EXPANDED, "", "", "", "", "", 0, 0},
      {"bob", "big.test", RECIPIENT_PENDING, "4.4.1", "away", "mx2.big.test", "", "", 0, 1},
      {"amy", "small.test", RECIPIENT_DELIVERED, "", "", "", "", "", 0, 1}}},
    {"eve", "x.test", 100, 5000, 0, {{"who", "ours.test", RECIPIENT_UNCLAIMED, "5.1.1", "none", "", "", "", 0, 0}}},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static struct queue          q;
static struct arena          arena;
static struct queue_message *messages[SAMPLES];
static struct attempt        attempts[SAMPLES];

static void make(size_t i)
{
    const struct sample      *s = &samples[i];
    struct recipient          envelope[RECIPIENTS] = {0};
    struct recipient_progress became[RECIPIENTS] = {0};
    struct expanded           targets[RECIPIENTS] = {0};
    size_t                    count = 0, own = 0;
    struct message            m = {.size = s->size, .external = true};
    struct attempt           *a = &attempts[i];
    struct message_id_source  ids = {.lane = 0};
    struct queue_place        place = {.seq = 1, .offset = (uint32_t)i * 100};
    struct buf                out;

    a->to = arena_alloc(&arena, RECIPIENTS * sizeof *a->to);
    for (; count < RECIPIENTS && s->to[count].local; count++) {
        const struct to    *to = &s->to[count];
        struct mail_address address = {str_from(to->local), str_from(to->domain), false};

        a->to[count] = (struct attempt_recipient){.address = address,
                                                  .state = to->state,
                                                  .parent = to->parent ? to->parent - 1 : (uint32_t)count,
                                                  .status = str_from(to->status),
                                                  .reason = str_from(to->reason),
                                                  .remote = str_from(to->remote),
                                                  .remote_address = str_from(to->address),
                                                  .code = to->code,
                                                  .reply = str_from(to->reply)};
        became[count] = (struct recipient_progress){.state = to->state,
                                                    .status = a->to[count].status,
                                                    .reason = a->to[count].reason,
                                                    .remote = a->to[count].remote,
                                                    .remote_address = a->to[count].remote_address,
                                                    .code = to->code,
                                                    .reply = a->to[count].reply};
        if (to->parent)
            targets[count - own].address = address;
        else
            envelope[own++].address = address;
    }
    a->count = count;
    m.id = message_id_next(&ids, s->received_ms);
    m.envelope = (struct envelope){
        .sender = {str_from(s->local), str_from(s->domain), false}, .recipients = envelope, .recipient_count = own};
    a->message = m;
    buf_init(&out, 1 << 16);
    record_message_put(&m, &out);
    assert_int_equal(queue_apply(&q, place, RECORD_MESSAGE, buf_str(&out), &arena, &messages[i]), QUEUE_APPLIED);
    buf_clear(&out);
    place.offset += 8;
    if (count > own) {
        expansion_put(&(struct expansion){m.id, 0, (uint32_t)own, targets, count - own}, &out);
        assert_int_equal(queue_apply(&q, place, RECORD_EXPANSION, buf_str(&out), &arena, NULL), QUEUE_APPLIED);
        buf_clear(&out);
        place.offset += 8;
    }
    progress_put(
        &(struct progress){
            .id = m.id, .attempts = 1, .flags = s->flags, .recipients = became, .recipient_count = count},
        &out);
    assert_int_equal(queue_apply(&q, place, RECORD_PROGRESS, buf_str(&out), &arena, NULL), QUEUE_APPLIED);
    buf_done(&out);
}

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 4096, 1 << 20);
    queue_init(&q, 1, 1 << 20);
    queue_replayed(&q);
    for (size_t i = 0; i < SAMPLES; i++)
        make(i);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    queue_done(&q);
    arena_done(&arena);
    return 0;
}

/* The samples that a request means, one bit each; *ret_read: those that had to be read for that. */
static unsigned meant(const char *request, unsigned *ret_read)
{
    json_t            *json = json_loads(request, 0, NULL);
    struct back_filter f;
    char               wrong[128] = "";
    unsigned           all = 0;

    assert_non_null(json);
    if (!back_filter_get(json, &f, wrong))
        fail_msg("%s: %s", request, wrong);
    *ret_read = 0;
    for (unsigned i = 0; i < SAMPLES; i++) {
        bool may = back_filter_may_match(&f, messages[i]);

        *ret_read |= (unsigned)(may && back_filter_needs_message(&f)) << i;
        all |= (unsigned)(may && back_filter_matches(&f, &attempts[i])) << i;
    }
    back_filter_done(&f);
    json_decref(json);
    return all;
}

static void test_meant(void **state)
{
    static const struct {
        const char *request;
        unsigned    meant, read; /* bit 0: the first sample */
    } cases[] = {
        {"{}", 31, 0},
        {"{\"domain\":\"big.test\"}", 9, 11}, /* the second has a recipient there, who is done */
        {"{\"domain\":\"BIG.test\"}", 9, 11},
        {"{\"domain\":\"ours.test\"}", 24, 26}, /* through the list, too */
        {"{\"domain\":\"nowhere.test\"}", 0, 10},
        {"{\"recipient\":\"@small.test\"}", 6, 14},
        {"{\"recipient\":\"AMY@small.test\"}", 6, 14},
        {"{\"recipient\":\"team@ours.test\"}", 8, 10},
        {"{\"sender\":\"news@shop.test\"}", 3, 3},
        {"{\"sender\":\"\\\"news\\\"@SHOP.test\"}", 3, 3},
        {"{\"sender\":\"@shop.test\"}", 3, 3},
        {"{\"sender\":\"<>\"}", 4, 4},
        {"{\"sender\":\"eve@x.test\",\"unclaimed\":true}", 16, 16},
        {"{\"sender\":\"eve@x.test\",\"domain\":\"big.test\"}", 8, 8},
        {"{\"reply\":\"451\"}", 1, 1},
        {"{\"reply\":\"452\"}", 2, 2},
        {"{\"reply\":\"550\"}", 0, 0},
        {"{\"reply\":\"4.2.2\"}", 2, 31},
        {"{\"reply\":\"4.7.0\"}", 1, 31},
        {"{\"reply\":\"Slow\",\"site\":\"mx1.big.test\"}", 1, 1},
        {"{\"site\":\"MX1.big.test\"}", 1, 1}, /* where it was delivered does not count */
        {"{\"site\":\"2001:db8::1\"}", 2, 11},
        {"{\"site\":\"192.0.2.1\"}", 1, 11},
        {"{\"text\":\"full\"}", 2, 31},
        {"{\"text\":\"Full\"}", 2, 31},
        {"{\"text\":\"full\",\"domain\":\"big.test\"}", 0, 11}, /* one recipient must have both */
        {"{\"larger\":100}", 2, 0},
        {"{\"smaller\":5000}", 29, 0},
        {"{\"older_ms\":3000}", 3, 0},
        {"{\"newer_ms\":3000,\"smaller\":101}", 24, 0},
        {"{\"state\":\"held\"}", 4, 0},
        {"{\"state\":\"deferred\",\"recipient\":\"amy@small.test\"}", 2, 10},
        {"{\"ids\":[]}", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned read, got = meant(cases[i].request, &read);

        if (got != cases[i].meant || read != cases[i].read)
            fail_msg("%s: means %u, reads %u", cases[i].request, got, read);
    }
}

static void test_active(void **state)
{
    unsigned read;

    (void)state;
    messages[0]->out = true;
    assert_int_equal(meant("{\"state\":\"active\"}", &read), 1);
    messages[0]->out = false;
    assert_int_equal(meant("{\"state\":\"active\"}", &read), 0);
}

static void test_wrong(void **state)
{
    static const char *const wrong[] = {
        "{\"sender\":\"x\"}",   "{\"sender\":5}",    "{\"recipient\":\"\"}", "{\"recipient\":\"@\"}",
        "{\"domain\":\"a b\"}", "{\"larger\":-1}",   "{\"larger\":\"1M\"}",  "{\"older_ms\":true}",
        "{\"ids\":\"x\"}",      "{\"ids\":[\"x\"]}", "{\"reply\":451}",      "{\"site\":\"\"}",
        "{\"domain\":[\"a\"]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t            *json = json_loads(wrong[i], 0, NULL);
        struct back_filter f;
        char               why[128] = "";

        if (back_filter_get(json, &f, why) || !*why)
            fail_msg("%s was taken", wrong[i]);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_meant), cmocka_unit_test(test_active),
                                       cmocka_unit_test(test_wrong)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
