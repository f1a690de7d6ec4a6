/* local_key.c: the key under which a mailbox is known. ASCII needs no library; anything else is folded and normalised
 * by libunistring (Unicode 3.13, canonical caseless matching), which makes "Straße" and "STRASSE" one mailbox: two
 * people whose addresses differ only in that would get each other's mail from every human typist anyway. A local part
 * that is not UTF-8 can only come from a damaged record; it is folded as ASCII. */
#include "mail/address.h"

#include <stdlib.h>
#include <unicase.h>
#include <uninorm.h>

static struct str key_without_tag(struct str key, char separator)
{
    size_t at = separator ? str_find_byte(str_skip(key, 1), separator) : STR_NOT_FOUND;

    return at == STR_NOT_FOUND ? key : str_part(key, 0, at + 1);
}

static struct str key_ascii(struct str local, char separator, struct arena *arena)
{
    struct str part = key_without_tag(local, separator);
    char      *key = arena_alloc(arena, part.len + 1);

    if (!key)
        return STR_NONE;
    for (size_t i = 0; i < part.len; i++)
        key[i] = char_lower(part.data[i]);
    return str_of(key, part.len);
}

struct str mail_local_key(struct str local, char separator, struct arena *arena)
{
    uint8_t   *folded;
    size_t     len;
    struct str key;

    if (str_is_ascii(local) || !str_is_utf8(local))
        return key_ascii(local, separator, arena);
    folded = u8_casefold((const uint8_t *)local.data, local.len, NULL, UNINORM_NFC, NULL, &len);
    if (!folded)
        return STR_NONE;
    key = arena_str(arena, key_without_tag(str_of((const char *)folded, len), separator));
    free(folded);
    return key;
}
