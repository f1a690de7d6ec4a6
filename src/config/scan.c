/* scan.c: a first look at the text, before libconfuse parses it.
 *
 * libconfuse takes the end of the file for the end of a block that was never closed, skips characters that it does not
 * know, takes variables of the environment into values, and cannot say where a block began. So this scan, which knows
 * only strings, comments and braces, refuses the first two with their line, and variables too: a role parses the same
 * text in another process and must get the same configuration. It notes the line of each block, and blanks the
 * comments.
 *
 *   text    = *( blank / comment / string / word / "=" / "+=" / "," / list / block )
 *   comment = "#" up to the end of the line
 *   string  = DQUOTE *( any but DQUOTE and "\" / "\" any ) DQUOTE, and the same between single quotes
 *   list    = "=" "{" … "}"          block = "{" … "}"; neither holds a block
 *
 * Rejected: a parser of our own for all of it; the grammar of values and its messages are libconfuse's. */
#include "config/internal.h"

#include "base/array.h"

#include <stdlib.h>

struct scan {
    struct config_scan out;
    size_t             block_size;
    unsigned           line, open_line, list_line;
    bool               in_block, in_list;
    char               before; /* the last character that is neither blank nor comment */
};

static bool note_block(struct scan *s, struct err *err)
{
    if (!ARRAY_ROOM(s->out.block_lines, s->out.block_count, s->block_size, 16))
        return err_set(err, ERR_LIMIT, "out of memory");
    s->out.block_lines[s->out.block_count++] = s->line;
    return true;
}

static bool scan_brace(struct scan *s, char c, struct err *err)
{
    if (c == '{' && s->before == '=') {
        s->in_list = true;
        s->list_line = s->line;
        return true;
    }
    if (c == '{') {
        if (s->in_block || s->in_list)
            return err_set(err, ERR_CONFIG, "a block cannot begin inside another: a '}' is missing before this '{'");
        s->in_block = true;
        s->open_line = s->line;
        return note_block(s, err);
    }
    if (s->in_list)
        s->in_list = false;
    else if (s->in_block)
        s->in_block = false;
    else
        return err_set(err, ERR_CONFIG, "this '}' closes nothing");
    return true;
}

/* From the quote at `at`; returns the place of its end, or SIZE_MAX. */
static size_t scan_string(struct str text, size_t at, struct err *err)
{
    char quote = text.data[at];

    for (at++; at < text.len; at++) {
        char c = text.data[at];

        if (c == quote)
            return at;
        if (c == '\n')
            break;
        if (((unsigned char)c < ' ' && c != '\t') || c == 0x7f) {
            err_set(err, ERR_CONFIG, "this string has a control character (code %d)", c);
            return SIZE_MAX;
        }
        if (c == '\\' && at + 1 < text.len && (unsigned char)text.data[at + 1] >= ' ')
            at++;
        else if (c == '$' && quote == '"' && at + 1 < text.len && text.data[at + 1] == '{') {
            err_set(err, ERR_CONFIG, "variables of the environment (${…}) are not read; write the value itself");
            return SIZE_MAX;
        }
    }
    err_set(err, ERR_CONFIG, "this string has no closing %c on its line", quote);
    return SIZE_MAX;
}

static bool scan_char(struct scan *s, struct str text, size_t *at, struct err *err)
{
    char c = text.data[*at], next = *at + 1 < text.len ? text.data[*at + 1] : 0;

    switch (c) {
    case '#':
        while (*at < text.len && text.data[*at] != '\n')
            s->out.text[(*at)++] = ' ';
        (*at)--;
        return true;
    case '\n':
        s->line++;
        return true;
    case ' ':
    case '\t':
    case '\r':
        return true;
    case '"':
    case '\'': {
        size_t end = scan_string(text, *at, err);

        if (end == SIZE_MAX)
            return false;
        *at = end;
        break;
    }
    case '{':
    case '}':
        if (!scan_brace(s, c, err))
            return false;
        break;
    case '*':
        return err_set(err, ERR_CONFIG, "put * in quotes: \"*\"");
    case '/':
        if (next == '/' || next == '*')
            return err_set(err, ERR_CONFIG, "a comment begins with #; put text with /%c in quotes", next);
        break;
    case '$':
        if (next == '{')
            return err_set(err, ERR_CONFIG, "variables of the environment (${…}) are not read; write the value itself");
        break;
    default:
        if ((unsigned char)c < ' ' || c == 0x7f)
            return err_set(err, ERR_CONFIG, "this line has a control character (code %d)", c);
        break;
    }
    s->before = c;
    return true;
}

bool config_scan(struct str text, struct config_scan *ret_scan, unsigned *ret_line, struct err *err)
{
    const struct str mark = str_starts(text, STR("\xEF\xBB\xBF")) ? STR("\xEF\xBB\xBF") : STR_NONE;
    struct scan      s = {.line = 1};
    bool             good = true;

    *ret_line = 1;
    if (text.len > CONFIG_TEXT_MAX)
        return err_set(err, ERR_CONFIG, "larger than %d octets", CONFIG_TEXT_MAX);
    s.out.text = malloc(text.len + 1);
    if (!s.out.text)
        return err_set(err, ERR_LIMIT, "out of memory");
    if (text.len)
        memcpy(s.out.text, text.data, text.len);
    s.out.text[text.len] = 0;
    memset(s.out.text, ' ', mark.len); /* editors of Windows begin a file with it */
    for (size_t at = mark.len; good && at < text.len; at++)
        good = scan_char(&s, text, &at, err);
    if (good && (s.in_list || s.in_block)) {
        s.line = s.in_list ? s.list_line : s.open_line;
        good = err_set(err, ERR_CONFIG, "the %s that begins here is never closed: a '}' is missing",
                       s.in_list ? "list" : "block");
    }
    if (!good) {
        *ret_line = s.line;
        config_scan_done(&s.out);
        return false;
    }
    *ret_scan = s.out;
    return true;
}

void config_scan_done(struct config_scan *scan)
{
    free(scan->text);
    free(scan->block_lines);
    *scan = (struct config_scan){0};
}
