/* report.c: messages of our own about messages: gathered while an attempt is concluded, one for each return path,
 * and written into the same group of records as the outcome they tell of.
 *
 * A recipient is named as the sender wrote it. What an alias or a forward led to is named only to the owner of a list,
 * who knows its members; to all others the server that was asked and what it said are left out as well, for a server
 * has the name of its domain, and most of them repeat the address. Diagnostics of ours are not shown: they tell of
 * paths and quotas here; plain words from the tables of codes say what the sender needs. */
#include "mail/report.h"
#include "back/back.h"
#include "base/array.h"
#include "role/log.h"

#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    FULL_REPORTS_MAX = 16,    /* with more, none returns all of the message; */
    HEADER_REPORTS_MAX = 256, /* none its header either: they must fit into one group of records */
    HEADER_READ = 256 << 10
};

struct letter {
    const struct mail_address    *to;
    const struct mail_address    *list; /* whose owner this is, or NULL */
    struct mail_report_recipient *recipients;
    size_t                        count, room;
    struct map                    known; /* of an address, and what became of it -> its number + 1 */
    bool                          failures, delays;
};
struct back_reports {
    struct attempt *attempt;
    struct letter  *letters;
    size_t          count, room;
};

struct back_reports *back_reports_new(struct attempt *a)
{
    struct back_reports *r = calloc(1, sizeof *r);

    if (!r)
        role_give_up("out of memory", NULL);
    r->attempt = a;
    return r;
}

static struct letter *letter_to(struct back_reports *r, const struct mail_address *to)
{
    for (size_t i = 0; i < r->count; i++)
        if (mail_address_eq(r->letters[i].to, to))
            return &r->letters[i];
    if (!ARRAY_ROOM(r->letters, r->count, r->room, 4))
        return NULL;
    r->letters[r->count] = (struct letter){.to = to};
    map_init(&r->letters[r->count].known, r->attempt->back->seed);
    return &r->letters[r->count++];
}

/* Several members of one alias are one failure to the sender. Where two addresses have one hash, both are told. */
static bool is_known(const struct letter *letter, const struct mail_report_recipient *entry, uint64_t *ret_hash)
{
    uint64_t hash = XXH3_64bits_withSeed(entry->final.local.data, entry->final.local.len, entry->action);
    const struct mail_report_recipient *other;
    size_t                              at;

    *ret_hash = XXH3_64bits_withSeed(entry->final.domain.data, entry->final.domain.len, hash);
    at = (size_t)(uintptr_t)map_get_u64(&letter->known, *ret_hash);
    other = at ? &letter->recipients[at - 1] : NULL;
    return other && other->action == entry->action && mail_address_eq(&other->final, &entry->final);
}

/* What is known of the server that was asked, for those who may learn of it. A server behind one of our own domains is
 * a matter of ours; so is the path of a socket, and whoever answers there is this machine. */
static void put_remote(struct attempt *a, const struct attempt_recipient *to, struct mail_report_recipient *entry)
{
    entry->moved_to = to->moved_to;
    if (config_domain_find(a->back->config, to->address.domain))
        return;
    entry->remote = str_starts(to->remote, STR("/")) ? str_from(a->back->config->hostname) : to->remote;
    entry->remote_address = to->remote_address;
    entry->code = to->code;
    entry->reply = to->reply;
    if (!to->code)
        entry->happened = to->reason;
}

/* Of one of which nothing is told yet. */
static enum mail_report_wait wait_of(const struct attempt *a, const struct attempt_recipient *to)
{
    if (to->status.len || a->progress.flags & PROGRESS_HELD || a->back->config->queue.paused)
        return REPORT_TRIED;
    return to->given ? REPORT_FIRST_ATTEMPT : REPORT_NO_ATTEMPT;
}

bool back_reports_add(struct back_reports *r, size_t i, unsigned action)
{
    struct attempt                 *a = r->attempt;
    const struct attempt_recipient *to = &a->to[i];
    const struct recipient         *root = attempt_envelope_recipient(a, i);
    const struct mail_address      *sender = attempt_sender(a, i);
    bool                            to_owner = attempt_is_override(a, i) && !(to->flags & EXPANDED_HIDE);
    struct mail_report_recipient    entry = {.final = to_owner ? to->address : root->address,
                                             .original_type = root->orcpt_type,
                                             .original = root->orcpt,
                                             .action = (enum mail_report_action)action};
    struct letter                  *letter;
    uint64_t                        hash;

    if (mail_address_is_null(sender))
        return true;
    letter = letter_to(r, sender);
    if (!letter)
        return false;
    if (attempt_is_override(a, i))
        letter->list = &root->address;
    codes_status_parse(to->status, &entry.status);
    codes_status_parse(to->last_status, &entry.last_status);
    entry.attempts = a->progress.attempts + a->counts;
    entry.last_attempt_ms = to->tried ? a->now_ms : a->progress.last_ms;
    entry.tells_failure = !root->notify || root->notify & NOTIFY_FAILURE;
    if (action == REPORT_DELAYED) {
        entry.wait = wait_of(a, to);
        entry.retry_until_ms = attempt_expires_ms(a);
    }
    if (to->root == i || to_owner)
        put_remote(a, to, &entry);
    else /* who is told the truth anyway need not look for a slip in an address that is right */
        entry.is_behind =
            a->message.envelope.origin.class == CLASS_SUBMITTER || a->message.envelope.origin.class == CLASS_RELAY;
    if (is_known(letter, &entry, &hash))
        return true;
    if (!ARRAY_ROOM(letter->recipients, letter->count, letter->room, 4) ||
        !map_put_u64(&letter->known, hash, (void *)(uintptr_t)(letter->count + 1)))
        return false;
    letter->recipients[letter->count++] = entry;
    letter->failures |= action == REPORT_FAILED;
    letter->delays |= action == REPORT_DELAYED;
    return true;
}

