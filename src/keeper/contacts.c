/* contacts.c: see keeper/contacts.h. One writing is under way at a time, and a few may wait: back sends the next
 * when the last is answered, so more than one comes only while an old back ends beside a new one. */
#include "keeper/contacts.h"
#include "role/ask.h"
#include "role/log.h"

#include "base/list.h"

#include <stdlib.h>

enum {
    WAITING_MAX = 4,
    LEARN_MEMORY = 1 << 20,
    COMPLAIN_MS = 60 * 1000,
    PRUNE_MS = 10 * 60 * 1000, /* where nothing new is said, what is old must go all the same */
    PRUNE_MORE_MS = 1000,
};

struct keeper_learning {
    struct list             link;
    struct keeper_contacts *owner;
    struct buf              text; /* empty: only forgets */
    bool                    ok, more;
    struct err              err;
    void (*learned)(void *arg, bool remembered);
    void *arg;
};

struct keeper_contacts {
    const struct config *config;
    struct io_loop      *loop; /* NULL: there was nothing to write yet, and so is no thread */
    struct contacts     *reader, *writer;
    struct list          learnings; /* the first is under way, if `running` */
    unsigned             count;
    bool                 running, closing;
    bool                 gone; /* damaged; the next keeper moves it aside */
    uint64_t             complained_ms, prune_ms;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct keeper_contacts *keeper_contacts_open(const struct config *config)
{
    struct keeper_contacts *k;
    struct arena            arena;
    struct err              err = {0};
    struct str              path;
    bool                    mended = false;

    if (!config->contacts.keep)
        return NULL;
    k = calloc(1, sizeof *k);
    arena_init(&arena, 4096, 1 << 16);
    path = config_contacts_path(config, &arena);
    if (k && path.data) {
        k->config = config;
        list_init(&k->learnings);
        k->writer = contacts_open(path.data, CONTACTS_CREATE | CONTACTS_MEND, &mended, &err);
        k->reader = k->writer ? contacts_open(path.data, CONTACTS_READ, NULL, &err) : NULL;
    } else {
        err_set(&err, ERR_LIMIT, "out of memory");
    }
    if (mended && path.data)
        log_notice(LOG_LEVEL_WARNING,
                   "%s was damaged and is now %s.damaged; what other servers say is remembered from now on", path.data,
                   path.data);
    if (!k || !k->reader) {
        log_notice(LOG_LEVEL_WARNING, "%s; what other servers say is not remembered", err.text);
        keeper_contacts_close(k, NULL, NULL);
        k = NULL;
    }
    arena_done(&arena);
    return k;
}

static void close_now(struct keeper_contacts *k)
{
    void (*closed)(void *arg) = k->closed;
    void *arg = k->closed_arg;

    contacts_close(k->reader);
    contacts_close(k->writer);
    free(k);
    if (closed)
        closed(arg);
}

static void learning_free(struct keeper_learning *l)
{
    l->owner->count--;
    list_remove(&l->link);
    buf_done(&l->text);
    free(l);
}

static void learning_end(struct keeper_learning *l, bool remembered)
{
    void (*learned)(void *arg, bool remembered) = l->learned;
    void *arg = l->arg;

    learning_free(l);
    if (learned)
        learned(arg, remembered);
}

void keeper_contacts_close(struct keeper_contacts *k, void (*closed)(void *arg), void *arg)
{
    if (!k) {
        if (closed)
            closed(arg);
        return;
    }
    k->closed = closed;
    k->closed_arg = arg;
    k->closing = true;
    if (!k->running)
        close_now(k);
}

bool keeper_contacts_find(struct keeper_contacts *k, const struct mail_address *address, uint64_t now_ms,
                          struct arena *arena, struct contact *ret_contact, struct err *err)
{
    uint64_t       suppress = k ? k->config->contacts.suppress : 0;
    struct contact found;

