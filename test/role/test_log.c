/* Log lines: quoting, forged lines, both forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "role/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int   file; /* what the log writes */
static FILE *reader;
static char  line[64 * 1024];

static int open_log(enum log_form form, enum log_level least)
{
    char path[] = "/tmp/tacit-test-XXXXXX";

    file = mkstemp(path);
    if (file < 0)
        return -1;
    reader = fopen(path, "r");
    unlink(path);
    log_init(form, least, "master", file);
    return reader ? 0 : -1;
}

static int text_log(void **state)
{
    (void)state;
    return open_log(LOG_TEXT, LOG_LEVEL_INFO);
}

static int json_log(void **state)
{
    (void)state;
    return open_log(LOG_JSON, LOG_LEVEL_DEBUG);
}

static int close_log(void **state)
{
    (void)state;
    fclose(reader);
    return 0;
}

static const char *next_line(void)
{
    log_flush();
    clearerr(reader);
    if (!fgets(line, sizeof line, reader))
        return NULL;
    return line;
}

/* The value of the only key of a text line, as written. */
static const char *written(struct str value)
{
    static char text[16 * 1024];
    const char *at;

    assert_true(log_begin(LOG_LEVEL_INFO, "session"));
    log_str("helo", value);
    log_end();
    assert_non_null(next_line());
    at = strstr(line, " helo=");
    assert_non_null(at);
    snprintf(text, sizeof text, "%s", at + 6);
    assert_true(strchr(text, '\n') && strchr(text, '\n')[1] == '\0');
    *strchr(text, '\n') = '\0';
    assert_null(next_line()); /* one line, whatever the value */
    return text;
}

static void values_are_quoted_when_they_could_mislead(void **state)
{
    (void)state;
    assert_string_equal(written(STR("client.example")), "client.example");
    assert_string_equal(written(STR("<a@b>")), "<a@b>");
    assert_string_equal(written(STR("m\xc3\xbcller")), "m\xc3\xbcller");
    assert_string_equal(written(STR("")), "\"\"");
    assert_string_equal(written(STR("a b")), "\"a b\"");
    assert_string_equal(written(STR("a=b")), "\"a=b\"");
    assert_string_equal(written(STR("a\"b\\")), "\"a\\\"b\\\\\"");
    assert_string_equal(written(STR("x\r\n2026-11-21T10:12:17.123Z info session result=accepted")),
                        "\"x\\r\\n2026-11-21T10:12:17.123Z info session result=accepted\"");
    assert_string_equal(written(STR("\x1b[2J\x7f\t")), "\"\\u001b[2J\\u007f\\t\"");
    assert_string_equal(written(STR("a\0b")), "\"a\\u2400b\"");
    assert_string_equal(written(STR("\xff\xc3")), "\"\\u00ff\\u00c3\"");
    assert_string_equal(written(STR("\xc2\x85")), "\"\\u0085\"");     /* next line */
    assert_string_equal(written(STR("\xe2\x80\xa8")), "\"\\u2028\""); /* line separator */
    assert_string_equal(written(STR("a\xe2\x80\xae"
                                    "b")),
                        "\"a\\u202eb\"");                                           /* right to left from here */
    assert_string_equal(written(STR("\xed\xa0\x80")), "\"\\u00ed\\u00a0\\u0080\""); /* surrogate */
}

static void every_octet_survives_json(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b += a < 0x20 || a > 0x7e ? 1 : 17) {
            char    value[2] = {(char)a, (char)b};
            json_t *j;

            assert_true(log_begin(LOG_LEVEL_WARNING, "session"));
            log_str("helo", str_of(value, 2));
            log_u64("size", INT64_MAX);
            log_end();
            assert_non_null(next_line());
            j = json_loads(line, 0, NULL);
            assert_non_null(j);
            assert_string_equal(json_string_value(json_object_get(j, "kind")), "session");
            assert_string_equal(json_string_value(json_object_get(j, "level")), "warning");
            assert_int_equal(json_object_size(j), 5);
            if (a >= 0x20 && a < 0x7f && b >= 0x20 && b < 0x7f)
                assert_memory_equal(json_string_value(json_object_get(j, "helo")), value, 2);
            json_decref(j);
            assert_null(next_line());
        }
}

static void long_values_and_lines_are_cut(void **state)
{
    char *data = malloc(100000);

    (void)state;
    memset(data, '\x01', 100000);
    assert_true(strlen(written(str_of(data, 100000))) <= 6 * 1000 + 2);
    assert_true(log_begin(LOG_LEVEL_INFO, "session"));
    for (int i = 0; i < 50; i++)
        log_str("reply", str_of(data, 900));
    log_z("reason", "fits");
    log_end();
    assert_non_null(next_line());
    assert_true(strlen(line) <= 16 * 1024);
    assert_true(line[strlen(line) - 1] == '\n');
    assert_non_null(strstr(line, " reason=fits\n"));
    assert_null(next_line());
    free(data);
}

