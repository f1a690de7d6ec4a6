/* client_mail.c: a message as transactions: who is asked for in which, the commands, and the replies to them.
 *
 * Recipients are slots. A transaction takes those that are to do, as many as the server and the configuration allow,
 * and each ends settled, or to do once more for a reason that cannot come for ever: REST only if another was accepted,
 * STRIP and SINGLE once for a message. So the number of transactions is at most that of recipients and two.
 *
 * The commands of a transaction are numbered steps, and two numbers say which is sent and which is answered next. With
 * PIPELINING the first runs ahead of the second, without it they go hand in hand; nothing else differs. */
#include "smtp/client_internal.h"

#include "mail/xtext.h"

#include <assert.h>

/* ---- results ---- */

void client_settle(struct smtp_client *c, uint32_t recipient, enum smtp_client_verdict verdict, struct client_answer *a)
{
    struct smtp_client_result before = c->results[recipient];

    if (a->text.len && !a->kept.data)
        a->kept = arena_str(&c->arena, client_text_cut(a->text));
    c->results[recipient] = client_result(verdict, a);
    c->results[recipient].text = a->kept;
    c->results[recipient].moved_to = before.moved_to;
    c->results[recipient].unconfirmed = before.unconfirmed;
    c->slots[recipient] = SLOT_SETTLED;
}

void client_settle_all(struct smtp_client *c, unsigned slots, enum smtp_client_verdict verdict, struct client_answer *a)
{
    for (uint32_t i = 0; i < c->message->recipient_count; i++)
        if (slots & 1u << c->slots[i])
            client_settle(c, i, verdict, a);
}

void client_slots_change(struct smtp_client *c, enum slot from, enum slot to)
{
    for (uint32_t i = 0; i < c->batch_count; i++)
        if (c->slots[c->batch[i]] == from)
            c->slots[c->batch[i]] = (uint8_t)to;
}

/* What is known before anything is sent. */
static void fail_unasked(struct smtp_client *c, enum smtp_stage stage, uint32_t recipient /* or UINT32_MAX: all */,
                         enum smtp_happening what)
{
    struct client_answer a = {.stage = stage, .code = (uint16_t)what};

    a.row = smtp_outcome_find(stage, what, SMTP_STATUS_NONE, 0);
    if (recipient == UINT32_MAX)
        client_settle_all(c, 1 << SLOT_TODO, SMTP_CLIENT_FAILED, &a);
    else
        client_settle(c, recipient, SMTP_CLIENT_FAILED, &a);
}

/* ---- commands ---- */

static bool put_mail(struct smtp_client *c)
{
    const struct smtp_client_message *m = c->message;
    struct buf                       *out = &c->out;
    size_t                            required;

    buf_append_z(out, "MAIL FROM:<");
    mail_address_format(&m->sender, out);
    buf_append_byte(out, '>');
    if (c->body == BODY_BINARYMIME)
        buf_append_z(out, " BODY=BINARYMIME");
    else if (c->body == BODY_8BITMIME)
        buf_append_z(out, " BODY=8BITMIME");
    if (c->utf8)
        buf_append_z(out, " SMTPUTF8");
    required = out->len;
    if (c->caps.size && !c->stripped)
        buf_printf(out, " SIZE=%llu", (unsigned long long)c->size);
    if (c->caps.dsn && !c->stripped) {
        if (m->ret != RET_UNSET)
            buf_append_z(out, m->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
        if (m->envid.len) {
            size_t start = out->len, value;

            buf_append_z(out, " ENVID=");
            value = out->len;
            if (mail_xtext_encode(m->envid, out) && out->len - value > MAIL_ENVID_MAX)
                buf_cut(out, start);
        }
    }
    c->optional_sent = out->len > required;
    return client_command_end(c);
}

static void put_notify(uint8_t notify, struct buf *out)
{
    static const struct {
        uint8_t     bit;
        const char *word;
    } words[] = {
        {NOTIFY_NEVER, "NEVER"}, {NOTIFY_SUCCESS, "SUCCESS"}, {NOTIFY_FAILURE, "FAILURE"}, {NOTIFY_DELAY, "DELAY"}};
    const char *before = " NOTIFY=";

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (notify & words[i].bit) {
            buf_append_z(out, before);
            buf_append_z(out, words[i].word);
            before = ",";
        }
    }
}

