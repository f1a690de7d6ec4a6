/* test_expand.c: where addresses lead. The directory is written as a text file, which reads like the case it is. */
#include "files.h"

#include "directory/expand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char              base[] = "/tmp/tacit-expand-XXXXXX";
static char              path[64];
static struct arena      arena;
static struct directory *directory;
static struct str        postmaster;
static struct err        err;

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof path, "%s/users", base);
    arena_init(&arena, 1 << 16, 64 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    directory_close(directory);
    arena_done(&arena);
    return files_remove(base) ? 0 : -1;
}

static int each_set_up(void **state)
{
    (void)state;
    postmaster = STR("postmaster");
    return 0;
}

static FILE *rewrite_begin(void)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    return f;
}

static void rewrite_end(FILE *f)
{
    fclose(f);
    directory_close(directory);
    directory = directory_open("file:users", base, 0, &err);
    if (!directory)
        fail_msg("%s", err.text);
}

static void people(const char *text)
{
    FILE *f = rewrite_begin();

    fputs(text, f);
    rewrite_end(f);
}

/* a.test and b.test are ours. */
static bool domain_of(void *arg, struct str name, struct expansion_domain *ret)
{
    (void)arg;
    if (!str_eq(name, STR("a.test")) && !str_eq(name, STR("b.test")))
        return false;
    *ret = (struct expansion_domain){.directory = directory, .separator = '+', .quota = 77, .postmaster = postmaster};
    return true;
}
static const struct expansion_world world = {domain_of, NULL};

static struct mail_address parse(const char *text)
{
    struct mail_address a = {0};

    if (*text && !mail_address_parse(str_from(text), true, &arena, &a, NULL))
        fail_msg("%s", text);
    return a;
}

static struct resolution expand_from(const char *address, const char *sender, bool trusted)
{
    struct mail_address     a = parse(address);
    struct expansion_sender s = {parse(sender), trusted};
    struct resolution       r;

    if (!directory_expand(&world, &a, &s, &arena, &r, &err))
        assert_int_equal(r.result, RESOLVE_FAILED);
    return r;
}

static struct resolution expand(const char *address) { return expand_from(address, "s@elsewhere.test", false); }

static const char *result_names[] = {"ok", "absent", "disabled", "moved", "closed", "loop", "failed"};

/* "m alice@a.test", "r x@c.test hide", "m ghost@a.test absent", one a line. */
static void assert_targets(struct resolution r, const char *expected)
{
    char   text[4096] = "";
    size_t len = 0;

    if (r.result != RESOLVE_TARGETS)
        fail_msg("result %s instead of targets", result_names[r.result]);
    for (size_t i = 0; i < r.target_count; i++) {
        struct target *t = &r.targets[i];

        len += (size_t)snprintf(text + len, sizeof text - len, "%c %.*s@%.*s", t->kind == TARGET_MAILBOX ? 'm' : 'r',
                                STR_ARG(t->address.local), STR_ARG(t->address.domain));
        if (t->result != RESOLVE_TARGETS)
            len += (size_t)snprintf(text + len, sizeof text - len, " %s", result_names[t->result]);
        if (t->hide)
            len += (size_t)snprintf(text + len, sizeof text - len, " hide");
        if (t->override_sender)
            len += (size_t)snprintf(text + len, sizeof text - len, " as %.*s", STR_ARG(t->sender_override.local));
        len += (size_t)snprintf(text + len, sizeof text - len, "\n");
    }
    assert_string_equal(text, expected);
}

static void test_single(void **state)
{
    (void)state;
    people("Alice@a.test mailbox quota=5\nbob@a.test mailbox\noff@a.test mailbox disabled\n"
           "m251@a.test moved new@c.test reply=251\nm551@a.test moved new@c.test reply=551\n"
           "mhide@a.test moved new@c.test reply=hide\nmlocal@a.test moved Alice@a.test reply=251\n");
    struct resolution r = expand("ALICE+x@a.test");
    assert_targets(r, "m Alice@a.test\n");
    assert_false(r.is_list);
    assert_int_equal(r.targets[0].quota, 5);
    assert_int_equal(expand("bob@a.test").targets[0].quota, 77);
    assert_int_equal(expand("nobody@a.test").result, RESOLVE_ABSENT);
    assert_int_equal(expand("alice@b.test").result, RESOLVE_ABSENT);
    assert_int_equal(expand("off@a.test").result, RESOLVE_DISABLED);
    assert_targets(expand("x@c.test"), "r x@c.test\n");
    assert_targets(expand("m251@a.test"), "r new@c.test hide\n");
    assert_targets(expand("mlocal@a.test"), "m Alice@a.test hide\n");
    r = expand("m551@a.test");
    assert_int_equal(r.result, RESOLVE_MOVED);
    assert_true(r.has_moved_to && str_eq(r.moved_to.local, STR("new")) && r.target_count == 0);
    r = expand("mhide@a.test");
    assert_int_equal(r.result, RESOLVE_MOVED);
    assert_false(r.has_moved_to);
}

