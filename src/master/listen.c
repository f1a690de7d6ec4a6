/* listen.c: listening sockets.
 *
 * One socket for each front and TCP address (SO_REUSEPORT), so that the kernel spreads connections without a lock; one
 * socket in all for a Unix address. They are found again by address at a reload, so that no connection that waits in
 * the kernel is lost; a Unix socket whose file was removed is made anew. SO_REUSEPORT also lets another program of the
 * same user bind the same port without a word; that is found by a trial without it before the first socket of an
 * address is made. */
#include "master/internal.h"
#include "role/log.h"
#include "role/role.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_unix(const struct io_address *a) { return a->storage.ss_family == AF_UNIX; }

static bool is_special(unsigned number) { return number >= LISTENER_METRICS; }

static bool same_address(const struct io_address *a, const struct io_address *b)
{
    char x[IO_ADDRESS_TEXT], y[IO_ADDRESS_TEXT];

    if (a->len != b->len || a->storage.ss_family != b->storage.ss_family)
        return false;
    io_address_text(a, x);
    io_address_text(b, y);
    return strcmp(x, y) == 0;
}

static const char *unix_path(const struct listener *l)
{
    return ((const struct sockaddr_un *)(const void *)&l->bound.storage)->sun_path;
}

/* Whether clients find it: the file of a Unix socket is still the one that was made. */
static bool is_in_place(const struct listener *l)
{
    struct stat st;

    return !is_unix(&l->bound) ||
           (stat(unix_path(l), &st) == 0 && st.st_dev == l->file_dev && st.st_ino == l->file_ino);
}

static void listener_close(struct listener *l)
{
    for (unsigned i = 0; i < l->fd_count; i++)
        close(l->fds[i]);
    if (is_unix(&l->bound) && l->fd_count && is_in_place(l))
        unlink(unix_path(l));
    list_remove(&l->link);
    free(l);
}

static bool one_of_ours_has_port(const struct master *m, uint16_t port)
{
    LIST_EACH (link, &m->listeners) {
        const struct listener *l = LIST_ITEM(link, struct listener, link);

        if (port != 0 && l->fd_count && io_address_port(&l->bound) == port)
            return true;
    }
    return false;
}

static bool open_sockets(struct master *m, struct listener *l, unsigned wanted, struct err *err)
{
    bool        shared = !is_unix(&l->address) && !is_special(l->next_number);
    struct stat st;

    if (!shared)
        wanted = 1;
    if (shared && l->fd_count == 0 && !one_of_ours_has_port(m, io_address_port(&l->address))) {
        int trial = io_listen(&l->address, false, 0, NULL, err);

        if (trial < 0)
            return false;
        close(trial);
    }
    while (l->fd_count < wanted) {
        int fd =
            io_listen(l->fd_count ? &l->bound : &l->address, shared, l->unix_mode, l->fd_count ? NULL : &l->bound, err);

        if (fd < 0)
            return false;
        l->fds[l->fd_count++] = fd;
        if (is_unix(&l->bound) && stat(unix_path(l), &st) == 0) {
            l->file_dev = st.st_dev;
            l->file_ino = st.st_ino;
        }
    }
    return true;
}

static bool plan_address(struct master *m, const struct io_address *a, mode_t unix_mode, unsigned number,
                         unsigned front_count, struct err *err)
{
    struct listener *l = NULL;

    LIST_EACH (link, &m->listeners) {
        struct listener *old = LIST_ITEM(link, struct listener, link);

        if (!old->is_kept && same_address(&old->address, a) && is_special(old->number) == is_special(number) &&
            is_in_place(old))
            l = old;
    }
    if (!l) {
        l = calloc(1, sizeof *l);
        if (!l)
            return err_set_os(err, ENOMEM, "listening socket");
        l->address = *a;
        l->unix_mode = unix_mode;
        l->is_new = true;
        list_push(&m->listeners, &l->link);
    }
    l->is_kept = true;
    l->next_number = number;
    l->next_unix_mode = unix_mode;
    return open_sockets(m, l, front_count, err);
}

static bool plan_text(struct master *m, const char *text, mode_t unix_mode, unsigned number, unsigned front_count,
                      struct err *err)
{
    struct io_address addresses[2];
    size_t            count;