static bool put_rcpt(struct smtp_client *c, const struct recipient *r)
{
    struct buf *out = &c->out;
    size_t      required, start, value;

    buf_append_z(out, "RCPT TO:<");
    mail_address_format(&r->address, out);
    buf_append_byte(out, '>');
    required = out->len;
    if (c->caps.dsn && !c->stripped) {
        put_notify(r->notify, out);
        start = out->len;
        if (r->orcpt_type.len) {
            buf_append_z(out, " ORCPT=");
            value = out->len;
            if (!mail_orcpt_format(r->orcpt_type, r->orcpt, out) || out->len - value > MAIL_ORCPT_MAX)
                buf_cut(out, start);
        }
    }
    c->optional_sent |= out->len > required;
    return client_command_end(c);
}

static bool put_step(struct smtp_client *c, uint32_t step)
{
    if (step == STEP_RSET)
        return client_command(c, "RSET");
    if (step == STEP_MAIL) {
        c->transactions++;
        return put_mail(c);
    }
    if (step < STEP_RCPT + c->batch_count)
        return put_rcpt(c, &c->message->recipients[c->batch[step - STEP_RCPT]]);
    return client_command(c, "DATA");
}

void client_pump(struct smtp_client *c)
{
    while (c->send_at < c->steps && c->out.len < CLIENT_OUTPUT_PAUSE &&
           (c->caps.pipelining || c->send_at == c->reply_at)) {
        if (!put_step(c, c->send_at)) {
            client_happen(c, SMTP_OUR_FAULT, NULL);
            return;
        }
        c->ends[c->send_at++] = c->command_end;
    }
}

enum smtp_stage client_envelope_stage(const struct smtp_client *c)
{
    return c->reply_at == STEP_RSET                   ? SMTP_STAGE_RSET
           : c->reply_at == STEP_MAIL                 ? SMTP_STAGE_MAIL
           : c->reply_at < STEP_RCPT + c->batch_count ? SMTP_STAGE_RCPT
                                                      : SMTP_STAGE_DATA;
}

/* ---- transactions ---- */

static uint32_t batch_max(const struct smtp_client *c)
{
    uint32_t max = c->single ? 1 : c->config->recipients;

    return c->caps.rcpt_max && c->caps.rcpt_max < max ? c->caps.rcpt_max : max;
}

static bool transactions_are_left(const struct smtp_client *c)
{
    return !c->caps.mail_max || c->transactions < c->caps.mail_max;
}

/* The next transaction, or the end of the message. */
static void transaction_next(struct smtp_client *c)
{
    uint32_t max = batch_max(c);

    c->batch_count = c->accepted = c->final_at = 0;
    c->mail_taken = c->optional_sent = c->void_message = false;
    for (uint32_t i = 0; i < c->message->recipient_count && c->batch_count < max && transactions_are_left(c); i++) {
        if (c->slots[i] == SLOT_TODO) {
            c->slots[i] = SLOT_ASKED;
            c->batch[c->batch_count++] = i;
        }
    }
    if (!c->batch_count) { /* those that are to do still have the result they began with: not tried */
        c->message = NULL;
        c->tell_done = true;
        client_change(c, SMTP_CLIENT_IN_READY);
        return;
    }
    c->chunked = c->caps.chunking;
    c->send_at = c->reply_at = c->needs_rset ? STEP_RSET : STEP_MAIL;
    c->steps = STEP_RCPT + c->batch_count + (c->caps.pipelining && !c->chunked);
    client_change(c, SMTP_CLIENT_IN_ENVELOPE);
    client_pump(c);
}

