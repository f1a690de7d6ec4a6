/* sqlite.c: a directory in an SQLite database.
 *
 * Write-ahead log, so that the keeper reads what was last committed while a command changes it, and neither waits for
 * the other. Changes begin with BEGIN IMMEDIATE: who finds another writer waits for it instead of failing half-way. An
 * entry and its targets are read in one transaction. What stands in the file is not trusted further than its types:
 * directory.c checks every entry, and the schema may run no code (trusted_schema, defensive mode).
 *
 * The file's identity is compared before each use: a database that was restored from a backup has another inode, and a
 * process that kept the old one open would answer from a file that is no longer there.
 *
 * Rejected: caching entries in the keeper. A look-up takes some ten microseconds, and a cache would have to be told of
 * every change by processes that the keeper does not know. */
#include "directory/backend.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    READ_WAIT_MS = 250,  /* readers hardly ever wait; a keeper that stands still helps nobody */
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

#define COLUMNS                                                                                      \
    "SELECT id, domain, local, kind, disabled, closed, show_members, quota, password, owner, moved," \
    " (SELECT count(*) FROM target WHERE entry = entry.id) FROM entry "
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

struct sqlite_directory {
    struct directory base;
    char            *path;
    sqlite3         *db; /* NULL: could not be opened again */
    dev_t            device;
    ino_t            inode;
    bool             broken; /* it failed in a way that another try on the same connection may not get over */
    sqlite3_stmt    *statements[STATEMENTS];
};

static bool fail(struct sqlite_directory *s, int code, struct err *err)
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

static int step(sqlite3_stmt *st)
{
    int code = sqlite3_step(st);

    if (code != SQLITE_ROW) {
        int again = sqlite3_reset(st);

        return code == SQLITE_DONE ? again == SQLITE_OK ? SQLITE_DONE : again : again ? again : code;
    }
    return code;
}

static bool run(struct sqlite_directory *s, enum statement which, struct err *err)
{
    int code = step(s->statements[which]);

    return code == SQLITE_DONE || fail(s, code, err);
}

static void roll_back(struct sqlite_directory *s)
{
    if (s->db && !sqlite3_get_autocommit(s->db))
        (void)step(s->statements[ROLLBACK]);
}

/* ---- opening ---- */

static void close_db(struct sqlite_directory *s)
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

    return code == SQLITE_OK || fail(s, code, err);
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
    return code == SQLITE_ROW || fail(s, code, err);
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
            return fail(s, code, err);
    }
    return true;
}

/* Who closes last empties the log beside the database and leaves it, for the keeper may not remove files; and a log
 * that is empty harms nobody who puts another database in its place. */
static bool open_db(struct sqlite_directory *s, int wait_ms, bool create, struct err *err)
{
    struct stat st;
    int         code, stays = 1;

    s->broken = false;
    if (stat(s->path, &st) != 0)
        return directory_fail_open(s->path, errno, err);
    code = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        fail(s, code, err);
        close_db(s);
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
        sqlite3_busy_timeout(s->db, READ_WAIT_MS);
        return true;
    }
    close_db(s);
    return false;
}

/* Opens it again if another file has taken its place, or this one failed: it may have been mended where it lies. */
static bool refresh(struct sqlite_directory *s, struct err *err)
{
    struct stat st;

    if (stat(s->path, &st) != 0)
        return directory_fail_open(s->path, errno, err);
    if (s->db && !s->broken && st.st_dev == s->device && st.st_ino == s->inode)
        return true;
    close_db(s);
    return open_db(s, READ_WAIT_MS, false, err);
}

static void sqlite_close(struct directory *d)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;

    close_db(s);
    free(s->path);
    free(s);
}

static struct directory *sqlite_open(const char *path, unsigned flags, struct err *err)
{
    struct sqlite_directory *s = calloc(1, sizeof *s);
    bool                     create = flags & DIRECTORY_CREATE, patient = flags & DIRECTORY_PATIENT;

    if (!s || !(s->path = strdup(path))) {
        err_set_os(err, ENOMEM, "directory %s", path);
        free(s);
        return NULL;
    }
    s->base.backend = &directory_sqlite;
    if (((create && !directory_file_create(path, err)) ||
         !open_db(s, patient ? READ_WAIT_MS : DIRECTORY_WAIT_MS, create, err)) &&
        !patient) {
        sqlite_close(&s->base);
        return NULL;
    }
    return &s->base;
}

/* ---- reading ---- */

