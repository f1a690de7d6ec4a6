/* internal.h: the parts of master and the state they share. Only master*.c include it.
 *
 *   master.c          start, signals, stop
 *   master/reload.c   reload
 *   master/process.c  one process: start, wire, watch, drain, end
 *   master/listen.c   listening sockets, by address, kept over reloads
 *   master/data.c     directories, owners, the lock, the log file
 *
 * A process:
 *
 *               process_start              READY              process_drain
 *   (PAUSED) ─────────────────► STARTING ─────────► RUNNING ────────────────► DRAINING
 *       ▲                          │                   │                          │
 *       └──────────────────────────┴───────────────────┴── it ended ──────────────┴──► freed, or PAUSED if `again`
 */
#ifndef TACIT_MASTER_INTERNAL_H
#define TACIT_MASTER_INTERNAL_H

#include "base/list.h"
#include "config/config.h"
#include "io/ipc.h"
#include "role/control.h"
#include "role/users.h"

enum {
    KILL_AFTER_MS = 5000,    /* behind the grace time */
    CRASH_WINDOW_MS = 10000, /* CRASH_ENDS ends in it are a crash loop */
    CRASH_ENDS = 6,
    PAUSE_MAX_S = 30,
    START_ENDS_MAX = 8,      /* of one process before the server was ready once: the start has failed */
    RELOAD_TRIAL_MS = 30000, /* a new keeper or resolver that is not ready by then is given up, and the reload too */
    LOG_FILES = 4,           /* tacit.log, tacit.log.1 … .3 */
    LOG_CHECK_MS = 1000,
    FRONTS_MAX = 64,
};

enum process_state { PROCESS_PAUSED, PROCESS_STARTING, PROCESS_RUNNING, PROCESS_DRAINING };

struct master;

struct process {
    struct master     *master;
    struct list        link;
    enum role          role;
    unsigned           index;
    unsigned           lane;       /* of a front, the one it writes; of a carrier its number; else 0 */
    unsigned           ordinal;    /* of a front: which socket of each listener is its */
    unsigned           generation; /* of the configuration it was started with */
    enum process_state state;
    bool               again;   /* starts again when it has ended */
    bool               unwired; /* on trial during a reload: no peers, no questions yet */
    bool               refused; /* was on trial; the reload failed, and master has said why */
    pid_t              pid;     /* 0: none runs */
    bool               waited_for;
    int                status; /* of waitpid */
    struct io_ipc     *ipc;    /* NULL: the channel has ended */
    struct io_timer   *timer;  /* PAUSED: until the next start; DRAINING: until SIGKILL */
    uint64_t           started_ms, ends_ms[CRASH_ENDS];
    uint64_t           supplied_ms; /* when it last got a channel because it lacked one */
    unsigned           ends;        /* in all */
    unsigned           pauses;      /* in a row */
    bool               failed;      /* it said why it cannot start */
    struct err         failure;
};

struct listener {
    struct list       link;
    struct io_address address; /* as configured */
    struct io_address bound;   /* with the real port */
    mode_t            unix_mode, next_unix_mode;
    unsigned          number; /* of the listen block in the current configuration, or LISTENER_… */
    unsigned          next_number;
    bool              is_new, is_kept, was_kept; /* by the plan of a reload; before it */
    int               fds[FRONTS_MAX];           /* one for each front; one in all for a Unix socket or a special one */
    unsigned          fd_count;
    dev_t             file_dev; /* of a Unix socket: the file that was made */
    ino_t             file_ino;
};

enum reload_stage { RELOAD_NONE, RELOAD_TRIAL, RELOAD_BACK, RELOAD_FRONTS };
enum stop_stage { STOP_NONE, STOP_OUTSIDE, STOP_BACK, STOP_SERVANTS };

/* A configuration as the roles get it: for all, and with the passwords in it for the carrier. */
struct config_fds {
    int open, secret;
};
#define NO_CONFIG_FDS ((struct config_fds){-1, -1})

struct master {
    struct io_loop   *loop;
    const char       *config_path;
    struct config    *config, *next_config; /* next: during RELOAD_TRIAL */
    struct config_fds config_fds, next_config_fds;
    unsigned          generation, front_count;
    struct users      users;
    struct counters  *counters;
    int               counters_fd, lock_fd, log_fd;
    struct list       processes, listeners;
    struct io_timer  *log_timer, *reload_timer;
    enum reload_stage reload;
    enum stop_stage   stop;
    uint64_t          stop_deadline_ms;
    bool              was_ready, start_failed;
    bool              reload_wanted; /* SIGHUP before the server was ready */
    int               exit_status;
};

/* ---- master/process.c ---- */
struct process *process_new(struct master *m, enum role role, unsigned lane, unsigned ordinal);
/* Forks. Where that fails it is tried again after a pause. */
void            process_start(struct process *p);
void            process_wire(struct process *p); /* with all running processes of the other roles */
void            process_drain(struct process *p, uint64_t grace_ms, uint64_t kill_ms);
void            process_kill(struct process *p);
void            process_reap_all(struct master *m); /* after SIGCHLD */
void            process_tell(struct process *p, const struct control *c, int fd);
/* "front-1" */
void            process_name(const struct process *p, char *ret_name, size_t size);

/* ---- master.c: what a process's fate means to the whole ---- */
void     master_process_ready(struct process *p);
void     master_process_ended(struct process *p); /* decides whether it starts `again` */
void     master_advance(struct master *m);        /* the next step of start, reload or stop, if it is due */
bool     master_make_config_fds(const struct config *config, struct config_fds *ret_fds, struct err *err);
void     master_close_config_fds(struct config_fds *fds);
void     master_drain_all(struct master *m, enum role role, unsigned but_generation, uint64_t grace_ms);
unsigned master_front_count(const struct config *config);
/* "listening on …" to the log and the service manager */
void     master_announce(struct master *m, const char *what);

/* ---- master/reload.c ---- */
void reload_begin(struct master *m);
void reload_tried(struct master *m); /* one on trial is ready: when all are, the new configuration holds */
void reload_abort(struct master *m, const char *why);
void reload_advance(struct master *m);
bool reload_add_fronts(struct master *m);  /* those that the configuration wants and that are missing */
bool reload_add_carrier(struct master *m); /* beside those that drain */

/* ---- master/listen.c ---- */
/* Binds what `config` wants and is not there yet, and marks what it keeps; on failure nothing has changed. */
bool listeners_plan(struct master *m, const struct config *config, unsigned front_count, struct err *err);
void listeners_commit(struct master *m);    /* the numbers of the plan hold from now on */
void listeners_close_old(struct master *m); /* what the plan did not keep */
void listeners_abort(struct master *m);     /* what the plan opened */
void listeners_close_all(struct master *m);
void listeners_hand_out(struct process *p);
/* One address a call, in order of the listen blocks, without the special ones: *at begins as NULL. */
const struct listener *listeners_next(const struct master *m, const struct listener *at);

/* ---- master/data.c ---- */
bool data_prepare(struct master *m, struct err *err); /* directories, owners, lock */
bool data_prepare_domains(const struct master *m, const struct config *config, struct err *err);
bool data_make_lane(const struct master *m, unsigned lane, struct err *err);
bool data_open_log(struct master *m, struct err *err);
void data_rotate_log(struct master *m); /* if it has grown enough, or somebody took the file away */

#endif
