/* harness.c: what the tests of the spool share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "files.h"
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool harness_on_disk;
char lane_dir_path[256];

int harness_begin(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    if (!base)
        base = !harness_on_disk && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(lane_dir_path, sizeof lane_dir_path, "%s/tacit-spool-XXXXXX", base);
    return mkdtemp(lane_dir_path) ? 0 : -1;
}

void harness_clear(void) { files_clear(lane_dir_path); }

int harness_end(void **state)
{
    (void)state;
    spool_sys = &spool_sys_real;
    harness_clear();
    return rmdir(lane_dir_path);
}

size_t payload_length(unsigned number) { return 16 + (number * 2654435761u >> 7) % 900; }

size_t payload_of(unsigned number, char *out, size_t size)
{
    size_t   len = payload_length(number);
    uint32_t x = number * 747796405u + 1;

    assert_true(len <= size);
    snprintf(out, size, "record %08u ", number);
    for (size_t i = 16; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (char)(x >> 24);
    }
    return len;
}

unsigned number_of(struct str payload)
{
    char     wanted[1024], text[9] = {0};
    unsigned number;
    size_t   len;

    assert_true(payload.len >= 16);
    memcpy(text, payload.data + 7, 8);
    number = (unsigned)strtoul(text, NULL, 10);
    len = payload_of(number, wanted, sizeof wanted);
    assert_int_equal(len, payload.len);
    assert_memory_equal(wanted, payload.data, len);
    return number;
}

bool append_number(struct lane_writer *w, unsigned number, bool more, struct lane_place *ret_place)
{
    char       text[1024];
    size_t     len = payload_of(number, text, sizeof text), half = len / 3;
    struct str parts[] = {str_of(text, half), STR_NONE, str_of(text + half, len - half)};

    return lane_append(w, (uint8_t)number, more ? LANE_MORE : 0, parts, 3, ret_place, NULL);
}

bool read_on(struct lane_reader *r, const struct lane_place *until, struct seen *seen, bool tolerant)
{
    for (;;) {
        struct lane_record record;
        struct err         err;

        switch (lane_read_next(r, until, &record, &err)) {
        case LANE_READ_RECORD:
            assert_true(seen->count < NUMBERS_MAX);
            seen->places[seen->count] = record.place;
            seen->numbers[seen->count] = number_of(record.payload);
            assert_int_equal(record.type, (uint8_t)seen->numbers[seen->count]);
            assert_true(lane_place_cmp(record.place, record.next) < 0);
            if (until)
                assert_true(lane_place_cmp(record.next, *until) <= 0);
            seen->count++;
            seen->open_group = record.more;
            break;
        case LANE_READ_DAMAGED:
            assert_int_equal(err.class, ERR_PERMANENT);
            seen->damages++;
            break;
        case LANE_READ_END:
            return true;
        case LANE_READ_FAILED:
            if (!tolerant)
                fail_msg("%s", err.text);
            return false;
        }
    }
}

void read_all(struct seen *seen)
{
    struct lane_reader *r = lane_reader_open(lane_dir_path, (struct lane_place){0, 0}, NULL);

    assert_non_null(r);
    memset(seen, 0, sizeof *seen);
    read_on(r, NULL, seen, false);
    lane_reader_close(r);
}

struct lane_writer *open_writer(uint64_t segment_size)
{
    struct err          err;
    struct lane_writer *w =
        lane_writer_open(lane_dir_path, &(struct lane_options){.segment_size = segment_size, .reserve = 1}, &err);

    if (!w)
        fail_msg("%s", err.text);
    return w;
}

static void path_of(const char *name, char *out, size_t size) { snprintf(out, size, "%s/%s", lane_dir_path, name); }

void read_file(const char *name, struct buf *out)
{
    char    path[512], piece[4096];
    int     fd;
    ssize_t n;

    path_of(name, path, sizeof path);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    buf_clear(out);
    while ((n = read(fd, piece, sizeof piece)) > 0)
        assert_true(buf_append(out, str_of(piece, (size_t)n)));
    close(fd);
}

void write_file(const char *name, struct str content)
{
    char path[512];
    int  fd;

    path_of(name, path, sizeof path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_true(fd >= 0);
    while (content.len > 0) {
        ssize_t n = write(fd, content.data, content.len);

        assert_true(n > 0);
        content = str_skip(content, (size_t)n);
    }
    close(fd);
}

unsigned files_named(const char *prefix) { return files_count(lane_dir_path, prefix); }

/* ---- system calls that fail ---- */

struct fault_plan fault_plan;

static bool hit(const char *call)
{
    static const int errors[] = {[FAULT_NONE] = 0,  [FAULT_ENOSPC] = ENOSPC, [FAULT_EIO] = EIO, [FAULT_EINTR] = EINTR,
                                 [FAULT_SHORT] = 0, [FAULT_EDQUOT] = EDQUOT, [FAULT_LATE] = EIO};

    fault_plan.calls++;
    if (fault_plan.kind == FAULT_NONE || fault_plan.calls < fault_plan.at ||
        fault_plan.calls - fault_plan.at >= fault_plan.count)
        return false;
    fault_plan.hits++;
    fault_plan.call = call;
    errno = errors[fault_plan.kind];
    return true;
}

