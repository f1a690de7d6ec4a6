/* contacts.c: see contacts.h.
 *
 * One row for each address, changed by one upsert. That an address takes mail is the usual news, and of an address that
 * is written to often the same each time: the upsert leaves the row alone then, which costs a look-up and dirties no
 * page. The log beside the database is synced only when it is copied back (synchronous = NORMAL): what is remembered
 * here may be lost with the power, but never half of it.
 *
 * Changes are made by contacts_learn.c.
 *
 * Listings read a page of rows, end the reading, and go on behind it: who looks at a listing for an hour does not keep
 * the log from being copied back.
 *
 * Rejected: a row for each thing that was said (a history is what logs are for), and rows without rowid (each index
 * would hold domain and key again). */
#include "directory/backend.h"
#include "directory/contacts_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x74616363,
    PAGE_ROWS = 256,
    PAGE_MEMORY = 4 << 20,
};

static const char *const migrations[] = {
    "CREATE TABLE contact ("
    " id INTEGER PRIMARY KEY,"
    " domain TEXT NOT NULL,"
    " key TEXT NOT NULL," /* '': the whole domain */
    " local TEXT NOT NULL,"
    " outcome TEXT NOT NULL CHECK (outcome IN ('delivered', 'moved', 'no-mailbox', 'full', 'no-mail')),"
    " unconfirmed INTEGER NOT NULL CHECK (unconfirmed IN (0, 1)),"
    " first INTEGER NOT NULL," /* Unix ms */
    " last INTEGER NOT NULL,"
    " delivered INTEGER NOT NULL,"
    " code INTEGER NOT NULL,"
    " status TEXT NOT NULL,"
    " text TEXT NOT NULL,"
    " host TEXT NOT NULL,"
    " moved TEXT NOT NULL," /* an address, or '' */
    " UNIQUE (domain, key)"
    ") STRICT;"
    "CREATE INDEX contact_last ON contact (last);",
};

enum column {
    C_DOMAIN,
    C_LOCAL,
    C_KEY,
    C_OUTCOME,
    C_UNCONFIRMED,
    C_FIRST,
    C_LAST,
    C_DELIVERED,
    C_CODE,
    C_STATUS,
    C_TEXT,
    C_HOST,
    C_MOVED
};

#define COLUMNS                                                                                                \
    "SELECT domain, local, key, outcome, unconfirmed, first, last, delivered, code, status, text, host, moved" \
    " FROM contact "
#define FILTER " AND (?3 = '' OR outcome = ?3) AND last >= ?4 "
static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [GET] = COLUMNS "WHERE domain = ?1 AND key IN ('', ?2) AND last >= ?3 ORDER BY key LIMIT 1",
    [PAGE] = COLUMNS "WHERE (domain, key) >= (?1, ?2)" FILTER "ORDER BY domain, key LIMIT ?5",
    [PAGE_OF] = COLUMNS "WHERE domain = ?1 AND key >= ?2" FILTER "ORDER BY key LIMIT ?5",
    [SAY] = "INSERT INTO contact (domain, key, local, outcome, unconfirmed, first, last, delivered, code, status, text,"
            " host, moved) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
            " ON CONFLICT (domain, key) DO UPDATE SET local = excluded.local,"
            " first = CASE WHEN outcome = excluded.outcome THEN first ELSE excluded.first END,"
            " outcome = excluded.outcome, unconfirmed = excluded.unconfirmed, last = excluded.last,"
            " delivered = max(delivered, excluded.delivered), code = excluded.code, status = excluded.status,"
            " text = excluded.text, host = excluded.host, moved = excluded.moved"
            " WHERE outcome <> 'delivered' OR excluded.outcome <> 'delivered' OR moved <> excluded.moved"
            " OR unconfirmed <> excluded.unconfirmed OR abs(excluded.last - last) >= ?13",
    [UNSAY_DOMAIN] = "DELETE FROM contact WHERE domain = ?1 AND key = ''",
    [EXPIRE] = "DELETE FROM contact WHERE id IN (SELECT id FROM contact WHERE last < ?1 ORDER BY last LIMIT ?2)",
    [EVICT] = "DELETE FROM contact WHERE id IN (SELECT id FROM contact ORDER BY last LIMIT ?1)",
    [FORGET] = "DELETE FROM contact WHERE domain = ?1 AND key = ?2",
    [FORGET_DOMAIN] = "DELETE FROM contact WHERE domain = ?1",
};

#define SCHEMA                                                                                           \
    .what = "contacts", .application_id = APPLICATION_ID, .migrations = migrations,                      \
    .version = sizeof migrations / sizeof *migrations, .statements = sql, .statement_count = STATEMENTS, \
    .when_missing = "", .when_damaged = "; the database is damaged or not one of tacit's"
static const struct sqlite_schema schema_write = {SCHEMA, .pragmas = "PRAGMA synchronous = NORMAL"};
static const struct sqlite_schema schema_read = {SCHEMA, .pragmas = "PRAGMA query_only = ON"};

