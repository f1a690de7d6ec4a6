/* test_ask.c: questions and answers survive the way between processes; what is cut or changed on it is refused. */
#include "role/ask.h"

#include "io/ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 16, 8 << 20);
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static const struct mail_address alice = {STR("alice"), STR("example.test"), false};
static const struct mail_address umlaut = {STR("j\xc3\xbcrgen"), STR("example.test"), true};
static const struct mail_address owner = {STR("owner"), STR("lists.test"), false};

static struct ask sample_ask(void)
{
    return (struct ask){.tag = 0xfedcba98,
                        .kind = ASK_VRFY,
                        .class = CLASS_RELAY,
                        .sender = umlaut,
                        .address = alice,
                        .text = STR("a\nb")};
}

static struct answer sample_answer(struct target targets[4])
{
    targets[0] = (struct target){.kind = TARGET_MAILBOX,
                                 .address = alice,
                                 .quota = UINT64_MAX,
                                 .override_sender = true,
                                 .sender_override = owner};
    targets[1] = (struct target){
        .kind = TARGET_REMOTE, .address = umlaut, .hide = true, .override_sender = true, .sender_override = owner};
    targets[2] = (struct target){.kind = TARGET_MAILBOX, .address = owner, .result = RESOLVE_ABSENT};
    targets[3] =
        (struct target){.kind = TARGET_REMOTE, .address = owner, .override_sender = true, .sender_override = alice};
    return (struct answer){.tag = 7,
                           .kind = ASK_RESOLVE,
                           .told = TOLD_LIST,
                           .yes = true,
                           .address = umlaut,
                           .has_moved_to = true,
                           .moved_to = alice,
                           .text = STR("<a@b>\n<c@d>"),
                           .resolve = RESOLVE_TARGETS,
                           .targets = targets,
                           .target_count = 4,
                           .is_list = true};
}

static void assert_address(const struct mail_address *a, const struct mail_address *b)
{
    assert_true(mail_address_eq(a, b));
    assert_int_equal(a->utf8, b->utf8);
}

static void test_ask_round_trip(void **state)
{
    struct ask a = sample_ask(), got;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_true(ask_put(&a, &b));
    assert_true(ask_get(buf_str(&b), &arena, &got));
    assert_int_equal(got.tag, a.tag);
    assert_int_equal(got.kind, a.kind);
    assert_int_equal(got.class, a.class);
    assert_address(&got.sender, &a.sender);
    assert_address(&got.address, &a.address);
    assert_true(str_eq(got.text, a.text));
    buf_done(&b);
}

static void test_answer_round_trip(void **state)
{
    struct target targets[4];
    struct answer a = sample_answer(targets), got;
    struct buf    b;

    (void)state;
    buf_init(&b, 4096);
    assert_true(answer_put(&a, &b));
    assert_true(answer_get(buf_str(&b), &arena, &got));
    assert_true(got.tag == 7 && got.kind == ASK_RESOLVE && got.told == TOLD_LIST && got.yes && got.is_list);
    assert_address(&got.address, &umlaut);
    assert_true(got.has_moved_to);
    assert_address(&got.moved_to, &alice);
    assert_true(str_eq(got.text, a.text));
    assert_int_equal(got.target_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(got.targets[i].kind, targets[i].kind);
        assert_int_equal(got.targets[i].result, targets[i].result);
        assert_int_equal(got.targets[i].hide, targets[i].hide);
        assert_true(got.targets[i].quota == targets[i].quota);
        assert_address(&got.targets[i].address, &targets[i].address);
        assert_int_equal(got.targets[i].override_sender, targets[i].override_sender);
        assert_address(&got.targets[i].sender_override, &targets[i].sender_override);
    }
    buf_done(&b);
}

static struct contact sample_contact(void)
{
    return (struct contact){.address = umlaut,
                            .outcome = CONTACT_MOVED,
                            .first_ms = 1,
                            .last_ms = UINT64_MAX,
                            .delivered_ms = 3,
                            .code = 551,
                            .status = "5.1.6",
                            .text = STR("moved"),
                            .host = STR("mx.example.test"),
                            .moved_to = owner};
}

static void assert_contact(const struct contact *a, const struct contact *b)
{
    assert_address(&a->address, &b->address);
    assert_address(&a->moved_to, &b->moved_to);
    assert_true(a->outcome == b->outcome && a->unconfirmed == b->unconfirmed && a->code == b->code);
    assert_true(a->first_ms == b->first_ms && a->last_ms == b->last_ms && a->delivered_ms == b->delivered_ms);
    assert_string_equal(a->status, b->status);
    assert_true(str_eq(a->text, b->text) && str_eq(a->host, b->host));
}

