/* store.c: from the end of a message to its answer.
 *
 * Group commit by natural batching: one batch is being written at a time; whatever is complete when it ends is the next
 * one. A batch begins at the end of a round of the loop, so that all messages that were completed in one round share
 * it. A delay to gather more was rejected: under load the previous batch is the delay, and without load there is
 * nothing to gather.
 *
 * A work thread writes the batch, so that the loop goes on with other messages meanwhile. Where there are none, and the
 * disk has been quick, the loop writes it itself: the way to the thread and back takes as long as the disk does.
 *
 * A message is answered 250 after lane_batch_write has returned true for it, and never before. */
#include "front/front.h"
#include "role/log.h"

#include "base/codec.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

enum { QUICK_US = 1000 }; /* a disk that syncs in this time may hold up the loop */

struct front_batch {
    struct front      *front;
    struct lane_batch *lane_batch;
    struct list        messages;
    size_t             octets;
    uint64_t           us;
    bool               stored;
    struct err         err;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- answers ---- */

static void answer(struct front_message *m, const char *result, const struct smtp_reply *reply, const char *reason)
{
    struct front_session *s = m->session;

    front_log_transaction(m, result, reply, reason);
    front_message_free(m);
    if (s->phase == PHASE_GONE)
        front_session_free(s);
    else
        front_session_answer(s, reply);
}

static void answer_failed(struct front_message *m, const struct err *err)
{
    const struct smtp_reply full = SMTP_REPLY(452, 4, 3, 1, "Insufficient system storage, try again later");
    const struct smtp_reply failed = SMTP_REPLY(451, 4, 3, 0, "The message could not be stored, try again later");

    count(COUNTER_storage_refused_total, 1);
    storage_failed(&m->front->role->slot->storage, err, io_wall_ms());
    answer(m, "failed", err->class == ERR_LIMIT ? &full : &failed, err->text);
}

static void answer_stored(struct front_message *m)
{
    struct front          *f = m->front;
    struct front_session  *s = m->session;
    const struct envelope *e = smtp_server_envelope(s->smtp);
    struct smtp_reply      reply = {.code = 250, .status = SMTP_STATUS(2, 0, 0)};

    count(COUNTER_messages_accepted_total, 1);
    count(COUNTER_octets_accepted_total, (int64_t)m->size);
    count(COUNTER_recipients_accepted_total, (int64_t)e->recipient_count);
    s->messages++;
    m->body_finished = false; /* it is the record's now */
    arena_reset(&f->arena);
    reply.text = arena_printf(&f->arena, "Ok: queued as %s", m->id_text);
    if (!reply.text.data)
        reply.text = STR("Ok");
    answer(m, "accepted", &reply, s->phase == PHASE_GONE ? "the client had gone" : NULL);
}

/* ---- commit ---- */

static void run_batch(void *arg)
{
    struct front_batch *b = arg;
    uint64_t            began = now_us();

    b->stored = lane_batch_write(b->lane_batch, &b->err);
    b->us = now_us() - began;
}

void front_store_committed(struct front *f)
{
    struct buf out;

    if (!f->back || !f->has_committed)
        return;
    buf_init(&out, 64);
    put_u8(&out, PEER_COMMITTED);
    put_var(&out, f->role->lane);
    put_u64(&out, f->committed.seq);
    put_u32(&out, f->committed.offset);
    if (buf_ok(&out))
        io_ipc_send(f->back, buf_str(&out), -1); /* where it fails back has ended: its successor is told */
    buf_done(&out);
}

static void run_spare(void *arg)
{
    struct front *f = arg;

    lane_prepare_spare(f->lane, NULL); /* where it fails the batch that needs the segment says why */
}

static void spare_done(void *arg)
{
    struct front *f = arg;

    f->working--;
    front_may_be_drained(f);
}

static void prepare_spare(struct front *f)
{
    if (f->draining || !lane_wants_spare(f->lane)) /* the last answer may have closed the lane */
        return;
    f->working++;
    if (!io_work(f->loop, run_spare, spare_done, f))
        f->working--;
}

static void begin_batch(struct front *f, bool may_hold_up_the_loop);

static void batch_done(void *arg)
{
    struct front_batch *b = arg;
    struct front       *f = b->front;
    struct lane_place   place;
    struct list        *link;

    lane_batch_end(b->lane_batch, &place);
    f->batch = NULL;
    f->commit_us = f->commit_us ? (f->commit_us * 7 + b->us) / 8 : b->us;
    count(COUNTER_commits_total, 1);
    count(COUNTER_commit_us_total, (int64_t)b->us);
    if (b->stored) {
        f->committed = place;
        f->has_committed = true;
        count(COUNTER_commit_octets_total, (int64_t)b->octets);
    } else {
        count(COUNTER_commit_failures_total, 1);
        log_notice(LOG_LEVEL_ERROR, "messages could not be stored: %s", b->err.text);
        begin_batch(f, false); /* what stands behind it fails too, and must not take later messages with it */
    }
    while ((link = list_first(&b->messages))) {
        struct front_message *m = LIST_ITEM(link, struct front_message, link);

        list_remove(link);
        if (b->stored) {
            count(COUNTER_commit_messages_total, 1);
            answer_stored(m);
        } else {
            answer_failed(m, &b->err);
        }
    }
    if (b->stored) { /* after the answers, which somebody waits for */
        storage_stored(&f->role->slot->storage, io_wall_ms());
        front_store_committed(f);
        prepare_spare(f);
    }
    free(b);
    front_may_be_drained(f);
}

/* Whether nobody else's message is under way. */
static bool is_all_there_is(const struct front *f, size_t messages)
{
    return messages == f->message_count && f->commit_us > 0 && f->commit_us < QUICK_US;
}

static void begin_batch(struct front *f, bool may_hold_up_the_loop)
{
    struct front_batch *b;
    struct list        *link;
    size_t              messages = 0;

    if (f->batch || list_is_empty(&f->pending))
        return;
    b = calloc(1, sizeof *b);
    if (!b)
        return; /* the next round tries again */
    b->octets = lane_pending(f->lane);
    b->lane_batch = lane_batch_begin(f->lane);
    assert(b->lane_batch);
    b->front = f;
    list_init(&b->messages);
    while ((link = list_first(&f->pending))) {
        list_remove(link);
        list_push(&b->messages, link);
        messages++;
    }
    f->batch = b;
    if ((may_hold_up_the_loop && is_all_there_is(f, messages)) || !io_work(f->loop, run_batch, batch_done, b)) {
        run_batch(b);
        batch_done(b);
        begin_batch(f, false); /* what was sent behind them has no other round that it could wait for */
    }
}

void front_store_round(struct front *f) { begin_batch(f, true); }

/* ---- the record ---- */

static bool append(struct front_message *m, struct err *err)
{
    struct front     *f = m->front;
    struct lane_place place;
    struct message    r = {
           .id = m->id,
           .received_ms = m->received_ms,
           .envelope = *smtp_server_envelope(m->session->smtp),
           .external = m->external,
           .external_xxh3 = m->body_xxh3,
    };
    struct str parts[3];

    if (lane_pending(f->lane) > f->config->limits.memory)
        return err_set(err, ERR_LIMIT, "too much waits for the disk");
    buf_clear(&f->scratch);
    if (!front_message_prefix(m))
        return err_set(err, ERR_LIMIT, "no memory for the trace fields of a message");
    r.size = m->external ? m->body_size : m->prefix.len + m->content.len;
    if (!record_message_put(&r, &f->scratch))
        return err_set(err, ERR_LIMIT, "no memory for the record of a message");
    parts[0] = buf_str(&f->scratch);
    parts[1] = m->external ? STR_NONE : buf_str(&m->prefix);
    parts[2] = m->external ? STR_NONE : buf_str(&m->content);
    lane_mark(f->lane, f->ids.last);
    return lane_append(f->lane, RECORD_MESSAGE, 0, parts, 3, &place, err);
}

void front_store_worked(struct front_message *m)
{
    struct err err = m->err;

    if (m->lost && !m->failed)
        err_set(&err, ERR_LIMIT, "no memory for the content of a message");
    if (m->failed || m->lost) {
        answer_failed(m, &err);
        return;
    }
    if (m->external && !m->body_finished) {
        front_message_work(m, WORK_FINISH);
        if (!m->working)
            answer_failed(m, &m->err);
        return;
    }
    if (!append(m, &err)) {
        answer_failed(m, &err);
        return;
    }
    front_message_drop_content(m);
    m->step = MESSAGE_COMMITTING;
    list_push(&m->front->pending, &m->link);
}

/* ---- may it be taken ---- */

static void store(struct front_message *m)
{
    m->step = MESSAGE_STORING;
    if (!m->working)
        front_store_worked(m);
}

void front_store_told(struct front_message *m, bool answers_ours, bool failed)
{
    const struct smtp_reply later = SMTP_REPLY(451, 4, 3, 0, "Cannot be decided now, try again later");
    struct smtp_reply       reply = disclosure_message(&m->front->disclosure, m->class, answers_ours);

    if (failed)
        answer(m, "failed", &later, "the keeper does not answer");
    else if (!smtp_reply_is_positive(&reply))
        answer(m, "refused", &reply, NULL);
    else
        store(m);
}

static bool ask_bounce(struct front_message *m)
{
    const struct envelope *e = smtp_server_envelope(m->session->smtp);
    struct ask q = {.kind = ASK_BOUNCE, .class = m->class, .sender = e->sender, .address = e->recipients[0].address};
    struct buf ids;
    bool       asked;

    buf_init(&ids, (MAIL_SCAN_ID_MAX + MAIL_DOMAIN_MAX + 2) * MAIL_SCAN_IDS);
    for (size_t i = 0; i < m->scan->id_count; i++) {
        if (i)
            buf_append_byte(&ids, '\n');
        buf_append(&ids, mail_scan_id(m->scan, i));
        buf_append_byte(&ids, '@');
        buf_append_z(&ids, m->front->config->hostname);
    }
    q.text = buf_str(&ids);
    asked = buf_ok(&ids) && front_ask(m->session, &q);
    buf_done(&ids);
    return asked;
}

void front_store(struct front_message *m)
{
    m->complete = true;
    m->step = MESSAGE_CHECKING;
    if (m->scan)
        mail_scan_end(m->scan);
    if (m->class != CLASS_BOUNCE)
        front_store_told(m, false, false);
    else if (!ask_bounce(m))
        front_store_told(m, false, true);
}
