/* Delivery into real directories: names, bytes, quota, several threads at once, and addresses that want out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#include "deliver/maildir.h"
#include "deliver/quota.h"
#include "io/file.h"

enum { DIR_MAX = 200, FILE_MAX = 600 };

static char root[] = "/tmp/test-maildir-XXXXXX";

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test-maildir-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return files_remove(root) ? 0 : -1;
}

/* How many files are in `maildir`/`part`; the name of one of them. */
static unsigned list(const char *maildir, const char *part, char ret_path[FILE_MAX])
{
    char           at[DIR_MAX + 8];
    DIR           *dir;
    struct dirent *e;
    unsigned       count = 0;

    snprintf(at, sizeof at, "%s/%s", maildir, part);
    dir = opendir(at);
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.') {
            count++;
            if (ret_path)
                snprintf(ret_path, FILE_MAX, "%s/%s", at, e->d_name);
        }
    if (dir)
        closedir(dir);
    return count;
}

static void path_is(const char *template, struct str local, struct str domain, const char *wanted)
{
    struct buf out;
    struct err err;

    buf_init(&out, PATH_MAX);
    assert_true(maildir_path(str_from(template), STR("/d"), local, domain, &out, &err));
    assert_string_equal(out.data, wanted);
    buf_done(&out);
}

static void test_path(void **state)
{
    struct buf out;
    struct err err;
    char       longest[300];

    (void)state;
    path_is("mail/{domain}/{local}", STR("alice"), STR("x.test"), "/d/mail/x.test/alice");
    path_is("/var/{local}", STR("a"), STR("x.test"), "/var/a");
    path_is("m/{domain}/{local}", STR(".."), STR("x.test"), "/d/m/x.test/%2E.");
    path_is("m/{domain}/{local}", STR("."), STR("x.test"), "/d/m/x.test/%2E");
    path_is("m/{domain}/{local}", STR("../../etc/passwd"), STR("x.test"), "/d/m/x.test/%2E.%2F..%2Fetc%2Fpasswd");
    path_is("m/{domain}/{local}", STR("a%2Fb"), STR("x.test"), "/d/m/x.test/a%252Fb");
    path_is("m/{domain}/{local}", STR("a\0b\n\x7f"), STR("x.test"), "/d/m/x.test/a%00b%0A%7F");
    path_is("m/{local}/{", STR("{domain}"), STR("x.test"), "/d/m/{domain}/{");
    path_is("m/{local}", STR("j\xc3\xbcrgen"), STR("x.test"), "/d/m/j\xc3\xbcrgen");
    buf_init(&out, PATH_MAX);
    memset(longest, '/', sizeof longest); /* each becomes three octets */
    assert_true(maildir_path(STR("{local}"), STR("/d"), str_of(longest, 85), STR("x"), &out, &err));
    assert_false(maildir_path(STR("{local}"), STR("/d"), str_of(longest, 86), STR("x"), &out, &err));
    assert_false(maildir_path(STR("{local}"), STR("/d"), STR_NONE, STR("x"), &out, &err));
    buf_done(&out);
}

static void stored_is(const char *file, struct str wanted)
{
    struct buf out;
    struct err err;

    buf_init(&out, 1 << 26);
    assert_true(io_file_read_all(file, &out, &err));
    assert_int_equal(out.len, wanted.len);
    assert_memory_equal(out.data, wanted.data, wanted.len);
    buf_done(&out);
}

