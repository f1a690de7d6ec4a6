/* contact.c: what other servers said of their addresses, judged, gathered, and told to the keeper.
 *
 *   said                                                             outcome
 *   the message was taken                                            delivered; with the new address of a 251
 *   551, X.1.6                                                       moved, with the new address if it was told
 *   550 to RCPT without an enhanced code, 5.1.0 to 5.1.5, 5.2.1,
 *   550 5.1.10 (Exchange)                                            no such mailbox
 *   X.2.2, 552 to RCPT without an enhanced code                      full
 *   556 to RCPT, null MX in the DNS                                  the domain takes no mail
 *   all else: policy (5.7.X), trouble of the host, 4XX, our own      nothing
 *
 * Nothing here is on the way of a message: an outcome is put into a batch in memory, and each second, or when a batch
 * is full, one goes to the keeper; the next when that is answered. What does not fit any more is lost and counted. That
 * an address takes mail is told once in some hours: a small table, in which others may take its place, knows whom it
 * was told of. */
#include "back/contact.h"
#include "back/back.h"
#include "role/log.h"

#include "codes/codes.h"
#include "mail/trace.h"

#include <stdlib.h>
#include <xxhash.h>

enum {
    BATCHES_MAX = 8,
    TOLD_SLOTS = 16384,
    TOLD_AGAIN_MS = 6 * 3600 * 1000,
    COMPLAIN_MS = 60 * 1000,
};

struct batch {
    struct list link;
    struct buf  text;
    unsigned    count;
};

struct back_contacts {
    struct list batches; /* the first is under way, if `asking`; the last is filled */
    unsigned    batch_count;
    bool        asking;
    uint64_t    lost, complained_ms;
    uint64_t    told_seed, told[TOLD_SLOTS];
};

/* ---- what was said ---- */

/* The enhanced code that the host itself gave; *text: what stands behind it. */
static struct codes_status explicit_status(struct str *text)
{
    struct codes_status status = {0};
    struct str          rest = *text, word = str_part(rest, 0, str_find_byte(rest, ' '));

    if (codes_status_parse(word, &status))
        *text = str_trim(str_skip(rest, word.len));
    return status;
}

static enum contact_outcome judge_refusal(const struct carried_recipient *r, struct codes_status said)
{
    const bool rcpt = r->stage == SMTP_STAGE_RCPT, failed = r->verdict == SMTP_CLIENT_FAILED;
    const bool null_mx = r->status.class == 5 && r->status.subject == 1 && r->status.detail == 10;

    if (failed && null_mx && (!r->code || (rcpt && r->code == 556)))
        return CONTACT_NO_MAIL;
    if (!r->code || (!rcpt && r->stage != SMTP_STAGE_MESSAGE))
        return CONTACT_UNKNOWN;
    if (said.subject == 2 && said.detail == 2)
        return CONTACT_FULL;
    if (rcpt && r->code == 552 && !said.class)
        return CONTACT_FULL;
    if (!failed)
        return CONTACT_UNKNOWN;
    if ((rcpt && r->code == 551) || (said.subject == 1 && said.detail == 6))
        return CONTACT_MOVED;
    if (rcpt && r->code == 550 && !said.class)
        return CONTACT_NO_MAILBOX;
    if (said.class &&
        ((said.subject == 1 && (said.detail <= 5 || said.detail == 10)) || (said.subject == 2 && said.detail == 1)))
        return CONTACT_NO_MAILBOX;
    return CONTACT_UNKNOWN;
}

bool back_contact_judge(const struct mail_address *address, const struct carried *by, const struct carried_recipient *r,
                        uint64_t now_ms, struct contact *ret_contact)
{
    struct contact      c = {.address = *address, .code = r->code, .last_ms = now_ms, .host = by->host};
    struct str          text = r->text;
    struct codes_status said = explicit_status(&text);
    char                status[SMTP_STATUS_TEXT];
    struct str          status_text = smtp_status_text(r->status, status);

    if (r->verdict == SMTP_CLIENT_ACCEPTED) {
        c.outcome = CONTACT_DELIVERED;
        c.unconfirmed = r->unconfirmed;
        c.moved_to = r->moved_to;
        *ret_contact = c;
        return true;
    }
    c.outcome = judge_refusal(r, said);
    if (c.outcome == CONTACT_UNKNOWN)
        return false;
    if (c.outcome == CONTACT_NO_MAIL)
        c.address = (struct mail_address){STR(""), address->domain, false};
    if (c.outcome == CONTACT_MOVED)
        c.moved_to = r->moved_to;
    c.text = text.len ? text : r->words;
    memcpy(c.status, status_text.data, status_text.len);
    *ret_contact = c;
    return true;
}

