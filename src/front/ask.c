/* ask.c: questions to the keeper.
 *
 * A question is kept as the octets that were sent until its answer comes, so that it can be put again, unchanged and
 * under the same tag, to the keeper that replaces one that ended. Each session has at most one, and all wait equally
 * long, so the oldest stands first in a list and no timer is needed beside the clock's tick. */
#include "front/front.h"
#include "role/log.h"

#include <stdlib.h>
#include <unistd.h>

struct front_ask {
    struct list           link; /* in front.ask_order */
    struct front_session *session;
    uint64_t              deadline_ms;
    uint32_t              tag;
    size_t                len;
    char                  message[];
};

static struct str message_of(const struct front_ask *a) { return str_of(a->message, a->len); }

static void ask_free(struct front *f, struct front_ask *a)
{
    map_remove_u64(&f->asks, a->tag);
    list_remove(&a->link);
    a->session->ask = NULL;
    free(a);
}

bool front_ask(struct front_session *s, const struct ask *question)
{
    struct front     *f = s->front;
    struct ask        q = *question;
    struct front_ask *a;

    do
        q.tag = ++f->next_tag;
    while (map_get_u64(&f->asks, q.tag));
    buf_clear(&f->scratch);
    if (!ask_put(&q, &f->scratch) || f->scratch.len > IPC_MESSAGE_MAX)
        return false;
    a = malloc(sizeof *a + f->scratch.len);
    if (!a)
        return false;
    a->session = s;
    a->deadline_ms = front_now_ms(f) + FRONT_ASK_MS;
    a->tag = q.tag;
    a->len = f->scratch.len;
    memcpy(a->message, f->scratch.data, a->len);
    if (!map_put_u64(&f->asks, a->tag, a)) {
        free(a);
        return false;
    }
    list_push(&f->ask_order, &a->link);
    s->ask = a;
    if (f->keeper)
        io_ipc_send(f->keeper, message_of(a), -1); /* where it fails the keeper has ended: the next one is asked */
    return true;
}

void front_ask_cancel(struct front_session *s)
{
    if (s->ask)
        ask_free(s->front, s->ask);
}

static void tell(struct front *f, struct front_ask *a, const struct answer *answer)
{
    struct front_session *s = a->session;
    struct ask            question;
    bool                  read = ask_get(message_of(a), &f->arena, &question);

    /* The question's strings lie in `a`, which must go first: what follows may ask again. */
    a->session->ask = NULL;
    map_remove_u64(&f->asks, a->tag);
    list_remove(&a->link);
    if (read)
        front_event_told(s, &question, answer);
    free(a);
}

static void keeper_said(void *arg, struct str data, int fd)
{
    struct front     *f = arg;
    struct answer     answer;
    struct front_ask *a;

    if (fd >= 0)
        close(fd);
    arena_reset(&f->arena);
    if (!answer_get(data, &f->arena, &answer)) {
        log_notice(LOG_LEVEL_ERROR, "the keeper gave an answer that makes no sense");
        return;
    }
    a = map_get_u64(&f->asks, answer.tag);
    if (a) /* else its session is over */
        tell(f, a, &answer);
}

static void keeper_gone(void *arg)
{
    struct front *f = arg;

    io_ipc_free(f->keeper);
    f->keeper = NULL;
}

void front_ask_peer(struct front *f, int fd)
{
    static const struct io_ipc_ops ops = {keeper_said, keeper_gone};
    struct err                     err;

    io_ipc_free(f->keeper);
    f->keeper = io_ipc_new(f->loop, fd, &ops, f, &err);
    if (!f->keeper) {
        log_notice(LOG_LEVEL_ERROR, "%s", err.text);
        return;
    }
    LIST_EACH (link, &f->ask_order) {
        if (!io_ipc_send(f->keeper, message_of(LIST_ITEM(link, struct front_ask, link)), -1))
            break;
    }
}

void front_ask_overdue(struct front *f)
{
    uint64_t     now_ms = front_now_ms(f);
    struct list *link;

    while ((link = list_first(&f->ask_order))) {
        struct front_ask *a = LIST_ITEM(link, struct front_ask, link);

        if (a->deadline_ms > now_ms)
            return;
        log_notice(LOG_LEVEL_WARNING, "the keeper has not answered for %d s", FRONT_ASK_MS / 1000);
        arena_reset(&f->arena);
        tell(f, a, NULL);
    }
}
