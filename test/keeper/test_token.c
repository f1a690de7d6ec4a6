/* test_token.c: what we signed is known again, and nothing else is. */
#include "files.h"

#include "keeper/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena     arena;
static struct token_key key = {{1, 2, 3}}, other = {{1, 2, 4}};
static const uint64_t   day = 86400000;
static const uint64_t   now = 20778 * UINT64_C(86400000) + 5;

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

static void test_message_ids(void **state)
{
    char       token[TOKEN_DIGITS + 1], id[128], text[200];
    struct str host = STR("mx.example.test");

    (void)state;
    assert_true(token_make(&key, STR("01jd3x8abcdef"), token));
    assert_int_equal(strlen(token), TOKEN_DIGITS);
    snprintf(id, sizeof id, "<01jd3x8abcdef.%s@mx.example.test>", token);
    assert_true(token_check(&key, str_from(id), host));
    assert_true(token_check(&key, str_part(str_from(id), 1, strlen(id) - 2), host));
    snprintf(text, sizeof text, " \t%s ", id);
    assert_true(token_check(&key, str_from(text), host));
    assert_true(token_check(&key, str_from(id), STR("MX.Example.TEST")));
    assert_false(token_check(&other, str_from(id), host));
    assert_false(token_check(&key, str_from(id), STR("mx.example.tes")));
    for (size_t i = 0; id[i]; i++) { /* no single character may differ */
        char was = id[i];

        if (id[i] == '<' || id[i] == '>' || i > strlen(id) - strlen("@mx.example.test>"))
            continue;
        id[i] = was == 'z' ? 'y' : 'z';
        assert_false(token_check(&key, str_from(id), host));
        id[i] = was;
    }
    for (size_t len = 0; len < strlen(id); len++)
        if (len != strlen(id) - 1) /* without the last bracket alone it is not an id, but nothing is gained by it */
            assert_false(token_check(&key, str_of(id, len), host));
    static const char *const bad[] = {"",
                                      "<>",
                                      "@",
                                      "<@mx.example.test>",
                                      "<.@mx.example.test>",
                                      "<a@mx.example.test>",
                                      "<",
                                      ">",
                                      "<.",
                                      "<a.@mx.example.test>",
                                      ".",
                                      "a.b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(token_check(&key, str_from(bad[i]), host));
    memset(text, 'a', sizeof text);
    assert_false(token_make(&key, str_of(text, TOKEN_ID_MAX + 1), token));
    assert_true(token_make(&key, str_of(text, TOKEN_ID_MAX), token));
    assert_false(token_make(&key, STR(""), token));
    assert_false(token_make(&key, STR("a b"), token));
    assert_false(token_make(&key, STR("a\n"), token));
    assert_false(token_make(&key, STR("a\0b"), token));
}

static struct mail_address address(const char *local)
{
    return (struct mail_address){str_from(local), STR("a.test"), false};
}

static void test_return_paths(void **state)
{
    struct mail_address a = address("Alice"), path, got;
    bool                fresh;
    char                changed[MAIL_LOCAL_MAX + 1];

    (void)state;
    assert_true(token_path_sign(&key, &a, now, &arena, &path));
    assert_int_equal(path.local.len, 5 + TOKEN_PATH_EXTRA);
    assert_true(str_starts(path.local, STR("prvs=0785"))); /* day 20778 + 7, modulo 1000 */
    assert_true(str_ends(path.local, STR("=Alice")));
    assert_true(token_path_open(&key, &path, now, &arena, &got, &fresh) && fresh);
    assert_true(mail_address_eq(&got, &a));

    /* good for seven days, known for longer */
    assert_true(token_path_open(&key, &path, now + 7 * day, &arena, &got, &fresh) && fresh);
    assert_true(token_path_open(&key, &path, now + 8 * day, &arena, &got, &fresh) && !fresh);
    assert_true(token_path_open(&key, &path, now + 100 * day, &arena, &got, &fresh) && !fresh);
    assert_true(token_path_open(&key, &path, now - 2 * day, &arena, &got, &fresh) && !fresh);

    /* across the turn of the thousand days */
    uint64_t turn = 20999 * day;
    assert_true(token_path_sign(&key, &a, turn, &arena, &path));
    assert_true(str_starts(path.local, STR("prvs=0006")));
    assert_true(token_path_open(&key, &path, turn + 6 * day, &arena, &got, &fresh) && fresh);
    assert_true(token_path_open(&key, &path, turn + 9 * day, &arena, &got, &fresh) && !fresh);

    /* others change the case of what they send back */
    memcpy(changed, path.local.data, path.local.len);
    for (size_t i = 0; i < path.local.len; i++)
        changed[i] = char_upper(changed[i]);
    struct mail_address upper = {str_of(changed, path.local.len), path.domain, false};
    assert_true(token_path_open(&key, &upper, turn, &arena, &got, &fresh) && fresh);

    for (size_t i = 0; i < path.local.len; i++) {
        struct mail_address bad = {str_of(changed, path.local.len), path.domain, false};

        memcpy(changed, path.local.data, path.local.len);
        changed[i] = changed[i] == '5' ? '4' : '5';
        assert_false(token_path_open(&key, &bad, turn, &arena, &got, &fresh));
    }
    struct mail_address elsewhere = {path.local, STR("b.test"), false};
    assert_false(token_path_open(&key, &elsewhere, turn, &arena, &got, &fresh));
    assert_false(token_path_open(&other, &path, turn, &arena, &got, &fresh));
    for (size_t len = 0; len < path.local.len; len++) {
        struct mail_address cut = {str_part(path.local, 0, len), path.domain, false};

        assert_false(token_path_open(&key, &cut, turn, &arena, &got, &fresh));
    }

    struct mail_address fits = address("012345678901234567890123456789012345678901234567");
    struct mail_address larger = address("0123456789012345678901234567890123456789012345678");
    assert_true(token_path_sign(&key, &fits, now, &arena, &path));
    assert_int_equal(path.local.len, MAIL_LOCAL_MAX);
    assert_false(token_path_sign(&key, &larger, now, &arena, &path));
    assert_false(token_path_sign(&key, &(struct mail_address){0}, now, &arena, &path));
}

static void test_the_key(void **state)
{
    char             dir[] = "/tmp/tacit-token-XXXXXX", path[64];
    struct token_key mine, again;
    struct stat      st;
    struct err       err;
    pid_t            children[8];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/keys/secret", dir);
    for (int i = 0; i < 8; i++) { /* whoever is first: all get the same key */
        children[i] = fork();
        if (children[i] == 0)
            _exit(token_key_open(path, &mine, NULL) ? mine.bytes[5] & 127 : 200);
    }
    if (!token_key_open(path, &mine, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 8; i++) {
        int status;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(WEXITSTATUS(status), mine.bytes[5] & 127);
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, TOKEN_KEY);
    assert_int_equal(st.st_nlink, 1);
    assert_true(token_key_open(path, &again, &err));
    assert_memory_equal(mine.bytes, again.bytes, TOKEN_KEY);

    assert_int_equal(chmod(path, 0644), 0);
    assert_false(token_key_open(path, &again, &err));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 31), 0);
    assert_false(token_key_open(path, &again, &err));
    assert_non_null(strstr(err.text, path));
    assert_int_equal(truncate(path, 33), 0);
    assert_false(token_key_open(path, &again, &err));
    assert_int_equal(truncate(path, 0), 0);
    assert_false(token_key_open(path, &again, &err)); /* an empty key is damage, not a reason for a new one */
    unlink(path);
    assert_true(token_key_open(path, &again, &err));
    assert_memory_not_equal(mine.bytes, again.bytes, TOKEN_KEY);
    assert_true(files_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_ids),
        cmocka_unit_test(test_return_paths),
        cmocka_unit_test(test_the_key),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
