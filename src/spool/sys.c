/* sys.c: the real system calls, and the loops around them.
 *
 * A table of pointers was preferred to wrapping symbols at link time (-Wl,--wrap), which works for one test program
 * at a time and hides from the reader that calls can be replaced. */
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int real_openat(int dirfd, const char *name, int flags, mode_t mode) { return openat(dirfd, name, flags, mode); }

const struct spool_sys spool_sys_real = {
    .openat = real_openat,
    .close = close,
    .fstat = fstat,
    .fstatat = fstatat,
    .fchmod = fchmod,
    .flock = flock,
    .pread = pread,
    .pwritev = pwritev,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .renameat = renameat,
    .unlinkat = unlinkat,
    .fstatvfs = fstatvfs,
    .mkdirat = mkdirat,
    .write = write,
    .readdir = readdir,
};
const struct spool_sys *spool_sys = &spool_sys_real;

int spool_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        spool_sys->close(fd);
    errno = saved;
    return -1;
}

int spool_open(int dirfd, const char *name, int flags)
{
    int fd;

    do
        fd = spool_sys->openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int spool_create(int dirfd, const char *name, mode_t mode)
{
    int fd, result;

    do
        fd = spool_sys->openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -1;
    do
        result = spool_sys->fchmod(fd, mode);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return fd;
    spool_close(fd);
    spool_unlink(dirfd, name);
    return -1;
}

ssize_t spool_read(int fd, void *data, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = spool_sys->pread(fd, (char *)data + done, len - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int spool_write(int fd, struct iovec *parts, int count, uint64_t offset)
{
    for (;;) {
        ssize_t n;

        while (count > 0 && parts->iov_len == 0)
            parts++, count--;
        if (count == 0)
            return 0;
        n = spool_sys->pwritev(fd, parts, count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return -1;
        offset += (uint64_t)n;
        while (n > 0) {
            size_t step = (size_t)n < parts->iov_len ? (size_t)n : parts->iov_len;

            parts->iov_base = (char *)parts->iov_base + step;
            parts->iov_len -= step;
            n -= (ssize_t)step;
            if (parts->iov_len == 0)
                parts++, count--;
        }
    }
}

int spool_allocate(int fd, uint64_t len)
{
    int result = SPOOL_UNINTERRUPTED(spool_sys->fallocate(fd, 0, 0, (off_t)len));

    return result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) ? 0 : result;
}

int spool_truncate(int fd, uint64_t len) { return SPOOL_UNINTERRUPTED(spool_sys->ftruncate(fd, (off_t)len)); }
int spool_sync_data(int fd) { return SPOOL_UNINTERRUPTED(spool_sys->fdatasync(fd)); }
int spool_sync(int fd) { return SPOOL_UNINTERRUPTED(spool_sys->fsync(fd)); }
int spool_stat(int fd, struct stat *st) { return SPOOL_UNINTERRUPTED(spool_sys->fstat(fd, st)); }
int spool_stat_space(int fd, struct statvfs *st) { return SPOOL_UNINTERRUPTED(spool_sys->fstatvfs(fd, st)); }

int spool_rename(int dirfd, const char *from, const char *to)
{
    return SPOOL_UNINTERRUPTED(spool_sys->renameat(dirfd, from, dirfd, to));
}

int spool_unlink(int dirfd, const char *name)
{
    int saved = errno;

    if (SPOOL_UNINTERRUPTED(spool_sys->unlinkat(dirfd, name, 0)) != 0 && errno != ENOENT)
        return -1;
    errno = saved;
    return 0;
}

struct dirent *spool_readdir(DIR *dir)
{
    struct dirent *entry;

    do {
        errno = 0;
        entry = spool_sys->readdir(dir);
    } while (!entry && errno == EINTR);
    return entry;
}
