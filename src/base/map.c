#include "base/map.h"

#include <stdlib.h>
#include <xxhash.h>

/* A number lies in key.len with key.data NULL, so both kinds share slots and code. */
struct map_slot {
    struct str key;
    void      *value; /* NULL: free; &GRAVE: removed, so that chains stay whole */
    uint64_t   hash;
};

enum { MAP_FIRST = 16 };
static char GRAVE; /* the address marks a removed pair */

void map_init(struct map *m, uint64_t seed) { *m = (struct map){.seed = seed}; }

void map_done(struct map *m)
{
    free(m->slots);
    map_init(m, m->seed);
}

static uint64_t hash_of(const struct map *m, struct str key)
{
    if (!key.data)
        return XXH3_64bits_withSeed(&key.len, sizeof key.len, m->seed);
    return XXH3_64bits_withSeed(key.data, key.len, m->seed);
}

static bool key_eq(struct str a, struct str b)
{
    if (!a.data || !b.data)
        return a.data == b.data && a.len == b.len;
    return str_eq(a, b);
}

static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
    if (!m->size)
        return NULL;
    for (size_t i = hash & (m->size - 1);; i = (i + 1) & (m->size - 1)) {
        struct map_slot *slot = &m->slots[i];

        if (!slot->value)
            return NULL;
        if (slot->value != &GRAVE && slot->hash == hash && key_eq(slot->key, key))
            return slot;
    }
}

static void insert_new(struct map *m, struct str key, uint64_t hash, void *value)
{
    size_t i = hash & (m->size - 1);

    while (m->slots[i].value && m->slots[i].value != &GRAVE)
        i = (i + 1) & (m->size - 1);
    if (!m->slots[i].value)
        m->full++;
    m->slots[i] = (struct map_slot){key, value, hash};
    m->used++;
}

static bool make_room(struct map *m)
{
    struct map old = *m;
    size_t     size = MAP_FIRST;

    if (m->size && m->full + 1 <= m->size / 4 * 3)
        return true;
    while (size / 2 < old.used + 1)
        size *= 2;
    m->slots = calloc(size, sizeof *m->slots);
    if (!m->slots) {
        *m = old;
        return false;
    }
    m->size = size;
    m->used = m->full = 0;
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].value && old.slots[i].value != &GRAVE)
            insert_new(m, old.slots[i].key, old.slots[i].hash, old.slots[i].value);
    free(old.slots);
    return true;
}

static void *get(const struct map *m, struct str key)
{
    struct map_slot *slot = m->size ? find(m, key, hash_of(m, key)) : NULL;

    return slot ? slot->value : NULL;
}

static bool put(struct map *m, struct str key, void *value)
{
    uint64_t         hash = hash_of(m, key);
    struct map_slot *slot = find(m, key, hash);

    if (slot) {
        slot->key = key;
        slot->value = value;
        return true;
    }
    if (!make_room(m))
        return false;
    insert_new(m, key, hash, value);
    return true;
}

static void *take(struct map *m, struct str key)
{
    struct map_slot *slot = m->size ? find(m, key, hash_of(m, key)) : NULL;
    void            *value;

    if (!slot)
        return NULL;
    value = slot->value;
    slot->value = &GRAVE;
    slot->key = STR_NONE;
    m->used--;
    return value;
}

static struct str number_key(uint64_t key) { return (struct str){NULL, key}; }
/* An empty key of bytes must not look like the number 0. */
static struct str bytes_key(struct str key) { return key.data ? key : STR(""); }

void *map_get(const struct map *m, struct str key) { return get(m, bytes_key(key)); }
bool  map_put(struct map *m, struct str key, void *value) { return put(m, bytes_key(key), value); }
void *map_remove(struct map *m, struct str key) { return take(m, bytes_key(key)); }
void *map_get_u64(const struct map *m, uint64_t key) { return get(m, number_key(key)); }
bool  map_put_u64(struct map *m, uint64_t key, void *value) { return put(m, number_key(key), value); }
void *map_remove_u64(struct map *m, uint64_t key) { return take(m, number_key(key)); }

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->size) {
        void *value = m->slots[(*at)++].value;

        if (value && value != &GRAVE)
            return value;
    }
    return NULL;
}
