/* list.h: a doubly linked list whose links lie inside its members. The head is a link of its own; a link that
 * is in no list points at itself. */
#ifndef TACIT_BASE_LIST_H
#define TACIT_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ITEM(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#define LIST_EACH(link, head) for (struct list *link = (head)->next; link != (head); link = link->next)

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_is_empty(const struct list *l) { return l->next == l; }
static inline void list_insert_before(struct list *at, struct list *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}
static inline void list_push(struct list *head, struct list *l) { list_insert_before(head, l); } /* at the end */
static inline void list_remove(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}
static inline struct list *list_first(struct list *head) { return list_is_empty(head) ? NULL : head->next; }

#endif
