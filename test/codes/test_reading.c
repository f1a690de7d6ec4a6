/* What people have in hand is read as a person would read it: lines of real bounces (lines.tsv, with expectations of
 * our own), and what only looks like a code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codes/reading.h"

enum { LINE_MAX_OCTETS = 4096 };

static void unescape(char *text)
{
    char *to = text;

    for (; *text; text++)
        if (text[0] == '\\' && text[1] == 'n') {
            *to++ = '\n';
            text++;
        } else {
            *to++ = *text;
        }
    *to = 0;
}

static void lines_of_bounces(void **state)
{
    char     line[LINE_MAX_OCTETS];
    FILE    *file = fopen(getenv("TACIT_LINES"), "r");
    unsigned number = 1, wrong = 0;

    (void)state;
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file)) {
        struct str           rest = str_trim(str_from(line)), party, code;
        struct codes_reading r;
        uint64_t             wanted;
        bool                 read;

        line[strcspn(line, "\n")] = 0;
        rest = str_from(line);
        party = str_cut(&rest, '\t');
        code = str_cut(&rest, '\t');
        unescape(line + (rest.data - line));
        rest = str_from(rest.data);
        number++;
        assert_true(str_to_u64(code, 599, &wanted));
        read = codes_read(rest, &r);
        if (!read || r.code != wanted || !str_eq(party, str_from(codes_party_name(r.party)))) {
            print_error("line %u: %u %s instead of %.*s %.*s (topic %.*s): %s\n", number, read ? r.code : 0,
                        read ? codes_party_name(r.party) : "unread", STR_ARG(code), STR_ARG(party),
                        STR_ARG(read && r.topic ? r.topic->topic : STR("none")), rest.data);
            wrong++;
        }
    }
    fclose(file);
    assert_true(number > 200);
    assert_int_equal(wrong, 0);
}

static void what_is_no_code(void **state)
{
    static const char *const none[] = {"",     "hello",   "call 555-1234", "192.0.2.550", "version 5.1",
                                       "1234", "5.1.1.1", "x550y"};
    struct codes_reading     r;

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (codes_read(str_from(none[i]), &r))
            fail_msg("\"%s\" was read as %u %u.%u.%u", none[i], r.code, r.status.class, r.status.subject,
                     r.status.detail);
}

static void numbers_alone(void **state)
{
    static const struct {
        const char *text;
        unsigned    code, class, subject, detail;
    } cases[] = {
        {"252", 252, 0, 0, 0},
        {" 556 ", 556, 0, 0, 0},
        {"5.1.10", 0, 5, 1, 10},
        {"550 5.7.1", 550, 5, 7, 1},
        {"550-5.1.1", 550, 5, 1, 1},
        {"550 #5.1.0 no", 550, 5, 1, 0},
        {"#5.2.2", 0, 5, 2, 2},
        {"541", 541, 0, 0, 0},
        {"599", 599, 0, 0, 0},
        {"550 4.2.1 x", 550, 4, 2, 1},
        {"said: 421 4.7.0 x", 421, 4, 7, 0},
    };
    struct codes_reading r;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(codes_read(str_from(cases[i].text), &r));
        assert_int_equal(r.code, cases[i].code);
        assert_int_equal(r.status.class, cases[i].class);
        assert_int_equal(r.status.subject, cases[i].subject);
        assert_int_equal(r.status.detail, cases[i].detail);
    }
    assert_true(codes_read(STR("550 4.2.1 x"), &r));
    assert_true(r.contradiction);
    assert_int_equal(r.class, 5); /* the digit holds */
}

static void reports_follow_the_words(void **state)
{
    static const struct {
        const char *reply, *happened;
    } cases[] = {
        {"550 5.1.1 No such user here", "no mailbox of this name"},
        {"550 No such user here", "no mailbox of this name"},
        {"550 5.7.1 Message rejected as spam", "unwanted mail"},
        {"450 4.7.1 Greylisted, try again in 5 minutes", "writes for the first time"},
        {"552 5.2.2 Over quota", "mailbox is full"},
        {"550 5.4.1 Recipient address rejected: Access denied. [x.prod.protection.outlook.com]",
         "no mailbox of this name"},
        {"556 5.1.10 Recipient address has null MX", "takes no mail at all"},
        {"550 5.7.0", "By its rules"},
    };
    struct codes_reading r;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(codes_read(str_from(cases[i].reply), &r));
        if (str_find(codes_reading_report(&r).happened, str_from(cases[i].happened)) == STR_NOT_FOUND)
            fail_msg("%s: %.*s", cases[i].reply, STR_ARG(codes_reading_report(&r).happened));
    }
    for (size_t i = 0; i < codes_topic_count(); i++) {
        r = (struct codes_reading){.by_words = true, .topic = codes_topic_at(i)};
        assert_true(codes_reading_report(&r).happened.len && codes_reading_report(&r).advice.len);
    }
}

static void topics_have_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < codes_topic_count(); i++)
        assert_ptr_equal(codes_topic_named(codes_topic_at(i)->topic), codes_topic_at(i));
    assert_true(str_eq(codes_topic_named(STR("Null MX"))->topic, STR("null-mx")));
    assert_null(codes_topic_named(STR("nonsense")));
}

static void pairs_are_known_in_both_orders(void **state)
{
    (void)state;
    for (size_t i = 0; i < codes_pair_count(); i++) {
        const struct codes_pair *p = codes_pair_at(i);

        assert_ptr_equal(codes_pair(p->a, p->b), p);
        assert_ptr_equal(codes_pair(p->b, p->a), p);
    }
    for (size_t i = 0; i < 4; i++) /* those that people mix up most */
        assert_non_null(codes_pair(STR("252"), (struct str[]){STR("250"), STR("502"), STR("551"), STR("556")}[i]));
    assert_null(codes_pair(STR("252"), STR("252")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_bounces),  cmocka_unit_test(what_is_no_code),
        cmocka_unit_test(numbers_alone),     cmocka_unit_test(reports_follow_the_words),
        cmocka_unit_test(topics_have_names), cmocka_unit_test(pairs_are_known_in_both_orders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
