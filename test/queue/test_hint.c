/* Hints rule out what does not fit, and never what does: of random messages, through records and through the briefs of
 * an index, in any order of replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "queue/queue.h"

enum { DOMAINS = 6, LOCALS = 4, RECIPIENTS = 4, ROUNDS = 3000 };

static const char *const domains[DOMAINS] = {"a.test", "b.test", "c.test", "[192.0.2.1]", "xn--bcher-kva.example",
                                             "d.test"};
static const char *const locals[LOCALS] = {"alice", "bob", "a b", "ALICE"};
static struct queue      q;
static struct arena      scratch;
static struct buf        out;
static uint64_t          random_state = 88172645463325252, newest_offset;

static uint64_t chance(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static struct mail_address any_address(void)
{
    return (struct mail_address){str_from(locals[chance(LOCALS)]), str_from(domains[chance(DOMAINS)]), false};
}

/* As read from a segment, or from its index. */
static void apply(enum record_type type)
{
    struct queue_place  place = {.seq = 1, .offset = (uint32_t)(newest_offset += 8)};
    struct record_brief brief, again;
    struct reader       r;

    assert_true(buf_ok(&out));
    if (chance(2)) {
        assert_int_equal(queue_apply(&q, place, (uint8_t)type, buf_str(&out), &scratch, NULL), QUEUE_APPLIED);
    } else {
        assert_true(record_brief_of((uint8_t)type, buf_str(&out), &scratch, &brief));
        buf_clear(&out);
        assert_true(record_brief_put(&brief, &out));
        r = reader_of(buf_str(&out));
        assert_true(record_brief_get(&r, &again) && reader_ended(&r));
        assert_int_equal(queue_apply_brief(&q, place, &again, NULL), QUEUE_APPLIED);
    }
    buf_clear(&out);
    arena_reset(&scratch);
}

static void setup(void)
{
    arena_init(&scratch, 4096, 1 << 20);
    buf_init(&out, 1 << 16);
    queue_init(&q, 1, 1 << 20);
}

static void finish(void)
{
    queue_done(&q);
    buf_done(&out);
    arena_done(&scratch);
}

static bool same(const struct mail_address *a, const struct mail_address *b)
{
    return str_eq(a->domain, b->domain) && str_eq_nocase(a->local, b->local);
}

/* Every address there is, and every domain, is looked for. Returns how many of those that do not fit are ruled out. */
static size_t look_for_all(struct address_hint hint, const struct mail_address *has, size_t count)
{
    size_t excluded = 0;

    for (size_t d = 0; d < DOMAINS; d++)
        for (size_t l = 0; l <= LOCALS; l++) {
            struct mail_address wanted = {str_from(l < LOCALS ? locals[l] : ""), str_from(domains[d]), false};
            struct address_hint looked_for = hint_of_address(&wanted);
            bool                there = false;

            if (l == LOCALS)
                looked_for.local = HINT_ANY;
            for (size_t i = 0; i < count; i++)
                there |= l < LOCALS ? same(&has[i], &wanted) : str_eq(has[i].domain, wanted.domain);
            assert_false(there && address_hint_excludes(hint, looked_for));
            excluded += address_hint_excludes(hint, looked_for);
        }
    return excluded;
}

