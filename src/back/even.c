/* even.c: what is not delivered costs as much as what is (deliver/even.h), so that nobody who sends mail can see
 * by the time of his next messages whether somebody got the last one.
 *
 * Once for each name of a message, as a mailbox gets a message once however often it is named. A list still costs more
 * than a mailbox, and a mailbox of which nobody knew costs its making. Rejected: to deliver later, or at a lower
 * priority. Either spreads the work, but all of it is still done for one kind of name and not for the other, and who
 * sends a hundred messages sees it again; a sync asks for no priority. */
#include "deliver/even.h"
#include "back/back.h"
#include "deliver/maildir.h"

#include <stdlib.h>

enum { PATH_MAX_OCTETS = 4000 };

struct even {
    void (*done)(void *arg);
    void      *arg;
    struct buf path;
    uint64_t   size;
};

static bool gets_written(const struct attempt *a, size_t i)
{
    if (a->to[i].state == RECIPIENT_DELIVERED)
        return true;
    for (size_t k = i + 1; k < a->count && a->to[i].children; k++)
        if (a->to[k].parent == i && a->to[k].due && !(a->to[k].flags & EXPANDED_REMOTE))
            return true; /* into a mailbox here */
    return false;
}

/* The first of its name in this message. */
static bool is_first(struct attempt *a, const struct mail_address *address, char separator)
{
    struct str local = mail_local_key(address->local, separator, &a->arena);
    struct str key = arena_printf(&a->arena, "\n%.*s@%.*s", STR_ARG(local), STR_ARG(address->domain));

    if (!local.data || !key.data || map_get(&a->mailboxes, key))
        return false;
    return map_put(&a->mailboxes, key, a);
}

static void work(void *arg)
{
    struct even *e = arg;

    even_write(e->path.data, e->size);
}

static void worked(void *arg)
{
    struct even *e = arg;
    struct even  was = *e;

    free(e);
    buf_done(&was.path);
    was.done(was.arg);
}

bool back_even_start(struct attempt *a, size_t i, void (*done)(void *arg), void *arg)
{
    const struct config            *config = a->back->config;
    const struct attempt_recipient *to = &a->to[i];
    const struct mail_address      *named = &a->to[to->root].address;
    const struct config_domain     *domain = config_domain_find(config, named->domain);
    struct even                    *e;

    /* A failure of ours (4.3) is nobody's secret; a later attempt is at a time that nobody chose. */
    if (!disclosure_evens_work(a->message.envelope.origin.class) || a->progress.attempts > 0 || !domain ||
        !str_starts(str_from(domain->deliver), STR("maildir:")) || str_starts(to->status, STR("4.3.")) ||
        gets_written(a, i) || !is_first(a, named, *domain->separator))
        return false;
    e = calloc(1, sizeof *e);
    if (!e)
        return false;
    *e = (struct even){.done = done, .arg = arg, .size = a->message.size};
    buf_init(&e->path, PATH_MAX_OCTETS);
    if (maildir_path_nobody(str_from(domain->deliver + 8), str_from(config->data), named->domain, &e->path) &&
        io_work(a->back->loop, work, worked, e))
        return true;
    buf_done(&e->path);
    free(e);
    return false;
}
