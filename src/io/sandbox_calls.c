/* sandbox_calls.c: system calls, by libseccomp.
 *
 * What is not in the table ends the process (SCMP_ACT_KILL_PROCESS), for an intruder gets one try then and not as many
 * as he likes, and the try is seen: master names the process, the kernel's log the call (type=1326). Refusing with an
 * error (EPERM) was rejected: a call that the program needs and that nobody thought of would fail in silence, and the
 * places where it fails are those that no test reaches. Calls that are newer than the table are answered as an older
 * kernel would, so that a new C library does not end the server.
 *
 * The filter is a binary tree (SCMP_FLTATR_CTL_OPTIMIZE 2); calls that are allowed whatever their arguments are
 * answered from the kernel's own bitmap since Linux 5.11 and never reach it. */
#include "io/sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    FRONT = SANDBOX_FRONT,
    KEEPER = SANDBOX_KEEPER,
    BACK = SANDBOX_BACK,
    RESOLVER = SANDBOX_RESOLVER,
    SOCKETS = SANDBOX_CARRIER_SOCKETS,
    CARRIER = SANDBOX_CARRIER | SOCKETS,
    STORES = FRONT | KEEPER | BACK, /* those who write files */
    ALL = STORES | RESOLVER | CARRIER,
};
/* Numbers that no architecture has used when the table was made; the x32 interface begins behind them. */
enum { NEWER_FIRST = 452, NEWER_LAST = 511 };
enum { PR_NAME_MEMORY = 0x53564d41 /* PR_SET_VMA: newer C libraries say what memory is for */ };

#define OWN_PID UINT64_MAX /* stands for the number of the process that is confined */
#ifdef __s390x__
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif
#define THREAD_FLAGS                                                                                   \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | \
     CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

struct row {
    int      call;
    unsigned profiles;
    int      error;      /* that it is answered with; 0: it is allowed */
    unsigned conditions; /* how many of: */
    struct {
        unsigned argument;
        uint64_t mask, value;
    } condition[2];
};

static const struct row rows[] = {
#define SANDBOX_CALL(name, profiles) {SCMP_SYS(name), profiles, 0, 0, {{0}}},
#define SANDBOX_CALL_IF(name, profiles, argument, mask, value) \
    SANDBOX_REFUSED_IF(name, profiles, argument, mask, value, 0)
#define SANDBOX_REFUSED_IF(name, profiles, argument, mask, value, error) \
    {SCMP_SYS(name), profiles, error, 1, {{argument, mask, (uint64_t)(value)}}},
#define SANDBOX_SOCKET(profiles, family, protocol) \
    {SCMP_SYS(socket), profiles, 0, 2, {{0, 0xffffffff, family}, {2, 0xffffffff, protocol}}},
#define SANDBOX_ABSENT(name) {SCMP_SYS(name), ALL, ENOSYS, 0, {{0}}},
#include "io/sandbox.def"
#undef SANDBOX_CALL
#undef SANDBOX_CALL_IF
#undef SANDBOX_REFUSED_IF
#undef SANDBOX_SOCKET
#undef SANDBOX_ABSENT
};

/* What the sanitizers' own code needs beside: the leak check stops all threads by tracing them from a clone. */
#ifdef TACIT_SANITIZED
#define TRACER_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED)
static const struct row sanitizer_rows[] = {
    {SCMP_SYS(clone), ALL, 0, 1, {{CLONE_FLAGS_ARGUMENT, 0xffffffff, TRACER_FLAGS}}},
    {SCMP_SYS(ptrace), ALL, 0, 0, {{0}}},
    {SCMP_SYS(wait4), ALL, 0, 0, {{0}}},
    {SCMP_SYS(prctl), ALL, 0, 0, {{0}}},
    {SCMP_SYS(personality), ALL, 0, 0, {{0}}},
    {SCMP_SYS(getdents), ALL, 0, 0, {{0}}},
    {SCMP_SYS(getdents64), ALL, 0, 0, {{0}}},
    {SCMP_SYS(tgkill), ALL, 0, 0, {{0}}},
    {SCMP_SYS(getppid), ALL, 0, 0, {{0}}},
    {SCMP_SYS(open), ALL, 0, 0, {{0}}},
};
#endif

/* What master and nobody it starts has a use for: other processes' memory, the machine itself, and the parts of the
 * kernel in which most holes are found. */
static const int forbidden[] = {
#ifndef TACIT_SANITIZED
    SCMP_SYS(ptrace),
#endif
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(kcmp),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(syslog),
    SCMP_SYS(personality),
    SCMP_SYS(modify_ldt),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
};

/* clone with any of these is what unshare is; in clone3 they cannot be seen. */
static const uint64_t namespaces[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                      CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};

bool sandbox_has_seccomp(void)
{
    const uint32_t kill_process = SCMP_ACT_KILL_PROCESS;

    return syscall(SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, &kill_process) == 0;
}

static int add(scmp_filter_ctx filter, const struct row *row)
{
    uint32_t            action = row->error ? SCMP_ACT_ERRNO((uint32_t)row->error) : SCMP_ACT_ALLOW;
    struct scmp_arg_cmp all[sizeof row->condition / sizeof *row->condition];

    for (unsigned i = 0; i < row->conditions; i++) {
        uint64_t value = row->condition[i].value == OWN_PID ? (uint64_t)getpid() : row->condition[i].value;

        all[i] = SCMP_CMP(row->condition[i].argument, SCMP_CMP_MASKED_EQ, row->condition[i].mask, value);
    }
    return seccomp_rule_add_array(filter, action, row->call, row->conditions, row->conditions ? all : NULL);
}

/* The name of libseccomp's errors is that of the system's, negative. */
static bool failed(int result, struct err *err) { return err_set_os(err, -result, "limiting the system calls"); }

static scmp_filter_ctx filter_new(uint32_t action, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(action);
    int             result = filter ? 0 : -ENOMEM;

    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (result == 0)
        return filter;
    seccomp_release(filter);
    failed(result, err);
    return NULL;
}

static bool load(scmp_filter_ctx filter, int result, struct err *err)
{
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result == 0 || failed(result, err);
}

bool sandbox_limit_calls(enum sandbox_profile profile, struct err *err)
{
    scmp_filter_ctx filter = filter_new(SCMP_ACT_KILL_PROCESS, err);
    int             result = 0;

    if (!filter)
        return false;
    for (size_t i = 0; result == 0 && i < sizeof rows / sizeof *rows; i++)
        if (rows[i].profiles & profile)
            result = add(filter, &rows[i]);
#ifdef TACIT_SANITIZED
    for (size_t i = 0; result == 0 && i < sizeof sanitizer_rows / sizeof *sanitizer_rows; i++)
        result = add(filter, &sanitizer_rows[i]);
#else
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffff, PR_NAME_MEMORY));
#endif
    for (int call = NEWER_FIRST; result == 0 && call <= NEWER_LAST; call++)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
    return load(filter, result, err);
}

bool sandbox_forbid_calls(struct err *err)
{
    scmp_filter_ctx filter = filter_new(SCMP_ACT_ALLOW, err);
    int             result = 0;

    if (!filter)
        return false;
    for (size_t i = 0; result == 0 && i < sizeof forbidden / sizeof *forbidden; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, forbidden[i], 0);
    for (size_t i = 0; result == 0 && i < sizeof namespaces / sizeof *namespaces; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                                  SCMP_CMP(CLONE_FLAGS_ARGUMENT, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return load(filter, result, err);
}
