/* message.c: one message from MAIL to its record or its end.
 *
 * Small content gathers in memory. Content above `limits.inline_body` is written to a body file in pieces by work
 * threads: while one piece is being written the next one gathers, and a session whose next piece is full as well waits.
 *
 * Once the front holds more than `limits.memory` it takes no content at all, from nobody, until what the sessions hold,
 * the oldest first, has gone to body files and a quarter of the memory is free again. So clients that send slowly
 * cannot keep the memory from others, and the ceiling is passed by no more than one read.
 *
 * The fields that we put in front lie in a buffer of their own: the record and the body file take them as a separate
 * part, so content is never moved to make room. */
#include "front/front.h"

#include "mail/date.h"
#include "mail/trace.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    PREFIX_MAX = 4096,
    KEEP_CONTENT = 16 * 1024, /* octets of buffer that a free message keeps */
    RELIEF_WORKS = 8,         /* writes that relief starts at once */
};

static struct front_message *take_free(struct front *f)
{
    struct list          *link = list_first(&f->free_messages);
    struct front_message *m, fresh = {0};

    if (!link) {
        m = calloc(1, sizeof *m);
        if (!m)
            return NULL;
        buf_init(&m->prefix, PREFIX_MAX);
        list_init(&m->link);
        list_init(&m->holder);
        list_init(&m->starved);
        return m;
    }
    m = LIST_ITEM(link, struct front_message, link);
    list_remove(link);
    f->free_count--;
    fresh.prefix = m->prefix;
    fresh.content = m->content;
    *m = fresh;
    list_init(&m->link);
    list_init(&m->holder);
    list_init(&m->starved);
    buf_clear(&m->prefix);
    return m;
}

struct front_message *front_message_new(struct front_session *s, enum client_class class)
{
    struct front         *f = s->front;
    struct front_message *m = take_free(f);
    size_t                most = f->config->limits.inline_body;

    if (!m)
        return NULL;
    m->content.max = (most > FRONT_PIECE ? most : FRONT_PIECE) + FRONT_READ_MAX;
    buf_clear(&m->content);
    buf_init(&m->writing, m->content.max);
    m->front = f;
    m->session = s;
    m->class = class;
    m->received_ms = io_wall_ms();
    m->began_ms = front_now_ms(f);
    m->id = message_id_next(&f->ids, m->received_ms);
    message_id_text(m->id, m->id_text);
    f->message_count++;
    return m;
}

/* ---- memory ---- */

/* Brings the front's sum up to date with what the message holds. */
static void account(struct front_message *m)
{
    struct front *f = m->front;
    uint64_t      holds = m->content.len + m->writing.len;

    f->memory += holds - m->memory;
    m->memory = holds;
    if ((m->content.len > 0) == list_is_empty(&m->holder)) {
        if (m->content.len > 0)
            list_push(&f->holders, &m->holder);
        else
            list_remove(&m->holder);
    }
}

static void relieve(struct front *f)
{
    for (struct list *link = f->holders.next, *next = link->next; link != &f->holders && f->working < RELIEF_WORKS;
         link = next, next = link->next) {
        struct front_message *m = LIST_ITEM(link, struct front_message, holder);

        if (m->step == MESSAGE_GATHERING && !m->working)
            front_message_work(m, WORK_WRITE);
    }
}

static void starve(struct front_message *m)
{
    if (list_is_empty(&m->starved))
        list_push(&m->front->starved, &m->starved);
}

static void became_short(struct front *f)
{
    f->is_short = true;
    LIST_EACH (link, &f->sessions) {
        struct front_session *s = LIST_ITEM(link, struct front_session, link);

        if (s->stream && s->message && front_message_is_stalled(s->message))
            io_stream_read(s->stream, false);
    }
}

void front_message_wake(struct front *f)
{
    uint64_t    most = f->config->limits.memory;
    struct list now, *link;

    if (!f->is_short || f->memory > most - most / 4)
        return;
    f->is_short = false;
    list_init(&now);
    while ((link = list_first(&f->starved))) {
        list_remove(link);
        list_push(&now, link);
    }
    while ((link = list_first(&now))) {
        list_remove(link);
        front_session_resume(LIST_ITEM(link, struct front_message, starved)->session);
    }
}

void front_message_drop_content(struct front_message *m)
{
    buf_shrink(&m->content, KEEP_CONTENT);
    account(m);
}

/* ---- gathering ---- */

static size_t piece_size(const struct front_message *m)
{
    return m->external ? FRONT_PIECE : m->front->config->limits.inline_body;
}

bool front_message_is_stalled(struct front_message *m)
{
    if (m->step != MESSAGE_GATHERING || !m->takes_content)
        return false;
    if (m->front->is_short)
        starve(m);
    return m->front->is_short || (m->working && m->content.len >= piece_size(m));
}

static void fail(struct front_message *m, int os_error)
{
    if (!m->failed)
        err_set_os(&m->err, os_error, "message %s", m->id_text);
    m->failed = true;
}

