/* Passwords in files of their own: what such a file must be, who is told, and what is said of passwords elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUTE "hostname = mx.example.test\nroute a.example { via = \"smtp:h.example\"  user = u  %s }\n"

static char dir[] = "/tmp/test_password.XXXXXX", conf[64], secret[64];

static void put(const char *path, struct str text, mode_t mode)
{
    FILE *file;

    unlink(path);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.len, file), text.len);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static struct config *load(const char *settings, mode_t mode)
{
    char           text[256];
    struct err     err;
    struct config *c;

    snprintf(text, sizeof text, ROUTE, settings);
    put(conf, str_from(text), mode);
    c = config_load(conf, &err);
    if (!c)
        fail_msg("%s", err.text);
    return c;
}

/* Of a password that others may read, on its line. */
static bool warned(const struct config *c)
{
    for (size_t i = 0; i < c->warnings.count; i++)
        if (strstr(c->warnings.items[i], ":2: others may read this file (mode 06"))
            return true;
    return false;
}

static void reads(struct str content, const char *password)
{
    struct config *c = load("password_file = secret", 0644);
    struct err     err;

    put(secret, content, 0600);
    assert_string_equal(c->routes[0].password_file, secret); /* beside the configuration */
    assert_string_equal(c->routes[0].password, "");
    if (!config_read_passwords(c, false, &err))
        fail_msg("%s", err.text);
    assert_string_equal(c->routes[0].password, password);
    assert_false(warned(c));
    config_free(c);
}

/* "FILE:LINE: password_file: PATH" and what is wrong. */
static void refuses(const char *why)
{
    struct config *c = load("password_file = secret", 0644);
    struct err     err;
    char           start[256];

    snprintf(start, sizeof start, "%s:2: password_file: %s", conf, secret);
    for (int may_be_closed = 0; may_be_closed < 2; may_be_closed++) {
        assert_false(config_read_passwords(c, may_be_closed, &err));
        assert_true(str_starts(str_from(err.text), str_from(start)));
        if (!strstr(err.text, why))
            fail_msg("%s", err.text);
    }
    assert_string_equal(c->routes[0].password, "");
    config_free(c);
}

static void one_line_is_read(void **state)
{
    char longest[256];

    (void)state;
    reads(STR("p"), "p");
    reads(STR("one two # = \"'\n"), "one two # = \"'");
    reads(STR("windows\r\n"), "windows");
    memset(longest, 'x', sizeof longest);
    longest[255] = '\0';
    reads(str_from(longest), longest);
}

static void anything_else_is_refused(void **state)
{
    char long_one[4096];

    (void)state;
    memset(long_one, 'x', sizeof long_one);
    put(secret, STR("a\nb\n"), 0600);
    refuses("it has more lines");
    put(secret, STR("a\n\n"), 0600);
    refuses("it has more lines");
    put(secret, STR("a\0b"), 0600);
    refuses("it has a control character");
    put(secret, STR("a\tb"), 0600);
    refuses("it has a control character");
    put(secret, STR(""), 0600);
    refuses("no password in it");
    put(secret, STR("\r\n"), 0600);
    refuses("no password in it");
    put(secret, str_of(long_one, 256), 0600);
    refuses("has 256 octets: a password may have 255");
    put(secret, str_of(long_one, sizeof long_one), 0600);
    refuses("larger than");
    unlink(secret);
    refuses("No such file");
    assert_int_equal(mkdir(secret, 0700), 0);
    refuses("is not a file");
    rmdir(secret);
    assert_int_equal(mkfifo(secret, 0600), 0);
    refuses("is not a file"); /* and nobody is waited for */
    unlink(secret);
}

static void others_may_not_have_access(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0660, 0601, 0644};

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char why[32];

        put(secret, STR("p\n"), modes[i]);
        snprintf(why, sizeof why, "has mode %04o", (unsigned)modes[i]);
        refuses(why);
    }
    put(secret, STR("p\n"), 0400);
    reads(STR("p\n"), "p");
}

/* Root may read everything, so it becomes somebody else. */
static void who_may_not_read_it_is_told_so(void **state)
{
    int   status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    put(secret, STR("p\n"), 0600);
    assert_int_equal(chmod(dir, 0755), 0);
    pid = fork();
    if (pid == 0) {
        struct config *c = config_load(conf, NULL);
        struct err     err;

        if (!c || setuid(65534) != 0 || config_read_passwords(c, false, &err) || !strstr(err.text, "Permission denied"))
            _exit(1);
        if (!config_read_passwords(c, true, &err) || *c->routes[0].password)
            _exit(2);
        _exit(strstr(c->warnings.items[c->warnings.count - 1], "was not checked, for you may not read it") ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void only_the_carrier_is_told(void **state)
{
    struct config *c = load("password_file = secret", 0644), *again;
    struct buf     packed;
    struct err     err;

    (void)state;
    put(secret, STR("s3cret\n"), 0600);
    assert_true(config_read_passwords(c, false, &err));
    for (int told = 0; told < 2; told++) {
        buf_init(&packed, CONFIG_TEXT_MAX);
        assert_true(config_pack(c, told, &packed));
        assert_int_equal(str_find(buf_str(&packed), STR("s3cret")) != STR_NOT_FOUND, told);
        again = config_unpack(buf_str(&packed), &err);
        assert_non_null(again);
        assert_string_equal(again->routes[0].password, told ? "s3cret" : "");
        config_free(again);
        buf_done(&packed);
    }
    config_free(c);
}

static void one_of_the_two(void **state)
{
    struct err err;

    (void)state;
    put(conf,
        STR("hostname = a.example\nroute b.example { via = \"smtp:h.example\" user = u password = p password_file = f "
            "}\n"),
        0600);
    assert_null(config_load(conf, &err));
    assert_non_null(strstr(err.text, ":2: route \"b.example\" has password and password_file: keep one"));
    put(conf, STR("hostname = a.example\nroute b.example { via = \"smtp:h.example\" password_file = f }\n"), 0600);
    assert_null(config_load(conf, &err));
    assert_non_null(strstr(err.text, "needs both user and password"));
    put(conf, STR("hostname = a.example\nroute \"*\" { user = u password_file = f }\n"), 0600);
    assert_null(config_load(conf, &err));
    assert_non_null(strstr(err.text, "no server to tell it"));
}

static void a_password_that_others_may_read_is_warned_of(void **state)
{
    static const struct {
        const char *settings;
        mode_t      mode;
        bool        warned;
    } cases[] = {
        {"password = p", 0600, false},
        {"password = p", 0640, true},
        {"password = p", 0644, true},
        {"password_file = secret", 0644, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = load(cases[i].settings, cases[i].mode);

        assert_int_equal(warned(c), cases[i].warned);
        config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_is_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(others_may_not_have_access),
        cmocka_unit_test(who_may_not_read_it_is_told_so),
        cmocka_unit_test(only_the_carrier_is_told),
        cmocka_unit_test(one_of_the_two),
        cmocka_unit_test(a_password_that_others_may_read_is_warned_of),
    };
    int result;

    if (!mkdtemp(dir))
        return 1;
    snprintf(conf, sizeof conf, "%s/tacit.conf", dir);
    snprintf(secret, sizeof secret, "%s/secret", dir);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(conf);
    unlink(secret);
    rmdir(dir);
    return result;
}
