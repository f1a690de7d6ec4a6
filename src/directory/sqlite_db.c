/* sqlite_db.c: opening a database, and opening it again.
 *
 * The file's identity is compared before each use: a database that was restored from a backup has another inode, and a
 * process that kept the old one open would answer from a file that is no longer there. Changes to the tables are
 * numbered steps, each made in one transaction; who finds another process at it waits. */
#include "directory/sqlite_db.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    VALUE_MAX = 1 << 16, /* octets of one value */
    APPLICATION_ID = 0x74616369,
};

/* migrations[n] leads from version n to n + 1. A version that was ever released is never changed. */
static const char *const migrations[] = {
    "CREATE TABLE entry ("
    " id INTEGER PRIMARY KEY,"
    " domain TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " local TEXT NOT NULL,"
    " kind TEXT NOT NULL CHECK (kind IN ('mailbox', 'alias', 'list', 'moved')),"
    " disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),"
    " closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),"
    " show_members INTEGER NOT NULL DEFAULT 0 CHECK (show_members IN (0, 1)),"
    " quota INTEGER NOT NULL DEFAULT 0 CHECK (quota >= 0),"
    " password TEXT NOT NULL DEFAULT '',"
    " owner TEXT NOT NULL DEFAULT '',"
    " moved TEXT NOT NULL DEFAULT '251' CHECK (moved IN ('251', '551', 'hide')),"
    " UNIQUE (domain, key)"
    ") STRICT;"
    "CREATE TABLE target ("
    " entry INTEGER NOT NULL REFERENCES entry (id) ON DELETE CASCADE,"
    " position INTEGER NOT NULL,"
    " address TEXT NOT NULL,"
    " PRIMARY KEY (entry, position)"
    ") STRICT, WITHOUT ROWID;",
};
enum { VERSION = sizeof migrations / sizeof *migrations };

#define COLUMNS                                                                                      \
    "SELECT id, domain, local, kind, disabled, closed, show_members, quota, password, owner, moved," \
    " (SELECT count(*) FROM target WHERE entry = entry.id) FROM entry "
static const char *const sql[STATEMENTS] = {
    [BEGIN_READ] = "BEGIN",
    [BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [GET] = COLUMNS "WHERE domain = ?1 AND key = ?2",
    [EACH] = COLUMNS "ORDER BY domain, key",
    [EACH_OF] = COLUMNS "WHERE domain = ?1 ORDER BY key",
    [TARGETS] = "SELECT address FROM target WHERE entry = ?1 ORDER BY position",
    [INSERT] = "INSERT INTO entry (domain, key, local, kind, disabled, closed, show_members, quota, password, owner,"
               " moved) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING RETURNING id",
    [UPDATE] = "UPDATE entry SET kind = ?4, disabled = ?5, closed = ?6, show_members = ?7, quota = ?8, password = ?9,"
               " owner = ?10, moved = ?11 WHERE domain = ?1 AND key = ?2 AND ?3 IS NOT NULL RETURNING id",
    [DELETE] = "DELETE FROM entry WHERE domain = ?1 AND key = ?2 RETURNING id",
    [TARGETS_DELETE] = "DELETE FROM target WHERE entry = ?1",
    [TARGET_INSERT] = "INSERT INTO target (entry, position, address) VALUES (?1, ?2, ?3)",
};

bool sqlite_fail(struct sqlite_directory *s, int code, struct err *err)
{
    enum err_class class = ERR_TEMPORARY;
    const char *remedy = "";

    s->broken = (code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        class = ERR_PERMANENT;
        remedy = "; the database is damaged or not one of tacit's: restore it from a backup";
        break;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
        class = ERR_LIMIT;
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        class = ERR_CONFIG;
        remedy = "; it and its directory must be writable for the user who runs this";
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        remedy = "; another process holds it";
        break;
    default:
        break;
    }
    err_set(err, class, "directory %s: %s%s", s->path, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code), remedy);
    if (err && s->db)
        err->os_error = (code & 0xff) == SQLITE_READONLY ? EACCES : sqlite3_system_errno(s->db);
    return false;
}

int sqlite_db_step(sqlite3_stmt *st)
{
    int code = sqlite3_step(st);

    if (code != SQLITE_ROW) {
        int again = sqlite3_reset(st);

        return code == SQLITE_DONE ? again == SQLITE_OK ? SQLITE_DONE : again : again ? again : code;
    }
    return code;
}