static void test_nested(void **state)
{
    (void)state;
    people("alice@a.test mailbox\nbob@b.test mailbox\noff@a.test mailbox disabled\n"
           "gone@a.test moved new@c.test reply=551\nwent@a.test moved there@c.test reply=251\n"
           "team@a.test alias alice@a.test bob@b.test ghost@b.test off@a.test gone@a.test went@a.test x@c.test\n"
           "all@b.test alias team@a.test alice@a.test ALICE+tag@a.test x@c.test team@a.test\n");
    struct resolution r = expand("all@b.test");
    assert_targets(r, "m alice@a.test\nm bob@b.test\nm ghost@b.test absent\nm off@a.test disabled\n"
                      "m gone@a.test moved\nr there@c.test hide\nr x@c.test\n");
    assert_true(r.is_list);
    assert_false(r.has_moved_to); /* a member's new address is nobody's business */
}

static void test_loops(void **state)
{
    (void)state;
    people(
        "self@a.test alias self@a.test\nping@a.test alias pong@b.test\npong@b.test alias ping@a.test\n"
        "knot@a.test alias knot@a.test alice@a.test ring@a.test\nring@a.test alias knot@a.test bob@a.test\n"
        "alice@a.test mailbox\nbob@a.test mailbox\nempty@a.test list\nto-self@a.test moved to-self@a.test reply=251\n"
        "tag@a.test alias tag+x@a.test\n");
    assert_int_equal(expand("self@a.test").result, RESOLVE_LOOP);
    assert_int_equal(expand("ping@a.test").result, RESOLVE_LOOP);
    assert_int_equal(expand("to-self@a.test").result, RESOLVE_LOOP);
    assert_int_equal(expand("empty@a.test").result, RESOLVE_DISABLED);
    assert_int_equal(expand("tag@a.test").result, RESOLVE_LOOP); /* each tag a new name: the same entry for ever */
    assert_targets(expand("knot@a.test"), "m alice@a.test\nm bob@a.test\n");
}

static void test_depth_and_size(void **state)
{
    FILE *f = rewrite_begin();

    (void)state;
    for (int i = 0; i < 30; i++)
        fprintf(f, "d%d@a.test alias d%d@a.test\n", i, i + 1);
    fprintf(f, "d30@a.test mailbox\n");
    fprintf(f, "full@a.test list");
    for (int i = 0; i < 1000; i++)
        fprintf(f, " u%d@c.test", i);
    fprintf(f, "\nover@a.test list full@a.test one@more.test\n");
    /* each list of a knot names all the others: 18 of them have more ways through than could ever be followed */
    for (int size = 18; size <= 30; size += 12)
        for (int i = 0; i < size; i++) {
            fprintf(f, "k%d.%d@a.test list end%d@c.test", size, i, i);
            for (int k = 0; k < size; k++)
                fprintf(f, " k%d.%d@a.test", size, k);
            fprintf(f, "\n");
        }
    rewrite_end(f);
    assert_targets(expand("d10@a.test"), "m d30@a.test\n");
    assert_int_equal(expand("d9@a.test").result, RESOLVE_LOOP);
    assert_int_equal(expand("full@a.test").target_count, 1000);
    struct resolution r = expand("over@a.test");
    assert_int_equal(r.result, RESOLVE_LOOP);
    assert_int_equal(r.target_count, 0);
    assert_int_equal(expand("k18.3@a.test").target_count, 18);
    assert_int_equal(expand("k30.3@a.test").result, RESOLVE_LOOP);
}

