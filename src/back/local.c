/* local.c: a message into a mailbox of ours, on a work thread. A mailbox that several recipients lead to gets the
 * message once.
 *
 * Exactly once. Between a delivery and the record of it back may be killed. So a message that was in the spool when
 * back started is looked for in each mailbox before it is delivered there (deliver/maildir.h); one that came later was
 * not seen by any other back, and costs no look. */
#include "back/job.h"
#include "mail/trace.h"

enum { PATH_MAX_OCTETS = 4000 };

static void deliver_work(void *arg)
{
    struct job *j = arg;

    j->result = maildir_deliver(&j->delivery, &j->err);
}

static void deliver_done(void *arg)
{
    struct job               *j = arg;
    struct attempt_recipient *to = &j->attempt->to[j->i];
    struct queue_message     *m;

    switch (j->result) {
    case MAILDIR_DELIVERED:
        to->state = RECIPIENT_DELIVERED;
        to->status = STR("2.1.5");
        to->reason = STR_NONE;
        count(COUNTER_messages_delivered_total, 1);
        job_end(j, "delivered");
        break;
    case MAILDIR_FOUND:
        to->state = RECIPIENT_DELIVERED;
        to->status = STR("2.1.5");
        to->reason = STR("the mailbox has it already by an earlier attempt");
        count(COUNTER_messages_delivered_total, 1);
        job_end(j, "delivered");
        break;
    case MAILDIR_OVER_QUOTA:
        job_fail(j, false, "4.2.2", str_from(j->err.text));
        break;
    case MAILDIR_TOO_LARGE:
        job_fail(j, true, "5.2.3", str_from(j->err.text));
        break;
    case MAILDIR_UNSURE:
        m = queue_find(&j->attempt->back->queue, j->attempt->id);
        if (m)
            m->unsure = true;
        __attribute__((fallthrough));
    case MAILDIR_FAILED:
        if (j->err.class == ERR_LIMIT)
            j->attempt->back->full_until_ms = io_loop_now_ms(j->attempt->back->loop) + BACK_FULL_MS;
        job_fail(j, false, j->err.class == ERR_LIMIT ? "4.3.1" : "4.3.0", str_from(j->err.text));
        break;
    }
}

struct str mailbox_key(struct attempt *a, const struct mail_address *mailbox)
{
    struct str local;

    if (!config_domain_find(a->back->config, mailbox->domain)) /* another server may tell Bob from bob */
        return mail_address_text(mailbox, &a->arena);
    local = mail_local_key(mailbox->local, 0, &a->arena);
    return local.data ? arena_printf(&a->arena, "%.*s@%.*s", STR_ARG(local), STR_ARG(mailbox->domain)) : STR_NONE;
}

/* Whether another recipient leads to the same mailbox; if it is not through yet, this one will share its end. Otherwise
 * this one is noted as the mailbox's (without memory for that, another one finds the file: the name is the same). */
static bool job_is_duplicate(struct job *j, struct str key)
{
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];
    size_t                    first = (size_t)(uintptr_t)map_get(&a->mailboxes, key);

    if (first == 0 || first - 1 == j->i) {
        if (first == 0)
            map_put(&a->mailboxes, key, (void *)(uintptr_t)(j->i + 1));
        return false;
    }
    first--;
    if (a->to[first].state != RECIPIENT_DELIVERED && a->to[first].status.len)
        return false; /* it failed in this attempt already: this one may fail for itself */
    if (a->to[first].state != RECIPIENT_DELIVERED) {
        to->same_as = (uint32_t)first;
        a->sharing++;
        job_drop(j);
        return true;
    }
    to->state = RECIPIENT_DELIVERED;
    to->status = STR("2.1.5");
    to->reason = STR("the mailbox has it already by another recipient");
    job_end(j, "delivered");
    return true;
}

/* False: no memory. */
static bool look_for_earlier(struct job *j)
{
    struct attempt             *a = j->attempt;
    struct back                *b = a->back;
    const struct queue_message *m = queue_find(&b->queue, a->id), *other;

    j->delivery.look = a->earlier || (m && (m->replayed || m->unsure));
    if (!j->delivery.look || a->earlier || m->unsure)
        return true;
    if (!b->earlier) {
        uint64_t oldest = UINT64_MAX;

        for (size_t at = 0; (other = queue_next(&b->queue, &at));)
            if (other->id < oldest)
                oldest = other->id;
        b->earlier = maildir_earlier_new(oldest);
    }
    j->delivery.earlier = b->earlier;
    return b->earlier != NULL;
}

/* To the server that the domain's mail goes to. */
static void deliver_by_way(struct job *j, struct str way)
{
    const char *result;

    if (!way_take(j->attempt, j->i, way, &result))
        job_fail(j, false, "4.3.0", STR("out of memory"));
    else if (result)
        job_end(j, result);
    else
        job_drop(j);
}

/* Into the Maildir whose place `template` says. */
static void deliver_here(struct job *j, struct str template)
{
    struct attempt           *a = j->attempt;
    struct attempt_recipient *to = &a->to[j->i];
    const struct config      *config = a->back->config;
    struct str                key = mailbox_key(a, &to->mailbox);
    struct err                err;

    if (!key.data) {
        job_fail(j, false, "4.3.0", STR("out of memory"));
        return;
    }
    if (job_is_duplicate(j, key))
        return;
    buf_init(&j->head, 16 << 10);
    buf_init(&j->path, PATH_MAX_OCTETS);
    if (!maildir_path(template, str_from(config->data), to->mailbox.local, to->mailbox.domain, &j->path, &err)) {
        job_fail(j, err.class == ERR_PERMANENT, err.class == ERR_PERMANENT ? "5.1.3" : "4.3.0", str_from(err.text));
        return;
    }
    to->path = arena_str(&a->arena, buf_str(&j->path)).data;
    if (!mail_trace_return_path(attempt_sender(a, j->i), &j->head) ||
        !mail_trace_delivered_to(&to->mailbox, &j->head)) {
        job_fail(j, false, "4.3.0", STR("out of memory"));
        return;
    }
    j->delivery = (struct maildir_delivery){.path = j->path.data,
                                            .id = a->id,
                                            .mailbox = key,
                                            .head = buf_str(&j->head),
                                            .content = a->message.content,
                                            .content_fd = a->message.external ? a->body_fd : -1,
                                            .binary = a->message.envelope.body == BODY_BINARYMIME,
                                            .hostname = config->hostname,
                                            .quota = to->quota};
    if (!look_for_earlier(j) || !io_work(a->back->loop, deliver_work, deliver_done, j))
        job_fail(j, false, "4.3.0", STR("out of memory"));
}

void job_deliver(struct job *j)
{
    const struct attempt       *a = j->attempt;
    const struct config_domain *domain = config_domain_find(a->back->config, a->to[j->i].mailbox.domain);
    struct str                  way = str_from(domain ? domain->deliver : "");

    if (!way.len)
        job_fail(j, false, "4.3.5", STR("there is no way to deliver to this domain at the moment"));
    else if (str_starts(way, STR("maildir:")))
        deliver_here(j, str_skip(way, 8));
    else
        deliver_by_way(j, way);
}
