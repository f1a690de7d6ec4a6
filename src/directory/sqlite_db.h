/* sqlite_db.h: an SQLite database as a directory wants it: opened, its tables brought up to date, its statements
 * prepared, and opened again where that is needed. Between sqlite_db.c and sqlite.c alone. */
#ifndef TACIT_DIRECTORY_SQLITE_DB_H
#define TACIT_DIRECTORY_SQLITE_DB_H

#include "directory/backend.h"

#include <sqlite3.h>
#include <sys/types.h>

enum { SQLITE_READ_WAIT_MS = 250 /* readers hardly ever wait; a keeper that stands still helps nobody */ };

enum statement {
    BEGIN_READ,
    BEGIN_WRITE,
    COMMIT,
    ROLLBACK,
    GET,
    EACH,
    EACH_OF,
    TARGETS,
    INSERT,
    UPDATE,
    DELETE,
    TARGETS_DELETE,
    TARGET_INSERT,
    STATEMENTS
};

/* Of GET, EACH and EACH_OF. */
enum column {
    C_ID,
    C_DOMAIN,
    C_LOCAL,
    C_KIND,
    C_DISABLED,
    C_CLOSED,
    C_SHOW,
    C_QUOTA,
    C_PASSWORD,
    C_OWNER,
    C_MOVED,
    C_TARGETS
};

struct sqlite_directory {
    struct directory base;
    char            *path;
    sqlite3         *db; /* NULL: could not be opened */
    dev_t            device;
    ino_t            inode;
    bool             broken; /* it failed in a way that another try on the same connection may not get over */
    sqlite3_stmt    *statements[STATEMENTS];
};

/* Says why, and remembers whether the connection is still good for anything. Returns false. */
bool sqlite_fail(struct sqlite_directory *s, int code, struct err *err);
/* SQLITE_ROW, SQLITE_DONE, or why not; resets the statement at its end. */
int  sqlite_db_step(sqlite3_stmt *st);
/* `wait_ms`: for another process that holds it. An empty database gets its tables only when `create`. */
bool sqlite_db_open(struct sqlite_directory *s, int wait_ms, bool create, struct err *err);
/* Opens it again if another file has taken its place, or this one failed: it may have been mended where it lies. */
bool sqlite_db_refresh(struct sqlite_directory *s, struct err *err);
void sqlite_db_close(struct sqlite_directory *s);

#endif
