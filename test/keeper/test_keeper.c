/* test_keeper.c: what the keeper says to whom. */
#include "files.h"

#include "keeper/keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char           base[] = "/tmp/tacit-keeper-XXXXXX";
static struct arena   arena;
static struct config *config;
static struct keeper *keeper;
static struct answer  answer;
static struct err     err;

static const char *more_config = "";

static const uint64_t now = UINT64_C(1790000000000);

/* ---- a server ---- */

static void open_keeper(const char *disclosure, const char *relay)
{
    static char text[2048];

    keeper_free(keeper);
    config_free(config);
    snprintf(text, sizeof text,
             "hostname = \"mx.example.test\"\ndata = \"data\"\n"
             "listen mx { address = \"127.0.0.1:2525\" }\n"
             "domain \"example.test\" { directory = \"file:users\" quota = \"1M\" postmaster = \"alice\" }\n"
             "domain \"second.test\" { directory = \"file:users\" separator = \"-\" }\n"
             "domain \"third.test\" { directory = \"sqlite:third.db\" separator = \"\" }\n"
             "disclosure { vrfy = \"%s\" }\nrelay { networks = {%s} }\n%s\n",
             disclosure, relay, more_config);
    config = config_parse_text(str_from(text), "test.conf", base, &err);
    if (!config)
        fail_msg("%s", err.text);
    keeper = keeper_new(config, false, &err);
    if (!keeper)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    char  path[64], command[64];
    FILE *f;

    (void)state;
    arena_init(&arena, 1 << 16, 64 << 20);
    assert_non_null(mkdtemp(base));
    snprintf(command, sizeof command, "mkdir '%s/data'", base);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/data/users", base);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("Alice@example.test mailbox\nbob@example.test mailbox quota=5K\noff@example.test mailbox disabled\n"
          "m251@example.test moved here@new.example reply=251\nm551@example.test moved there@new.example reply=551\n"
          "mhide@example.test moved secret@new.example reply=hide\n"
          "staff@example.test list alice@example.test bob@example.test show-members\n"
          "board@example.test list alice@example.test secret@new.example owner=bob@example.test\n"
          "shut@example.test list alice@example.test closed\n"
          "team@example.test alias bob@example.test ghost@example.test alice@second.test\n"
          "bob@second.test mailbox\nalice@second.test alias bob@second.test\n*@second.test alias bob@second.test\n"
          "only@second.test mailbox\n\"dr. who\"@second.test mailbox\n",
          f);
    fclose(f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    keeper_free(keeper);
    config_free(config);
    arena_done(&arena);
    return files_remove(base) ? 0 : -1;
}

static int relay_set_up(void **state)
{
    (void)state;
    open_keeper("252", "\"192.0.2.0/24\"");
    return 0;
}

/* ---- asking ---- */

static struct mail_address parse(const char *text)
{
    struct mail_address a = {0};

    if (*text && !mail_address_parse(str_from(text), true, &arena, &a, NULL))
        fail_msg("%s", text);
    return a;
}

static enum keeper_verdict ask_full(struct ask ask, bool from_front)
{
    ask.tag = 99;
    answer = (struct answer){0};
    enum keeper_verdict verdict = keeper_answer(keeper, &ask, from_front, now, &arena, &answer, &err);
    assert_int_equal(answer.tag, 99);
    assert_int_equal(answer.kind, ask.kind);
    return verdict;
}

static enum told front_asks(enum ask_kind kind, enum client_class class, const char *address)
{
    ask_full((struct ask){.kind = kind, .class = class, .address = parse(address)}, true);
    return answer.told;
}

static enum told vrfy_text(const char *text)
{
    ask_full((struct ask){.kind = ASK_VRFY, .class = CLASS_RELAY, .text = str_from(text)}, true);
    return answer.told;
}

static enum resolve_result resolve_for(const char *address, const char *sender, enum client_class class)
{
    ask_full((struct ask){.kind = ASK_RESOLVE, .class = class, .address = parse(address), .sender = parse(sender)},
             false);
    return answer.resolve;
}

