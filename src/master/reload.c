/* reload.c: from one configuration to the next without losing a connection or a question.
 *
 *   validate text, bind new listeners     fails: the old configuration stays as if nothing had happened
 *   start a new keeper and a new resolver, without peers
 *                                         fails: the same
 *   commit: the new configuration holds from here on, also for what is restarted after a crash
 *   wire both to all, drain the old ones
 *   start a new carrier, drain the old one (which ends what it has begun, and tells the old back and the new)
 *   drain back, start it again            (lane 0 has one writer, so the old one ends first; mail waits in the lanes)
 *   start new fronts on unused lanes      (they share the sockets with the old ones)
 *   all are ready: drain the old fronts, close listeners that are not wanted any more
 *
 * SIGHUP during a reload starts over with what the file says then. */
#include "master/internal.h"
#include "role/log.h"
#include "role/role.h"

#include "io/systemd.h"

#include <stdlib.h>
#include <unistd.h>

static void drop_next(struct master *m)
{
    config_free(m->next_config);
    m->next_config = NULL;
    master_close_config_fds(&m->next_config_fds);
}

void reload_abort(struct master *m, const char *why)
{
    if (m->reload != RELOAD_TRIAL)
        return;
    io_timer_stop(m->reload_timer);
    for (struct list *link = m->processes.next, *next; link != &m->processes; link = next) {
        struct process *p = LIST_ITEM(link, struct process, link);

        next = link->next;
        if (!p->unwired)
            continue;
        p->unwired = false; /* its end means nothing any more */
        p->refused = true;
        process_kill(p);
        process_drain(p, 0, KILL_AFTER_MS);
    }
    listeners_abort(m);
    drop_next(m);
    m->reload = RELOAD_NONE;
    log_notice(LOG_LEVEL_ERROR, "reload refused, the old configuration stays: %s", why);
    io_service_ready("running; the last reload was refused");
}

/* What a running server cannot change. */
static bool can_follow(const struct config *old, const struct config *new, struct err *err)
{
    const char *what = NULL;

    if (!str_eq(str_from(old->data), str_from(new->data)))
        what = "data";
    else if (!str_eq(str_from(old->users.front), str_from(new->users.front)) ||
             !str_eq(str_from(old->users.keeper), str_from(new->users.keeper)) ||
             !str_eq(str_from(old->users.back), str_from(new->users.back)) ||
             !str_eq(str_from(old->users.resolver), str_from(new->users.resolver)) ||
             !str_eq(str_from(old->users.carrier), str_from(new->users.carrier)))
        what = "users";
    return what ? err_set(err, ERR_CONFIG, "%s: \"%s\" cannot change while tacit runs; restart it", new->file, what)
                : true;
}

static bool prepare(struct master *m, struct err *err)
{
    m->next_config = config_load(m->config_path, err);
    if (!m->next_config)
        return false;
    return can_follow(m->config, m->next_config, err) && config_read_passwords(m->next_config, false, err) &&
           data_prepare_domains(m, m->next_config, err) &&
           master_make_config_fds(m->next_config, &m->next_config_fds, err) &&
           listeners_plan(m, m->next_config, master_front_count(m->next_config), err);
}

static bool start_trial(struct master *m, enum role role)
{
    struct process *p = process_new(m, role, 0, 0);

    if (!p)
        return false;
    p->unwired = true;
    p->again = false;
    process_start(p);
    return true;
}

void reload_begin(struct master *m)
{
    struct err err;

    if (m->stop != STOP_NONE)
        return;
    if (!m->was_ready) {
        m->reload_wanted = true;
        return;
    }
    reload_abort(m, "another one was asked for");
    io_service_reloading();
    if (!prepare(m, &err)) {
        drop_next(m);
        log_notice(LOG_LEVEL_ERROR, "reload refused, the old configuration stays: %s", err.text);
        io_service_ready("running; the last reload was refused");
        return;
    }
    for (size_t i = 0; i < m->next_config->warnings.count; i++)
        log_notice(LOG_LEVEL_WARNING, "%s", m->next_config->warnings.items[i]);
    m->reload = RELOAD_TRIAL;
    io_timer_start(m->reload_timer, RELOAD_TRIAL_MS, 0);
    if (!start_trial(m, ROLE_KEEPER) || !start_trial(m, ROLE_RESOLVER))
        reload_abort(m, "no memory");
}

/* Those on trial take their predecessors' place. */
static void instate(struct master *m)
{
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        if (p->role == ROLE_KEEPER || p->role == ROLE_RESOLVER)
            p->again = p->unwired;
    }
    master_drain_all(m, ROLE_KEEPER, m->generation, m->config->grace);
    master_drain_all(m, ROLE_RESOLVER, m->generation, m->config->grace);
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        if (p->unwired) {
            p->unwired = false;
            process_wire(p);
        }
    }
}

