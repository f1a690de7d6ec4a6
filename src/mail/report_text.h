/* report_text.h: the part of a report that is written for people; for report.c only. */
#ifndef TACIT_MAIL_REPORT_TEXT_H
#define TACIT_MAIL_REPORT_TEXT_H

#include "mail/report.h"

/* The subject: "Not delivered", "Delayed", ... of the gravest thing the report has to say. */
const char *report_title(const struct mail_report *r);
/* Appends the text, lines ending in CRLF. `subject`: of the original, unfolded; may be empty. */
bool        report_text(const struct mail_report *r, struct str subject, bool utf8, struct buf *out);

#endif
