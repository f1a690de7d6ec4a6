/* Unit tests of codes/: every number has words, and the right ones are chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codes/codes.h"

static void every_entry_is_found_by_its_number(void **state)
{
    (void)state;
    assert_true(codes_basic_count() > 50 && codes_enhanced_count() > 80);
    for (size_t i = 0; i < codes_basic_count(); i++) {
        const struct codes_basic *b = codes_basic_at(i);

        assert_ptr_equal(codes_basic(b->code), b);
        assert_true(b->meaning.len && b->fix_sender.len && b->fix_receiver.len && b->name.len);
    }
    for (size_t i = 0; i < codes_enhanced_count(); i++) {
        const struct codes_enhanced *e = codes_enhanced_at(i);
        unsigned class = e->class                                              ? e->class
                         : e->classes.len && char_is_digit(e->classes.data[0]) ? (unsigned)(e->classes.data[0] - '0')
                                                                               : 5;

        assert_true(e->meaning.len && e->fix_sender.len && e->name.len);
        if (e->is_part)
            assert_ptr_equal(e->class ? codes_class(e->class) : codes_subject(e->subject), e);
        else if (!e->vendor.len)
            assert_ptr_equal(codes_enhanced(class, e->subject, e->detail), e);
        else
            assert_ptr_not_equal(codes_enhanced(class, e->subject, e->detail), e);
    }
}

static void unknown_numbers_have_no_entry(void **state)
{
    (void)state;
    assert_null(codes_basic(0));
    assert_null(codes_basic(599));
    assert_null(codes_enhanced(0, 1, 1));
    assert_null(codes_enhanced(3, 1, 1));
    assert_null(codes_enhanced(5, 1, 999));
    assert_null(codes_enhanced(5, 99, 0));
    assert_null(codes_subject(99));
    assert_null(codes_class(3));
}

static void vendors_do_not_hide_the_registry(void **state)
{
    (void)state;
    assert_true(str_find(codes_enhanced(5, 1, 10)->name, STR("null MX")) != STR_NOT_FOUND);
    assert_true(str_find(codes_enhanced(5, 7, 27)->name, STR("null MX")) != STR_NOT_FOUND);
    assert_true(str_find(codes_enhanced(4, 4, 1)->name, STR("No answer")) != STR_NOT_FOUND);
}

static void the_particular_goes_before_the_general(void **state)
{
    struct codes_words w;

    (void)state;
    w = codes_explain(550, (struct codes_status){5, 1, 1});
    assert_true(str_eq(w.meaning, codes_enhanced(5, 1, 1)->meaning));
    w = codes_explain(550, (struct codes_status){5, 0, 0});
    assert_true(str_eq(w.meaning, codes_basic(550)->meaning));
    w = codes_explain(552, (struct codes_status){5, 3, 999});
    assert_true(str_eq(w.meaning, codes_basic(552)->meaning));
    w = codes_explain(0, (struct codes_status){5, 2, 0});
    assert_true(str_eq(w.meaning, codes_enhanced(5, 2, 0)->meaning));
    w = codes_explain(599, (struct codes_status){0, 0, 0});
    assert_true(str_eq(w.meaning, codes_class(5)->meaning));
    w = codes_explain(0, (struct codes_status){4, 77, 77});
    assert_true(str_eq(w.meaning, codes_class(4)->meaning));
    w = codes_explain(0, (struct codes_status){0, 0, 0});
    assert_true(w.meaning.len && w.fix_sender.len && w.name.len && w.fix_receiver.len);
}

static bool says(struct codes_report r, const char *what)
{
    return str_find(r.happened, str_from(what)) != STR_NOT_FOUND && r.advice.len;
}

static void reports_have_words_for_everything(void **state)
{
    (void)state;
    assert_true(says(codes_report(550, (struct codes_status){5, 1, 1}), "no mailbox of this name"));
    assert_true(says(codes_report(550, (struct codes_status){5, 1, 0}), "refuses mail for this address"));
    assert_true(says(codes_report(550, (struct codes_status){5, 7, 0}), "By its rules"));
    assert_true(says(codes_report(550, (struct codes_status){5, 7, 99}), "refuses mail for this address"));
    assert_true(says(codes_report(0, (struct codes_status){5, 7, 99}), "By its rules"));
    assert_true(says(codes_report(0, (struct codes_status){4, 4, 3}), "(DNS)"));
    assert_true(says(codes_report(0, (struct codes_status){4, 77, 77}), "passes by itself"));
    assert_true(says(codes_report(599, (struct codes_status){0, 0, 0}), "refused"));
    assert_true(says(codes_report(0, (struct codes_status){0, 0, 0}), "no clear reason"));
    for (unsigned code = 0; code < 700; code++)
        for (uint16_t subject = 0; subject < 10; subject++)
            for (uint16_t detail = 0; detail < 40; detail++)
                assert_true(says(codes_report(code, (struct codes_status){5, subject, detail}), "."));
}

static void status_codes_have_one_spelling(void **state)
{
    static const char *const bad[] = {"",       "5",      "5.1",      "5.1.",   "5..1",   "5.1.1.1", "3.1.1",
                                      "5.01.1", "5.1.1 ", "5.1.1000", "05.1.1", "5.-1.1", "x.1.1",   "6.0.0"};
    struct codes_status      s = {0, 0, 0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(codes_status_parse(str_from(bad[i]), &s));
    assert_int_equal(s.class, 0);
    assert_true(codes_status_parse(STR("5.1.10"), &s) && s.class == 5 && s.subject == 1 && s.detail == 10);
    assert_true(codes_status_parse(STR("2.0.0"), &s) && s.class == 2 && s.subject == 0 && s.detail == 0);
    assert_true(codes_status_parse(STR("4.999.999"), &s) && s.subject == 999 && s.detail == 999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_is_found_by_its_number), cmocka_unit_test(unknown_numbers_have_no_entry),
        cmocka_unit_test(vendors_do_not_hide_the_registry),   cmocka_unit_test(the_particular_goes_before_the_general),
        cmocka_unit_test(reports_have_words_for_everything),  cmocka_unit_test(status_codes_have_one_spelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
