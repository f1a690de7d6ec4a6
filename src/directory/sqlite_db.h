/* sqlite_db.h: an SQLite database as this layer wants it: opened, its tables brought up to date, its statements
 * prepared, and opened again where that is needed. What it holds is told by a schema. */
#ifndef TACIT_DIRECTORY_SQLITE_DB_H
#define TACIT_DIRECTORY_SQLITE_DB_H

#include "base/arena.h"
#include "base/err.h"

#include <sqlite3.h>
#include <sys/types.h>

enum {
    SQLITE_READ_WAIT_MS = 250, /* readers hardly ever wait; a keeper that stands still helps nobody */
    SQLITE_STATEMENTS_MAX = 16,
    SQLITE_MARK_DAMAGED = -1, /* in place of a version of the tables */
};

struct sqlite_schema {
    const char        *what; /* in messages: "directory" */
    int                application_id;
    const char *const *migrations; /* [n] leads from version n to n + 1; what was ever released is never changed */
    int                version;
    const char *const *statements;
    int                statement_count; /* SQLITE_STATEMENTS_MAX at most */
    const char        *pragmas;         /* beside those of all: how durable a change is */
    const char        *when_missing;    /* what to do, "; restore …"; also where it is empty */
    const char        *when_damaged;
};

struct sqlite_db {
    const struct sqlite_schema *schema;
    char                       *path;   /* the owner's */
    sqlite3                    *handle; /* NULL: could not be opened */
    dev_t                       device;
    ino_t                       inode;
    bool                        broken;  /* it failed in a way that another try may not get over */
    bool                        damaged; /* it cannot be read, and never will be as it is */
    sqlite3_stmt               *statements[SQLITE_STATEMENTS_MAX];
};

/* Says why, and remembers whether the connection is still good for anything. Returns false. */
bool sqlite_db_fail(struct sqlite_db *s, int code, struct err *err);
/* SQLITE_ROW, SQLITE_DONE, or why not; resets the statement at its end. */
int  sqlite_db_step(sqlite3_stmt *st);
/* A statement that gives no rows. */
bool sqlite_db_run(struct sqlite_db *s, unsigned statement, struct err *err);
void sqlite_db_roll_back(struct sqlite_db *s); /* if a transaction is open */
/* Whoever opens it from now on is told that it is damaged, also where damage is not met at once. */
void sqlite_db_mark_damaged(struct sqlite_db *s);
bool sqlite_db_exec(struct sqlite_db *s, const char *text, struct err *err);
/* The first column of the first row. */
bool sqlite_db_number(struct sqlite_db *s, const char *text, int64_t *ret_value, struct err *err);

/* A question with a part missing would be answered "absent": so each part is checked. */
bool       sqlite_bind(sqlite3_stmt *st, int place, struct str text);
/* Valid until the next step. data is NULL: no memory (or a value that is none, which the tables do not allow). */
struct str sqlite_text(sqlite3_stmt *st, int column);
struct str sqlite_text_copy(sqlite3_stmt *st, int column, struct arena *arena);

/* `wait_ms`: for another process that holds it. An empty database gets its tables only when `create`. */
bool sqlite_db_open(struct sqlite_db *s, int wait_ms, bool create, struct err *err);
/* Opens it again if another file has taken its place, or this one failed: it may have been mended where it lies. */
bool sqlite_db_refresh(struct sqlite_db *s, struct err *err);
void sqlite_db_close(struct sqlite_db *s);

#endif