static void assert_text(const struct mail_address *a, const char *text)
{
    struct str s = mail_address_text(a, &arena);

    if (!str_eq(s, str_from(text)))
        fail_msg("%.*s is not %s", STR_ARG(s), text);
}

static void test_the_truth_for_those_who_may_know(void **state)
{
    (void)state;
    for (int kind = ASK_RCPT; kind <= ASK_VRFY; kind++) {
        enum ask_kind k = (enum ask_kind)kind;

        assert_int_equal(front_asks(k, CLASS_RELAY, "ALICE+x@example.test"), TOLD_EXISTS);
        assert_text(&answer.address, "Alice@example.test");
        assert_int_equal(front_asks(k, CLASS_SUBMITTER, "alice@example.test"), TOLD_EXISTS);
        assert_int_equal(front_asks(k, CLASS_RELAY, "nobody@example.test"), TOLD_ABSENT);
        assert_int_equal(front_asks(k, CLASS_RELAY, "alice-x@example.test"), TOLD_ABSENT);
        assert_int_equal(front_asks(k, CLASS_RELAY, "bob-x@second.test"), TOLD_EXISTS);
        assert_text(&answer.address, "bob@second.test");
        assert_int_equal(front_asks(k, CLASS_RELAY, "whoever@second.test"), TOLD_EXISTS);
        assert_text(&answer.address, "whoever@second.test"); /* not "*" */
        assert_int_equal(front_asks(k, CLASS_RELAY, "off@example.test"), TOLD_DISABLED);
        assert_int_equal(front_asks(k, CLASS_RELAY, "team@example.test"), TOLD_EXISTS);
        assert_int_equal(front_asks(k, CLASS_RELAY, "m251@example.test"), TOLD_MOVED_FORWARD);
        assert_true(answer.has_moved_to);
        assert_text(&answer.moved_to, "here@new.example");
        assert_int_equal(front_asks(k, CLASS_RELAY, "m551@example.test"), TOLD_MOVED_REFUSE);
        assert_text(&answer.moved_to, "there@new.example");
        assert_int_equal(front_asks(k, CLASS_RELAY, "mhide@example.test"), TOLD_MOVED_HIDDEN);
        assert_false(answer.has_moved_to);
        assert_true(mail_address_is_null(&answer.moved_to));
        assert_int_equal(front_asks(k, CLASS_RELAY, "x@elsewhere.test"), TOLD_NOTHING);
        assert_int_equal(front_asks(k, CLASS_RELAY, "Postmaster@third.test"), TOLD_EXISTS);
        assert_int_equal(front_asks(k, CLASS_RELAY, "abuse@example.test"), TOLD_EXISTS);
    }
    ask_full((struct ask){.kind = ASK_RCPT, .class = CLASS_RELAY, .address = {.local = STR("POSTMASTER")}}, true);
    assert_int_equal(answer.told, TOLD_EXISTS);
    ask_full((struct ask){.kind = ASK_RCPT, .class = CLASS_RELAY, .address = {.local = STR("alice")}}, true);
    assert_int_equal(answer.told, TOLD_NOTHING);
}

/* Nothing that a class may not know is looked up, and an answer to it holds nothing but its tag. */
static void assert_refused(struct ask ask, bool from_front)
{
    assert_int_equal(ask_full(ask, from_front), KEEPER_REFUSED);
    assert_int_equal(answer.told, TOLD_NOTHING);
    assert_int_equal(answer.resolve, RESOLVE_FAILED);
    assert_true(!answer.yes && !answer.has_moved_to && !answer.text.len && !answer.target_count && !answer.is_list);
    assert_true(mail_address_is_null(&answer.address) && mail_address_is_null(&answer.moved_to));
}

