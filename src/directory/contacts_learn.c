/* contacts_learn.c: the memory of contacts.h changes.
 *
 * What must go is found by the index on `last`, a piece of it with each change, so that no change takes long. How many
 * rows there are is counted once, and again when another process changed them. */
#include "directory/backend.h"
#include "directory/contacts_internal.h"

enum { FORGET_PIECE = 256 /* rows, beside as many as were added */ };

static bool count_rows(struct contacts *c, struct err *err)
{
    int64_t version, count;

    if (!sqlite_db_number(&c->db, "PRAGMA data_version", &version, err))
        return false;
    if (c->counted && version == c->version)
        return true;
    if (!sqlite_db_number(&c->db, "SELECT count(*) FROM contact", &count, err))
        return false;
    c->count = (uint64_t)count;
    c->version = version;
    c->counted = true;
    return true;
}

/* Runs a statement that removes rows, and counts them. */
static bool remove_rows(struct contacts *c, enum statement which, uint64_t *ret_count, struct err *err)
{
    uint64_t gone;

    if (!sqlite_db_run(&c->db, which, err))
        return false;
    gone = (uint64_t)sqlite3_changes(c->db.handle);
    c->count -= gone < c->count ? gone : c->count;
    if (ret_count)
        *ret_count = gone;
    return true;
}

static bool say(struct contacts *c, const struct contact *said, struct arena *arena, struct err *err)
{
    sqlite3_stmt *st = c->db.statements[SAY];
    bool          delivered = said->outcome == CONTACT_DELIVERED;
    struct str key = mail_local_key(said->address.local, 0, arena), moved = mail_address_text(&said->moved_to, arena);
    bool       ok;

    if (!key.data || !moved.data)
        return contacts_no_memory(c, err);
    sqlite3_bind_int(st, 5, said->unconfirmed);
    sqlite3_bind_int64(st, 6, (int64_t)said->last_ms);
    sqlite3_bind_int64(st, 7, delivered ? (int64_t)said->last_ms : 0);
    sqlite3_bind_int(st, 8, said->code);
    sqlite3_bind_int64(st, 13, CONTACTS_FRESH_MS);
    ok = sqlite_bind(st, 1, said->address.domain) && sqlite_bind(st, 2, key) &&
         sqlite_bind(st, 3, said->address.local) && sqlite_bind(st, 4, str_from(contact_outcome_name(said->outcome))) &&
         sqlite_bind(st, 9, str_from(said->status)) && sqlite_bind(st, 10, str_part(said->text, 0, CONTACT_TEXT_MAX)) &&
         sqlite_bind(st, 11, str_part(said->host, 0, CONTACT_HOST_MAX)) && sqlite_bind(st, 12, moved);
    sqlite3_set_last_insert_rowid(c->db.handle, 0);
    ok = ok ? sqlite_db_run(&c->db, SAY, err) : sqlite_db_fail(&c->db, SQLITE_NOMEM, err);
    c->count += sqlite3_last_insert_rowid(c->db.handle) != 0; /* an update sets none */
    if (!ok || !said->address.local.len)
        return ok;
    st = c->db.statements[UNSAY_DOMAIN]; /* a server speaks for the domain, so it takes mail */
    return sqlite_bind(st, 1, said->address.domain) ? remove_rows(c, UNSAY_DOMAIN, NULL, err)
                                                    : sqlite_db_fail(&c->db, SQLITE_NOMEM, err);
}

static bool forget_some(struct contacts *c, const struct contacts_rules *rules, size_t piece, uint64_t now_ms,
                        bool *ret_more, struct err *err)
{
    sqlite3_stmt *expire = c->db.statements[EXPIRE];
    uint64_t      gone, excess;

    sqlite3_bind_int64(expire, 1, (int64_t)(now_ms > rules->keep_ms ? now_ms - rules->keep_ms : 0));
    sqlite3_bind_int64(expire, 2, (int64_t)piece);
    if (!remove_rows(c, EXPIRE, &gone, err))
        return false;
    *ret_more = gone == piece;
    excess = c->count > rules->max ? c->count - rules->max : 0;
    if (!excess)
        return true;
    *ret_more |= excess > piece;
    sqlite3_bind_int64(c->db.statements[EVICT], 1, (int64_t)(excess < piece ? excess : piece));
    return remove_rows(c, EVICT, NULL, err);
}

static bool learn_inside(struct contacts *c, const struct contact *said, size_t count,
                         const struct contacts_rules *rules, uint64_t now_ms, bool *ret_more, struct err *err)
{
    struct arena arena;
    bool         ok = count_rows(c, err);

    arena_init(&arena, 4096, 1 << 16);
    for (size_t i = 0; ok && i < count; i++) {
        ok = said[i].outcome == CONTACT_UNKNOWN || say(c, &said[i], &arena, err);
        arena_reset(&arena);
    }
    arena_done(&arena);
    return ok && forget_some(c, rules, count + FORGET_PIECE, now_ms, ret_more, err);
}

bool contacts_learn(struct contacts *c, const struct contact *said, size_t count, const struct contacts_rules *rules,
                    uint64_t now_ms, bool *ret_more, struct err *err)
{
    bool ok, more = false;

    if (!sqlite_db_refresh(&c->db, err))
        return false;
    sqlite3_busy_timeout(c->db.handle, DIRECTORY_WAIT_MS);
    ok = sqlite_db_run(&c->db, BEGIN, err) && learn_inside(c, said, count, rules, now_ms, &more, err) &&
         sqlite_db_run(&c->db, COMMIT, err);
    if (!ok) {
        sqlite_db_roll_back(&c->db);
        c->counted = false;
        if (c->db.damaged)
            sqlite_db_mark_damaged(&c->db);
    }
    if (c->db.handle)
        sqlite3_busy_timeout(c->db.handle, SQLITE_READ_WAIT_MS);
    *ret_more = more;
    return ok;
}

/* What is forgotten is overwritten, in the database and in the log beside it: who asked for it may have had to. */
bool contacts_forget(struct contacts *c, const struct mail_address *address, uint64_t *ret_count, struct err *err)
{
    enum statement which = address->local.len ? FORGET : FORGET_DOMAIN;
    struct arena   arena;
    struct str     key;
    sqlite3_stmt  *st;
    bool           ok;

    if (!sqlite_db_refresh(&c->db, err))
        return false;
    sqlite3_busy_timeout(c->db.handle, DIRECTORY_WAIT_MS);
    arena_init(&arena, 1024, 4096);
    key = mail_local_key(address->local, 0, &arena);
    st = c->db.statements[which];
    ok = (key.data && sqlite_bind(st, 1, address->domain) && (which == FORGET_DOMAIN || sqlite_bind(st, 2, key))) ||
         contacts_no_memory(c, err);
    ok = ok && sqlite_db_exec(&c->db, "PRAGMA secure_delete = ON", err) && remove_rows(c, which, ret_count, err);
    sqlite3_clear_bindings(st);
    arena_done(&arena);
    if (ok) /* where a reader is in the way, the next change does it */
        (void)sqlite3_exec(c->db.handle, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    sqlite3_busy_timeout(c->db.handle, SQLITE_READ_WAIT_MS);
    return ok;
}