/* The content, or as much of it as holds the header. */
static struct str original(struct attempt *a)
{
    char   *head;
    ssize_t len;

    if (!a->message.external)
        return a->message.content;
    head = arena_alloc(&a->arena, HEADER_READ);
    len = head ? pread(a->body_fd, head, HEADER_READ, 0) : -1;
    return len > 0 ? str_of(head, (size_t)len) : STR_NONE;
}

bool back_message_put(struct back *b, struct back_store *s, uint64_t id, uint64_t cause, const struct mail_address *to,
                      enum body_type body, bool smtputf8, struct str content)
{
    struct recipient recipient = {.address = *to, .notify = NOTIFY_NEVER};
    struct message   m = {
          .id = id,
          .received_ms = message_id_time_ms(id),
          .cause = cause,
          .size = content.len,
          .content = content,
          .envelope = {
              .origin = {.class = CLASS_OURSELVES, .client = STR("local"), .helo = str_from(b->config->hostname)},
              .body = body,
              .smtputf8 = smtputf8,
              .recipients = &recipient,
              .recipient_count = 1}};
    struct buf *out = back_store_record(s, RECORD_MESSAGE);

    return record_message_put(&m, out) && buf_append(out, content);
}

static bool wants_full(const struct attempt *a)
{
    enum client_class class = a->message.envelope.origin.class;

    return a->message.envelope.ret == RET_FULL && !a->message.external &&
           (class == CLASS_SUBMITTER || class == CLASS_RELAY);
}

/* Whoever has a mailbox here reads the language of its domain; all others that of the server. */
static const struct locale *language_of(const struct config *config, struct str domain)
{
    const struct config_domain *ours = config_domain_find(config, domain);
    bool                        own = ours && strcmp(ours->language, "default") != 0;

    return locale_named(str_from(own ? ours->language : config->language));
}

static void put_letter(struct attempt *a, const struct letter *letter, struct str content, bool full,
                       struct back_store *s)
{
    struct back       *b = a->back;
    uint64_t           id = message_id_next(&b->ids, io_wall_ms());
    char               text[MESSAGE_ID_TEXT + 1], about[MESSAGE_ID_TEXT + 1];
    struct mail_report r = {.mta = str_from(b->config->hostname),
                            .date_ms = message_id_time_ms(id),
                            .to = *letter->to,
                            .list = letter->list,
                            .envelope_id = a->message.envelope.envid,
                            .arrival_ms = a->message.received_ms,
                            .locale = language_of(b->config, letter->to->domain),
                            .smtputf8 = a->message.envelope.smtputf8,
                            .recipients = letter->recipients,
                            .recipient_count = letter->count,
                            .content = content,
                            .full = letter->failures && full,
                            .binary = a->message.envelope.body == BODY_BINARYMIME};
    enum body_type     body;
    struct buf         out;
    bool               ok;

    message_id_text(id, text);
    message_id_text(a->id, about);
    r.id = str_from(text);
    buf_init(&out, BACK_REPORT_MAX);
    ok = mail_report_format(&r, &out, &body);
    if (!ok && r.full) {
        buf_clear(&out);
        r.full = false;
        ok = mail_report_format(&r, &out, &body);
    }
    if (!ok) {
        buf_clear(&out);
        r.content = STR_NONE;
        ok = mail_report_format(&r, &out, &body);
    }
    if (!ok || !back_message_put(b, s, id, a->id, letter->to, body, letter->to->utf8 || r.smtputf8, buf_str(&out)))
        role_give_up("a report cannot be made: out of memory", NULL);
    buf_done(&out);
    if (letter->failures)
        count(COUNTER_messages_bounced_total, 1);
    if (log_begin(LOG_LEVEL_INFO, "report")) {
        log_z("id", text);
        log_str("to", mail_address_text(letter->to, &a->arena));
        log_printf("reason", "%s of %s", letter->failures ? "failure" : letter->delays ? "delay" : "success", about);
        log_u64("rcpts", letter->count);
        log_end();
    }
}

void back_reports_put(struct back_reports *r, struct back_store *s)
{
    struct str content = r->count && r->count <= HEADER_REPORTS_MAX && s ? original(r->attempt) : STR_NONE;

    for (size_t i = 0; s && i < r->count; i++)
        put_letter(r->attempt, &r->letters[i], content, r->count <= FULL_REPORTS_MAX && wants_full(r->attempt), s);
    for (size_t i = 0; i < r->count; i++) {
        map_done(&r->letters[i].known);
        free(r->letters[i].recipients);
    }
    free(r->letters);
    free(r);
}
