/* report.c: a report is a multipart/report of three parts: text for people, fields for programs, and the original or
 * its header.
 *
 * Fields are ASCII unless the reader takes UTF-8. The text is UTF-8 where a name, a subject or the words of another
 * server need it: anybody can read that (a server that takes 7 bits only gets it converted). Nothing is encoded, so
 * what is returned is what was sent. Content that cannot travel as it is (binary, lines without CRLF or over 998
 * octets) is returned as its header only, with line ends put right.
 *
 * The boundary is made from the report's id. It is looked for in what is returned, because a sender who guesses the
 * next id could otherwise write parts of our report. */
#include "mail/report.h"

#include "mail/date.h"
#include "mail/header.h"
#include "mail/letter.h"
#include "mail/report_text.h"
#include "mail/trace.h"
#include "mail/word.h"
#include "mail/xtext.h"

enum {
    HEADER_SHOWN_MAX = 64 * 1024,
    PARTS_MAX = 8 << 20,
    BOUNDARY_MAX = 60,
    BOUNDARY_TRIES = 16,
    LINE_MAX_OCTETS = 998
};

static const char *action_name(enum mail_report_action action)
{
    static const char *const names[] = {
        [REPORT_FAILED] = "failed",   [REPORT_DELAYED] = "delayed",   [REPORT_DELIVERED] = "delivered",
        [REPORT_RELAYED] = "relayed", [REPORT_EXPANDED] = "expanded",
    };

    return names[action];
}

static void date_field_put(const char *name, uint64_t time_ms, struct buf *out)
{
    if (!time_ms)
        return;
    buf_append_z(out, name);
    mail_date_format(time_ms, out);
    buf_append_z(out, "\r\n");
}

static void original_recipient_put(const struct mail_report_recipient *p, bool utf8, struct buf *out)
{
    struct buf text;

    if (!p->original_type.len)
        return;
    buf_init(&text, 8 * MAIL_ORCPT_MAX); /* encoded; cut below */
    letter_word(&text, p->original_type);
    buf_append_z(&text, "; ");
    if (utf8 || !str_eq_nocase(p->original_type, STR("utf-8")) || !mail_utf8_xtext_encode(p->original, &text))
        buf_append(&text, p->original);
    buf_append_z(out, "Original-Recipient: ");
    mail_safe_text(buf_str(&text), utf8, LETTER_TEXT_MAX, out);
    buf_append_z(out, "\r\n");
    if (!buf_ok(&text))
        out->failed = true;
    buf_done(&text);
}

/* RFC 3464 2.3.5; a server without a name is an address literal. */
static void remote_put(const struct mail_report_recipient *p, struct buf *out)
{
    bool is_ipv6 = str_find_byte(p->remote_address, ':') != STR_NOT_FOUND;

    if (!p->remote.len && !p->remote_address.len)
        return;
    buf_append_z(out, "Remote-MTA: dns; ");
    if (p->remote.len) {
        letter_word(out, p->remote);
    } else {
        buf_append_z(out, is_ipv6 ? "[IPv6:" : "[");
        letter_word(out, p->remote_address);
        buf_append_byte(out, ']');
    }
    buf_append_z(out, "\r\n");
}

/* RFC 3464 2.3 */
static void recipient_fields_put(const struct mail_report *r, const struct mail_report_recipient *p, bool utf8,
                                 struct buf *out)
{
    unsigned class = p->action == REPORT_FAILED ? 5 : p->action == REPORT_DELAYED ? 4 : 2; /* 2.3.4 */

    buf_append_z(out, "\r\n");
    original_recipient_put(p, utf8, out);
    buf_append_z(out, p->final.utf8 ? "Final-Recipient: utf-8; " : "Final-Recipient: rfc822; ");
    letter_address(out, &p->final, r->mta, utf8);
    letter_line(out, "\r\nAction: %s", action_name(p->action));
    letter_line(out, "Status: %u.%u.%u", class, p->status.subject, p->status.detail);
    remote_put(p, out);
    report_reply(p, utf8, "Diagnostic-Code: smtp; ", " ", out);
    date_field_put("Last-Attempt-Date: ", p->last_attempt_ms, out);
    if (p->action == REPORT_DELAYED)
        date_field_put("Will-Retry-Until: ", p->retry_until_ms, out);
}

/* RFC 3464 2.2 */
static void status_put(const struct mail_report *r, bool utf8, struct buf *out)
{
    buf_append_z(out, "Reporting-MTA: dns; ");
    letter_word(out, r->mta);
    buf_append_z(out, "\r\n");
    if (r->envelope_id.len) {
        buf_append_z(out, "Original-Envelope-Id: ");
        mail_safe_text(r->envelope_id, utf8, LETTER_TEXT_MAX, out);
        buf_append_z(out, "\r\n");
    }
    date_field_put("Arrival-Date: ", r->arrival_ms, out);
    for (size_t i = 0; i < r->recipient_count && i < MAIL_REPORT_RECIPIENTS_MAX; i++)
        recipient_fields_put(r, &r->recipients[i], utf8, out);
}

static bool content_can_travel(struct str s)
{
    size_t line = 0;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i], next = i + 1 < s.len ? s.data[i + 1] : '\0';

        if (c == '\r' && next == '\n') {
            i++;
            line = 0;
        } else if (c == '\r' || c == '\n' || c == '\0' || ++line > LINE_MAX_OCTETS) {
            return false;
        }
    }
    return true;
}