static void test_deliver(void **state)
{
    struct err              err;
    char                    path[DIR_MAX], file[FILE_MAX], sizes[64];
    struct maildir_delivery d = {.path = path,
                                 .id = (uint64_t)1700000000123 << 22 | 5,
                                 .mailbox = STR("alice@x.test"),
                                 .head = STR("Return-Path: <>\r\n"),
                                 .content = STR("A: b\r\n\r\nx\ry\r\n"),
                                 .content_fd = -1,
                                 .hostname = "a/b:c,d.test"};
    struct str              wanted = STR("Return-Path: <>\nA: b\n\nx\ry\n");
    struct stat             st;

    (void)state;
    snprintf(path, sizeof path, "%s/mail/x.test/alice", root);
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_DELIVERED);
    assert_int_equal(list(path, "new", file), 1);
    assert_int_equal(list(path, "tmp", NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    stored_is(file, wanted);
    snprintf(sizes, sizeof sizes, ",S=%zu,W=%zu", wanted.len, wanted.len + 4);
    assert_non_null(strstr(file, sizes));
    assert_non_null(strstr(file, ".a\\057b\\072c\\054d.test,S="));
    assert_non_null(strstr(file, "/new/1700000000.M123000Q"));
    assert_int_equal(unlink(file), 0);
    d.binary = true;
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_DELIVERED);
    assert_int_equal(list(path, "new", file), 1);
    stored_is(file, STR("Return-Path: <>\r\nA: b\r\n\r\nx\ry\r\n"));
}

/* Line ends at every place of the pieces that a file is read in; one descriptor for several deliveries. */
static void test_deliver_file(void **state)
{
    enum { LEN = 3 * 65536 };
    struct err              err;
    char                    path[DIR_MAX], file[FILE_MAX], body[DIR_MAX];
    char                   *crlf = malloc(LEN), *lf = malloc(LEN);
    size_t                  lf_len = 0;
    int                     fd;
    struct maildir_delivery d = {.path = path, .hostname = "h"};

    (void)state;
    for (size_t i = 0; i < LEN; i++) {
        crlf[i] = (i % 7) == 5 ? '\r' : (i % 7) == 6 ? '\n' : 'x';
        if (i >= 65530 && i < 65540)
            crlf[i] = i % 2 ? '\n' : '\r';
    }
    crlf[LEN - 1] = '\r'; /* ends in half a line end */
    for (size_t i = 0; i < LEN; i++)
        if (crlf[i] != '\r' || i + 1 == LEN || crlf[i + 1] != '\n')
            lf[lf_len++] = crlf[i];
    snprintf(body, sizeof body, "%s/body", root);
    snprintf(path, sizeof path, "%s/mail", root);
    assert_true(io_file_write_atomic(body, 0600, str_of(crlf, LEN), &err));
    fd = open(body, O_RDONLY);
    d.content_fd = fd;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(maildir_deliver(&d, &err), MAILDIR_DELIVERED);
        assert_int_equal(list(path, "new", file), 1);
        stored_is(file, str_of(lf, lf_len));
        unlink(file);
    }
    close(fd);
    free(crlf);
    free(lf);
}

static void test_fails(void **state)
{
    struct err              err = {0};
    char                    path[DIR_MAX], in_the_way[DIR_MAX];
    struct maildir_delivery d = {.path = path, .content = STR("x\r\n"), .content_fd = -1, .hostname = "h"};

    (void)state;
    snprintf(in_the_way, sizeof in_the_way, "%s/file", root);
    assert_true(io_file_write_atomic(in_the_way, 0600, STR("x"), &err));
    snprintf(path, sizeof path, "%s/file/alice", root);
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_FAILED);
    assert_true(err.text[0] != 0);
    d.content_fd = 9999; /* cannot be read: nothing may be left in tmp */
    snprintf(path, sizeof path, "%s/alice", root);
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_FAILED);
    assert_int_equal(list(path, "tmp", NULL), 0);
    assert_int_equal(list(path, "new", NULL), 0);
}

/* Another message each time. */
static enum maildir_result deliver_next(struct maildir_delivery *d, struct err *err)
{
    d->id++;
    return maildir_deliver(d, err);
}

