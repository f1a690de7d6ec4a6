/* give.c: an attempt's ways become carriages. Content that is small goes in the message of the channel; else it
 * goes as a descriptor, of the body's file or of memory that was made for it, which all carriages of the message share.
 */
#include "back/back.h"
#include "mail/header.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    INLINE_MAX = 32 << 10,   /* octets of content in a message of the channel */
    SEVERAL_MAX = 96 << 10,  /* the same, over all carriages of a message */
    HEADER_READ = 256 << 10, /* octets of a body's file that are searched for the header */
    RECORDS_KEPT = 32 << 20, /* octets of records that need not be read again */
    MESSAGE_MAX = IPC_MESSAGE_MAX,
};

struct content {
    bool           external;
    int            fd;
    bool           ours; /* to be closed here */
    bool           utf8;
    enum body_type body;
};

static bool has_8bit(struct str s)
{
    unsigned char any = 0;

    for (size_t i = 0; i < s.len; i++)
        any |= (unsigned char)s.data[i];
    return any & 0x80;
}

/* The header decides whether SMTPUTF8 is needed, but only where the client asked for it: raw octets that came without
 * are passed on as they came, as everybody does. */
static bool header_has_utf8(struct attempt *a)
{
    struct str content = a->message.content;

    if (!a->message.envelope.smtputf8)
        return false;
    if (a->message.external) {
        char   *head = arena_alloc(&a->arena, HEADER_READ);
        ssize_t len = head ? pread(a->body_fd, head, HEADER_READ, 0) : -1;

        if (len < 0)
            return true; /* at worst it fails where it need not */
        content = str_of(head, (size_t)len);
    }
    return has_8bit(str_part(content, 0, mail_header_len(content)));
}

/* What a client called 7-bit may not be. That of a file is believed: to read all of it again costs more. */
static enum body_type body_of(const struct attempt *a)
{
    enum body_type body = a->message.envelope.body;

    return body == BODY_7BIT && !a->message.external && has_8bit(a->message.content) ? BODY_8BITMIME : body;
}

