/* power_disk.c: the directory as a loss of power may have left it.
 *
 * A build replays the log from the start, for a choice made early (what a failed sync wrote) has consequences. An octet
 * that a write does not change is no choice: that keeps the combinations few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "files.h"
#include "power_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

/* ---- choices ---- */

static unsigned choose(struct power_choice *c, unsigned below)
{
    if (below <= 1)
        return 0;
    switch (c->how) {
    case POWER_LOSE:
        return 0;
    case POWER_KEEP:
    case POWER_TEAR:
        return below - 1;
    case POWER_RANDOM:
        c->state = c->state * 6364136223846793005u + 1442695040888963407u;
        /* Some builds keep much, others little. */
        if (below == 2)
            return (c->state >> 33) % 8 < 1 + c->tear % 7;
        return (unsigned)(c->state >> 33) % below;
    case POWER_EACH:
        break;
    }
    if (c->used == POWER_CHOICES_MAX)
        return 0;
    if (c->used == c->depth)
        c->picks[c->depth++] = 0;
    c->limits[c->used] = (uint16_t)below;
    return c->picks[c->used++];
}

bool power_choice_next(struct power_choice *c)
{
    unsigned at = c->used;

    c->used = 0;
    while (at-- > 0)
        if (++c->picks[at] < c->limits[at]) {
            c->depth = at + 1;
            return true;
        }
    return false;
}

/* ---- the disk as it may stand ---- */

static void grow(struct content *c, uint64_t len)
{
    if (len > c->size) {
        c->size = len * 2;
        c->data = realloc(c->data, c->size);
        assert_non_null(c->data);
    }
    if (len > c->len) {
        memset(c->data + c->len, 0, len - c->len);
        c->len = len;
    }
}

static bool changes(const struct content *c, uint64_t offset, const char *data, uint64_t len)
{
    uint64_t there = offset >= c->len ? 0 : c->len - offset < len ? c->len - offset : len;

    if (memcmp(data, c->data + offset * (there > 0), there) != 0)
        return true;
    for (uint64_t i = there; i < len; i++)
        if (data[i] != 0)
            return true;
    return false;
}

/* `sure`: it was synced. `torn`: up to that octet only. */
static void apply(struct content *c, const struct op *op, bool sure, uint64_t torn, struct power_choice *choice)
{
    uint64_t step;

    if (op->kind == OP_RESIZE) {
        if (op->len == c->len || !(sure || choose(choice, 2)))
            return;
        grow(c, op->len);
        c->len = op->len;
        return;
    }
    for (uint64_t at = 0; at < op->len; at += step) {
        uint64_t from = op->offset + at;

        step = SECTOR - from % SECTOR;
        if (step > op->len - at)
            step = op->len - at;
        if (at >= torn)
            break;
        if (step > torn - at)
            step = torn - at;
        if (!changes(c, from, op->data + at, step) || !(sure || choose(choice, 2)))
            continue;
        grow(c, from + step);
        memcpy(c->data + from, op->data + at, step);
    }
    if (op->offset + op->len > c->len && torn >= op->len && (sure || choose(choice, 2)))
        grow(c, op->offset + op->len);
}

struct names {
    struct entry entries[FILES_MAX];
    unsigned     count;
};

static void drop_name(struct names *n, const char *name)
{
    for (unsigned i = 0; i < n->count; i++)
        if (strcmp(n->entries[i].name, name) == 0) {
            n->entries[i] = n->entries[--n->count];
            return;
        }
}

static void change_names(struct names *n, const struct op *op)
{
    if (op->kind == OP_CREATE || op->kind == OP_RENAME)
        drop_name(n, op->kind == OP_RENAME ? op->to : op->name); /* what is replaced */
    if (op->kind == OP_CREATE || op->kind == OP_MKDIR) {
        assert_true(n->count < FILES_MAX);
        memcpy(n->entries[n->count].name, op->name, NAME_SIZE);
        n->entries[n->count++].file = op->file;
        return;
    }
    if (op->kind == OP_UNLINK) {
        drop_name(n, op->name);
        return;
    }
    for (unsigned i = 0; i < n->count; i++)
        if (strcmp(n->entries[i].name, op->name) == 0)
            memcpy(n->entries[i].name, op->to, NAME_SIZE);
    /* What it speaks of was lost before it. */
}

