/* sendmail_message.c: completing a message as a submission agent may (RFC 6409 8): From and Date where they are
 * missing, Bcc taken out. A missing Message-ID is left to the server, which gives one that it knows again when a bounce
 * quotes it. Everything else stays as it is; only line ends become CRLF. A CR that is not part of a
 * line end stays too: the server refuses it, which is better than to guess what it meant. */
#include "cli/sendmail_message.h"

#include "io/file.h"
#include "io/loop.h"
#include "mail/date.h"
#include "mail/header.h"

/* A line that tells where a message begins in a file of many; "From :" is a field (RFC 5322 4.5). */
static bool is_mbox_line(struct str line)
{
    return str_starts(line, STR("From ")) && !str_starts(str_trim(str_skip(line, 4)), STR(":"));
}

/* Up to the line "." where that ends the message, and without a first line "From …" of a mailbox file. */
static struct str cut_input(struct str input, bool dot_ends)
{
    struct str rest = input;

    if (is_mbox_line(str_cut(&rest, '\n')))
        input = rest;
    else
        rest = input;
    while (dot_ends && rest.len) {
        size_t     begin = (size_t)(rest.data - input.data);
        struct str line = str_cut(&rest, '\n');

        if (str_eq(line, STR(".")) || str_eq(line, STR(".\r")))
            return str_part(input, 0, begin);
    }
    return input;
}

static void append_crlf(struct buf *out, struct str text)
{
    while (text.len) {
        size_t     at = str_find_byte(text, '\n');
        struct str line = str_part(text, 0, at);

        if (at != STR_NOT_FOUND && line.len && line.data[line.len - 1] == '\r')
            line.len--;
        buf_append(out, line);
        buf_append_z(out, "\r\n");
        text = at == STR_NOT_FOUND ? STR_NONE : str_skip(text, at + 1);
    }
}

/* phrase: as it is where it is words of atext, else quoted; octets outside ASCII stay (SMTPUTF8). */
static void append_phrase(struct buf *out, const char *name)
{
    bool plain = true;

    for (const char *c = name; *c; c++)
        plain = plain && (char_is_alnum(*c) || strchr(" !#$%&'*+-/=?^_`{|}~", *c) || (unsigned char)*c >= 0x80);
    if (!plain)
        buf_append_byte(out, '"');
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            continue;
        if (!plain && (*c == '"' || *c == '\\'))
            buf_append_byte(out, '\\');
        buf_append_byte(out, *c);
    }
    buf_append_z(out, plain ? " " : "\" ");
}

static void append_from(struct buf *out, const struct sendmail_message_rules *rules)
{
    buf_append_z(out, "From: ");
    if (rules->full_name && *rules->full_name)
        append_phrase(out, rules->full_name);
    buf_append_byte(out, '<');
    mail_address_format(rules->sender, out);
    buf_append_z(out, ">\r\n");
}

static bool note_list(struct sendmail_message *m, struct str body, struct err *err)
{
    if (m->list_count == SENDMAIL_LISTS_MAX)
        return err_set(err, ERR_LIMIT, "the message has more than %d fields To, Cc and Bcc", SENDMAIL_LISTS_MAX);
    m->lists[m->list_count++] = body;
    return true;
}

/* A part of the header that is taken for the body would be shown to all recipients, with Bcc. */
static bool header_ends(struct str text, size_t end)
{
    struct mail_scan scan;

    if (text.len <= MAIL_HEADER_MAX)
        return true;
    mail_scan_init(&scan, STR_NONE);
    mail_scan_feed(&scan, text);
    mail_scan_end(&scan);
    return scan.header_len <= end;
}

bool sendmail_message_make(struct sendmail_message *m, struct str input, const struct sendmail_message_rules *rules,
                           uint64_t now_ms, struct err *err)
{
    struct str         text = cut_input(input, rules->dot_ends), rest;
    struct mail_fields fields;
    struct mail_field  field;
    bool resent = mail_header_count(text, STR("Resent-To")) || mail_header_count(text, STR("Resent-Cc")) ||
                  mail_header_count(text, STR("Resent-Bcc"));
    bool has_from = false, has_date = false;

    mail_fields_init(&fields, text, MAIL_HEADER_MAX);
    while (mail_fields_next(&fields, &field)) {
        struct str name = field.name;
        bool       is_bcc = str_eq_nocase(name, STR("Bcc")) || str_eq_nocase(name, STR("Resent-Bcc"));

        if (resent && str_starts_nocase(name, STR("Resent-")))
            name = str_skip(name, 7);
        else if (resent)
            name = STR_NONE;
        if ((str_eq_nocase(name, STR("To")) || str_eq_nocase(name, STR("Cc")) || str_eq_nocase(name, STR("Bcc"))) &&
            !note_list(m, field.body, err))
            return false;
        has_from |= str_eq_nocase(field.name, STR("From"));
        has_date |= str_eq_nocase(field.name, STR("Date"));
        if (!is_bcc || !rules->drop_bcc)
            append_crlf(&m->content, field.raw);
    }
    if (!header_ends(text, fields.at))
        return err_set(err, ERR_LIMIT, "the message's header is larger than %d octets", MAIL_HEADER_MAX);
    if (!has_from && !mail_address_is_null(rules->sender))
        append_from(&m->content, rules);
    if (!has_date) {
        buf_append_z(&m->content, "Date: ");
        mail_date_format(now_ms, &m->content);
        buf_append_z(&m->content, "\r\n");
    }
    m->header_8bit = !str_is_ascii(buf_str(&m->content));
    rest = str_skip(text, fields.at);
    if (str_starts(rest, STR("\r\n")))
        rest = str_skip(rest, 2);
    else if (str_starts(rest, STR("\n")))
        rest = str_skip(rest, 1);
    buf_append_z(&m->content, "\r\n");
    append_crlf(&m->content, rest);
    if (!buf_ok(&m->content))
        return err_set(err, ERR_LIMIT, "the message is larger than this server takes");
    m->is_8bit = !str_is_ascii(buf_str(&m->content));
    return true;
}

bool sendmail_message_read(struct sendmail_message *m, int fd, uint64_t max, const struct sendmail_message_rules *rules,
                           struct err *err)
{
    buf_init(&m->input, max);
    buf_init(&m->content, max + max / 8 + MAIL_HEADER_MAX); /* LF becomes CRLF; the server has the last word */
    if (!io_fd_read_all(fd, "standard input", &m->input, err)) {
        if (err && err->class == ERR_LIMIT)
            err_set(err, ERR_LIMIT, "the message is larger than the %llu octets that this server takes",
                    (unsigned long long)max);
        return false;
    }
    return sendmail_message_make(m, buf_str(&m->input), rules, io_wall_ms(), err);
}

void sendmail_message_done(struct sendmail_message *m)
{
    buf_done(&m->input);
    buf_done(&m->content);
}
