/* scan.c: looks through content as it streams by. Two machines that know nothing of each other run over each piece:
 * one follows the header byte by byte until it ends, the other looks for "<left@hostname>" from one "<" to the next.
 * Behind the header only memchr and a test of eight bytes at a time are left, so that a large body costs next to
 * nothing.
 *
 *   LINE --name byte--> NAME --blank--> NAME_BLANK          LINE --blank, after a field--> FIELD
 *   NAME, NAME_BLANK --":"--> FIELD --LF--> LINE            LINE --CR--> CR --LF--> BODY (behind the empty line)
 *   LINE --LF--> BODY (behind it)                           anything else --> BODY (at the start of that line) */
#include "mail/header.h"

enum scan_state { SCAN_LINE, SCAN_NAME, SCAN_NAME_BLANK, SCAN_FIELD, SCAN_CR, SCAN_BODY };
enum token_state { TOKEN_NONE, TOKEN_LEFT, TOKEN_HOST };

void mail_scan_init(struct mail_scan *s, struct str hostname)
{
    memset(s, 0, sizeof *s);
    s->hostname = hostname;
}

static bool name_is(const struct mail_scan *s, struct str name)
{
    return str_eq_nocase(str_of(s->name, s->name_len), name);
}

static void field_found(struct mail_scan *s)
{
    s->any_field = true;
    s->fields++;
    if (s->name_len > MAIL_SCAN_NAME_MAX)
        return;
    s->received += name_is(s, STR("Received"));
    s->has_message_id |= name_is(s, STR("Message-ID"));
    s->has_date |= name_is(s, STR("Date"));
    s->has_from |= name_is(s, STR("From"));
}

static void header_end(struct mail_scan *s, uint64_t body_start)
{
    s->header_len = s->line_start;
    s->body_start = body_start;
    s->header_ended = true;
    s->state = SCAN_BODY;
}

static void name_put(struct mail_scan *s, char c)
{
    if (s->name_len < MAIL_SCAN_NAME_MAX)
        s->name[s->name_len] = c;
    if (s->name_len <= MAIL_SCAN_NAME_MAX)
        s->name_len++;
}

/* `at`: offset of the byte in the content. */
static void header_byte(struct mail_scan *s, char c, uint64_t at)
{
    bool blank = c == ' ' || c == '\t', name = c > ' ' && c < 127 && c != ':';

    switch ((enum scan_state)s->state) {
    case SCAN_LINE:
        s->line_start = at;
        s->name_len = 0;
        if (name) {
            name_put(s, c);
            s->state = SCAN_NAME;
        } else if (blank && s->any_field) {
            s->state = SCAN_FIELD;
        } else if (c == '\r') {
            s->state = SCAN_CR;
        } else {
            header_end(s, c == '\n' ? at + 1 : at);
        }
        break;
    case SCAN_NAME:
    case SCAN_NAME_BLANK:
        if (c == ':') {
            field_found(s);
            s->state = SCAN_FIELD;
        } else if (blank) {
            s->state = SCAN_NAME_BLANK;
        } else if (name && s->state == SCAN_NAME) {
            name_put(s, c);
        } else {
            header_end(s, s->line_start);
        }
        break;
    case SCAN_FIELD:
        if (c == '\n')
            s->state = SCAN_LINE;
        break;
    case SCAN_CR:
        header_end(s, c == '\n' ? at + 1 : s->line_start);
        break;
    case SCAN_BODY:
        break;
    }
}

static void token_keep(struct mail_scan *s)
{
    struct str left = str_of(s->left, s->left_len);

    for (size_t i = 0; i < s->id_count; i++)
        if (str_eq(mail_scan_id(s, i), left))
            return;
    if (s->id_count == MAIL_SCAN_IDS)
        return;
    memcpy(s->ids[s->id_count], left.data, left.len);
    s->id_lens[s->id_count++] = s->left_len;
}

static void token_byte(struct mail_scan *s, char c)
{
    if (c == '<') {
        s->token_state = TOKEN_LEFT;
        s->left_len = 0;
        return;
    }
    switch ((enum token_state)s->token_state) {
    case TOKEN_NONE:
        break;
    case TOKEN_LEFT:
        if (c == '@' && s->left_len) {
            s->token_state = TOKEN_HOST;
            s->host_len = 0;
        } else if (c > ' ' && c < 127 && c != '@' && c != '>' && s->left_len < MAIL_SCAN_ID_MAX) {
            s->left[s->left_len++] = c;
        } else {
            s->token_state = TOKEN_NONE;
        }
        break;
    case TOKEN_HOST:
        if (s->host_len < s->hostname.len && char_lower(c) == char_lower(s->hostname.data[s->host_len])) {
            s->host_len++;
            break;
        }
        if (s->host_len == s->hostname.len && c == '>')
            token_keep(s);
        s->token_state = TOKEN_NONE;
        break;
    }
}

static void tokens_feed(struct mail_scan *s, struct str piece)
{
    for (size_t at = 0; at < piece.len; at++) {
        if (s->token_state == TOKEN_NONE) {
            size_t next = str_find_byte(str_skip(piece, at), '<');

            if (next == STR_NOT_FOUND)
                return;
            at += next;
        }
        token_byte(s, piece.data[at]);
    }
}

void mail_scan_feed(struct mail_scan *s, struct str piece)
{
    size_t at = 0;

    for (; at < piece.len && s->state != SCAN_BODY; at++) {
        header_byte(s, piece.data[at], s->size + at);
        if ((unsigned char)piece.data[at] >= 0x80)
            *(s->state == SCAN_BODY ? &s->body_8bit : &s->header_8bit) = true;
    }
    if (!s->body_8bit)
        s->body_8bit = !str_is_7bit(str_skip(piece, at));
    if (!s->has_nul)
        s->has_nul = str_find_byte(piece, '\0') != STR_NOT_FOUND;
    if (s->hostname.len)
        tokens_feed(s, piece);
    s->size += piece.len;
}

void mail_scan_end(struct mail_scan *s)
{
    if (s->header_ended)
        return;
    s->header_len = s->state == SCAN_LINE || s->state == SCAN_FIELD ? s->size : s->line_start;
    s->body_start = s->header_len;
}

struct str mail_scan_id(const struct mail_scan *s, size_t index)
{
    return index < s->id_count ? str_of(s->ids[index], s->id_lens[index]) : STR_NONE;
}