static void test_refusals(void **state)
{
    static const char *const       addresses[] = {"alice@example.test", "nobody@example.test", "m551@example.test"};
    static const enum client_class told_nothing[] = {CLASS_ACCOUNTABLE, CLASS_BOUNCE, CLASS_STRANGER, CLASS_BLOCKED,
                                                     CLASS_OURSELVES};

    (void)state;
    for (size_t a = 0; a < 3; a++) {
        struct mail_address address = parse(addresses[a]);

        for (size_t c = 0; c < sizeof told_nothing / sizeof *told_nothing; c++)
            for (int kind = ASK_RCPT; kind <= ASK_EXPN; kind++)
                assert_refused((struct ask){.kind = (enum ask_kind)kind, .class = told_nothing[c], .address = address},
                               true);
        for (int class = CLASS_SUBMITTER; class <= CLASS_OURSELVES; class ++) {
            struct ask resolve = {.kind = ASK_RESOLVE, .class = (enum client_class) class, .address = address};
            struct ask sign = {.kind = ASK_SIGN, .class = (enum client_class) class, .address = address};

            struct ask contact = {.kind = ASK_CONTACT, .class = (enum client_class) class, .address = address};
            struct ask learn = {.kind = ASK_LEARN, .class = (enum client_class) class, .address = address};

            assert_refused(resolve, true);
            assert_refused(sign, true);
            assert_refused(learn, true);
            assert_refused(contact, false);
            if (class != CLASS_SUBMITTER)
                assert_refused(contact, true);
        }
        for (int kind = ASK_RCPT; kind <= ASK_BOUNCE; kind++) /* back has no clients */
            assert_refused((struct ask){.kind = (enum ask_kind)kind, .class = CLASS_RELAY, .address = address}, false);
    }
    open_keeper("252", "");
    assert_refused((struct ask){.kind = ASK_RCPT, .class = CLASS_RELAY, .address = parse("alice@example.test")}, true);
    assert_int_equal(front_asks(ASK_RCPT, CLASS_SUBMITTER, "alice@example.test"), TOLD_EXISTS);
    open_keeper("answer", "");
    assert_int_equal(front_asks(ASK_VRFY, CLASS_STRANGER, "alice@example.test"), TOLD_EXISTS);
    assert_refused((struct ask){.kind = ASK_RCPT, .class = CLASS_STRANGER, .address = parse("alice@example.test")},
                   true);
    assert_refused((struct ask){.kind = ASK_VRFY, .class = CLASS_BLOCKED, .address = parse("alice@example.test")},
                   true);
}

static void test_vrfy_of_names(void **state)
{
    (void)state;
    assert_int_equal(vrfy_text("off"), TOLD_DISABLED);
    assert_int_equal(vrfy_text("only"), TOLD_EXISTS); /* second.test has it; its catch-all does not make it two */
    assert_text(&answer.address, "only@second.test");
    assert_int_equal(vrfy_text("  <ONLY>"), TOLD_EXISTS);
    assert_int_equal(vrfy_text("bob"), TOLD_AMBIGUOUS);
    assert_true(mail_address_is_null(&answer.address));
    assert_int_equal(vrfy_text("dr. who"), TOLD_ABSENT);     /* that is no local part, */
    assert_int_equal(vrfy_text("\"dr. who\""), TOLD_EXISTS); /* this is one */
    assert_int_equal(vrfy_text("Robert <bob@example.test>"), TOLD_EXISTS);
    assert_text(&answer.address, "bob@example.test");
    assert_int_equal(vrfy_text("bob@example.test"), TOLD_EXISTS);
    assert_int_equal(vrfy_text("nobody@example.test"), TOLD_ABSENT);
    assert_int_equal(vrfy_text("nobody@elsewhere.test"), TOLD_NOTHING);
    assert_int_equal(vrfy_text("postmaster"), TOLD_EXISTS);
    assert_text(&answer.address, "postmaster@example.test");
    assert_int_equal(vrfy_text("nobody"), TOLD_EXISTS); /* caught by second.test alone */
    assert_text(&answer.address, "nobody@second.test");
    assert_int_equal(vrfy_text(""), TOLD_ABSENT);
    assert_int_equal(vrfy_text("<>"), TOLD_ABSENT);
    assert_int_equal(vrfy_text("<"), TOLD_ABSENT);
    assert_int_equal(vrfy_text(">"), TOLD_ABSENT);
    assert_int_equal(vrfy_text("@"), TOLD_ABSENT);
    char large[3000];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = '\0';
    assert_int_equal(vrfy_text(large), TOLD_ABSENT);
}