    if (!io_address_parse(str_from(text), addresses, 2, &count, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!plan_address(m, &addresses[i], unix_mode, number, front_count, err))
            return false;
    return true;
}

static bool plan_all(struct master *m, const struct config *config, unsigned front_count, struct err *err)
{
    char text[PATH_MAX];

    for (size_t i = 0; i < config->listen_count; i++) {
        const struct config_listen *l = &config->listens[i];

        if (!plan_text(m, l->address, (mode_t)l->mode, (unsigned)i, front_count, err))
            return err_prefix(err, "%s:%u", config->file, l->line);
    }
    snprintf(text, sizeof text, "unix:%s/run/submit.sock", config->data);
    if (!plan_text(m, text, 0666, LISTENER_SUBMIT, 1, err))
        return false;
    snprintf(text, sizeof text, "unix:%s/run/control.sock", config->data);
    if (!plan_text(m, text, 0600, LISTENER_CONTROL, 1, err))
        return false;
    if (config->metrics.address[0] && !plan_text(m, config->metrics.address, 0, LISTENER_METRICS, 1, err))
        return err_prefix(err, "%s:%u", config->file, config->metrics.line);
    return true;
}

bool listeners_plan(struct master *m, const struct config *config, unsigned front_count, struct err *err)
{
    LIST_EACH (link, &m->listeners) {
        struct listener *l = LIST_ITEM(link, struct listener, link);

        l->was_kept = l->is_kept;
        l->is_kept = false;
    }
    if (plan_all(m, config, front_count, err))
        return true;
    listeners_abort(m);
    return false;
}

void listeners_commit(struct master *m)
{
    LIST_EACH (link, &m->listeners) {
        struct listener *l = LIST_ITEM(link, struct listener, link);

        l->is_new = false;
        if (!l->is_kept)
            continue;
        l->number = l->next_number;
        if (is_unix(&l->bound) && l->unix_mode != l->next_unix_mode && chmod(unix_path(l), l->next_unix_mode) != 0)
            log_notice(LOG_LEVEL_WARNING, "the permissions of %s stay as they were: %s", unix_path(l),
                       strerrordesc_np(errno));
        l->unix_mode = l->next_unix_mode;
    }
}

static void close_if(struct master *m, bool (*is_it)(const struct listener *l))
{
    for (struct list *link = m->listeners.next, *next; link != &m->listeners; link = next) {
        struct listener *l = LIST_ITEM(link, struct listener, link);

        next = link->next;
        if (is_it(l))
            listener_close(l);
    }
}

static bool is_new(const struct listener *l) { return l->is_new; }
static bool is_old(const struct listener *l) { return !l->is_kept; }
static bool is_any(const struct listener *l) { return l; }

/* A socket that no front accepts from would swallow its share of the connections. Those that wait in it are reset. */
static void trim(struct master *m)
{
    LIST_EACH (link, &m->listeners) {
        struct listener *l = LIST_ITEM(link, struct listener, link);

        while (l->fd_count > 1 && l->fd_count > m->front_count)
            close(l->fds[--l->fd_count]);
    }
}

void listeners_abort(struct master *m)
{
    close_if(m, is_new);
    LIST_EACH (link, &m->listeners) {
        struct listener *l = LIST_ITEM(link, struct listener, link);

        l->is_kept = l->was_kept;
    }
    trim(m);
}

void listeners_close_old(struct master *m)
{
    close_if(m, is_old);
    trim(m);
}

void listeners_close_all(struct master *m) { close_if(m, is_any); }

static bool is_for(const struct listener *l, const struct process *p)
{
    switch (p->role) {
    case ROLE_FRONT:
        return l->number != LISTENER_CONTROL && (l->number != LISTENER_METRICS || p->ordinal == 0);
    case ROLE_BACK:
        return l->number == LISTENER_CONTROL;
    case ROLE_KEEPER:
    case ROLE_RESOLVER:
    case ROLE_CARRIER:
    case ROLE_MASTER:
        break;
    }
    return false;
}

void listeners_hand_out(struct process *p)
{
    /* Until a reload is committed the old set holds. */
    bool old_set = p->master->reload == RELOAD_TRIAL;

    LIST_EACH (link, &p->master->listeners) {
        const struct listener *l = LIST_ITEM(link, struct listener, link);

        if ((old_set ? !l->is_new : l->is_kept) && is_for(l, p) && l->fd_count)
            process_tell(p, &(struct control){.kind = CONTROL_LISTENER, .number = l->number},
                         l->fds[p->ordinal % l->fd_count]);
    }
}

const struct listener *listeners_next(const struct master *m, const struct listener *at)
{
    const struct list *link = at ? at->link.next : m->listeners.next;

    for (; link != &m->listeners; link = link->next) {
        const struct listener *l =
            (const struct listener *)(const void *)((const char *)link - offsetof(struct listener, link));

        if (l->is_kept && !is_special(l->number))
            return l;
    }
    return NULL;
}
