/* even.c: a new file in tmp/ for each, which then takes the place of the last one in new/: so the disk does not fill.
 *
 * Two cheaper ways were tried and measured (test/live/timing.py). A file that is written again and goes to and fro
 * between tmp/ and new/, overwritten or growing by a block each time, needs less of the file system's journal than a
 * new one, and the next message of the same client still told the two apart (AUC 0.61 to 0.67). Only making a new file
 * is like making a new file. Not the message itself is written: copies would lie about longer than it is kept. */
#include "deliver/even.h"

#include "deliver/maildir.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
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

    if (fd < 0 && maildir_make(path, NULL))
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