static void test_expn(void **state)
{
    (void)state;
    assert_int_equal(front_asks(ASK_EXPN, CLASS_RELAY, "staff@example.test"), TOLD_LIST);
    assert_true(str_eq(answer.text, STR("<alice@example.test>\n<bob@example.test>")));
    assert_int_equal(front_asks(ASK_EXPN, CLASS_RELAY, "board@example.test"), TOLD_NOTHING);
    assert_false(answer.text.len);
    assert_int_equal(front_asks(ASK_EXPN, CLASS_RELAY, "alice@example.test"), TOLD_EXISTS);
    assert_int_equal(front_asks(ASK_EXPN, CLASS_RELAY, "nobody@example.test"), TOLD_ABSENT);
    struct ask ask = {.kind = ASK_EXPN,
                      .class = CLASS_SUBMITTER,
                      .address = parse("board@example.test"),
                      .sender = parse("bob@example.test")};
    ask_full(ask, true);
    assert_int_equal(answer.told, TOLD_LIST); /* its owner may see it */
    ask.sender = parse("alice@example.test");
    ask_full(ask, true);
    assert_int_equal(answer.told, TOLD_NOTHING);
    ask.sender = parse("bob@example.test");
    ask.class = CLASS_RELAY; /* a relay proves nothing of its senders */
    ask_full(ask, true);
    assert_int_equal(answer.told, TOLD_NOTHING);
}

static void test_resolve(void **state)
{
    (void)state;
    assert_int_equal(resolve_for("Alice+a@example.test", "s@x.test", CLASS_STRANGER), RESOLVE_TARGETS);
    assert_int_equal(answer.target_count, 1);
    assert_text(&answer.targets[0].address, "Alice@example.test");
    assert_int_equal(answer.targets[0].quota, 1 << 20);
    assert_int_equal(resolve_for("bob@example.test", "s@x.test", CLASS_STRANGER), RESOLVE_TARGETS);
    assert_int_equal(answer.targets[0].quota, 5 << 10);
    assert_int_equal(resolve_for("nobody@example.test", "s@x.test", CLASS_STRANGER), RESOLVE_ABSENT);
    assert_int_equal(resolve_for("off@example.test", "s@x.test", CLASS_STRANGER), RESOLVE_DISABLED);
    assert_int_equal(resolve_for("m551@example.test", "s@x.test", CLASS_RELAY), RESOLVE_MOVED);
    assert_true(answer.has_moved_to);
    assert_int_equal(resolve_for("m251@example.test", "s@x.test", CLASS_RELAY), RESOLVE_TARGETS);
    assert_true(answer.targets[0].hide && answer.targets[0].kind == TARGET_REMOTE && answer.is_list);
    assert_int_equal(resolve_for("team@example.test", "s@x.test", CLASS_RELAY), RESOLVE_TARGETS);
    assert_int_equal(answer.target_count, 3);
    assert_int_equal(answer.targets[1].result, RESOLVE_ABSENT);
    assert_text(&answer.targets[2].address, "bob@second.test");
    assert_int_equal(resolve_for("abuse@example.test", "", CLASS_BOUNCE), RESOLVE_TARGETS);
    assert_text(&answer.targets[0].address, "Alice@example.test"); /* the domain's postmaster setting */
    assert_int_equal(resolve_for("x@elsewhere.test", "s@x.test", CLASS_RELAY), RESOLVE_TARGETS);
    assert_int_equal(answer.targets[0].kind, TARGET_REMOTE);
    assert_int_equal(resolve_for("shut@example.test", "s@x.test", CLASS_STRANGER), RESOLVE_CLOSED);
    assert_int_equal(resolve_for("shut@example.test", "s@x.test", CLASS_SUBMITTER), RESOLVE_CLOSED);
    assert_int_equal(resolve_for("shut@example.test", "alice@example.test", CLASS_SUBMITTER), RESOLVE_TARGETS);
    assert_int_equal(resolve_for("shut@example.test", "s@x.test", CLASS_RELAY), RESOLVE_TARGETS);
    ask_full((struct ask){.kind = ASK_RESOLVE, .class = CLASS_STRANGER, .address = {.local = STR("postmaster")}},
             false);
    assert_int_equal(answer.resolve, RESOLVE_TARGETS);
}

