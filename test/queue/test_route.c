/* Routing by a DNS that is a table. Each row of a zone is one answer; what is not in it does not exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/route.h"

struct row {
    const char      *name;
    enum dns_type    type;
    const char      *data; /* "10 mx.example.test 20 .", "192.0.2.1 192.0.2.2"; IPv6 as its last octet in hex: "::1" */
    enum dns_outcome outcome;
    bool             insecure, cname;
};

static const struct row *zone;
static char              asked[4096];
static struct arena      arena;

/* ---- the DNS ---- */

static struct str wire_name(const char *name)
{
    struct str rest = str_from(name);
    struct buf out;
    struct str result;

    buf_init(&out, 512);
    if (strcmp(name, ".") != 0)
        while (rest.data) {
            struct str label = str_cut(&rest, '.');

            buf_append_byte(&out, (char)label.len);
            buf_append(&out, label);
        }
    buf_append_byte(&out, 0);
    result = arena_str(&arena, buf_str(&out));
    buf_done(&out);
    return result;
}

static struct str wire_record(enum dns_type type, struct str *rest)
{
    char       word[300], raw[300] = {0};
    struct str first = str_cut(rest, ' ');

    snprintf(word, sizeof word, "%.*s", STR_ARG(first));
    if (type == DNS_MX) {
        struct str host = str_cut(rest, ' '), name;
        unsigned   preference = (unsigned)strtoul(word, NULL, 10);

        snprintf(word, sizeof word, "%.*s", STR_ARG(host));
        name = wire_name(word);
        raw[0] = (char)(preference >> 8);
        raw[1] = (char)preference;
        memcpy(raw + 2, name.data, name.len);
        return arena_str(&arena, str_of(raw, name.len + 2));
    }
    if (type == DNS_AAAA) {
        raw[0] = 0x20;
        raw[15] = (char)strtoul(word + 2, NULL, 16);
        return arena_str(&arena, str_of(raw, 16));
    }
    for (size_t i = 0, at = 0; i < 4; i++, at++) {
        char *end;

        raw[i] = (char)strtoul(word + at, &end, 10);
        at = (size_t)(end - word);
    }
    return arena_str(&arena, str_of(raw, 4));
}

static struct dns_answer answer_of(const struct route_question *q)
{
    struct dns_answer a = {.outcome = DNS_NO_NAME, .secure = true};

    for (const struct row *row = zone; row->name; row++) {
        struct str  rest = str_from(row->data);
        struct str *records;

        if (!str_eq(str_from(row->name), q->name))
            continue;
        if (row->type != q->type) {
            if (a.outcome == DNS_NO_NAME)
                a.outcome = DNS_NO_DATA;
            continue;
        }
        a.outcome = row->outcome;
        a.secure = !row->insecure;
        a.cname = row->cname;
        records = arena_alloc(&arena, 512 * sizeof *records);
        a.records = records;
        while (row->outcome == DNS_FOUND && rest.data)
            records[a.count++] = wire_record(row->type, &rest);
        return a;
    }
    return a;
}

/* ---- us ---- */

static bool is_our_name(struct str host, void *arg)
{
    (void)arg;
    return str_eq(host, STR("us.example.test"));
}

static bool is_our_address(const struct dns_address *a, void *arg)
{
    (void)arg;
    return !a->is_ipv6 && a->octets[3] == 250;
}

static struct route_rules rules(uint64_t seed)
{
    return (struct route_rules){
        .is_our_name = is_our_name, .is_our_address = is_our_address, .seed = seed, .ipv4 = true, .ipv6 = true};
}

