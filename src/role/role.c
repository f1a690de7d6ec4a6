/* role.c: the frame of a role's process.
 *
 * Signals that a terminal or a service manager sends to the whole group are ignored: master alone tells a role to stop,
 * in the right order. What arrives before START is kept, see role.h. PR_SET_PDEATHSIG was rejected: it follows the
 * thread that forked and kills without a grace time; the end of the channel says the same and lets the role finish. */
#include "role/role.h"
#include "role/confine.h"
#include "role/control.h"
#include "role/log.h"

#include "io/systemd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_CHANNEL = 3, FD_CONFIG, FD_COUNTERS, FD_LOG };
enum {
    ORPHAN_GRACE_MS = 1000,
    OVERDUE_MS = 1000,    /* after the grace time */
    MESSAGE_MAX = 1024,   /* octets that we send */
    KEPT_MAX = 2048,      /* listeners and peers before START */
    LOOK_MS = 2000,       /* at what the role lacks */
    SYSTEM_NAME_MAX = 15, /* letters of a process's name that the system keeps */
};

struct kept {
    struct control message;
    int            fd;
};

static struct {
    const struct role_ops *ops;
    struct role_context    context;
    struct io_ipc         *master;
    struct io_timer       *overdue, *look;
    unsigned               lacked; /* at the last look */
    struct kept           *kept;
    size_t                 kept_count;
    bool                   started, draining;
    int                    status; /* of the process */
} self;

struct str role_lane_dir(const struct config *config, unsigned lane, struct arena *arena)
{
    return arena_printf(arena, "%s/spool/lane-%02u", config->data, lane);
}

struct str role_mail_root(const struct config *config, const struct config_domain *domain, struct arena *arena)
{
    struct str path = str_from(domain->deliver), kind = str_cut(&path, ':');
    size_t     slash;

    if (!str_eq(kind, STR("maildir")))
        return STR_NONE;
    path = str_part(path, 0, str_find_byte(path, '{'));
    slash = str_find_last_byte(path, '/');
    return config_path(config->data, str_part(path, 0, slash == STR_NOT_FOUND ? 0 : slash ? slash : 1), arena);
}

static void tell(const struct control *c)
{
    struct buf b;

    buf_init(&b, MESSAGE_MAX);
    if (self.master && control_put(c, &b))
        io_ipc_send(self.master, buf_str(&b), -1);
    buf_done(&b);
}

static void fail(const struct err *err)
{
    tell(&(struct control){.kind = CONTROL_FAILED, .class = err->class, .text = str_from(err->text)});
    self.status = EXIT_FAILURE;
    io_loop_stop(self.context.loop);
}

void role_drained(struct role_context *c)
{
    assert(c == &self.context);
    tell(&(struct control){.kind = CONTROL_DRAINED});
    io_loop_stop(c->loop);
}

void role_give_up(const char *what, const struct err *err)
{
    log_notice(LOG_LEVEL_ERROR, "%s%s%s; starts over", what, err ? ": " : "", err ? err->text : "");
    log_flush();
    _exit(EXIT_FAILURE);
}

static void overdue(void *arg)
{
    (void)arg;
    log_notice(LOG_LEVEL_WARNING, "the grace time is over: ends with work unfinished");
    io_loop_stop(self.context.loop);
}

static void drain(uint64_t grace_ms)
{
    if (!self.started) {
        io_loop_stop(self.context.loop);
        return;
    }
    if (self.draining)
        return;
    self.draining = true;
    io_timer_stop(self.look);
    io_timer_start(self.overdue, grace_ms + OVERDUE_MS, 0);
    self.ops->drain(&self.context, grace_ms);
}

/* Not at the first sight of it: a peer that is being restarted comes by itself. */
static void look(void *arg)
{
    const unsigned lacks = self.ops->lacks(&self.context), still = lacks & self.lacked;

    (void)arg;
    for (unsigned role = ROLE_FIRST; role <= ROLE_LAST; role++)
        if (still >> role & 1)
            tell(&(struct control){.kind = CONTROL_LACKS, .role = (enum role)role});
    self.lacked = lacks;
}

static void hand_over(const struct control *c, int fd)
{
    if (c->kind == CONTROL_LISTENER && self.ops->listener)
        self.ops->listener(&self.context, c->number, fd);
    else if (c->kind == CONTROL_PEER && self.ops->peer)
        self.ops->peer(&self.context, c->role, c->number, fd);
    else
        close(fd);
}

/* What these two open at the start must be there to be named, or takes calls that they need only then. */
static bool is_confined_late(enum role role) { return role == ROLE_KEEPER || role == ROLE_RESOLVER; }

static void start(void)
{
    struct err err;

    if (self.started)
        return;
    self.started = true;
    if (!self.ops->start(&self.context, &err) ||
        (is_confined_late(self.context.role) &&
         !confine_role(self.context.config, self.context.role, self.context.lane, &err))) {
        fail(&err);
        return;
    }
    for (size_t i = 0; i < self.kept_count; i++)
        hand_over(&self.kept[i].message, self.kept[i].fd);
    self.kept_count = 0;
    free(self.kept);
    self.kept = NULL;
    if (self.ops->lacks)
        io_timer_start(self.look, LOOK_MS, LOOK_MS);
    tell(&(struct control){.kind = CONTROL_READY});
}

