/* Records survive the way to bytes and back, cut or changed bytes never do more than be refused, ids keep their order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/progress.h"
#include "queue/schedule.h"

#define assert_str(a, b) assert_true(str_eq((a), (b)))

static struct recipient recipients[] = {
    {.address = {STR("alice"), STR("example.test"), false}},
    {.address = {STR("j\xc3\xbcrgen"), STR("xn--bcher-kva.test"), true},
     .orcpt_type = STR("utf-8"),
     .orcpt = STR("j\xc3\xbcrgen@xn--bcher-kva.test"),
     .notify = NOTIFY_SUCCESS | NOTIFY_DELAY},
    {.address = {STR("a b\"c"), STR("[192.0.2.1]"), false}, .notify = NOTIFY_NEVER},
};

static struct message message_full(void)
{
    struct str content = STR("Subject: x\r\n\r\nbody \0 with a NUL\r\n");

    return (struct message){
        .id = 0x123456789abcdef0,
        .received_ms = 1795000000000,
        .cause = 77,
        .size = content.len,
        .content = content,
        .envelope = {.origin = {.class = CLASS_RELAY,
                                .session = STR("s1"),
                                .client = STR("2001:db8::1"),
                                .helo = STR("mail.example"),
                                .protocol = STR("ESMTP"),
                                .user = STR("u")},
                     .sender = {STR("bob"), STR("example.org"), false},
                     .body = BODY_8BITMIME,
                     .smtputf8 = true,
                     .ret = RET_FULL,
                     .envid = STR("e+1"),
                     .declared_size = 4711,
                     .recipients = recipients,
                     .recipient_count = 3},
    };
}

static void put_whole(const struct message *m, struct buf *out)
{
    assert_true(record_message_put(m, out));
    assert_true(buf_append(out, m->content));
}

static void test_message(void **state)
{
    struct message m = message_full(), got;
    struct buf     out;
    struct arena   arena;

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    put_whole(&m, &out);
    assert_true(record_message_get(buf_str(&out), &arena, &got));
    assert_true(got.id == m.id && got.received_ms == m.received_ms && got.cause == 77 && got.size == m.size);
    assert_str(got.content, m.content);
    assert_int_equal(got.envelope.origin.class, CLASS_RELAY);
    assert_str(got.envelope.origin.session, STR("s1"));
    assert_str(got.envelope.origin.client, STR("2001:db8::1"));
    assert_str(got.envelope.origin.helo, STR("mail.example"));
    assert_str(got.envelope.origin.protocol, STR("ESMTP"));
    assert_str(got.envelope.origin.user, STR("u"));
    assert_str(got.envelope.sender.local, STR("bob"));
    assert_str(got.envelope.sender.domain, STR("example.org"));
    assert_true(got.envelope.smtputf8 && got.envelope.body == BODY_8BITMIME && got.envelope.ret == RET_FULL);
    assert_str(got.envelope.envid, STR("e+1"));
    assert_int_equal(got.envelope.declared_size, 4711);
    assert_int_equal(got.envelope.recipient_count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct recipient *a = &recipients[i], *b = &got.envelope.recipients[i];

        assert_str(a->address.local, b->address.local);
        assert_str(a->address.domain, b->address.domain);
        assert_int_equal(a->address.utf8, b->address.utf8);
        assert_str(a->orcpt_type, b->orcpt_type);
        assert_str(a->orcpt, b->orcpt);
        assert_int_equal(a->notify, b->notify);
    }
    arena_done(&arena);
    buf_done(&out);
}

static void test_message_external(void **state)
{
    struct message m = message_full(), got;
    struct buf     out;
    struct arena   arena;

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    m.external = true;
    m.external_xxh3 = 0xfeedface;
    m.size = 1 << 30;
    m.content = STR_NONE;
    put_whole(&m, &out);
    assert_true(record_message_get(buf_str(&out), &arena, &got));
    assert_true(got.external && got.external_xxh3 == 0xfeedface && got.size == 1 << 30 && got.content.len == 0);
    buf_append_byte(&out, 'x'); /* an external message has no content behind it */
    assert_false(record_message_get(buf_str(&out), &arena, &got));
    buf_clear(&out);
    m.size = RECORD_SIZE_MAX + 1;
    put_whole(&m, &out);
    assert_false(record_message_get(buf_str(&out), &arena, &got));
    arena_done(&arena);
    buf_done(&out);
}

/* Every cut of a record is refused: none is taken for a shorter one. */
static void test_message_cut(void **state)
{
    struct message m = message_full(), got;
    struct buf     out;
    struct arena   arena;

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    put_whole(&m, &out);
    for (size_t len = 0; len < out.len; len++) {
        char *exact = malloc(len ? len : 1);

        memcpy(exact, out.data, len);
        assert_false(record_message_get(str_of(exact, len), &arena, &got));
        arena_reset(&arena);
        free(exact);
    }
    arena_done(&arena);
    buf_done(&out);
}