/* ---- names ---- */

static const char *const names[] = {
    [CONTACT_UNKNOWN] = "unknown",       [CONTACT_DELIVERED] = "delivered", [CONTACT_MOVED] = "moved",
    [CONTACT_NO_MAILBOX] = "no-mailbox", [CONTACT_FULL] = "full",           [CONTACT_NO_MAIL] = "no-mail"};

const char *contact_outcome_name(enum contact_outcome outcome) { return names[outcome]; }

bool contact_outcome_parse(struct str name, enum contact_outcome *ret_outcome)
{
    for (unsigned i = CONTACT_DELIVERED; i <= CONTACT_NO_MAIL; i++)
        if (str_eq(name, str_from(names[i]))) {
            *ret_outcome = (enum contact_outcome)i;
            return true;
        }
    return false;
}

bool contact_is_dead(enum contact_outcome outcome)
{
    return outcome == CONTACT_MOVED || outcome == CONTACT_NO_MAILBOX || outcome == CONTACT_NO_MAIL;
}

/* ---- opening ---- */

/* What SQLite can mend of it needs both files; the third is made from them. */
static bool move_aside(const char *path, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (snprintf(to, sizeof to, "%s.damaged-wal", path) >= (int)sizeof to)
        return err_set_os(err, ENAMETOOLONG, "contacts %s", path);
    snprintf(from, sizeof from, "%s-wal", path);
    if (rename(from, to) != 0 && errno != ENOENT)
        return err_set_os(err, errno, "moving %s to %s", from, to);
    snprintf(from, sizeof from, "%s-shm", path);
    if (unlink(from) != 0 && errno != ENOENT)
        return err_set_os(err, errno, "removing %s", from);
    to[strlen(to) - strlen("-wal")] = '\0';
    return rename(path, to) == 0 || err_set_os(err, errno, "moving %s to %s", path, to);
}

static bool try_open(struct contacts *c, unsigned flags, struct err *err)
{
    bool create = flags & CONTACTS_CREATE;

    return (!create || directory_file_create(c->db.path, err)) &&
           sqlite_db_open(&c->db, create ? DIRECTORY_WAIT_MS : SQLITE_READ_WAIT_MS, create, err);
}

struct contacts *contacts_open(const char *path, unsigned flags, bool *ret_mended, struct err *err)
{
    struct contacts *c = calloc(1, sizeof *c);
    bool             ok, mended = false;

    if (!c || !(c->db.path = strdup(path))) {
        err_set_os(err, ENOMEM, "contacts %s", path);
        free(c);
        return NULL;
    }
    c->db.schema = flags & CONTACTS_READ ? &schema_read : &schema_write;
    ok = try_open(c, flags, err);
    if (!ok && c->db.damaged && (flags & CONTACTS_MEND)) {
        mended = move_aside(path, err);
        ok = mended && try_open(c, flags, err);
    }
    if (!ok) {
        contacts_close(c);
        return NULL;
    }
    if (ret_mended)
        *ret_mended = mended;
    return c;
}

void contacts_close(struct contacts *c)
{
    if (!c)
        return;
    sqlite_db_close(&c->db);
    free(c->db.path);
    free(c);
}

bool contacts_is_damaged(const struct contacts *c) { return c->db.damaged; }

/* ---- rows ---- */

bool contacts_no_memory(const struct contacts *c, struct err *err)
{
    return err_set(err, ERR_LIMIT, "contacts %s: out of memory", c->db.path);
}

static uint64_t column_ms(sqlite3_stmt *st, int column)
{
    int64_t ms = sqlite3_column_int64(st, column);

    return ms > 0 ? (uint64_t)ms : 0;
}

static bool read_row(struct contacts *c, sqlite3_stmt *st, struct arena *arena, struct contact *ret_contact,
                     struct err *err)
{
    struct contact r = {
        .address = {sqlite_text_copy(st, C_LOCAL, arena), sqlite_text_copy(st, C_DOMAIN, arena), false},
        .unconfirmed = sqlite3_column_int(st, C_UNCONFIRMED) != 0,
        .first_ms = column_ms(st, C_FIRST),
        .last_ms = column_ms(st, C_LAST),
        .delivered_ms = column_ms(st, C_DELIVERED),
        .code = (uint16_t)sqlite3_column_int(st, C_CODE),
        .text = sqlite_text_copy(st, C_TEXT, arena),
        .host = sqlite_text_copy(st, C_HOST, arena),
    };
    struct str status = sqlite_text(st, C_STATUS), moved = sqlite_text(st, C_MOVED);

