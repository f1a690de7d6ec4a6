/* report_text.c: what a person reads: what happened, to whom, why, and what to do about it; then what the other server
 * said, for whoever helps. The words come from codes/, except where a report knows more than the code: "wait, it is
 * tried again" is wrong advice once the server has given up. Lines with words of strangers are indented, so that none
 * of them can be taken for a MIME boundary. */
#include "mail/report_text.h"

#include "mail/date.h"
#include "mail/letter.h"

static size_t count_of(const struct mail_report *r, enum mail_report_action action)
{
    size_t count = 0;

    for (size_t i = 0; i < r->recipient_count; i++)
        count += r->recipients[i].action == action;
    return count;
}

const char *report_title(const struct mail_report *r)
{
    if (count_of(r, REPORT_FAILED))
        return "Not delivered";
    if (count_of(r, REPORT_DELAYED))
        return "Delayed";
    if (count_of(r, REPORT_DELIVERED) == r->recipient_count)
        return "Delivered";
    return "Passed on";
}

static void opening_put(const struct mail_report *r, struct buf *out)
{
    size_t      n = r->recipient_count, failed = count_of(r, REPORT_FAILED), delayed = count_of(r, REPORT_DELAYED);
    const char *whom = n == 1 ? "the address below" : "the addresses below";

    if (failed == n)
        letter_line(out, "Your message could not be delivered to %s.", whom);
    else if (delayed == n)
        letter_line(out,
                    "Your message has not yet reached %s. You need not do anything:\r\n"
                    "the server keeps trying. Please do not send the message again.",
                    whom);
    else if (failed || delayed)
        letter_line(out, "Your message could not be delivered to all of the addresses below.");
    else
        letter_line(out, "This tells you, as you asked, what became of your message.");
}

static void advice_put(const struct mail_report_recipient *p, struct str fix, bool utf8, struct buf *out)
{
    const struct codes_enhanced *expired = codes_enhanced(5, 4, 7);
    bool                         gave_up = p->action == REPORT_FAILED && p->status.class == 4;

    if (gave_up)
        letter_text(out, utf8, "    ", "    ",
                    STR("This looked temporary, but it lasted so long that the server has given up."));
    if (gave_up && expired)
        fix = expired->fix_sender;
    letter_text(out, utf8, "    What you can do: ", "    ", fix);
}

static void moved_put(const struct mail_report *r, const struct mail_report_recipient *p, bool utf8, struct buf *out)
{
    if (!p->moved_to)
        return;
    buf_append_z(out, "    The new address: ");
    letter_address(out, p->moved_to, r->mta, utf8);
    buf_append_z(out, "\r\n");
}

static void diagnostic_put(const struct mail_report_recipient *p, bool utf8, struct buf *out)
{
    if (!p->diagnostic.len)
        return;
    if (p->remote_mta.len) {
        buf_append_z(out, "    The server ");
        letter_word(out, p->remote_mta);
        buf_append_z(out, " said:\r\n");
    } else {
        buf_append_z(out, "    In technical terms:\r\n");
    }
    letter_text(out, utf8, "        ", "        ", p->diagnostic);
}

static void recipient_put(const struct mail_report *r, const struct mail_report_recipient *p, bool utf8,
                          struct buf *out)
{
    struct codes_words words = codes_explain(p->code, p->status);
    struct str         meaning = p->explanation.len ? p->explanation : words.meaning;

    buf_append_z(out, "\r\n  ");
    letter_address(out, &p->final, r->mta, utf8);
    buf_append_z(out, "\r\n");
    switch (p->action) {
    case REPORT_FAILED:
        if (p->is_behind) {
            letter_text(out, utf8, "    Not delivered: ", "    ",
                        STR("This address is right, but it leads on to others, and one of them fails:"));
            letter_text(out, utf8, "        ", "        ", meaning);
            letter_text(out, utf8, "    What you can do: ", "    ",
                        STR("Tell whoever looks after this address; what it leads to must be mended there."));
            diagnostic_put(p, utf8, out);
            break;
        }
        letter_text(out, utf8, "    Not delivered: ", "    ", meaning);
        moved_put(r, p, utf8, out);
        advice_put(p, words.fix_sender, utf8, out);
        diagnostic_put(p, utf8, out);
        break;
    case REPORT_DELAYED:
        letter_text(out, utf8, "    Not delivered yet: ", "    ", meaning);
        if (p->retry_until_ms) {
            buf_append_z(out, "    The server keeps trying until ");
            mail_date_format(p->retry_until_ms, out);
            buf_append_z(out, ".\r\n");
        }
        diagnostic_put(p, utf8, out);
        break;
    case REPORT_DELIVERED:
        letter_line(out, "    Delivered into the mailbox.");
        break;
    case REPORT_RELAYED:
        letter_line(out, "    Passed on to a server that sends no reports; you will hear no more from here.");
        break;
    case REPORT_EXPANDED:
        letter_line(out, "    Passed on to everybody behind this address; you will hear no more from here.");
        break;
    }
}

bool report_text(const struct mail_report *r, struct str subject, bool utf8, struct buf *out)
{
    size_t shown = r->recipient_count < MAIL_REPORT_PEOPLE_MAX ? r->recipient_count : MAIL_REPORT_PEOPLE_MAX;

    opening_put(r, out);
    buf_append_z(out, "\r\n");
    if (subject.len)
        letter_text(out, utf8, "  Subject:  ", "            ", subject);
    if (r->arrival_ms) {
        buf_append_z(out, "  Received: ");
        mail_date_format(r->arrival_ms, out);
        buf_append_z(out, "\r\n");
    }
    for (size_t i = 0; i < shown; i++)
        recipient_put(r, &r->recipients[i], utf8, out);
    if (shown < r->recipient_count)
        letter_line(out, "\r\n  ... and %zu more; the second part of this report lists %s.", r->recipient_count - shown,
                    r->recipient_count <= MAIL_REPORT_RECIPIENTS_MAX ? "them all" : "the first of them");
    buf_append_z(out, "\r\nThis report was written by the mail server ");
    letter_word(out, r->mta);
    return letter_line(out, ".\r\nIts postmaster reads answers to it.");
}
