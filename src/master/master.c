/* master.c: the whole from start to stop.
 *
 * Everything that can be wrong is found out before the first process starts: the text, the directory, the lock, the
 * ports. Then the others are started; until all of them have been ready once, a failure that will not go away by itself
 * ends the whole with one line. Afterwards nothing ends master but a signal.
 *
 * At a stop those who meet the network end first, fronts and carrier at the same time, so that both have the whole
 * grace time; back records what they still say; then those whom all of them ask. */
#include "master/master.h"
#include "master/internal.h"
#include "role/confine.h"
#include "role/log.h"
#include "role/role.h"

#include "io/sandbox.h"
#include "io/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ANNOUNCE_MAX = 800 /* octets of a line */, BACK_SHARE_MS = 2000 };

static struct master self;

unsigned master_front_count(const struct config *config)
{
    cpu_set_t cpus;
    int       count = 1;

    if (config->fronts)
        return (unsigned)(config->fronts < FRONTS_MAX ? config->fronts : FRONTS_MAX);
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        count = (CPU_COUNT(&cpus) + 1) / 2; /* the others deliver, and do what the kernel does for connections */
    return (unsigned)(count < 1 ? 1 : count > FRONTS_MAX ? FRONTS_MAX : count);
}

static bool make_config_fd(const struct config *config, bool passwords, int *ret_fd, struct err *err)
{
    struct buf b;
    int        fd;
    bool       ok = false;

    buf_init(&b, 2 * CONFIG_TEXT_MAX);
    fd = memfd_create("tacit-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        err_set_os(err, errno, "memory for the configuration");
    else if (!config_pack(config, passwords, &b))
        err_set_os(err, ENOMEM, "memory for the configuration");
    else if (write(fd, b.data, b.len) != (ssize_t)b.len ||
             fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        err_set_os(err, errno, "memory for the configuration");
    else
        ok = true;
    buf_done(&b);
    if (ok)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return ok;
}

bool master_make_config_fds(const struct config *config, struct config_fds *ret_fds, struct err *err)
{
    struct config_fds fds;

    if (!make_config_fd(config, false, &fds.open, err))
        return false;
    if (!make_config_fd(config, true, &fds.secret, err)) {
        close(fds.open);
        return false;
    }
    *ret_fds = fds;
    return true;
}

void master_close_config_fds(struct config_fds *fds)
{
    if (fds->open >= 0) {
        close(fds->open);
        close(fds->secret);
    }
    *fds = NO_CONFIG_FDS;
}

void master_announce(struct master *m, const char *what)
{
    struct buf b;
    char       text[IO_ADDRESS_TEXT];
    bool       said = false;

    buf_init(&b, ANNOUNCE_MAX);
    for (const struct listener *l = listeners_next(m, NULL); l; l = listeners_next(m, l)) {
        io_address_text(&l->bound, text);
        if (b.len + strlen(text) + 2 > ANNOUNCE_MAX) {
            log_notice(LOG_LEVEL_INFO, "%s: listening on %s", what, b.data);
            buf_clear(&b);
        }
        buf_printf(&b, "%s%s", b.len ? ", " : "", text);
        said = true;
    }
    log_notice(LOG_LEVEL_INFO, "%s: listening on %s", what, said ? b.data : "no address but the local socket");
    io_service_ready(said ? b.data : "running");
    buf_done(&b);
}

void master_drain_all(struct master *m, enum role role, unsigned but_generation, uint64_t grace_ms)
{
    bool found;

    do { /* from the front again after each, since draining what is paused removes it */
        found = false;
        LIST_EACH (link, &m->processes) {
            struct process *p = LIST_ITEM(link, struct process, link);

            if (p->role != role || p->state == PROCESS_DRAINING || p->generation == but_generation)
                continue;
            process_drain(p, grace_ms, grace_ms + KILL_AFTER_MS);
            found = true;
            break;
        }
    } while (found);
}

static bool has(const struct master *m, enum role role)
{
    LIST_EACH (link, &m->processes)
        if (LIST_ITEM(link, struct process, link)->role == role)
            return true;
    return false;
}

static bool all_run(const struct master *m)
{
    LIST_EACH (link, &m->processes)
        if (LIST_ITEM(link, struct process, link)->state != PROCESS_RUNNING)
            return false;
    return true;
}

/* ---- stop ---- */

static void stop_advance(struct master *m)
{
    uint64_t now = io_loop_now_ms(m->loop);
    uint64_t left = m->stop_deadline_ms > now ? m->stop_deadline_ms - now : 0;
    uint64_t grace = left > KILL_AFTER_MS ? left - KILL_AFTER_MS : left > BACK_SHARE_MS ? BACK_SHARE_MS : left;

    if (m->stop == STOP_OUTSIDE && !has(m, ROLE_FRONT) && !has(m, ROLE_CARRIER)) {
        m->stop = STOP_BACK;
        master_drain_all(m, ROLE_BACK, 0, grace);
    }
    if (m->stop == STOP_BACK && !has(m, ROLE_BACK)) {
        m->stop = STOP_SERVANTS;
        master_drain_all(m, ROLE_KEEPER, 0, grace);
        master_drain_all(m, ROLE_RESOLVER, 0, grace);
    }
    if (m->stop == STOP_SERVANTS && !has(m, ROLE_KEEPER) && !has(m, ROLE_RESOLVER))
        io_loop_stop(m->loop);
}

/* Beyond the deadline of the whole, whatever each process was promised. */
static void stop_overdue(void *arg)
{
    struct master *m = arg;

    if (m->stop == STOP_NONE) {
        reload_abort(m, "the new keeper or resolver does not become ready");
        return;
    }
    LIST_EACH (link, &m->processes)
        process_kill(LIST_ITEM(link, struct process, link));
}

static void stop(int signal, void *arg)
{
    struct master *m = arg;

    if (m->stop != STOP_NONE) { /* asked again: at once; nothing accepted is lost by it */
        log_notice(LOG_LEVEL_WARNING, "asked again to stop: all processes are killed");
        stop_overdue(m);
        return;
    }
    log_notice(LOG_LEVEL_INFO, "stopping (signal %d): open transactions get %llu s", signal,
               (unsigned long long)m->config->grace / 1000);
    io_service_stopping();
    reload_abort(m, "the server stops");
    m->stop = STOP_OUTSIDE;
    m->stop_deadline_ms = io_loop_now_ms(m->loop) + m->config->grace + KILL_AFTER_MS;
    io_timer_start(m->reload_timer, m->config->grace + KILL_AFTER_MS, 0);
    LIST_EACH (link, &m->processes)
        LIST_ITEM(link, struct process, link)->again = false;
    master_drain_all(m, ROLE_FRONT, 0, m->config->grace);
    master_drain_all(m, ROLE_CARRIER, 0, m->config->grace);
    stop_advance(m);
}

static void start_failed(struct master *m, const char *text)
{
    if (m->start_failed)
        return;
    log_flush();
    fprintf(stderr, "tacit: %s\n", text);
    m->start_failed = true;
    m->exit_status = EXIT_FAILURE;
    m->stop = STOP_OUTSIDE;
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        p->again = false;
        process_kill(p);
    }
    for (enum role role = ROLE_FIRST; role <= ROLE_LAST; role++)
        master_drain_all(m, role, 0, 0);
}

/* ---- what processes do ---- */

static bool is_in_vain(enum err_class class)
{
    return class == ERR_CONFIG || class == ERR_PERMANENT || class == ERR_LIMIT;
}

void master_process_ended(struct process *p)
{
    struct master *m = p->master;
    char           name[32], text[sizeof p->failure.text + 64];

    if (m->stop != STOP_NONE)
        return;
    if (p->unwired) {
        snprintf(text, sizeof text, "the new %s ended before it was ready", role_name(p->role));
        reload_abort(m, p->failed ? p->failure.text : text);
        return;
    }
    /* The new fronts of a reload take this one's place already. */
    if (m->reload == RELOAD_FRONTS && p->role == ROLE_FRONT && p->generation != m->generation)
        p->again = false;
    if (m->was_ready)
        return;
    process_name(p, name, sizeof name);
    if (p->failed && is_in_vain(p->failure.class)) {
        snprintf(text, sizeof text, "%s", p->failure.text);
        start_failed(m, text);
    } else if (p->ends + 1 >= START_ENDS_MAX) {
        snprintf(text, sizeof text, "%s does not start: %s", name, p->failed ? p->failure.text : "it ends each time");
        start_failed(m, text);
    }
}

void master_process_ready(struct process *p)
{
    if (p->unwired)
        reload_tried(p->master);
    master_advance(p->master);
}

void master_advance(struct master *m)
{
    if (m->stop != STOP_NONE) {
        stop_advance(m);
        return;
    }
    if (!m->was_ready && all_run(m)) {
        m->was_ready = true;
        master_announce(m, "ready");
        if (m->reload_wanted)
            reload_begin(m);
        return;
    }
    reload_advance(m);
}

/* ---- start ---- */

static void on_hup(int signal, void *arg)
{
    (void)signal;
    reload_begin(arg);
}

static void on_child(int signal, void *arg)
{
    (void)signal;
    process_reap_all(arg);
}

static void check_log(void *arg) { data_rotate_log(arg); }

static void raise_limits(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

static void say_confinement(const struct master *m)
{
    char text[CONFINE_TEXT];
    bool whole = confine_describe(&m->users, text);

    log_notice(whole ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "%s", text);
}

static bool set_up_data(struct master *m, struct err *err)
{
    char warning[USERS_TEXT];

    m->config = config_load(m->config_path, err);
    if (!m->config || !config_read_passwords(m->config, false, err) ||
        !users_find(m->config, &m->users, warning, err) || !data_prepare(m, err) || !data_open_log(m, err) ||
        !sandbox_confine_master(err))
        return false;
    log_init((enum log_form)m->config->log, (enum log_level)m->config->log_level, "master", m->log_fd);
    if (*warning)
        log_notice(LOG_LEVEL_WARNING, "%s", warning);
    for (size_t i = 0; i < m->config->warnings.count; i++)
        log_notice(LOG_LEVEL_WARNING, "%s", m->config->warnings.items[i]);
    return true;
}

static bool set_up_loop(struct master *m, struct err *err)
{
    struct counter_slot *slot;

    m->loop = io_loop_new(err);
    if (!m->loop)
        return false;
    log_attach(m->loop);
    m->log_timer = io_timer_new(m->loop, check_log, m);
    m->reload_timer = io_timer_new(m->loop, stop_overdue, m);
    if (!m->log_timer || !m->reload_timer)
        return err_set_os(err, ENOMEM, "timer");
    io_timer_start(m->log_timer, LOG_CHECK_MS, LOG_CHECK_MS);
    m->counters = counters_create(&m->counters_fd, err);
    if (!m->counters)
        return false;
    slot = counters_slot(m->counters, ROLE_MASTER, 0);
    atomic_store(&m->counters->started_ms, io_wall_ms());
    atomic_store(&m->counters->generation, m->generation);
    atomic_store(&slot->started_ms, io_wall_ms());
    atomic_store(&slot->pid, (int32_t)getpid());
    counters_use(slot);
    return io_signal_watch(m->loop, SIGHUP, on_hup, m, err) && io_signal_watch(m->loop, SIGTERM, stop, m, err) &&
           io_signal_watch(m->loop, SIGINT, stop, m, err) && io_signal_watch(m->loop, SIGCHLD, on_child, m, err);
}

static bool start_processes(struct master *m, struct err *err)
{
    static const enum role singles[] = {ROLE_KEEPER, ROLE_RESOLVER, ROLE_BACK};

    for (size_t i = 0; i < sizeof singles / sizeof *singles; i++) {
        struct process *p = process_new(m, singles[i], singles[i] == ROLE_BACK ? LANE_BACK : 0, 0);

        if (!p)
            return err_set_os(err, ENOMEM, "processes");
        process_start(p);
    }
    return (reload_add_carrier(m) && reload_add_fronts(m)) || err_set_os(err, ENOMEM, "processes");
}

static bool set_up(struct master *m, struct err *err)
{
    if (!set_up_data(m, err))
        return false;
    m->front_count = master_front_count(m->config);
    if (!set_up_loop(m, err) || !master_make_config_fds(m->config, &m->config_fds, err) ||
        !listeners_plan(m, m->config, m->front_count, err))
        return false;
    listeners_commit(m);
    say_confinement(m);
    return start_processes(m, err);
}

int master_run(const struct serve_options *o)
{
    struct master *m = &self;
    struct err     err;

    *m = (struct master){.config_path = o->config_path,
                         .generation = 1,
                         .config_fds = NO_CONFIG_FDS,
                         .next_config_fds = NO_CONFIG_FDS,
                         .counters_fd = -1,
                         .lock_fd = -1,
                         .log_fd = -1};
    list_init(&m->processes);
    list_init(&m->listeners);
    signal(SIGPIPE, SIG_IGN);
    raise_limits();
    if (set_up(m, &err))
        io_loop_run(m->loop);
    else
        start_failed(m, err.text);
    listeners_close_all(m);
    if (!m->start_failed)
        log_notice(LOG_LEVEL_INFO, "stopped");
    log_flush();
    return m->exit_status;
}
