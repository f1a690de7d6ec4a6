/* outcome.c: reads outcome.def from its beginning. Some eighty rows are looked at for each reply of a session, which
 * is nothing beside the round trip that brought it; an index would have to be kept right. */
#include "smtp/outcome.h"

#include <assert.h>

static const struct smtp_outcome table[] = {
#define ROW(stage, first, last, subject_detail, ...) ROW_(stage, first, last, subject_detail, __VA_ARGS__)
#define ROW_(stage, first, last, subject, detail, when, action, moved, c, s, d, words) \
    {SMTP_STAGE_##stage, (first),          (last),  (subject),       (detail),         \
     SMTP_FACT_##when,   SMTP_DO_##action, (moved), {(c), (s), (d)}, (words)},
#include "smtp/outcome.def"
#undef ROW
#undef ROW_
};
enum { ROWS = sizeof table / sizeof table[0] };

const char *smtp_stage_name(enum smtp_stage stage)
{
    static const char *const names[] = {"CONNECT", "GREETING", "EHLO", "STARTTLS", "AUTH",    "IDLE",
                                        "RSET",    "MAIL",     "RCPT", "DATA",     "MESSAGE", "QUIT"};

    return names[stage];
}

const struct smtp_outcome *smtp_outcome_at(size_t index) { return index < ROWS ? &table[index] : NULL; }

static bool row_fits(const struct smtp_outcome *o, unsigned code, struct smtp_status status, unsigned facts)
{
    return code >= o->first && code <= o->last && (facts & o->when) == o->when &&
           (o->subject < 0 || (status.class && status.subject == o->subject)) &&
           (o->detail < 0 || status.detail == o->detail);
}

const struct smtp_outcome *smtp_outcome_find(enum smtp_stage stage, unsigned code, struct smtp_status status,
                                             unsigned facts)
{
    for (size_t i = 0; i < ROWS; i++)
        if (table[i].stage == stage && row_fits(&table[i], code, status, facts))
            return &table[i];
    assert(false); /* test_client.c asks for all of them */
    return NULL;
}

struct smtp_status smtp_outcome_status(const struct smtp_outcome *o, struct smtp_status status)
{
    bool fits = status.class && (status.class == 2) == (o->status.class == 2);

    return fits ? SMTP_STATUS(o->status.class, status.subject, status.detail) : o->status;
}
