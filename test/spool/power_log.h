/* power_log.h: what power.c notes and power_disk.c reads. Names are paths below the root. */
#ifndef TACIT_TEST_SPOOL_POWER_LOG_H
#define TACIT_TEST_SPOOL_POWER_LOG_H

#include "power.h"

#include <sys/types.h>

enum { OPS_MAX = 4096, PENDING_MAX = 512, FILES_MAX = 512, DIRS_MAX = 16, NAME_SIZE = 200 };

enum op_kind {
    OP_WRITE,
    OP_RESIZE,
    OP_SYNC,
    OP_SYNC_FAILED,
    OP_CREATE,
    OP_MKDIR,
    OP_RENAME,
    OP_UNLINK,
    OP_SYNC_DIR,
    OP_MARK
};
struct op {
    enum op_kind kind;
    int          file, dir; /* indexes; -1: none */
    uint64_t     offset, len;
    char        *data;
    char         name[NAME_SIZE], to[NAME_SIZE];
    unsigned     what, from, until;
};
struct content {
    char    *data;
    uint64_t len, size;
};
struct entry {
    char name[NAME_SIZE];
    int  file; /* -1: a directory */
};
struct power_log {
    struct op      ops[OPS_MAX];
    unsigned       count, failed; /* failed: how many there were when the process died, or a sync failed */
    ino_t          inodes[FILES_MAX];
    struct content base[FILES_MAX], now[FILES_MAX];
    unsigned       pending[FILES_MAX][PENDING_MAX], pending_count[FILES_MAX];
    int            files;
    char           dirs[DIRS_MAX][NAME_SIZE];
    int            dir_count;
    struct entry   base_names[FILES_MAX];
    unsigned       base_name_count;
};

#endif
