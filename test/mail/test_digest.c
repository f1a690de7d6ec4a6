/* Unit tests of digests: what the postmaster reads, and that it has an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "letter_text.h"

#include "mail/digest.h"

static struct mail_digest digest_of(const struct mail_digest_entry *entries, size_t count)
{
    return (struct mail_digest){
        .mta = STR("mx.example.test"),
        .id = STR("0123456789abc"),
        .domain = STR("example.test"),
        .date_ms = UINT64_C(951782400000),
        .entries = entries,
        .entry_count = count,
        .total = count,
    };
}

static void a_digest_shows_envelopes_and_commands(void **state)
{
    struct mail_digest_entry e = {STR("0000000000xyz"),
                                  UINT64_C(951782300000),
                                  UINT64_C(952387100000),
                                  3120,
                                  {STR("s"), STR("elsewhere.example"), false},
                                  {STR("invented"), STR("example.test"), false},
                                  STR("192.0.2.7")};
    struct mail_digest       d = digest_of(&e, 1);
    struct buf               out;
    enum body_type           body;

    (void)state;
    buf_init(&out, 1 << 20);
    assert_true(mail_digest_format(&d, &out, &body));
    assert_well_formed(&out);
    assert_int_equal(body, BODY_7BIT);
    assert_true(holds(&out, "\r\nTo: <postmaster@example.test>\r\n"));
    assert_true(holds(&out, "\r\nAuto-Submitted: auto-generated\r\n"));
    assert_true(holds(&out, "\r\n0000000000xyz  2000-02-28 23:58  2000-03-06 23:58"));
    assert_true(holds(&out, "3.1 kB\r\n    from  s@elsewhere.example\r\n    to    invented@example.test\r\n"));
    assert_true(holds(&out, "tacit queue release ID") && holds(&out, "tacit queue remove ID"));
    buf_clear(&out);
    e.from = (struct mail_address){STR("\xc3\xa9"), STR("x.test"), true};
    assert_true(mail_digest_format(&d, &out, &body) && holds(&out, "from  \\x{E9}@x.test\r\n"));
    buf_clear(&out);
    d.smtputf8 = true;
    assert_true(mail_digest_format(&d, &out, &body) && holds(&out, "from  \xc3\xa9@x.test\r\n"));
    assert_int_equal(body, BODY_8BITMIME);
    buf_done(&out);
}

static void a_digest_has_an_end(void **state)
{
    static struct mail_digest_entry many[MAIL_DIGEST_ENTRIES_MAX + 50];
    struct mail_digest              d = digest_of(many, MAIL_DIGEST_ENTRIES_MAX + 50);
    struct buf                      out;
    enum body_type                  body;
    size_t                          shown = 0;

    (void)state;
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++)
        many[i] = (struct mail_digest_entry){.id = STR("0000000000xyz"), .to = {STR("a"), STR("b"), false}};
    d.total = 100000;
    buf_init(&out, 1 << 20);
    assert_true(mail_digest_format(&d, &out, &body));
    for (struct str rest = buf_str(&out); rest.len;)
        shown += str_starts(str_cut(&rest, '\n'), STR("0000000000xyz"));
    assert_int_equal(shown, MAIL_DIGEST_ENTRIES_MAX);
    assert_true(holds(&out, "100000 messages for example.test are held"));
    assert_true(holds(&out, "... and 99800 more."));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_digest_shows_envelopes_and_commands),
        cmocka_unit_test(a_digest_has_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
