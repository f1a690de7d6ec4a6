/* lane_release.c: what is no longer needed becomes a spare or goes.
 *
 * The newest segment of a lane (released only when no writer is there) always becomes a spare: its name keeps the
 * number that the next writer goes on from, so that a number is never used twice and a reader that has come that far
 * does not miss what follows. If more than two spares wait then, the oldest goes instead. */
#include "spool/lane_dir.h"
#include "spool/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { SPARES = 2 };

static bool remove_file(int dirfd, const char *dir, enum lane_name_kind kind, uint64_t seq, struct err *err)
{
    char name[LANE_NAME_SIZE];

    lane_name_write(name, kind, seq);
    return spool_unlink(dirfd, name) == 0 || err_set_os(err, errno, "spool %s/%s", dir, name);
}

/* Whether the file has the size it was made with, and was not made for one record. */
static bool is_reusable(int dirfd, const char *dir, uint64_t seq)
{
    struct lane_head     head;
    enum lane_head_state state;
    struct stat          st;
    int                  fd = lane_segment_open(dirfd, dir, seq, O_RDONLY, &head, &state, NULL);
    bool                 ok;

    if (fd < 0)
        return false;
    ok = state == LANE_HEAD_WHOLE && !(head.flags & LANE_SEGMENT_LARGE) && spool_stat(fd, &st) == 0 &&
         st.st_size >= (off_t)head.size;
    spool_close(fd);
    return ok;
}

static bool release(int dirfd, const char *dir, uint64_t seq, const struct lane_listing *l, struct err *err)
{
    const uint64_t *spares = l->seqs[LANE_NAME_SPARE];
    size_t          spare_count = l->count[LANE_NAME_SPARE];
    char            from[LANE_NAME_SIZE], to[LANE_NAME_SIZE];
    bool            newest = seq >= lane_listing_newest(l);

    if (!newest && (spare_count >= SPARES || !is_reusable(dirfd, dir, seq)))
        return remove_file(dirfd, dir, LANE_NAME_SEGMENT, seq, err);
    lane_name_write(from, LANE_NAME_SEGMENT, seq);
    lane_name_write(to, LANE_NAME_SPARE, seq);
    if (spool_rename(dirfd, from, to) != 0)
        return errno == ENOENT || err_set_os(err, errno, "spool %s/%s", dir, from);
    for (size_t i = 0; i < spare_count && i + SPARES <= spare_count; i++)
        if (!remove_file(dirfd, dir, LANE_NAME_SPARE, spares[i], err))
            return false;
    return true;
}

bool lane_release(const char *dir, uint64_t seq, struct err *err)
{
    struct lane_listing l;
    int                 dirfd = lane_dir_open(dir, err);
    bool                ok;

    if (dirfd < 0)
        return false;
    ok = lane_dir_list(dirfd, dir, &l, err);
    if (ok) {
        ok = release(dirfd, dir, seq, &l, err);
        lane_listing_done(&l);
    }
    if (ok && spool_sync(dirfd) != 0)
        ok = err_set_os(err, errno, "spool %s", dir);
    spool_close(dirfd);
    return ok;
}

static int open_bodies(const char *dir, struct err *err)
{
    char *path;
    int   fd;

    if (asprintf(&path, "%s/body", dir) < 0) {
        err_set_os(err, ENOMEM, "spool %s", dir);
        return -1;
    }
    fd = lane_dir_open(path, err);
    free(path);
    return fd;
}

bool lane_body_remove(const char *dir, struct str name, struct err *err)
{
    char text[LANE_BODY_NAME_MAX + 1];
    int  fd;
    bool ok;

    if (!lane_body_name_ok(name))
        return err_set(err, ERR_PERMANENT, "spool %s: a name that a body cannot have", dir);
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    fd = open_bodies(dir, err);
    if (fd < 0)
        return false;
    ok = spool_unlink(fd, text) == 0 || err_set_os(err, errno, "spool %s/body/%s", dir, text);
    spool_close(fd);
    return ok;
}

bool lane_each_segment(const char *dir, bool (*each)(uint64_t seq, uint64_t size, void *arg), void *arg,
                       struct err *err)
{
    struct lane_listing l;
    int                 dirfd = lane_dir_open(dir, err);
    bool                ok;

    if (dirfd < 0)
        return false;
    if (!lane_dir_list(dirfd, dir, &l, err)) {
        spool_close(dirfd);
        return false;
    }
    ok = true;
    for (size_t i = 0; ok && i < l.count[LANE_NAME_SEGMENT]; i++) {
        char        name[LANE_NAME_SIZE];
        struct stat st;

        lane_name_write(name, LANE_NAME_SEGMENT, l.seqs[LANE_NAME_SEGMENT][i]);
        if (spool_sys->fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            ok = each(l.seqs[LANE_NAME_SEGMENT][i], (uint64_t)st.st_size, arg);
        else if (errno != ENOENT) /* released meanwhile */
            ok = err_set_os(err, errno, "spool %s/%s", dir, name);
    }
    lane_listing_done(&l);
    spool_close(dirfd);
    return ok;
}

bool lane_each_body(const char *dir, bool (*each)(struct str name, uint64_t size, uint64_t written_ms, void *arg),
                    void *arg, struct err *err)
{
    int  fd = open_bodies(dir, err);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    bool ok = true;

    if (fd < 0)
        return false;
    if (!stream) {
        err_set_os(err, errno, "spool %s/body", dir);
        spool_close(fd);
        return false;
    }
    while (ok) {
        struct dirent *entry;
        struct stat    st;

        errno = 0;
        entry = readdir(stream);
        if (!entry) {
            if (errno != 0)
                ok = err_set_os(err, errno, "spool %s/body", dir);
            break;
        }
        if (!lane_body_name_ok(str_from(entry->d_name)))
            continue;
        if (spool_sys->fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            ok = !S_ISREG(st.st_mode) ||
                 each(str_from(entry->d_name), (uint64_t)st.st_size, (uint64_t)st.st_mtime * 1000, arg);
        else if (errno != ENOENT)
            ok = err_set_os(err, errno, "spool %s/body/%s", dir, entry->d_name);
    }
    closedir(stream);
    return ok;
}