static bool no_memory(const struct sqlite_directory *s, struct err *err)
{
    return err_set(err, ERR_LIMIT, "directory %s: an entry needs more memory than one look-up may take", s->path);
}

static bool bad_row(const struct sqlite_directory *s, struct err *err)
{
    return err_set(err, ERR_PERMANENT, "directory %s: an entry has values that tacit never writes", s->path);
}

/* data is NULL: no memory (or a value that is none, which the tables do not allow). */
static struct str column_text(sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);

    return text ? str_of(text, (size_t)sqlite3_column_bytes(st, column)) : STR_NONE;
}

static struct str column_copy(sqlite3_stmt *st, int column, struct arena *arena)
{
    struct str text = column_text(st, column);

    return text.data ? arena_str(arena, text) : text;
}

static bool read_targets(struct sqlite_directory *s, int64_t id, size_t count, struct arena *arena,
                         struct directory_entry *entry, struct err *err)
{
    sqlite3_stmt *st = s->statements[TARGETS];
    int           code;

    entry->targets = NULL;
    entry->target_count = 0;
    if (!count)
        return true;
    if (!(entry->targets = arena_alloc(arena, count * sizeof *entry->targets)))
        return no_memory(s, err);
    code = sqlite3_bind_int64(st, 1, id);
    while (code != SQLITE_NOMEM && (code = step(st)) == SQLITE_ROW) {
        struct str address = column_copy(st, 0, arena);

        if (!address.data || entry->target_count == count) {
            sqlite3_reset(st);
            return address.data ? bad_row(s, err) : no_memory(s, err);
        }
        entry->targets[entry->target_count++] = address;
    }
    if (code != SQLITE_DONE)
        return fail(s, code, err);
    return entry->target_count == count || bad_row(s, err);
}

static bool read_entry(struct sqlite_directory *s, sqlite3_stmt *st, struct arena *arena,
                       struct directory_entry *ret_entry, struct err *err)
{
    int64_t                quota = sqlite3_column_int64(st, C_QUOTA), targets = sqlite3_column_int64(st, C_TARGETS);
    struct directory_entry e = {
        .local = column_copy(st, C_LOCAL, arena),
        .domain = column_copy(st, C_DOMAIN, arena),
        .disabled = sqlite3_column_int(st, C_DISABLED) != 0,
        .closed = sqlite3_column_int(st, C_CLOSED) != 0,
        .show_members = sqlite3_column_int(st, C_SHOW) != 0,
        .password = column_copy(st, C_PASSWORD, arena),
        .owner = column_copy(st, C_OWNER, arena),
    };

    if (!e.local.data || !e.domain.data || !e.password.data || !e.owner.data)
        return no_memory(s, err);
    if (!directory_kind_parse(column_text(st, C_KIND), &e.kind) ||
        !directory_moved_parse(column_text(st, C_MOVED), &e.moved) || quota < 0 || targets > DIRECTORY_TARGETS_MAX)
        return bad_row(s, err);
    e.quota = (uint64_t)quota;
    if (!read_targets(s, sqlite3_column_int64(st, C_ID), (size_t)targets, arena, &e, err))
        return false;
    *ret_entry = e;
    return true;
}

