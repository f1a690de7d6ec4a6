/* sqlite_db.c: opening a database, and opening it again.
 *
 * The file's identity is compared before each use: a database that was restored from a backup has another inode, and a
 * process that kept the old one open would answer from a file that is no longer there. Changes to the tables are
 * numbered steps, each made in one transaction; who finds another process at it waits. */
#include "directory/sqlite_db.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum { VALUE_MAX = 1 << 16 /* octets of one value */ };

static bool code_is_damage(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR:
        return true;
    default:
        return false;
    }
}

bool sqlite_db_fail(struct sqlite_db *s, int code, struct err *err)
{
    enum err_class class = ERR_TEMPORARY;
    const char *remedy = "";

    s->broken = (code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED;
    s->damaged = code_is_damage(code);
    if (s->damaged) {
        class = ERR_PERMANENT;
        remedy = s->schema->when_damaged;
    }
    switch (code & 0xff) {
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
    err_set(err, class, "%s %s: %s%s", s->schema->what, s->path,
            s->handle ? sqlite3_errmsg(s->handle) : sqlite3_errstr(code), remedy);
    if (err && s->handle)
        err->os_error = (code & 0xff) == SQLITE_READONLY ? EACCES : sqlite3_system_errno(s->handle);
    return false;
}

static bool fail_stat(const struct sqlite_db *s, int os_error, struct err *err)
{
    struct err why;

    err_set_os(&why, os_error, "%s %s", s->schema->what, s->path);
    if (err) {
        *err = why;
        snprintf(err->text, sizeof err->text, "%s%s", why.text, os_error == ENOENT ? s->schema->when_missing : "");
    }
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

bool sqlite_db_run(struct sqlite_db *s, unsigned statement, struct err *err)
{
    int code = sqlite_db_step(s->statements[statement]);

    return code == SQLITE_DONE || sqlite_db_fail(s, code, err);
}

void sqlite_db_roll_back(struct sqlite_db *s)
{
    if (s->handle && !sqlite3_get_autocommit(s->handle))
        (void)sqlite3_exec(s->handle, "ROLLBACK", NULL, NULL, NULL);
}

void sqlite_db_mark_damaged(struct sqlite_db *s)
{
    char text[64];

    snprintf(text, sizeof text, "PRAGMA user_version = %d", SQLITE_MARK_DAMAGED);
    sqlite_db_roll_back(s);
    if (s->handle)
        (void)sqlite3_exec(s->handle, text, NULL, NULL, NULL); /* where that fails too, it is seen without a mark */
}

bool sqlite_bind(sqlite3_stmt *st, int place, struct str text)
{
    return SQLITE_OK ==
           sqlite3_bind_text64(st, place, text.data ? text.data : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

struct str sqlite_text(sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);

    return text ? str_of(text, (size_t)sqlite3_column_bytes(st, column)) : STR_NONE;
}

struct str sqlite_text_copy(sqlite3_stmt *st, int column, struct arena *arena)
{
    struct str text = sqlite_text(st, column);

    return text.data ? arena_str(arena, text) : text;
}

void sqlite_db_close(struct sqlite_db *s)
{
    for (int i = 0; i < SQLITE_STATEMENTS_MAX; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    sqlite3_close(s->handle);
    s->handle = NULL;
}

bool sqlite_db_exec(struct sqlite_db *s, const char *text, struct err *err)
{
    int code = sqlite3_exec(s->handle, text, NULL, NULL, NULL);

    return code == SQLITE_OK || sqlite_db_fail(s, code, err);
}

bool sqlite_db_number(struct sqlite_db *s, const char *text, int64_t *ret_value, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int           code = sqlite3_prepare_v2(s->handle, text, -1, &st, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return code == SQLITE_ROW || sqlite_db_fail(s, code, err);
}

static bool schema_migrate(struct sqlite_db *s, int64_t from, struct err *err)
{
    char text[128];

    for (int64_t v = from; v < s->schema->version; v++)
        if (!sqlite_db_exec(s, s->schema->migrations[v], err))
            return false;
    snprintf(text, sizeof text, "PRAGMA user_version = %d; PRAGMA application_id = %d", s->schema->version,
             s->schema->application_id);
    return sqlite_db_exec(s, text, err);
}

static bool schema_check(struct sqlite_db *s, int64_t *ret_version, struct err *err)
{
    int64_t version, application, tables;

    if (!sqlite_db_number(s, "PRAGMA user_version", &version, err) ||
        !sqlite_db_number(s, "PRAGMA application_id", &application, err) ||
        !sqlite_db_number(s, "SELECT count(*) FROM sqlite_schema", &tables, err))
        return false;
    if (application != (tables ? s->schema->application_id : 0))
        return err_set(err, ERR_CONFIG, "%s %s: the database belongs to another program", s->schema->what, s->path);
    if (version == SQLITE_MARK_DAMAGED) {
        s->damaged = true;
        return err_set(err, ERR_PERMANENT, "%s %s: damage was found in it%s", s->schema->what, s->path,
                       s->schema->when_damaged);
    }
    if (version < 0 || version > s->schema->version)
        return err_set(err, ERR_CONFIG, "%s %s: version %lld of its tables is newer than this tacit, which knows %d",
                       s->schema->what, s->path, (long long)version, s->schema->version);
    *ret_version = version;
    return true;
}

/* Tables are made in a database that is empty only where one was asked for. While the server runs, an empty one means
 * that somebody lost it, and every mailbox would seem to be gone. */
static bool schema_is_expected(struct sqlite_db *s, int64_t version, bool create, struct err *err)
{
    return version > 0 || create ||
           err_set(err, ERR_CONFIG, "%s %s: the database is empty%s", s->schema->what, s->path,
                   s->schema->when_missing);
}

/* `begin` decides whether another process that does the same is waited for. */
static bool schema_try(struct sqlite_db *s, const char *begin, bool migrate, int64_t *ret_version, struct err *err)
{
    int64_t version = 0;

    if (!sqlite_db_exec(s, begin, err))
        return false;
    if (schema_check(s, &version, err) &&
        (!migrate || version == s->schema->version || schema_migrate(s, version, err)) &&
        sqlite_db_exec(s, "COMMIT", err)) {
        *ret_version = version;
        return true;
    }
    sqlite3_exec(s->handle, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool schema_update(struct sqlite_db *s, bool create, struct err *err)
{
    int64_t version;

    return schema_try(s, "BEGIN", false, &version, err) && schema_is_expected(s, version, create, err) &&
           (version == s->schema->version || schema_try(s, "BEGIN IMMEDIATE", true, &version, err));
}

static bool prepare(struct sqlite_db *s, struct err *err)
{
    for (int i = 0; i < s->schema->statement_count; i++) {
        int code = sqlite3_prepare_v3(s->handle, s->schema->statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &s->statements[i], NULL);

        if (code != SQLITE_OK)
            return sqlite_db_fail(s, code, err);
    }
    return true;
}

/* Who closes last empties the log beside the database and leaves it, for the keeper may not remove files; and a log
 * that is empty harms nobody who puts another database in its place. */
bool sqlite_db_open(struct sqlite_db *s, int wait_ms, bool create, struct err *err)
{
    struct stat st;
    int         code, stays = 1;

    s->broken = s->damaged = false;
    if (stat(s->path, &st) != 0)
        return fail_stat(s, errno, err);
    code = sqlite3_open_v2(s->path, &s->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        sqlite_db_fail(s, code, err);
        sqlite_db_close(s);
        return false;
    }
    s->device = st.st_dev;
    s->inode = st.st_ino;
    sqlite3_extended_result_codes(s->handle, 1);
    sqlite3_file_control(s->handle, NULL, SQLITE_FCNTL_PERSIST_WAL, &stays);
    sqlite3_busy_timeout(s->handle, wait_ms);
    sqlite3_limit(s->handle, SQLITE_LIMIT_LENGTH, VALUE_MAX);
    sqlite3_limit(s->handle, SQLITE_LIMIT_ATTACHED, 0);
    if (sqlite3_db_config(s->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_db_config(s->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) != SQLITE_OK)
        err_set(err, ERR_CONFIG, "%s %s: this SQLite is too old", s->schema->what, s->path);
    else if (sqlite_db_exec(s, "PRAGMA journal_mode = WAL; PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 0;",
                            err) &&
             sqlite_db_exec(s, s->schema->pragmas, err) && schema_update(s, create, err) && prepare(s, err)) {
        sqlite3_busy_timeout(s->handle, SQLITE_READ_WAIT_MS);
        return true;
    }
    sqlite_db_close(s);
    return false;
}

bool sqlite_db_refresh(struct sqlite_db *s, struct err *err)
{
    struct stat st;

    if (stat(s->path, &st) != 0)
        return fail_stat(s, errno, err);
    if (s->handle && !s->broken && st.st_dev == s->device && st.st_ino == s->inode)
        return true;
    sqlite_db_close(s);
    return sqlite_db_open(s, SQLITE_READ_WAIT_MS, false, err);
}