/* A count of recipients that the bytes cannot hold takes no memory. */
static void test_message_count(void **state)
{
    struct message m = message_full(), got;
    struct buf     out;
    struct arena   arena;

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    m.envelope.recipient_count = 0;
    m.content = STR_NONE;
    m.size = 0;
    assert_true(record_message_put(&m, &out));
    assert_false(record_message_get(buf_str(&out), &arena, &got)); /* nobody to deliver to */
    out.len--;                                                     /* the size, 0 */
    out.len--;                                                     /* the count, 0 */
    put_var(&out, UINT64_MAX);
    put_var(&out, 0);
    assert_false(record_message_get(buf_str(&out), &arena, &got));
    assert_int_equal(arena.used, 0);
    arena_done(&arena);
    buf_done(&out);
}

/* No parser gives such an address, but a front that fell into wrong hands can write one. */
static void test_message_address(void **state)
{
    static const struct mail_address wrong[] = {
        {STR("a\r\nBcc: b"), STR("example.test"), false},
        {STR("a"), STR("example.test\n"), false},
        {STR("a\x7f"), STR("example.test"), false},
        {STR("12345678901234567890123456789012345678901234567890123456789012345"), STR("example.test"), false},
    };
    static char long_domain[MAIL_DOMAIN_MAX + 1];

    (void)state;
    memset(long_domain, 'd', sizeof long_domain);
    for (size_t i = 0; i < 2 * (1 + sizeof wrong / sizeof *wrong); i++) {
        struct recipient    to = recipients[0];
        struct message      m = message_full(), got;
        struct mail_address a = {STR("a"), str_of(long_domain, sizeof long_domain), false};
        struct buf          out;
        struct arena        arena;

        if (i / 2 < sizeof wrong / sizeof *wrong)
            a = wrong[i / 2];
        *(i % 2 ? &to.address : &m.envelope.sender) = a;
        m.envelope.recipients = &to;
        m.envelope.recipient_count = 1;
        buf_init(&out, 1 << 20);
        arena_init(&arena, 4096, 1 << 20);
        put_whole(&m, &out);
        assert_false(record_message_get(buf_str(&out), &arena, &got));
        arena_done(&arena);
        buf_done(&out);
    }
}

static void test_progress(void **state)
{
    struct recipient_progress to[] = {
        {.state = RECIPIENT_PENDING,
         .status = STR("4.2.2"),
         .reason = STR("the mailbox is full"),
         .remote = STR("mx.example.net"),
         .remote_address = STR("192.0.2.1"),
         .code = 452,
         .reply = STR("452 4.2.2 Full")},
        {.state = RECIPIENT_DELIVERED},
        {.state = RECIPIENT_REMOVED, .reason = STR("by hand")},
    };
    struct progress p = {.id = 5,
                         .since_ms = 6,
                         .last_ms = 7,
                         .next_ms = 8,
                         .attempts = 9,
                         .flags = PROGRESS_HELD | PROGRESS_DELAY_TOLD,
                         .via = STR("smtp:relay.example.net:587"),
                         .recipients = to,
                         .recipient_count = 3},
                    got;
    struct buf   out, second;
    struct arena arena;
    char         longer[400];

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    memset(longer, 'x', sizeof longer);
    to[2].reason = str_of(longer, sizeof longer);
    assert_true(progress_put(&p, &out));
    assert_true(progress_get(buf_str(&out), &arena, &got));
    assert_true(got.id == 5 && got.since_ms == 6 && got.last_ms == 7 && got.next_ms == 8 && got.attempts == 9);
    assert_int_equal(got.flags, PROGRESS_HELD | PROGRESS_DELAY_TOLD | PROGRESS_VIA);
    assert_str(got.via, STR("smtp:relay.example.net:587"));
    assert_int_equal(got.recipient_count, 3);
    assert_int_equal(got.recipients[0].state, RECIPIENT_PENDING);
    assert_str(got.recipients[0].status, STR("4.2.2"));
    assert_str(got.recipients[0].reason, STR("the mailbox is full"));
    assert_str(got.recipients[0].remote, STR("mx.example.net"));
    assert_str(got.recipients[0].remote_address, STR("192.0.2.1"));
    assert_int_equal(got.recipients[0].code, 452);
    assert_str(got.recipients[0].reply, STR("452 4.2.2 Full"));
    assert_int_equal(got.recipients[1].code, 0);
    assert_int_equal(got.recipients[1].state, RECIPIENT_DELIVERED);
    assert_int_equal(got.recipients[2].reason.len, PROGRESS_REASON_MAX);
    for (size_t len = 0; len < out.len; len++)
        assert_false(progress_get(str_part(buf_str(&out), 0, len), &arena, &got));
    p = got;
    p.via = STR_NONE; /* the flag that was read does not outlive it */
    buf_init(&second, 1 << 20);
    assert_true(progress_put(&p, &second) && progress_get(buf_str(&second), &arena, &got));
    buf_done(&second);
    assert_int_equal(got.flags, PROGRESS_HELD | PROGRESS_DELAY_TOLD);
    arena_done(&arena);
    buf_done(&out);
}