bool reload_add_carrier(struct master *m)
{
    bool            used[CARRIERS_MAX] = {false};
    unsigned        number = 0;
    struct process *p;

    LIST_EACH (link, &m->processes)
        if (LIST_ITEM(link, struct process, link)->role == ROLE_CARRIER)
            used[LIST_ITEM(link, struct process, link)->lane] = true;
    while (number < CARRIERS_MAX && used[number])
        number++;
    p = number < CARRIERS_MAX ? process_new(m, ROLE_CARRIER, number, 0) : NULL;
    if (!p)
        return false;
    process_start(p);
    return true;
}

/* Those that drain have the former configuration, or one before it. */
static struct process *current_of(struct master *m, enum role role)
{
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        if (p->role == role && p->generation == m->generation && p->state != PROCESS_DRAINING && p->again)
            return p;
    }
    return NULL;
}

static bool runs(const struct process *p) { return p && p->state == PROCESS_RUNNING; }

static void kill_drained(struct master *m, enum role role)
{
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        if (p->role == role && p->state == PROCESS_DRAINING)
            process_kill(p);
    }
}

static void commit(struct master *m)
{
    io_timer_stop(m->reload_timer);
    config_free(m->config);
    master_close_config_fds(&m->config_fds);
    m->config = m->next_config;
    m->config_fds = m->next_config_fds;
    m->next_config = NULL;
    m->next_config_fds = NO_CONFIG_FDS;
    m->front_count = master_front_count(m->config);
    m->generation++;
    atomic_store(&m->counters->generation, m->generation);
    log_init((enum log_form)m->config->log, (enum log_level)m->config->log_level, "master", m->log_fd);
    listeners_commit(m);
    m->reload = RELOAD_BACK;
    instate(m);
    LIST_EACH (link, &m->processes)
        if (LIST_ITEM(link, struct process, link)->role == ROLE_CARRIER)
            LIST_ITEM(link, struct process, link)->again = false;
    master_drain_all(m, ROLE_CARRIER, m->generation, m->config->grace);
    master_drain_all(m, ROLE_BACK, m->generation, m->config->grace);
}

void reload_tried(struct master *m)
{
    LIST_EACH (link, &m->processes) {
        const struct process *p = LIST_ITEM(link, struct process, link);

        if (p->unwired && p->state != PROCESS_RUNNING)
            return;
    }
    commit(m);
}

static bool is_current_front(const struct process *p)
{
    return p->role == ROLE_FRONT && p->generation == p->master->generation && p->state != PROCESS_DRAINING && p->again;
}

static bool lane_is_used(const struct master *m, unsigned lane)
{
    LIST_EACH (link, &m->processes)
        if (LIST_ITEM(link, struct process, link)->role == ROLE_FRONT &&
            LIST_ITEM(link, struct process, link)->lane == lane)
            return true;
    return false;
}

static bool ordinal_is_used(const struct master *m, unsigned ordinal)
{
    LIST_EACH (link, &m->processes)
        if (is_current_front(LIST_ITEM(link, struct process, link)) &&
            LIST_ITEM(link, struct process, link)->ordinal == ordinal)
            return true;
    return false;
}

static bool add_front(struct master *m, unsigned ordinal)
{
    unsigned        lane = LANE_FRONT_FIRST;
    struct process *p;

    while (lane_is_used(m, lane))
        lane++;
    if (lane > LANE_MAX || !counters_slot(m->counters, ROLE_FRONT, lane))
        return false;
    p = process_new(m, ROLE_FRONT, lane, ordinal);
    if (!p)
        return false;
    process_start(p);
    return true;
}

bool reload_add_fronts(struct master *m)
{
    for (unsigned ordinal = 0; ordinal < m->front_count; ordinal++)
        if (!ordinal_is_used(m, ordinal) && !add_front(m, ordinal))
            return false;
    return true;
}

static void finish(struct master *m)
{
    m->reload = RELOAD_NONE;
    LIST_EACH (link, &m->processes) {
        struct process *p = LIST_ITEM(link, struct process, link);

        if (p->role == ROLE_FRONT && p->generation != m->generation)
            p->again = false;
    }
    master_drain_all(m, ROLE_FRONT, m->generation, m->config->grace);
    listeners_close_old(m);
    master_announce(m, "reloaded");
}

void reload_advance(struct master *m)
{
    unsigned running = 0;

    if (m->reload == RELOAD_BACK) {
        /* Where all lanes, or all numbers, are taken by those that drain: these have had time enough. */
        if (!current_of(m, ROLE_CARRIER) && !reload_add_carrier(m))
            kill_drained(m, ROLE_CARRIER);
        if (runs(current_of(m, ROLE_BACK)) && runs(current_of(m, ROLE_CARRIER))) {
            if (reload_add_fronts(m))
                m->reload = RELOAD_FRONTS;
            else
                kill_drained(m, ROLE_FRONT);
        }
    }
    if (m->reload != RELOAD_FRONTS)
        return;
    LIST_EACH (link, &m->processes) {
        const struct process *p = LIST_ITEM(link, struct process, link);

        if (is_current_front(p) && p->state == PROCESS_RUNNING)
            running++;
    }
    if (running >= m->front_count)
        finish(m);
}