void client_transaction_end(struct smtp_client *c, bool needs_rset)
{
    c->needs_rset = needs_rset;
    transaction_next(c);
}

/* ---- the message ---- */

bool smtp_client_takes_more(const struct smtp_client *c)
{
    return c->state == SMTP_CLIENT_IN_READY && !c->message && transactions_are_left(c);
}

static bool message_init(struct smtp_client *c, const struct smtp_client_message *m)
{
    size_t n = m->recipient_count;

    arena_reset(&c->arena);
    c->results = arena_alloc(&c->arena, n * sizeof *c->results);
    c->slots = arena_alloc(&c->arena, n * sizeof *c->slots);
    c->batch = arena_alloc(&c->arena, c->config->recipients * sizeof *c->batch);
    c->ends = arena_alloc(&c->arena, (c->config->recipients + STEP_RCPT + 1) * sizeof *c->ends);
    if (!c->results || !c->slots || !c->batch || !c->ends)
        return false;
    for (size_t i = 0; i < n; i++)
        c->results[i] = (struct smtp_client_result){.verdict = SMTP_CLIENT_NOT_TRIED, .words = "nothing was asked yet"};
    return true;
}

static bool take_is_possible(struct smtp_client *c, enum smtp_happening *ret_why)
{
    if (c->body == BODY_BINARYMIME && !(c->caps.binary && c->caps.chunking))
        *ret_why = SMTP_NEEDS_8BIT;
    else if (c->caps.size_max && c->size > c->caps.size_max)
        *ret_why = SMTP_TOO_LARGE;
    else
        return true;
    return false;
}

/* Once the content has the form in which it would go. */
static void message_begin(struct smtp_client *c)
{
    enum smtp_happening why;

    if (!take_is_possible(c, &why))
        fail_unasked(c, SMTP_STAGE_MAIL, UINT32_MAX, why);
    transaction_next(c);
}

/* SMTPUTF8 is needed for UTF-8 in a local part or a header; domains are A-labels already (mail/address.h). */
static void utf8_judge(struct smtp_client *c)
{
    const struct smtp_client_message *m = c->message;

    c->utf8 = m->sender.utf8 || m->header_utf8;
    if (c->utf8 && !c->caps.smtputf8)
        fail_unasked(c, SMTP_STAGE_MAIL, UINT32_MAX, SMTP_NEEDS_UTF8);
    for (uint32_t i = 0; i < m->recipient_count; i++) {
        if (!m->recipients[i].address.utf8 || c->slots[i] != SLOT_TODO)
            continue;
        if (c->caps.smtputf8)
            c->utf8 = true;
        else
            fail_unasked(c, SMTP_STAGE_RCPT, i, SMTP_NEEDS_UTF8);
    }
}

static bool anybody_is_to_do(const struct smtp_client *c)
{
    for (size_t i = 0; i < c->message->recipient_count; i++)
        if (c->slots[i] == SLOT_TODO)
            return true;
    return false;
}

void smtp_client_message(struct smtp_client *c, const struct smtp_client_message *message)
{
    assert(smtp_client_takes_more(c) && message->recipient_count > 0);
    c->stripped = c->single = false;
    c->body = message->body;
    c->size = message->size;
    if (!message_init(c, message)) {
        c->message = NULL;
        c->results = NULL;
        client_happen(c, SMTP_OUR_FAULT, NULL);
        return;
    }
    c->message = message;
    client_wait_anew(c);
    utf8_judge(c);
    if (c->body == BODY_8BITMIME && !c->caps.eight_bit && anybody_is_to_do(c))
        c->ask_convert = true;
    else
        message_begin(c);
}

void smtp_client_converted(struct smtp_client *c, bool possible, uint64_t size)
{
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    assert(c->state == SMTP_CLIENT_IN_READY && c->message && c->body == BODY_8BITMIME);
    if (possible) {
        c->body = BODY_7BIT;
        c->size = size;
    } else {
        fail_unasked(c, SMTP_STAGE_MAIL, UINT32_MAX, SMTP_NEEDS_8BIT);
    }
    message_begin(c);
}