    *ret_contact = (struct contact){.outcome = CONTACT_UNKNOWN};
    if (!suppress || k->gone)
        return true;
    if (suppress > k->config->contacts.keep)
        suppress = k->config->contacts.keep;
    switch (contacts_find(k->reader, address, now_ms > suppress ? now_ms - suppress : 0, arena, &found, err)) {
    case CONTACTS_FOUND:
        if (contact_is_dead(found.outcome))
            *ret_contact = found;
        return true;
    case CONTACTS_ABSENT:
        return true;
    case CONTACTS_FAILED:
        break;
    }
    return false;
}

/* ---- learning ---- */

static void work(void *arg)
{
    struct keeper_learning     *l = arg;
    struct keeper_contacts     *k = l->owner;
    const struct contacts_rules rules = {k->config->contacts.keep, k->config->contacts.max};
    struct contact             *said = NULL;
    size_t                      count = 0;
    struct arena                arena;

    arena_init(&arena, 64 << 10, LEARN_MEMORY);
    l->ok = ask_contacts_get(buf_str(&l->text), &arena, &said, &count) ||
            err_set(&l->err, ERR_PERMANENT, "what back says makes no sense");
    l->ok = l->ok && contacts_learn(k->writer, said, count, &rules, io_wall_ms(), &l->more, &l->err);
    arena_done(&arena);
}

static void complain(struct keeper_contacts *k, const struct err *err)
{
    uint64_t now_ms = io_loop_now_ms(k->loop);

    if (contacts_is_damaged(k->writer)) {
        k->gone = true;
        log_notice(LOG_LEVEL_ERROR,
                   "%s; what other servers say is not remembered any more; a reload (SIGHUP) moves the damaged "
                   "database aside",
                   err->text);
    } else if (!k->complained_ms || now_ms - k->complained_ms >= COMPLAIN_MS) {
        log_notice(LOG_LEVEL_WARNING, "what other servers said is lost in part: %s", err->text);
        k->complained_ms = now_ms ? now_ms : 1;
    }
}

static void next(struct keeper_contacts *k);

static void worked(void *arg)
{
    struct keeper_learning *l = arg;
    struct keeper_contacts *k = l->owner;
    uint64_t                pause_ms = l->more ? PRUNE_MORE_MS : PRUNE_MS;

    k->running = false;
    k->prune_ms = io_loop_now_ms(k->loop) + pause_ms;
    if (!l->ok)
        complain(k, &l->err);
    learning_end(l, l->ok);
    next(k);
}

static void next(struct keeper_contacts *k)
{
    while (!k->running && !list_is_empty(&k->learnings)) {
        struct keeper_learning *l = LIST_ITEM(list_first(&k->learnings), struct keeper_learning, link);

        k->running = !k->gone && io_work(k->loop, work, worked, l);
        if (!k->running)
            learning_end(l, false);
    }
    if (!k->running && k->closing)
        close_now(k);
}

/* The thread is made with the first work, and not at the start: one that is older than the walls (role/confine.h)
 * would stand outside of Landlock. */
static struct keeper_learning *learn(struct keeper_contacts *k, struct io_loop *loop, struct str text)
{
    struct keeper_learning *l = k->gone || k->closing || k->count >= WAITING_MAX ? NULL : calloc(1, sizeof *l);

    if (!l)
        return NULL;
    if (!k->loop)
        io_work_start(loop, 1);
    k->loop = loop;
    l->owner = k;
    list_init(&l->link);
    list_push(&k->learnings, &l->link);
    k->count++;
    buf_init(&l->text, ASK_TEXT_MAX);
    if (!buf_append(&l->text, text) || (!k->running && !io_work(loop, work, worked, l))) {
        learning_free(l);
        return NULL;
    }
    k->running = true;
    return l;
}

struct keeper_learning *keeper_contacts_learn(struct keeper_contacts *k, struct io_loop *loop, struct str text,
                                              void (*learned)(void *arg, bool remembered), void *arg)
{
    struct keeper_learning *l = k ? learn(k, loop, text) : NULL;

    if (l) {
        l->learned = learned;
        l->arg = arg;
    }
    return l;
}

void keeper_learning_forsake(struct keeper_learning *l) { l->learned = NULL; }

void keeper_contacts_tick(struct keeper_contacts *k, struct io_loop *loop)
{
    uint64_t now_ms = io_loop_now_ms(loop);

    if (!k || k->gone || k->running || now_ms < k->prune_ms)
        return;
    k->prune_ms = now_ms + PRUNE_MS;
    learn(k, loop, STR_NONE);
}
