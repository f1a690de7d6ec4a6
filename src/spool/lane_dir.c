/* lane_dir.c: the directory of a lane. It is listed anew where it is asked for: lists are short (a lane holds what is
 * alive), and other processes rename and unlink in it. */
#include "spool/lane_dir.h"
#include "spool/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int lane_dir_open(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        err_set_os(err, errno, "spool %s", dir);
    return fd;
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static bool listing_add(struct lane_listing *l, enum lane_name_kind kind, uint64_t seq)
{
    size_t count = l->count[kind];

    if ((count & (count - 1)) == 0) { /* full at each power of two */
        uint64_t *seqs = realloc(l->seqs[kind], (count ? count * 2 : 1) * sizeof *seqs);

        if (!seqs)
            return false;
        l->seqs[kind] = seqs;
    }
    l->seqs[kind][l->count[kind]++] = seq;
    return true;
}

bool lane_dir_list(int dirfd, const char *dir, struct lane_listing *ret_listing, struct err *err)
{
    struct lane_listing l = {0};
    int                 fd = spool_open(dirfd, ".", O_RDONLY | O_DIRECTORY), failed = 0;
    DIR                *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream) {
        err_set_os(err, errno, "spool %s", dir);
        spool_close(fd);
        return false;
    }
    for (;;) {
        struct dirent      *entry;
        enum lane_name_kind kind;
        uint64_t            seq;

        errno = 0;
        entry = readdir(stream);
        failed = errno;
        if (!entry)
            break;
        kind = lane_name_read(entry->d_name, &seq);
        if (kind != LANE_NAME_OTHER && !listing_add(&l, kind, seq)) {
            failed = ENOMEM;
            break;
        }
    }
    closedir(stream);
    if (failed != 0) {
        lane_listing_done(&l);
        return err_set_os(err, failed, "spool %s", dir);
    }
    for (int kind = 0; kind < LANE_NAME_KINDS; kind++)
        if (l.count[kind] > 1)
            qsort(l.seqs[kind], l.count[kind], sizeof *l.seqs[kind], compare);
    *ret_listing = l;
    return true;
}

void lane_listing_done(struct lane_listing *l)
{
    for (int kind = 0; kind < LANE_NAME_KINDS; kind++)
        free(l->seqs[kind]);
    *l = (struct lane_listing){0};
}

uint64_t lane_listing_newest(const struct lane_listing *l)
{
    uint64_t newest = 0;

    for (int kind = 0; kind < LANE_NAME_KINDS; kind++)
        if (l->count[kind] > 0 && l->seqs[kind][l->count[kind] - 1] > newest)
            newest = l->seqs[kind][l->count[kind] - 1];
    return newest;
}

int lane_segment_open(int dirfd, const char *dir, uint64_t seq, int flags, struct lane_head *ret_head,
                      enum lane_head_state *ret_state, struct err *err)
{
    char    name[LANE_NAME_SIZE], page[LANE_PAGE];
    int     fd;
    ssize_t n;

    lane_name_write(name, LANE_NAME_SEGMENT, seq);
    fd = spool_open(dirfd, name, flags);
    if (fd < 0 && errno == ENOENT)
        return -1;
    n = fd < 0 ? -1 : spool_read(fd, page, sizeof page, 0);
    if (n < 0) {
        int os_error = errno;

        err_set_os(err, os_error, "spool %s/%s", dir, name);
        spool_close(fd);
        errno = os_error == ENOENT ? EIO : os_error;
        return -1;
    }
    *ret_state = lane_head_decode(str_of(page, (size_t)n), seq, ret_head);
    return fd;
}
