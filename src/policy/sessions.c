#include "policy/sessions.h"

#include <assert.h>
#include <stdlib.h>

struct network {
    uint32_t count;
    char     bytes[SESSIONS_NETWORK_LEN]; /* the key in the map */
};

void sessions_init(struct sessions *s, uint32_t total_max, uint32_t network_max, uint64_t seed)
{
    *s = (struct sessions){.total_max = total_max, .network_max = network_max};
    map_init(&s->networks, seed);
}

void sessions_done(struct sessions *s)
{
    struct network *n;

    for (size_t at = 0; (n = map_next(&s->networks, &at));)
        free(n);
    map_done(&s->networks);
    s->total = 0;
}

static struct network *network_add(struct sessions *s, struct str network)
{
    struct network *n = calloc(1, sizeof *n);

    if (!n)
        return NULL;
    memcpy(n->bytes, network.data, sizeof n->bytes);
    if (map_put(&s->networks, str_of(n->bytes, sizeof n->bytes), n))
        return n;
    free(n);
    return NULL;
}

enum sessions_verdict sessions_enter(struct sessions *s, struct str network)
{
    struct network *n = NULL;

    assert(network.len == 0 || network.len == SESSIONS_NETWORK_LEN);
    if (network.len) {
        n = map_get(&s->networks, network);
        if (n ? n->count >= s->network_max : s->network_max == 0)
            return SESSIONS_NETWORK_FULL;
    }
    if (s->total >= s->total_max)
        return SESSIONS_FULL;
    if (network.len) {
        if (!n)
            n = network_add(s, network);
        if (!n)
            return SESSIONS_FULL;
        n->count++;
    }
    s->total++;
    return SESSIONS_TAKEN;
}

void sessions_leave(struct sessions *s, struct str network)
{
    struct network *n = network.len ? map_get(&s->networks, network) : NULL;

    assert(s->total > 0 && (network.len == 0 || n));
    s->total--;
    if (n && --n->count == 0) {
        map_remove(&s->networks, network);
        free(n);
    }
}

uint32_t sessions_of(const struct sessions *s, struct str network)
{
    const struct network *n = map_get(&s->networks, network);

    return n ? n->count : 0;
}
