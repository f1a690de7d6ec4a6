/* date.h: times as text, from milliseconds since 1970 in UTC. Pure: no clock and no time zone is asked. Times after
 * the year 9999 are written as its last second. */
#ifndef TACIT_MAIL_DATE_H
#define TACIT_MAIL_DATE_H

#include "base/buf.h"

enum { MAIL_DATE_TEXT = 31, MAIL_DATE_SHORT_TEXT = 16 }; /* characters without the NUL */

/* RFC 5322 3.3: "Sat, 21 Nov 2026 10:48:21 +0000". */
void mail_date_text(uint64_t time_ms, char ret_text[MAIL_DATE_TEXT + 1]);
bool mail_date_format(uint64_t time_ms, struct buf *out);
/* For tables: "2026-11-21 10:48". */
void mail_date_short_text(uint64_t time_ms, char ret_text[MAIL_DATE_SHORT_TEXT + 1]);

#endif
