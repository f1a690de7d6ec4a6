/* content.c: the strict scanner of message content.
 *
 *   content = *( line CRLF ) "." CRLF        line = *%x01-09,%x0B-0C,%x0E-FF     (the first "." of a line is removed)
 *
 *   LINE --"."--> DOT --CR--> DOT_CR --LF--> END
 *   LINE, DOT --other--> TEXT --CR--> CR --LF--> LINE
 *   CR, DOT_CR --other--> spoilt, TEXT      TEXT --LF or NUL--> spoilt, TEXT
 *
 * Runs of plain text are passed over eight octets at a time, and a piece given out is a run of the input as it is, cut
 * only where a dot has to go: nothing is copied. Rejected: repairing line ends (smuggling lives on two servers that
 * disagree about where a message ends) and stopping at the fault (the rest would be read as commands). */
#include "smtp/content.h"

enum content_state { CONTENT_LINE, CONTENT_TEXT, CONTENT_CR, CONTENT_DOT, CONTENT_DOT_CR };

void smtp_content_init(struct smtp_content *c) { *c = (struct smtp_content){CONTENT_LINE, CONTENT_GOOD}; }

/* Octets at the start of `s` among which is no NUL, LF or CR. */
static size_t plain_len(struct str s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones * 0x80;
    size_t         at = 0;

    while (true) {
        for (; at + sizeof(uint64_t) <= s.len; at += sizeof(uint64_t)) {
            uint64_t word;

            memcpy(&word, s.data + at, sizeof word);
            if ((word - ones * ('\r' + 1)) & ~word & highs) /* an octet up to CR, some of which are harmless */
                break;
        }
        for (size_t end = at + sizeof(uint64_t) < s.len ? at + sizeof(uint64_t) : s.len; at < end; at++)
            if (s.data[at] == '\r' || s.data[at] == '\n' || s.data[at] == '\0')
                return at;
        if (at == s.len)
            return at;
    }
}

/* Remembers the first fault and where the good part of this input ends. */
static void spoil(struct smtp_content *c, enum smtp_content_fault fault, size_t at, size_t *good_end)
{
    if (c->fault == CONTENT_GOOD) {
        c->fault = (uint8_t)fault;
        *good_end = at;
    }
}

/* The octet behind a run of plain text. */
static void text_byte(struct smtp_content *c, char byte, size_t at, size_t *good_end)
{
    if (byte == '\r')
        c->state = CONTENT_CR;
    else if (byte == '\n')
        spoil(c, CONTENT_BARE_LF, at, good_end);
    else if (byte == '\0')
        spoil(c, CONTENT_NUL, at, good_end);
}

bool smtp_content_feed(struct smtp_content *c, struct str in, size_t *ret_len, struct str *ret_piece)
{
    bool   spoilt = c->fault != CONTENT_GOOD, ended = false;
    size_t at = 0, from = 0, good_end = STR_NOT_FOUND;

    while (at < in.len && !ended) {
        char byte = in.data[at];

        switch ((enum content_state)c->state) {
        case CONTENT_LINE:
            if (byte == '.' && at > from)
                goto out; /* the piece ends in front of a dot that may have to go */
            c->state = byte == '.' ? CONTENT_DOT : CONTENT_TEXT;
            at += byte == '.';
            break;
        case CONTENT_DOT:
            c->state = byte == '\r' ? CONTENT_DOT_CR : CONTENT_TEXT;
            from = at += byte == '\r';
            break;
        case CONTENT_DOT_CR:
            if (byte == '\n') {
                ended = true;
                from = ++at;
                break;
            }
            spoil(c, CONTENT_BARE_CR, from = at, &good_end);
            c->state = CONTENT_TEXT;
            break;
        case CONTENT_CR:
            if (byte == '\n') {
                c->state = CONTENT_LINE;
                at++;
                break;
            }
            spoil(c, CONTENT_BARE_CR, at, &good_end);
            c->state = CONTENT_TEXT;
            break;
        case CONTENT_TEXT:
            at += plain_len(str_skip(in, at));
            if (at < in.len) {
                text_byte(c, in.data[at], at, &good_end);
                at++;
            }
            break;
        }
    }
out:
    if (c->state == CONTENT_DOT || c->state == CONTENT_DOT_CR)
        from = at;
    *ret_len = at;
    if (spoilt)
        *ret_piece = STR_NONE;
    else
        *ret_piece = str_part(in, from, (good_end == STR_NOT_FOUND ? at : good_end) - from);
    return ended;
}

struct str smtp_content_check(struct smtp_content *c, struct str in)
{
    bool   spoilt = c->fault != CONTENT_GOOD;
    size_t at = 0, good_end = in.len;

    while (at < in.len) {
        if (c->state == CONTENT_CR && in.data[at] != '\n')
            spoil(c, CONTENT_BARE_CR, at, &good_end);
        if (c->state == CONTENT_CR) {
            c->state = CONTENT_TEXT;
            at += in.data[at] == '\n';
            continue;
        }
        at += plain_len(str_skip(in, at));
        if (at < in.len) {
            text_byte(c, in.data[at], at, &good_end);
            at++;
        }
    }
    return spoilt ? STR_NONE : str_part(in, 0, good_end);
}

void smtp_content_check_end(struct smtp_content *c)
{
    size_t unused;

    if (c->state == CONTENT_CR)
        spoil(c, CONTENT_BARE_CR, 0, &unused);
}