static void levels_and_time(void **state)
{
    int year, ms;

    (void)state;
    assert_false(log_begin(LOG_LEVEL_DEBUG, "session"));
    log_str("client", STR("x"));
    log_u64("size", 1);
    log_end();
    assert_null(next_line());
    log_notice(LOG_LEVEL_DEBUG, "no");
    log_notice(LOG_LEVEL_ERROR, "disk %d%% full", 99);
    assert_non_null(next_line());
    assert_int_equal(sscanf(line, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ error notice", &year, &ms), 2);
    assert_true(year >= 2024);
    assert_non_null(strstr(line, "Z error notice role=master text=\"disk 99% full\"\n"));
    assert_null(next_line());
}

static bool means(unsigned code, const char *status, const char *text, const char *wanted)
{
    assert_true(log_begin(LOG_LEVEL_INFO, "attempt"));
    log_meaning(code, str_from(status), str_from(text));
    log_end();
    assert_non_null(next_line());
    return wanted ? strstr(line, "\"means\":\"") && strstr(line, wanted) : !strstr(line, "means");
}

static void replies_are_explained_to_who_looks_closely(void **state)
{
    (void)state;
    assert_true(means(550, "5.1.1", "550 5.1.1 No such user", "The mailbox does not exist"));
    assert_true(means(550, "5.1.1", "No such user", "The mailbox does not exist"));
    assert_true(means(0, "5.1.10", "", "null MX"));
    assert_true(means(451, "", "Greylisted, try again", "puts off"));
    assert_true(means(250, "2.0.0", "Ok", NULL));
    assert_true(means(0, "", "", NULL));
    log_init(LOG_JSON, LOG_LEVEL_INFO, "master", file);
    assert_true(means(550, "5.1.1", "No such user", NULL));
}

static void a_new_file_gets_the_next_lines(void **state)
{
    char  path[] = "/tmp/tacit-test-XXXXXX";
    int   fd = mkstemp(path);
    FILE *second = fopen(path, "r");

    (void)state;
    unlink(path);
    log_notice(LOG_LEVEL_INFO, "first");
    log_reopen(fd);
    log_notice(LOG_LEVEL_INFO, "second");
    assert_non_null(next_line());
    assert_non_null(strstr(line, "text=first"));
    assert_null(next_line());
    assert_non_null(fgets(line, sizeof line, second));
    assert_non_null(strstr(line, "text=second"));
    fclose(second);
}

static void round_stop(void *arg) { io_loop_stop(arg); }

static void say_twice(void *arg)
{
    (void)arg;
    log_notice(LOG_LEVEL_INFO, "one");
    log_notice(LOG_LEVEL_INFO, "two");
    clearerr(reader);
    assert_null(fgets(line, sizeof line, reader)); /* not before the end of the round */
}

static void lines_go_out_at_the_end_of_a_round(void **state)
{
    struct io_loop  *loop = io_loop_new(NULL);
    struct io_timer *say = io_timer_new(loop, say_twice, NULL), *stop = io_timer_new(loop, round_stop, loop);

    (void)state;
    log_attach(loop);
    io_timer_start(say, 1, 0);
    io_timer_start(stop, 30, 0);
    io_loop_run(loop);
    clearerr(reader);
    assert_non_null(fgets(line, sizeof line, reader));
    assert_non_null(fgets(line, sizeof line, reader));
    assert_non_null(strstr(line, "text=two"));
    io_timer_free(say);
    io_timer_free(stop);
    io_loop_free(loop);
}

/* Standard error is a pipe that is full: the file gets every line all the same, and says later what is missing. */
static void a_stuck_reader_of_standard_error_stops_nothing(void **state)
{
    int    saved = dup(STDERR_FILENO), fds[2];
    char   octets[4096];
    size_t lines = 0;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    log_init(LOG_TEXT, LOG_LEVEL_INFO, "master", file); /* looks at what standard error is */
    for (int i = 0; i < 2000; i++) {
        log_notice(LOG_LEVEL_INFO, "line %d that makes the pipe full, for nobody reads it, so that it must be left", i);
        log_flush();
    }
    while (next_line())
        lines++;
    assert_int_equal(lines, 2000);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while (read(fds[0], octets, sizeof octets) > 0)
        ;
    log_notice(LOG_LEVEL_INFO, "read again");
    assert_non_null(strstr(next_line(), "read again"));
    assert_non_null(strstr(next_line(), "octets of log are missing on standard error"));
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);
    log_init(LOG_TEXT, LOG_LEVEL_INFO, "master", file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_are_quoted_when_they_could_mislead, text_log, close_log),
        cmocka_unit_test_setup_teardown(every_octet_survives_json, json_log, close_log),
        cmocka_unit_test_setup_teardown(replies_are_explained_to_who_looks_closely, json_log, close_log),
        cmocka_unit_test_setup_teardown(long_values_and_lines_are_cut, text_log, close_log),
        cmocka_unit_test_setup_teardown(levels_and_time, text_log, close_log),
        cmocka_unit_test_setup_teardown(a_new_file_gets_the_next_lines, text_log, close_log),
        cmocka_unit_test_setup_teardown(a_stuck_reader_of_standard_error_stops_nothing, text_log, close_log),
        cmocka_unit_test_setup_teardown(lines_go_out_at_the_end_of_a_round, text_log, close_log),
    };

    if (!freopen("/dev/null", "w", stderr))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