static void test_addresses(void **state)
{
    struct message_id_source ids = {.lane = 0};

    (void)state;
    setup();
    for (size_t round = 0; round < ROUNDS; round++) {
        struct mail_address         has[RECIPIENTS + 1], sender = any_address();
        struct recipient            to[RECIPIENTS] = {0};
        struct recipient_progress   became[RECIPIENTS + 1] = {0};
        size_t                      count = 1 + chance(RECIPIENTS), order[3] = {0, 1, 2};
        bool                        expands = chance(4) == 0, one_domain = true, one_local = true;
        struct message              m = {.id = message_id_next(&ids, 1000)};
        struct expanded             target;
        const struct queue_message *known;

        for (size_t i = 0; i < count; i++) {
            has[i] = any_address();
            if (i && chance(2))
                has[i] = has[0];
            one_domain &= str_eq(has[i].domain, has[0].domain);
            one_local &= str_eq_nocase(has[i].local, has[0].local);
            to[i].address = has[i];
        }
        target = (struct expanded){.address = has[count] = any_address()};
        m.envelope = (struct envelope){.sender = sender, .recipients = to, .recipient_count = count};
        for (size_t i = 3; i > 1; i--) { /* replay meets them in any order */
            size_t k = chance(i), old = order[i - 1];

            order[i - 1] = order[k];
            order[k] = old;
        }
        q.replaying = true;
        for (size_t i = 0; i < 3; i++)
            if (order[i] == 0) {
                record_message_put(&m, &out);
                apply(RECORD_MESSAGE);
            } else if (order[i] == 1 && expands) {
                became[0].state = RECIPIENT_EXPANDED;
                expansion_put(&(struct expansion){m.id, 0, (uint32_t)count, &target, 1}, &out);
                apply(RECORD_EXPANSION);
            } else if (order[i] == 2) {
                progress_put(&(struct progress){.id = m.id, .recipients = became, .recipient_count = count + expands},
                             &out);
                apply(RECORD_PROGRESS);
            }
        known = queue_find(&q, m.id);
        assert_int_equal(look_for_all(known->from, &sender, 1) > 0, true);
        assert_int_equal(look_for_all(queue_message_to(known), has, count + expands) > 0,
                         (one_domain || one_local) && !expands);
    }
    finish();
}

static struct reply_hint after(const struct recipient_progress *to, size_t count, uint64_t id)
{
    progress_put(&(struct progress){.id = id, .recipients = (struct recipient_progress *)to, .recipient_count = count},
                 &out);
    apply(RECORD_PROGRESS);
    return queue_find(&q, id)->reply;
}

static void test_replies(void **state)
{
    struct recipient_progress none = {.state = RECIPIENT_PENDING},
                              full = {.state = RECIPIENT_PENDING, .remote = STR("mx1.test"), .code = 452},
                              grey = {.state = RECIPIENT_PENDING, .remote = STR("MX1.test"), .code = 451},
                              other = {.state = RECIPIENT_WAITING, .remote = STR("mx2.test"), .code = 452},
                              silent = {.state = RECIPIENT_PENDING, .remote = STR("mx1.test")},
                              done = {.state = RECIPIENT_FAILED, .remote = STR("mx3.test"), .code = 550};
    const uint16_t    one = hint_of_name(STR("mx1.test"));
    struct reply_hint r;

    (void)state;
    setup();
    r = after((struct recipient_progress[]){done, none}, 2, 5);
    assert_true(r.remote == HINT_NONE && r.code == HINT_NONE);
    r = after((struct recipient_progress[]){full, done}, 2, 5);
    assert_true(r.remote == one && r.code == 452);
    r = after((struct recipient_progress[]){full, grey}, 2, 5);
    assert_true(r.remote == one && r.code == HINT_ANY);
    r = after((struct recipient_progress[]){done, full, other}, 3, 5);
    assert_true(r.remote == HINT_ANY && r.code == 452);
    r = after((struct recipient_progress[]){silent, silent, done}, 3, 5);
    assert_true(r.remote == one && r.code == HINT_NONE);
    r = after((struct recipient_progress[]){none, full, none}, 3, 5);
    assert_true(r.remote == HINT_ANY && r.code == HINT_ANY);
    assert_true(hint_of_name(STR_NONE) > HINT_NONE && hint_of_name(STR("mx2.test")) != one);
    for (unsigned i = 0; i < 200000; i++) {
        char     name[16];
        uint16_t hint = hint_of_name(str_of(name, (size_t)snprintf(name, sizeof name, "x%u", i)));

        assert_true(hint != HINT_ANY && hint != HINT_NONE);
    }
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses), cmocka_unit_test(test_replies)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