/* A descriptor with the content, to be read only. */
static int memory_file(struct str content)
{
    int fd = memfd_create("tacit-content", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    for (size_t at = 0; fd >= 0 && at < content.len;) {
        ssize_t n = write(fd, content.data + at, content.len - at);

        if (n <= 0) {
            close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0)
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return fd;
}

static bool content_begin(struct attempt *a, size_t ways, struct content *ret_content)
{
    size_t         len = a->message.content.len;
    struct content c = {.fd = -1, .utf8 = header_has_utf8(a), .body = body_of(a)};

    if (a->message.external) {
        c.external = true;
        c.fd = a->body_fd;
    } else if (len > INLINE_MAX || len * ways > SEVERAL_MAX) {
        c.external = c.ours = true;
        c.fd = memory_file(a->message.content);
    }
    *ret_content = c;
    return !c.external || c.fd >= 0;
}

/* What the next server is asked to report (RFC 3461 5.2). A list makes a new message of it, of which the sender hears
 * nothing; where one address became several, success was the expansion; who is told nothing by us is told nothing by
 * others for us either. */
static struct recipient recipient_of(const struct attempt *a, size_t i)
{
    const struct attempt_recipient *to = &a->to[i];
    struct recipient                r = *attempt_envelope_recipient(a, i);
    const struct envelope          *e = &a->message.envelope;
    bool                            null = mail_address_is_null(&e->sender);

    r.address = to->leaving;
    if (attempt_is_override(a, i)) {
        r = (struct recipient){.address = to->leaving};
        return r;
    }
    if (!null && disclosure_failure(e->origin.class, false) != FAILURE_BOUNCE) {
        r.notify = NOTIFY_NEVER;
    } else if (r.notify & NOTIFY_SUCCESS && ((to->root != i && a->to[to->parent].children > 1) ||
                                             !disclosure_may_report_success(e->origin.class, null))) {
        r.notify &= (uint8_t)~NOTIFY_SUCCESS;
        if (!r.notify)
            r.notify = NOTIFY_NEVER;
    }
    return r;
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

    return (a > b) - (a < b);
}

/* The numbers of the recipients on a way, of malloc. NULL: no memory. */
static uint32_t *indices_of(const struct attempt *a, const struct way *w)
{
    uint32_t *indices = malloc(w->count * sizeof *indices);
    size_t    at = 0;

    if (!indices)
        return NULL;
    for (uint32_t i = w->first; at < w->count; i = a->to[i].way_next)
        indices[at++] = i;
    qsort(indices, w->count, sizeof *indices, by_number); /* the keeper answers in any order */
    return indices;
}

/* What the carrier is told. False: no memory. */
static bool carry_put(struct attempt *a, const struct way *w, const struct content *content, uint32_t *indices,
                      struct buf *out)
{
    const struct envelope      *e = &a->message.envelope;
    const struct queue_message *q = queue_find(&a->back->queue, a->id);
    struct recipient           *recipients = arena_alloc(&a->arena, w->count * sizeof *recipients);
    struct carriage_message     m = {.kind = CARRIAGE_CARRY};

    if (!recipients)
        return false;
    m.carriage = (struct carriage){.id = a->id,
                                   .number = indices[0],
                                   .indices = indices,
                                   .recipients = recipients,
                                   .recipient_count = w->count,
                                   .via = w->via,
                                   .route = w->route,
                                   .domain = w->domain,
                                   .sender = w->sender,
                                   .body = content->body,
                                   .header_utf8 = content->utf8 || w->sender.utf8,
                                   .ret = w->is_list ? RET_UNSET : e->ret,
                                   .envid = w->is_list ? STR_NONE : e->envid,
                                   .size = a->message.external ? a->message.size : a->message.content.len,
                                   .now = q && q->hurried,
                                   .external = content->external,
                                   .content = content->external ? STR_NONE : a->message.content};
    for (size_t at = 0; at < w->count; at++) {
        recipients[at] = recipient_of(a, indices[at]);
        m.carriage.header_utf8 |= recipients[at].address.utf8;
    }
    return carriage_put(&m, out);
}

static bool give(struct attempt *a, struct back_carrier *carrier, const struct way *w, const struct content *content)
{
    struct back          *b = a->back;
    uint32_t             *indices = indices_of(a, w);
    struct back_carriage *c = NULL;
    struct buf            out;
    bool                  sent;

    buf_init(&out, MESSAGE_MAX);
    if (indices && carry_put(a, w, content, indices, &out))
        c = back_carriage_new(b, carrier, a->id, indices, w->count);
    else
        free(indices);
    sent = c && back_carrier_send(carrier, buf_str(&out), content->external ? content->fd : -1);
    buf_done(&out);
    if (!c)
        return false;
    c->round = a->progress.attempts;
    c->expires_ms = attempt_expires_ms(a);
    if (!sent) {
        back_carriage_free(b, c);
        return false;
    }
    for (size_t at = 0; at < w->count; at++)
        a->to[c->indices[at]].given = true;
    return true;
}

/* The record is kept with the carriage, if it is all that an attempt at the message reads. */
static void keep_record(struct attempt *a, const struct queue_message *m)
{
    struct back          *b = a->back;
    struct back_carriage *c = back_carriage_first(b, a->id);

    if (!c || c->next || m->progress.seq || m->extra || a->message.external ||
        b->carry.kept + a->record.len > RECORDS_KEPT || !buf_append(&c->record, buf_str(&a->record)))
        return;
    b->carry.kept += c->record.len;
}

void carry_give(struct attempt *a)
{
    struct back          *b = a->back;
    struct back_carrier  *carrier = back_carrier_ready(b);
    struct queue_message *m = queue_find(&b->queue, a->id);
    const struct way     *w;
    struct content        content;
    size_t                ways = 0;
    bool                  ok;

    for (w = a->ways; w; w = w->next)
        ways++;
    if (!ways || b->draining || !m)
        return;
    if (!back_carry_is_open(b)) {
        park_put(b, &b->carry.own, m);
        return;
    }
    ok = content_begin(a, ways, &content);
    for (w = a->ways; ok && w && back_carrier_has_room(carrier, content.external); w = w->next)
        ok = give(a, carrier, w, &content);
    if (content.ours && content.fd >= 0)
        close(content.fd);
    keep_record(a, m);
    if (!ok) /* no memory, no descriptors, or the channel has just ended */
        back_carrier_rest(carrier);
    if (!ok || w) /* what is left comes later */
        park_put(b, &b->carry.own, m);
}
