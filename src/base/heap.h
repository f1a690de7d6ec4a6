/* heap.h: a priority queue of items that lie elsewhere, the least key first. Each item knows its place, so that
 * it can be moved or removed in O(log n). */
#ifndef TACIT_BASE_HEAP_H
#define TACIT_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_item {
    uint64_t key;
    size_t   place; /* 1-based place in the heap; 0: in no heap */
};

struct heap {
    struct heap_item **items;
    size_t             used, size;
};

void              heap_init(struct heap *h);
void              heap_done(struct heap *h);                                      /* frees the table, not the items */
bool              heap_put(struct heap *h, struct heap_item *item, uint64_t key); /* adds, or moves; false: no memory */
void              heap_remove(struct heap *h, struct heap_item *item);            /* nothing if it is in no heap */
struct heap_item *heap_first(const struct heap *h);                               /* NULL: empty */

#endif