/* Calls that do not do things in part ignore FAULT_SHORT. */
static bool fails(const char *call) { return hit(call) && fault_plan.kind != FAULT_SHORT; }

/* A call that changes names or sizes, which may have done so though it says no. */
#define CHANGE(name, call)                        \
    ({                                            \
        bool fails_ = fails(name);                \
        int  result_ = -1;                        \
                                                  \
        if (!fails_)                              \
            result_ = (call);                     \
        else if (fault_plan.kind == FAULT_LATE) { \
            (void)!(call);                        \
            errno = EIO;                          \
        }                                         \
        result_;                                  \
    })

static int f_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    return fails("openat") ? -1 : openat(dirfd, name, flags, mode);
}
static int     f_fstat(int fd, struct stat *st) { return fails("fstat") ? -1 : fstat(fd, st); }
static int     f_fchmod(int fd, mode_t mode) { return fails("fchmod") ? -1 : fchmod(fd, mode); }
static int     f_flock(int fd, int operation) { return fails("flock") ? -1 : spool_sys_real.flock(fd, operation); }
static ssize_t f_pread(int fd, void *data, size_t len, off_t offset)
{
    if (!hit("pread"))
        return pread(fd, data, len, offset);
    return fault_plan.kind == FAULT_SHORT ? pread(fd, data, len > 1 ? len / 2 : len, offset) : -1;
}
static ssize_t f_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    size_t len = 0, half;
    int    error;

    if (!hit("pwritev"))
        return pwritev(fd, parts, count, offset);
    if (fault_plan.kind == FAULT_EINTR)
        return -1;
    /* What fails may have been done in part. */
    error = errno;
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    half = len > 1 ? len / 2 : len;
    for (int i = 0; i < count && half > 0; i++) {
        size_t step = parts[i].iov_len < half ? parts[i].iov_len : half;

        assert_int_equal(pwrite(fd, parts[i].iov_base, step, offset), step);
        offset += (off_t)step;
        half -= step;
    }
    if (fault_plan.kind == FAULT_SHORT)
        return (ssize_t)(len > 1 ? len / 2 : len);
    errno = error;
    return -1;
}
static ssize_t f_write(int fd, const void *data, size_t len)
{
    ssize_t done;
    int     error;

    if (!hit("write"))
        return write(fd, data, len);
    if (fault_plan.kind == FAULT_EINTR)
        return -1;
    error = errno;
    done = write(fd, data, len > 1 ? len / 2 : len);
    errno = error;
    return fault_plan.kind == FAULT_SHORT ? done : -1;
}
static int f_fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fails("fallocate") ? -1 : fallocate(fd, mode, offset, len);
}
static int f_ftruncate(int fd, off_t len) { return CHANGE("ftruncate", ftruncate(fd, len)); }
static int f_fdatasync(int fd) { return (void)fd, fails("fdatasync") ? -1 : 0; }
static int f_fsync(int fd) { return (void)fd, fails("fsync") ? -1 : 0; }
static int f_renameat(int a, const char *from, int b, const char *to)
{
    return CHANGE("renameat", renameat(a, from, b, to));
}
static int f_unlinkat(int dirfd, const char *name, int flags)
{
    return CHANGE("unlinkat", unlinkat(dirfd, name, flags));
}
static int f_mkdirat(int dirfd, const char *name, mode_t mode) { return CHANGE("mkdirat", mkdirat(dirfd, name, mode)); }
static int f_fstatvfs(int fd, struct statvfs *st) { return fails("fstatvfs") ? -1 : fstatvfs(fd, st); }
static struct dirent *f_readdir(DIR *dir) { return fails("readdir") ? NULL : readdir(dir); }

void faults_begin(void)
{
    static const struct spool_sys failing = {
        .openat = f_openat,
        .close = close,
        .fstat = f_fstat,
        .fstatat = fstatat,
        .fchmod = f_fchmod,
        .flock = f_flock,
        .pread = f_pread,
        .pwritev = f_pwritev,
        .fallocate = f_fallocate,
        .ftruncate = f_ftruncate,
        .fdatasync = f_fdatasync,
        .fsync = f_fsync,
        .renameat = f_renameat,
        .unlinkat = f_unlinkat,
        .fstatvfs = f_fstatvfs,
        .mkdirat = f_mkdirat,
        .write = f_write,
        .readdir = f_readdir,
    };

    fault_plan = (struct fault_plan){0};
    spool_sys = &failing;
}

void faults_arm(enum fault kind, unsigned at, unsigned count)
{
    fault_plan = (struct fault_plan){.kind = kind, .at = at, .count = count};
}

void faults_end(void)
{
    spool_sys = &spool_sys_real;
    fault_plan = (struct fault_plan){0};
}
