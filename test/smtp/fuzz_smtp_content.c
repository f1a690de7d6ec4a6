/* Any bytes as content: the scanner against a plain reading of the rules, whole and in pieces. The first byte is the
 * length of a piece. */
#include "fuzz.h"

#include "smtp/content.h"

#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

struct result {
    char                   *bytes;
    size_t                  len, taken;
    enum smtp_content_fault fault;
    bool                    ended;
};

/* Where the first fault is and what kind, by looking at each octet with its neighbours; in.len: there is none.
 * `bare_cr_at`: a CR at the end of the input may still get its LF. */
static size_t first_fault(struct str in, enum smtp_content_fault *ret_fault)
{
    for (size_t i = 0; i < in.len; i++) {
        *ret_fault = CONTENT_NUL;
        if (in.data[i] == '\0')
            return i;
        *ret_fault = CONTENT_BARE_LF;
        if (in.data[i] == '\n' && (i == 0 || in.data[i - 1] != '\r'))
            return i;
        *ret_fault = CONTENT_BARE_CR;
        if (in.data[i] == '\r' && i + 1 < in.len && in.data[i + 1] != '\n')
            return i + 1;
    }
    *ret_fault = CONTENT_GOOD;
    return in.len;
}

/* The rules once more, slowly: the message ends behind the first CRLF.CRLF (a CRLF stands in front of the input). */
static struct result plain(struct str in)
{
    struct result r = {malloc(in.len + 1), 0, in.len, CONTENT_GOOD, false};
    struct str    message;
    size_t        good;

    check(r.bytes != NULL);
    if (str_starts(in, STR(".\r\n"))) {
        r.taken = 3;
        r.ended = true;
    } else {
        size_t end = str_find(in, STR("\r\n.\r\n"));

        r.ended = end != STR_NOT_FOUND;
        r.taken = r.ended ? end + 5 : in.len;
    }
    message = str_part(in, 0, r.ended ? r.taken - 3 : r.taken);
    good = first_fault(str_part(in, 0, r.taken), &r.fault);
    for (size_t i = 0; i < message.len && i < good; i++) {
        bool line_start = i == 0 || (i >= 2 && in.data[i - 1] == '\n' && in.data[i - 2] == '\r');

        if (in.data[i] == '.' && line_start) { /* gone, and with it a CR behind it that is not (yet) a line end */
            if (i + 1 < message.len && in.data[i + 1] == '\r')
                break;
            if (i + 1 == message.len)
                break;
            continue;
        }
        r.bytes[r.len++] = in.data[i];
    }
    return r;
}

static struct result scanned(struct str in, size_t piece_len)
{
    struct result       r = {malloc(in.len + 1), 0, 0, CONTENT_GOOD, false};
    struct smtp_content c;

    check(r.bytes != NULL);
    smtp_content_init(&c);
    while (r.taken < in.len && !r.ended) {
        struct str part = str_part(in, r.taken, piece_len), piece;
        size_t     taken;

        r.ended = smtp_content_feed(&c, part, &taken, &piece);
        check(taken > 0 && taken <= part.len && piece.len <= taken);
        memcpy(r.bytes + r.len, piece.len ? piece.data : "", piece.len);
        r.len += piece.len;
        r.taken += taken;
    }
    r.fault = (enum smtp_content_fault)c.fault;
    return r;
}

static void compare(const struct result *a, const struct result *b)
{
    check(a->ended == b->ended && a->taken == b->taken && a->fault == b->fault && a->len == b->len);
    check(memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* BDAT: the same faults, nothing taken away. */
static void checked(struct str in, size_t piece_len)
{
    struct smtp_content     c;
    enum smtp_content_fault fault;
    size_t                  good = first_fault(in, &fault), len = 0;

    smtp_content_init(&c);
    for (size_t at = 0; at < in.len; at += piece_len)
        len += smtp_content_check(&c, str_part(in, at, piece_len)).len;
    check(c.fault == fault && len == good);
    smtp_content_check_end(&c);
    check(c.fault == (fault == CONTENT_GOOD && str_ends(in, STR("\r")) ? CONTENT_BARE_CR : fault));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str    in = {(const char *)data + 1, size - 1};
    struct result expected, whole, pieces;

    if (size < 2 || size > 65536)
        return 0;
    expected = plain(in);
    whole = scanned(in, in.len);
    pieces = scanned(in, (size_t)data[0] % 16 + 1);
    compare(&expected, &whole);
    compare(&expected, &pieces);
    checked(in, in.len);
    checked(in, (size_t)data[0] % 16 + 1);
    free(expected.bytes);
    free(whole.bytes);
    free(pieces.bytes);
    return 0;
}
