/* The power is cut after every single change that a writer makes to the disk.
 *
 * A story is told once, with each write, sync, rename and unlink recorded. For each moment the disk is then built anew
 * as it may stand there: what was synced is kept; what was not is kept, lost, or kept in part, by sectors of 512 octets
 * and in any order; names in the directory are as of its last sync or later. From each of these disks the lane must
 * come back: everything that was reported as stored, in order and once; groups whole; nothing that was never appended;
 * and the next writer goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEGMENT = 16384, OPS_MAX = 2048, FILES_MAX = 256, SECTOR = 512, FILE_MAX = 1 << 20, VARIANTS = 6 };

/* Up to SYNC they speak of a file. */
enum op_kind {
    OP_CREATE,
    OP_WRITE,
    OP_RESIZE,
    OP_SYNC,
    OP_RENAME,
    OP_UNLINK,
    OP_SYNC_DIR,
    OP_STORED,
    OP_RELEASING,
    OP_RELEASED
};
struct op {
    enum op_kind kind;
    unsigned     file; /* index into files; for STORED, RELEASING and RELEASED: how far */
    uint64_t     offset, len;
    char        *data;
    char         name[LANE_NAME_SIZE], to[LANE_NAME_SIZE];
};
static struct op ops[OPS_MAX];
static unsigned  op_count, file_count;
static ino_t     inodes[FILES_MAX];

static struct op *record(enum op_kind kind)
{
    assert_true(op_count < OPS_MAX);
    ops[op_count] = (struct op){.kind = kind};
    return &ops[op_count++];
}

/* The file's index; the directory itself is -1. */
static int file_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode))
        return -1;
    for (unsigned i = file_count; i-- > 0;)
        if (inodes[i] == st.st_ino)
            return (int)i;
    assert_true(file_count < FILES_MAX);
    inodes[file_count] = st.st_ino;
    return (int)file_count++;
}

static int r_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    int fd = openat(dirfd, name, flags, mode);

    if (fd >= 0 && (flags & O_CREAT) && strcmp(name, "lock") != 0) {
        struct stat st;
        struct op  *op = record(OP_CREATE);

        /* An inode number may be used again: this is a new file in any case. */
        assert_int_equal(fstat(fd, &st), 0);
        assert_true(file_count < FILES_MAX);
        inodes[file_count] = st.st_ino;
        op->file = file_count++;
        snprintf(op->name, sizeof op->name, "%s", name);
    }
    return fd;
}

static ssize_t r_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct op *op = record(OP_WRITE);

    op->file = (unsigned)file_of(fd);
    op->offset = (uint64_t)offset;
    for (int i = 0; i < count; i++)
        op->len += parts[i].iov_len;
    op->data = malloc(op->len + 1);
    assert_non_null(op->data);
    op->len = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(op->data + op->len, parts[i].iov_base, parts[i].iov_len);
        op->len += parts[i].iov_len;
    }
    return pwritev(fd, parts, count, offset);
}

static int r_fallocate(int fd, int mode, off_t offset, off_t len)
{
    struct op *op = record(OP_RESIZE);

    op->file = (unsigned)file_of(fd);
    op->len = (uint64_t)(offset + len);
    return fallocate(fd, mode, offset, len);
}

static int r_ftruncate(int fd, off_t len)
{
    struct op *op = record(OP_RESIZE);

    op->file = (unsigned)file_of(fd);
    op->len = (uint64_t)len;
    return ftruncate(fd, len);
}

static int r_sync(int fd)
{
    struct stat st;
    int         file;

    assert_int_equal(fstat(fd, &st), 0);
    file = S_ISDIR(st.st_mode) ? -1 : file_of(fd);
    if (file < 0)
        record(OP_SYNC_DIR);
    else
        record(OP_SYNC)->file = (unsigned)file;
    return 0;
}

static int r_renameat(int a, const char *from, int b, const char *to)
{
    struct op *op = record(OP_RENAME);

    snprintf(op->name, sizeof op->name, "%s", from);
    snprintf(op->to, sizeof op->to, "%s", to);
    return renameat(a, from, b, to);
}

static int r_unlinkat(int dirfd, const char *name, int flags)
{
    struct op *op;

    if (faccessat(dirfd, name, F_OK, 0) != 0)
        return unlinkat(dirfd, name, flags);
    op = record(OP_UNLINK);
    memcpy(op->name, name, strnlen(name, sizeof op->name - 1)); /* the rest is zero */
    return unlinkat(dirfd, name, flags);
}

/* ---- the disk as it may stand ---- */

