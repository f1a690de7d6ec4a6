/* directory.c: what all directories have in common: their names in the configuration, the order in which an address is
 * looked up, and what an entry may hold.
 *
 * The order is a few single look-ups instead of one clever query, so that each backend stays a plain table and the
 * rules are the same for all. What a backend returns is checked like what it is given: a file may be edited by hand and
 * a database by a script, and neither may put an address that is none before the rest of the program. */
#include "directory/backend.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct directory_backend *const backends[] = {&directory_sqlite, &directory_file};
enum { BACKENDS = sizeof backends / sizeof *backends };

static const char *const kind_names[] = {"mailbox", "alias", "list", "moved"};
static const char *const moved_names[] = {"251", "551", "hide"};

enum { KEY_ARENA = 4096 /* octets: keys of a local part, which may grow when case is folded */ };

static bool name_parse(struct str name, const char *const *names, size_t count, size_t *ret_place)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(name, str_from(names[i]))) {
            *ret_place = i;
            return true;
        }
    return false;
}

const char *directory_kind_name(enum entry_kind kind) { return kind_names[kind]; }
const char *directory_moved_name(enum moved_reply moved) { return moved_names[moved]; }

bool directory_kind_parse(struct str name, enum entry_kind *ret_kind)
{
    size_t place;

    if (!name_parse(name, kind_names, sizeof kind_names / sizeof *kind_names, &place))
        return false;
    *ret_kind = (enum entry_kind)place;
    return true;
}

bool directory_moved_parse(struct str name, enum moved_reply *ret_moved)
{
    size_t place;

    if (!name_parse(name, moved_names, sizeof moved_names / sizeof *moved_names, &place))
        return false;
    *ret_moved = (enum moved_reply)place;
    return true;
}

struct directory *directory_open(const char *spec, const char *base, unsigned flags, struct err *err)
{
    const char *colon = strchr(spec, ':');
    char        path[PATH_MAX];
    int         len;

    if (!colon || !colon[1]) {
        err_set(err, ERR_CONFIG, "directory \"%s\": must be sqlite:PATH or file:PATH", spec);
        return NULL;
    }
    len = snprintf(path, sizeof path, "%s%s%s", colon[1] == '/' ? "" : base, colon[1] == '/' ? "" : "/", colon + 1);
    if (len < 0 || (size_t)len >= sizeof path) {
        err_set_os(err, ENAMETOOLONG, "directory \"%.200s\"", spec);
        return NULL;
    }
    for (size_t i = 0; i < BACKENDS; i++)
        if (str_eq(str_of(spec, (size_t)(colon - spec)), str_from(backends[i]->name)))
            return backends[i]->open(path, flags, err);
    err_set(err, ERR_CONFIG, "directory \"%s\": there is no kind \"%.*s\"; use sqlite:PATH or file:PATH", spec,
            (int)(colon - spec), spec);
    return NULL;
}

void directory_close(struct directory *d)
{
    if (d)
        d->backend->close(d);
}

/* ---- looking up ---- */

static enum directory_find no_memory(struct err *err)
{
    err_set(err, ERR_LIMIT, "directory: the entry needs more memory than one look-up may take");
    return DIRECTORY_FAILED;
}

static enum directory_find get(struct directory *d, struct str key, struct str domain, struct arena *arena,
                               struct directory_entry *ret_entry, struct err *err)
{
    struct directory_entry entry;
    enum directory_find    found = d->backend->get(d, key, domain, arena, &entry, err);

    if (found != DIRECTORY_FOUND)
        return found;
    if (!directory_entry_check(&entry, err))
        return DIRECTORY_FAILED;
    *ret_entry = entry;
    return DIRECTORY_FOUND;
}

enum directory_find directory_get(struct directory *d, struct str local, struct str domain, struct arena *arena,
                                  struct directory_entry *ret_entry, struct err *err)
{
    struct str key = mail_local_key(local, 0, arena);

    return key.data ? get(d, key, domain, arena, ret_entry, err) : no_memory(err);
}

static bool key_is_reserved(struct str key) { return str_eq(key, STR("postmaster")) || str_eq(key, STR("abuse")); }

bool directory_name_is_reserved(struct str local, char separator)
{
    struct arena arena;
    bool         reserved;

    if (local.len > MAIL_LOCAL_MAX)
        return false;
    arena_init(&arena, KEY_ARENA, KEY_ARENA);
    reserved = key_is_reserved(mail_local_key(local, separator, &arena));
    arena_done(&arena);
    return reserved;
}

enum directory_find directory_find(struct directory *d, const struct mail_address *address, char separator,
                                   struct arena *arena, struct directory_entry *ret_entry, struct err *err)
{
    struct str          key = mail_local_key(address->local, 0, arena);
    struct str          untagged = mail_local_key(address->local, separator, arena);
    enum directory_find found;

    if (!key.data || !untagged.data)
        return no_memory(err);
    if (!key.len)
        return DIRECTORY_ABSENT;
    found = get(d, key, address->domain, arena, ret_entry, err);
    if (found == DIRECTORY_ABSENT && !str_eq(key, untagged))
        found = get(d, untagged, address->domain, arena, ret_entry, err);
    if (found == DIRECTORY_ABSENT)
        found = get(d, STR("*"), address->domain, arena, ret_entry, err);
    if (found == DIRECTORY_ABSENT && key_is_reserved(untagged)) {
        *ret_entry = (struct directory_entry){
            .kind = ENTRY_MAILBOX, .local = STR("postmaster"), .domain = address->domain, .implied = true};
        found = DIRECTORY_FOUND;
    }
    return found;
}

/* ---- what an entry may hold ---- */

