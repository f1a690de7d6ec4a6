/* Files and directories, and the metrics server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "files.h"

#include "io/file.h"
#include "io/metrics.h"
#include "io/net.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char        dir[64], path[600];
static const char *in_dir(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tacit-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return files_remove(dir) ? 0 : -1;
}

static void a_file_is_written_whole_or_not_at_all(void **state)
{
    struct buf  b;
    struct err  err;
    struct stat st;
    mode_t      mask = umask(0);

    (void)state;
    buf_init(&b, 100);
    assert_true(io_file_write_atomic(in_dir("f"), 0640, STR("first"), &err));
    assert_true(io_file_write_atomic(in_dir("f"), 0600, STR("second\0x"), &err));
    assert_true(buf_append_z(&b, "+"));
    assert_true(io_file_read_all(in_dir("f"), &b, &err));
    assert_true(str_eq(buf_str(&b), STR("+second\0x")));
    assert_int_equal(stat(in_dir("f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(files_count(dir, ""), 1);

    assert_false(io_file_write_atomic(in_dir("none/f"), 0600, STR("x"), &err));
    assert_int_equal(err.os_error, ENOENT);
    assert_int_equal(mkdir(in_dir("d"), 0700), 0);
    assert_false(io_file_write_atomic(in_dir("d"), 0600, STR("x"), &err)); /* cannot replace a directory */
    assert_int_equal(files_count(dir, ""), 2);
    buf_done(&b);
    umask(mask);
}

static void reading_stops_at_the_ceiling(void **state)
{
    struct buf b;
    struct err err;
    char       data[5000];

    (void)state;
    memset(data, 'x', sizeof data);
    assert_true(io_file_write_atomic(in_dir("f"), 0600, str_of(data, sizeof data), &err));
    buf_init(&b, sizeof data);
    assert_true(io_file_read_all(in_dir("f"), &b, &err));
    assert_int_equal(b.len, sizeof data);
    buf_done(&b);
    buf_init(&b, sizeof data - 1);
    assert_false(io_file_read_all(in_dir("f"), &b, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    assert_true(b.len == 0 && buf_ok(&b));
    assert_false(io_file_read_all("/dev/zero", &b, &err));
    assert_int_equal(err.class, ERR_LIMIT);
    assert_false(io_file_read_all(dir, &b, &err));
    assert_int_equal(err.os_error, EISDIR);
    assert_false(io_file_read_all(in_dir("none"), &b, &err));
    assert_int_equal(err.os_error, ENOENT);
    buf_done(&b);
}

static void directories_are_made_with_their_mode(void **state)
{
    struct stat st;
    struct err  err;
    mode_t      mask = umask(077);

    (void)state;
    assert_true(io_mkdirs(in_dir("a/b//c/"), 02770, &err));
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 02770);
    assert_int_equal(stat(in_dir("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 02770);
    assert_true(io_mkdirs(in_dir("a/b/c"), 0700, &err));
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 02770);
    assert_true(io_mkdirs(in_dir("a/b/c/d"), 0770, &err)); /* files in it get the group as well */
    assert_int_equal(stat(in_dir("a/b/c/d"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 02770);
    assert_true(io_dir_sync(in_dir("a"), &err));
    assert_true(io_file_write_atomic(in_dir("f"), 0600, STR(""), &err));
    assert_false(io_mkdirs(in_dir("f/x"), 0700, &err));
    assert_false(io_mkdirs(in_dir("f"), 0700, &err));
    assert_int_equal(err.os_error, ENOTDIR);
    umask(mask);
}

static bool fill(struct buf *out, void *arg)
{
    bool *works = arg;

    return *works && buf_append_z(out, "tacit_x 1\n");
}

static void ask(const struct io_address *a, const char *request, char *answer, size_t size)
{
    int     fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t  used = 0;
    ssize_t n;

    assert_int_equal(connect(fd, (const void *)&a->storage, a->len), 0);
    assert_int_equal(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    while ((n = read(fd, answer + used, size - 1 - used)) > 0)
        used += (size_t)n;
    answer[used] = '\0';
    close(fd);
}

static void metrics_are_served_over_http(void **state)
{
    struct io_address  any[2], bound;
    size_t             count;
    struct err         err;
    struct io_metrics *m;
    bool               works = true;
    char               answer[4096];
    int                fd, shared, listens = 0;
    socklen_t          len = sizeof listens;

    (void)state;
    assert_true(io_address_parse(STR("127.0.0.1:0"), any, 2, &count, &err));
    fd = io_listen(&any[0], false, 0, &bound, &err);
    shared = dup(fd);
    m = io_metrics_start(fd, fill, &works, &err);
    assert_non_null(m);
    ask(&bound, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "\r\n\r\ntacit_x 1\n"));
    ask(&bound, "GET /metrics/../etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 404"));
    ask(&bound, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", answer,
        sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 405"));
    ask(&bound, "nonsense\r\n\r\n", answer, sizeof answer);
    assert_null(strstr(answer, "tacit_x"));
    works = false;
    ask(&bound, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, "HTTP/1.1 500"));
    io_metrics_stop(m);
    assert_int_equal(getsockopt(shared, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
    assert_true(listens); /* whoever else has the socket can go on with it */
    close(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_written_whole_or_not_at_all, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(reading_stops_at_the_ceiling, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(directories_are_made_with_their_mode, make_dir, remove_dir),
        cmocka_unit_test(metrics_are_served_over_http),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