static void test_tokens(void **state)
{
    char                text[4096];
    struct mail_address path;

    (void)state;
    ask_full((struct ask){.kind = ASK_SIGN, .text = STR("01jd3x8abcdef")}, true);
    assert_true(answer.yes && answer.text.len == 12);
    int        len = snprintf(text, sizeof text, "<x@y>\n\n<01jd3x8abcdef.%.*s@mx.example.test>", STR_ARG(answer.text));
    struct ask bounce = {.kind = ASK_BOUNCE,
                         .class = CLASS_BOUNCE,
                         .address = parse("alice@example.test"),
                         .text = str_of(text, (size_t)len)};
    assert_int_equal(ask_full(bounce, true), KEEPER_ANSWERED);
    assert_true(answer.yes);
    bounce.text.len -= 3;
    ask_full(bounce, true);
    assert_false(answer.yes);
    bounce.text = STR("");
    ask_full(bounce, true);
    assert_false(answer.yes);

    ask_full((struct ask){.kind = ASK_SIGN, .address = parse("bob@example.test")}, false);
    assert_true(answer.yes && str_starts(answer.address.local, STR("prvs=")));
    path = answer.address;
    bounce.address = path;
    ask_full(bounce, true);
    assert_true(answer.yes);
    ask_full((struct ask){.kind = ASK_RCPT, .class = CLASS_RELAY, .address = path}, true);
    assert_int_equal(answer.told, TOLD_EXISTS);
    ask_full((struct ask){.kind = ASK_RESOLVE, .class = CLASS_BOUNCE, .address = path}, false);
    assert_text(&answer.targets[0].address, "bob@example.test");
    path.domain = STR("elsewhere.test");
    bounce.address = path;
    ask_full(bounce, true);
    assert_false(answer.yes);
    bounce.address = parse("\"prvs=0000000000=bob\"@example.test");
    ask_full(bounce, true);
    assert_false(answer.yes);
    ask_full((struct ask){.kind = ASK_RESOLVE, .class = CLASS_BOUNCE, .address = bounce.address}, false);
    assert_int_equal(answer.resolve, RESOLVE_ABSENT);
    ask_full((struct ask){.kind = ASK_SIGN, .address = parse("x@elsewhere.test")}, false);
    assert_false(answer.yes); /* only addresses of ours */
}

/* When the directory cannot be read every name gets the same answer. */
static void test_an_unreadable_directory(void **state)
{
    char path[64], away[64];

    (void)state;
    snprintf(path, sizeof path, "%s/data/users", base);
    snprintf(away, sizeof away, "%s/data/away", base);
    assert_int_equal(rename(path, away), 0);
    static const char *const names[] = {"alice@example.test", "nobody@example.test", "m551@example.test",
                                        "postmaster@example.test"};
    for (size_t i = 0; i < 4; i++) {
        struct ask ask = {.kind = ASK_RCPT, .class = CLASS_RELAY, .address = parse(names[i])};

        assert_int_equal(ask_full(ask, true), KEEPER_FAILED);
        assert_int_equal(answer.told, TOLD_FAILED);
        assert_non_null(strstr(err.text, path));
        assert_int_equal(resolve_for(names[i], "s@x.test", CLASS_RELAY), RESOLVE_FAILED);
    }
    assert_int_equal(vrfy_text("alice"), TOLD_FAILED);
    assert_int_equal(front_asks(ASK_RCPT, CLASS_RELAY, "postmaster@third.test"), TOLD_EXISTS); /* another file */
    struct err why;
    assert_int_equal(rename(away, path), 0);
    FILE *f = fopen(path, "a");
    fputs("broken line\n", f);
    fclose(f);
    struct keeper *second = keeper_new(config, false, &why);
    assert_null(second);
    assert_non_null(strstr(why.text, "users:16"));
    assert_non_null(strstr(why.text, "example.test"));
}

