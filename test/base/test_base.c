/* Unit tests of base/: what each header promises, at its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/base64.h"
#include "base/codec.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void str_parts_are_cut_to_what_is_there(void **state)
{
    struct str s = STR("hello"), rest = STR("a,,b");

    (void)state;
    assert_true(str_eq(str_part(s, 1, 3), STR("ell")));
    assert_true(str_is_empty(str_part(s, 9, 3)));
    assert_true(str_is_empty(str_skip(STR_NONE, 4)));
    assert_true(str_starts_nocase(s, STR("HE")) && !str_starts_nocase(s, STR("HELLO!")));
    assert_true(str_ends_nocase(s, STR("LLO")) && !str_ends(s, STR("LLO")));
    assert_true(str_eq(str_cut(&rest, ','), STR("a")));
    assert_true(str_is_empty(str_cut(&rest, ',')) && rest.data);
    assert_true(str_eq(str_cut(&rest, ','), STR("b")) && !rest.data);
    assert_int_equal(str_find_byte(s, 'l'), 2);
    assert_int_equal(str_find_last_byte(s, 'l'), 3);
    assert_int_equal(str_find(s, STR("lo")), 3);
    assert_true(str_find(STR_NONE, STR("x")) == STR_NOT_FOUND && str_find(s, STR("")) == 0);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0 && str_cmp(STR("b"), STR("ab")) > 0 && str_cmp(s, s) == 0);
    assert_true(str_eq(str_trim(STR(" \t x y\t")), STR("x y")) && str_is_empty(str_trim(STR(" \t"))));
}

static void numbers_are_exact_or_refused(void **state)
{
    uint64_t v = 7;

    (void)state;
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &v) && v == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), UINT64_MAX, &v));
    assert_true(str_to_u64(STR("0"), 0, &v) && v == 0);
    assert_true(str_to_u64(STR("99"), 99, &v) && v == 99);
    assert_false(str_to_u64(STR("100"), 99, &v));
    assert_false(str_to_u64(STR("5"), 3, &v));
    assert_false(str_to_u64(STR(""), 9, &v) || str_to_u64(STR("-1"), 9, &v) || str_to_u64(STR(" 1"), 9, &v) ||
                 str_to_u64(STR("1x"), 9, &v));
    assert_int_equal(v, 99);
}

static void utf8_is_judged_by_rfc_3629(void **state)
{
    static const char *const good[] = {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x93\xa7", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc3",
                                      "\xc0\xaf",
                                      "\xe0\x80\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xf0\x80\x80\xaf",
                                      "a\xffz"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(str_is_utf8(str_from(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(str_is_utf8(str_from(bad[i])));
    assert_false(str_is_utf8(STR("a\0b")) || str_is_ascii(STR("a\0b")) || str_is_ascii(STR("\xc3\xa9")));
}

static void a_high_byte_is_found_wherever_it_stands(void **state)
{
    char text[20];

    (void)state;
    for (size_t len = 0; len <= sizeof text; len++) {
        memset(text, 0, sizeof text);
        assert_true(str_is_7bit(str_of(text, len)));
        assert_int_equal(str_is_ascii(str_of(text, len)), len == 0);
        for (size_t at = 0; at < len; at++) {
            memset(text, 0x7f, sizeof text);
            assert_true(str_is_ascii(str_of(text, len)));
            text[at] = (char)0x80;
            assert_false(str_is_7bit(str_of(text, len)) || str_is_ascii(str_of(text, len)));
        }
    }
}

static void an_array_grows_and_keeps_what_it_had(void **state)
{
    uint64_t *array = NULL, *full;
    size_t    room = 0;

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        assert_true(ARRAY_ROOM(array, i, room, 3));
        array[i] = i;
    }
    assert_int_equal(room, 192);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(array[i], i);
    full = array;
    room = SIZE_MAX / 16 + 2; /* the octets of twice as many are more than a size_t can say */
    assert_false(ARRAY_ROOM(array, room, room, 3));
    assert_true(array == full && room == SIZE_MAX / 16 + 2);
    free(array);
}

static void what_misleads_is_known(void **state)
{
    static const struct {
        const char *text;
        size_t      len;
        bool        misleads;
    } cases[] = {
        {"a", 1, false},        {"\x1b[", 1, true},        {"\x7f", 1, true},          {"\xc2\x9b", 2, true},
        {"\xc2\xa0", 2, false}, {"\xe2\x80\xae", 3, true}, {"\xe2\x82\xac", 3, false}, {"\xf0\x9f\x98\x80", 4, false},
    };
    uint32_t point;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(str_utf8_point(str_from(cases[i].text), &point), cases[i].len);
        assert_int_equal(point_misleads(point), cases[i].misleads);
    }
    assert_int_equal(str_utf8_point(STR("\xe2\x82"), &point), 0);
    assert_int_equal(str_utf8_point(STR(""), &point), 0);
}

