/* test_file.c: what is particular to a directory in a text file: people edit it. */
#include "files.h"

#include "directory/directory.h"
#include "directory/file_text.h"

#include "io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char         base[] = "/tmp/tacit-file-XXXXXX";
static char         path[64];
static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof path, "%s/users", base);
    arena_init(&arena, 4096, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    return files_remove(base) ? 0 : -1;
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w"); /* in place, as some editors do */

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_file(const char *text)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    assert_true(io_file_read_all(path, &b, NULL));
    assert_string_equal(b.data, text);
    buf_done(&b);
}

static enum directory_find find(struct directory *d, const char *local, struct directory_entry *e, struct err *err)
{
    return directory_get(d, str_from(local), STR("example.test"), &arena, e, err);
}

static void test_comments_survive_changes(void **state)
{
    struct str             to = STR("#new@x.test");
    struct err             err = {0};
    struct directory      *d;
    struct directory_entry e = {.local = STR("new"), .domain = STR("example.test")};

    (void)state;
    write_file("# our people\n"
               "\n"
               "Alice@Example.Test  mailbox   quota=1G   # the boss\n"
               "bob@example.test mailbox\n"
               "\t# a comment after a tab\n"
               "team@example.test alias alice@EXAMPLE.test \"o'hara, pat\"@x.test # both\r\n"
               "last@example.test mailbox # no line end");
    assert_int_equal(chmod(path, 0640), 0);
    d = directory_open("file:users", base, 0, &err);
    if (!d)
        fail_msg("%s", err.text);
    assert_int_equal(find(d, "alice", &e, &err), DIRECTORY_FOUND);
    assert_int_equal(e.quota, 1 << 30);
    e.disabled = true;
    assert_true(directory_update(d, &e, &err));
    assert_true(directory_remove(d, STR("BOB"), STR("example.test"), &err));
    assert_int_equal(find(d, "team", &e, &err), DIRECTORY_FOUND);
    assert_int_equal(e.target_count, 2);
    assert_memory_equal(e.targets[0].data, "alice@example.test", e.targets[0].len); /* canonical */
    e = (struct directory_entry){
        .kind = ENTRY_ALIAS, .local = STR("#odd"), .domain = STR("example.test"), .targets = &to, .target_count = 1};
    assert_true(directory_add(d, &e, &err));
    assert_file("# our people\n"
                "\n"
                "Alice@example.test mailbox quota=1073741824 disabled # the boss\n"
                "\t# a comment after a tab\n"
                "team@example.test alias alice@EXAMPLE.test \"o'hara, pat\"@x.test # both\r\n"
                "last@example.test mailbox # no line end\n"
                "\"#odd\"@example.test alias \"#new\"@x.test\n");
    assert_int_equal(find(d, "#odd", &e, &err), DIRECTORY_FOUND);
    assert_memory_equal(e.targets[0].data, "#new@x.test", e.targets[0].len);

    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    directory_close(d);
}

static void test_edits_are_seen(void **state)
{
    struct err             err = {0};
    struct directory_entry e;
    struct directory      *d;

    (void)state;
    write_file("a@example.test mailbox\n");
    d = directory_open("file:users", base, 0, &err);
    assert_non_null(d);
    for (int i = 0; i < 200; i++) { /* the same length within the same tick of the clock */
        write_file(i % 2 ? "a@example.test mailbox\n" : "b@example.test mailbox\n");
        assert_int_equal(find(d, i % 2 ? "a" : "b", &e, &err), DIRECTORY_FOUND);
        assert_int_equal(find(d, i % 2 ? "b" : "a", &e, &err), DIRECTORY_FAILED); /* not absent: it is young */
    }
    directory_close(d);
}

static void test_mistakes_are_named(void **state)
{
    static const struct {
        const char *text, *line, *says;
    } bad[] = {
        {"a@example.test\n", ":1: ", "mailbox, alias"},
        {"\n# x\nalice mailbox\n", ":3: ", "alice"},
        {"a@example.test mailbox quotas=1G\n", ":1: ", "quotas=1G"},
        {"a@example.test mailbox quota=1X\n", ":1: ", "quota=1X"},
        {"a@example.test mailbox quota=99999999T\n", ":1: ", "quota"},
        {"a@example.test mailbox quota=\n", ":1: ", "quota"},
        {"a@example.test mailbox b@example.test\n", ":1: ", "no targets"},
        {"a@example.test alias\n", ":1: ", "needs a target"},
        {"a@example.test alias b@\n", ":1: ", "b@"},
        {"a@example.test moved b@x.test reply=552\n", ":1: ", "552"},
        {"a@example.test mailbox\nA@EXAMPLE.test mailbox\n", ":2: ", "line 1"},
        {"*@example.test mailbox\n", ":1: ", "catch-all"},
        {"a@example.test alias \"b c@x.test\n", ":1: ", "address"},
        {"a@example.test mailbox \x01\n", ":1: ", "option"},
        {"\xff@example.test mailbox\n", ":1: ", "address"},
        {"<a@example.test> mailbox\n", ":1: ", "address"},
        {"a@example.test mailbox password=a\x7f\n", ":1: ", "hash"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};

        write_file(bad[i].text);
        if (directory_open("file:users", base, 0, &err))
            fail_msg("taken: %s", bad[i].text);
        if (!strstr(err.text, path) || !strstr(err.text, bad[i].line) || !strstr(err.text, bad[i].says))
            fail_msg("%s gives: %s", bad[i].text, err.text);
    }
}

static void test_a_wrong_edit_answers_nothing(void **state)
{
    struct err             err = {0};
    struct directory_entry e = {.local = STR("c"), .domain = STR("example.test")};
    struct directory      *d;

    (void)state;
    write_file("a@example.test mailbox\n");
    d = directory_open("file:users", base, 0, &err);
    assert_non_null(d);
    write_file("a@example.test mailbox\nb@example.test mailbx\n");
    assert_int_equal(find(d, "a", &e, &err), DIRECTORY_FAILED);
    assert_int_equal(find(d, "zz", &e, &err), DIRECTORY_FAILED);
    assert_non_null(strstr(err.text, ":2: "));
    assert_false(directory_add(d, &(struct directory_entry){.local = STR("c"), .domain = STR("example.test")}, &err));
    assert_file("a@example.test mailbox\nb@example.test mailbx\n"); /* nobody's work is lost */
    write_file("a@example.test mailbox\nb@example.test mailbox\n");
    assert_int_equal(find(d, "b", &e, &err), DIRECTORY_FOUND);
    directory_close(d);
}

static void test_a_new_file_explains_itself(void **state)
{
    struct err        err = {0};
    struct directory *d;
    struct stat       st;

    (void)state;
    unlink(path);
    d = directory_open("file:users", base, DIRECTORY_CREATE, &err);
    if (!d)
        fail_msg("%s", err.text);
    directory_close(d);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_true(io_file_read_all(path, &b, NULL));
    assert_true(str_eq(buf_str(&b), directory_file_header));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comments_survive_changes),   cmocka_unit_test(test_edits_are_seen),
        cmocka_unit_test(test_mistakes_are_named),         cmocka_unit_test(test_a_wrong_edit_answers_nothing),
        cmocka_unit_test(test_a_new_file_explains_itself),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
