/* confined.c: tries from inside a role what it must not be able to do. Loaded with LD_PRELOAD; only the tests build it.
 *
 * Where the program loads its filter of system calls, the last step of confinement, this library stands between: for
 * each deed a child is forked there, which loads the same filter, tries, and reports. So what is tried is tried by a
 * copy of the real process, with its real user, paths and filter, and a deed that ends the process ends only the child.
 * A switch in the program itself was rejected: what only tests need, an intruder could use.
 *
 * CONFINED_REPORT   file to which "front-0 DEED ok", "… ERRNO" or "… killed" is appended
 * CONFINED_DATA     the data directory        CONFINED_CONFIG   the configuration
 * CONFINED_MAIL     a message in a mailbox        CONFINED_MAILBOX  a mailbox that can be made
 * CONFINED_TRIGGER  while this file holds an "x", who has accepted a connection executes a program
 * CONFINED_LANDLOCK version of Landlock that the kernel says it has */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int seccomp_load(void *filter);

static int   report_fd = -1, trigger_fd = -1;
static pid_t parent;
static char  name[32]; /* "front-0" */

__attribute__((constructor)) static void set_up(void)
{
    const char *report = getenv("CONFINED_REPORT"), *trigger = getenv("CONFINED_TRIGGER");

    if (report)
        report_fd = fcntl(open(report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666), F_DUPFD_CLOEXEC, 200);
    if (trigger)
        trigger_fd = fcntl(open(trigger, O_RDONLY | O_CLOEXEC), F_DUPFD_CLOEXEC, 201);
}

/* ---- deeds: 0, or -1 with errno ---- */

static const char *below(const char *variable, const char *rest)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s%s", getenv(variable) ? getenv(variable) : "/nowhere", rest);
    return path;
}

static int look(const char *path) { return open(path, O_RDONLY | O_CLOEXEC) < 0 ? -1 : 0; }

static int make(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) < 0 ? -1 : unlink(path);
}

/* Under names of its own: others try at the same time. */
static int make_in_lane(const char *lane)
{
    char moved[sizeof name + 1];
    int  dir = open(below("CONFINED_DATA", lane), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int  fd = dir < 0 ? -1 : openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);

    snprintf(moved, sizeof moved, "%s-", name);
    return fd < 0 || ftruncate(fd, 100) != 0 || renameat(dir, name, dir, moved) != 0 ? -1 : unlinkat(dir, moved, 0);
}

static void *nothing(void *arg) { return arg; }

static int thread(void)
{
    pthread_t t;

    errno = pthread_create(&t, NULL, nothing, NULL);
    return errno == 0 ? pthread_join(t, NULL) : -1;
}

static int map(int protection)
{
    void *p = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : 0;
}

static int map_then_execute(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int execute(void)
{
    char *const argv[] = {(char[]){"true"}, NULL}, *const env[] = {NULL};

    return execve("/bin/true", argv, env);
}

/* To an address where nobody listens; all walls stand before that is found out. */
static int reach(unsigned short port, int how, int protocol)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(0x7f000063)}};
    struct iovec       data = {name, 1};
    struct msghdr      m = {.msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &data, .msg_iovlen = 1};
    int                fd = socket(AF_INET, SOCK_STREAM, protocol);

    return fd < 0               ? -1
           : how == SYS_connect ? connect(fd, (void *)&a, sizeof a)
           : how == SYS_bind    ? bind(fd, (void *)&a, sizeof a)
           : how == SYS_sendmsg ? (int)sendmsg(fd, &m, MSG_FASTOPEN | MSG_NOSIGNAL)
                                : (int)sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&a, sizeof a);
}

/* As tacit queue does. */
static int operate(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int                fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%.100s", below("CONFINED_DATA", "/run/control.sock"));
    return fd < 0 ? -1 : connect(fd, (void *)&a, sizeof a);
}

#define CALL(...) (syscall(__VA_ARGS__) < 0 ? -1 : 0)
static struct rlimit limit = {4096, 4096};