static void test_expansion(void **state)
{
    struct expanded targets[] = {
        {{STR("a"), STR("x.test"), false}, {STR("owner"), STR("x.test"), false}, EXPANDED_SENDER},
        {{STR("b"), STR("y.test"), false}, {STR_NONE, STR_NONE, false}, EXPANDED_REMOTE | EXPANDED_HIDE},
    };
    struct expansion e = {.id = 3, .parent = 1, .first = 4, .targets = targets, .target_count = 2}, got;
    struct buf       out;
    struct arena     arena;

    (void)state;
    buf_init(&out, 1 << 20);
    arena_init(&arena, 4096, 1 << 20);
    assert_true(expansion_put(&e, &out));
    assert_true(expansion_get(buf_str(&out), &arena, &got));
    assert_true(got.id == 3 && got.parent == 1 && got.first == 4 && got.target_count == 2);
    assert_str(got.targets[0].sender.local, STR("owner"));
    assert_str(got.targets[1].address.local, STR("b"));
    assert_int_equal(got.targets[1].flags, EXPANDED_REMOTE | EXPANDED_HIDE);
    for (size_t len = 0; len < out.len; len++)
        assert_false(expansion_get(str_part(buf_str(&out), 0, len), &arena, &got));
    buf_clear(&out);
    e.first = 1; /* a recipient that is its own successor */
    assert_true(expansion_put(&e, &out));
    assert_false(expansion_get(buf_str(&out), &arena, &got));
    arena_done(&arena);
    buf_done(&out);
}

static void test_small(void **state)
{
    struct buf out;
    struct str name, value;
    uint64_t   id;

    (void)state;
    buf_init(&out, 1 << 20);
    assert_true(finished_put(42, &out));
    assert_true(finished_get(buf_str(&out), &id) && id == 42);
    assert_false(finished_get(str_part(buf_str(&out), 0, out.len - 1), &id));
    buf_clear(&out);
    assert_true(state_put(STR("digest/x.test"), STR("123"), &out));
    assert_true(state_get(buf_str(&out), &name, &value));
    assert_str(name, STR("digest/x.test"));
    assert_str(value, STR("123"));
    buf_clear(&out);
    assert_true(state_put(STR_NONE, STR("123"), &out));
    assert_false(state_get(buf_str(&out), &name, &value));
    buf_done(&out);
}

static void test_ids(void **state)
{
    struct message_id_source source = {.lane = 7}, other = {.lane = 8};
    uint64_t                 last = 0, id, back;
    char                     text[MESSAGE_ID_TEXT + 1], last_text[MESSAGE_ID_TEXT + 1] = "";

    (void)state;
    for (uint64_t i = 0; i < 100000; i++) { /* more than the counter holds, and a clock that goes back half-way */
        id = message_id_next(&source, i < 50000 ? 1795000000000 + i / 1000 : 1794000000000);
        assert_true(id > last);
        assert_int_equal(message_id_lane(id), 7);
        message_id_text(id, text);
        assert_true(strcmp(text, last_text) > 0); /* texts sort as ids do */
        assert_true(message_id_parse(str_from(text), &back) && back == id);
        last = id;
        memcpy(last_text, text, sizeof text);
    }
    assert_true(message_id_next(&other, 1795000000000) != message_id_next(&source, 1795000000000));
    source.last = 0;
    id = message_id_next(&source, 1795000000123);
    assert_true(message_id_time_ms(id) == 1795000000123);
    assert_false(message_id_parse(STR("0123456789ab"), &back));
    assert_false(message_id_parse(STR("0123456789abcd"), &back));
    assert_false(message_id_parse(STR("0123456789abi"), &back));
    assert_false(message_id_parse(STR("0123456789ab\0"), &back));
    assert_false(message_id_parse(STR("g000000000000"), &back)); /* needs a sixty-fifth bit */
    assert_true(message_id_parse(STR("fzzzzzzzzzzzz"), &back) && back == UINT64_MAX);
}

static void test_schedule(void **state)
{
    const uint64_t waits[] = {60000, 300000, 900000}, zero = 0;
    bool           differs = false;

    (void)state;
    for (uint64_t seed = 0; seed < 1000; seed++)
        for (uint32_t attempts = 0; attempts < 6; attempts++) {
            uint64_t base = waits[attempts < 2 ? 0 : attempts < 3 ? 1 : 2];
            uint64_t wait = schedule_wait_ms(waits, 3, attempts, seed);

            assert_in_range(wait, base - base / 8, base + base / 8);
            differs |= wait != base;
        }
    assert_true(differs);
    assert_in_range(schedule_wait_ms(NULL, 0, 1, 1), 3600000 - 450000, 3600000 + 450000);
    assert_int_equal(schedule_wait_ms(&zero, 1, 1, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),     cmocka_unit_test(test_message_external),
        cmocka_unit_test(test_message_cut), cmocka_unit_test(test_message_count),
        cmocka_unit_test(test_progress),    cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_small),       cmocka_unit_test(test_ids),
        cmocka_unit_test(test_schedule),    cmocka_unit_test(test_message_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
