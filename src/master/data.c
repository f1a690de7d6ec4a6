/* data.c: what must stand under `data` before anybody starts.
 *
 * As root (users.h); the numbers that stand in for users are users here:
 *
 *   data            root:keeper  1771  the keeper makes its database here; others pass through
 *   data/run        root         0711  pid and the sockets, made by master
 *   data/log        root         0750  descriptors are handed out, nobody opens
 *   data/keys       keeper       0700
 *   data/spool      root:back    0751
 *   data/spool/lane-00  back:back   2770
 *   data/spool/lane-NN  front:back  2770  back reads and removes what fronts wrote
 *   data/spool/lane-…/body     2770  the same owners; here, because a front may not set the group bit
 *   data/mail/…     back         0700
 *
 * Where root may not become others everything is root's again, and otherwise the user's who started tacit. */
#include "master/internal.h"
#include "role/log.h"
#include "role/role.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PID_FILE "run/pid"
enum { PID_TEXT_MAX = 32, PID_FILE_MAX = 4096 };

struct owner {
    uid_t uid;
    gid_t gid;
};

/* nftw passes no argument. */
static struct owner give_to;

static int give(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return lchown(path, give_to.uid, give_to.gid);
}

/* A directory with this mode and owner. One that belonged to another user, because tacit once ran differently, is given
 * over with all that is in it. */
static bool prepare_dir(const struct master *m, const char *path, mode_t mode, struct owner owner, struct err *err)
{
    struct stat st;

    if (!io_mkdirs(path, mode & 0755, err))
        return false;
    if (geteuid() != 0)
        return true;
    if (stat(path, &st) != 0)
        return err_set_os(err, errno, "directory %s", path);
    if (st.st_uid != owner.uid && (owner.uid != 0 || !m->users.separate)) {
        give_to = owner;
        if (nftw(path, give, 16, FTW_PHYS | FTW_MOUNT) != 0)
            return err_set_os(err, errno, "changing the owner of %s", path);
    } else if ((st.st_uid != owner.uid || st.st_gid != owner.gid) && chown(path, owner.uid, owner.gid) != 0) {
        return err_set_os(err, errno, "changing the owner of %s", path);
    }
    return (st.st_mode & 07777) == mode || chmod(path, mode) == 0 ? true
                                                                  : err_set_os(err, errno, "permissions of %s", path);
}

static struct owner owner_of(const struct master *m, enum role user, enum role group)
{
    return (struct owner){m->users.of[user].uid, m->users.of[group].gid};
}

/* On the directory itself: a file in it could be removed, and a second server would take a new one. */
static bool take_lock(struct master *m, struct err *err)
{
    struct buf pid;
    struct str text, line;
    char       path[PATH_MAX];
    int        os_error;

    m->lock_fd = open(m->config->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->lock_fd >= 0 && flock(m->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    os_error = errno;
    if (m->lock_fd < 0 || os_error != EWOULDBLOCK)
        return err_set_os(err, os_error, "%s", m->config->data);
    close(m->lock_fd);
    m->lock_fd = -1;
    snprintf(path, sizeof path, "%s/" PID_FILE, m->config->data);
    buf_init(&pid, PID_FILE_MAX);
    text = io_file_read_all(path, &pid, NULL) ? buf_str(&pid) : STR("PID");
    line = str_cut(&text, '\n');
    err_set(err, ERR_CONFIG, "%s: tacit already runs there; stop it first (kill %.*s)", m->config->data, STR_ARG(line));
    buf_done(&pid);
    return false;
}

static bool write_pid(const struct master *m, struct err *err)
{
    char path[PATH_MAX], text[PID_TEXT_MAX];
    int  len = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    snprintf(path, sizeof path, "%s/" PID_FILE, m->config->data);
    return io_file_write_atomic(path, 0644, str_of(text, (size_t)len), err);
}

bool data_prepare(struct master *m, struct err *err)
{
    static const struct {
        const char *name; /* under data */
        mode_t      mode;
        enum role   user, group;
    } dirs[] = {
        {"", 01771, ROLE_MASTER, ROLE_KEEPER},    {"/run", 0711, ROLE_MASTER, ROLE_MASTER},
        {"/log", 0750, ROLE_MASTER, ROLE_MASTER}, {"/keys", 0700, ROLE_KEEPER, ROLE_KEEPER},
        {"/spool", 0751, ROLE_MASTER, ROLE_BACK},
    };
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        if (snprintf(path, sizeof path, "%s%s", m->config->data, dirs[i].name) >= (int)sizeof path)
            return err_set_os(err, ENAMETOOLONG, "%.200s", m->config->data);
        if (!prepare_dir(m, path, dirs[i].mode, owner_of(m, dirs[i].user, dirs[i].group), err))
            return false;
        if (i == 0 && !take_lock(m, err)) /* before anything else is touched */
            return false;
    }
    return write_pid(m, err) && data_make_lane(m, LANE_BACK, err) && data_prepare_domains(m, m->config, err);
}

bool data_make_lane(const struct master *m, unsigned lane, struct err *err)
{
    struct owner owner = owner_of(m, lane == LANE_BACK ? ROLE_BACK : ROLE_FRONT, ROLE_BACK);
    struct arena a;
    struct str   dir, bodies;
    bool         ok, is_new;

    arena_init(&a, PATH_MAX, PATH_MAX * 4);
    dir = role_lane_dir(m->config, lane, &a);
    bodies = dir.data ? arena_printf(&a, "%s/body", dir.data) : STR_NONE;
    is_new = bodies.data && access(bodies.data, F_OK) != 0;
    ok = bodies.data ? prepare_dir(m, dir.data, 02770, owner, err) && prepare_dir(m, bodies.data, 02770, owner, err)
                     : err_set_os(err, ENAMETOOLONG, "%.200s", m->config->data);
    if (ok && is_new) { /* its writer may not read the directory above it, and so not sync it */
        struct str spool = arena_printf(&a, "%s/spool", m->config->data);

        ok = spool.data ? io_dir_sync(spool.data, err) : err_set_os(err, ENOMEM, "spool");
    }
    arena_done(&a);
    return ok;
}

/* A database that `tacit init` or `tacit user` made as root, or a keeper of other users, must be the keeper's. */
static bool give_database(const struct master *m, struct str path, struct err *err)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char                     name[PATH_MAX + 16];
    struct owner             keeper = owner_of(m, ROLE_KEEPER, ROLE_KEEPER);

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%.*s%s", (int)(path.len < PATH_MAX ? path.len : PATH_MAX), path.data, suffixes[i]);
        if (lchown(name, keeper.uid, keeper.gid) != 0 && errno != ENOENT)
            return err_set_os(err, errno, "changing the owner of %s", name);
    }
    return true;
}

