/* process.c: one process, from fork to its last status.
 *
 * A process has ended when it has been waited for and its channel is read to the end: only then is known what it said
 * last. posix_spawn was rejected: it cannot set the descriptors' numbers and the signals in one safe order. */
#include "master/internal.h"
#include "role/log.h"
#include "role/role.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_FIRST = 3, FD_COUNT = 4, FD_HIGH = 64, MESSAGE_MAX = 1024, SUPPLY_PAUSE_MS = 1000 };

void process_name(const struct process *p, char *ret_name, size_t size)
{
    snprintf(ret_name, size, "%s-%u", role_name(p->role), p->index);
}

static void timer_fired(void *arg);

struct process *process_new(struct master *m, enum role role, unsigned lane, unsigned ordinal)
{
    struct process *p = calloc(1, sizeof *p);

    if (!p || !(p->timer = io_timer_new(m->loop, timer_fired, p))) {
        free(p);
        return NULL;
    }
    p->master = m;
    p->role = role;
    p->lane = lane;
    p->index = role == ROLE_FRONT ? lane - LANE_FRONT_FIRST : lane;
    p->ordinal = ordinal;
    p->generation = m->generation;
    p->again = true;
    list_push(&m->processes, &p->link);
    return p;
}

void process_tell(struct process *p, const struct control *c, int fd)
{
    struct buf b;

    buf_init(&b, MESSAGE_MAX);
    if (p->ipc && control_put(c, &b))
        io_ipc_send(p->ipc, buf_str(&b), fd);
    buf_done(&b);
}

/* ---- the end ---- */

static void describe_end(const struct process *p, enum log_level level)
{
    char name[32], how[128];

    process_name(p, name, sizeof name);
    if (WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGSYS) /* io/sandbox.h */
        snprintf(how, sizeof how,
                 "was ended for a forbidden system call: an intruder, or a bug; the kernel's log has "
                 "its number (type=1326)");
    else if (WIFSIGNALED(p->status))
        snprintf(how, sizeof how, "was killed by signal %d (%s)", WTERMSIG(p->status),
                 sigdescr_np(WTERMSIG(p->status)) ? sigdescr_np(WTERMSIG(p->status)) : "unknown");
    else
        snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(p->status));
    if (p->failed)
        log_notice(level, "%s %s: %s", name, how, p->failure.text);
    else
        log_notice(level, "%s %s", name, how);
}

static void process_free(struct process *p)
{
    list_remove(&p->link);
    io_timer_free(p->timer);
    free(p);
}

/* How long to wait before it starts again: nothing, unless it ends over and over. */
static unsigned next_pause_s(struct process *p, uint64_t now_ms)
{
    uint64_t lived_ms = now_ms - p->started_ms, first_end_ms;
    unsigned pause_s;

    p->ends_ms[p->ends++ % CRASH_ENDS] = now_ms;
    first_end_ms = p->ends_ms[p->ends % CRASH_ENDS];
    if (p->pauses > 0 && lived_ms >= CRASH_WINDOW_MS)
        p->pauses = 0;
    else if (p->pauses > 0 || (p->ends >= CRASH_ENDS && now_ms - first_end_ms <= CRASH_WINDOW_MS))
        p->pauses++;
    if (p->pauses == 0)
        return 0;
    pause_s = p->pauses > 5 ? PAUSE_MAX_S : 1u << (p->pauses - 1);
    return pause_s < PAUSE_MAX_S ? pause_s : PAUSE_MAX_S;
}

static void start_again(struct process *p)
{
    struct master *m = p->master;
    unsigned       pause_s = next_pause_s(p, io_loop_now_ms(m->loop));
    char           name[32];

    p->state = PROCESS_PAUSED;
    if (pause_s == 0) {
        process_start(p);
        return;
    }
    process_name(p, name, sizeof name);
    log_notice(LOG_LEVEL_ERROR, "%s ends over and over: starts again in %u s", name, pause_s);
    io_timer_start(p->timer, pause_s * 1000ull, 0);
}

static void ended(struct process *p)
{
    struct master       *m = p->master;
    struct counter_slot *slot = counters_slot(m->counters, p->role, p->lane);
    bool                 expected = p->state == PROCESS_DRAINING && WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0;
    int32_t              pid = (int32_t)p->pid;

    io_timer_stop(p->timer);
    if (atomic_compare_exchange_strong(&slot->pid, &pid, 0))
        counters_reset_gauges(slot);
    p->pid = 0;
    master_process_ended(p);
    describe_end(p, expected || p->refused || m->start_failed ? LOG_LEVEL_DEBUG
                    : p->state == PROCESS_DRAINING            ? LOG_LEVEL_WARNING
                                                              : LOG_LEVEL_ERROR);
    if (p->state == PROCESS_DRAINING)
        p->ends = p->pauses = 0;
    else if (p->again)
        atomic_fetch_add_explicit(&slot->restarts, 1, memory_order_relaxed);
    if (p->again)
        start_again(p);
    else
        process_free(p);
    master_advance(m);
}

