/* quota.c: see quota.h. Asking the file system for the size of everything at each delivery would be simpler and is what
 * a mailbox of a million messages does not bear. Appends of one short line by several writers do not mix (O_APPEND).
 *
 * Nothing is synced: what a loss of power leaves is either right or no such file, and then counted anew. */
#include "deliver/quota.h"

#include "base/str.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE_FILE_MAX = 5120 /* octets */, STALE_S = 15 * 60 };

struct usage {
    int64_t octets, messages;
    size_t  entries;
};

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
    int len = snprintf(out, PATH_MAX, "%s/%s", dir, name);

    return len > 0 && len < PATH_MAX;
}

/* The size that a name tells (",S=123"), or what the file has. What was moved away meanwhile does not count. */
static bool message_size(int dir, const char *name, uint64_t *ret_size, bool *ret_counts)
{
    const char *says = strstr(name, ",S=");
    struct stat st;
    int         result;

    *ret_counts = true;
    if (says && char_is_digit(says[3])) {
        errno = 0;
        *ret_size = strtoull(says + 3, NULL, 10);
        if (errno == 0 && *ret_size <= INT64_MAX / 2)
            return true;
    }
    result = SPOOL_UNINTERRUPTED(spool_sys->fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW));
    *ret_counts = result == 0 && S_ISREG(st.st_mode);
    *ret_size = result == 0 ? (uint64_t)st.st_size : 0;
    return result == 0 || errno == ENOENT;
}

/* `each` gets the names but those that begin with a dot, or only those (but "." and ".."). A missing directory is
 * empty. */