/* As many as are said at once, and no more; what does not fit leaves the others whole. */
static void test_contacts(void **state)
{
    struct contact contact = sample_contact(), *got;
    struct contact domain = {.address = {STR(""), STR("example.test"), false}, .outcome = CONTACT_NO_MAIL};
    struct answer  answer = {.kind = ASK_CONTACT, .contact = contact}, answer_got;
    struct buf     b;
    size_t         count, len;

    (void)state;
    buf_init(&b, 300);
    assert_true(ask_contact_put(&contact, &b) && ask_contact_put(&domain, &b));
    len = b.len;
    while (ask_contact_put(&contact, &b))
        len = b.len;
    assert_true(buf_ok(&b) && b.len == len);
    assert_true(ask_contacts_get(buf_str(&b), &arena, &got, &count) && count > 2);
    assert_contact(&got[0], &contact);
    assert_contact(&got[1], &domain);
    assert_contact(&got[count - 1], &contact);
    for (size_t cut = 1; cut < 20; cut++)
        assert_false(ask_contacts_get(str_of(b.data, len - cut), &arena, &got, &count));
    assert_true(ask_contacts_get(STR(""), &arena, &got, &count) && count == 0);
    buf_done(&b);
    buf_init(&b, ASK_TEXT_MAX);
    for (size_t i = 0; i < ASK_LEARN_MAX; i++)
        assert_true(ask_contact_put(&domain, &b));
    assert_true(ask_contacts_get(buf_str(&b), &arena, &got, &count) && count == ASK_LEARN_MAX);
    assert_true(ask_contact_put(&domain, &b));
    assert_false(ask_contacts_get(buf_str(&b), &arena, &got, &count));
    buf_clear(&b);
    assert_true(answer_put(&answer, &b) && answer_get(buf_str(&b), &arena, &answer_got));
    assert_contact(&answer_got.contact, &contact);
    buf_done(&b);
}

/* A message cut anywhere, or with something behind it, is none. */
static void test_lengths(void **state)
{
    struct target targets[4];
    struct answer answer = sample_answer(targets), answer_got;
    struct ask    ask = sample_ask(), ask_got;
    struct buf    b;

    (void)state;
    buf_init(&b, 4096);
    ask_put(&ask, &b);
    for (size_t len = 0; len < b.len; len++)
        assert_false(ask_get(str_of(b.data, len), &arena, &ask_got));
    buf_append_byte(&b, 0);
    assert_false(ask_get(buf_str(&b), &arena, &ask_got));
    buf_clear(&b);
    answer_put(&answer, &b);
    for (size_t len = 0; len < b.len; len++)
        assert_false(answer_get(str_of(b.data, len), &arena, &answer_got));
    buf_append_byte(&b, 0);
    assert_false(answer_get(buf_str(&b), &arena, &answer_got));
    buf_done(&b);
}

static bool ask_passes(const struct ask *a)
{
    struct ask got;
    struct buf b;
    bool       ok;

    buf_init(&b, 1 << 20);
    assert_true(ask_put(a, &b));
    ok = ask_get(buf_str(&b), &arena, &got);
    buf_done(&b);
    return ok;
}

static void test_what_a_front_may_not_send(void **state)
{
    static char large[ASK_TEXT_MAX + 1];
    struct ask  a = sample_ask();

    (void)state;
    assert_true(ask_passes(&a));
    a.kind = 0;
    assert_false(ask_passes(&a));
    a.kind = ASK_LEARN + 1;
    assert_false(ask_passes(&a));
    a = sample_ask();
    a.class = CLASS_OURSELVES + 1;
    assert_false(ask_passes(&a));
    a = sample_ask();
    a.address.local = str_of(large, MAIL_LOCAL_MAX + 1);
    memset(large, 'x', sizeof large);
    assert_false(ask_passes(&a));
    a.address.local = STR("a\0b");
    assert_false(ask_passes(&a));
    a.address.local = STR("a\nb");
    assert_false(ask_passes(&a));
    a = sample_ask();
    a.sender.domain = str_of(large, MAIL_DOMAIN_MAX + 1);
    assert_false(ask_passes(&a));
    a = sample_ask();
    a.text = str_of(large, ASK_TEXT_MAX + 1);
    assert_false(ask_passes(&a));
    a.text = str_of(large, ASK_TEXT_MAX);
    assert_true(ask_passes(&a));
}

/* The largest list that anybody may have, with names as people have them, fits into one message. */
static void test_the_largest_list_fits(void **state)
{
    static struct target targets[ASK_TARGETS_MAX];
    static char          names[ASK_TARGETS_MAX][32];
    struct answer        a = {.tag = 1, .kind = ASK_RESOLVE, .targets = targets, .target_count = ASK_TARGETS_MAX}, got;
    struct buf           b;

    (void)state;
    for (size_t i = 0; i < ASK_TARGETS_MAX; i++) {
        int len = snprintf(names[i], sizeof names[i], "firstname.familyname.%zu", i);

        targets[i] = (struct target){
            .kind = TARGET_REMOTE,
            .address = {str_of(names[i], (size_t)len), STR("some.department.of.a.company.example.test"), false},
            .override_sender = true,
            .sender_override = owner};
    }
    buf_init(&b, IPC_MESSAGE_MAX);
    assert_true(answer_put(&a, &b));
    assert_true(answer_get(buf_str(&b), &arena, &got));
    assert_address(&got.targets[ASK_TARGETS_MAX - 1].sender_override, &owner);
    buf_done(&b);
    a.target_count = ASK_TARGETS_MAX;
    buf_init(&b, 1000);
    assert_false(answer_put(&a, &b));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_round_trip),
        cmocka_unit_test(test_answer_round_trip),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_contacts),
        cmocka_unit_test(test_what_a_front_may_not_send),
        cmocka_unit_test(test_the_largest_list_fits),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
