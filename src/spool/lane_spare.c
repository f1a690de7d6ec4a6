/* lane_spare.c: segment files made ahead of their use.
 *
 * A file is allocated, filled with zeros and synced before the first record goes into it, so that writing records
 * changes no metadata and fdatasync waits for the data alone. fallocate by itself is not enough: it leaves extents that
 * are marked unwritten, and each first write to one is a metadata change again. What was released is taken as it is,
 * for its blocks are written already. Making a file while a batch waits for it was rejected, but for the case that
 * nobody called lane_prepare_spare in time.
 *
 * Nor may making it hold up the batches of the segment in use, which share the disk with it: the zeros go out in small
 * steps, each synced, and with a pause behind each as long as there is time: as long as the file is further on its way
 * than the segment in use. Sixteen megabytes written at once and synced kept a batch waiting for ten times its usual
 * time. */
#include "spool/lane_writer.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

enum { CLEAR_STEP = 256 << 10, CLEAR_PAUSE_US = 1000 };
enum { WANTED_AT = LANE_FULL / 4, AHEAD = LANE_FULL / 8 }; /* of the segment in use, when a spare is wanted */

uint64_t lane_take_seq(struct lane_writer *w)
{
    uint64_t seq;

    pthread_mutex_lock(&w->mutex);
    seq = w->next_seq++;
    pthread_mutex_unlock(&w->mutex);
    return seq;
}

bool lane_free_space(const struct lane_writer *w, uint64_t *ret_octets, struct err *err)
{
    struct statvfs st;

    if (spool_stat_space(w->dirfd, &st) != 0)
        return err_set_os(err, errno, "spool %s", w->dir);
    *ret_octets = (uint64_t)st.f_bavail * st.f_frsize;
    return true;
}

uint64_t lane_above_reserve(const struct lane_writer *w, uint64_t free_octets)
{
    return free_octets > w->reserve ? free_octets - w->reserve : 0;
}

bool lane_plan(struct lane_writer *w, struct err *err)
{
    struct statvfs st;
    uint64_t       total, free_octets, size = w->wanted, least = w->wanted;

    if (spool_stat_space(w->dirfd, &st) != 0)
        return err_set_os(err, errno, "spool %s", w->dir);
    free_octets = lane_above_reserve(w, (uint64_t)st.f_bavail * st.f_frsize);
    total = (uint64_t)st.f_blocks * st.f_frsize;
    if (least > LANE_SEGMENT_AUTO_MIN)
        least = LANE_SEGMENT_AUTO_MIN;
    if (total > 0 && size > total / 32)
        size = total / 32;
    while (size > least && size > free_octets / 4)
        size /= 2;
    if (size < least)
        size = least;
    pthread_mutex_lock(&w->mutex);
    w->plan_size = (uint32_t)(size / LANE_PAGE * LANE_PAGE);
    pthread_mutex_unlock(&w->mutex);
    return true;
}

/* `made`: how much of the file, in parts of LANE_FULL. */
static void give_way(struct lane_writer *w, uint64_t made)
{
    struct timespec pause = {.tv_nsec = CLEAR_PAUSE_US * 1000};
    uint64_t        filled = atomic_load_explicit(&w->filled, memory_order_relaxed), due = 0;
    bool            hurry;

    if (filled > WANTED_AT)
        due = (filled - WANTED_AT) * LANE_FULL / (LANE_FULL - WANTED_AT) + AHEAD;
    pthread_mutex_lock(&w->mutex);
    hurry = made < due || w->spare_waited_for || w->spare.state != LANE_SPARE_MAKING;
    pthread_mutex_unlock(&w->mutex);
    if (!hurry)
        nanosleep(&pause, NULL);
}

static int clear(struct lane_writer *w, int fd, uint32_t size)
{
    static const char zeros[CLEAR_STEP];

    for (uint32_t at = 0; at < size; at += CLEAR_STEP) {
        struct iovec part = {(void *)(uintptr_t)zeros, size - at < CLEAR_STEP ? size - at : CLEAR_STEP};

        if (spool_write(fd, &part, 1, at) != 0)
            return -1;
        if (size - at > CLEAR_STEP) {
            if (spool_sync_data(fd) != 0)
                return -1;
            give_way(w, ((uint64_t)at + CLEAR_STEP) * LANE_FULL / size);
        }
    }
    return spool_sync(fd);
}