static const struct route_result *route_end(struct route *r, bool backwards)
{
    struct route_question open[128];
    size_t                count = 0;

    assert_non_null(r);
    while (!route_result(r)) {
        struct dns_answer a;
        size_t            at;

        while (route_next_question(r, &open[count])) {
            snprintf(asked + strlen(asked), sizeof asked - strlen(asked), "%.*s/%d ", STR_ARG(open[count].name),
                     open[count].type);
            count++;
            assert_true(count < 128);
        }
        assert_true(count > 0);
        at = backwards ? count - 1 : 0;
        a = answer_of(&open[at]);
        assert_true(route_answer(r, &open[at], &a));
        memmove(open + at, open + at + 1, (count - at - 1) * sizeof *open);
        count--;
    }
    assert_int_equal(count, 0);
    assert_false(route_next_question(r, &open[0]));
    return route_result(r);
}

static const struct route_result *route_of(const struct row *rows, const char *domain, const struct route_rules *how,
                                           bool backwards)
{
    zone = rows;
    asked[0] = 0;
    arena_reset(&arena);
    return route_end(route_new(str_from(domain), how, &arena), backwards);
}

/* The targets as "host:last-octet", IPv6 with "::". */
static const char *targets_of(const struct route_result *result)
{
    static char text[8192];

    text[0] = 0;
    for (size_t i = 0; i < result->target_count; i++) {
        const struct route_target *t = &result->targets[i];

        snprintf(text + strlen(text), sizeof text - strlen(text), t->address.is_ipv6 ? "%s%.*s::%x" : "%s%.*s:%u",
                 i ? " " : "", STR_ARG(t->host), t->address.octets[t->address.is_ipv6 ? 15 : 3]);
    }
    return text;
}

/* ---- outcomes, each row one line of the table in route.h ---- */

#define EXISTS(domain)                                       \
    {                                                        \
        domain, DNS_TXT, "10.0.0.0", DNS_FOUND, false, false \
    }

static const struct row world[] = {
    {"null.test", DNS_MX, "0 .", DNS_FOUND, false, false},
    {"null10.test", DNS_MX, "10 .", DNS_FOUND, false, false}, /* RFC 7505 wants 0; it means the same */
    {"null10.test", DNS_A, "192.0.2.9", DNS_FOUND, false, false},
    {"oddnull.test", DNS_MX, "0 . 10 a.test", DNS_FOUND, false, false},
    {"twonull.test", DNS_MX, "0 . 5 .", DNS_FOUND, false, false},
    {"one.test", DNS_MX, "10 a.test", DNS_FOUND, false, false},
    {"a.test", DNS_A, "192.0.2.1", DNS_FOUND, false, false},
    {"order.test", DNS_MX, "30 c.test 10 a.test 20 b.test", DNS_FOUND, false, false},
    {"b.test", DNS_A, "192.0.2.2", DNS_FOUND, false, false},
    {"b.test", DNS_AAAA, "::2", DNS_FOUND, false, false},
    {"c.test", DNS_AAAA, "::3", DNS_FOUND, true, false},
    {"implicit.test", DNS_A, "192.0.2.4", DNS_FOUND, false, false},
    {"implicit.test", DNS_AAAA, "::4", DNS_FOUND, false, false},
    EXISTS("nothing.test"),
    {"dangling.test", DNS_MX, "10 gone.test", DNS_FOUND, false, false},
    {"dangling.test", DNS_A, "192.0.2.5", DNS_FOUND, false, false},
    {"half.test", DNS_MX, "10 gone.test 20 a.test", DNS_FOUND, false, false},
    {"soft.test", DNS_MX, "10 slow.test 20 gone.test", DNS_FOUND, false, false},
    {"softhalf.test", DNS_MX, "10 slow.test 20 a.test", DNS_FOUND, false, false},
    {"slow.test", DNS_A, "", DNS_FAILED, false, false},
    {"softimplicit.test", DNS_A, "", DNS_FAILED, false, false},
    {"servfail.test", DNS_MX, "", DNS_FAILED, false, false},
    {"bogus.test", DNS_MX, "", DNS_BOGUS, false, false},
    {"ours.test", DNS_MX, "10 us.example.test", DNS_FOUND, false, false},
    {"backup.test", DNS_MX, "10 a.test 20 us.example.test 20 b.test 30 c.test", DNS_FOUND, false, false},
    {"first.test", DNS_MX, "10 us.example.test 20 a.test", DNS_FOUND, false, false},
    {"byaddress.test", DNS_MX, "10 a.test 20 another.test 30 b.test", DNS_FOUND, false, false},
    {"another.test", DNS_A, "192.0.2.250", DNS_FOUND, false, false},
    {"oursimplicit.test", DNS_A, "192.0.2.250", DNS_FOUND, false, false},
    {"alias.test", DNS_MX, "10 aliased.test", DNS_FOUND, false, false},
    {"aliased.test", DNS_A, "192.0.2.6", DNS_FOUND, false, true},
    {"wrong.test", DNS_MX, "10 a\"b.test", DNS_FOUND, false, false},
    {"twice.test", DNS_MX, "10 a.test 20 a.test 30 b.test 5 b.test", DNS_FOUND, false, false},
    {"samehost.test", DNS_MX, "10 a.test 20 aagain.test", DNS_FOUND, false, false},
    {"aagain.test", DNS_A, "192.0.2.1", DNS_FOUND, false, false},
    {NULL, DNS_A, NULL, DNS_FOUND, false, false},
};