    if (!r.address.local.data || !r.address.domain.data || !r.text.data || !r.host.data)
        return contacts_no_memory(c, err);
    if (!contact_outcome_parse(sqlite_text(st, C_OUTCOME), &r.outcome) || status.len >= sizeof r.status ||
        r.address.local.len > MAIL_LOCAL_MAX || r.address.domain.len > MAIL_DOMAIN_MAX)
        return err_set(err, ERR_PERMANENT, "contacts %s: an entry has values that tacit never writes", c->db.path);
    r.address.utf8 = !str_is_ascii(r.address.local);
    if (status.len)
        memcpy(r.status, status.data, status.len);
    if (moved.len && !mail_address_parse(moved, true, arena, &r.moved_to, NULL))
        r.moved_to = (struct mail_address){.local = STR_NONE};
    *ret_contact = r;
    return true;
}

enum contacts_find contacts_find(struct contacts *c, const struct mail_address *address, uint64_t since_ms,
                                 struct arena *arena, struct contact *ret_contact, struct err *err)
{
    struct str         key = mail_local_key(address->local, 0, arena);
    enum contacts_find found = CONTACTS_FAILED;
    sqlite3_stmt      *st;
    int                code;

    if (!key.data) {
        contacts_no_memory(c, err);
        return CONTACTS_FAILED;
    }
    if (!sqlite_db_refresh(&c->db, err))
        return CONTACTS_FAILED;
    st = c->db.statements[GET];
    sqlite3_bind_int64(st, 3, (int64_t)since_ms);
    code = sqlite_bind(st, 1, address->domain) && sqlite_bind(st, 2, key) ? sqlite_db_step(st) : SQLITE_NOMEM;
    if (code == SQLITE_ROW)
        found = read_row(c, st, arena, ret_contact, err) ? CONTACTS_FOUND : CONTACTS_FAILED;
    else if (code == SQLITE_DONE)
        found = CONTACTS_ABSENT;
    else
        sqlite_db_fail(&c->db, code, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return found;
}

/* ---- listings ---- */

struct page {
    struct contact rows[PAGE_ROWS];
    size_t         count;
    struct str     domain, key; /* of the last row; the next page begins with it, if it is still there */
    bool           last;
};

static int bind_page(sqlite3_stmt *st, const struct contacts_filter *filter, struct str domain, struct str key)
{
    struct str outcome = filter->outcome ? str_from(names[filter->outcome]) : STR("");

    sqlite3_bind_int64(st, 4, (int64_t)filter->since_ms);
    sqlite3_bind_int(st, 5, PAGE_ROWS);
    return sqlite_bind(st, 1, domain) && sqlite_bind(st, 2, key) && sqlite_bind(st, 3, outcome) ? SQLITE_OK
                                                                                                : SQLITE_NOMEM;
}

static bool read_page(struct contacts *c, const struct contacts_filter *filter, struct arena *arena,
                      struct str from_domain, struct str from_key, bool first, struct page *p, struct err *err)
{
    sqlite3_stmt *st;
    int           code;
    size_t        seen = 0;
    bool          ok = true;

    if (!sqlite_db_refresh(&c->db, err))
        return false;
    st = c->db.statements[filter->domain.len ? PAGE_OF : PAGE];
    p->count = 0;
    code = bind_page(st, filter, from_domain, from_key);
    while (ok && code != SQLITE_NOMEM && (code = sqlite_db_step(st)) == SQLITE_ROW) {
        p->domain = sqlite_text_copy(st, C_DOMAIN, arena);
        p->key = sqlite_text_copy(st, C_KEY, arena);
        ok = p->domain.data && p->key.data ? read_row(c, st, arena, &p->rows[p->count], err)
                                           : contacts_no_memory(c, err);
        if (ok && (first || seen || !str_eq(p->domain, from_domain) || !str_eq(p->key, from_key)))
            p->count++;
        seen++;
    }
    if (ok && code != SQLITE_DONE)
        ok = sqlite_db_fail(&c->db, code, err);
    p->last = seen < PAGE_ROWS;
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return ok;
}

bool contacts_each(struct contacts *c, const struct contacts_filter             *filter,
                   bool (*each)(const struct contact *contact, void *arg), void *arg, struct err *err)
{
    struct arena arenas[2]; /* of the page that is shown, and of the one before, which says where it begins */
    struct page *p = malloc(sizeof *p);
    struct str   domain = filter->domain, key = STR("");
    bool         ok = p || contacts_no_memory(c, err), first = true;

    arena_init(&arenas[0], PAGE_MEMORY / 16, PAGE_MEMORY);
    arena_init(&arenas[1], PAGE_MEMORY / 16, PAGE_MEMORY);
    for (unsigned turn = 0; ok; turn++, first = false) {
        struct arena *arena = &arenas[turn % 2];
        bool          go_on = true;

        arena_reset(arena);
        ok = read_page(c, filter, arena, domain, key, first, p, err);
        for (size_t i = 0; ok && go_on && i < p->count; i++)
            go_on = each(&p->rows[i], arg);
        if (!ok || !go_on || p->last)
            break;
        domain = p->domain;
        key = p->key;
    }
    arena_done(&arenas[0]);
    arena_done(&arenas[1]);
    free(p);
    return ok;
}
