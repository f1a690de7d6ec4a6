/* report_text.h: the part of a report that is written for people; for report.c only. */
#ifndef TACIT_MAIL_REPORT_TEXT_H
#define TACIT_MAIL_REPORT_TEXT_H

#include "mail/report.h"

/* The subject: "Not delivered", "Delayed", ... of the gravest thing the report has to say. */
const char *report_title(const struct mail_report *r);
/* Appends the text in UTF-8, lines ending in CRLF. `subject`: of the original, unfolded and decoded; may be empty. */
bool        report_text(const struct mail_report *r, struct str subject, struct buf *out);

/* Appends the reply of another server, if there is one, a line of it on a line: the first behind `first`, all others
 * and what is too long for a line behind `further`. Every line has the code, as SMTP has it: "550-", "550 " (RFC 3461
 * 9.2). At most REPORT_REPLY_LINES. */
enum { REPORT_REPLY_LINES = 16 };
void report_reply(const struct mail_report_recipient *p, bool utf8, const char *first, const char *further,
                  struct buf *out);

#endif
