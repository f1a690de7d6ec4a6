/* Unit tests of encoded words: the examples of RFC 2047, and what must stay as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/word.h"

static void becomes(const char *text, const char *expected)
{
    struct buf out;

    buf_init(&out, 4096);
    assert_true(mail_words_decode(str_from(text), &out));
    assert_string_equal(out.data ? out.data : "", expected);
    buf_done(&out);
}

static void words_become_letters(void **state)
{
    (void)state;
    becomes("", "");
    becomes("Hello there", "Hello there");
    becomes("=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Bonn", "Gr\xc3\xbc\xc3\x9f"
                                                    "e aus Bonn");
    becomes("=?UTF-8?B?R3LDvMOfZQ==?=", "Gr\xc3\xbc\xc3\x9f"
                                        "e");
    becomes("=?UTF-8?B?R3LDvMOfZQ?=", "Gr\xc3\xbc\xc3\x9f"
                                      "e");
    becomes("=?ISO-8859-1?Q?Andr=E9?= Pirard", "Andr\xc3\xa9 Pirard");
    becomes("=?windows-1252?Q?=80_=96?=", "\xe2\x82\xac \xe2\x80\x93");
    becomes("=?utf-8*de?q?a?=", "a");
    becomes("=?US-ASCII?Q?a?=", "a");
}

/* RFC 2047 8. */
static void blanks_between_words_are_nothing(void **state)
{
    (void)state;
    becomes("(=?ISO-8859-1?Q?a?= b)", "(a b)");
    becomes("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)");
    becomes("(=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=)", "(ab)");
    becomes("=?ISO-8859-1?Q?a_b?= ", "a b ");
    becomes("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "\xc3\xbc"); /* a character cut in two, as some do */
}

static void what_is_no_word_stays(void **state)
{
    static const char *const same[] = {"=?",
                                       "=?utf-8?",
                                       "=?utf-8?q?",
                                       "=?utf-8?q?abc",
                                       "=?utf-8?x?abc?=",
                                       "=?koi8-r?q?abc?=",
                                       "=?utf-8?q?=zz?=",
                                       "=?utf-8?q?=a?=",
                                       "=?utf-8?b?a!b?=",
                                       "a =? b ?= c",
                                       "=?utf-8??abc?=",
                                       "=?utf-8?qq?abc?="};

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        becomes(same[i], same[i]);
    becomes("=?utf-8?q?ok?= =?koi8-r?q?abc?=", "ok =?koi8-r?q?abc?=");
}

static void a_full_buffer_fails(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 3);
    assert_false(mail_words_decode(STR("=?utf-8?q?abcd?= and more"), &out));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_letters),
        cmocka_unit_test(blanks_between_words_are_nothing),
        cmocka_unit_test(what_is_no_word_stays),
        cmocka_unit_test(a_full_buffer_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
