/* file.h: small files and directories, whole. All of it blocks: for start-up, commands and work threads. */
#ifndef TACIT_IO_FILE_H
#define TACIT_IO_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>
#include <sys/types.h>

/* Appends the whole file (or all of a descriptor from its present place) to `out`, whose ceiling is the limit: a file
 * that does not fit is ERR_LIMIT and leaves `out` as it was. */
bool io_file_read_all(const char *path, struct buf *out, struct err *err);
bool io_fd_read_all(int fd, const char *name_for_messages, struct buf *out, struct err *err);

/* The file is there with the old or the new content at every moment, also after a power cut: a temporary file beside it
 * is written and synced, renamed over it, and the directory synced. */
bool io_file_write_atomic(const char *path, mode_t mode, struct str data, struct err *err);

/* The same for a file that is there, which keeps its mode and, where root does it, its owner. */
bool io_file_replace(const char *path, struct str data, struct err *err);

/* Opens a new file of mode 0600, to write, with a random name beside `path`: for the caller to rename or to link.
 * -1: see errno. */
int io_file_beside(const char *path, char ret_name[PATH_MAX]);

/* All of data into fd, also when the system takes it in pieces. */
bool io_fd_write_all(int fd, struct str data, struct err *err);

/* Makes the directory and the missing ones above it, each with exactly `mode` (whatever the umask is); what exists is
 * left as it is, but must be a directory. */
bool io_mkdirs(const char *path, mode_t mode, struct err *err);
bool io_dir_sync(const char *path, struct err *err);

#endif
