/* Lines of JSON written directly are what a parser of JSON reads back, whatever the texts contain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "back/json_line.h"

#include <jansson.h>

static void test_line(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < 2; i++) {
        json_line_open(&b, NULL, '{');
        json_line_text(&b, "a", STR("x"));
        json_line_u64(&b, "n", UINT64_MAX);
        json_line_true(&b, "t");
        json_line_open(&b, "list", '[');
        for (int k = 0; k < 2; k++) {
            json_line_open(&b, NULL, '{');
            json_line_text(&b, "e", STR(""));
            json_line_close(&b, '}');
        }
        json_line_text(&b, NULL, STR("s"));
        json_line_close(&b, ']');
        json_line_open(&b, "none", '[');
        json_line_close(&b, ']');
        json_line_close(&b, '}');
        buf_append_byte(&b, '\n');
    }
    assert_string_equal(b.data,
                        "{\"a\":\"x\",\"n\":18446744073709551615,\"t\":true,\"list\":[{\"e\":\"\"},{\"e\":\"\"},\"s\"],"
                        "\"none\":[]}\n"
                        "{\"a\":\"x\",\"n\":18446744073709551615,\"t\":true,\"list\":[{\"e\":\"\"},{\"e\":\"\"},\"s\"],"
                        "\"none\":[]}\n");
    buf_done(&b);
}

/* As it should come back: the text itself, or with '?' for what is not ASCII if it is no UTF-8. */
static void assert_text(struct str text)
{
    char         wanted[64];
    struct buf   b;
    json_t      *line, *value;
    json_error_t error;

    for (size_t i = 0; i < text.len; i++)
        wanted[i] = str_is_utf8(text) || (unsigned char)text.data[i] < 0x80 ? text.data[i] : '?';
    buf_init(&b, 1 << 16);
    json_line_open(&b, NULL, '{');
    json_line_text(&b, "text", text);
    json_line_close(&b, '}');
    line = json_loadb(b.data, b.len, JSON_ALLOW_NUL, &error);
    assert_non_null(line);
    value = json_object_get(line, "text");
    assert_int_equal(json_string_length(value), text.len);
    assert_memory_equal(json_string_value(value), wanted, text.len);
    assert_int_equal(str_find_byte(buf_str(&b), '\n'), STR_NOT_FOUND);
    json_decref(line);
    buf_done(&b);
}

static void test_texts(void **state)
{
    static const char *const parts[] = {"a",
                                        "\"",
                                        "\\",
                                        "\n",
                                        "\x01",
                                        "\x7f",
                                        "\xc3\xa4",
                                        "\xc3",
                                        "\xff",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x92\xa9",
                                        "\xed\xa0\x80",
                                        "/",
                                        "\t"};
    char                     text[64];

    (void)state;
    for (int c = 0; c < 256; c++) {
        text[0] = 'x';
        text[1] = (char)c;
        text[2] = 'y';
        assert_text(str_of(text, 3));
        assert_text(str_of(text + 1, 1));
    }
    assert_text(STR(""));
    srand(1);
    for (int round = 0; round < 20000; round++) {
        size_t len = 0;

        for (int i = rand() % 10; i-- > 0;) {
            struct str part = str_from(parts[(size_t)rand() % (sizeof parts / sizeof *parts)]);

            memcpy(text + len, part.data, part.len);
            len += part.len;
        }
        assert_text(str_of(text, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_line), cmocka_unit_test(test_texts)};

    return cmocka_run_group_tests_name("json_line", tests, NULL, NULL);
}
