/* ask.c: questions to the keeper and their answers. A question is kept as it was sent until it is answered: a
 * keeper that was started again gets all of them anew, so nobody who asks has to know that it went away. */
#include "back/back.h"
#include "role/log.h"

#include <stdlib.h>
#include <unistd.h>

enum { ANSWER_MEMORY = 4 << 20 };

struct back_question {
    struct list   link; /* in the order of asking */
    uint32_t      tag;
    uint64_t      until_ms;
    back_answered answered;
    void         *arg;
    struct buf    message;
};

static void question_end(struct back *b, struct back_question *q, const struct answer *answer)
{
    map_remove_u64(&b->questions, q->tag);
    list_remove(&q->link);
    q->answered(q->arg, answer);
    buf_done(&q->message);
    free(q);
}

static void on_message(void *arg, struct str data, int fd)
{
    struct back          *b = arg;
    struct answer         answer;
    struct back_question *q;

    if (fd >= 0)
        close(fd);
    if (!answer_get(data, &b->answer_arena, &answer)) {
        log_notice(LOG_LEVEL_ERROR, "an answer of the keeper makes no sense");
        arena_reset(&b->answer_arena);
        return;
    }
    q = map_get_u64(&b->questions, answer.tag);
    if (q)
        question_end(b, q, &answer);
    arena_reset(&b->answer_arena);
}

static void on_end(void *arg)
{
    struct back *b = arg;

    io_ipc_free(b->keeper);
    b->keeper = NULL;
}

void back_keeper_attach(struct back *b, int fd)
{
    static const struct io_ipc_ops ops = {on_message, on_end};
    struct err                     err;

    if (b->keeper)
        io_ipc_free(b->keeper);
    b->keeper = io_ipc_new(b->loop, fd, &ops, b, &err);
    if (!b->keeper) {
        log_notice(LOG_LEVEL_ERROR, "channel to the keeper: %s", err.text);
        return;
    }
    LIST_EACH (l, &b->question_order) {
        if (!io_ipc_send(b->keeper, buf_str(&LIST_ITEM(l, struct back_question, link)->message), -1))
            return; /* ended again: the next one gets them */
    }
}

bool back_ask(struct back *b, struct ask *ask, back_answered answered, void *arg)
{
    struct back_question *q = calloc(1, sizeof *q);

    if (!q)
        return false;
    ask->tag = q->tag = ++b->question_tag;
    q->until_ms = io_loop_now_ms(b->loop) + BACK_KEEPER_MS;
    q->answered = answered;
    q->arg = arg;
    buf_init(&q->message, IPC_MESSAGE_MAX);
    if (!ask_put(ask, &q->message) || !map_put_u64(&b->questions, q->tag, q)) {
        buf_done(&q->message);
        free(q);
        return false;
    }
    list_push(&b->question_order, &q->link);
    if (b->keeper)
        io_ipc_send(b->keeper, buf_str(&q->message), -1);
    return true;
}

void back_ask_tick(struct back *b)
{
    uint64_t now = io_loop_now_ms(b->loop);

    while (!list_is_empty(&b->question_order)) {
        struct back_question *q = LIST_ITEM(list_first(&b->question_order), struct back_question, link);

        if (q->until_ms > now)
            return;
        log_notice(LOG_LEVEL_WARNING, "the keeper has not answered for %d s", BACK_KEEPER_MS / 1000);
        question_end(b, q, NULL);
    }
}
