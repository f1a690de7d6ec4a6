/* csv.c: see csv.h. Cells are borrowed from the text wherever they stand there as they are, for a list of a million
 * addresses has few quotes. */
#include "cli/csv.h"

static bool is_end(char c) { return c == '\n' || c == '\r'; }

/* ---- reading ---- */

static char find_separator(struct str text)
{
    size_t commas = 0, semicolons = 0, tabs = 0;
    bool   quoted = false;

    for (size_t i = 0; i < text.len && (quoted || !is_end(text.data[i])); i++) {
        quoted ^= text.data[i] == '"';
        commas += !quoted && text.data[i] == ',';
        semicolons += !quoted && text.data[i] == ';';
        tabs += !quoted && text.data[i] == '\t';
    }
    if (tabs > commas && tabs > semicolons)
        return '\t';
    return semicolons > commas ? ';' : ',';
}

bool csv_begin(struct csv *c, struct str text, struct err *err)
{
    if (str_starts(text, STR("\xff\xfe")) || str_starts(text, STR("\xfe\xff")))
        return err_set(err, ERR_PERMANENT, "this is UTF-16; save it as UTF-8");
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_skip(text, 3);
    *c = (struct csv){.rest = text, .separator = find_separator(text), .next_line = 1};
    return true;
}

static void take(struct csv *c, size_t len)
{
    for (size_t i = 0; i < len; i++) /* a CR counts unless its LF does */
        c->next_line += c->rest.data[i] == '\n' ||
                        (c->rest.data[i] == '\r' && (i + 1 == c->rest.len || c->rest.data[i + 1] != '\n'));
    c->rest = str_skip(c->rest, len);
}

static size_t plain_len(const struct csv *c)
{
    size_t len = 0;

    while (len < c->rest.len && !is_end(c->rest.data[len]) && c->rest.data[len] != c->separator)
        len++;
    return len;
}

/* Behind the first quote. */
static bool read_quoted(struct csv *c, struct arena *arena, struct str *ret_cell, struct err *err)
{
    size_t len = 0, begin = c->next_line, out = 0, tail;
    char  *cell;

    while (len < c->rest.len && (c->rest.data[len] != '"' || (len + 1 < c->rest.len && c->rest.data[len + 1] == '"')))
        len += c->rest.data[len] == '"' ? 2 : 1;
    if (len >= c->rest.len)
        return err_set(err, ERR_PERMANENT, "line %zu: a quote that begins there has no end", begin);
    cell = arena_alloc(arena, len + 1);
    if (!cell)
        return err_set(err, ERR_LIMIT, "line %zu: out of memory", begin);
    for (size_t i = 0; i < len; i++) {
        cell[out++] = c->rest.data[i];
        i += c->rest.data[i] == '"';
    }
    take(c, len + 1);
    *ret_cell = str_of(cell, out);
    tail = plain_len(c);
    if (tail) {
        *ret_cell = arena_printf(arena, "%.*s%.*s", STR_ARG(*ret_cell), (int)tail, c->rest.data);
        take(c, tail);
    }
    return ret_cell->data || err_set(err, ERR_LIMIT, "line %zu: out of memory", begin);
}

static bool read_cell(struct csv *c, struct arena *arena, struct str *ret_cell, struct err *err)
{
    size_t len;

    if (c->rest.len && c->rest.data[0] == '"') {
        take(c, 1);
        return read_quoted(c, arena, ret_cell, err);
    }
    len = plain_len(c);
    *ret_cell = str_part(c->rest, 0, len);
    take(c, len);
    return true;
}

enum csv_read csv_next(struct csv *c, struct arena *arena, struct csv_row *ret_row, struct err *err)
{
    struct str cells[CSV_CELLS_MAX], cell;
    size_t     count = 0;

    if (!c->rest.len)
        return CSV_END;
    c->line = c->next_line;
    for (;;) {
        if (!read_cell(c, arena, &cell, err))
            return CSV_BAD;
        if (count < CSV_CELLS_MAX)
            cells[count++] = cell;
        if (!c->rest.len || is_end(c->rest.data[0]))
            break;
        take(c, 1);
    }
    take(c, str_starts(c->rest, STR("\r\n")) ? 2 : c->rest.len ? 1 : 0);
    ret_row->cells = arena_alloc(arena, count * sizeof *cells);
    if (!ret_row->cells) {
        err_set(err, ERR_LIMIT, "line %zu: out of memory", c->line);
        return CSV_BAD;
    }
    memcpy(ret_row->cells, cells, count * sizeof *cells);
    ret_row->count = count;
    return CSV_ROW;
}

/* ---- writing ---- */

static bool is_formula(struct str cell)
{
    return cell.len && str_find_byte(STR("=+-@\t\r"), cell.data[0]) != STR_NOT_FOUND;
}

static bool wants_quotes(struct str cell)
{
    for (size_t i = 0; i < cell.len; i++)
        if (is_end(cell.data[i]) || cell.data[i] == '"' || str_find_byte(STR(",;\t"), cell.data[i]) != STR_NOT_FOUND)
            return true;
    return cell.len && (cell.data[0] == ' ' || cell.data[cell.len - 1] == ' ');
}

/* A table may be looked at in a terminal: of controls only tabs and ends of lines stay. */
static void put_octets(struct str cell, bool quotes, struct buf *out)
{
    while (cell.len) {
        char     c = cell.data[0];
        uint32_t point = 0;
        size_t   len = str_utf8_point(cell, &point);

        if ((len && point >= 0xa0) || (!len && c) || (c >= ' ' && c < 127) || c == '\t' || is_end(c))
            buf_append(out, str_part(cell, 0, len ? len : 1));
        else
            buf_append_byte(out, '?');
        if (quotes && c == '"')
            buf_append_byte(out, '"');
        cell = str_skip(cell, len ? len : 1);
    }
}

bool csv_put(struct buf *out, struct str cell, bool first)
{
    bool quotes = wants_quotes(cell);

    if (!first)
        buf_append_byte(out, ',');
    if (quotes)
        buf_append_byte(out, '"');
    if (is_formula(cell))
        buf_append_byte(out, '\'');
    put_octets(cell, quotes, out);
    if (quotes)
        buf_append_byte(out, '"');
    return buf_ok(out);
}