static bool give_contacts(const struct master *m, const struct config *config, struct err *err)
{
    struct arena a;
    bool         ok = true;

    arena_init(&a, PATH_MAX, PATH_MAX * 4);
    if (geteuid() == 0)
        ok = give_database(m, config_contacts_path(config, &a), err);
    arena_done(&a);
    return ok;
}

bool data_prepare_domains(const struct master *m, const struct config *config, struct err *err)
{
    bool ok = give_contacts(m, config, err);

    for (size_t i = 0; ok && i < config->domain_count; i++) {
        const struct config_domain *d = &config->domains[i];
        struct str                  directory = str_from(d->directory);
        struct arena                a;

        arena_init(&a, PATH_MAX, PATH_MAX * 4);
        str_cut(&directory, ':');
        if (geteuid() == 0 && directory.len)
            ok = give_database(m, config_path(config->data, directory, &a), err);
        if (ok) {
            struct str  dir = role_mail_root(config, d, &a);
            const bool  ours = !str_starts(str_from(d->deliver), STR("maildir:/"));
            struct stat st;

            /* Elsewhere only what is missing is made: back cannot reach what is made when it is confined. */
            if (dir.data && !str_eq(dir, str_from(config->data)) && (ours || stat(dir.data, &st) != 0))
                ok = prepare_dir(m, dir.data, 0700, owner_of(m, ROLE_BACK, ROLE_BACK), err);
        }
        arena_done(&a);
    }
    return ok;
}

static void log_path(const struct master *m, unsigned number, char *ret_path, size_t size)
{
    if (number == 0)
        snprintf(ret_path, size, "%s/log/tacit.log", m->config->data);
    else
        snprintf(ret_path, size, "%s/log/tacit.log.%u", m->config->data, number);
}

bool data_open_log(struct master *m, struct err *err)
{
    char path[PATH_MAX];
    int  fd;

    log_path(m, 0, path, sizeof path);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return err_set_os(err, errno, "%s", path);
    m->log_fd = fd;
    return true;
}

/* The setting, but on a small file system no more than a sixteenth of it: a flood of refusals must not fill with log
 * lines what the spool keeps free. */
static uint64_t log_keep(const struct master *m)
{
    uint64_t       keep = m->config->log_keep;
    struct statvfs fs;

    if (fstatvfs(m->log_fd, &fs) == 0 && keep > (uint64_t)fs.f_blocks * fs.f_frsize / 16)
        keep = (uint64_t)fs.f_blocks * fs.f_frsize / 16;
    return keep;
}

static bool rename_logs(const struct master *m, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];

    for (unsigned i = LOG_FILES - 1; i > 0; i--) {
        log_path(m, i - 1, from, sizeof from);
        log_path(m, i, to, sizeof to);
        if (rename(from, to) != 0 && errno != ENOENT)
            return err_set_os(err, errno, "renaming %s", from);
    }
    return true;
}

/* Somebody moved or removed the file that is written. */
static bool log_is_gone(const struct master *m, const struct stat *written)
{
    char        path[PATH_MAX];
    struct stat there;

    log_path(m, 0, path, sizeof path);
    return stat(path, &there) != 0 ? errno == ENOENT
                                   : there.st_dev != written->st_dev || there.st_ino != written->st_ino;
}

void data_rotate_log(struct master *m)
{
    struct stat st;
    char        dir[PATH_MAX];
    struct err  err;
    bool        gone;

    if (fstat(m->log_fd, &st) != 0)
        return;
    gone = log_is_gone(m, &st);
    if (!gone && (uint64_t)st.st_size < log_keep(m) / LOG_FILES)
        return;
    snprintf(dir, sizeof dir, "%s/log", m->config->data);
    if (!(gone ? prepare_dir(m, dir, 0750, owner_of(m, ROLE_MASTER, ROLE_MASTER), &err) : rename_logs(m, &err)) ||
        !data_open_log(m, &err)) {
        log_notice(LOG_LEVEL_WARNING, "no new log is begun: %s", err.text);
        return;
    }
    LIST_EACH (link, &m->processes)
        process_tell(LIST_ITEM(link, struct process, link), &(struct control){.kind = CONTROL_LOG}, m->log_fd);
    log_reopen(m->log_fd); /* closes the old descriptor, which was m->log_fd's before */
}
