/* test_carriage.c: what back and the carrier say survives the way between them; what is cut or changed on it is refused
 * or at least has values within their limits. */
#include "role/carriage.h"

#include "io/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena;
static struct buf   out;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 16, 8 << 20);
    buf_init(&out, 1 << 20);
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    buf_done(&out);
    return 0;
}

static uint32_t         indices[] = {0, 1, 70000};
static struct recipient recipients[] = {
    {{STR("a"), STR("b.test"), false}, STR("rfc822"), STR("x@y.test"), NOTIFY_FAILURE | NOTIFY_DELAY},
    {{STR("j\xc3\xbcrgen"), STR("b.test"), true}, STR_NONE, STR_NONE, 0},
    {{STR("a b"), STR("[192.0.2.1]"), false}, STR_NONE, STR_NONE, NOTIFY_NEVER},
};
static struct carried_recipient said[] = {
    {.verdict = SMTP_CLIENT_ACCEPTED,
     .stage = SMTP_STAGE_MESSAGE,
     .code = 250,
     .status = {2, 0, 0},
     .text = STR("2.0.0 Ok\nqueued"),
     .unconfirmed = true},
    {.verdict = SMTP_CLIENT_FAILED,
     .stage = SMTP_STAGE_RCPT,
     .code = 551,
     .status = {5, 1, 6},
     .text = STR("moved"),
     .words = STR("no"),
     .moved_to = {STR("new"), STR("c.test"), false}},
    {.verdict = SMTP_CLIENT_DEFERRED, .stage = SMTP_STAGE_CONNECT, .status = {4, 4, 1}, .words = STR("nobody")},
};

static struct carriage_message sample(enum carriage_kind kind)
{
    struct carriage_message m = {.kind = kind};

    if (kind == CARRIAGE_CARRY || kind == CARRIAGE_OPEN)
        m.carriage = (struct carriage){.id = 0xfedcba9876543210, .number = 0, .indices = indices, .recipient_count = 3};
    if (kind == CARRIAGE_CARRY) {
        m.carriage.recipients = recipients;
        m.carriage.via = STR("smtp:relay.test:587");
        m.carriage.route = STR("*");
        m.carriage.domain = STR("b.test");
        m.carriage.sender = (struct mail_address){STR("me"), STR("a.test"), false};
        m.carriage.body = BODY_8BITMIME;
        m.carriage.header_utf8 = true;
        m.carriage.now = true;
        m.carriage.ret = RET_HDRS;
        m.carriage.envid = STR("e");
        m.carriage.content = STR("Subject: x\r\n\r\n\0x\r\n");
        m.carriage.size = m.carriage.content.len;
    }
    if (kind == CARRIAGE_RECORDED || kind == CARRIAGE_CANCEL || kind == CARRIAGE_PUT_BACK || kind == CARRIAGE_CARRIED)
        m.carried = (struct carried){.id = 7, .number = 3};
    if (kind == CARRIAGE_CARRIED) {
        m.carried.host = STR("mx.b.test");
        m.carried.address = STR("2001:db8::1");
        m.carried.dsn = m.carried.stopped = true;
        m.carried.retry_ms = 1790000000000;
        m.carried.recipients = said;
        m.carried.recipient_count = 3;
    }
    if (kind == CARRIAGE_PUT_BACK || kind == CARRIAGE_ROOM)
        m.site = 99;
    if (kind == CARRIAGE_ROOM)
        m.room = 50;
    return m;
}

static bool same_address(const struct mail_address *a, const struct mail_address *b)
{
    return mail_address_eq(a, b) && a->utf8 == b->utf8;
}

static bool same_carriage(const struct carriage *a, const struct carriage *b)
{
    bool same = a->id == b->id && a->number == b->number && a->recipient_count == b->recipient_count;

    for (size_t i = 0; same && i < a->recipient_count; i++) {
        same = a->indices[i] == b->indices[i] && !a->recipients == !b->recipients;
        if (same && a->recipients)
            same = same_address(&a->recipients[i].address, &b->recipients[i].address) &&
                   str_eq(a->recipients[i].orcpt_type, b->recipients[i].orcpt_type) &&
                   str_eq(a->recipients[i].orcpt, b->recipients[i].orcpt) &&
                   a->recipients[i].notify == b->recipients[i].notify;
    }
    return same && str_eq(a->via, b->via) && str_eq(a->route, b->route) && str_eq(a->domain, b->domain) &&
           same_address(&a->sender, &b->sender) && a->body == b->body && a->header_utf8 == b->header_utf8 &&
           a->now == b->now && a->ret == b->ret && str_eq(a->envid, b->envid) && a->size == b->size &&
           a->external == b->external && str_eq(a->content, b->content);
}

static bool same_carried(const struct carried *a, const struct carried *b)
{
    bool same = a->id == b->id && a->number == b->number && a->recipient_count == b->recipient_count;

    for (size_t i = 0; same && i < a->recipient_count; i++) {
        const struct carried_recipient *x = &a->recipients[i], *y = &b->recipients[i];

        same = x->verdict == y->verdict && x->stage == y->stage && x->code == y->code &&
               x->status.class == y->status.class && x->status.subject == y->status.subject &&
               x->status.detail == y->status.detail && str_eq(x->text, y->text) && str_eq(x->words, y->words) &&
               x->unconfirmed == y->unconfirmed && same_address(&x->moved_to, &y->moved_to);
    }
    return same && str_eq(a->host, b->host) && str_eq(a->address, b->address) && a->dsn == b->dsn &&
           a->refused == b->refused && a->stopped == b->stopped && a->retry_ms == b->retry_ms;
}