static void test_lists(void **state)
{
    (void)state;
    people("alice@a.test mailbox\nbob@a.test mailbox\n"
           "news@a.test list alice@a.test x@c.test owner=boss@a.test\n"
           "plain@a.test list alice@a.test\n"
           "outer@a.test list news@a.test bob@a.test owner=outer-owner@a.test\n"
           "shut@a.test list alice@a.test Far.Away@c.test owner=boss@a.test closed\n"
           "mix@a.test alias shut@a.test bob@a.test\n");
    assert_targets(expand("news@a.test"), "m alice@a.test as boss\nr x@c.test as boss\n");
    assert_targets(expand("plain@a.test"), "m alice@a.test\n");
    assert_targets(expand("outer@a.test"), "m alice@a.test as boss\nr x@c.test as boss\nm bob@a.test as outer-owner\n");
    assert_targets(expand_from("news@a.test", "", false), "m alice@a.test\nr x@c.test\n"); /* null stays null */

    assert_int_equal(expand("shut@a.test").result, RESOLVE_CLOSED);
    assert_int_equal(expand_from("shut@a.test", "", false).result, RESOLVE_CLOSED);
    assert_int_equal(expand_from("shut@a.test", "bob@a.test", false).result, RESOLVE_CLOSED);
    assert_int_equal(expand_from("shut@a.test", "alice@c.test", false).result, RESOLVE_CLOSED);
    assert_targets(expand_from("shut@a.test", "bob@a.test", true),
                   "m alice@a.test as boss\nr Far.Away@c.test as boss\n");
    assert_int_equal(expand_from("shut@a.test", "ALICE+x@a.test", false).result, RESOLVE_TARGETS);
    assert_int_equal(expand_from("shut@a.test", "far.away@c.test", false).result, RESOLVE_TARGETS);
    assert_int_equal(expand_from("shut@a.test", "Boss@a.test", false).result, RESOLVE_TARGETS);
    assert_targets(expand("mix@a.test"), "m shut@a.test closed\nm bob@a.test\n");
}

static void test_postmaster_always_arrives(void **state)
{
    (void)state;
    people("alice@a.test mailbox\n");
    assert_targets(expand("postmaster@a.test"), "m postmaster@a.test\n");
    assert_targets(expand("ABUSE@b.test"), "m postmaster@b.test\n");
    postmaster = STR("Alice");
    assert_targets(expand("abuse@a.test"), "m alice@a.test\n");
    assert_targets(expand("postmaster@b.test"), "m postmaster@b.test\n"); /* there is no alice */

    static const char *const wrong[] = {
        "postmaster@a.test mailbox disabled\n",
        "postmaster@a.test alias ghost@a.test\n",
        "postmaster@a.test alias postmaster@a.test\n",
        "postmaster@a.test moved x@c.test reply=hide\n",
        "postmaster@a.test list owner=x@c.test\n",
        "postmaster@a.test list x@c.test closed\n",
        "*@a.test alias ghost@b.test\n",
        "alice@a.test alias ghost@b.test\n",
        "alice@a.test alias postmaster@a.test\n",
        "alice@a.test mailbox disabled\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        people(wrong[i]);
        assert_targets(expand("postmaster@a.test"), "m postmaster@a.test\n");
    }
    people("postmaster@a.test alias ghost@a.test bob@a.test\nbob@a.test mailbox\n");
    assert_targets(expand("postmaster@a.test"), "m ghost@a.test absent\nm bob@a.test\n");
    people("*@a.test alias bob@a.test\nbob@a.test mailbox\n");
    assert_targets(expand("postmaster@a.test"), "m bob@a.test\n");
    assert_targets(expand("anything@a.test"), "m bob@a.test\n");
}

static void test_failures(void **state)
{
    struct resolution   r;
    struct arena        small;
    struct mail_address a = parse("team@a.test");

    (void)state;
    people("team@a.test alias alice@a.test b@c.test c@c.test d@c.test e@c.test\nalice@a.test mailbox\n");
    arena_init(&small, 512, 900);
    assert_false(directory_expand(&world, &a, &(struct expansion_sender){0}, &small, &r, &err));
    assert_int_equal(r.result, RESOLVE_FAILED);
    assert_int_equal(err.class, ERR_LIMIT);
    arena_done(&small);
    unlink(path);
    assert_int_equal(expand("team@a.test").result, RESOLVE_FAILED);
    assert_int_equal(expand("nobody@a.test").result, RESOLVE_FAILED);
    assert_int_equal(expand("postmaster@a.test").result, RESOLVE_FAILED);
    assert_targets(expand("x@c.test"), "r x@c.test\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_single, each_set_up),
        cmocka_unit_test_setup(test_nested, each_set_up),
        cmocka_unit_test_setup(test_loops, each_set_up),
        cmocka_unit_test_setup(test_depth_and_size, each_set_up),
        cmocka_unit_test_setup(test_lists, each_set_up),
        cmocka_unit_test_setup(test_postmaster_always_arrives, each_set_up),
        cmocka_unit_test_setup(test_failures, each_set_up),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
