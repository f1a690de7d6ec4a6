/* clients.c: tables of eight-way buckets. Buckets instead of open addressing: a look-up reads one cache line, and
 * nothing has to be moved or marked when a network leaves, which readers in other processes would see half-done. The
 * hash is seeded at random, so no client can choose whose bucket it fills. */
#include "role/clients.h"
#include "role/counters.h"

#include <xxhash.h>

enum { COUNT_BITS = 20 };
static const uint64_t count_max = (UINT64_C(1) << COUNT_BITS) - 1;

static size_t   bucket_of(uint64_t key) { return key % CLIENTS_BUCKETS; }
static uint64_t tag_of(uint64_t key) { return key & ~count_max; }

static uint64_t load(const _Atomic uint64_t *way) { return atomic_load_explicit(way, memory_order_relaxed); }
static void     store(_Atomic uint64_t *way, uint64_t v) { atomic_store_explicit(way, v, memory_order_relaxed); }

static struct clients_table *table_of(struct counters *all, const struct counter_slot *self)
{
    return &all->clients[self - all->slots];
}

uint64_t clients_key(struct counters *all, const struct io_network *network)
{
    uint64_t seed = load(&all->clients_seed), key;

    if (seed == 0) {
        uint64_t fresh;

        io_random(&fresh, sizeof fresh);
        fresh |= 1;
        seed = atomic_compare_exchange_strong(&all->clients_seed, &seed, fresh) ? fresh : seed;
    }
    key = XXH3_64bits_withSeed(network->bytes, sizeof network->bytes, seed);
    return tag_of(key) ? key : key | ~count_max;
}

void clients_clear(struct counters *all, const struct counter_slot *self)
{
    struct clients_table *t = table_of(all, self);

    for (size_t b = 0; b < CLIENTS_BUCKETS; b++)
        for (size_t w = 0; w < CLIENTS_WAYS; w++)
            if (load(&t->ways[b][w]))
                store(&t->ways[b][w], 0);
}

static uint64_t count_in(const struct clients_table *t, uint64_t key)
{
    for (size_t w = 0; w < CLIENTS_WAYS; w++) {
        uint64_t v = load(&t->ways[bucket_of(key)][w]);

        if (v && tag_of(v) == tag_of(key))
            return v & count_max;
    }
    return 0;
}

uint64_t clients_count(const struct counters *all, uint64_t key)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNTER_SLOTS; i++)
        if (atomic_load_explicit(&all->slots[i].pid, memory_order_relaxed))
            sum += count_in(&all->clients[i], key);
    return sum;
}

bool clients_enter(struct counters *all, const struct counter_slot *self, uint64_t key, uint64_t limit,
                   bool *ret_counted)
{
    _Atomic uint64_t *bucket = table_of(all, self)->ways[bucket_of(key)], *at = NULL;

    if (clients_count(all, key) >= limit)
        return false;
    for (size_t w = 0; w < CLIENTS_WAYS && (!at || !load(at)); w++) {
        uint64_t v = load(&bucket[w]);

        if (v == 0 ? !at : tag_of(v) == tag_of(key))
            at = &bucket[w];
    }
    *ret_counted = at && (load(at) & count_max) < count_max;
    if (*ret_counted)
        store(at, (load(at) ? load(at) : tag_of(key)) + 1);
    return true;
}

void clients_leave(struct counters *all, const struct counter_slot *self, uint64_t key)
{
    _Atomic uint64_t *bucket = table_of(all, self)->ways[bucket_of(key)];

    for (size_t w = 0; w < CLIENTS_WAYS; w++) {
        uint64_t v = load(&bucket[w]);

        if (v && tag_of(v) == tag_of(key)) {
            store(&bucket[w], (v & count_max) > 1 ? v - 1 : 0);
            return;
        }
    }
}