void sqlite_db_close(struct sqlite_directory *s)
{
    for (int i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
}

static bool exec(struct sqlite_directory *s, const char *text, struct err *err)
{
    int code = sqlite3_exec(s->db, text, NULL, NULL, NULL);

    return code == SQLITE_OK || sqlite_fail(s, code, err);
}

static bool pragma_get(struct sqlite_directory *s, const char *text, int64_t *ret_value, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int           code = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return code == SQLITE_ROW || sqlite_fail(s, code, err);
}

static bool schema_migrate(struct sqlite_directory *s, int64_t from, struct err *err)
{
    char text[128];

    for (int64_t v = from; v < VERSION; v++)
        if (!exec(s, migrations[v], err))
            return false;
    snprintf(text, sizeof text, "PRAGMA user_version = %d; PRAGMA application_id = %d", VERSION, APPLICATION_ID);
    return exec(s, text, err);
}

static bool schema_check(struct sqlite_directory *s, int64_t *ret_version, struct err *err)
{
    int64_t version, application, tables;

    if (!pragma_get(s, "PRAGMA user_version", &version, err) ||
        !pragma_get(s, "PRAGMA application_id", &application, err) ||
        !pragma_get(s, "SELECT count(*) FROM sqlite_schema", &tables, err))
        return false;
    if (application != (tables ? APPLICATION_ID : 0))
        return err_set(err, ERR_CONFIG, "directory %s: the database belongs to another program", s->path);
    if (version < 0 || version > VERSION)
        return err_set(err, ERR_CONFIG,
                       "directory %s: version %lld of its tables is newer than this tacit, which knows %d", s->path,
                       (long long)version, VERSION);
    *ret_version = version;
    return true;
}

/* Tables are made in a database that is empty only where one was asked for. While the server runs, an empty one means
 * that somebody lost it, and every mailbox would seem to be gone. */
static bool schema_is_expected(struct sqlite_directory *s, int64_t version, bool create, struct err *err)
{
    return version > 0 || create ||
           err_set(err, ERR_CONFIG,
                   "directory %s: the database is empty; restore it from a backup, or add a first address with "
                   "\"tacit user add\"",
                   s->path);
}

/* `begin` decides whether another process that does the same is waited for. */
static bool schema_try(struct sqlite_directory *s, const char *begin, bool migrate, int64_t *ret_version,
                       struct err *err)
{
    int64_t version = 0;

    if (!exec(s, begin, err))
        return false;
    if (schema_check(s, &version, err) && (!migrate || version == VERSION || schema_migrate(s, version, err)) &&
        exec(s, "COMMIT", err)) {
        *ret_version = version;
        return true;
    }
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool schema_update(struct sqlite_directory *s, bool create, struct err *err)
{
    int64_t version;

    return schema_try(s, "BEGIN", false, &version, err) && schema_is_expected(s, version, create, err) &&
           (version == VERSION || schema_try(s, "BEGIN IMMEDIATE", true, &version, err));
}

static bool prepare(struct sqlite_directory *s, struct err *err)
{
    for (int i = 0; i < STATEMENTS; i++) {
        int code = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);

        if (code != SQLITE_OK)
            return sqlite_fail(s, code, err);
    }
    return true;
}

/* Who closes last empties the log beside the database and leaves it, for the keeper may not remove files; and a log
 * that is empty harms nobody who puts another database in its place. */
bool sqlite_db_open(struct sqlite_directory *s, int wait_ms, bool create, struct err *err)
{
    struct stat st;
    int         code, stays = 1;

    s->broken = false;
    if (stat(s->path, &st) != 0)
        return directory_fail_open(s->path, errno, err);
    code = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        sqlite_fail(s, code, err);
        sqlite_db_close(s);
        return false;
    }
    s->device = st.st_dev;
    s->inode = st.st_ino;
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_PERSIST_WAL, &stays);
    sqlite3_busy_timeout(s->db, wait_ms);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    if (sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK)
        err_set(err, ERR_CONFIG, "directory %s: this SQLite is too old", s->path);
    else if (exec(s,
                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                  "PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 0;",
                  err) &&
             schema_update(s, create, err) && prepare(s, err)) {
        sqlite3_busy_timeout(s->db, SQLITE_READ_WAIT_MS);
        return true;
    }
    sqlite_db_close(s);
    return false;
}

bool sqlite_db_refresh(struct sqlite_directory *s, struct err *err)
{
    struct stat st;

    if (stat(s->path, &st) != 0)
        return directory_fail_open(s->path, errno, err);
    if (s->db && !s->broken && st.st_dev == s->device && st.st_ino == s->inode)
        return true;
    sqlite_db_close(s);
    return sqlite_db_open(s, SQLITE_READ_WAIT_MS, false, err);
}