static const struct {
    const char        *domain;
    enum route_outcome outcome;
    const char        *status, *targets;
} expected[] = {
    {"null.test", ROUTE_FAILS, "5.1.10", ""},
    {"null10.test", ROUTE_FAILS, "5.1.10", ""},
    {"oddnull.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"twonull.test", ROUTE_FAILS, "5.4.4", ""},
    {"one.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"order.test", ROUTE_FOUND, NULL, "a.test:1 b.test::2 b.test:2 c.test::3"},
    {"implicit.test", ROUTE_FOUND, NULL, "implicit.test::4 implicit.test:4"},
    {"nothing.test", ROUTE_FAILS, "5.4.4", ""},
    {"nowhere.test", ROUTE_FAILS, "5.1.2", ""},
    {"dangling.test", ROUTE_FAILS, "5.4.4", ""},
    {"half.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"soft.test", ROUTE_WAITS, "4.4.3", ""},
    {"softhalf.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"softimplicit.test", ROUTE_WAITS, "4.4.3", ""},
    {"servfail.test", ROUTE_WAITS, "4.4.3", ""},
    {"bogus.test", ROUTE_WAITS, "4.4.3", ""},
    {"ours.test", ROUTE_FAILS, "5.4.6", ""},
    {"first.test", ROUTE_FAILS, "5.4.6", ""},
    {"backup.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"byaddress.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"oursimplicit.test", ROUTE_FAILS, "5.4.6", ""},
    {"alias.test", ROUTE_FOUND, NULL, "aliased.test:6"},
    {"wrong.test", ROUTE_FAILS, "5.4.4", ""},
    {"twice.test", ROUTE_FOUND, NULL, "b.test::2 b.test:2 a.test:1"},
    {"samehost.test", ROUTE_FOUND, NULL, "a.test:1"},
    {"[192.0.2.7]", ROUTE_FOUND, NULL, "[192.0.2.7]:7"},
    {"[IPv6:2001:db8::7]", ROUTE_FOUND, NULL, "[IPv6:2001:db8::7]::7"},
    {"[IPv6:::1]", ROUTE_FOUND, NULL, "[IPv6:::1]::1"},
    {"[IPv6:1:2:3:4:5:6:7:8]", ROUTE_FOUND, NULL, "[IPv6:1:2:3:4:5:6:7:8]::8"},
    {"[192.0.2.250]", ROUTE_FAILS, "5.4.6", ""},
    {"[192.0.2]", ROUTE_FAILS, "5.1.3", ""},
    {"[IPv6:1:2:3]", ROUTE_FAILS, "5.1.3", ""},
    {"[X400:nobody]", ROUTE_FAILS, "5.1.3", ""},
};

static void each_row_of_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        for (int backwards = 0; backwards < 2; backwards++) {
            const struct route_rules   how = rules(i + 1);
            const struct route_result *result = route_of(world, expected[i].domain, &how, backwards);
            bool                       same = result->outcome == expected[i].outcome &&
                        strcmp(targets_of(result), expected[i].targets) == 0 &&
                        (expected[i].status ? result->status && strcmp(result->status, expected[i].status) == 0
                                            : !result->status);

            if (!same)
                fail_msg("%s: outcome %d %s, targets \"%s\"", expected[i].domain, result->outcome,
                         result->status ? result->status : "-", targets_of(result));
            assert_int_equal(result->outcome == ROUTE_FOUND, result->reason.len == 0);
        }
}

static void what_is_noted(void **state)
{
    const struct route_rules   how = rules(1);
    const struct route_result *result;

    (void)state;
    assert_true(route_of(world, "oddnull.test", &how, false)->odd_null);
    assert_false(route_of(world, "one.test", &how, false)->odd_null);
    assert_true(route_of(world, "implicit.test", &how, false)->implicit);
    assert_true(route_of(world, "alias.test", &how, false)->aliases);
    assert_false(route_of(world, "one.test", &how, false)->aliases);
    result = route_of(world, "order.test", &how, false);
    assert_true(result->targets[0].secure);
    assert_false(result->targets[3].secure); /* c.test is not signed */
}

static void a_null_mx_asks_nothing_more(void **state)
{
    const struct route_rules how = rules(1);

    (void)state;
    route_of(world, "null.test", &how, false);
    assert_string_equal(asked, "null.test/15 ");
    route_of(world, "[192.0.2.7]", &how, false);
    assert_string_equal(asked, "");
    route_of(world, "dangling.test", &how, false);
    assert_string_equal(asked, "dangling.test/15 gone.test/28 gone.test/1 "); /* never the domain's own address */
}

static void a_machine_without_ipv6(void **state)
{
    struct route_rules how = rules(1);

    (void)state;
    how.ipv6 = false;
    assert_string_equal(targets_of(route_of(world, "order.test", &how, false)), "a.test:1 b.test:2");
    assert_null(strstr(asked, "/28"));
    how.ipv6 = true;
    how.ipv4 = false;
    assert_string_equal(targets_of(route_of(world, "order.test", &how, false)), "b.test::2 c.test::3");
    assert_string_equal(route_of(world, "one.test", &how, false)->status, "5.4.4");
}

/* Equal preference: every order comes, each about as often; different preference: never mixed. */
static void equals_are_shuffled(void **state)
{
    static const struct row rows[] = {
        {"d.test", DNS_MX, "10 x.test 10 y.test 10 z.test 20 l.test", DNS_FOUND, false, false},
        {"x.test", DNS_A, "192.0.2.1", DNS_FOUND, false, false},
        {"y.test", DNS_A, "192.0.2.2", DNS_FOUND, false, false},
        {"z.test", DNS_A, "192.0.2.3", DNS_FOUND, false, false},
        {"l.test", DNS_A, "192.0.2.4 192.0.2.5", DNS_FOUND, false, false},
        {NULL, DNS_A, NULL, DNS_FOUND, false, false},
    };
    unsigned first[4] = {0}, last[6] = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        const struct route_rules   how = rules(seed * UINT64_C(0x9e3779b97f4a7c15));
        const struct route_result *result = route_of(rows, "d.test", &how, false);

        assert_int_equal(result->target_count, 5);
        assert_in_range(result->targets[0].address.octets[3], 1, 3);
        assert_in_range(result->targets[3].address.octets[3], 4, 5);
        first[result->targets[0].address.octets[3]]++;
        last[result->targets[4].address.octets[3]]++;
    }
    for (int i = 1; i <= 3; i++)
        assert_in_range(first[i], 850, 1150);
    assert_in_range(last[4], 1350, 1650);
}

/* A smarthost has an address; that it has MX too, or none at all, is nobody's business. */
static void a_host_alone(void **state)
{
    static const struct row rows[] = {
        {"relay.test", DNS_MX, "0 .", DNS_FOUND, false, false},
        {"relay.test", DNS_A, "10.0.0.5", DNS_FOUND, false, false},
        {0},
    };
    const struct route_rules   how = rules(1);
    const struct route_result *result;

    (void)state;
    zone = rows;
    asked[0] = 0;
    arena_reset(&arena);
    result = route_end(route_new_host(STR("relay.test"), &how, &arena), false);
    assert_int_equal(result->outcome, ROUTE_FOUND);
    assert_string_equal(targets_of(result), "relay.test:5");
    assert_string_equal(asked, "relay.test/28 relay.test/1 ");
    result = route_end(route_new_host(STR("[192.0.2.9]"), &how, &arena), false);
    assert_string_equal(targets_of(result), "[192.0.2.9]:9");
    result = route_end(route_new_host(STR("nobody.test"), &how, &arena), false);
    assert_int_equal(result->outcome, ROUTE_FAILS);
}

/* Hundreds of hosts with many addresses: bounded, and the most preferred are kept, however they are ordered. */
static void a_flood_is_bounded(void **state)
{
    enum { MANY = 300 };
    static struct row          rows[MANY + 2];
    static char                names[MANY][24], mx[MANY * 32], addresses[MANY][600];
    struct route_rules         how = rules(7);
    const struct route_result *result;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        int preference = (i * 7919) % MANY;

        snprintf(names[i], sizeof names[i], "h%d.test", preference);
        snprintf(mx + strlen(mx), sizeof mx - strlen(mx), "%s%d %s", i ? " " : "", preference, names[i]);
        for (int j = 1; j <= 40; j++)
            snprintf(addresses[i] + strlen(addresses[i]), sizeof addresses[i] - strlen(addresses[i]), "%s10.%d.%d.%d",
                     j > 1 ? " " : "", preference / 256, preference % 256, j);
        rows[i + 1] = (struct row){names[i], DNS_A, addresses[i], DNS_FOUND, false, false};
    }
    rows[0] = (struct row){"flood.test", DNS_MX, mx, DNS_FOUND, false, false};
    result = route_of(rows, "flood.test", &how, false);
    assert_int_equal(result->outcome, ROUTE_FOUND);
    assert_int_equal(result->target_count, ROUTE_TARGETS);
    for (size_t i = 0; i < result->target_count; i++)
        assert_int_equal(result->targets[i].preference, i / ROUTE_HOST_ADDRESSES);
    assert_non_null(strstr(asked, "h19.test/1 "));
    assert_null(strstr(asked, "h20.test/"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    for (size_t max = 0;; max += 64) {
        const struct route_rules how = rules(1);
        struct arena             small;
        struct route            *r;
        struct route_question    q;
        bool                     ok = true;

        arena_init(&small, 256, max);
        zone = world;
        r = route_new(STR("order.test"), &how, &small);
        while (r && ok && !route_result(r)) {
            struct dns_answer a;

            assert_true(route_next_question(r, &q));
            a = answer_of(&q);
            ok = route_answer(r, &q, &a);
        }
        if (r && ok) {
            assert_int_equal(route_result(r)->target_count, 4);
            arena_done(&small);
            return;
        }
        arena_done(&small);
        assert_true(max < 1 << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_of_the_table),       cmocka_unit_test(what_is_noted),
        cmocka_unit_test(a_null_mx_asks_nothing_more), cmocka_unit_test(a_machine_without_ipv6),
        cmocka_unit_test(equals_are_shuffled),         cmocka_unit_test(a_flood_is_bounded),
        cmocka_unit_test(no_memory_is_said),           cmocka_unit_test(a_host_alone),
    };
    int failed;

    arena_init(&arena, 64 << 10, 16 << 20);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