bool lane_spare_make(struct lane_writer *w, uint32_t size, bool clear_it, struct lane_spare *ret_spare, struct err *err)
{
    struct lane_spare s = {.state = LANE_SPARE_READY, .kind = LANE_NAME_NEW, .size = size, .seq = lane_take_seq(w)};
    char              name[LANE_NAME_SIZE];

    lane_name_write(name, s.kind, s.seq);
    s.fd = spool_create(w->dirfd, name, 0640);
    if (s.fd < 0)
        return err_set_os(err, errno, "spool %s/%s", w->dir, name);
    if (spool_allocate(s.fd, size) != 0 || (clear_it && clear(w, s.fd, size) != 0)) {
        err_set_os(err, errno, "spool %s: a segment of %u octets", w->dir, size);
        spool_close(s.fd);
        spool_unlink(w->dirfd, name);
        return false;
    }
    *ret_spare = s;
    return true;
}

bool lane_spare_take(struct lane_writer *w, uint32_t size, struct lane_spare *ret_spare)
{
    bool taken;

    pthread_mutex_lock(&w->mutex);
    w->spare_waited_for = true;
    while (w->spare.state == LANE_SPARE_MAKING)
        pthread_cond_wait(&w->changed, &w->mutex);
    w->spare_waited_for = false;
    taken = w->spare.state == LANE_SPARE_READY && w->spare.size >= size;
    if (taken) {
        *ret_spare = w->spare;
        w->spare = (struct lane_spare){.fd = -1};
    }
    pthread_mutex_unlock(&w->mutex);
    return taken;
}

bool lane_wants_spare(struct lane_writer *w)
{
    bool none;

    pthread_mutex_lock(&w->mutex);
    none = w->spare.state == LANE_SPARE_NONE && !w->spare_failed;
    pthread_mutex_unlock(&w->mutex);
    return none && (w->roll || atomic_load_explicit(&w->filled, memory_order_relaxed) > WANTED_AT);
}

/* The released file to use again, of those that have about the size we want. Others are removed once their number is
 * no longer needed to know which number comes next. */
static bool find_released(struct lane_writer *w, uint32_t size, struct lane_spare *ret_spare, struct err *err)
{
    struct lane_listing l;
    uint64_t            newest;
    bool                found = false;

    if (!lane_dir_list(w->dirfd, w->dir, &l, err))
        return false;
    newest = l.count[LANE_NAME_SEGMENT] > 0 ? l.seqs[LANE_NAME_SEGMENT][l.count[LANE_NAME_SEGMENT] - 1] : 0;
    for (size_t i = 0; i < l.count[LANE_NAME_SPARE] && !found; i++) {
        struct lane_spare s = {
            .state = LANE_SPARE_READY, .kind = LANE_NAME_SPARE, .seq = l.seqs[LANE_NAME_SPARE][i], .size = size};
        struct stat st;
        char        name[LANE_NAME_SIZE];

        lane_name_write(name, s.kind, s.seq);
        s.fd = spool_open(w->dirfd, name, O_RDWR);
        if (s.fd < 0)
            continue;
        found = spool_stat(s.fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)size &&
                st.st_size / 2 <= (off_t)size;
        if (found) {
            *ret_spare = s;
            continue;
        }
        spool_close(s.fd);
        if (s.seq < newest)
            spool_unlink(w->dirfd, name);
    }
    lane_listing_done(&l);
    if (!found)
        ret_spare->fd = -1;
    return true;
}

bool lane_prepare_spare(struct lane_writer *w, struct err *err)
{
    struct lane_spare spare = {.fd = -1};
    uint32_t          size = 0;
    bool              ok;

    pthread_mutex_lock(&w->mutex);
    ok = w->spare.state == LANE_SPARE_NONE;
    if (ok)
        w->spare.state = LANE_SPARE_MAKING;
    pthread_mutex_unlock(&w->mutex);
    if (!ok)
        return true;
    ok = lane_plan(w, err);
    if (ok) {
        pthread_mutex_lock(&w->mutex);
        size = w->plan_size;
        pthread_mutex_unlock(&w->mutex);
        ok = find_released(w, size, &spare, err);
    }
    if (ok && spare.fd < 0)
        ok = lane_spare_make(w, size, true, &spare, err);
    pthread_mutex_lock(&w->mutex);
    w->spare = ok ? spare : (struct lane_spare){.fd = -1};
    w->spare_failed = !ok;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    return ok;
}