static void keep(const struct control *c, int fd)
{
    struct err err;

    if (!self.kept)
        self.kept = calloc(KEPT_MAX, sizeof *self.kept);
    if (!self.kept || self.kept_count == KEPT_MAX) {
        close(fd);
        err_set(&err, ERR_LIMIT, "too many listeners and peers");
        fail(&err);
        return;
    }
    self.kept[self.kept_count].message = *c;
    self.kept[self.kept_count].fd = fd;
    self.kept_count++;
}

static void on_message(void *arg, struct str data, int fd)
{
    struct control c;
    struct err     err;
    bool           has_fd;

    (void)arg;
    if (!control_get(data, &c)) {
        err_set(&err, ERR_PERMANENT, "a message of master makes no sense: was the program replaced while it runs?");
        fail(&err);
        return;
    }
    has_fd = c.kind == CONTROL_LISTENER || c.kind == CONTROL_PEER || c.kind == CONTROL_LOG;
    if (has_fd && fd < 0) { /* the kernel drops what a process has no free number for */
        err_set(&err, ERR_LIMIT, "no free descriptor: raise the limit of open files (ulimit -n)");
        fail(&err);
        return;
    }
    if (!has_fd && fd >= 0)
        close(fd);
    switch (c.kind) {
    case CONTROL_LISTENER:
    case CONTROL_PEER:
        if (self.started)
            hand_over(&c, fd);
        else
            keep(&c, fd);
        break;
    case CONTROL_LOG:
        log_reopen(fd);
        break;
    case CONTROL_START:
        start();
        break;
    case CONTROL_DRAIN:
        drain(c.grace_ms);
        break;
    case CONTROL_READY:
    case CONTROL_FAILED:
    case CONTROL_DRAINED:
    case CONTROL_LACKS:
        break;
    }
}

static void on_end(void *arg)
{
    (void)arg;
    io_ipc_free(self.master);
    self.master = NULL;
    if (self.draining) {
        io_loop_stop(self.context.loop);
        return;
    }
    log_notice(LOG_LEVEL_WARNING, "master is gone: ends");
    self.context.is_orphaned = true;
    drain(ORPHAN_GRACE_MS);
}

static struct config *read_config(struct err *err)
{
    struct config *config;
    struct stat    st;
    void          *p;

    if (fstat(FD_CONFIG, &st) != 0 || st.st_size <= 0) {
        err_set(err, ERR_PERMANENT, "there is no configuration on descriptor %d: roles are started by master",
                FD_CONFIG);
        return NULL;
    }
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, FD_CONFIG, 0); /* sealed: nobody can cut it */
    if (p == MAP_FAILED) {
        err_set_os(err, errno, "configuration");
        return NULL;
    }
    config = config_unpack(str_of(p, (size_t)st.st_size), err);
    munmap(p, (size_t)st.st_size);
    close(FD_CONFIG);
    return config;
}

static bool set_up(enum role role, unsigned index, unsigned lane, struct err *err)
{
    static const struct io_ipc_ops ipc_ops = {on_message, on_end};
    struct role_context           *c = &self.context;
    char                           name[32];
    int                            log_fd = fcntl(FD_LOG, F_GETFD) < 0 ? -1 : FD_LOG;

    for (int fd = FD_CHANNEL; fd <= FD_LOG; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    snprintf(name, sizeof name, "%s-%u", role_name(role), index);
    log_init(LOG_TEXT, LOG_LEVEL_INFO, name, log_fd);
    c->role = role;
    c->index = index;
    c->lane = lane;
    c->loop = io_loop_new(err);
    if (!c->loop)
        return false;
    self.master = io_ipc_new(c->loop, FD_CHANNEL, &ipc_ops, NULL, err);
    if (!self.master)
        return false;
    self.overdue = io_timer_new(c->loop, overdue, NULL);
    self.look = io_timer_new(c->loop, look, NULL);
    if (!self.overdue || !self.look)
        return err_set_os(err, ENOMEM, "timer");
    c->config = read_config(err);
    umask(0007);
    if (!c->config || !confine_user(c->config, role, err))
        return false;
    log_init((enum log_form)c->config->log, (enum log_level)c->config->log_level, name, log_fd);
    c->counters = counters_map(FD_COUNTERS, true, err);
    if (!c->counters)
        return false;
    c->slot = counters_slot(c->counters, role, lane);
    if (!c->slot)
        return err_set(err, ERR_PERMANENT, "lane %u is too high", lane);
    counters_use(c->slot);
    log_attach(c->loop);
    return is_confined_late(role) || confine_role(c->config, role, lane, err);
}

int role_run(const struct role_ops *ops, enum role role, unsigned index, unsigned lane)
{
    static const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP};
    struct err       err = {0};
    char             name[32];

    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    io_service_forget();
    if (snprintf(name, sizeof name, "tacit-%s-%u", role_name(role), index) > SYSTEM_NAME_MAX)
        snprintf(name, sizeof name, "tacit-%s", role_name(role));
    prctl(PR_SET_NAME, name); /* else ps and ss show "exe" */
    self.ops = ops;
    if (set_up(role, index, lane, &err)) {
        io_loop_run(self.context.loop);
    } else if (self.master) {
        fail(&err);
    } else {
        log_notice(LOG_LEVEL_ERROR, "%s", err.text);
        self.status = EXIT_FAILURE;
    }
    log_flush();
    return self.status;
}