static const enum carriage_kind kinds[] = {CARRIAGE_CARRY,   CARRIAGE_RECORDED, CARRIAGE_OPEN, CARRIAGE_WELCOME,
                                           CARRIAGE_CARRIED, CARRIAGE_PUT_BACK, CARRIAGE_ROOM, CARRIAGE_CANCEL};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void messages_survive(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct carriage_message m = sample(kinds[i]), got;

        buf_clear(&out);
        assert_true(carriage_put(&m, &out));
        assert_true(carriage_get(buf_str(&out), &arena, &got));
        assert_int_equal(got.kind, m.kind);
        assert_true(same_carriage(&got.carriage, &m.carriage));
        assert_true(same_carried(&got.carried, &m.carried));
        assert_true(got.site == m.site && got.room == m.room);
    }
}

static void the_file_comes_beside(void **state)
{
    struct carriage_message m = sample(CARRIAGE_CARRY), got;

    (void)state;
    m.carriage.external = true;
    m.carriage.size = 1 << 30;
    buf_clear(&out);
    assert_true(carriage_put(&m, &out));
    assert_true(carriage_get(buf_str(&out), &arena, &got));
    assert_true(got.carriage.external && got.carriage.size == 1 << 30 && got.carriage.content.len == 0);
}

static void cut_ones_are_refused(void **state)
{
    struct carriage_message got;

    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct carriage_message m = sample(kinds[i]);

        buf_clear(&out);
        assert_true(carriage_put(&m, &out));
        for (size_t len = 0; len < out.len; len++)
            assert_false(carriage_get(str_part(buf_str(&out), 0, len), &arena, &got));
        assert_true(buf_append_byte(&out, 0));
        assert_false(carriage_get(buf_str(&out), &arena, &got));
        arena_reset(&arena);
    }
}

/* Whoever reads it relies on these. */
static void check(const struct carriage_message *m)
{
    if (m->kind == CARRIAGE_CARRY || m->kind == CARRIAGE_OPEN) {
        const struct carriage *c = &m->carriage;

        assert_in_range(c->recipient_count, 1, CARRIAGE_RECIPIENTS_MAX);
        assert_int_equal(c->number, c->indices[0]);
        for (size_t i = 1; i < c->recipient_count; i++)
            assert_true(c->indices[i] > c->indices[i - 1]);
        assert_true(m->kind == CARRIAGE_OPEN || c->external || c->content.len == c->size);
    }
    if (m->kind == CARRIAGE_CARRIED)
        for (size_t i = 0; i < m->carried.recipient_count; i++) {
            const struct carried_recipient *r = &m->carried.recipients[i];

            assert_in_range(r->verdict, SMTP_CLIENT_ACCEPTED, SMTP_CLIENT_FAILED);
            assert_true(r->stage <= SMTP_STAGE_QUIT && r->code <= 599 && str_is_utf8(r->text));
        }
}

static void flipped_octets_do_no_harm(void **state)
{
    struct carriage_message got;

    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct carriage_message m = sample(kinds[i]);

        buf_clear(&out);
        assert_true(carriage_put(&m, &out));
        for (size_t at = 0; at < out.len; at++)
            for (unsigned flip = 1; flip < 256; flip++) {
                out.data[at] ^= (char)flip;
                if (carriage_get(buf_str(&out), &arena, &got))
                    check(&got);
                out.data[at] ^= (char)flip;
                arena_reset(&arena);
            }
    }
}

/* A reply that was cut stays text; the line ends of a forged one do not pass. */
static void texts_are_texts(void **state)
{
    static char             text[CARRIAGE_TEXT_MAX + 8];
    struct carriage_message m = sample(CARRIAGE_CARRIED), got;

    (void)state;
    for (size_t pad = 0; pad < 4; pad++) {
        memset(text, 'x', pad);
        for (size_t i = pad; i + 2 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        said[0].text = str_of(text, pad + (sizeof text - pad) / 3 * 3);
        buf_clear(&out);
        assert_true(carriage_put(&m, &out));
        assert_true(carriage_get(buf_str(&out), &arena, &got));
        assert_in_range(got.carried.recipients[0].text.len, CARRIAGE_TEXT_MAX - 3, CARRIAGE_TEXT_MAX);
    }
    said[0].text = STR("2.0.0 Ok\nqueued");
    said[0].words = STR("a\nb");
    buf_clear(&out);
    assert_true(carriage_put(&m, &out));
    assert_false(carriage_get(buf_str(&out), &arena, &got));
    said[0].words = STR_NONE;
    m.carried.host = STR("mx\r\nforged");
    buf_clear(&out);
    assert_true(carriage_put(&m, &out));
    assert_false(carriage_get(buf_str(&out), &arena, &got));
}

static void too_long_for_the_channel(void **state)
{
    static char             content[IPC_MESSAGE_MAX];
    struct carriage_message m = sample(CARRIAGE_CARRY);

    (void)state;
    m.carriage.content = str_of(content, sizeof content);
    m.carriage.size = sizeof content;
    buf_clear(&out);
    assert_false(carriage_put(&m, &out));
    m.carriage.size = m.carriage.content.len = sizeof content - 1024;
    buf_clear(&out);
    assert_true(carriage_put(&m, &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_survive),     cmocka_unit_test(the_file_comes_beside),
        cmocka_unit_test(cut_ones_are_refused), cmocka_unit_test(flipped_octets_do_no_harm),
        cmocka_unit_test(texts_are_texts),      cmocka_unit_test(too_long_for_the_channel),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
