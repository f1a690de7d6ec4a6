/* fuzz_csv.c: octets as a table. It comes to an end, its lines grow, and what csv_put makes of its cells reads the
 * same, but for the mark in front of what looks like a formula, and for controls, of which none is left. */
#include "fuzz.h"

#include "cli/csv.h"

#include <stdint.h>

static bool has_controls(struct str cell)
{
    while (cell.len) {
        uint32_t point = (unsigned char)cell.data[0];
        size_t   len = str_utf8_point(cell, &point);

        if ((point < ' ' && point != '\t' && point != '\r' && point != '\n') || point == 127 ||
            (len && point >= 0x80 && point < 0xa0))
            return true;
        cell = str_skip(cell, len ? len : 1);
    }
    return false;
}

static void write_and_read_again(const struct csv_row *row, struct arena *arena)
{
    struct buf     out;
    struct csv     csv;
    struct csv_row again;

    buf_init(&out, 1 << 22);
    for (size_t i = 0; i < row->count; i++)
        must(csv_put(&out, row->cells[i], i == 0));
    buf_append_z(&out, "\r\n");
    csv = (struct csv){.rest = buf_str(&out), .separator = ',', .next_line = 1};
    must(csv_next(&csv, arena, &again, NULL) == CSV_ROW && again.count == row->count);
    for (size_t i = 0; i < row->count; i++) {
        struct str cell = again.cells[i];

        must(!cell.len || str_find_byte(STR("=+-@\t\r"), cell.data[0]) == STR_NOT_FOUND);
        must(!has_controls(cell));
        if (!str_eq(cell, row->cells[i]) && !has_controls(row->cells[i]))
            must(cell.data[0] == '\'' && str_eq(str_skip(cell, 1), row->cells[i]));
    }
    must(csv_next(&csv, arena, &again, NULL) == CSV_END);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena   arena;
    struct csv     csv;
    struct csv_row row;
    size_t         rows = 0, line = 0;

    if (size > 1 << 16 || !csv_begin(&csv, str_of((const char *)data, size), NULL))
        return 0;
    arena_init(&arena, 1 << 16, 64 << 20);
    while (csv_next(&csv, &arena, &row, NULL) == CSV_ROW) {
        must(row.count >= 1 && csv.line > line);
        line = csv.line;
        must(++rows <= size);
        write_and_read_again(&row, &arena);
        arena_reset(&arena);
    }
    arena_done(&arena);
    return 0;
}
