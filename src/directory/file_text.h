/* file_text.h: the lines of a directory that is a text file. */
#ifndef TACIT_DIRECTORY_FILE_TEXT_H
#define TACIT_DIRECTORY_FILE_TEXT_H

#include "directory/directory.h"

extern const struct str directory_file_header; /* what a new file begins with: how to write one */

/* One line without its end. *ret_has_entry: false for an empty line and one with only a comment. *ret_comment borrows
 * the line; the entry lies in `arena`. */
bool directory_line_parse(struct str line, struct arena *arena, bool *ret_has_entry, struct directory_entry *ret_entry,
                          struct str *ret_comment, struct err *err);
/* Appends a line that parses to the same, with its end. False: `out` or the memory is full. */
bool directory_line_format(const struct directory_entry *entry, struct str comment, struct buf *out);

#endif
