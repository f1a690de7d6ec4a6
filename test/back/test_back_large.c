/* back with as much as a message can make it hold: recipients, replies, reports, and groups of records. */
#include "back_world.h"

enum { REPLY_LEAST = 100 }; /* octets that are kept of each reply in any case */

static void say_at_length(const struct given *g, struct carried_recipient said)
{
    static char words[CARRIAGE_TEXT_MAX];

    memset(words, 'x', sizeof words);
    said.text = said.words = str_of(words, sizeof words);
    carrier_answer(g, said, false);
}

static void fail_at_length(const struct given *g) { say_at_length(g, SAID(FAILED, 550, 5, 1, 1, "")); }
static void defer_at_length(const struct given *g) { say_at_length(g, SAID(DEFERRED, 450, 4, 2, 1, "")); }

/* All that their servers can say of as many recipients as a message may lead to. */
static void crowd_away(void)
{
    begin("");
    carrier_begin(true);
    on_given = fail_at_length;
    send_mail(CLASS_STRANGER, "s", numbered("crowd-away", BACK_EXPANDED_MAX / CROWD, ""), 0);
    settle();
    CHECK(given_count >= BACK_EXPANDED_MAX / CROWD * CROWD / CARRIAGE_RECIPIENTS_MAX);
}

/* As many recipients as a configuration allows, some of whom lead to as many others as may be. */
static const char *const *everybody(void)
{
    static const char  *all[RECIPIENTS + 1];
    static const size_t crowds = BACK_EXPANDED_MAX / CROWD;

    memcpy(all, numbered("r", RECIPIENTS, "@remote.test"), sizeof all);
    for (size_t i = 0; i < crowds; i++)
        all[i] = arena_printf(&memory, "crowd-away%zu", i).data;
    return all;
}

/* The carrier, too, sends no more than its channel holds. */
static void (*answer_with)(const struct given *g);
static void answer_some(void *arg)
{
    static size_t next;

    (void)arg;
    for (; next < given_count && io_ipc_unsent(carrier) < 1 << 20; next++)
        if (!mail_address_is_null(&given[next].c.sender))
            answer_with(&given[next]);
}

/* All that their servers can say of them is kept until it fails, cut where there is no room for it, and reported. */
static void everybody_at_length(void)
{
    static char           words[REPLY_LEAST + 1];
    struct queue_message *m;
    struct io_timer      *timer;
    struct attempt        peek;
    struct str            text, to;

    begin("queue { retry = {\"1h\"} }");
    if (getenv("TACIT_MEMCHECK")) /* where it takes minutes; fewer go the same way in the other cases */
        return;
    memset(words, 'x', REPLY_LEAST);
    timer = io_timer_new(context.loop, answer_some, NULL);
    CHECK(timer);
    io_timer_start(timer, 1, 1);
    carrier_begin(true);
    answer_with = defer_at_length;
    send_mail(CLASS_RELAY, "s", everybody(), 0);
    settle();
    m = queue_find(&back->queue, message_id);
    CHECK(m && m->attempts == 1 && back_peek(back, m, false, &peek, NULL));
    CHECK(peek.count == RECIPIENTS + BACK_EXPANDED_MAX / CROWD * CROWD);
    for (size_t i = BACK_EXPANDED_MAX / CROWD; i < peek.count; i++)
        CHECK(peek.to[i].state == RECIPIENT_PENDING && peek.to[i].code == 450 && has(peek.to[i].reply, words));
    back_peek_done(&peek);

    answer_with = fail_at_length;
    CHECK(back_command_start(back, m, &(struct back_change){.command = COMMAND_RETRY}, NULL, NULL));
    settle();
    CHECK(!queue_find(&back->queue, message_id) && reports(&text, &to) == 1);
    CHECK(has(text, "Status: 5.1.1") && has(text, " and 99975 more; "));
    io_timer_free(timer);
}

/* So many reports that they could not be written together if each returned a long header. */
static void crowd_of_owners(void)
{
    enum { LISTS = 25, HEADER = 64 << 10, LINE = 80 };
    struct str text, to;
    char      *header = malloc(HEADER);

    begin("");
    CHECK(header);
    memset(header, 'x', HEADER);
    for (size_t i = 0; i < HEADER; i += LINE)
        memcpy(header + i, "\r\nX: ", 5);
    memcpy(header, "Subject: z", 10);
    content = str_of(header, HEADER);
    send_mail(CLASS_STRANGER, "s", numbered("owners", LISTS, ""), 0);
    settle();
    CHECK(reports(&text, &to) == LISTS * TARGETS && has(text, "Status: 5.1.1"));
    CHECK(!queue_find(&back->queue, message_id));
    free(header);
}

/* Groups of records that are larger together than what may wait to be written, one of them than a batch. */
static void large_groups(void)
{
    enum { OCTETS = 45 << 20 };
    const struct mail_address away = {STR("sender"), STR("remote.test"), false};
    char                     *octets = calloc(1, OCTETS);

    begin("route \"*\" { via = \"hold:\" }");
    CHECK(octets);
    for (size_t group = 1; group <= 2; group++) {
        struct back_store *s = back_store_new(back, NULL, NULL);

        for (size_t i = 0; i < group; i++)
            CHECK(back_message_put(back, s, message_id_next(&back->ids, io_wall_ms()), 0, &away, BODY_7BIT, false,
                                   str_of(octets, OCTETS)));
        back_store_put(s);
    }
    back_kick(back);
    settle_blindly = true;
    settle();
    CHECK(back->queue.messages == 3);
    free(octets);
}

CASE(crowd_away)
CASE(everybody_at_length)
CASE(crowd_of_owners)
CASE(large_groups)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crowd_away),
        cmocka_unit_test(test_everybody_at_length),
        cmocka_unit_test(test_crowd_of_owners),
        cmocka_unit_test(test_large_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
