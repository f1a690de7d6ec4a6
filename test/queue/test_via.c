/* Ways out: every form, and what is near one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/via.h"

static void test_forms(void **state)
{
    static const struct {
        const char   *text;
        enum via_kind kind;
        bool          lmtp, literal;
        const char   *host;
        unsigned      port;
        const char   *path;
    } good[] = {
        {"mx", VIA_MX, false, false, "", 0, ""},
        {"discard:", VIA_DISCARD, false, false, "", 0, ""},
        {"hold:", VIA_HOLD, false, false, "", 0, ""},
        {"smtp://Relay.Example", VIA_HOST, false, false, "relay.example", 25, ""},
        {"smtp:relay.example:587", VIA_HOST, false, false, "relay.example", 587, ""},
        {"smtp://localhost:2525", VIA_HOST, false, false, "localhost", 2525, ""},
        {"lmtp:127.0.0.1", VIA_HOST, true, true, "127.0.0.1", 24, ""},
        {"lmtp://[2001:DB8:0::1]:24", VIA_HOST, true, true, "2001:db8::1", 24, ""},
        {"smtp:[::1]", VIA_HOST, false, true, "::1", 25, ""},
        {"lmtp:unix:/run/dovecot/lmtp", VIA_SOCKET, true, false, "", 0, "/run/dovecot/lmtp"},
        {"smtp:unix:/run/x", VIA_SOCKET, false, false, "", 0, "/run/x"},
    };
    static const char *const bad[] = {
        "",          "MX",           "mx:",         "smtp",       "smtp:",        "smtp://",        "smtp://:25",
        "smtp:h:0",  "smtp:h:65536", "smtp:h:",     "smtp:h:x",   "smtp:[::1",    "smtp:[::1]x",    "smtp:[::1]:",
        "smtp:[h]",  "smtp:a b",     "smtp:-h",     "lmtp:unix:", "lmtp:unix:x",  "http://h",       "discard",
        "discard:x", "hold",         "smtp:1.2.3.", "smtp:a@b",   "smtp:h:25:25", "smtp:[1.2.3.4]",
    };
    struct arena arena;
    struct via   via;

    (void)state;
    arena_init(&arena, 1024, 1 << 16);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(via_parse(str_from(good[i].text), &arena, &via));
        assert_int_equal(via.kind, good[i].kind);
        assert_int_equal(via.lmtp, good[i].lmtp);
        assert_int_equal(via.literal, good[i].literal);
        assert_true(str_eq(via.host, str_from(good[i].host)));
        assert_int_equal(via.port, good[i].port);
        assert_true(str_eq(via.path, str_from(good[i].path)));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (via_parse(str_from(bad[i]), &arena, &via))
            fail_msg("\"%s\" was taken", bad[i]);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