/* DEED(name, what it does) */
#define DEEDS                                                                              \
    /* files */                                                                            \
    DEED(read_database, look(below("CONFINED_DATA", "/directory.db")))                     \
    DEED(read_key, look(below("CONFINED_DATA", "/keys/secret")))                           \
    DEED(read_mail, look(below("CONFINED_MAIL", "")))                                      \
    DEED(list_mail, look(below("CONFINED_DATA", "/mail")))                                 \
    DEED(read_log, look(below("CONFINED_DATA", "/log/tacit.log")))                         \
    DEED(list_data, look(below("CONFINED_DATA", "")))                                      \
    DEED(list_spool, look(below("CONFINED_DATA", "/spool")))                               \
    DEED(write_lane_0, make_in_lane("/spool/lane-00"))                                     \
    DEED(write_lane_1, make_in_lane("/spool/lane-01"))                                     \
    DEED(write_lane_2, make_in_lane("/spool/lane-02"))                                     \
    DEED(read_lane_1, look(below("CONFINED_DATA", "/spool/lane-01/lock")))                 \
    DEED(read_lane_2, look(below("CONFINED_DATA", "/spool/lane-02/lock")))                 \
    DEED(read_configuration, look(below("CONFINED_CONFIG", "")))                           \
    DEED(read_users, look("/etc/passwd"))                                                  \
    DEED(read_program, look("/bin/true"))                                                  \
    DEED(read_master, look(below("CONFINED_PARENT", "/environ")))                          \
    DEED(make_in_data, make(below("CONFINED_DATA", "/made")))                              \
    DEED(make_outside, make(below("CONFINED_DATA", "/../made")))                           \
    DEED(make_mailbox, CALL(SYS_mkdirat, AT_FDCWD, below("CONFINED_MAILBOX", name), 0700)) \
    DEED(unlink_mail, CALL(SYS_unlinkat, AT_FDCWD, below("CONFINED_MAIL", name), 0))       \
    DEED(cut_file, CALL(SYS_ftruncate, -1, 0))                                             \
    DEED(chmod, CALL(SYS_fchmodat, AT_FDCWD, "/nowhere", 0700))                            \
    DEED(chown, CALL(SYS_fchownat, AT_FDCWD, "/nowhere", 0, 0, 0))                         \
    DEED(link, CALL(SYS_linkat, AT_FDCWD, "/nowhere", AT_FDCWD, "/nowhere/link", 0))       \
    DEED(symlink, CALL(SYS_symlinkat, "/etc", AT_FDCWD, "/nowhere/link"))                  \
    DEED(make_device, CALL(SYS_mknodat, AT_FDCWD, "/nowhere/device", S_IFCHR, 0x103))      \
    DEED(change_root, CALL(SYS_chroot, "/"))                                               \
    DEED(change_dir, CALL(SYS_chdir, "/"))                                                 \
    DEED(open_by_handle, CALL(SYS_open_by_handle_at, -1, NULL, 0))                         \
    /* processes and memory */                                                             \
    DEED(execute, execute())                                                               \
    DEED(execute_at, CALL(SYS_execveat, -1, "", NULL, NULL, AT_EMPTY_PATH))                \
    DEED(fork, CALL(SYS_clone, SIGCHLD, 0, 0, 0, 0))                                       \
    DEED(new_namespace, CALL(SYS_clone, SIGCHLD | 0x10000000, 0, 0, 0, 0))                 \
    DEED(clone3, CALL(SYS_clone3, NULL, 0))                                                \
    DEED(unshare, CALL(SYS_unshare, 0x10000000))                                           \
    DEED(trace, CALL(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0))                                 \
    DEED(read_memory, CALL(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0))             \
    DEED(signal_master, CALL(SYS_kill, parent, 0))                                         \
    DEED(signal_thread, CALL(SYS_tgkill, parent, parent, 0))                               \
    DEED(map_to_execute, map(PROT_READ | PROT_EXEC))                                       \
    DEED(map_then_execute, map_then_execute())                                             \
    DEED(memory_file, CALL(SYS_memfd_create, "x", 0))                                      \
    DEED(become_root, CALL(SYS_setresuid, 0, 0, 0))                                        \
    DEED(dump, prctl(PR_SET_DUMPABLE, 1))                                                  \
    DEED(filter, CALL(SYS_seccomp, 0, 0, NULL))                                            \
    DEED(core_limit, CALL(SYS_prlimit64, 0, RLIMIT_CORE, &limit, NULL))                    \
    DEED(masters_limit, CALL(SYS_prlimit64, parent, RLIMIT_NOFILE, &limit, NULL))          \
    /* network */                                                                          \
    DEED(socket_inet, socket(AF_INET, SOCK_STREAM, 0) < 0 ? -1 : 0)                        \
    DEED(socket_unix, socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? -1 : 0)                        \
    DEED(socket_netlink, socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? -1 : 0)                     \
    DEED(socket_packet, socket(AF_PACKET, SOCK_RAW, 0) < 0 ? -1 : 0)                       \
    DEED(connect_to_name_server, reach(53, SYS_connect, 0))                                \
    DEED(connect_elsewhere, reach(1, SYS_connect, 0))                                      \
    DEED(connect_by_multipath_tcp, reach(1, SYS_connect, IPPROTO_MPTCP))                   \
    DEED(connect_by_smc, reach(1, SYS_connect, 256))                                       \
    DEED(connect_with_data, reach(1, SYS_sendmsg, 0))                                      \
    DEED(connect_with_data_by_sendto, reach(1, SYS_sendto, 0))                             \
    DEED(operate, operate())                                                               \
    DEED(bind_tcp, reach(61999, SYS_bind, 0))                                              \
    DEED(accept, accept(-1, NULL, NULL))                                                   \
    DEED(connect, connect(-1, NULL, 0))                                                    \
    DEED(bind, bind(-1, NULL, 0))                                                          \
    DEED(listen, listen(-1, 1))                                                            \
    DEED(socket_filter, setsockopt(3, SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0))              \
    /* the machine */                                                                      \
    DEED(terminal, ioctl(2, TIOCSTI, ""))                                                  \
    DEED(owner_signal, fcntl(2, F_SETOWN, 1))                                              \
    DEED(mount, CALL(SYS_mount, "", "/", "", 0, NULL))                                     \
    DEED(keys, CALL(SYS_keyctl, 0, 0, 0, 0, 0))                                            \
    DEED(bpf, CALL(SYS_bpf, 0, NULL, 0))                                                   \
    DEED(perf, CALL(SYS_perf_event_open, NULL, 0, -1, -1, 0))                              \
    DEED(io_uring, CALL(SYS_io_uring_setup, 1, NULL))                                      \
    DEED(fault_handler, CALL(SYS_userfaultfd, 0))                                          \
    DEED(watch_files, CALL(SYS_inotify_init1, 0))                                          \
    DEED(shared_memory, CALL(SYS_shmget, 1, 4096, 0))                                      \
    DEED(unknown, CALL(500))                                                               \
    /* what it may */                                                                      \
    DEED(thread, thread())                                                                 \
    DEED(map, map(PROT_READ | PROT_WRITE))                                                 \
    DEED(time, CALL(SYS_clock_gettime, 0, (struct timespec[1]){{0}}))