static void a_buffer_never_passes_its_ceiling(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    assert_true(buf_append(&b, STR("12345")) && buf_printf(&b, "%s", "67890"));
    assert_int_equal(b.len, 10);
    assert_false(buf_append_byte(&b, 'x'));
    assert_false(buf_ok(&b));
    assert_true(str_eq(buf_str(&b), STR("1234567890")));
    buf_consume(&b, 4);
    assert_false(buf_append_byte(&b, 'x')); /* failed stays failed until it is cleared */
    buf_clear(&b);
    assert_true(buf_append_byte(&b, 'x') && buf_ok(&b) && b.data[1] == '\0');
    buf_consume(&b, 1);
    assert_true(str_is_empty(buf_str(&b)));
    buf_shrink(&b, 0);
    assert_null(b.data);
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_done(&b);
}

static void an_arena_ends_by_one_call(void **state)
{
    struct arena a;
    char        *p;

    (void)state;
    arena_init(&a, 256, 4096);
    assert_null(a.chunks);
    p = arena_alloc(&a, 3);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
    memset(p, 0xff, 3);
    assert_non_null(arena_alloc(&a, 2000)); /* larger than a chunk */
    assert_null(arena_alloc(&a, 4096));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_true(str_eq(arena_printf(&a, "%d-%s", 7, "x"), STR("7-x")));
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    p = arena_alloc(&a, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(p[i], 0);
    assert_non_null(arena_str(&a, STR_NONE).data);
    arena_done(&a);
    assert_null(a.chunks);
}

static void a_map_agrees_with_a_plain_table(void **state)
{
    enum { KEYS = 500, STEPS = 40000 };
    static int  values[KEYS];
    static bool there[KEYS];
    struct map  m;
    size_t      used = 0, seen = 0;

    (void)state;
    map_init(&m, 42);
    srand(1);
    for (int i = 0; i < STEPS; i++) {
        unsigned key = (unsigned)rand() % KEYS;

        if (rand() % 2) {
            assert_true(map_put_u64(&m, key, &values[key]));
            used += !there[key];
            there[key] = true;
        } else {
            assert_ptr_equal(map_remove_u64(&m, key), there[key] ? &values[key] : NULL);
            used -= there[key];
            there[key] = false;
        }
        assert_int_equal(m.used, used);
        assert_true(m.size <= 4096); /* graves do not make it grow for ever */
    }
    for (unsigned key = 0; key < KEYS; key++)
        assert_ptr_equal(map_get_u64(&m, key), there[key] ? &values[key] : NULL);
    for (size_t at = 0; map_next(&m, &at);)
        seen++;
    assert_int_equal(seen, used);
    map_done(&m);

    map_init(&m, 1);
    assert_null(map_get(&m, STR("x")));
    assert_true(map_put(&m, STR_NONE, &values[0]) && map_put(&m, STR("x"), &values[1]));
    assert_ptr_equal(map_get(&m, STR("")), &values[0]);
    assert_ptr_equal(map_remove(&m, STR("x")), &values[1]);
    assert_null(map_remove(&m, STR("x")));
    map_done(&m);
}

static void a_heap_gives_the_least_first(void **state)
{
    enum { ITEMS = 300 };
    static struct heap_item items[ITEMS];
    struct heap             h;
    uint64_t                last = 0;

    (void)state;
    heap_init(&h);
    srand(2);
    for (int i = 0; i < ITEMS; i++)
        assert_true(heap_put(&h, &items[i], (uint64_t)rand() % 100));
    for (int i = 0; i < ITEMS; i += 3)
        heap_put(&h, &items[i], (uint64_t)rand() % 100);
    for (int i = 0; i < ITEMS; i += 5) {
        heap_remove(&h, &items[i]);
        heap_remove(&h, &items[i]);
    }
    assert_int_equal(h.used, ITEMS - ITEMS / 5);
    while (heap_first(&h)) {
        struct heap_item *first = heap_first(&h);

        assert_true(first->key >= last);
        last = first->key;
        heap_remove(&h, first);
        assert_int_equal(first->place, 0);
    }
    heap_done(&h);
}

static void what_is_put_is_got_and_nothing_else(void **state)
{
    struct buf    b;
    struct reader r;

    (void)state;
    buf_init(&b, 1000);
    put_u8(&b, 200), put_u32(&b, 4000000000U), put_u64(&b, UINT64_MAX);
    put_var(&b, 0), put_var(&b, 127), put_var(&b, 128), put_var(&b, UINT64_MAX);
    put_str(&b, STR("a\0b")), put_str(&b, STR_NONE);
    r = reader_of(buf_str(&b));
    assert_int_equal(get_u8(&r), 200);
    assert_int_equal(get_u32(&r), 4000000000U);
    assert_true(get_u64(&r) == UINT64_MAX);
    assert_int_equal(get_var(&r), 0);
    assert_int_equal(get_var(&r), 127);
    assert_int_equal(get_var(&r), 128);
    assert_true(get_var(&r) == UINT64_MAX);
    assert_true(str_eq(get_str(&r), STR("a\0b")) && str_is_empty(get_str(&r)) && reader_ended(&r));
    for (size_t cut = 0; cut < b.len; cut++) { /* every shorter input fails somewhere and never reads past its end */
        r = reader_of(str_part(buf_str(&b), 0, cut));
        get_u8(&r), get_u32(&r), get_u64(&r);
        get_var(&r), get_var(&r), get_var(&r), get_var(&r), get_str(&r), get_str(&r);
        assert_false(reader_ok(&r));
    }
    buf_done(&b);
    r = reader_of(STR("\x80\x00")); /* not the shortest form */
    get_var(&r);
    assert_false(reader_ok(&r));
    r = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")); /* over 64 bits */
    get_var(&r);
    assert_false(reader_ok(&r));
    r = reader_of(STR("\x09"));
    get_var_max(&r, 8);
    assert_false(reader_ok(&r));
}

static void errors_carry_their_class(void **state)
{
    struct err err = {0};

    (void)state;
    assert_false(err_set_os(&err, ENOSPC, "cannot write \"%s\"", "x"));
    assert_int_equal(err.class, ERR_LIMIT);
    assert_string_equal(err.text, "cannot write \"x\": No space left on device");
    err_prefix(&err, "lane %d", 3);
    assert_string_equal(err.text, "lane 3: cannot write \"x\": No space left on device");
    err_set_os(&err, EIO, "x");
    assert_int_equal(err.class, ERR_TEMPORARY);
    assert_false(err_set(NULL, ERR_CONFIG, "nobody cares"));
    assert_false(err_set(&err, ERR_CONFIG, "%0600d", 1));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void numbers_as_text(void **state)
{
    static const struct {
        uint64_t    value;
        const char *text;
    } cases[] = {{0, "0"}, {9, "9"}, {10, "10"}, {1005, "1005"}, {UINT64_MAX, "18446744073709551615"}};
    char       text[STR_U64_TEXT];
    struct buf b;

    (void)state;
    buf_init(&b, 25);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(str_eq(str_from_u64(cases[i].value, text), str_from(cases[i].text)));
        buf_clear(&b);
        assert_true(buf_append_u64(&b, cases[i].value));
        assert_string_equal(b.data, cases[i].text);
    }
    assert_false(buf_append_u64(&b, 1234567)); /* over the ceiling: nothing of it */
    assert_int_equal(b.len, 20);
    buf_done(&b);
}

/* RFC 4648 10. */
static void base64_pads(void **state)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    struct buf               b;

    (void)state;
    buf_init(&b, 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&b);
        assert_true(base64_encode(str_from(cases[i][0]), &b));
        assert_true(str_eq(buf_str(&b), str_from(cases[i][1])));
    }
    buf_clear(&b);
    assert_true(base64_encode(STR("\xff\xef\0\x3e"), &b));
    assert_string_equal(b.data, "/+8APg==");
    assert_false(base64_encode(STR("more"), &b));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_as_text),
        cmocka_unit_test(base64_pads),
        cmocka_unit_test(str_parts_are_cut_to_what_is_there),
        cmocka_unit_test(numbers_are_exact_or_refused),
        cmocka_unit_test(utf8_is_judged_by_rfc_3629),
        cmocka_unit_test(a_high_byte_is_found_wherever_it_stands),
        cmocka_unit_test(an_array_grows_and_keeps_what_it_had),
        cmocka_unit_test(what_misleads_is_known),
        cmocka_unit_test(a_buffer_never_passes_its_ceiling),
        cmocka_unit_test(an_arena_ends_by_one_call),
        cmocka_unit_test(a_map_agrees_with_a_plain_table),
        cmocka_unit_test(a_heap_gives_the_least_first),
        cmocka_unit_test(what_is_put_is_got_and_nothing_else),
        cmocka_unit_test(errors_carry_their_class),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