/* The header with every line end as CRLF and nothing in it that a line of mail cannot hold. */
static bool header_copy(struct str content, struct buf *out)
{
    struct mail_fields f;
    struct mail_field  field;
    size_t             line = 0;

    mail_fields_init(&f, content, HEADER_SHOWN_MAX);
    while (mail_fields_next(&f, &field)) {
        for (size_t i = 0; i < field.raw.len; i++) {
            char c = field.raw.data[i];

            if (c == '\r')
                continue;
            if (c == '\n') {
                buf_append_z(out, "\r\n");
                line = 0;
            } else if (line < LINE_MAX_OCTETS) {
                buf_append_byte(out, c ? c : '?');
                line++;
            }
        }
        if (line)
            buf_append_z(out, "\r\n");
        line = 0;
    }
    return buf_ok(out);
}

/* False: no boundary was found that `returned` does not hold. */
static bool boundary_choose(struct str id, struct str returned, struct buf *ret_boundary)
{
    for (unsigned i = 0; i < BOUNDARY_TRIES; i++) {
        buf_clear(ret_boundary);
        buf_append_z(ret_boundary, "=_tacit_");
        letter_word(ret_boundary, str_part(id, 0, 32));
        buf_printf(ret_boundary, "_%u", i);
        if (!buf_ok(ret_boundary))
            return false;
        if (str_find(returned, buf_str(ret_boundary)) == STR_NOT_FOUND)
            return true;
    }
    return false;
}

struct parts {
    struct buf text, status, header, subject, readable, boundary;
    struct str returned; /* what the third part holds: borrows the original, or `header` */
    struct str message_id;
    bool       full, utf8;
};

static void parts_done(struct parts *p)
{
    buf_done(&p->text);
    buf_done(&p->status);
    buf_done(&p->header);
    buf_done(&p->subject);
    buf_done(&p->readable);
    buf_done(&p->boundary);
}

static bool parts_make(const struct mail_report *r, struct parts *p)
{
    struct mail_field field;

    p->utf8 = r->smtputf8 || r->to.utf8;
    buf_init(&p->text, PARTS_MAX);
    buf_init(&p->status, PARTS_MAX);
    buf_init(&p->header, 3 * HEADER_SHOWN_MAX);
    buf_init(&p->subject, HEADER_SHOWN_MAX);
    buf_init(&p->readable, 4 * HEADER_SHOWN_MAX);
    buf_init(&p->boundary, BOUNDARY_MAX);
    if (!header_copy(r->content, &p->header))
        return false;
    p->returned = buf_str(&p->header);
    if (mail_header_find(p->returned, STR("Message-ID"), &field))
        p->message_id = mail_message_id(field.body, p->utf8);
    if (mail_header_find(p->returned, STR("Subject"), &field) && !mail_field_unfold(field.body, &p->subject))
        return false;
    p->full = r->full && !r->binary && r->content.len && content_can_travel(r->content);
    if (p->full)
        p->returned = r->content;
    if (!boundary_choose(r->id, p->returned, &p->boundary))
        p->returned = STR_NONE;
    if (!buf_ok(&p->boundary))
        return false;
    status_put(r, p->utf8, &p->status);
    return mail_words_decode(buf_str(&p->subject), &p->readable) && report_text(r, buf_str(&p->readable), &p->text) &&
           buf_ok(&p->status);
}

static void part_head(const struct parts *p, const char *type, bool eight_bit, struct buf *out)
{
    buf_append_z(out, "\r\n--");
    buf_append(out, buf_str(&p->boundary));
    letter_line(out, "\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n", type, eight_bit ? "8bit" : "7bit");
}

static const char *returned_type(const struct parts *p)
{
    bool global = p->utf8 && !str_is_ascii(buf_str(&p->header));

    if (p->full)
        return global ? "message/global" : "message/rfc822";
    return global ? "message/global-headers" : "text/rfc822-headers";
}

static bool report_put(const struct mail_report *r, const struct parts *p, struct buf *out, enum body_type *ret_body)
{
    struct letter letter = {
        .mta = r->mta,
        .id = r->id,
        .date_ms = r->date_ms,
        .to = &r->to,
        .kind = "auto-replied",
        .answers = p->message_id,
        .subject = report_title(r),
        .subject_of = buf_str(&p->subject),
        .utf8 = p->utf8,
    };
    bool   text_8bit = !str_is_ascii(buf_str(&p->text)), status_8bit = !str_is_ascii(buf_str(&p->status));
    bool   returned_8bit = !str_is_ascii(p->returned), any_8bit = text_8bit || status_8bit || returned_8bit;
    size_t start = out->len;

    letter_head(&letter, out);
    buf_append_z(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
    buf_append(out, buf_str(&p->boundary));
    letter_line(out, "\"\r\nContent-Transfer-Encoding: %s", any_8bit ? "8bit" : "7bit");

    part_head(p, text_8bit ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", text_8bit, out);
    buf_append(out, buf_str(&p->text));
    part_head(p, status_8bit ? "message/global-delivery-status" : "message/delivery-status", status_8bit, out);
    buf_append(out, buf_str(&p->status));
    if (p->returned.len) {
        part_head(p, returned_type(p), returned_8bit, out);
        buf_append(out, p->returned);
    }
    buf_append_z(out, "\r\n--");
    buf_append(out, buf_str(&p->boundary));
    if (!buf_append_z(out, "--\r\n"))
        return false;
    *ret_body = str_is_ascii(str_skip(buf_str(out), start)) ? BODY_7BIT : BODY_8BITMIME; /* the reader's address too */
    return true;
}

bool mail_report_format(const struct mail_report *r, struct buf *out, enum body_type *ret_body)
{
    struct parts parts = {.full = false};
    bool         done = parts_make(r, &parts) && report_put(r, &parts, out, ret_body);

    parts_done(&parts);
    return done;
}
