/* sqlite.c: a directory in an SQLite database.
 *
 * Write-ahead log, so that the keeper reads what was last committed while a command changes it, and neither waits for
 * the other. Changes begin with BEGIN IMMEDIATE: who finds another writer waits for it instead of failing half-way. An
 * entry and its targets are read in one transaction. What stands in the file is not trusted further than its types:
 * directory.c checks every entry, and the schema may run no code (trusted_schema, defensive mode).
 *
 * Rejected: caching entries in the keeper. A look-up takes some ten microseconds, and a cache would have to be told of
 * every change by processes that the keeper does not know. */
#include "directory/backend.h"
#include "directory/sqlite_db.h"

#include <errno.h>
#include <stdlib.h>

/* ---- the database ---- */

enum { APPLICATION_ID = 0x74616369 };

enum statement {
    BEGIN_READ,
    BEGIN_WRITE,
    COMMIT,
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
#define COLUMNS                                                                                      \
    "SELECT id, domain, local, kind, disabled, closed, show_members, quota, password, owner, moved," \
    " (SELECT count(*) FROM target WHERE entry = entry.id) FROM entry "
static const char *const sql[STATEMENTS] = {
    [BEGIN_READ] = "BEGIN",
    [BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
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

static const struct sqlite_schema schema = {
    .what = "directory",
    .application_id = APPLICATION_ID,
    .migrations = migrations,
    .version = sizeof migrations / sizeof *migrations,
    .statements = sql,
    .statement_count = STATEMENTS,
    .pragmas = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
    .when_missing =
        "; restore it from a backup, or add a first address with \"tacit user add\"; then reload the server",
    .when_damaged = "; the database is damaged or not one of tacit's: restore it from a backup and reload the server",
};

struct sqlite_directory {
    struct directory base;
    struct sqlite_db db;
};

/* ---- opening ---- */

static void sqlite_close(struct directory *d)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;

    sqlite_db_close(&s->db);
    free(s->db.path);
    free(s);
}

static struct directory *sqlite_open(const char *path, unsigned flags, struct err *err)
{
    struct sqlite_directory *s = calloc(1, sizeof *s);
    bool                     create = flags & DIRECTORY_CREATE, patient = flags & DIRECTORY_PATIENT;

    if (!s || !(s->db.path = strdup(path))) {
        err_set_os(err, ENOMEM, "directory %s", path);
        free(s);
        return NULL;
    }
    s->base.backend = &directory_sqlite;
    s->db.schema = &schema;
    if (((create && !directory_file_create(path, err)) ||
         !sqlite_db_open(&s->db, patient ? SQLITE_READ_WAIT_MS : DIRECTORY_WAIT_MS, create, err)) &&
        !patient) {
        sqlite_close(&s->base);
        return NULL;
    }
    return &s->base;
}

/* ---- reading ---- */

static bool no_memory(const struct sqlite_directory *s, struct err *err)
{
    return err_set(err, ERR_LIMIT, "directory %s: an entry needs more memory than one look-up may take", s->db.path);
}

static bool bad_row(const struct sqlite_directory *s, struct err *err)
{
    return err_set(err, ERR_PERMANENT, "directory %s: an entry has values that tacit never writes", s->db.path);
}

static bool read_targets(struct sqlite_directory *s, int64_t id, size_t count, struct arena *arena,
                         struct directory_entry *entry, struct err *err)
{
    sqlite3_stmt *st = s->db.statements[TARGETS];
    int           code;

    entry->targets = NULL;
    entry->target_count = 0;
    if (!count)
        return true;
    if (!(entry->targets = arena_alloc(arena, count * sizeof *entry->targets)))
        return no_memory(s, err);
    code = sqlite3_bind_int64(st, 1, id);
    while (code != SQLITE_NOMEM && (code = sqlite_db_step(st)) == SQLITE_ROW) {
        struct str address = sqlite_text_copy(st, 0, arena);

        if (!address.data || entry->target_count == count) {
            sqlite3_reset(st);
            return address.data ? bad_row(s, err) : no_memory(s, err);
        }
        entry->targets[entry->target_count++] = address;
    }
    if (code != SQLITE_DONE)
        return sqlite_db_fail(&s->db, code, err);
    return entry->target_count == count || bad_row(s, err);
}

static bool read_entry(struct sqlite_directory *s, sqlite3_stmt *st, struct arena *arena,
                       struct directory_entry *ret_entry, struct err *err)
{
    int64_t                quota = sqlite3_column_int64(st, C_QUOTA), targets = sqlite3_column_int64(st, C_TARGETS);
    struct directory_entry e = {
        .local = sqlite_text_copy(st, C_LOCAL, arena),
        .domain = sqlite_text_copy(st, C_DOMAIN, arena),
        .disabled = sqlite3_column_int(st, C_DISABLED) != 0,
        .closed = sqlite3_column_int(st, C_CLOSED) != 0,
        .show_members = sqlite3_column_int(st, C_SHOW) != 0,
        .password = sqlite_text_copy(st, C_PASSWORD, arena),
        .owner = sqlite_text_copy(st, C_OWNER, arena),
    };

    if (!e.local.data || !e.domain.data || !e.password.data || !e.owner.data)
        return no_memory(s, err);
    if (!directory_kind_parse(sqlite_text(st, C_KIND), &e.kind) ||
        !directory_moved_parse(sqlite_text(st, C_MOVED), &e.moved) || quota < 0 || targets > DIRECTORY_TARGETS_MAX)
        return bad_row(s, err);
    e.quota = (uint64_t)quota;
    if (!read_targets(s, sqlite3_column_int64(st, C_ID), (size_t)targets, arena, &e, err))
        return false;
    *ret_entry = e;
    return true;
}

static enum directory_find sqlite_get(struct directory *d, struct str key, struct str domain, struct arena *arena,
                                      struct directory_entry *ret_entry, struct err *err)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;
    enum directory_find      found = DIRECTORY_FAILED;
    sqlite3_stmt            *st;
    int                      code;

    if (!sqlite_db_refresh(&s->db, err) || !sqlite_db_run(&s->db, BEGIN_READ, err))
        return DIRECTORY_FAILED;
    st = s->db.statements[GET];
    code = sqlite_bind(st, 1, domain) && sqlite_bind(st, 2, key) ? sqlite_db_step(st) : SQLITE_NOMEM;
    if (code == SQLITE_ROW)
        found = read_entry(s, st, arena, ret_entry, err) ? DIRECTORY_FOUND : DIRECTORY_FAILED;
    else if (code == SQLITE_DONE)
        found = DIRECTORY_ABSENT;
    else
        sqlite_db_fail(&s->db, code, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    sqlite_db_roll_back(&s->db);
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

    if (!sqlite_db_refresh(&s->db, err) || !sqlite_db_run(&s->db, BEGIN_READ, err))
        return false;
    st = s->db.statements[domain.len ? EACH_OF : EACH];
    arena_init(&arena, 4096, DIRECTORY_ENTRY_MEMORY);
    code = !domain.len || sqlite_bind(st, 1, domain) ? SQLITE_OK : SQLITE_NOMEM;
    while (code != SQLITE_NOMEM && (code = sqlite_db_step(st)) == SQLITE_ROW) {
        ok = read_entry(s, st, &arena, &entry, err);
        if (!ok || !each(&entry, arg))
            break;
        arena_reset(&arena);
    }
    arena_done(&arena);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        ok = sqlite_db_fail(&s->db, code, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    sqlite_db_roll_back(&s->db);
    return ok;
}

/* ---- changing ---- */

static bool write_targets(struct sqlite_directory *s, int64_t id, const struct directory_entry *entry, struct err *err)
{
    sqlite3_stmt *st = s->db.statements[TARGET_INSERT];

    sqlite3_bind_int64(s->db.statements[TARGETS_DELETE], 1, id);
    if (!sqlite_db_run(&s->db, TARGETS_DELETE, err))
        return false;
    for (size_t i = 0; i < entry->target_count; i++) {
        bool ok;

        sqlite3_bind_int64(st, 1, id);
        sqlite3_bind_int64(st, 2, (int64_t)i);
        ok = sqlite_bind(st, 3, entry->targets[i]) ? sqlite_db_run(&s->db, TARGET_INSERT, err)
                                                   : sqlite_db_fail(&s->db, SQLITE_NOMEM, err);
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
    sqlite3_stmt *st = s->db.statements[which];
    int64_t       id = 0;
    int           code;
    bool          ok = sqlite_bind(st, 1, entry->domain) && sqlite_bind(st, 2, key);

    if (ok && which != DELETE) {
        ok = sqlite_bind(st, 3, entry->local) && sqlite_bind(st, 4, str_from(directory_kind_name(entry->kind))) &&
             sqlite_bind(st, 9, entry->password) && sqlite_bind(st, 10, entry->owner) &&
             sqlite_bind(st, 11, str_from(directory_moved_name(entry->moved)));
        sqlite3_bind_int(st, 5, entry->disabled);
        sqlite3_bind_int(st, 6, entry->closed);
        sqlite3_bind_int(st, 7, entry->show_members);
        sqlite3_bind_int64(st, 8, (int64_t)entry->quota);
    }
    code = ok ? SQLITE_OK : SQLITE_NOMEM;
    while (ok && (code = sqlite_db_step(st)) == SQLITE_ROW)
        id = sqlite3_column_int64(st, 0);
    if (code != SQLITE_DONE)
        sqlite_db_fail(&s->db, code, err);
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

    if (!sqlite_db_refresh(&s->db, err))
        return false;
    sqlite3_busy_timeout(s->db.handle, DIRECTORY_WAIT_MS);
    ok = sqlite_db_run(&s->db, BEGIN_WRITE, err) && change_inside(s, how, key, entry, err) &&
         sqlite_db_run(&s->db, COMMIT, err);
    if (!ok)
        sqlite_db_roll_back(&s->db);
    sqlite3_busy_timeout(s->db.handle, SQLITE_READ_WAIT_MS);
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