#define DEED(name, expression) \
    static int deed_##name(void) { return expression; }
DEEDS
#undef DEED
static const struct {
    const char *name;
    int (*run)(void);
} deeds[] = {
#define DEED(name, expression) {#name, deed_##name},
    DEEDS
#undef DEED
};

static void report(const char *deed, int status)
{
    char line[128];
    int  len = snprintf(line, sizeof line, "%s %s %s\n", name, deed,
                       WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? "killed"
                        : WIFSIGNALED(status)                             ? sigabbrev_np(WTERMSIG(status))
                        : WEXITSTATUS(status) == 0                        ? "ok"
                                                                          : strerrorname_np(WEXITSTATUS(status)));
    if (write(report_fd, line, (size_t)len) != len)
        abort();
}

int seccomp_load(void *filter)
{
    int (*real)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "seccomp_load");
    char comm[16] = "", proc[32];

    prctl(PR_GET_NAME, comm);
    snprintf(name, sizeof name, "%s", strncmp(comm, "tacit-", 6) == 0 ? comm + 6 : "master");
    if (strcmp(name, "resolver") == 0) /* too long for a number */
        strcat(name, "-0");
    parent = getppid();
    snprintf(proc, sizeof proc, "/proc/%ld", (long)parent);
    setenv("CONFINED_PARENT", proc, 1);
    for (size_t i = 0; report_fd >= 0 && i < sizeof deeds / sizeof *deeds; i++) {
        int   status = 0;
        pid_t pid = fork();

        if (pid == 0) {
            errno = 0;
            if (real(filter) != 0)
                _exit(EL2HLT);
            _exit(deeds[i].run() == 0 ? 0 : errno);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            abort();
        report(deeds[i].name, status);
    }
    return real(filter);
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    int (*real)(int, struct sockaddr *, socklen_t *, int) =
        (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
    int  accepted = real(fd, address, len, flags);
    char c = 0;

    if (accepted >= 0 && trigger_fd >= 0 && pread(trigger_fd, &c, 1, 0) == 1 && c == 'x')
        execute();
    return accepted;
}

long syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    const char *version = getenv("CONFINED_LANDLOCK");
    long        a[6];
    va_list     arguments;

    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (version && number == SYS_landlock_create_ruleset && a[2] == LANDLOCK_CREATE_RULESET_VERSION)
        return strtol(version, NULL, 10);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
