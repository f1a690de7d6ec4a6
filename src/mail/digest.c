/* digest.c: the letter to the postmaster. Addresses in it were chosen by strangers, so each stands on a line of its
 * own behind a word of ours; ids are our own and can be pasted into the commands that the letter explains. */
#include "mail/digest.h"

#include "mail/date.h"
#include "mail/letter.h"

enum { TEXT_MAX = 1 << 20 };

static void entry_put(const struct mail_digest *d, const struct mail_digest_entry *e, struct buf *out)
{
    char       received[MAIL_DATE_SHORT_TEXT + 1], expires[MAIL_DATE_SHORT_TEXT + 1];
    struct buf size;

    buf_init(&size, 31);
    letter_size(&size, e->size);
    mail_date_short_text(e->received_ms, received);
    mail_date_short_text(e->expires_ms, expires);
    buf_append_z(out, "\r\n");
    letter_word(out, e->id);
    letter_line(out, "  %s  %s  %10.*s", received, expires, STR_ARG(buf_str(&size)));
    buf_done(&size);
    buf_append_z(out, "    from  ");
    letter_address(out, &e->from, d->mta, d->smtputf8);
    buf_append_z(out, "\r\n    to    ");
    letter_address(out, &e->to, d->mta, d->smtputf8);
    buf_append_z(out, "\r\n");
    if (e->client.len) {
        buf_append_z(out, "    by    ");
        letter_word(out, e->client);
        buf_append_z(out, "\r\n");
    }
}

static bool text_put(const struct mail_digest *d, size_t shown, struct buf *out)
{
    letter_line(out, "%llu message%s for %.*s %s held, because there is no mailbox of that name.",
                (unsigned long long)d->total, d->total == 1 ? "" : "s", STR_ARG(d->domain),
                d->total == 1 ? "is" : "are");
    letter_line(out, "The senders could not be verified, so nobody was told. Without your help each\r\n"
                     "message is removed when its time is over.\r\n");
    letter_line(out, "To deliver one, make the mailbox or an alias for it first, then:\r\n\r\n"
                     "    tacit queue release ID\r\n");
    letter_line(out, "To throw one away at once:\r\n\r\n    tacit queue remove ID\r\n");
    letter_line(out, "To see them all:\r\n\r\n    tacit queue list --unclaimed\r\n");
    letter_line(out, "ID             received (UTC)    kept until (UTC)        size");
    for (size_t i = 0; i < shown; i++)
        entry_put(d, &d->entries[i], out);
    if (shown < d->total)
        letter_line(out, "\r\n... and %llu more.", (unsigned long long)(d->total - shown));
    return buf_ok(out);
}

bool mail_digest_format(const struct mail_digest *d, struct buf *out, enum body_type *ret_body)
{
    struct mail_address to = {STR("postmaster"), d->domain, false};
    struct letter       letter = {
              .mta = d->mta,
              .id = d->id,
              .date_ms = d->date_ms,
              .to = &to,
              .kind = "auto-generated",
              .subject = "Unclaimed mail",
              .subject_of = d->domain,
              .utf8 = d->smtputf8,
    };
    size_t     shown = d->entry_count < MAIL_DIGEST_ENTRIES_MAX ? d->entry_count : MAIL_DIGEST_ENTRIES_MAX;
    struct buf text;
    bool       done = false;

    buf_init(&text, TEXT_MAX);
    if (text_put(d, shown, &text)) {
        bool eight_bit = !str_is_ascii(buf_str(&text));

        letter_head(&letter, out);
        letter_line(out, "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n",
                    eight_bit ? "utf-8" : "us-ascii", eight_bit ? "8bit" : "7bit");
        done = buf_append(out, buf_str(&text));
        if (done)
            *ret_body = eight_bit ? BODY_8BITMIME : BODY_7BIT;
    }
    buf_done(&text);
    return done;
}