/* ---- to the keeper ---- */

static void send_first(struct back *b);

static void batch_free(struct back_contacts *k, struct batch *batch)
{
    k->batch_count--;
    list_remove(&batch->link);
    buf_done(&batch->text);
    free(batch);
}

static void lose(struct back *b, struct back_contacts *k, unsigned count)
{
    uint64_t now_ms = io_loop_now_ms(b->loop);

    k->lost += count;
    if (k->complained_ms && now_ms - k->complained_ms < COMPLAIN_MS)
        return;
    log_notice(LOG_LEVEL_WARNING, "of what other servers said of addresses, %llu outcomes are not remembered",
               (unsigned long long)k->lost);
    k->lost = 0;
    k->complained_ms = now_ms;
}

static void answered(void *arg, const struct answer *answer)
{
    struct back          *b = arg;
    struct back_contacts *k = b->contacts;
    struct batch         *batch = LIST_ITEM(list_first(&k->batches), struct batch, link);

    k->asking = false;
    if (!answer || !answer->yes)
        lose(b, k, batch->count);
    batch_free(k, batch);
    if (k->batch_count > 1 || b->draining)
        send_first(b);
}

static void send_first(struct back *b)
{
    struct back_contacts *k = b->contacts;
    struct batch         *batch;
    struct ask            ask = {.kind = ASK_LEARN, .class = CLASS_OURSELVES};

    if (k->asking || list_is_empty(&k->batches))
        return;
    batch = LIST_ITEM(list_first(&k->batches), struct batch, link);
    ask.text = buf_str(&batch->text);
    k->asking = back_ask(b, &ask, answered, b);
    if (!k->asking) {
        lose(b, k, batch->count);
        batch_free(k, batch);
    }
}

static struct batch *batch_new(struct back_contacts *k)
{
    struct batch *batch = k->batch_count < BATCHES_MAX ? calloc(1, sizeof *batch) : NULL;

    if (!batch)
        return NULL;
    buf_init(&batch->text, ASK_TEXT_MAX);
    list_init(&batch->link);
    list_push(&k->batches, &batch->link);
    k->batch_count++;
    return batch;
}

static bool put(struct back_contacts *k, const struct contact *c)
{
    struct batch *batch = NULL;

    if (k->batch_count > (k->asking ? 1u : 0u))
        batch = LIST_ITEM(k->batches.prev, struct batch, link);
    if (batch && batch->count < ASK_LEARN_MAX && ask_contact_put(c, &batch->text)) {
        batch->count++;
        return true;
    }
    batch = batch_new(k);
    if (!batch || !ask_contact_put(c, &batch->text))
        return false;
    batch->count = 1;
    return true;
}

/* Usual news, told lately. Other news of the address, or of its domain, make it news again. */
static bool was_told(struct back_contacts *k, const struct contact *c)
{
    bool     usual = c->outcome == CONTACT_DELIVERED && !c->unconfirmed && mail_address_is_null(&c->moved_to);
    uint64_t hash, *slot;

    if (!c->address.local.len)
        k->told_seed++;
    hash = XXH3_64bits_withSeed(c->address.domain.data, c->address.domain.len, k->told_seed);
    hash = XXH3_64bits_withSeed(c->address.local.data, c->address.local.len, hash) + c->last_ms / TOLD_AGAIN_MS;
    slot = &k->told[hash % TOLD_SLOTS];
    if (usual && *slot == hash)
        return true;
    if (usual || *slot == hash)
        *slot = usual ? hash : 0;
    return false;
}

static struct back_contacts *contacts_of(struct back *b)
{
    if (!b->contacts && (b->contacts = calloc(1, sizeof *b->contacts))) {
        list_init(&b->contacts->batches);
        b->contacts->told_seed = b->seed;
    }
    return b->contacts;
}

void back_contact_learn(struct back *b, const struct mail_address *address, const struct carried *by,
                        const struct carried_recipient *r)
{
    struct back_contacts *k = b->config->contacts.keep ? contacts_of(b) : NULL;
    struct contact        c;
    struct buf            text;

    if (!k || !back_contact_judge(address, by, r, io_wall_ms(), &c) || was_told(k, &c))
        return;
    buf_init(&text, CONTACT_TEXT_MAX);
    mail_safe_text(c.text, true, CONTACT_TEXT_MAX, &text);
    c.text = buf_str(&text);
    if (!put(k, &c))
        lose(b, k, 1);
    buf_done(&text);
    if (k->batch_count > 1 || b->draining)
        send_first(b);
}

void back_contact_tick(struct back *b)
{
    if (b->contacts)
        send_first(b);
}
