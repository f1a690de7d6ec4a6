/* report_text.c: what a person reads: did it arrive, whom did it not reach, why, and what is there to do; then what the
 * other server said, for whoever helps. The words come from codes/, where each number has a sentence for people who
 * know nothing of mail servers.
 *
 * What another server said is quoted: behind a bar, and named as its own words. So it can neither pass for ours, nor
 * for the beginning of a MIME part; and what could turn the direction of writing is taken out (mail_safe_text). It is
 * plain text, so HTML in it is letters. To leave the words out was rejected: often they alone say what is wrong. */
#include "mail/report_text.h"

#include "codes/reading.h"
#include "mail/date.h"
#include "mail/letter.h"
#include "mail/locale.h"

#include <stdio.h>

/* In the language of the report `r`; data/locale/generate.py looks for it. */
#define T(text) locale_z(r->locale, text)

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS, DAY_MS = 24 * HOUR_MS, TEXT_MAX = 4096 };

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
        return T("Not delivered");
    if (count_of(r, REPORT_DELAYED))
        return T("Delayed");
    if (count_of(r, REPORT_DELIVERED) == r->recipient_count)
        return T("Delivered");
    return T("Passed on");
}

/* "Wed, 01 Mar 2000 12:30 UTC"; in other languages without the day of the week, and the name of the month in full. */
static void time_put(const struct mail_report *r, uint64_t time_ms, struct buf *out)
{
    enum { DAY_AT = 5, MONTH_AT = 8, YEAR_AT = 11, TO_THE_MINUTE = 22 };
    const char *const months[] = {T("Jan"), T("Feb"), T("Mar"), T("Apr"), T("May"), T("Jun"),
                                  T("Jul"), T("Aug"), T("Sep"), T("Oct"), T("Nov"), T("Dec")};
    char              text[MAIL_DATE_TEXT + 1];
    struct str        all;

    mail_date_text(time_ms, text);
    all = str_of(text, TO_THE_MINUTE);
    if (r->locale) {
        size_t month = str_find(STR("JanFebMarAprMayJunJulAugSepOctNovDec"), str_part(all, MONTH_AT, 3)) / 3;

        buf_append(out, str_part(all, DAY_AT, MONTH_AT - DAY_AT));
        buf_append_z(out, months[month]);
        buf_append(out, str_skip(all, YEAR_AT));
    } else {
        buf_append(out, all);
    }
    buf_append_z(out, " UTC");
}

/* "5 days", "4 hours", "1 minute": rounded down, but never to nothing. */
static void duration_put(const struct mail_report *r, uint64_t ms, struct buf *out)
{
    uint64_t unit = ms >= 2 * DAY_MS ? DAY_MS : ms >= 2 * HOUR_MS ? HOUR_MS : MINUTE_MS;
    uint64_t n = ms / unit ? ms / unit : 1;

    buf_append_u64(out, n);
    buf_append_byte(out, ' ');
    if (unit == DAY_MS)
        buf_append_z(out, T("days")); /* two at least */
    else if (unit == HOUR_MS)
        buf_append_z(out, T("hours"));
    else
        buf_append_z(out, n == 1 ? T("minute") : T("minutes"));
}

/* How long it was tried; 0: not known. */
static uint64_t span_ms(const struct mail_report *r, const struct mail_report_recipient *p)
{
    return r->arrival_ms && p->last_attempt_ms > r->arrival_ms ? p->last_attempt_ms - r->arrival_ms : 0;
}

/* Wraps a sentence that was put together in `text`, and frees it. */
static void sentence_put(const char *first, struct buf *text, struct buf *out)
{
    letter_text(out, true, first, "    ", buf_str(text));
    if (!buf_ok(text))
        out->failed = true;
    buf_done(text);
}

static void opening_put(const struct mail_report *r, struct buf *out)
{
    size_t      n = r->recipient_count, failed = count_of(r, REPORT_FAILED), delayed = count_of(r, REPORT_DELAYED);
    const char *at = n == 1 ? T("at the address below") : T("at the addresses below");
    struct buf  text;

    buf_init(&text, TEXT_MAX);
    if (r->list) {
        buf_append_z(&text, T("A message to your mailing list "));
        letter_address(&text, r->list, r->mta, true);
    } else {
        buf_append_z(&text, T("Your message"));
    }
    if (failed == n)
        buf_printf(&text, T(" did not arrive %s. It is not tried again."), at);
    else if (delayed == n)
        buf_printf(
            &text,
            T(" has not arrived yet %s. You need not do anything: this server goes on trying. Please do not send "
              "the message again."),
            at);
    else if (failed || delayed)
        buf_printf(&text, "%s", T(" did not arrive everywhere. Below each address stands what became of it."));
    else if (count_of(r, REPORT_DELIVERED) == n)
        buf_append_z(&text, T(" has arrived. You get this receipt because it was asked for."));
    else
        buf_append_z(&text, T(" was passed on. You get this receipt because it was asked for."));
    letter_text(out, true, "", "", buf_str(&text));
    if (!buf_ok(&text))
        out->failed = true;
    buf_done(&text);
    if (!r->list && (failed || delayed))
        letter_line(out, "%s", T("If it had other recipients, this report says nothing about them."));
}