static void settle_dir(const struct power_log *log, struct names *names, unsigned *changed, unsigned *count, int dir,
                       struct power_choice *choice)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < *count; i++) {
        const struct op *op = &log->ops[changed[i]];

        if (dir >= 0 && op->dir != dir)
            changed[kept++] = changed[i];
        else if (dir >= 0 || choose(choice, 2))
            change_names(names, op);
    }
    *count = kept;
}

static void settle_file(struct power_log *log, int file, bool sure, struct power_choice *choice)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < log->pending_count[file]; i++)
        apply(&log->now[file], &log->ops[log->pending[file][i]], sure, UINT64_MAX, choice);
    log->pending_count[file] = kept;
}

static bool has_parent(const struct names *n, const char *name)
{
    char  parent[NAME_SIZE];
    char *slash;

    snprintf(parent, sizeof parent, "%s", name);
    slash = strrchr(parent, '/');
    if (!slash)
        return true;
    *slash = '\0';
    for (unsigned i = 0; i < n->count; i++)
        if (n->entries[i].file < 0 && strcmp(n->entries[i].name, parent) == 0)
            return has_parent(n, parent);
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void write_out(struct power_log *log, struct names *names)
{
    files_clear(power_root);
    qsort(names->entries, names->count, sizeof *names->entries, by_name); /* directories before what is in them */
    for (unsigned i = 0; i < names->count; i++) {
        const struct entry *e = &names->entries[i];
        char                path[PATH_MAX];
        int                 fd;

        if (!has_parent(names, e->name))
            continue;
        snprintf(path, sizeof path, "%s/%s", power_root, e->name);
        if (e->file < 0) {
            assert_int_equal(mkdir(path, 0770), 0);
            continue;
        }
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, log->now[e->file].data, log->now[e->file].len), log->now[e->file].len);
        close(fd);
    }
}

void power_build(struct power_log *log, size_t moment, struct power_choice *choice)
{
    static struct names names;
    static unsigned     changed[OPS_MAX];
    unsigned            changed_count = 0;
    int                 torn_file = -1;

    names.count = log->base_name_count;
    memcpy(names.entries, log->base_names, names.count * sizeof *names.entries);
    choice->tear_max = 0;
    for (int i = 0; i < log->files; i++) {
        log->pending_count[i] = 0;
        log->now[i].len = 0;
        grow(&log->now[i], log->base[i].len);
        if (log->base[i].len > 0)
            memcpy(log->now[i].data, log->base[i].data, log->base[i].len);
    }
    for (int i = 0; i < log->dir_count; i++) { /* those that were there at the start */
        bool made = log->dirs[i][0] == '\0';

        for (unsigned k = 0; k < log->count && !made; k++)
            made = log->ops[k].kind == OP_MKDIR && strcmp(log->ops[k].name, log->dirs[i]) == 0;
        if (!made) {
            memcpy(names.entries[names.count].name, log->dirs[i], NAME_SIZE);
            names.entries[names.count++].file = -1;
        }
    }
    for (unsigned i = 0; i < moment; i++) {
        const struct op *op = &log->ops[i];

        switch (op->kind) {
        case OP_WRITE:
        case OP_RESIZE:
            assert_true(log->pending_count[op->file] < PENDING_MAX);
            log->pending[op->file][log->pending_count[op->file]++] = i;
            break;
        case OP_SYNC:
        case OP_SYNC_FAILED:
            settle_file(log, op->file, op->kind == OP_SYNC, choice);
            break;
        case OP_CREATE:
        case OP_MKDIR:
        case OP_RENAME:
        case OP_UNLINK:
            changed[changed_count++] = i;
            break;
        case OP_SYNC_DIR:
            settle_dir(log, &names, changed, &changed_count, op->dir, choice);
            break;
        case OP_MARK:
            break;
        }
    }
    settle_dir(log, &names, changed, &changed_count, -1, choice);
    if (choice->how == POWER_TEAR && moment > 0 && log->ops[moment - 1].kind == OP_WRITE) {
        const struct op *op = &log->ops[moment - 1];

        torn_file = op->file;
        log->pending_count[torn_file]--;
        choice->tear_max = op->len;
        while (choice->tear_max > 0 && op->data[choice->tear_max - 1] == 0)
            choice->tear_max--; /* the zeros that fill a page */
    }
    for (int i = 0; i < log->files; i++)
        settle_file(log, i, false, choice);
    if (torn_file >= 0)
        apply(&log->now[torn_file], &log->ops[moment - 1], false, choice->tear, choice);
    write_out(log, &names);
}
