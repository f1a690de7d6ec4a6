#include "base/heap.h"

#include "base/array.h"

#include <stdlib.h>

void heap_init(struct heap *h) { *h = (struct heap){0}; }

void heap_done(struct heap *h)
{
    free(h->items);
    heap_init(h);
}

static void set(struct heap *h, size_t place, struct heap_item *item)
{
    h->items[place - 1] = item;
    item->place = place;
}

static void sift(struct heap *h, size_t place)
{
    struct heap_item *item = h->items[place - 1];

    for (; place > 1 && h->items[place / 2 - 1]->key > item->key; place /= 2)
        set(h, place, h->items[place / 2 - 1]);
    for (size_t child; (child = place * 2) <= h->used; place = child) {
        if (child < h->used && h->items[child]->key < h->items[child - 1]->key)
            child++;
        if (h->items[child - 1]->key >= item->key)
            break;
        set(h, place, h->items[child - 1]);
    }
    set(h, place, item);
}

bool heap_put(struct heap *h, struct heap_item *item, uint64_t key)
{
    if (!item->place) {
        if (!ARRAY_ROOM(h->items, h->used, h->size, 64))
            return false;
        set(h, ++h->used, item);
    }
    item->key = key;
    sift(h, item->place);
    return true;
}

void heap_remove(struct heap *h, struct heap_item *item)
{
    size_t            place = item->place;
    struct heap_item *last;

    if (!place)
        return;
    item->place = 0;
    last = h->items[--h->used];
    if (last == item)
        return;
    set(h, place, last);
    sift(h, place);
}

struct heap_item *heap_first(const struct heap *h) { return h->used ? h->items[0] : NULL; }
