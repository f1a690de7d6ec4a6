/* csv.h: tables as text (RFC 4180), read as spreadsheets write them and written so that they do no harm there.
 *
 *   file  = [ BOM ] row *( line-end row ) [ line-end ]      line-end = CRLF / LF / CR
 *   row   = cell *( separator cell )                        separator = "," / ";" / TAB, one for the whole file
 *   cell  = *octet / DQUOTE *( octet / DQUOTE DQUOTE ) DQUOTE *octet
 *
 * Lenient: any octets, rows of any number of cells, text behind a closing quote (it belongs to the cell), a quote
 * inside a cell that did not begin with one. */
#ifndef TACIT_CLI_CSV_H
#define TACIT_CLI_CSV_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum { CSV_CELLS_MAX = 1000 /* of a row; what is more is left out */ };

struct csv {
    struct str rest;
    char       separator;
    size_t     next_line;
    size_t     line; /* where the row that was read last begins, from 1 */
};
struct csv_row {
    struct str *cells; /* borrow the text, or lie in the arena where quotes were taken out */
    size_t      count; /* 1 at least; an empty line is one empty cell */
};

/* `text` is borrowed. The separator is the one that occurs most in the first row; without one it is a comma. False: it
 * is no text (UTF-16). */
bool csv_begin(struct csv *c, struct str text, struct err *err);
enum csv_read { CSV_ROW, CSV_END, CSV_BAD };
/* CSV_BAD: a quote without its end, or no memory. */
enum csv_read csv_next(struct csv *c, struct arena *arena, struct csv_row *ret_row, struct err *err);

/* Appends a cell, with a comma in front unless it is the `first`. What a spreadsheet would take for a formula (it
 * begins with = + - @ TAB or CR) gets a ' in front. */
bool csv_put(struct buf *out, struct str cell, bool first);

#endif