/* "mx.example.net (192.0.2.1)" */
static void server_put(const struct mail_report_recipient *p, struct buf *out)
{
    struct str name = p->remote.len ? p->remote : p->remote_address;

    letter_word(out, name);
    if (p->remote.len && p->remote_address.len) {
        buf_append_z(out, " (");
        letter_word(out, p->remote_address);
        buf_append_byte(out, ')');
    }
}

void report_reply(const struct mail_report_recipient *p, bool utf8, const char *first, const char *further,
                  struct buf *out)
{
    struct str rest = p->reply;
    char       code[4], head[64];
    bool       last = p->code < 200 || p->code > 599;

    snprintf(code, sizeof code, "%u", p->code % 1000u);
    for (size_t n = 1; !last; n++) {
        struct str line = str_cut(&rest, '\n');

        last = !rest.data || n == REPORT_REPLY_LINES;
        if (str_starts(line, str_from(code)) && (line.len == 3 || line.data[3] == ' ' || line.data[3] == '-'))
            line = str_skip(line, 4);
        line = str_trim(line);
        snprintf(head, sizeof head, "%s%s%s", n == 1 ? first : further, code, !last ? "-" : line.len ? " " : "");
        letter_text(out, utf8, head, further, line);
    }
}

/* What the reply means, by its numbers and its words; without one, what the status means. */
static struct codes_report words_of(const struct mail_report *r, const struct mail_report_recipient *p)
{
    struct codes_reading reading;
    struct codes_report  words = codes_report(0, p->last_status.class ? p->last_status : p->status);
    struct buf           reply;

    if (p->code >= 400) { /* else none, or a yes where that was no answer */
        buf_init(&reply, TEXT_MAX);
        report_reply(p, true, "", "", &reply);
        if (codes_read(buf_str(&reply), &reading))
            words = codes_reading_report(&reading);
        buf_done(&reply);
    }
    return (struct codes_report){locale_text(r->locale, words.happened), locale_text(r->locale, words.advice)};
}

/* Trouble of our own, for which the tables have no better words than its reason: no server was asked. */
static bool is_our_own(const struct mail_report_recipient *p)
{
    const struct codes_status status = p->last_status.class ? p->last_status : p->status;

    return p->happened.len && !p->code && !p->remote.len && !p->remote_address.len && status.subject == 3 &&
           status.detail == 0;
}

/* What stood in the way, or does, as a sentence. */
static void happened_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    struct str own = is_our_own(p) ? locale_text(r->locale, p->happened) : STR_NONE;
    char       first = own.len ? own.data[0] : '\0';

    if (p->wait == REPORT_FIRST_ATTEMPT) {
        buf_append_z(out, T("The first attempt to hand the message over is still under way."));
    } else if (p->wait == REPORT_NO_ATTEMPT) {
        buf_append_z(out, T("The message still waits for its turn; no attempt has been made yet."));
    } else if (own.len) {
        buf_append_byte(out, first >= 'a' && first <= 'z' ? (char)(first - 'a' + 'A') : first);
        buf_append(out, str_skip(own, 1));
        buf_append_byte(out, '.');
    } else {
        buf_append(out, words_of(r, p).happened);
    }
}

static void server_words_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    bool       named = p->remote.len || p->remote_address.len;
    struct buf text;

    if (!p->code && (!p->happened.len || !named))
        return;
    buf_init(&text, TEXT_MAX);
    buf_append_z(&text, p->code ? T("The server ") : T("At the server "));
    server_put(p, &text);
    if (p->code) {
        buf_append_z(&text, T(" said (its own words, not ours):"));
    } else {
        buf_append_z(&text, ": ");
        buf_append(&text, locale_text(r->locale, p->happened));
        buf_append_byte(&text, '.');
    }
    sentence_put("    ", &text, out);
    report_reply(p, true, "      | ", "      | ", out);
}

static void attempts_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    uint64_t span = span_ms(r, p);

    if (!p->attempts || !p->last_attempt_ms)
        return;
    if (p->attempts == 1) {
        buf_append_z(out, T("    Tried once, on "));
    } else {
        buf_printf(out, T("    Tried %u times"), p->attempts);
        if (span) {
            buf_append_z(out, T(" in "));
            duration_put(r, span, out);
        }
        buf_append_z(out, T(", the last time on "));
    }
    time_put(r, p->last_attempt_ms, out);
    buf_append_z(out, ".\r\n");
}

