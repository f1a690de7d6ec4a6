/* contacts_row.c: what is remembered of an address, as a sentence, as a row of a table and as JSON. The columns are
 * what other programs rely on: one may be added at the end, none is renamed. */
#include "cli/contacts.h"
#include "cli/csv.h"

#include "mail/trace.h"

#include <stdio.h>
#include <time.h>

enum { CELL_MAX = 1024 };

void contacts_time_text(uint64_t ms, char ret_text[CONTACTS_TIME_TEXT + 1])
{
    time_t    seconds = (time_t)(ms / 1000);
    struct tm tm;

    ret_text[0] = '\0';
    if (ms && gmtime_r(&seconds, &tm))
        strftime(ret_text, CONTACTS_TIME_TEXT + 1, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* ---- words ---- */

static void put_day(struct buf *out, uint64_t ms)
{
    char text[CONTACTS_TIME_TEXT + 1];

    contacts_time_text(ms, text);
    buf_append(out, str_part(str_from(text), 0, 10));
}

static void put_moved_to(const struct contact *c, const char *before, struct buf *out)
{
    if (mail_address_is_null(&c->moved_to))
        return;
    buf_append_z(out, before);
    mail_address_format(&c->moved_to, out);
}

static void put_reply(const struct contact *c, struct buf *out)
{
    if (c->code)
        buf_printf(out, ": %u", c->code);
    if (c->code && c->status[0])
        buf_printf(out, " %s", c->status);
    if (c->text.len)
        buf_printf(out, "%s%.*s", c->code ? " " : ": ", STR_ARG(c->text));
}

static void put_since(const struct contact *c, struct buf *out)
{
    bool same_day = c->first_ms / CONTACTS_FRESH_MS == c->last_ms / CONTACTS_FRESH_MS;

    buf_append_z(out, same_day ? ", said " : ", said first ");
    put_day(out, c->first_ms);
    if (!same_day) {
        buf_append_z(out, ", last ");
        put_day(out, c->last_ms);
    }
    if (c->delivered_ms) {
        buf_append_z(out, ", delivered last ");
        put_day(out, c->delivered_ms);
    }
}

void contacts_words(const struct contact *c, struct buf *out)
{
    static const char *const words[] = {
        [CONTACT_UNKNOWN] = "nothing is known",
        [CONTACT_MOVED] = "it has moved",
        [CONTACT_NO_MAILBOX] = "there is no such mailbox",
        [CONTACT_FULL] = "the mailbox is full",
        [CONTACT_NO_MAIL] = "the domain takes no mail",
    };

    if (c->outcome == CONTACT_DELIVERED) {
        buf_append_z(out, "delivered last ");
        put_day(out, c->last_ms);
        buf_append_z(out, c->unconfirmed ? ", though the server did not confirm the address" : "");
        put_moved_to(c, "; the server names a new address: ", out);
        return;
    }
    buf_append_z(out, words[c->outcome]);
    put_moved_to(c, " to ", out);
    put_since(c, out);
    put_reply(c, out);
}

/* ---- rows ---- */

static const char *const columns[] = {"address",   "domain", "outcome", "confirmed", "first", "last",
                                      "delivered", "code",   "status",  "reply",     "host",  "moved_to"};
enum { COLUMNS = sizeof columns / sizeof *columns };

struct cells {
    char       first[CONTACTS_TIME_TEXT + 1], last[CONTACTS_TIME_TEXT + 1], delivered[CONTACTS_TIME_TEXT + 1], code[8];
    struct buf address, moved_to;
    struct str of[COLUMNS];
};

/* A domain's row has no address: the cell would begin with an @. */
static void cells_init(struct cells *s, const struct contact *c)
{
    bool       is_domain = !c->address.local.len;
    struct str confirmed = c->outcome != CONTACT_DELIVERED ? STR("") : c->unconfirmed ? STR("no") : STR("yes");

    contacts_time_text(c->first_ms, s->first);
    contacts_time_text(c->last_ms, s->last);
    contacts_time_text(c->delivered_ms, s->delivered);
    s->code[0] = '\0';
    if (c->code)
        snprintf(s->code, sizeof s->code, "%u", c->code);
    buf_init(&s->address, CELL_MAX);
    buf_init(&s->moved_to, CELL_MAX);
    if (!is_domain)
        mail_address_format(&c->address, &s->address);
    mail_address_format(&c->moved_to, &s->moved_to);
    memcpy(s->of,
           (struct str[COLUMNS]){buf_str(&s->address), c->address.domain, str_from(contact_outcome_name(c->outcome)),
                                 confirmed, str_from(s->first), str_from(s->last), str_from(s->delivered),
                                 str_from(s->code), str_from(c->status), c->text, c->host, buf_str(&s->moved_to)},
           sizeof s->of);
}

static void cells_done(struct cells *s)
{
    buf_done(&s->address);
    buf_done(&s->moved_to);
}

bool contacts_csv_head(struct buf *out)
{
    for (size_t i = 0; i < COLUMNS; i++)
        csv_put(out, str_from(columns[i]), i == 0);
    return buf_append_z(out, "\r\n");
}

bool contacts_csv_row(const struct contact *c, struct buf *out)
{
    struct cells s;

    cells_init(&s, c);
    for (size_t i = 0; i < COLUMNS; i++)
        csv_put(out, s.of[i], i == 0);
    cells_done(&s);
    return buf_append_z(out, "\r\n");
}

json_t *contacts_json_text(struct str text)
{
    struct buf safe;
    json_t    *value = json_stringn(text.data ? text.data : "", text.len);

    if (value)
        return value;
    buf_init(&safe, text.len * 4 + 16);
    mail_safe_text(text, true, text.len + 3, &safe);
    value = json_stringn(buf_str(&safe).data, safe.len);
    buf_done(&safe);
    return value;
}

json_t *contacts_json(const struct contact *c)
{
    struct cells s;
    json_t      *o = json_object();

    cells_init(&s, c);
    for (size_t i = 0; i < COLUMNS; i++)
        if (s.of[i].len)
            json_object_set_new(o, columns[i], contacts_json_text(s.of[i]));
    if (c->code)
        json_object_set_new(o, "code", json_integer(c->code));
    if (c->outcome == CONTACT_DELIVERED)
        json_object_set_new(o, "confirmed", json_boolean(!c->unconfirmed));
    cells_done(&s);
    return o;
}
