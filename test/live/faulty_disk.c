/* faulty_disk.c: a program of its own, tacit-faulty, whose disk fails when a test says so.
 *
 * Before main, each of its processes maps the file named by TACIT_FAULTS, and puts calls of its own into the table of
 * spool/sys.h. The file is one line of three letters, which the test changes while the server runs:
 *
 *   which call   s: syncs  w: writes  c: files that are made  a: room that is allocated  r: renames  -: none
 *   how          I: EIO  S: ENOSPC  Q: EDQUOT  N: EINTR, every other time  H: in part (writes)
 *                W: it waits until something else is ordered, and is done then
 *   where        f: fronts  b: back  a: everywhere
 *
 * The map stays readable in a process that may open no file any more. A library in LD_PRELOAD was rejected: it has to
 * come before the sanitizer's, and the program's own table is there for this. */
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile char *order; /* three letters */
static char                 role;
static _Thread_local bool   again; /* EINTR was said: now it succeeds */

static bool fails(char call)
{
    char which = order[0], how = order[1], where = order[2];

    if (which != call || (where != 'a' && where != role) || (how == 'H' && call != 'w'))
        return false;
    if (how == 'W') {
        while (order[0] == call && order[1] == 'W')
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        return false;
    }
    again = how == 'N' && !again;
    errno = how == 'S' ? ENOSPC : how == 'Q' ? EDQUOT : how == 'N' ? EINTR : EIO;
    return how != 'N' || again;
}

static int bad_fdatasync(int fd) { return fails('s') ? -1 : fdatasync(fd); }
static int bad_fsync(int fd) { return fails('s') ? -1 : fsync(fd); }
static int bad_openat(int dirfd, const char *name, int flags, mode_t mode)
{
    return (flags & O_CREAT) && fails('c') ? -1 : openat(dirfd, name, flags, mode);
}
static int bad_fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fails('a') ? -1 : fallocate(fd, mode, offset, len);
}
static int bad_renameat(int a, const char *from, int b, const char *to)
{
    return fails('r') ? -1 : renameat(a, from, b, to);
}
/* Where there is no room, a part may have been written before that showed. */
static ssize_t bad_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    int          error;
    ssize_t      n = 0;
    struct iovec part;

    if (!fails('w'))
        return pwritev(fd, parts, count, offset);
    error = errno;
    while (count > 1 && parts->iov_len == 0)
        parts++, count--;
    part = (struct iovec){parts->iov_base, parts->iov_len > 1 ? parts->iov_len / 2 : parts->iov_len};
    if (order[1] == 'H' || error == ENOSPC || error == EDQUOT)
        n = pwritev(fd, &part, 1, offset);
    errno = error;
    return order[1] == 'H' ? n : -1;
}
static ssize_t bad_write(int fd, const void *data, size_t len)
{
    if (!fails('w'))
        return write(fd, data, len);
    return order[1] == 'H' ? write(fd, data, len > 1 ? len / 2 : len) : -1;
}

static char my_role(void)
{
    char    line[4096] = {0};
    int     fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, line, sizeof line - 1);

    close(fd);
    for (char *at = line; at < line + n; at += strlen(at) + 1)
        if (strcmp(at, "--role") == 0)
            return at[7]; /* the first letter of the next argument */
    return '-';
}

__attribute__((constructor)) static void begin(void)
{
    static struct spool_sys bad;
    const char             *path = getenv("TACIT_FAULTS");
    int                     fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void                   *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (map == MAP_FAILED)
        return;
    order = map;
    role = my_role();
    bad = spool_sys_real;
    bad.fdatasync = bad_fdatasync;
    bad.fsync = bad_fsync;
    bad.openat = bad_openat;
    bad.fallocate = bad_fallocate;
    bad.renameat = bad_renameat;
    bad.pwritev = bad_pwritev;
    bad.write = bad_write;
    spool_sys = &bad;
}
