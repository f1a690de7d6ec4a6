/* The work of a delivery without one: what is left behind, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/even.h"
#include "deliver/maildir.h"

enum { THREADS = 8, TIMES = 20 };

static char root[] = "/tmp/test-even-XXXXXX";
static char path[200];

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test-even-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(path, sizeof path, "%s/a/.nobody", root);
    return 0;
}

static int teardown(void **state)
{
    static const char *const parts[] = {
        "a/.nobody/new/last", "a/.nobody/new", "a/.nobody/cur", "a/.nobody/tmp", "a/.nobody", "a", ""};
    char at[300];

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(at, sizeof at, "%s/%s", root, parts[i]);
        remove(at);
    }
    return access(root, F_OK) == 0 ? -1 : 0; /* nothing else was made */
}

static long size_of_last(void)
{
    struct stat st;
    char        at[300];

    snprintf(at, sizeof at, "%s/new/last", path);
    return stat(at, &st) == 0 ? (long)st.st_size : -1;
}

static void test_one_file_stays(void **state)
{
    (void)state;
    even_write(path, 1000);
    assert_int_equal(size_of_last(), 1000);
    even_write(path, 200000);
    assert_int_equal(size_of_last(), 200000);
    even_write(path, 0);
    assert_int_equal(size_of_last(), 0);
}

static void *write_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < TIMES; i++)
        even_write(path, 5000);
    return NULL;
}

static void test_several_at_once(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(size_of_last(), 5000);
}

static void test_what_cannot_be_made_is_left(void **state)
{
    (void)state;
    even_write("/proc/nowhere/.nobody", 10);
}

static void test_its_place_is_no_mailbox(void **state)
{
    const struct str template = STR("mail/{domain}/{local}/box");
    struct buf nobody, mailbox;

    (void)state;
    buf_init(&nobody, 1000);
    buf_init(&mailbox, 1000);
    assert_true(maildir_path_nobody(template, STR("/d"), STR("x.test"), &nobody));
    assert_true(str_eq(buf_str(&nobody), STR("/d/mail/x.test/.nobody/box")));
    assert_true(maildir_path(template, STR("/d"), STR(".nobody"), STR("x.test"), &mailbox, NULL));
    assert_true(str_eq(buf_str(&mailbox), STR("/d/mail/x.test/%2Enobody/box")));
    buf_clear(&nobody);
    assert_false(maildir_path_nobody(STR("mail/{domain}"), STR("/d"), STR("x.test"), &nobody));
    buf_done(&nobody);
    buf_done(&mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_file_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_at_once, setup, teardown),
        cmocka_unit_test(test_what_cannot_be_made_is_left),
        cmocka_unit_test(test_its_place_is_no_mailbox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
