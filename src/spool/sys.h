/* sys.h: every system call that the spool, and delivery into a Maildir, make to change or read files, as a table.
 *
 * The table exists for the tests: they record the calls, let each of them fail in turn, and cut the power between
 * any two. In the program it always holds the real calls. The helpers below it repeat what was interrupted or done in
 * part, so that nobody else here has to think of EINTR and short counts. All return 0 or a count, or -1 with errno. */
#ifndef TACIT_SPOOL_SYS_H
#define TACIT_SPOOL_SYS_H

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

struct spool_sys {
    int (*openat)(int dirfd, const char *name, int flags, mode_t mode);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *st);
    int (*fstatat)(int dirfd, const char *name, struct stat *st, int flags);
    int (*fchmod)(int fd, mode_t mode);
    int (*flock)(int fd, int operation);
    ssize_t (*pread)(int fd, void *data, size_t len, off_t offset);
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int count, off_t offset);
    int (*fallocate)(int fd, int mode, off_t offset, off_t len);
    int (*ftruncate)(int fd, off_t len);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*renameat)(int from_dirfd, const char *from, int to_dirfd, const char *to);
    int (*unlinkat)(int dirfd, const char *name, int flags);
    int (*fstatvfs)(int fd, struct statvfs *st);
    int (*mkdirat)(int dirfd, const char *name, mode_t mode);
    ssize_t (*write)(int fd, const void *data, size_t len);
    struct dirent *(*readdir)(DIR *dir);
};

extern const struct spool_sys  spool_sys_real;
extern const struct spool_sys *spool_sys; /* changed by tests only, and only while nothing runs */

/* Repeats a call as long as signals interrupt it. */
#define SPOOL_UNINTERRUPTED(call)              \
    ({                                         \
        __typeof__(call) result_;              \
        do                                     \
            result_ = (call);                  \
        while (result_ < 0 && errno == EINTR); \
        result_;                               \
    })

/* A new file with exactly `mode`, whatever the umask is; fails where the name exists. For reading and writing. */
int            spool_create(int dirfd, const char *name, mode_t mode);
/* Opens what exists; `flags` as for open. */
int            spool_open(int dirfd, const char *name, int flags);
int            spool_close(int fd); /* keeps errno; nothing for -1 */
/* Up to `len` octets, fewer only at the end of the file. */
ssize_t        spool_read(int fd, void *data, size_t len, uint64_t offset);
/* All parts, or -1. The parts are used up. */
int            spool_write(int fd, struct iovec *parts, int count, uint64_t offset);
int            spool_allocate(int fd, uint64_t len); /* success too where the file system cannot preallocate */
int            spool_truncate(int fd, uint64_t len);
int            spool_sync_data(int fd);
int            spool_sync(int fd);
int            spool_rename(int dirfd, const char *from, const char *to); /* within the directory */
int            spool_unlink(int dirfd, const char *name);                 /* success too where nothing is there */
int            spool_stat(int fd, struct stat *st);
struct dirent *spool_readdir(DIR *dir); /* NULL with errno 0: no more */
int            spool_stat_space(int fd, struct statvfs *st);

#endif
