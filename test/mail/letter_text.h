/* letter_text.h: what tests of letters that we write look for in their text. Behind <cmocka.h>. */
#ifndef TACIT_TEST_MAIL_LETTER_TEXT_H
#define TACIT_TEST_MAIL_LETTER_TEXT_H

#include "base/buf.h"

static inline bool holds(const struct buf *b, const char *text)
{
    return str_find(buf_str(b), str_from(text)) != STR_NOT_FOUND;
}

/* Every line ends in CRLF, is at most 998 octets long, and there is no other CR, LF or NUL. */
static inline void assert_well_formed(const struct buf *b)
{
    struct str rest = buf_str(b);

    while (rest.len) {
        struct str line = str_cut(&rest, '\n');

        assert_true(str_ends(line, STR("\r")));
        assert_true(line.len <= 999);
        assert_true(str_find_byte(line, '\r') == line.len - 1);
        assert_true(str_find_byte(line, '\0') == STR_NOT_FOUND);
    }
}

#endif
