/* counters.c: counters in shared memory.
 *
 * Adding is one relaxed atomic addition, so work threads may count too. A memfd rather than a file: nothing to clean
 * up, and nothing that a restart of the whole could misread. Its size is sealed: a role that has fallen into wrong
 * hands could cut it, and whoever counts then, master too, would end by SIGBUS. */
#include "role/counters.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { TOTAL, GAUGE };

static const struct {
    const char *name, *help;
    enum kind   kind;
} table[] = {
#define COUNTER(name, kind, help) {"tacit_" #name, help, kind},
#include "role/counters.def"
#undef COUNTER
};

static struct counter_slot *self;

const char *role_name(enum role role)
{
    static const char *const names[ROLE_COUNT] = {"master", "front", "keeper", "back", "resolver", "carrier"};

    return (unsigned)role < sizeof names / sizeof *names ? names[role] : "unknown";
}

struct counters *counters_create(int *ret_fd, struct err *err)
{
    struct counters *all;
    int              fd = memfd_create("tacit-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, sizeof *all) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        err_set_os(err, errno, "memory for counters");
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    all = counters_map(fd, true, err);
    if (!all) {
        close(fd);
        return NULL;
    }
    *ret_fd = fd;
    return all;
}

struct counters *counters_map(int fd, bool writable, struct err *err)
{
    struct stat st;
    void       *p;

    if (fstat(fd, &st) != 0) {
        err_set_os(err, errno, "memory for counters");
        return NULL;
    }
    if (st.st_size != (off_t)sizeof(struct counters)) {
        err_set(err, ERR_PERMANENT, "memory for counters has the size of another version of tacit");
        return NULL;
    }
    p = mmap(NULL, sizeof(struct counters), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        err_set_os(err, errno, "memory for counters");
        return NULL;
    }
    return p;
}

void counters_use(struct counter_slot *slot) { self = slot; }

void count(enum counter c, int64_t by)
{
    assert(c < COUNTER_COUNT);
    if (self)
        atomic_fetch_add_explicit(&self->values[c], (uint64_t)by, memory_order_relaxed);
}

void count_set(enum counter c, uint64_t value)
{
    assert(c < COUNTER_COUNT);
    if (self)
        atomic_store_explicit(&self->values[c], value, memory_order_relaxed);
}

void count_reply(unsigned code)
{
    if (self && code >= 200 && code < 200 + COUNTER_CODES)
        atomic_fetch_add_explicit(&self->replies[code - 200], 1, memory_order_relaxed);
}

void counters_reset_gauges(struct counter_slot *slot)
{
    for (size_t c = 0; c < COUNTER_COUNT; c++)
        if (table[c].kind == GAUGE)
            atomic_store_explicit(&slot->values[c], 0, memory_order_relaxed);
    storage_reset(&slot->storage);
}

struct counter_slot *counters_slot(struct counters *all, enum role role, unsigned lane)
{
    static const struct {
        unsigned first, count;
    } places[ROLE_COUNT] = {
        [ROLE_MASTER] = {0, 1},
        [ROLE_KEEPER] = {1, 1},
        [ROLE_RESOLVER] = {2, 1},
        [ROLE_CARRIER] = {3, CARRIERS_MAX},
        [ROLE_BACK] = {3 + CARRIERS_MAX, 1},
        [ROLE_FRONT] = {3 + CARRIERS_MAX, COUNTER_SLOTS - 3 - CARRIERS_MAX}, /* lane 0 is back's */
    };

    return lane < places[role].count ? &all->slots[places[role].first + lane] : NULL;
}

uint64_t counters_sum(const struct counters *all, enum counter c)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNTER_SLOTS; i++)
        sum += atomic_load_explicit(&all->slots[i].values[c], memory_order_relaxed);
    return sum;
}

static uint64_t sum_replies(const struct counters *all, unsigned code)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNTER_SLOTS; i++)
        sum += atomic_load_explicit(&all->slots[i].replies[code - 200], memory_order_relaxed);
    return sum;
}

static void put_head(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

bool counters_prometheus(const struct counters *all, struct buf *out)
{
    for (unsigned c = 0; c < COUNTER_COUNT; c++) {
        put_head(out, table[c].name, table[c].kind == GAUGE ? "gauge" : "counter", table[c].help);
        buf_printf(out, "%s %llu\n", table[c].name, (unsigned long long)counters_sum(all, (enum counter)c));
    }
    put_head(out, "tacit_replies_total", "counter", "replies sent, by code");
    for (unsigned code = 200; code < 200 + COUNTER_CODES; code++) {
        uint64_t sum = sum_replies(all, code);

        if (sum)
            buf_printf(out, "tacit_replies_total{code=\"%u\"} %llu\n", code, (unsigned long long)sum);
    }
    put_head(out, "tacit_restarts_total", "counter", "processes started again after they ended by themselves");
    for (size_t i = 0; i < COUNTER_SLOTS; i++) {
        const struct counter_slot *s = &all->slots[i];

        if (atomic_load_explicit(&s->started_ms, memory_order_relaxed))
            buf_printf(out, "tacit_restarts_total{role=\"%s\",index=\"%u\"} %u\n",
                       role_name((enum role)atomic_load_explicit(&s->role, memory_order_relaxed)),
                       atomic_load_explicit(&s->index, memory_order_relaxed),
                       atomic_load_explicit(&s->restarts, memory_order_relaxed));
    }
    put_head(out, "tacit_start_time_seconds", "gauge", "when the server started, as Unix time");
    buf_printf(out, "tacit_start_time_seconds %llu\n",
               (unsigned long long)(atomic_load_explicit(&all->started_ms, memory_order_relaxed) / 1000));
    put_head(out, "tacit_config_generation", "gauge", "grows with each reload of the configuration");
    buf_printf(out, "tacit_config_generation %u\n", atomic_load_explicit(&all->generation, memory_order_relaxed));
    return buf_ok(out);
}