void front_message_content(struct front_message *m, struct str piece)
{
    m->size += piece.len;
    if (!m->takes_content)
        return;
    if (m->scan)
        mail_scan_feed(m->scan, piece);
    /* While a thread is at work it alone knows whether it failed. */
    if (m->lost || (!m->working && m->failed)) {
        front_message_drop_content(m);
        return;
    }
    if (!buf_append(&m->content, piece)) {
        m->lost = true;
        return;
    }
    account(m);
    if (!m->working && m->content.len >= piece_size(m))
        front_message_work(m, WORK_WRITE);
    if (!m->front->is_short && m->front->memory > m->front->config->limits.memory)
        became_short(m->front);
    if (m->front->is_short)
        relieve(m->front);
}

bool front_message_prefix(struct front_message *m)
{
    struct front    *f = m->front;
    struct str       by = str_from(f->config->hostname);
    struct envelope *e = smtp_server_envelope(m->session->smtp);

    if (m->prefix.len > 0)
        return true;
    mail_trace_received_of(e, by, str_from(m->id_text), m->received_ms, &m->prefix);
    /* Of a header that does not end within the first piece it is not known what it lacks: nothing is added. */
    if (m->adds_fields && (m->complete || m->scan->header_ended)) {
        if (!m->scan->has_message_id)
            buf_printf(&m->prefix, m->token[0] ? "Message-ID: <%s.%s@%.*s>\r\n" : "Message-ID: <%s%s@%.*s>\r\n",
                       m->id_text, m->token, STR_ARG(by));
        if (!m->scan->has_date) {
            buf_append_z(&m->prefix, "Date: ");
            mail_date_format(m->received_ms, &m->prefix);
            buf_append_z(&m->prefix, "\r\n");
        }
    }
    return buf_ok(&m->prefix);
}

/* ---- work threads ---- */

static void run_work(void *arg)
{
    struct front_message *m = arg;
    bool                  first = !m->body;

    if (m->work == WORK_ABORT) {
        if (m->body)
            lane_body_abort(m->body);
        else if (m->body_finished)
            lane_body_remove(m->front->lane_dir.data, str_from(m->id_text), NULL);
        m->body = NULL;
        m->body_finished = false;
        return;
    }
    if (m->failed)
        return;
    if (first) {
        pthread_mutex_lock(&m->front->create_lock);
        m->body = lane_body_create(m->front->lane, str_from(m->id_text), &m->err);
        pthread_mutex_unlock(&m->front->create_lock);
    }
    m->failed = !m->body || (first && !lane_body_write(m->body, buf_str(&m->prefix), &m->err)) ||
                (m->writing.len > 0 && !lane_body_write(m->body, buf_str(&m->writing), &m->err));
    if (!m->failed && m->work == WORK_FINISH) {
        m->failed = !lane_body_finish(m->body, &m->body_size, &m->body_xxh3, &m->err);
        m->body = NULL;
        m->body_finished = !m->failed;
    }
    if (m->failed && m->body) {
        lane_body_abort(m->body);
        m->body = NULL;
    }
}

static void work_done(void *arg)
{
    struct front_message *m = arg;
    struct front         *f = m->front;

    m->working = false;
    f->working--;
    buf_done(&m->writing);
    account(m);
    if (!m->session)
        front_message_free(m);
    else if (m->step == MESSAGE_STORING)
        front_store_worked(m);
    else if (m->step == MESSAGE_GATHERING)
        front_session_resume(m->session);
    if (f->is_short)
        relieve(f);
    front_may_be_drained(f);
}

void front_message_work(struct front_message *m, enum front_work work)
{
    struct front *f = m->front;

    assert(!m->working);
    if (work != WORK_ABORT) {
        struct buf taken = m->writing;

        if (!front_message_prefix(m)) {
            fail(m, ENOMEM);
            return;
        }
        m->external = true;
        m->writing = m->content;
        m->content = taken;
        account(m);
    }
    m->work = work;
    m->working = true;
    f->working++;
    if (io_work(f->loop, run_work, work_done, m))
        return;
    m->working = false;
    f->working--;
    fail(m, ENOMEM);
}

/* ---- the end ---- */

void front_message_free(struct front_message *m)
{
    struct front *f = m->front;

    assert(list_is_empty(&m->link));
    if (m->session)
        m->session->message = NULL;
    m->session = NULL;
    front_message_drop_content(m);
    list_remove(&m->starved);
    f->envelopes -= m->envelope;
    m->envelope = 0;
    if (m->working)
        return; /* work_done comes back here */
    if (m->body || m->body_finished) {
        front_message_work(m, WORK_ABORT);
        if (m->working)
            return;
        run_work(m);
    }
    f->message_count--;
    free(m->scan);
    m->scan = NULL;
    buf_done(&m->writing);
    account(m);
    if (f->free_count < FRONT_FREE_MESSAGES) {
        f->free_count++;
        list_push(&f->free_messages, &m->link);
        return;
    }
    buf_done(&m->content);
    buf_done(&m->prefix);
    free(m);
}
