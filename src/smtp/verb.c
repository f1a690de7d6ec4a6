#include "smtp/verb.h"

#include "smtp/server_internal.h"

#define VERB(name, states, offer, flags, line_max, syntax, help)                                          \
    {{#name, sizeof #name - 1}, (offer),      (states), (flags), (line_max), {syntax, sizeof syntax - 1}, \
     {help, sizeof help - 1},   server_##name},
#define ABSENT(name) {{#name, sizeof #name - 1}, OFFER_NEVER, IN_ANY, 0, 512, {"", 0}, {"", 0}, NULL},
static const struct smtp_verb verbs[] = {
#include "smtp/verb.def"
};
#undef VERB
#undef ABSENT

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

const struct smtp_verb *smtp_verb_at(size_t index) { return index < VERB_COUNT ? &verbs[index] : NULL; }

const struct smtp_verb *smtp_verb_find(struct str name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (str_eq_nocase(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

bool smtp_verb_is_offered(const struct smtp_verb *v, const struct smtp_server_config *c)
{
    switch (v->offer) {
    case OFFER_NEVER:
        return false;
    case OFFER_ALWAYS:
        return true;
    case OFFER_SMTP:
        return !c->lmtp;
    case OFFER_LMTP:
        return c->lmtp;
    case OFFER_VRFY:
        return c->vrfy;
    case OFFER_EXPN:
        return c->expn;
    case OFFER_XCLIENT:
        return c->xclient;
    }
    return false;
}
