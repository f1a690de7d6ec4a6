/* date.c: the calendar without the C library, whose functions ask for time zones and keep static state. Days become
 * dates by counting from 1 March of the year 0, so that the leap day is the last of its year. */
#include "mail/date.h"

#include <stdio.h>

struct civil {
    unsigned year, month, day, weekday, hour, minute, second; /* month from 1, weekday from Sunday */
};

static struct civil civil_of(uint64_t time_ms)
{
    const uint64_t last = UINT64_C(253402300799); /* 9999-12-31 23:59:59 */
    uint64_t       seconds = time_ms / 1000 < last ? time_ms / 1000 : last;
    unsigned       days = (unsigned)(seconds / 86400), time = (unsigned)(seconds % 86400);
    unsigned       since = days + 719468; /* days since 0000-03-01 */
    unsigned       era = since / 146097, of_era = since % 146097;
    unsigned       year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned       of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned       month = (5 * of_year + 2) / 153; /* from March */
    struct civil   c;

    c.day = of_year - (153 * month + 2) / 5 + 1;
    c.month = month < 10 ? month + 3 : month - 9;
    c.year = era * 400 + year + (c.month <= 2);
    c.weekday = (days + 4) % 7;
    c.hour = time / 3600;
    c.minute = time / 60 % 60;
    c.second = time % 60;
    return c;
}

void mail_date_text(uint64_t time_ms, char ret_text[MAIL_DATE_TEXT + 1])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct civil      c = civil_of(time_ms);

    snprintf(ret_text, MAIL_DATE_TEXT + 1, "%s, %02u %s %04u %02u:%02u:%02u +0000", days[c.weekday], c.day % 100,
             months[c.month - 1], c.year % 10000, c.hour, c.minute, c.second);
}

bool mail_date_format(uint64_t time_ms, struct buf *out)
{
    char text[MAIL_DATE_TEXT + 1];

    mail_date_text(time_ms, text);
    return buf_append_z(out, text);
}

void mail_date_short_text(uint64_t time_ms, char ret_text[MAIL_DATE_SHORT_TEXT + 1])
{
    struct civil c = civil_of(time_ms);

    snprintf(ret_text, MAIL_DATE_SHORT_TEXT + 1, "%04u-%02u-%02u %02u:%02u", c.year % 10000, c.month % 100, c.day % 100,
             c.hour, c.minute);
}
