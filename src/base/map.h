/* map.h: a hash map from bytes or numbers to pointers.
 *
 * Open addressing with XXH3 under a seed of the caller (random where strangers choose the keys). Keys of bytes
 * are borrowed: they must stay valid and unchanged while they are in the map (usually they lie inside the value).
 * Iteration is in no order and must not meet changes, except that the pair just returned may be removed. */
#ifndef TACIT_BASE_MAP_H
#define TACIT_BASE_MAP_H

#include "base/str.h"

struct map_slot;

struct map {
    struct map_slot *slots;
    size_t           size; /* slots allocated, a power of two, or 0 */
    size_t           used; /* pairs */
    size_t           full; /* pairs and graves */
    uint64_t         seed;
};

void map_init(struct map *m, uint64_t seed);
void map_done(struct map *m); /* frees the table, not the values */

void *map_get(const struct map *m, struct str key);
/* Adds or replaces; value must not be NULL. False: no memory, nothing changed. */
bool  map_put(struct map *m, struct str key, void *value);
void *map_remove(struct map *m, struct str key); /* the value that was there, or NULL */

/* The same with a number as the key. One map holds either kind of key, never both. */
void *map_get_u64(const struct map *m, uint64_t key);
bool  map_put_u64(struct map *m, uint64_t key, void *value);
void *map_remove_u64(struct map *m, uint64_t key);

/* for (size_t at = 0; (value = map_next(m, &at));) */
void *map_next(const struct map *m, size_t *at);

#endif