static bool address_check(struct str text, struct arena *arena)
{
    struct mail_address address;

    return mail_address_parse(text, true, arena, &address, NULL);
}

/* Writes local@domain and reads it again: so the name is one that can occur in a command. */
static bool name_check(const struct directory_entry *entry, struct arena *arena)
{
    struct mail_address name = {.local = entry->local, .domain = entry->domain}, again;
    struct str          text = mail_address_text(&name, arena);

    return entry->local.len && text.data && mail_address_parse(text, true, arena, &again, NULL) &&
           mail_address_eq(&name, &again);
}

static const char *entry_fault(const struct directory_entry *e, struct arena *arena)
{
    bool catch_all = str_eq(e->local, STR("*"));

    if (!name_check(e, arena))
        return "the address is not valid";
    if (catch_all && e->kind == ENTRY_MAILBOX)
        return "a catch-all must lead to a mailbox: it is an alias";
    if (e->target_count > DIRECTORY_TARGETS_MAX)
        return "it has more than 1000 targets";
    switch (e->kind) {
    case ENTRY_MAILBOX:
        if (e->target_count)
            return "a mailbox has no targets";
        break;
    case ENTRY_ALIAS:
        if (!e->target_count)
            return "an alias needs a target";
        break;
    case ENTRY_LIST:
        break;
    case ENTRY_MOVED:
        if (e->target_count > 1 || (!e->target_count && e->moved != MOVED_HIDE))
            return "a moved mailbox has one new address";
        break;
    }
    for (size_t i = 0; i < e->target_count; i++) {
        if (!address_check(e->targets[i], arena))
            return "a target is not a valid address";
        arena_reset(arena);
    }
    if (e->owner.len && !address_check(e->owner, arena))
        return "the owner is not a valid address";
    if (e->quota >> DIRECTORY_QUOTA_MAX_BITS)
        return "the quota is too large";
    if (e->password.len > DIRECTORY_PASSWORD_MAX)
        return "the password hash is too long";
    for (size_t i = 0; i < e->password.len; i++)
        if (e->password.data[i] <= ' ' || e->password.data[i] > '~')
            return "the password hash has characters that no hash has";
    return NULL;
}

bool directory_entry_check(const struct directory_entry *entry, struct err *err)
{
    struct arena arena;
    const char  *fault;

    arena_init(&arena, KEY_ARENA, KEY_ARENA);
    fault = entry_fault(entry, &arena);
    arena_done(&arena);
    return !fault || err_set(err, ERR_PERMANENT, "%.*s@%.*s: %s", STR_ARG(str_part(entry->local, 0, 64)),
                             STR_ARG(str_part(entry->domain, 0, 255)), fault);
}

bool directory_fail_exists(const struct directory_entry *entry, struct err *err)
{
    return err_set(err, ERR_PERMANENT, "%.*s@%.*s exists already", STR_ARG(entry->local), STR_ARG(entry->domain));
}

bool directory_fail_absent(const struct directory_entry *entry, struct err *err)
{
    return err_set(err, ERR_PERMANENT, "%.*s@%.*s does not exist", STR_ARG(entry->local), STR_ARG(entry->domain));
}

/* ---- changing ---- */

static bool change(struct directory *d, enum directory_change how, const struct directory_entry *entry, struct err *err)
{
    struct arena arena;
    struct str   key;
    bool         ok;

    if (how != DIRECTORY_REMOVE && !directory_entry_check(entry, err))
        return false;
    if (entry->local.len > MAIL_LOCAL_MAX)
        return directory_fail_absent(entry, err);
    arena_init(&arena, KEY_ARENA, KEY_ARENA);
    key = mail_local_key(entry->local, 0, &arena);
    ok = key.data ? d->backend->change(d, how, key, entry, err)
                  : err_set(err, ERR_LIMIT, "directory: the name needs more memory than a change may take");
    arena_done(&arena);
    return ok;
}

bool directory_add(struct directory *d, const struct directory_entry *entry, struct err *err)
{
    return change(d, DIRECTORY_ADD, entry, err);
}

bool directory_update(struct directory *d, const struct directory_entry *entry, struct err *err)
{
    return change(d, DIRECTORY_UPDATE, entry, err);
}

bool directory_remove(struct directory *d, struct str local, struct str domain, struct err *err)
{
    return change(d, DIRECTORY_REMOVE, &(struct directory_entry){.local = local, .domain = domain}, err);
}

bool directory_each(struct directory *d, struct str                                     domain,
                    bool (*each)(const struct directory_entry *entry, void *arg), void *arg, struct err *err)
{
    return d->backend->each(d, domain, each, arg, err);
}

/* ---- files ---- */

bool directory_fail_open(const char *path, int os_error, struct err *err)
{
    err_set_os(err, os_error, "directory %s", path);
    if (err && os_error == ENOENT) {
        size_t used = strlen(err->text);

        snprintf(err->text + used, sizeof err->text - used,
                 "; restore it from a backup, or add a first address with \"tacit user add\"; then reload the server");
    }
    return false;
}

bool directory_file_create(const char *path, struct err *err)
{
    char        parent[PATH_MAX];
    char       *slash;
    struct stat st;
    int         fd;

    snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (slash && slash != parent)
        *slash = '\0';
    else
        snprintf(parent, sizeof parent, "%s", slash ? "/" : ".");
    if (!io_mkdirs(parent, 0750, err))
        return false;
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? true : err_set_os(err, errno, "directory %s", path);
    if (geteuid() == 0 && stat(parent, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0) {
        err_set_os(err, errno, "directory %s", path);
        close(fd);
        return false;
    }
    close(fd);
    return io_dir_sync(parent, err);
}