static bool each_name(const char *path, bool                                                     hidden,
                      bool (*each)(int dir, const char *name, void *arg, struct err *err), void *arg, struct err *err)
{
    int            fd;
    DIR           *dir;
    struct dirent *entry;
    bool           ok = true;

    fd = SPOOL_UNINTERRUPTED(spool_sys->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    if (fd < 0)
        return errno == ENOENT || err_set_os(err, errno, "mailbox %s", path);
    dir = fdopendir(fd);
    if (!dir) {
        err_set_os(err, errno, "mailbox %s", path);
        spool_close(fd);
        return false;
    }
    while (ok && (entry = spool_readdir(dir))) {
        const char *name = entry->d_name;

        if ((name[0] == '.') == hidden && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            ok = each(fd, name, arg, err);
    }
    if (ok && errno)
        ok = err_set_os(err, errno, "mailbox %s", path);
    closedir(dir);
    return ok;
}

static bool count_message(int dir, const char *name, void *arg, struct err *err)
{
    struct usage *usage = arg;
    uint64_t      size;
    bool          counts;

    if (!message_size(dir, name, &size, &counts))
        return err_set_os(err, errno, "message %s", name);
    if (counts) {
        if (__builtin_add_overflow(usage->octets, (int64_t)size, &usage->octets))
            usage->octets = INT64_MAX; /* names can say anything */
        usage->messages++;
    }
    return true;
}

static bool count_folder(const char *path, struct usage *usage, struct err *err)
{
    static const char *const parts[] = {"new", "cur"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char at[PATH_MAX];

        if (!join(at, path, parts[i]))
            return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", path);
        if (!each_name(at, false, count_message, usage, err))
            return false;
    }
    return true;
}

struct folders {
    const char   *maildir;
    struct usage *usage;
};

static bool count_subfolder(int dir, const char *name, void *arg, struct err *err)
{
    struct folders *f = arg;
    char            at[PATH_MAX];

    (void)dir;
    return !join(at, f->maildir, name) || count_folder(at, f->usage, err);
}

/* The mailbox and its folders, ".Name". */
static bool count_all(const char *maildir, struct usage *ret_usage, struct err *err)
{
    struct usage   usage = {0};
    struct folders folders = {maildir, &usage};

    if (!count_folder(maildir, &usage, err) || !each_name(maildir, true, count_subfolder, &folders, err))
        return false;
    *ret_usage = usage;
    return true;
}

/* False: there is no such file, or it has to be made anew. `limit` 0: any is right. */
static bool size_file_read(const char *path, uint64_t limit, struct usage *ret_usage, time_t *ret_changed)
{
    char               text[SIZE_FILE_MAX + 1];
    struct usage       usage = {0};
    struct stat        st;
    ssize_t            len = -1;
    int                fd = spool_open(AT_FDCWD, path, O_RDONLY);
    char              *at = text;
    unsigned long long has;

    if (fd < 0)
        return false;
    if (spool_stat(fd, &st) == 0 && st.st_size <= SIZE_FILE_MAX)
        len = spool_read(fd, text, SIZE_FILE_MAX, 0);
    spool_close(fd);
    if (len <= 0 || memchr(text, 0, (size_t)len)) /* zeros: what a power cut may leave of an entry */
        return false;
    text[len] = 0;
    has = strtoull(text, &at, 10);
    if (at == text || *at != 'S' || (limit && has != limit) || !(at = strchr(at, '\n')))
        return false;
    for (at++; *at;) {
        char     *end;
        long long octets = strtoll(at, &end, 10), messages;

        if (end == at || *end != ' ')
            return false;
        messages = strtoll(end, &at, 10);
        if (at == end || *at++ != '\n')
            return false;
        if (__builtin_add_overflow(usage.octets, octets, &usage.octets) ||
            __builtin_add_overflow(usage.messages, messages, &usage.messages))
            return false;
        usage.entries++;
    }
    *ret_usage = usage;
    *ret_changed = st.st_mtime;
    return usage.octets >= 0 && usage.messages >= 0;
}

/* Written beside it and renamed over it: who reads meanwhile never sees a part. */
static bool size_file_write(const char *maildir, const char *path, struct str text, struct err *err)
{
    static atomic_uint counter;
    char               beside[PATH_MAX];
    struct iovec       part = {(char *)(uintptr_t)text.data, text.len};
    int                fd;
    bool               ok;

    if (snprintf(beside, sizeof beside, "%s/maildirsize.%x.tmp", maildir, atomic_fetch_add(&counter, 1) % 256) >=
        PATH_MAX)
        return err_set_os(err, ENAMETOOLONG, "%.200s", path);
    spool_unlink(AT_FDCWD, beside); /* left by a process that ended */
    fd = spool_create(AT_FDCWD, beside, 0600);
    if (fd < 0)
        return err_set_os(err, errno, "%s", path);
    ok = spool_write(fd, &part, 1, 0) == 0 &&
         SPOOL_UNINTERRUPTED(spool_sys->renameat(AT_FDCWD, beside, AT_FDCWD, path)) == 0;
    if (!ok) {
        err_set_os(err, errno, "%s", path);
        spool_unlink(AT_FDCWD, beside);
    }
    spool_close(fd);
    return ok;
}

static bool size_file_make(const char *maildir, const char *path, uint64_t limit, struct usage *ret_usage,
                           struct err *err)
{
    char text[80];
    int  len;

    if (!count_all(maildir, ret_usage, err))
        return false;
    len = snprintf(text, sizeof text, "%lluS\n%lld %lld\n", (unsigned long long)limit, (long long)ret_usage->octets,
                   (long long)ret_usage->messages);
    return size_file_write(maildir, path, str_of(text, (size_t)len), err);
}

bool quota_fits(const char *maildir, uint64_t limit, uint64_t octets, bool *ret_fits, uint64_t *ret_used,
                struct err *err)
{
    char         path[PATH_MAX];
    struct usage usage = {0};
    time_t       changed = 0;
    bool         fresh = false;

    if (!join(path, maildir, "maildirsize"))
        return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", maildir);
    if (!size_file_read(path, limit, &usage, &changed)) {
        if (!size_file_make(maildir, path, limit, &usage, err))
            return false;
        fresh = true;
    }
    if (!fresh && (uint64_t)usage.octets + octets > limit && (usage.entries > 1 || time(NULL) - changed > STALE_S) &&
        !size_file_make(maildir, path, limit, &usage, err))
        return false;
    *ret_used = (uint64_t)usage.octets;
    *ret_fits = (uint64_t)usage.octets + octets <= limit;
    return true;
}

bool quota_add(const char *maildir, uint64_t limit, uint64_t octets, struct err *err)
{
    char    path[PATH_MAX], line[48];
    int     fd, len;
    ssize_t done = -1;

    if (!join(path, maildir, "maildirsize"))
        return err_set_os(err, ENAMETOOLONG, "mailbox %.200s", maildir);
    fd = spool_open(AT_FDCWD, path, O_WRONLY | O_APPEND);
    if (fd < 0 && errno == ENOENT)
        return true;
    len = snprintf(line, sizeof line, "%llu 1\n", (unsigned long long)octets);
    if (fd >= 0)
        done = SPOOL_UNINTERRUPTED(spool_sys->write(fd, line, (size_t)len));
    if (done != len) {
        err_set_os(err, done < 0 ? errno : ENOSPC, "%s", path);
        quota_forget(maildir); /* a part of a line spoils the next one */
    }
    spool_close(fd);
    return done == len || !limit;
}

void quota_forget(const char *maildir)
{
    char path[PATH_MAX];

    if (join(path, maildir, "maildirsize"))
        spool_unlink(AT_FDCWD, path);
}