/* A question with a part missing would be answered "absent": so each part is checked. */
static bool bind_text(sqlite3_stmt *st, int place, struct str text)
{
    return SQLITE_OK ==
           sqlite3_bind_text64(st, place, text.data ? text.data : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static enum directory_find sqlite_get(struct directory *d, struct str key, struct str domain, struct arena *arena,
                                      struct directory_entry *ret_entry, struct err *err)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;
    enum directory_find      found = DIRECTORY_FAILED;
    sqlite3_stmt            *st;
    int                      code;

    if (!refresh(s, err) || !run(s, BEGIN_READ, err))
        return DIRECTORY_FAILED;
    st = s->statements[GET];
    code = bind_text(st, 1, domain) && bind_text(st, 2, key) ? step(st) : SQLITE_NOMEM;
    if (code == SQLITE_ROW)
        found = read_entry(s, st, arena, ret_entry, err) ? DIRECTORY_FOUND : DIRECTORY_FAILED;
    else if (code == SQLITE_DONE)
        found = DIRECTORY_ABSENT;
    else
        fail(s, code, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    roll_back(s);
    return found;
}

static bool sqlite_each(struct directory *d, struct str                                     domain,
                        bool (*each)(const struct directory_entry *entry, void *arg), void *arg, struct err *err)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;
    struct directory_entry   entry;
    struct arena             arena;
    sqlite3_stmt            *st;
    bool                     ok = true;
    int                      code;

    if (!refresh(s, err) || !run(s, BEGIN_READ, err))
        return false;
    st = s->statements[domain.len ? EACH_OF : EACH];
    arena_init(&arena, 4096, DIRECTORY_ENTRY_MEMORY);
    code = !domain.len || bind_text(st, 1, domain) ? SQLITE_OK : SQLITE_NOMEM;
    while (code != SQLITE_NOMEM && (code = step(st)) == SQLITE_ROW) {
        ok = read_entry(s, st, &arena, &entry, err);
        if (!ok || !each(&entry, arg))
            break;
        arena_reset(&arena);
    }
    arena_done(&arena);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        ok = fail(s, code, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    roll_back(s);
    return ok;
}

/* ---- changing ---- */

static bool write_targets(struct sqlite_directory *s, int64_t id, const struct directory_entry *entry, struct err *err)
{
    sqlite3_stmt *st = s->statements[TARGET_INSERT];

    sqlite3_bind_int64(s->statements[TARGETS_DELETE], 1, id);
    if (!run(s, TARGETS_DELETE, err))
        return false;
    for (size_t i = 0; i < entry->target_count; i++) {
        bool ok;

        sqlite3_bind_int64(st, 1, id);
        sqlite3_bind_int64(st, 2, (int64_t)i);
        ok = bind_text(st, 3, entry->targets[i]) ? run(s, TARGET_INSERT, err) : fail(s, SQLITE_NOMEM, err);
        sqlite3_clear_bindings(st);
        if (!ok)
            return false;
    }
    return true;
}

/* The row's id, or 0 if the statement touched none. */
static bool write_entry(struct sqlite_directory *s, enum statement which, struct str key,
                        const struct directory_entry *entry, int64_t *ret_id, struct err *err)
{
    sqlite3_stmt *st = s->statements[which];
    int64_t       id = 0;
    int           code;
    bool          ok = bind_text(st, 1, entry->domain) && bind_text(st, 2, key);

    if (ok && which != DELETE) {
        ok = bind_text(st, 3, entry->local) && bind_text(st, 4, str_from(directory_kind_name(entry->kind))) &&
             bind_text(st, 9, entry->password) && bind_text(st, 10, entry->owner) &&
             bind_text(st, 11, str_from(directory_moved_name(entry->moved)));
        sqlite3_bind_int(st, 5, entry->disabled);
        sqlite3_bind_int(st, 6, entry->closed);
        sqlite3_bind_int(st, 7, entry->show_members);
        sqlite3_bind_int64(st, 8, (int64_t)entry->quota);
    }
    code = ok ? SQLITE_OK : SQLITE_NOMEM;
    while (ok && (code = step(st)) == SQLITE_ROW)
        id = sqlite3_column_int64(st, 0);
    if (code != SQLITE_DONE)
        fail(s, code, err);
    sqlite3_clear_bindings(st);
    *ret_id = id;
    return code == SQLITE_DONE;
}

static bool change_inside(struct sqlite_directory *s, enum directory_change how, struct str key,
                          const struct directory_entry *entry, struct err *err)
{
    static const enum statement statements[] = {
        [DIRECTORY_ADD] = INSERT, [DIRECTORY_UPDATE] = UPDATE, [DIRECTORY_REMOVE] = DELETE};
    int64_t id;

    if (!write_entry(s, statements[how], key, entry, &id, err))
        return false;
    if (!id)
        return how == DIRECTORY_ADD ? directory_fail_exists(entry, err) : directory_fail_absent(entry, err);
    return how == DIRECTORY_REMOVE || write_targets(s, id, entry, err);
}

static bool sqlite_change(struct directory *d, enum directory_change how, struct str key,
                          const struct directory_entry *entry, struct err *err)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;
    bool                     ok;

    if (!refresh(s, err))
        return false;
    sqlite3_busy_timeout(s->db, DIRECTORY_WAIT_MS);
    ok = run(s, BEGIN_WRITE, err) && change_inside(s, how, key, entry, err) && run(s, COMMIT, err);
    if (!ok)
        roll_back(s);
    sqlite3_busy_timeout(s->db, READ_WAIT_MS);
    return ok;
}

const struct directory_backend directory_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .get = sqlite_get,
    .change = sqlite_change,
    .each = sqlite_each,
};
