/* hint.c: see hint.h. */
#include "queue/hint.h"

#include <xxhash.h>

enum { NAME_MAX = 256, HINT_LEAST = HINT_NONE + 1 };

uint16_t hint_of_name(struct str name)
{
    char   lower[NAME_MAX];
    size_t len = name.len < NAME_MAX ? name.len : NAME_MAX;

    for (size_t i = 0; i < len; i++)
        lower[i] = char_lower(name.data[i]);
    return (uint16_t)(HINT_LEAST + XXH3_64bits(lower, len) % (UINT16_MAX - HINT_LEAST + 1));
}

struct address_hint hint_of_address(const struct mail_address *a)
{
    return (struct address_hint){hint_of_name(a->domain), hint_of_name(a->local)};
}

static uint16_t shared(uint16_t hint, uint16_t other) { return hint == other ? hint : HINT_ANY; }

struct address_hint hint_of_recipients(const struct recipient *to, size_t count)
{
    struct address_hint hint = count ? hint_of_address(&to[0].address) : (struct address_hint){0};

    for (size_t i = 1; i < count && (hint.domain || hint.local); i++) {
        struct address_hint next = hint_of_address(&to[i].address);

        hint.domain = shared(hint.domain, next.domain);
        hint.local = shared(hint.local, next.local);
    }
    return hint;
}

struct reply_hint hint_of_replies(const struct recipient_progress *to, size_t count)
{
    struct reply_hint hint = {HINT_NONE, HINT_NONE};
    bool              first = true;

    for (size_t i = 0; i < count; i++) {
        struct reply_hint next = {to[i].remote.len ? hint_of_name(to[i].remote) : HINT_NONE,
                                  to[i].code ? to[i].code : HINT_NONE};

        if (recipient_state_is_final(to[i].state))
            continue;
        hint.remote = first ? next.remote : shared(hint.remote, next.remote);
        hint.code = first ? next.code : shared(hint.code, next.code);
        first = false;
    }
    return hint;
}