static void on_channel_end(void *arg)
{
    struct process *p = arg;

    io_ipc_free(p->ipc);
    p->ipc = NULL;
    if (p->waited_for)
        ended(p);
}

void process_reap_all(struct master *m)
{
    struct list *link = m->processes.next;

    while (link != &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        link = link->next;
        if (p->pid == 0 || p->waited_for || waitpid(p->pid, &p->status, WNOHANG) != p->pid)
            continue;
        p->waited_for = true;
        if (!p->ipc) {
            ended(p);
            link = m->processes.next; /* the list may have changed */
        }
    }
}

/* ---- peers ---- */

static void wire(struct process *a, struct process *b)
{
    int        fds[2];
    struct err err;

    if (!io_ipc_pair(fds, &err)) {
        log_notice(LOG_LEVEL_ERROR, "%s", err.text);
        return;
    }
    process_tell(a, &(struct control){.kind = CONTROL_PEER, .role = b->role, .number = b->index}, fds[0]);
    process_tell(b, &(struct control){.kind = CONTROL_PEER, .role = a->role, .number = a->index}, fds[1]);
    close(fds[0]);
    close(fds[1]);
}

static bool talk(enum role a, enum role b)
{
    static const unsigned peers[ROLE_COUNT] = {
        [ROLE_FRONT] = 1u << ROLE_KEEPER | 1u << ROLE_BACK | 1u << ROLE_RESOLVER,
        [ROLE_KEEPER] = 1u << ROLE_FRONT | 1u << ROLE_BACK,
        [ROLE_BACK] = 1u << ROLE_FRONT | 1u << ROLE_KEEPER | 1u << ROLE_CARRIER,
        [ROLE_RESOLVER] = 1u << ROLE_FRONT | 1u << ROLE_CARRIER,
        [ROLE_CARRIER] = 1u << ROLE_BACK | 1u << ROLE_RESOLVER,
    };

    return peers[a] >> b & 1;
}

/* A front that drains still asks and still tells back what it stored, and a carrier what became of what it had; the
 * others that drain are being replaced. */
static bool takes_peers(const struct process *p)
{
    return p->ipc && !p->waited_for && !p->unwired &&
           (p->state == PROCESS_STARTING || p->state == PROCESS_RUNNING ||
            (p->state == PROCESS_DRAINING && (p->role == ROLE_FRONT || p->role == ROLE_CARRIER)));
}

void process_wire(struct process *p)
{
    if (!takes_peers(p))
        return;
    LIST_EACH (link, &p->master->processes) {
        struct process *other = LIST_ITEM(link, struct process, link);

        if (talk(p->role, other->role) && takes_peers(other))
            wire(p, other);
    }
}

/* Not from one that drains: of carriers, back gives to the one that came last. */
static void supply(struct process *p, enum role role)
{
    const uint64_t now_ms = io_loop_now_ms(p->master->loop);
    char           name[32];

    if (!talk(p->role, role) || p->state != PROCESS_RUNNING || now_ms - p->supplied_ms < SUPPLY_PAUSE_MS)
        return;
    LIST_EACH (link, &p->master->processes) {
        struct process *other = LIST_ITEM(link, struct process, link);

        if (other->role != role || !takes_peers(other))
            continue;
        process_name(p, name, sizeof name);
        log_notice(LOG_LEVEL_WARNING, "%s has lost its channel to the %s and gets a new one", name, role_name(role));
        wire(p, other);
        p->supplied_ms = now_ms;
    }
}

/* ---- what it says ---- */

static void on_message(void *arg, struct str data, int fd)
{
    struct process *p = arg;
    struct control  c;

    if (fd >= 0)
        close(fd); /* a role has none to give */
    if (!control_get(data, &c))
        return;
    switch (c.kind) {
    case CONTROL_READY:
        if (p->state != PROCESS_STARTING)
            break;
        p->state = PROCESS_RUNNING;
        master_process_ready(p);
        break;
    case CONTROL_FAILED:
        p->failed = true;
        err_set(&p->failure, c.class, "%.*s", STR_ARG(str_part(c.text, 0, sizeof p->failure.text)));
        break;
    case CONTROL_LACKS:
        supply(p, c.role);
        break;
    case CONTROL_DRAINED:
    case CONTROL_LISTENER:
    case CONTROL_PEER:
    case CONTROL_LOG:
    case CONTROL_START:
    case CONTROL_DRAIN:
        break;
    }
}

