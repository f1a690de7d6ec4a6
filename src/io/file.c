/* file.c: small files and directories, whole. */
#include "io/file.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024 };

bool io_fd_read_all(int fd, const char *name_for_messages, struct buf *out, struct err *err)
{
    char       *piece;
    size_t      before = out->len;
    ssize_t     n;
    struct stat st;
    bool        fits = true;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return err_set_os(err, EISDIR, "%s", name_for_messages);
    piece = malloc(READ_SIZE);
    if (!piece)
        return err_set_os(err, ENOMEM, "%s", name_for_messages);
    do {
        n = read(fd, piece, READ_SIZE);
        if (n > 0)
            fits = buf_append(out, str_of(piece, (size_t)n));
    } while (fits && (n > 0 || (n < 0 && errno == EINTR)));
    free(piece);
    if (fits && n == 0)
        return true;
    if (n < 0)
        err_set_os(err, errno, "%s", name_for_messages);
    else
        err_set(err, ERR_LIMIT, "%s: larger than %zu octets", name_for_messages, out->max - before);
    out->failed = false;
    buf_cut(out, before);
    return false;
}

bool io_file_read_all(const char *path, struct buf *out, struct err *err)
{
    int  fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return err_set_os(err, errno, "%s", path);
    ok = io_fd_read_all(fd, path, out, err);
    close(fd);
    return ok;
}

bool io_fd_write_all(int fd, struct str data, struct err *err)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, errno, "write");
        data = str_skip(data, (size_t)n);
    }
    return true;
}

bool io_dir_sync(const char *path, struct err *err)
{
    int  fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return err_set_os(err, errno, "directory %s", path);
    ok = fsync(fd) == 0;
    if (!ok)
        err_set_os(err, errno, "directory %s", path);
    close(fd);
    return ok;
}

static bool sync_parent(const char *path, struct err *err)
{
    char        dir[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return io_dir_sync(".", err);
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return io_dir_sync(dir, err);
}

int io_file_beside(const char *path, char ret_name[PATH_MAX])
{
    uint64_t random;
    int      len;

    io_random(&random, sizeof random);
    len = snprintf(ret_name, PATH_MAX, "%s.%016llx.tmp", path, (unsigned long long)random);
    if (len < 0 || len >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/* `owner` (NULL: whoever we are) before the rename: who may read the old file must never find one that he may not. */
static bool write_atomic(const char *path, mode_t mode, const struct stat *owner, struct str data, struct err *err)
{
    char temporary[PATH_MAX];
    int  fd = io_file_beside(path, temporary);
    bool ok;

    if (fd < 0)
        return err_set_os(err, errno, "%.200s", path);
    ok = io_fd_write_all(fd, data, err);
    if (ok && ((owner && fchown(fd, owner->st_uid, owner->st_gid) != 0) || fchmod(fd, mode) != 0 || fsync(fd) != 0))
        ok = err_set_os(err, errno, "write");
    close(fd);
    if (ok && rename(temporary, path) != 0)
        ok = err_set_os(err, errno, "rename");
    if (!ok) {
        unlink(temporary);
        return err_prefix(err, "%s", path);
    }
    return sync_parent(path, err);
}

bool io_file_write_atomic(const char *path, mode_t mode, struct str data, struct err *err)
{
    return write_atomic(path, mode, NULL, data, err);
}

bool io_file_replace(const char *path, struct str data, struct err *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return err_set_os(err, errno, "%s", path);
    return write_atomic(path, st.st_mode & 07777, geteuid() == 0 ? &st : NULL, data, err);
}

/* mkdir would apply the umask. What it inherits of a directory that gives its group to all that is made in it (setgid)
 * stays: a lane's files are back's to read by that alone. */
static bool make_dir(const char *path, mode_t mode, struct err *err)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? true : err_set_os(err, ENOTDIR, "directory %s", path);
    if (mkdir(path, mode & 0700) != 0) {
        int os_error = errno;

        /* somebody else was faster */
        if (os_error == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return true;
        return err_set_os(err, os_error, "directory %s", path);
    }
    if (stat(path, &st) != 0 || chmod(path, mode | (st.st_mode & S_ISGID)) != 0)
        return err_set_os(err, errno, "directory %s", path);
    return true;
}

bool io_mkdirs(const char *path, mode_t mode, struct err *err)
{
    char at[PATH_MAX];
    int  len = snprintf(at, sizeof at, "%s", path);

    if (len < 0 || (size_t)len >= sizeof at)
        return err_set_os(err, ENAMETOOLONG, "directory %.200s", path);
    for (char *slash = at; (slash = strchr(slash + 1, '/'));) {
        bool ok;

        *slash = '\0';
        ok = make_dir(at, mode, err);
        *slash = '/';
        if (!ok)
            return false;
    }
    return make_dir(at, mode, err);
}
