/* sqlite.c: a directory in an SQLite database.
 *
 * Write-ahead log, so that the keeper reads what was last committed while a command changes it, and neither waits for
 * the other. Changes begin with BEGIN IMMEDIATE: who finds another writer waits for it instead of failing half-way. An
 * entry and its targets are read in one transaction. What stands in the file is not trusted further than its types:
 * directory.c checks every entry, and the schema may run no code (trusted_schema, defensive mode).
 *
 * Rejected: caching entries in the keeper. A look-up takes some ten microseconds, and a cache would have to be told of
 * every change by processes that the keeper does not know. */
#include "directory/sqlite_db.h"

#include <errno.h>
#include <stdlib.h>

static bool run(struct sqlite_directory *s, enum statement which, struct err *err)
{
    int code = sqlite_db_step(s->statements[which]);

    return code == SQLITE_DONE || sqlite_fail(s, code, err);
}

static void roll_back(struct sqlite_directory *s)
{
    if (s->db && !sqlite3_get_autocommit(s->db))
        (void)sqlite_db_step(s->statements[ROLLBACK]);
}

/* ---- opening ---- */

static void sqlite_close(struct directory *d)
{
    struct sqlite_directory *s = (struct sqlite_directory *)d;

    sqlite_db_close(s);
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
         !sqlite_db_open(s, patient ? SQLITE_READ_WAIT_MS : DIRECTORY_WAIT_MS, create, err)) &&
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
    while (code != SQLITE_NOMEM && (code = sqlite_db_step(st)) == SQLITE_ROW) {
        struct str address = column_copy(st, 0, arena);

        if (!address.data || entry->target_count == count) {
            sqlite3_reset(st);
            return address.data ? bad_row(s, err) : no_memory(s, err);
        }
        entry->targets[entry->target_count++] = address;
    }
    if (code != SQLITE_DONE)
        return sqlite_fail(s, code, err);
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

    if (!sqlite_db_refresh(s, err) || !run(s, BEGIN_READ, err))
        return DIRECTORY_FAILED;
    st = s->statements[GET];
    code = bind_text(st, 1, domain) && bind_text(st, 2, key) ? sqlite_db_step(st) : SQLITE_NOMEM;
    if (code == SQLITE_ROW)
        found = read_entry(s, st, arena, ret_entry, err) ? DIRECTORY_FOUND : DIRECTORY_FAILED;
    else if (code == SQLITE_DONE)
        found = DIRECTORY_ABSENT;
    else
        sqlite_fail(s, code, err);
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

    if (!sqlite_db_refresh(s, err) || !run(s, BEGIN_READ, err))
        return false;
    st = s->statements[domain.len ? EACH_OF : EACH];
    arena_init(&arena, 4096, DIRECTORY_ENTRY_MEMORY);
    code = !domain.len || bind_text(st, 1, domain) ? SQLITE_OK : SQLITE_NOMEM;
    while (code != SQLITE_NOMEM && (code = sqlite_db_step(st)) == SQLITE_ROW) {
        ok = read_entry(s, st, &arena, &entry, err);
        if (!ok || !each(&entry, arg))
            break;
        arena_reset(&arena);
    }
    arena_done(&arena);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        ok = sqlite_fail(s, code, err);
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
        ok = bind_text(st, 3, entry->targets[i]) ? run(s, TARGET_INSERT, err) : sqlite_fail(s, SQLITE_NOMEM, err);
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
    while (ok && (code = sqlite_db_step(st)) == SQLITE_ROW)
        id = sqlite3_column_int64(st, 0);
    if (code != SQLITE_DONE)
        sqlite_fail(s, code, err);
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

    if (!sqlite_db_refresh(s, err))
        return false;
    sqlite3_busy_timeout(s->db, DIRECTORY_WAIT_MS);
    ok = run(s, BEGIN_WRITE, err) && change_inside(s, how, key, entry, err) && run(s, COMMIT, err);
    if (!ok)
        roll_back(s);
    sqlite3_busy_timeout(s->db, SQLITE_READ_WAIT_MS);
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