/* ---- contacts ---- */

static void remember(const char *address, enum contact_outcome outcome, uint64_t when)
{
    char                        path[64];
    const struct contacts_rules rules = {.keep_ms = UINT64_C(31536000000), .max = 100};
    struct contact              said = {.address = parse(address), .outcome = outcome, .last_ms = when, .code = 550};
    struct contacts            *contacts;
    bool                        more;

    snprintf(path, sizeof path, "%s/data/contacts.db", base);
    contacts = contacts_open(path, CONTACTS_CREATE, NULL, &err);
    if (outcome == CONTACT_NO_MAIL)
        said.address.local = STR("");
    assert_true(contacts && contacts_learn(contacts, &said, 1, &rules, when, &more, &err));
    contacts_close(contacts);
}

static enum contact_outcome submitter_is_told(const char *address)
{
    ask_full((struct ask){.kind = ASK_CONTACT, .class = CLASS_SUBMITTER, .address = parse(address)}, true);
    return answer.contact.outcome;
}

/* Only what contacts.suppress means is told: dead, and said no longer ago. */
static void test_contacts(void **state)
{
    (void)state;
    remember("gone@remote.test", CONTACT_NO_MAILBOX, now - 1000);
    remember("old@remote.test", CONTACT_NO_MAILBOX, now - 8 * 86400000ull);
    remember("full@remote.test", CONTACT_FULL, now - 1000);
    remember("fine@remote.test", CONTACT_DELIVERED, now - 1000);
    remember("alice@example.test", CONTACT_NO_MAILBOX, now - 1000);
    remember("any@nomail.test", CONTACT_NO_MAIL, now - 1000);
    open_keeper("252", "");
    assert_int_equal(submitter_is_told("gone@remote.test"), CONTACT_UNKNOWN); /* suppress = 0 */
    more_config = "contacts { suppress = \"7d\" }";
    open_keeper("252", "");
    assert_int_equal(submitter_is_told("Gone@remote.test"), CONTACT_NO_MAILBOX);
    assert_true(answer.contact.last_ms == now - 1000 && answer.contact.code == 550);
    assert_int_equal(submitter_is_told("old@remote.test"), CONTACT_UNKNOWN);
    assert_int_equal(submitter_is_told("full@remote.test"), CONTACT_UNKNOWN);
    assert_int_equal(submitter_is_told("fine@remote.test"), CONTACT_UNKNOWN);
    assert_int_equal(submitter_is_told("who@remote.test"), CONTACT_UNKNOWN);
    assert_int_equal(submitter_is_told("who@nomail.test"), CONTACT_NO_MAIL);
    assert_int_equal(submitter_is_told("alice@example.test"), CONTACT_UNKNOWN); /* ours: the directory knows */
    assert_int_equal(ask_full((struct ask){.kind = ASK_LEARN}, false), KEEPER_LEARNS);
    more_config = "";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_truth_for_those_who_may_know, relay_set_up),
        cmocka_unit_test_setup(test_refusals, relay_set_up),
        cmocka_unit_test_setup(test_vrfy_of_names, relay_set_up),
        cmocka_unit_test_setup(test_expn, relay_set_up),
        cmocka_unit_test_setup(test_resolve, relay_set_up),
        cmocka_unit_test_setup(test_tokens, relay_set_up),
        cmocka_unit_test_setup(test_contacts, relay_set_up),
        cmocka_unit_test_setup(test_an_unreadable_directory, relay_set_up),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