static void test_quota(void **state)
{
    struct err              err;
    char                    path[DIR_MAX], size_file[FILE_MAX], file[FILE_MAX], folder[DIR_MAX + 16];
    char                    content[100];
    struct maildir_delivery d = {
        .path = path, .content = str_of(content, 100), .content_fd = -1, .hostname = "h", .quota = 250};
    struct timespec long_ago[2];
    bool            fits;
    uint64_t        used;

    (void)state;
    memset(content, 'x', sizeof content);
    snprintf(path, sizeof path, "%s/q", root);
    snprintf(size_file, sizeof size_file, "%s/maildirsize", path);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_DELIVERED);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_DELIVERED);
    stored_is(size_file, STR("250S\n0 0\n100 1\n100 1\n"));
    assert_int_equal(deliver_next(&d, &err), MAILDIR_OVER_QUOTA);
    assert_int_equal(list(path, "new", NULL), 2);
    assert_int_equal(list(path, "tmp", NULL), 0);
    /* What an empty mailbox would not hold either is told apart, also when not an octet has room. */
    d.content = STR("0123456789\r\n");
    d.quota = 11;
    assert_int_equal(deliver_next(&d, &err), MAILDIR_OVER_QUOTA); /* 11 octets: line ends get shorter */
    d.quota = 10;
    assert_int_equal(deliver_next(&d, &err), MAILDIR_TOO_LARGE);
    assert_string_equal(err.text, "the message has 11 octets, more than the 10 that the mailbox may hold");
    assert_int_equal(list(path, "new", NULL), 2);
    assert_int_equal(list(path, "tmp", NULL), 0);
    d.content = str_of(content, 100);
    d.quota = 250;
    quota_forget(path);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_OVER_QUOTA);
    /* Somebody removes one without a word: the fresh count stands for a while, then it is made anew. */
    stored_is(size_file, STR("250S\n200 2\n"));
    list(path, "new", file);
    unlink(file);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_OVER_QUOTA);
    clock_gettime(CLOCK_REALTIME, &long_ago[0]);
    long_ago[0].tv_sec -= 16 * 60;
    long_ago[1] = long_ago[0];
    assert_int_equal(utimensat(AT_FDCWD, size_file, long_ago, 0), 0);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_DELIVERED);
    stored_is(size_file, STR("250S\n100 1\n100 1\n"));
    /* Another limit: counted anew, with folders. */
    snprintf(folder, sizeof folder, "%s/.Sent", path);
    mkdir(folder, 0700);
    strcat(folder, "/cur");
    mkdir(folder, 0700);
    snprintf(file, sizeof file, "%s/1.M1P1Q1.h,S=700:2,S", folder);
    assert_true(io_file_write_atomic(file, 0600, STR("x"), &err));
    assert_true(quota_fits(path, 1000, 100, &fits, &used, &err));
    assert_true(fits && used == 900);
    assert_true(quota_fits(path, 1000, 101, &fits, &used, &err));
    assert_false(fits);
    d.quota = 1000;
    assert_int_equal(deliver_next(&d, &err), MAILDIR_DELIVERED);
    assert_int_equal(deliver_next(&d, &err), MAILDIR_OVER_QUOTA);
    /* What is no such file is made anew, whatever it holds. */
    static const char *const bad[] = {"",
                                      "x",
                                      "1000S",
                                      "1000S\n1",
                                      "1000S\n1 1",
                                      "1000S\n-5 1\n",
                                      "1000S\n1 1\nx",
                                      "1000S\n9223372036854775807 1\n1 1\n",
                                      "99999999999999999999999S\n"};
    static const char        zeros[] = "1000S\n1 1\n\0\0\0\0"; /* the tail that a power cut leaves */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(io_file_write_atomic(size_file, 0600, str_from(bad[i]), &err));
        assert_true(quota_fits(path, 1000, 1, &fits, &used, &err));
        assert_int_equal(used, 1000);
        assert_false(fits);
    }
    assert_true(io_file_write_atomic(size_file, 0600, str_of(zeros, sizeof zeros), &err));
    assert_true(quota_fits(path, 1000, 1, &fits, &used, &err) && !fits && used == 1000);
    /* Sizes that no sum can hold make it full, not empty. */
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof file, "%s/%d.x,S=%llu", folder, i, (unsigned long long)INT64_MAX / 2);
        assert_true(io_file_write_atomic(file, 0600, STR("x"), &err));
    }
    unlink(size_file);
    assert_true(quota_fits(path, 10000, 5, &fits, &used, &err));
    assert_false(fits);
}

