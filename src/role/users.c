/* users.c: changing to a role's user.
 *
 * The roles find the same users as master did: from the configuration, the system's list, and the permissions above
 * `data`. Handing the numbers over was rejected: the look-up is cheap, and one thing less to agree on.
 *
 * Where others than root may not enter a directory above `data` (a checkout below /root, say), nobody but root could
 * reach it; and in a container that knows no other users nobody can become one. Then the processes stay root, without
 * any of its capabilities. */
#include "role/users.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uid_t number_of(enum role role) { return (uid_t)(USERS_NUMBER_FIRST + role - ROLE_FIRST); }

/* In a user namespace only numbers that lead out of it can be taken. A line: first inside, first outside, count. */
static bool number_exists(uid_t number)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    char  line[128];
    bool  found = !map;

    while (!found && fgets(line, sizeof line, map)) {
        char                    *at = line;
        const unsigned long long inside = strtoull(at, &at, 10), outside = strtoull(at, &at, 10);
        const unsigned long long count = strtoull(at, NULL, 10);

        (void)outside;
        found = number >= inside && number - inside < count;
    }
    if (map)
        fclose(map);
    return found;
}

/* The first directory on the way to `path` that others may not pass, in ret_path; false: there is none. */
static bool is_closed(const char *path, char ret_path[PATH_MAX])
{
    struct stat st;

    snprintf(ret_path, PATH_MAX, "%s", path);
    for (char *slash = ret_path; (slash = strchr(slash + 1, '/'));) {
        bool closed;

        *slash = '\0';
        closed = stat(ret_path, &st) == 0 && !(st.st_mode & S_IXOTH);
        if (closed)
            return true;
        *slash = '/';
    }
    return false;
}

static bool find(const char *name, struct passwd **ret_user, struct err *err)
{
    errno = 0;
    *ret_user = getpwnam(name);
    return *ret_user || errno == 0 || errno == ENOENT || errno == ESRCH || err_set_os(err, errno, "user \"%s\"", name);
}

/* Those that the system does not know get their number. */
static bool find_all(struct users *u, char ret_warning[USERS_TEXT], struct err *err)
{
    const char *missing = NULL;

    for (enum role r = ROLE_FIRST; r <= ROLE_LAST; r++) {
        struct passwd *p;

        if (!find(u->of[r].name, &p, err))
            return false;
        u->of[r].is_named = p != NULL;
        u->of[r].uid = p ? p->pw_uid : number_of(r);
        u->of[r].gid = p ? p->pw_gid : number_of(r);
        if (p)
            continue;
        missing = missing ? missing : u->of[r].name;
        p = getpwuid(number_of(r));
        if (p)
            return err_set(err, ERR_CONFIG,
                           "user \"%s\" does not exist, and %u, which would stand in for it, is the number of \"%s\"; "
                           "make the user",
                           u->of[r].name, number_of(r), p->pw_name);
    }
    if (missing)
        snprintf(ret_warning, USERS_TEXT,
                 "user \"%s\" does not exist: numbers from %d on stand in for users; systemd-sysusers makes them from "
                 "sysusers.d/tacit.conf, or see the block \"users\"",
                 missing, USERS_NUMBER_FIRST);
    return true;
}

bool users_find(const struct config *config, struct users *ret_users, char ret_warning[USERS_TEXT], struct err *err)
{
    struct users u = {.separate = geteuid() == 0,
                      .of = {[ROLE_MASTER] = {.name = "root"},
                             [ROLE_FRONT] = {.name = config->users.front},
                             [ROLE_KEEPER] = {.name = config->users.keeper},
                             [ROLE_BACK] = {.name = config->users.back},
                             [ROLE_RESOLVER] = {.name = config->users.resolver},
                             [ROLE_CARRIER] = {.name = config->users.carrier}}};
    char         closed[PATH_MAX];
    bool         named = true;

    *ret_warning = '\0';
    if (u.separate && !find_all(&u, ret_warning, err))
        return false;
    for (enum role r = ROLE_FIRST; u.separate && r <= ROLE_LAST; r++) {
        named = named && u.of[r].is_named;
        if (!number_exists(u.of[r].uid)) {
            snprintf(ret_warning, USERS_TEXT,
                     "this user namespace has no number %u for the %s: all processes stay root, without its rights",
                     u.of[r].uid, role_name(r));
            u.separate = false;
        }
    }
    if (u.separate && !named && is_closed(config->data, closed)) {
        snprintf(ret_warning, USERS_TEXT,
                 "only root may enter %.200s: all processes stay root, without its rights; put data where others may "
                 "pass, and make the users (sysusers.d/tacit.conf)",
                 closed);
        u.separate = false;
    }
    u.of[ROLE_MASTER].uid = geteuid();
    u.of[ROLE_MASTER].gid = getegid();
    for (enum role r = ROLE_FIRST; !u.separate && r <= ROLE_LAST; r++) {
        u.of[r].uid = geteuid();
        u.of[r].gid = getegid();
    }
    *ret_users = u;
    return true;
}

static bool change(const struct users *users, enum role role)
{
    uid_t uid = users->of[role].uid;
    gid_t gid = users->of[role].gid;
    int   groups = users->of[role].is_named ? initgroups(users->of[role].name, gid) : setgroups(1, &gid);

    return groups == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0;
}

bool users_become(const struct users *users, enum role role, struct err *err)
{
    const char *name = users->of[role].name;
    uid_t       uid = users->of[role].uid;

    if (!users->separate)
        return true;
    if (!change(users, role))
        return err_set_os(err, errno, "changing to user \"%s\"", name);
    if (uid != 0 && (setuid(0) == 0 || geteuid() != uid))
        return err_set(err, ERR_PERMANENT, "changing to user \"%s\" left the rights of root", name);
    return true;
}
