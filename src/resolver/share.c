/* share.c: see share.h.
 *
 * Rejected: the list of public suffixes, to know exactly what is registered. It is a library and a file more, for the
 * few who own a short name below a country. Rejected: to give up what is slow for the sake of others. The library goes
 * on with it all the same. */
#include "resolver/share.h"

#include <stdlib.h>
#include <string.h>

enum { COUNTRY = 2, REGISTRY_MAX = 3 /* letters */ };

struct share_group {
    struct list link; /* in share.turns, share.remembered, or none */
    struct list waiting;
    size_t      waiting_count, open;
    bool        slow, remembered;
    uint64_t    until_ms; /* it is remembered */
    size_t      len;
    char        name[];
};

void share_init(struct share *s, uint64_t seed)
{
    *s = (struct share){.waiting_count = 0};
    map_init(&s->groups, seed);
    list_init(&s->turns[false]);
    list_init(&s->turns[true]);
    list_init(&s->waiting);
    list_init(&s->fresh);
    list_init(&s->remembered);
}

/* ---- groups ---- */

/* Octets of the last label of what is before `end`. */
static size_t label_len(struct str name, size_t end)
{
    size_t len = 0;

    while (len < end && name.data[end - len - 1] != '.')
        len++;
    return len;
}

struct str share_group_name(struct str name)
{
    size_t top = label_len(name, name.len), second, start;

    if (top >= name.len)
        return name;
    second = label_len(name, name.len - top - 1);
    start = name.len - top - 1 - second;
    if (top == COUNTRY && second <= REGISTRY_MAX && start > 0)
        start -= 1 + label_len(name, start - 1);
    return str_skip(name, start);
}

static void unlist(struct share *s, struct share_group *g)
{
    if (g->remembered)
        s->remembered_count--;
    g->remembered = false;
    list_remove(&g->link);
}

static void group_free(struct share *s, struct share_group *g)
{
    unlist(s, g);
    map_remove(&s->groups, str_of(g->name, g->len));
    free(g);
}

void share_done(struct share *s)
{
    struct share_group *g;

    for (size_t at = 0; (g = map_next(&s->groups, &at));)
        group_free(s, g);
    map_done(&s->groups);
}

static struct share_group *group_of(struct share *s, struct str name)
{
    struct share_group *g = map_get(&s->groups, name);

    if (g)
        return g;
    g = malloc(sizeof *g + name.len);
    if (!g)
        return NULL;
    *g = (struct share_group){.len = name.len};
    memcpy(g->name, name.data, name.len);
    list_init(&g->link);
    list_init(&g->waiting);
    if (map_put(&s->groups, str_of(g->name, g->len), g))
        return g;
    free(g);
    return NULL;
}

/* It is where it belongs: among those whose turn comes, among the remembered, or gone. */
static void settle(struct share *s, struct share_group *g, uint64_t now_ms)
{
    const bool is_idle = !g->waiting_count && !g->open;

    if (!g->waiting_count || g->open >= SHARE_GROUP_OPEN)
        unlist(s, g);
    else if (list_is_empty(&g->link))
        list_push(&s->turns[g->slow], &g->link);
    if (is_idle && g->slow) {
        g->remembered = true;
        g->until_ms = now_ms + SHARE_REMEMBER_MS;
        list_push(&s->remembered, &g->link);
        s->remembered_count++;
    } else if (is_idle) {
        group_free(s, g);
    }
}

/* Not settled. */
static void set_slow(struct share *s, struct share_group *g, bool slow)
{
    if (g->slow == slow)
        return;
    unlist(s, g);
    s->open[g->slow] -= g->open;
    g->slow = slow;
    s->open[g->slow] += g->open;
}

/* ---- questions ---- */

const char *share_add(struct share *s, struct share_question *q, struct str name, uint64_t now_ms)
{
    struct share_group *g = group_of(s, share_group_name(name));

    if (!g)
        return "out of memory";
    if (g->waiting_count >= SHARE_WAITING - s->waiting_count) {
        settle(s, g, now_ms);
        return s->waiting_count >= SHARE_WAITING ? "too many questions wait for an answer already"
                                                 : "too many questions about names of this domain wait already";
    }
    *q = (struct share_question){.group = g, .since_ms = now_ms};
    list_init(&q->in_group);
    list_init(&q->age);
    list_push(&g->waiting, &q->in_group);
    list_push(&s->waiting, &q->age);
    s->waiting_count++;
    if (g->waiting_count++ == 0 && g->open < SHARE_GROUP_OPEN) {
        unlist(s, g);
        list_insert_before(s->turns[g->slow].next, &g->link);
    }
    return NULL;
}

static void leave(struct share *s, struct share_question *q)
{
    list_remove(&q->age);
    if (q->open) {
        q->group->open--;
        s->open[q->group->slow]--;
    } else {
        list_remove(&q->in_group);
        q->group->waiting_count--;
        s->waiting_count--;
    }
}

static bool has_room(const struct share *s, bool slow)
{
    return s->open[0] + s->open[1] < SHARE_OPEN && s->open[slow] < (slow ? SHARE_SLOW_OPEN : SHARE_QUICK_OPEN);
}

struct share_question *share_next(struct share *s, uint64_t now_ms)
{
    const bool             slow = !has_room(s, false) || list_is_empty(&s->turns[false]);
    struct list           *first = has_room(s, slow) ? list_first(&s->turns[slow]) : NULL;
    struct share_group    *g;
    struct share_question *q;

    if (!first)
        return NULL;
    g = LIST_ITEM(first, struct share_group, link);
    q = LIST_ITEM(list_first(&g->waiting), struct share_question, in_group);
    leave(s, q);
    q->open = true;
    q->since_ms = now_ms;
    list_push(&s->fresh, &q->age);
    g->open++;
    s->open[g->slow]++;
    unlist(s, g);
    settle(s, g, now_ms);
    return q;
}

struct share_question *share_late(struct share *s, uint64_t now_ms)
{
    struct list           *first = list_first(&s->waiting);
    struct share_question *q = first ? LIST_ITEM(first, struct share_question, age) : NULL;

    return q && now_ms >= q->since_ms + SHARE_WAIT_MS ? q : NULL;
}

void share_end(struct share *s, struct share_question *q, bool told, uint64_t now_ms)
{
    struct share_group *g = q->group;

    leave(s, q);
    if (q->open && told && now_ms < q->since_ms + SHARE_SLOW_MS)
        set_slow(s, g, false);
    settle(s, g, now_ms);
}

void share_tick(struct share *s, uint64_t now_ms)
{
    struct list *first;

    while ((first = list_first(&s->fresh))) {
        struct share_question *q = LIST_ITEM(first, struct share_question, age);

        if (now_ms < q->since_ms + SHARE_SLOW_MS)
            break;
        list_remove(&q->age);
        set_slow(s, q->group, true);
        settle(s, q->group, now_ms);
    }
    while ((first = list_first(&s->remembered))) {
        struct share_group *g = LIST_ITEM(first, struct share_group, link);

        if (now_ms < g->until_ms && s->remembered_count <= SHARE_REMEMBERED)
            break;
        group_free(s, g);
    }
}