struct image { /* of a file */
    char    *durable, *now;
    uint64_t durable_len, now_len;
    unsigned pending[OPS_MAX];
    unsigned pending_count;
};
struct entry {
    char     name[LANE_NAME_SIZE];
    unsigned file;
};
struct names {
    struct entry entries[FILES_MAX];
    unsigned     count;
};
static struct image images[FILES_MAX];
static uint64_t     random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static void apply(char *content, uint64_t *len, const struct op *op, unsigned keep_in_16)
{
    if (op->kind == OP_RESIZE) {
        if (op->len > *len)
            memset(content + *len, 0, op->len - *len);
        if (keep_in_16 == 16 || next_random() % 16 < keep_in_16)
            *len = op->len;
        return;
    }
    assert_true(op->offset + op->len <= FILE_MAX);
    for (uint64_t at = 0; at < op->len;) {
        uint64_t step = SECTOR - (op->offset + at) % SECTOR;

        if (step > op->len - at)
            step = op->len - at;
        if (keep_in_16 == 16 || next_random() % 16 < keep_in_16) {
            if (op->offset + at > *len)
                memset(content + *len, 0, op->offset + at - *len);
            memcpy(content + op->offset + at, op->data + at, step);
            if (op->offset + at + step > *len)
                *len = op->offset + at + step;
        }
        at += step;
    }
}

static void change_names(struct names *n, const struct op *op)
{
    if (op->kind == OP_CREATE) {
        snprintf(n->entries[n->count].name, LANE_NAME_SIZE, "%s", op->name);
        n->entries[n->count++].file = op->file;
        return;
    }
    for (unsigned i = 0; i < n->count; i++) {
        if (strcmp(n->entries[i].name, op->name) != 0)
            continue;
        if (op->kind == OP_RENAME)
            snprintf(n->entries[i].name, LANE_NAME_SIZE, "%s", op->to);
        else
            n->entries[i] = n->entries[--n->count];
        return;
    }
    fail_msg("%s is not there", op->name);
}

/* Builds the directory as it may stand after the first `count` operations. Variant 0 loses all that was not synced, 1
 * keeps all, the others keep parts of it. */
static void build(unsigned count, unsigned variant)
{
    static struct names names;
    unsigned            changes[OPS_MAX], change_count = 0, kept;
    static const int    keep[VARIANTS] = {0, 16, 8, 14, 2, 8};

    names.count = 0;
    for (unsigned i = 0; i < file_count; i++)
        images[i].pending_count = 0, images[i].durable_len = 0;
    for (unsigned i = 0; i < count; i++) {
        struct op    *op = &ops[i];
        struct image *image = op->kind <= OP_SYNC ? &images[op->file] : NULL;

        switch (op->kind) {
        case OP_WRITE:
        case OP_RESIZE:
            image->pending[image->pending_count++] = i;
            break;
        case OP_SYNC:
            for (unsigned k = 0; k < image->pending_count; k++)
                apply(image->durable, &image->durable_len, &ops[image->pending[k]], 16);
            image->pending_count = 0;
            break;
        case OP_CREATE:
        case OP_RENAME:
        case OP_UNLINK:
            changes[change_count++] = i;
            break;
        case OP_SYNC_DIR:
            for (unsigned k = 0; k < change_count; k++)
                change_names(&names, &ops[changes[k]]);
            change_count = 0;
            break;
        case OP_STORED:
        case OP_RELEASING:
        case OP_RELEASED:
            break;
        }
    }
    kept = variant == 0 ? 0 : variant == 1 ? change_count : next_random() % (change_count + 1);
    for (unsigned k = 0; k < kept; k++)
        change_names(&names, &ops[changes[k]]);
    harness_clear();
    for (unsigned i = 0; i < names.count; i++) {
        struct image *image = &images[names.entries[i].file];

        memcpy(image->now, image->durable, image->durable_len);
        image->now_len = image->durable_len;
        for (unsigned k = 0; k < image->pending_count; k++)
            apply(image->now, &image->now_len, &ops[image->pending[k]], (unsigned)keep[variant]);
        write_file(names.entries[i].name, str_of(image->now, image->now_len));
    }
}

/* ---- the story ---- */

static struct lane_writer *w;
static unsigned            next_number, group_of[NUMBERS_MAX], group_size[NUMBERS_MAX], groups;

static void append_group(unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        group_of[next_number] = groups;
        assert_true(append_number(w, next_number++, i + 1 < size, NULL));
    }
    group_size[groups++] = size;
}

static void commit(void)
{
    struct lane_batch *b = lane_batch_begin(w);

    assert_non_null(b);
    assert_true(lane_batch_write(b, NULL));
    record(OP_STORED)->file = next_number;
    lane_batch_end(b, NULL);
}

