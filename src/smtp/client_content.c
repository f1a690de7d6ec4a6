/* client_content.c: the content on its way, and the answer to it.
 *
 * DATA doubles the dot that begins a line; BDAT names the whole length and sends the octets as they are, in one chunk:
 * the size is known, and an answer to each chunk would only add round trips. Content that is not binary is checked all
 * the same as it goes: a bare LF would let a message of ours end early at a server that is less strict, and what
 * follows be taken for commands there. Then, and when the content turns out not to have the size that was promised, the
 * connection is closed before the message has an end, so that the server throws it away.
 *
 * The server may refuse before it has everything. What it says then counts, but the rest can be taken back by closing
 * only. */
#include "smtp/client_internal.h"

#include <assert.h>

void client_content_begin(struct smtp_client *c)
{
    client_change(c, SMTP_CLIENT_IN_CONTENT);
    c->given = 0;
    c->at_line = true;
    c->block = c->sent / CLIENT_BLOCK;
    smtp_content_init(&c->scan);
    c->ask_content = true;
    if (c->chunked && !client_command(c, "BDAT %llu LAST", (unsigned long long)c->size))
        client_happen(c, SMTP_OUR_FAULT, NULL);
}

/* 354 though nobody was accepted. In LMTP nobody is nobody to answer for, and what the server thinks cannot be known.
 */
void client_content_void(struct smtp_client *c)
{
    struct client_answer a = {.stage = SMTP_STAGE_QUIT, .code = 221};

    if (!buf_append_z(&c->out, ".\r\n")) {
        client_happen(c, SMTP_OUR_FAULT, NULL);
        return;
    }
    if (c->config->lmtp) {
        a.row = smtp_outcome_find(a.stage, a.code, SMTP_STATUS_NONE, 0);
        client_leave(c, &a, true);
        return;
    }
    c->void_message = true;
    c->command_end = c->sent + c->out.len;
    client_change(c, SMTP_CLIENT_IN_FINAL);
}

bool smtp_client_wants_content(const struct smtp_client *c)
{
    return c->state == SMTP_CLIENT_IN_CONTENT && !c->ask_content && c->out.len < CLIENT_CONTENT_PAUSE;
}

static bool put_dotted(struct smtp_client *c, struct str piece)
{
    while (piece.len) {
        size_t dot = str_find(piece, STR("\n.")), len = dot == STR_NOT_FOUND ? piece.len : dot + 1;

        if (c->at_line && piece.data[0] == '.')
            buf_append_byte(&c->out, '.');
        buf_append(&c->out, str_part(piece, 0, len));
        c->at_line = piece.data[len - 1] == '\n';
        piece = str_skip(piece, len);
    }
    return buf_ok(&c->out);
}

static void content_end(struct smtp_client *c)
{
    if (!c->chunked && !buf_append_z(&c->out, c->at_line ? ".\r\n" : "\r\n.\r\n")) {
        client_happen(c, SMTP_OUR_FAULT, NULL);
        return;
    }
    c->command_end = c->sent + c->out.len;
    client_change(c, SMTP_CLIENT_IN_FINAL);
}

static void content_spoilt(struct smtp_client *c)
{
    struct client_answer a = {.stage = SMTP_STAGE_MESSAGE, .code = SMTP_SPOILT};

    a.row = smtp_outcome_find(a.stage, a.code, SMTP_STATUS_NONE, 0);
    client_settle_all(c, 1 << SLOT_ACCEPTED | 1 << SLOT_TODO, SMTP_CLIENT_FAILED, &a);
    client_leave(c, &a, false);
}

void smtp_client_give(struct smtp_client *c, struct str piece, bool end)
{
    if (c->state != SMTP_CLIENT_IN_CONTENT)
        return; /* the server has ended it meanwhile */
    assert(!c->ask_content);
    c->given += piece.len;
    if (c->body != BODY_BINARYMIME) {
        smtp_content_check(&c->scan, piece);
        if (end)
            smtp_content_check_end(&c->scan);
    }
    if (c->scan.fault != CONTENT_GOOD)
        content_spoilt(c);
    else if (c->given > c->size || (end && c->given != c->size))
        client_happen(c, SMTP_OUR_FAULT, "the message does not have the size that was stored with it");
    else if (!(c->chunked ? buf_append(&c->out, piece) : put_dotted(c, piece)))
        client_happen(c, SMTP_OUR_FAULT, NULL);
    else if (end)
        content_end(c);
}

static enum smtp_client_verdict verdict_of(const struct client_answer *a)
{
    return a->row->action == SMTP_DO_GO_ON  ? SMTP_CLIENT_ACCEPTED
           : a->row->action == SMTP_DO_FAIL ? SMTP_CLIENT_FAILED
                                            : SMTP_CLIENT_DEFERRED;
}

/* An answer before the end. */
void client_content_reply(struct smtp_client *c, struct client_answer *a)
{
    if (a->row->action == SMTP_DO_GO_ON) {
        client_happen(c, SMTP_GARBLED, "the server took the message before it had it");
        return;
    }
    client_settle_all(c, 1 << SLOT_ACCEPTED, verdict_of(a), a);
    client_leave(c, a, false);
}

static void lmtp_reply(struct smtp_client *c, struct client_answer *a)
{
    uint32_t left = 0;

    while (c->slots[c->batch[c->final_at]] != SLOT_ACCEPTED)
        c->final_at++;
    client_settle(c, c->batch[c->final_at++], verdict_of(a), a);
    for (uint32_t i = c->final_at; i < c->batch_count; i++)
        left += c->slots[c->batch[i]] == SLOT_ACCEPTED;
    client_wait_anew(c);
    if (!left)
        client_transaction_end(c, false);
}

void client_final_reply(struct smtp_client *c, struct client_answer *a)
{
    bool negative = a->code >= 400;

    if (a->row->action == SMTP_DO_CLOSE) {
        client_leave(c, a, false);
        return;
    }
    if (c->void_message) {
        client_transaction_end(c, false);
        return;
    }
    if (c->config->lmtp) {
        lmtp_reply(c, a);
        return;
    }
    if (a->row->action == SMTP_DO_SINGLE) {
        c->single = true;
        client_slots_change(c, SLOT_ACCEPTED, SLOT_TODO);
    } else {
        client_settle_all(c, 1 << SLOT_ACCEPTED, verdict_of(a), a);
    }
    client_transaction_end(c, c->chunked && negative); /* RFC 3030 2: a BDAT that failed leaves the rest undefined */
}
