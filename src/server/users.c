/* users.c: changing to a role's user. */
#include "server/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

bool users_find(const struct config *config, struct users *ret_users, const char **ret_missing, struct err *err)
{
    struct users u = {.of = {[ROLE_MASTER] = {.name = "root"},
                             [ROLE_FRONT] = {.name = config->users.front},
                             [ROLE_KEEPER] = {.name = config->users.keeper},
                             [ROLE_BACK] = {.name = config->users.back}}};
    const char  *missing = NULL;

    for (int r = 0; r < 4; r++) {
        u.of[r].uid = geteuid();
        u.of[r].gid = getegid();
    }
    for (int r = ROLE_FRONT; r <= ROLE_BACK && geteuid() == 0; r++) {
        struct passwd *p;

        errno = 0;
        p = getpwnam(u.of[r].name);
        if (!p && errno != 0 && errno != ENOENT && errno != ESRCH)
            return err_set_os(err, errno, "user \"%s\"", u.of[r].name);
        if (!p) {
            missing = missing ? missing : u.of[r].name;
            continue;
        }
        u.of[r].uid = p->pw_uid;
        u.of[r].gid = p->pw_gid;
    }
    u.separate = geteuid() == 0 && !missing;
    if (!u.separate)
        for (int r = ROLE_FRONT; r <= ROLE_BACK; r++) {
            u.of[r].uid = geteuid();
            u.of[r].gid = getegid();
        }
    *ret_missing = missing;
    *ret_users = u;
    return true;
}

bool users_become(const struct users *users, enum role role, struct err *err)
{
    const char *name = users->of[role].name;
    uid_t       uid = users->of[role].uid;
    gid_t       gid = users->of[role].gid;

    if (!users->separate)
        return true;
    if (initgroups(name, gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_set_os(err, errno, "changing to user \"%s\"", name);
    if (uid != 0 && (setuid(0) == 0 || geteuid() != uid))
        return err_set(err, ERR_PERMANENT, "changing to user \"%s\" left the rights of root", name);
    return true;
}