static void tell(void)
{
    static struct seen before;

    for (unsigned round = 0; round < 3; round++) {
        uint64_t newest;

        w = open_writer(SEGMENT);
        for (unsigned i = 0; i < 12; i++) {
            append_group(1);
            if (i % 3 == 0)
                append_group(4);
            if (i % 2)
                commit();
        }
        for (unsigned i = 0; i < 25; i++) /* one batch over several segments */
            append_group(1 + i % 3);
        commit();
        if (lane_wants_spare(w))
            assert_true(lane_prepare_spare(w, NULL));
        append_group(2);
        commit();

        read_all(&before);
        newest = lane_writer_committed(w).seq;
        for (size_t i = 0; i < before.count; i++)
            if (before.places[i].seq < newest && (i == 0 || before.places[i].seq != before.places[i - 1].seq)) {
                size_t last = i;

                while (before.places[last].seq == before.places[i].seq)
                    last++;
                record(OP_RELEASING)->file = before.numbers[last - 1] + 1;
                assert_true(lane_release(lane_dir_path, before.places[i].seq, NULL));
                record(OP_RELEASED)->file = before.numbers[last - 1] + 1;
            }
        for (unsigned i = 0; i < 30; i++) {
            append_group(1);
            if (i % 5 == 4)
                commit();
        }
        lane_writer_close(w);
    }
}

static void check(unsigned count)
{
    static struct seen raw, after;
    unsigned           stored = 0, releasing = 0, released = 0, expected, at;

    for (unsigned i = 0; i < count; i++) {
        stored = ops[i].kind == OP_STORED ? ops[i].file : stored;
        releasing = ops[i].kind == OP_RELEASING ? ops[i].file : releasing;
        released = ops[i].kind == OP_RELEASED ? ops[i].file : released;
    }
    read_all(&raw);
    for (size_t i = 0; i < raw.count; i++) {
        unsigned number = raw.numbers[i], before = 0;

        assert_true(number < next_number);
        assert_true(number >= released); /* what is gone stays gone */
        if (i > 0)
            assert_true(number > raw.numbers[i - 1]); /* in order, and so once */
        /* whole groups */
        for (size_t k = 0; k < raw.count; k++)
            before += group_of[raw.numbers[k]] == group_of[number];
        assert_int_equal(before, group_size[group_of[number]]);
    }
    /* Everything that was stored and not released. */
    for (at = 0, expected = releasing; expected < stored; at++) {
        assert_true(at < raw.count);
        if (raw.numbers[at] < releasing)
            continue;
        assert_int_equal(raw.numbers[at], expected);
        expected++;
    }
    /* The next writer agrees, goes on, and so does the one after it. */
    for (unsigned i = 1; i <= 2; i++) {
        w = open_writer(SEGMENT);
        assert_true(append_number(w, 3000 + i, false, NULL));
        assert_true(lane_commit(w, NULL));
        lane_writer_close(w);
        read_all(&after);
        assert_int_equal(after.count, raw.count + i);
        assert_int_equal(after.damages, raw.damages);
        assert_memory_equal(after.numbers, raw.numbers, raw.count * sizeof *raw.numbers);
        assert_int_equal(after.numbers[after.count - 1], 3000 + i);
    }
}

static void test_power_cut_anywhere(void **state)
{
    struct spool_sys recording = spool_sys_real;

    (void)state;
    recording.openat = r_openat;
    recording.pwritev = r_pwritev;
    recording.fallocate = r_fallocate;
    recording.ftruncate = r_ftruncate;
    recording.fdatasync = recording.fsync = r_sync;
    recording.renameat = r_renameat;
    recording.unlinkat = r_unlinkat;
    spool_sys = &recording;
    tell();
    assert_true(op_count > 150);
    assert_true(next_number < 3000);

    for (unsigned i = 0; i < file_count; i++) {
        images[i].durable = malloc(FILE_MAX);
        images[i].now = malloc(FILE_MAX);
        assert_true(images[i].durable && images[i].now);
    }
    faults_begin(); /* without real syncs */
    for (unsigned count = 0; count <= op_count; count++)
        for (unsigned variant = 0; variant < VARIANTS; variant++) {
            random_state = count * 977u + variant;
            build(count, variant);
            check(count);
        }
    for (unsigned i = 0; i < file_count; i++) {
        free(images[i].durable);
        free(images[i].now);
    }
    for (unsigned i = 0; i < op_count; i++)
        free(ops[i].data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_cut_anywhere, harness_begin, harness_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
