/* locale_table.h: the tables that data/locale/generate.py makes; for locale.c. */
#ifndef TACIT_MAIL_LOCALE_TABLE_H
#define TACIT_MAIL_LOCALE_TABLE_H

#include "mail/locale.h"

struct locale_row {
    const char *english, *translation;
};
struct locale {
    const char              *tag;
    const struct locale_row *rows; /* sorted by octets of the English */
    size_t                   count;
};

extern const struct locale locale_table[];
extern const size_t        locale_table_len;

#endif
