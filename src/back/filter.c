/* filter.c: which messages a request of the control socket means.
 *
 * A message is meant if everything that was asked for fits. What speaks of recipients fits if one recipient that still
 * waits has all of it: its address, or one that led to it, and what was said of it last. What is done counts no more: a
 * message that its first recipient has and that waits for the second is found by the second alone.
 *
 * Most of a large queue is ruled out by what memory knows (queue/hint.h), the rest is read. */
#include "back/back.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILTER_MEMORY = 64 << 10, CODE_DIGITS = 3, CODE_MAX = 599 };

static bool read_text(const json_t *request, const char *name, struct str *ret_text, char ret_wrong[128])
{
    const json_t *value = json_object_get(request, name);

    if (value && (!json_is_string(value) || !json_string_length(value))) {
        snprintf(ret_wrong, 128, "\"%s\" must be a string, and not empty", name);
        return false;
    }
    if (value)
        *ret_text = str_of(json_string_value(value), json_string_length(value));
    return true;
}

static bool read_number(const json_t *request, const char *name, uint64_t *ret_number, char ret_wrong[128])
{
    const json_t *value = json_object_get(request, name);

    if (value && (!json_is_integer(value) || json_integer_value(value) < 0)) {
        snprintf(ret_wrong, 128, "\"%s\" must be a number", name);
        return false;
    }
    if (value)
        *ret_number = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_ids(const json_t *request, struct back_filter *f, char ret_wrong[128])
{
    const json_t *ids = json_object_get(request, "ids"), *id;
    size_t        i;

    if (!ids)
        return true;
    f->by_id = true;
    f->ids = calloc(json_array_size(ids) + 1, sizeof *f->ids);
    if (!json_is_array(ids) || !f->ids) {
        snprintf(ret_wrong, 128, "\"ids\" must be an array");
        return false;
    }
    json_array_foreach(ids, i, id)
    {
        struct str text = json_is_string(id) ? str_from(json_string_value(id)) : STR("");

        if (!message_id_parse(text, &f->ids[f->id_count++])) {
            snprintf(ret_wrong, 128, "\"%.*s\" is not an id of a message: thirteen letters and digits",
                     (int)(text.len > 40 ? 40 : text.len), text.data);
            return false;
        }
    }
    qsort(f->ids, f->id_count, sizeof *f->ids, message_id_compare);
    return true;
}

/* ADDRESS, "@" DOMAIN, or "<>". */
static bool read_address(const json_t *request, const char *name, struct back_filter *f, struct back_filter_address *a,
                         char ret_wrong[128])
{
    struct mail_address_error error;
    struct str                text = STR_NONE;
    bool                      ok = true;

    if (!read_text(request, name, &text, ret_wrong))
        return false;
    if (!text.len)
        return true;
    a->wanted = a->local = true;
    if (str_starts(text, STR("@"))) {
        a->local = false;
        ok = mail_domain_parse(str_skip(text, 1), true, &f->arena, &a->address.domain);
    } else if (str_eq_nocase(text, STR("postmaster"))) {
        a->address.local = text;
    } else if (!str_eq(text, STR("<>"))) {
        ok = mail_address_parse(text, true, &f->arena, &a->address, &error);
    }
    if (!ok) {
        snprintf(ret_wrong, 128, "\"%s\" must be an address, or @ and a domain", name);
        return false;
    }
    a->hint = hint_of_address(&a->address);
    if (!a->local)
        a->hint.local = HINT_ANY;
    return true;
}

/* The domain of a recipient: the same as "@" DOMAIN. */
static bool read_domain(const json_t *request, struct back_filter *f, char ret_wrong[128])
{
    struct str text = STR_NONE;

    if (!read_text(request, "domain", &text, ret_wrong))
        return false;
    if (!text.len)
        return true;
    f->domain.wanted = true;
    if (!mail_domain_parse(text, true, &f->arena, &f->domain.address.domain)) {
        snprintf(ret_wrong, 128, "\"domain\" must be a domain");
        return false;
    }
    f->domain.hint.domain = hint_of_name(f->domain.address.domain);
    return true;
}

/* Three digits are a reply code, anything else is looked for in what was said. */
static bool read_reply(const json_t *request, struct back_filter *f, char ret_wrong[128])
{
    uint64_t code;

    if (!read_text(request, "reply", &f->reply, ret_wrong))
        return false;
    if (f->reply.len == CODE_DIGITS && str_to_u64(f->reply, CODE_MAX, &code)) {
        f->code = (uint16_t)code;
        f->reply = STR_NONE;
    }
    return true;
}

static bool read_all(const struct json_t *request, struct back_filter *f, char ret_wrong[128])
{
    return read_address(request, "sender", f, &f->sender, ret_wrong) &&
           read_address(request, "recipient", f, &f->recipient, ret_wrong) && read_domain(request, f, ret_wrong) &&
           read_text(request, "site", &f->site, ret_wrong) && read_reply(request, f, ret_wrong) &&
           read_text(request, "text", &f->text, ret_wrong) && read_text(request, "state", &f->state, ret_wrong) &&
           read_number(request, "older_ms", &f->older_ms, ret_wrong) &&
           read_number(request, "newer_ms", &f->newer_ms, ret_wrong) &&
           read_number(request, "larger", &f->larger, ret_wrong) &&
           read_number(request, "smaller", &f->smaller, ret_wrong) && read_ids(request, f, ret_wrong);
}

bool back_filter_get(const struct json_t *request, struct back_filter *ret_filter, char ret_wrong[128])
{
    struct back_filter f = {.unclaimed = json_is_true(json_object_get(request, "unclaimed"))};

    arena_init(&f.arena, 1024, FILTER_MEMORY);
    if (!read_all(request, &f, ret_wrong)) {
        back_filter_done(&f);
        return false;
    }
    *ret_filter = f;
    return true;
}

void back_filter_done(struct back_filter *f)
{
    free(f->ids);
    f->ids = NULL;
    arena_done(&f->arena);
}

static bool of_recipients(const struct back_filter *f)
{
    return f->recipient.wanted || f->domain.wanted || f->site.len || f->reply.len || f->code || f->text.len;
}

bool back_filter_needs_message(const struct back_filter *f) { return f->sender.wanted || of_recipients(f); }

bool back_filter_needs_progress(const struct back_filter *f, const struct queue_message *m)
{
    return f->site.len || f->reply.len || f->code || f->text.len ||
           (of_recipients(f) && m->pending + m->waiting + m->unclaimed_count < m->recipient_count);
}

bool back_filter_is_empty(const struct back_filter *f)
{
    return !f->by_id && !back_filter_needs_message(f) && !f->state.len && !f->older_ms && !f->newer_ms && !f->larger &&
           !f->smaller && !f->unclaimed;
}

const char *back_state_name(const struct queue_message *m)
{
    if (m->flags & PROGRESS_HELD)
        return "held";
    if (m->busy || m->out)
        return "active";
    if (m->pending)
        return m->attempts ? "deferred" : "queued";
    return m->waiting ? "waiting" : "unclaimed";
}

/* A site is looked for by its name; one that is asked for by its address has no hint. */
static uint16_t site_hint(struct str site)
{
    bool is_name = false;

    for (size_t i = 0; i < site.len; i++)
        is_name |= char_is_alpha(site.data[i]);
    return is_name && str_find_byte(site, ':') == STR_NOT_FOUND ? hint_of_name(site) : HINT_ANY;
}

bool back_filter_may_match(const struct back_filter *f, const struct queue_message *m)
{
    uint64_t            received = message_id_time_ms(m->id);
    struct address_hint to = queue_message_to(m);

    if (f->by_id && (!f->id_count || !bsearch(&m->id, f->ids, f->id_count, sizeof *f->ids, message_id_compare)))
        return false;
    if (f->unclaimed && !m->unclaimed_count)
        return false;
    if ((f->older_ms && received >= f->older_ms) || (f->newer_ms && received <= f->newer_ms))
        return false;
    if ((f->larger && m->size <= f->larger) || (f->smaller && m->size >= f->smaller))
        return false;
    if (address_hint_excludes(m->from, f->sender.hint) || address_hint_excludes(to, f->recipient.hint) ||
        address_hint_excludes(to, f->domain.hint))
        return false;
    if (hint_excludes(m->reply.code, f->code) || (f->site.len && m->reply.remote == HINT_NONE) ||
        (f->site.len && hint_excludes(m->reply.remote, site_hint(f->site))))
        return false;
    return !f->state.len || str_eq(f->state, str_from(back_state_name(m))) ||
           (str_eq(f->state, STR("unclaimed")) && m->unclaimed_count) ||
           (str_eq(f->state, STR("waiting")) && m->waiting);
}

static bool address_fits(const struct back_filter_address *f, const struct mail_address *a)
{
    return !f->wanted ||
           (str_eq(f->address.domain, a->domain) && (!f->local || str_eq_nocase(f->address.local, a->local)));
}

/* The recipient itself, or one that it takes the place of. */
static bool recipient_fits(const struct back_filter_address *f, const struct attempt *a, size_t i)
{
    while (!address_fits(f, &a->to[i].address)) {
        if (a->to[i].parent == i)
            return false;
        i = a->to[i].parent;
    }
    return true;
}

static bool has(struct str text, struct str what) { return str_find(text, what) != STR_NOT_FOUND; }

static bool said_fits(const struct back_filter *f, const struct attempt_recipient *to)
{
    if (f->code && to->code != f->code)
        return false;
    if (f->reply.len && !str_eq(to->status, f->reply) && !has(to->reply, f->reply))
        return false;
    if (f->site.len && !str_eq_nocase(to->remote, f->site) && !str_eq_nocase(to->remote_address, f->site))
        return false;
    return !f->text.len || has(to->status, f->text) || has(to->reason, f->text) || has(to->reply, f->text);
}

bool back_filter_matches(const struct back_filter *f, const struct attempt *a)
{
    if (!address_fits(&f->sender, &a->message.envelope.sender))
        return false;
    for (size_t i = 0; i < a->count && of_recipients(f); i++)
        if (!recipient_state_is_final(a->to[i].state) && recipient_fits(&f->recipient, a, i) &&
            recipient_fits(&f->domain, a, i) && said_fits(f, &a->to[i]))
            return true;
    return !of_recipients(f);
}