static void *deliver_many(void *arg)
{
    static atomic_uint      thread;
    struct maildir_delivery d = *(struct maildir_delivery *)arg;
    struct err              err;

    d.id = (uint64_t)(atomic_fetch_add(&thread, 1) + 1) << 22;
    for (int i = 0; i < 50; i++)
        if (deliver_next(&d, &err) != MAILDIR_DELIVERED)
            return arg;
    return NULL;
}

/* A delivery of which nobody knows how far it came. */
static void test_look(void **state)
{
    struct err              err;
    char                    path[DIR_MAX], file[FILE_MAX], moved[FILE_MAX + 8], tmp[FILE_MAX];
    struct maildir_delivery d = {.path = path,
                                 .id = (uint64_t)1700000000123 << 22 | 77,
                                 .mailbox = STR("a@x.test"),
                                 .content = STR("x\r\n"),
                                 .content_fd = -1,
                                 .hostname = "h",
                                 .quota = 1000,
                                 .look = true};
    struct maildir_delivery other = d, elsewhere = d;
    bool                    fits;
    uint64_t                used;

    (void)state;
    snprintf(path, sizeof path, "%s/look", root);
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_DELIVERED); /* not there, nor the mailbox: delivered */
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_FOUND);
    d.hostname = "renamed";
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_FOUND);
    assert_int_equal(list(path, "new", file), 1);
    /* The reader has seen it. */
    snprintf(moved, sizeof moved, "%s/cur/%s:2,FS", path, strrchr(file, '/') + 1);
    assert_int_equal(rename(file, moved), 0);
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_FOUND);
    assert_int_equal(list(path, "new", NULL), 0);
    assert_true(quota_fits(path, 1000, 1, &fits, &used, &err));
    assert_int_equal(used, 2); /* counted anew */
    /* Another message, and another mailbox that lies in the same place, are others. */
    other.id++;
    elsewhere.mailbox = STR("a@y.test");
    assert_int_equal(maildir_deliver(&other, &err), MAILDIR_DELIVERED);
    assert_int_equal(maildir_deliver(&elsewhere, &err), MAILDIR_DELIVERED);
    assert_int_equal(list(path, "new", file), 2);
    /* What was left half-written is written anew. */
    assert_int_equal(unlink(moved), 0);
    d.hostname = "h";
    snprintf(tmp, sizeof tmp, "%s/tmp/%.*s", path, (int)(strchr(strrchr(moved, '/'), ',') - strrchr(moved, '/') - 1),
             strrchr(moved, '/') + 1);
    assert_true(io_file_write_atomic(tmp, 0600, STR("half"), &err));
    assert_int_equal(maildir_deliver(&d, &err), MAILDIR_DELIVERED);
    assert_int_equal(list(path, "tmp", NULL), 0);
    assert_int_equal(list(path, "new", NULL), 3);
}

static void test_threads(void **state)
{
    char                    path[DIR_MAX];
    struct maildir_delivery d = {
        .path = path, .content = STR("x\r\n"), .content_fd = -1, .hostname = "h", .quota = 1 << 20};
    pthread_t threads[4];
    bool      fits;
    uint64_t  used;

    (void)state;
    snprintf(path, sizeof path, "%s/deep/er/threads", root);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, deliver_many, &d), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(list(path, "new", NULL), 200);
    assert_int_equal(list(path, "tmp", NULL), 0);
    assert_true(quota_fits(path, 1 << 20, 1, &fits, &used, &(struct err){0}) && fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),    cmocka_unit_test(test_deliver), cmocka_unit_test(test_deliver_file),
        cmocka_unit_test(test_fails),   cmocka_unit_test(test_look),    cmocka_unit_test(test_quota),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
