/* locale.h: the languages of reports, compiled from data/locale/. */
#ifndef TACIT_MAIL_LOCALE_H
#define TACIT_MAIL_LOCALE_H

#include "base/str.h"

struct locale;

/* "de"; NULL: English, which needs no table, or a language that is not there. */
const struct locale *locale_named(struct str tag);

/* The text in that language; the English itself where `l` is NULL or has none. The first is for texts with conversions
 * of printf too, which are the same in every language. */
const char *locale_z(const struct locale *l, const char *english) __attribute__((format_arg(2)));
struct str  locale_text(const struct locale *l, struct str english);

#endif
