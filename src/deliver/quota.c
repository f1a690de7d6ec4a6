/* quota.c: see quota.h. Asking the file system for the size of everything at each delivery would be simpler and is what
 * a mailbox of a million messages does not bear. Appends of one short line by several writers do not mix (O_APPEND). */
#include "deliver/quota.h"

#include "base/buf.h"
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

/* The size that a name tells (",S=123"), or what the file has. */
static bool message_size(int dir, const char *name, uint64_t *ret_size)
{
    const char *says = strstr(name, ",S=");
    struct stat st;

    if (says && char_is_digit(says[3])) {
        errno = 0;
        *ret_size = strtoull(says + 3, NULL, 10);
        if (errno == 0 && *ret_size <= INT64_MAX / 2)
            return true;
    }
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false; /* moved away meanwhile: not counted */
    *ret_size = (uint64_t)st.st_size;
    return S_ISREG(st.st_mode);
}

static bool count_messages(const char *path, struct usage *usage, struct err *err)
{
    DIR           *dir = opendir(path);
    struct dirent *entry;

    if (!dir)
        return errno == ENOENT || err_set_os(err, errno, "mailbox %s", path);
    while ((entry = readdir(dir))) {
        uint64_t size;

        if (entry->d_name[0] != '.' && message_size(dirfd(dir), entry->d_name, &size)) {
            usage->octets += (int64_t)size;
            usage->messages++;
        }
    }
    closedir(dir);
    return true;
}

static bool count_folder(const char *path, struct usage *usage, struct err *err)
{
    char at[PATH_MAX];

    return join(at, path, "new") && count_messages(at, usage, err) && join(at, path, "cur") &&
           count_messages(at, usage, err);
}

/* The mailbox and its folders, ".Name". */
static bool count_all(const char *maildir, struct usage *ret_usage, struct err *err)
{
    struct usage   usage = {0};
    DIR           *dir;
    struct dirent *entry;
    bool           ok = count_folder(maildir, &usage, err);

    if (!ok || !(dir = opendir(maildir)))
        return ok && (errno == ENOENT || err_set_os(err, errno, "mailbox %s", maildir));
    while (ok && (entry = readdir(dir))) {
        char at[PATH_MAX];

        if (entry->d_name[0] == '.' && entry->d_name[1] && strcmp(entry->d_name, "..") != 0 &&
            join(at, maildir, entry->d_name))
            ok = count_folder(at, &usage, err);
    }
    closedir(dir);
    if (ok)
        *ret_usage = usage;
    return ok;
}

/* False: there is no such file, or it has to be made anew. `limit` 0: any is right. */
static bool size_file_read(const char *path, uint64_t limit, struct usage *ret_usage, time_t *ret_changed)
{
    char               text[SIZE_FILE_MAX + 1];
    struct usage       usage = {0};
    struct stat        st;
    ssize_t            len = -1;
    int                fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char              *at = text;
    unsigned long long has;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && st.st_size <= SIZE_FILE_MAX)
        len = read(fd, text, SIZE_FILE_MAX);
    close(fd);
    if (len <= 0)
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

static bool size_file_make(const char *maildir, const char *path, uint64_t limit, struct usage *ret_usage,
                           struct err *err)
{
    char text[80];
    int  len;

    if (!count_all(maildir, ret_usage, err))
        return false;
    len = snprintf(text, sizeof text, "%lluS\n%lld %lld\n", (unsigned long long)limit, (long long)ret_usage->octets,
                   (long long)ret_usage->messages);
    return io_file_write_atomic(path, 0600, str_of(text, (size_t)len), err);
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

void quota_add(const char *maildir, uint64_t limit, uint64_t octets)
{
    char path[PATH_MAX], line[48];
    int  fd, len;

    if (!join(path, maildir, "maildirsize"))
        return;
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    len = snprintf(line, sizeof line, "%llu 1\n", (unsigned long long)octets);
    if (write(fd, line, (size_t)len) != len && limit)
        unlink(path); /* no room for the entry: counted anew when there is */
    close(fd);
}
