/* sandbox.c: privileges and files; the system calls are sandbox_calls.c.
 *
 * Landlock has no header that covers all its versions and no wrapper in the C library, so what is newer than the
 * headers stands here, and the calls are made by number. Of each version everything is claimed that it can forbid, and
 * only what the caller names is given back.
 *
 * Namespaces and chroot were rejected: they need root, which the ordinary user who starts tacit has not, and they are
 * themselves a large part of the kernel to open to a process. */
#include "io/sandbox.h"
#include "io/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- privileges ---- */

bool sandbox_harden(struct err *err)
{
    const struct rlimit no_core = {0, 0};

    if (setrlimit(RLIMIT_CORE, &no_core) != 0)
        return err_set_os(err, errno, "limit of core files");
#ifdef TACIT_SANITIZED
    const unsigned long dumpable = 1; /* the leak check looks at its own process from another */
#else
    const unsigned long dumpable = 0;
#endif
    if (prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set_os(err, errno, "giving up privileges");
    return true;
}

static bool keep_capabilities(uint64_t kept, struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct   now[2], sets[2] = {0};

    if (syscall(SYS_capget, &head, now) != 0)
        return err_set_os(err, errno, "reading the capabilities");
    for (int i = 0; i < 2; i++)
        sets[i].permitted = sets[i].effective = now[i].permitted & (uint32_t)(kept >> 32 * i);
    /* The ceiling of what execve may give; only who has CAP_SETPCAP can lower it, and no new privileges means as
     * much. Refused too for the numbers behind the last that this kernel knows. */
    for (unsigned long cap = 0; cap < 64; cap++)
        if (!(kept >> cap & 1))
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, sets) == 0 || err_set_os(err, errno, "giving up capabilities");
}

bool sandbox_drop_capabilities(struct err *err) { return keep_capabilities(0, err); }

/* ---- Landlock ---- */

/* linux/landlock.h of a newer kernel */
#define FS_TRUNCATE (1ull << 14)  /* from version 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define NET_BIND_TCP (1ull << 0)  /* 4 */
#define NET_CONNECT_TCP (1ull << 1)
#define RULE_NET_PORT 2
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0) /* 6 */
#define SCOPE_SIGNAL (1ull << 1)
struct ruleset {
    uint64_t handled_access_fs, handled_access_net, scoped; /* an older kernel takes it while the rest is zero */
};
struct net_port {
    uint64_t allowed_access, port;
};

/* All that a file, and not a directory, can be opened for. */
#define FS_OF_FILES                                                                                            \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | \
     FS_IOCTL_DEV)

static struct ruleset all_of(unsigned version)
{
    struct ruleset r = {.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};

    if (version >= 2)
        r.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        r.handled_access_fs |= FS_TRUNCATE;
    if (version >= 4)
        r.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (version >= 5)
        r.handled_access_fs |= FS_IOCTL_DEV;
    if (version >= 6)
        r.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return r;
}

static uint64_t rights_of(unsigned access)
{
    uint64_t rights = 0;

    if (access & SANDBOX_READ)
        rights |= LANDLOCK_ACCESS_FS_READ_FILE;
    if (access & SANDBOX_WRITE)
        rights |= LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
    if (access & SANDBOX_MAKE)
        rights |= LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    if (access & SANDBOX_DIRS)
        rights |= LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER;
    return rights;
}

static bool allow(int ruleset, uint64_t handled, const struct sandbox_path *p, struct err *err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights_of(p->access) & handled};
    struct stat                       st;
    bool                              ok;

    rule.parent_fd = open(p->path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || err_set_os(err, errno, "%s", p->path);
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= FS_OF_FILES;
    ok = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    if (!ok)
        err_set_os(err, errno, "confining to %s", p->path);
    close(rule.parent_fd);
    return ok;
}

static bool allow_port(int ruleset, uint16_t port, struct err *err)
{
    const struct net_port rule = {.allowed_access = NET_CONNECT_TCP, .port = port};

    return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) == 0 ||
           err_set_os(err, errno, "confining to port %u", port);
}

static bool limit_files_and_ports(unsigned version, const struct sandbox_needs *needs, struct err *err)
{
    struct ruleset all = all_of(version);
    int            ruleset;
    bool           ok = true;

    if (needs->any_port)
        all.handled_access_net &= ~NET_CONNECT_TCP;
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (ruleset < 0)
        return err_set_os(err, errno, "confining by Landlock");
    for (size_t i = 0; ok && i < needs->path_count; i++)
        ok = allow(ruleset, all.handled_access_fs, &needs->paths[i], err);
    for (size_t i = 0; ok && all.handled_access_net & NET_CONNECT_TCP && i < needs->port_count; i++)
        ok = allow_port(ruleset, needs->ports[i], err);
#ifdef TACIT_SANITIZED
    ok = ok && allow(ruleset, all.handled_access_fs, &(struct sandbox_path){"/proc", SANDBOX_READ | SANDBOX_MAKE}, err);
#endif
    if (ok && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        ok = err_set_os(err, errno, "confining by Landlock");
    close(ruleset);
    return ok;
}

/* ---- the whole ---- */

struct sandbox_kernel sandbox_kernel(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return (struct sandbox_kernel){sandbox_has_seccomp(), version > 0 ? (unsigned)version : 0};
}

static bool moves_files(const struct sandbox_needs *needs)
{
    for (size_t i = 0; i < needs->path_count; i++)
        if (needs->paths[i].access & SANDBOX_DIRS)
            return true;
    return false;
}

bool sandbox_confine(const struct sandbox_needs *needs, struct err *err)
{
    const struct sandbox_kernel kernel = sandbox_kernel();
    const bool                  landlock = kernel.landlock >= (moves_files(needs) ? SANDBOX_LANDLOCK_MOVES : 1);

    return (!landlock || limit_files_and_ports(kernel.landlock, needs, err)) &&
           (!kernel.has_seccomp || sandbox_limit_calls(needs->profile, err));
}

bool sandbox_confine_master(struct err *err)
{
    static const unsigned kept[] = {CAP_NET_BIND_SERVICE, CAP_SETUID, CAP_SETGID,       CAP_CHOWN,
                                    CAP_FOWNER,           CAP_FSETID, CAP_DAC_OVERRIDE, CAP_KILL};
    uint64_t              set = 0;

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        set |= 1ull << kept[i];
    return sandbox_harden(err) && keep_capabilities(set, err) &&
           (!sandbox_kernel().has_seccomp || sandbox_forbid_calls(err));
}
