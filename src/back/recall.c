/* recall.c: messages that operators want back from the carrier, before they change them. The carrier gives back
 * what it has not begun; of what is in a transaction nobody can say who has it, so that ends as it would have, and the
 * operator hears how. While a recall lasts nothing of the message is tried, or it would be given again at once.
 *
 * Rejected: to change the message at once and to let the carrier find out. What was removed would be sent all the same,
 * and who removed it would have been told otherwise. */
#include "back/back.h"

#include <stdio.h>
#include <stdlib.h>

struct back_recall {
    struct back *back;
    uint64_t     id;
    unsigned     users;
    unsigned     verdicts[SMTP_CLIENT_FAILED + 1]; /* recipients that were being sent to; NOT_TRIED: nobody knows */
};

bool recall_lasts(struct back *b, uint64_t id) { return map_get_u64(&b->carry.recalls, id) != NULL; }

struct back_recall *recall_begin(struct back *b, uint64_t id)
{
    struct back_recall *r = map_get_u64(&b->carry.recalls, id);

    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r || !map_put_u64(&b->carry.recalls, id, r)) {
            free(r);
            return NULL;
        }
        *r = (struct back_recall){.back = b, .id = id};
    }
    r->users++;
    return r;
}

void recall_end(struct back_recall *r)
{
    struct back          *b = r->back;
    struct queue_message *m = queue_find(&b->queue, r->id);

    if (--r->users)
        return;
    map_remove_u64(&b->carry.recalls, r->id);
    free(r);
    if (m && !m->busy && !m->out && !m->parked && !queue_delay(&b->queue, m, 0))
        role_give_up("out of memory", NULL);
}

void recall_ask(const struct back_recall *r)
{
    for (struct back_carriage *c = back_carriage_first(r->back, r->id); c; c = c->next)
        if (c->state == BACK_CARRIAGE_OUT && !c->cancelled && back_carrier_has_room(c->carrier, false)) {
            c->cancelled = true;
            back_carrier_say(c->carrier, CARRIAGE_CANCEL, c->id, c->number);
        }
}

void recall_note(struct back *b, const struct back_carriage *c, const struct carried *carried)
{
    struct back_recall *r = map_get_u64(&b->carry.recalls, c->id);

    for (size_t i = 0; r && i < c->count; i++)
        r->verdicts[carried ? carried->recipients[i].verdict : SMTP_CLIENT_NOT_TRIED]++;
}

void recall_text(const struct back_recall *r, char ret_text[RECALL_TEXT])
{
    static const char *const words[] = {[SMTP_CLIENT_NOT_TRIED] = "lost: it may have been delivered",
                                        [SMTP_CLIENT_ACCEPTED] = "delivered",
                                        [SMTP_CLIENT_DEFERRED] = "put off",
                                        [SMTP_CLIENT_FAILED] = "refused"};
    unsigned                 sum = 0;
    size_t                   len = 0;

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        sum += r->verdicts[i];
    *ret_text = '\0';
    if (back_carriage_first(r->back, r->id))
        snprintf(ret_text, RECALL_TEXT, "it is being sent at the moment; tacit trace will tell how that ended");
    else if (sum)
        len = (size_t)snprintf(ret_text, RECALL_TEXT, "it was being sent; it ended as ");
    for (size_t i = 0; len && i < sizeof words / sizeof *words; i++) {
        if (!r->verdicts[i])
            continue;
        if (r->verdicts[i] == sum)
            len += (size_t)snprintf(ret_text + len, RECALL_TEXT - len, "%s", words[i]);
        else
            len += (size_t)snprintf(ret_text + len, RECALL_TEXT - len, "%s%s (%u)",
                                    ret_text[len - 1] == ' ' ? "" : ", ", words[i], r->verdicts[i]);
    }
}