static void failed_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    bool       expired = p->last_status.class != 0;
    struct str advice = words_of(r, p).advice;
    struct buf text;

    if (p->is_behind) {
        letter_text(
            out, true, T("    Not delivered: "), "    ",
            str_from(T("This address is right, but it leads on to others, and one of them did not take the message.")));
        letter_text(out, true, T("    What you can do: "), "    ",
                    str_from(T("Tell whoever looks after this address; what it leads to must be mended there.")));
        return;
    }
    buf_init(&text, TEXT_MAX);
    if (expired) {
        buf_append_z(&text, T("This server tried for "));
        if (span_ms(r, p))
            duration_put(r, span_ms(r, p), &text);
        else
            buf_append_z(&text, T("a long time"));
        buf_append_z(&text, T(", in vain, and has given up. What stood in the way the last time: "));
    }
    happened_put(r, p, &text);
    sentence_put(T("    Not delivered: "), &text, out);
    if (p->moved_to) {
        buf_append_z(out,
                     p->remote.len ? T("    The new address, as that server gives it: ") : T("    The new address: "));
        letter_address(out, p->moved_to, r->mta, true);
        buf_append_z(out, "\r\n");
        advice = p->remote.len
                     ? str_from(T("If you trust this, send the message to the new address and put that into your "
                                  "address book."))
                     : str_from(T("Send the message to the new address, and put that into your address book."));
    }
    if (r->list)
        advice = str_from(T("If this goes on, take the address off your list."));
    letter_text(out, true, T("    What you can do: "), "    ", advice);
    server_words_put(r, p, out);
    attempts_put(r, p, out);
}

static void delayed_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    struct buf text;

    buf_init(&text, TEXT_MAX);
    if (p->is_behind)
        buf_append_z(&text, T("This address is right, but it leads on to others, and one of them does not take the "
                              "message yet."));
    else
        happened_put(r, p, &text);
    sentence_put(T("    Not delivered yet: "), &text, out);
    server_words_put(r, p, out);
    attempts_put(r, p, out);
    if (!p->retry_until_ms)
        return;
    buf_append_z(out, T("    This server goes on until "));
    time_put(r, p->retry_until_ms, out);
    buf_append_z(out, ".\r\n");
    if (p->tells_failure)
        letter_line(out, "%s", T("    You are told if it has not arrived by then."));
}

static void relayed_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    struct buf text;

    buf_init(&text, TEXT_MAX);
    buf_append_z(&text, T("To "));
    if (p->remote.len || p->remote_address.len) {
        buf_append_z(&text, T("the server "));
        server_put(p, &text);
    } else {
        buf_append_z(&text, T("another server"));
    }
    buf_append_z(&text,
                 T(", which gives no receipts. You hear of the message again only if it cannot be delivered there."));
    sentence_put(T("    Passed on: "), &text, out);
    if (!p->moved_to)
        return;
    buf_append_z(out, T("    The new address, as that server gives it: "));
    letter_address(out, p->moved_to, r->mta, true);
    letter_line(out, "\r\n%s", T("    If you trust this, put it into your address book."));
}

static void recipient_put(const struct mail_report *r, const struct mail_report_recipient *p, struct buf *out)
{
    buf_append_z(out, "\r\n  ");
    letter_address(out, &p->final, r->mta, true);
    buf_append_z(out, "\r\n");
    switch (p->action) {
    case REPORT_FAILED:
        failed_put(r, p, out);
        break;
    case REPORT_DELAYED:
        delayed_put(r, p, out);
        break;
    case REPORT_DELIVERED:
        letter_line(out, "%s", T("    Delivered: it is in the mailbox."));
        break;
    case REPORT_RELAYED:
        relayed_put(r, p, out);
        break;
    case REPORT_EXPANDED:
        letter_line(out, "%s", T("    Passed on: to everybody behind this address. You hear no more of it from here."));
        break;
    }
}

bool report_text(const struct mail_report *r, struct str subject, struct buf *out)
{
    size_t shown = r->recipient_count < MAIL_REPORT_PEOPLE_MAX ? r->recipient_count : MAIL_REPORT_PEOPLE_MAX;

    opening_put(r, out);
    buf_append_z(out, "\r\n");
    if (subject.len)
        letter_text(out, true, T("  Subject:  "), "            ", subject);
    if (r->arrival_ms) {
        buf_append_z(out, T("  Sent:     "));
        time_put(r, r->arrival_ms, out);
        buf_append_z(out, "\r\n");
    }
    for (size_t i = 0; i < shown; i++)
        recipient_put(r, &r->recipients[i], out);
    if (shown < r->recipient_count) {
        buf_append_z(out, "\r\n");
        letter_line(out,
                    r->recipient_count <= MAIL_REPORT_RECIPIENTS_MAX
                        ? T("  ... and %zu more; the second part of this report lists them all.")
                        : T("  ... and %zu more; the second part of this report lists the first of them."),
                    r->recipient_count - shown);
    }
    buf_append_z(out, "\r\n");
    buf_append_z(out, T("This report was written by the mail server "));
    letter_word(out, r->mta);
    return letter_line(out, ".\r\n%s\r\n%s",
                       T("If you answer it, its postmaster reads that, who is a person and can help."),
                       T("What follows below is for mail programs, and for whoever helps you."));
}