const struct smtp_client_result *smtp_client_results(const struct smtp_client *c) { return c->results; }

/* ---- replies ---- */

static void mail_reply(struct smtp_client *c, struct client_answer *a)
{
    c->mail_taken = a->row->action == SMTP_DO_GO_ON;
    if (c->mail_taken)
        return;
    if (a->row->action == SMTP_DO_STRIP) {
        c->stripped = true;
        client_slots_change(c, SLOT_ASKED, SLOT_TODO);
    } else {
        client_settle_all(c, 1 << SLOT_ASKED | 1 << SLOT_TODO,
                          a->row->action == SMTP_DO_FAIL ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, a);
    }
    c->steps = c->send_at; /* what was sent is answered still; nothing more is */
}

/* The address in "<...>" of a 251 or 551 (RFC 5321 3.4): ours to remember, and a stranger's to invent. */
static void moved_note(struct smtp_client *c, uint32_t recipient, struct str text)
{
    const struct mail_path_rules rules = {.utf8 = true};
    struct mail_address_error    error;
    struct mail_address          address;
    size_t                       at = str_find_byte(text, '<'), len;

    if (at != STR_NOT_FOUND &&
        mail_path_parse(str_skip(text, at), rules, &c->arena, &address, &len, &error) == PARSE_OK)
        c->results[recipient].moved_to = address;
}

static void rcpt_reply(struct smtp_client *c, struct client_answer *a)
{
    uint32_t recipient = c->batch[c->reply_at - STEP_RCPT];

    if (!c->mail_taken)
        return; /* whatever it says, there is no transaction */
    if (a->row->moved)
        moved_note(c, recipient, a->text);
    if (a->row->action == SMTP_DO_GO_ON) {
        c->slots[recipient] = SLOT_ACCEPTED;
        c->results[recipient].unconfirmed = a->code == 252;
        c->accepted++;
    } else if (a->row->action == SMTP_DO_REST || a->row->action == SMTP_DO_STRIP) {
        c->stripped |= a->row->action == SMTP_DO_STRIP;
        c->slots[recipient] = SLOT_TODO;
    } else {
        client_settle(c, recipient, a->row->action == SMTP_DO_FAIL ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, a);
    }
}

static void data_reply(struct smtp_client *c, struct client_answer *a)
{
    bool yes = a->row->action == SMTP_DO_GO_ON;

    if (yes && c->accepted) {
        client_content_begin(c);
    } else if (yes) {
        client_content_void(c);
    } else {
        client_settle_all(c, 1 << SLOT_ACCEPTED,
                          a->row->action == SMTP_DO_FAIL ? SMTP_CLIENT_FAILED : SMTP_CLIENT_DEFERRED, a);
        client_transaction_end(c, c->mail_taken);
    }
}

/* All that was sent is answered, and DATA was not among it. */
static void envelope_end(struct smtp_client *c)
{
    if (!c->accepted) {
        client_transaction_end(c, c->mail_taken);
    } else if (c->chunked) {
        client_content_begin(c);
    } else {
        c->steps++;
        client_pump(c);
    }
}

void client_envelope_reply(struct smtp_client *c, struct client_answer *a)
{
    if (a->row->action == SMTP_DO_CLOSE) {
        client_leave(c, a, false);
        return;
    }
    client_wait_anew(c);
    if (a->stage == SMTP_STAGE_DATA) {
        data_reply(c, a);
        return;
    }
    if (a->stage == SMTP_STAGE_MAIL)
        mail_reply(c, a);
    else if (a->stage == SMTP_STAGE_RCPT)
        rcpt_reply(c, a);
    c->reply_at++;
    if (c->reply_at == c->steps)
        envelope_end(c);
    else
        client_pump(c);
}
