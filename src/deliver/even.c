/* even.c: a new file in tmp/ for each, which then takes the place of the last one in new/: so the disk does not fill.
 *
 * Two cheaper ways were tried and measured (test/live/timing.py). A file that is written again and goes to and fro
 * between tmp/ and new/, overwritten or growing by a block each time, needs less of the file system's journal than a
 * new one, and the next message of the same client still told the two apart (AUC 0.61 to 0.67). Only making a new file
 * is like making a new file. Not the message itself is written: copies would lie about longer than it is kept. */
#include "deliver/even.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

static bool write_filler(int fd, uint64_t size)
{
    static const char filler[PIECE];
    bool              ok = true;

    for (; ok && size > 0; size -= size < PIECE ? size : PIECE)
        ok = io_fd_write_all(fd, str_of(filler, size < PIECE ? (size_t)size : PIECE), NULL);
    return ok;
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

/* Each thread has a name of its own, so what a process leaves that ends is used again by the next. */
static int create(const char *path, char ret_name[PATH_MAX])
{
    static atomic_uint            threads;
    static _Thread_local unsigned own;

    if (!own)
        own = atomic_fetch_add(&threads, 1) + 1;
    if (snprintf(ret_name, PATH_MAX, "%s/tmp/%u", path, own) >= PATH_MAX)
        return -1;
    return openat(AT_FDCWD, ret_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

void even_write(const char *path, uint64_t size)
{
    char name[PATH_MAX], dir[PATH_MAX], last[PATH_MAX];
    int  fd = create(path, name);

    if (fd < 0 && make_dirs(path))
        fd = create(path, name);
    if (fd < 0)
        return;
    if (write_filler(fd, size) && fsync(fd) == 0 && snprintf(dir, sizeof dir, "%s/new", path) < PATH_MAX &&
        snprintf(last, sizeof last, "%s/last", dir) < PATH_MAX && renameat(AT_FDCWD, name, AT_FDCWD, last) == 0)
        io_dir_sync(dir, NULL);
    else
        unlinkat(AT_FDCWD, name, 0);
    close(fd);
}