/* ---- start ---- */

/* In the child: only what is safe between fork and exec. */
static _Noreturn void become_role(char *const *argv, const int sources[FD_COUNT])
{
    static const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP};
    int              high[FD_COUNT];
    sigset_t         none;

    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    for (int i = 0; i < FD_COUNT; i++) /* out of the way of each other first */
        high[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, FD_HIGH);
    for (int i = 0; i < FD_COUNT; i++)
        if (high[i] < 0 || dup2(high[i], FD_FIRST + i) < 0)
            _exit(126);
    close_range(FD_FIRST + FD_COUNT, UINT_MAX, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static pid_t fork_role(struct process *p, int channel)
{
    struct master *m = p->master;
    char           index[16], lane[16], role[16];
    char        program[] = "tacit", serve[] = "serve", o_role[] = "--role", o_index[] = "--index", o_lane[] = "--lane";
    char *const argv[] = {program, serve, o_role, role, o_index, index, o_lane, lane, NULL};
    const struct config_fds *config = p->unwired ? &m->next_config_fds : &m->config_fds;
    const int sources[FD_COUNT] = {channel, p->role == ROLE_CARRIER ? config->secret : config->open, m->counters_fd,
                                   m->log_fd};
    sigset_t  all, old;
    pid_t     pid;

    snprintf(role, sizeof role, "%s", role_name(p->role));
    snprintf(index, sizeof index, "%u", p->index);
    snprintf(lane, sizeof lane, "%u", p->lane);
    log_flush();
    sigfillset(&all); /* the loop's handlers must not run in the child */
    sigprocmask(SIG_SETMASK, &all, &old);
    pid = fork();
    if (pid == 0)
        become_role(argv, sources);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return pid;
}

static bool try_start(struct process *p, struct err *err)
{
    static const struct io_ipc_ops ops = {on_message, on_channel_end};
    struct master                 *m = p->master;
    struct counter_slot           *slot = counters_slot(m->counters, p->role, p->lane);
    int                            fds[2];

    assert(slot);
    if (p->role == ROLE_FRONT && !data_make_lane(m, p->lane, err))
        return false;
    if (!io_ipc_pair(fds, err))
        return false;
    p->ipc = io_ipc_new(m->loop, fds[0], &ops, p, err);
    if (!p->ipc) {
        close(fds[1]);
        return false;
    }
    p->pid = fork_role(p, fds[1]);
    close(fds[1]);
    if (p->pid < 0) {
        p->pid = 0;
        io_ipc_free(p->ipc);
        p->ipc = NULL;
        return err_set_os(err, errno, "fork");
    }
    p->started_ms = io_loop_now_ms(m->loop);
    p->state = PROCESS_STARTING;
    p->generation = m->generation + (p->unwired ? 1 : 0);
    p->waited_for = p->failed = false;
    atomic_store(&slot->role, (uint32_t)p->role);
    atomic_store(&slot->index, p->index);
    atomic_store(&slot->started_ms, io_wall_ms());
    atomic_store(&slot->pid, (int32_t)p->pid);
    return true;
}

void process_start(struct process *p)
{
    struct err err;
    char       name[32];

    if (!try_start(p, &err)) {
        process_name(p, name, sizeof name);
        p->state = PROCESS_PAUSED;
        log_notice(LOG_LEVEL_ERROR, "%s cannot be started: %s; next try in %u s", name, err.text, PAUSE_MAX_S / 10);
        io_timer_start(p->timer, PAUSE_MAX_S * 100ull, 0);
        return;
    }
    listeners_hand_out(p);
    process_wire(p);
    process_tell(p, &(struct control){.kind = CONTROL_START}, -1);
}

static void timer_fired(void *arg)
{
    struct process *p = arg;
    char            name[32];

    if (p->state == PROCESS_PAUSED) {
        process_start(p);
        return;
    }
    process_name(p, name, sizeof name);
    log_notice(LOG_LEVEL_WARNING, "%s does not end: it is killed", name);
    process_kill(p);
}

/* ---- stop ---- */

void process_drain(struct process *p, uint64_t grace_ms, uint64_t kill_ms)
{
    if (p->state == PROCESS_PAUSED) { /* there is nothing to wait for */
        io_timer_stop(p->timer);
        if (p->again)
            process_start(p);
        else
            process_free(p);
        return;
    }
    p->state = PROCESS_DRAINING;
    process_tell(p, &(struct control){.kind = CONTROL_DRAIN, .grace_ms = grace_ms}, -1);
    io_timer_start(p->timer, kill_ms, 0);
}

void process_kill(struct process *p)
{
    if (p->pid > 0 && !p->waited_for)
        kill(p->pid, SIGKILL);
}
