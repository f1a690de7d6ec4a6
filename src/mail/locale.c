/* locale.c: see locale.h. */
#include "mail/locale_table.h"

const struct locale *locale_named(struct str tag)
{
    for (size_t i = 0; i < locale_table_len; i++)
        if (str_eq_nocase(tag, str_from(locale_table[i].tag)))
            return &locale_table[i];
    return NULL;
}

static const char *find(const struct locale *l, struct str english)
{
    size_t low = 0, high = l ? l->count : 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int    order = str_cmp(str_from(l->rows[middle].english), english);

        if (order == 0)
            return l->rows[middle].translation;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *locale_z(const struct locale *l, const char *english)
{
    const char *found = find(l, str_from(english));

    return found ? found : english;
}

struct str locale_text(const struct locale *l, struct str english)
{
    const char *found = find(l, english);

    return found ? str_from(found) : english;
}
