/* order.h: what an operator asked for on the control socket, while it is done; the files of the control socket
 * among themselves (back/control.c, back/search.c, back/change.c).
 *
 *             request, of messages         all was looked at            sorted
 *   AWAITED ────────────────────► GATHERS ───────────────────► SORTS ────────────► WORKS ──► ENDED
 *      │                             └──────── by id, or none: nothing to sort ──────▲         ▲
 *      ├──────────────────────────────────── status, drain, stop ────────────────────┘         │
 *      └────── each but ENDED: order_end; or its connection closes, unless in the background ──┘
 *
 *   state    guarantee
 *   AWAITED  no whole line was read; the timer runs
 *   GATHERS  `ids` grows by what memory says may be meant
 *   SORTS    a work thread has `ids`
 *   WORKS    `ids` is in order; `step` goes on with it
 *   ENDED    the last line was written, or there is nobody to write to; nothing new is begun
 *
 * All arrows are order_go. An order is freed when it is ended, its connection is closed, and nothing runs for it. */
#ifndef TACIT_BACK_ORDER_H
#define TACIT_BACK_ORDER_H

#include "back/back.h"

#include <jansson.h>

enum { ORDER_UNSENT_MAX = 1 << 20 /* octets, then the reader is waited for */ };
enum order_state { ORDER_AWAITED, ORDER_GATHERS, ORDER_SORTS, ORDER_WORKS, ORDER_ENDED };

struct order_ids {
    uint64_t *at;
    size_t    count, room;
};

struct order {
    struct list        link;
    struct back       *back;
    enum order_state   state;
    struct io_stream  *stream; /* NULL: closed */
    struct io_timer   *timer;
    struct buf         in, out;
    json_t            *request;
    const char        *name; /* of the command */
    struct back_filter filter;
    struct back_change change;  /* COMMAND_ATTEMPT: none, it only looks */
    struct arena       arena;   /* of `change` */
    unsigned           running; /* commands, scans and sorts; they come back to it */
    struct order_ids   ids;     /* what may match, as it was at the start, sorted */
    size_t             next, gathered;
    struct back_scan  *scan;
    void (*step)(struct order *o);    /* in WORKS: goes on; called again and again */
    void (*scanned)(struct order *o); /* a run of `scan` is through; then comes `step` */
    uint64_t of, done, failed; /* messages: that may be meant, that were shown or changed, that could not be changed */
    uint64_t began_ms;         /* loop's clock */

    /* back/change.c */
    const uint64_t *chosen; /* those that match, to be changed */
    size_t          chosen_count;
    struct list     waiting; /* changes of messages that are at work, or with the carrier: looked at again */
    struct list     ready;   /* those for which that is over, as in `ids` */
    unsigned        tries;
    bool            background; /* goes on when its connection closes */
};

/* back/control.c */
void order_go(struct order *o, enum order_state state);
void order_end(struct order *o, json_t *last); /* takes `last`; the order may be gone afterwards */
void order_end_ok(struct order *o);
void order_end_error(struct order *o, const char *text);
void order_send(struct order *o, json_t *row);       /* takes it */
void order_again(struct order *o, uint64_t wait_ms); /* the step, later */
void order_returned(
    struct order *o); /* something that ran has come back: counts it, and frees the order if it was last */

/* back/search.c: which messages are meant, and looking at them. */
void order_gather(struct order *o);
bool order_scan(struct order *o); /* reads the next messages, unless a run is under way; false: there are none */
void order_ids_add(struct order_ids *ids, uint64_t id);
void order_list_step(struct order *o);
void order_show_step(struct order *o);
void order_listed(struct order *o);

/* back/change.c: changing them. */
void order_change_step(struct order *o);
void order_change_found(struct order *o);
/* What the request says of it. False: *ret_wrong says what is wrong. */
bool order_change_get(struct order *o, enum back_command command, char ret_wrong[128]);
void order_change_gathered(struct order *o); /* all that may be meant is known */
void order_change_over(struct order *o);     /* nothing more is begun: what waits goes on as it was */
void order_change_log(const struct order *o, const char *result);
void order_stop_step(struct order *o); /* ends what goes on in the background */

#endif
