/* even.c: a few files that go from tmp/ to new/ and back, one way each time. So every call costs what a delivery costs
 * (data, an entry that leaves one directory for another, two syncs), the disk does not fill, and nothing is removed.
 *
 * Rejected: a new file each time that takes the place of the one before, because removing a file costs the disk more
 * than making one and mailboxes are not emptied at that rate; and the message itself as the content, of which copies
 * would lie about longer than the message is kept. */
#include "deliver/even.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, KEEP = 1024 * 1024 /* octets of a file that stay for the next time */ };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t        taken; /* bits: files in use, of whatever path */
_Static_assert(EVEN_FILES == 32, "a bit for each");

/* -1: all are in use. */
static int file_take(void)
{
    int file = -1;

    pthread_mutex_lock(&lock);
    if (~taken) {
        file = __builtin_ctz(~taken);
        taken |= UINT32_C(1) << file;
    }
    pthread_mutex_unlock(&lock);
    return file;
}

static void file_give(int file)
{
    pthread_mutex_lock(&lock);
    taken &= ~(UINT32_C(1) << file);
    pthread_mutex_unlock(&lock);
}

static bool write_filler(int fd, uint64_t size)
{
    static const char filler[PIECE];
    bool              ok = true;

    for (; ok && size > 0; size -= size < PIECE ? size : PIECE)
        ok = io_fd_write_all(fd, str_of(filler, size < PIECE ? (size_t)size : PIECE), NULL);
    return ok;
}

/* Opens the file in `from`, or in the other directory if it lies there. */
static int file_open(const char *path, const char **from, const char **to, int file, char ret_name[PATH_MAX])
{
    for (int tries = 0; tries < 2; tries++) {
        const char *other = *to;
        int         fd;

        snprintf(ret_name, PATH_MAX, "%s/%s/%d", path, *from, file);
        fd = openat(AT_FDCWD, ret_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
            return fd;
        *to = *from;
        *from = other;
    }
    snprintf(ret_name, PATH_MAX, "%s/%s/%d", path, *from, file);
    return openat(AT_FDCWD, ret_name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* The directory and those above it, as deliveries make them; io_mkdirs also sets modes, which back may not. */
static bool make_dir(char *path)
{
    char *slash;
    bool  ok;

    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    slash = strrchr(path, '/');
    if (errno != ENOENT || !slash || slash == path)
        return false;
    *slash = 0;
    ok = make_dir(path);
    *slash = '/';
    return ok && (mkdir(path, 0700) == 0 || errno == EEXIST);
}

static bool make_dirs(const char *path)
{
    static const char *const parts[] = {"tmp", "new"};
    char                     at[PATH_MAX];

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (snprintf(at, sizeof at, "%s/%s", path, parts[i]) >= PATH_MAX || !make_dir(at))
            return false;
    return true;
}

static void work(const char *path, int file, uint64_t size)
{
    const char *from = "tmp", *to = "new";
    char        name[PATH_MAX], moved[PATH_MAX], dir[PATH_MAX];
    int         fd = file_open(path, &from, &to, file, name);

    if (fd < 0 && make_dirs(path))
        fd = file_open(path, &from, &to, file, name);
    if (fd < 0)
        return;
    if (snprintf(dir, sizeof dir, "%s/%s", path, to) < PATH_MAX &&
        snprintf(moved, sizeof moved, "%s/%d", dir, file) < PATH_MAX && write_filler(fd, size) && fsync(fd) == 0 &&
        renameat(AT_FDCWD, name, AT_FDCWD, moved) == 0)
        io_dir_sync(dir, NULL);
    if (size > KEEP && ftruncate(fd, 0) != 0)
        unlinkat(AT_FDCWD, moved, 0);
    close(fd);
}

void even_write(const char *path, uint64_t size)
{
    int file = file_take();

    if (file < 0)
        return;
    work(path, file, size);
    file_give(file);
}
