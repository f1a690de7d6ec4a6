/* lane_batch.c: the disk's side of a writer: a batch becomes durable, or is removed again.
 *
 * A batch is one pwritev and one fdatasync. What is written is filled with zeros up to the end of its page: the page
 * need not be read first where the file is a recycled one, and a reader finds nothing old right behind the last record.
 * The next batch begins right behind the last record, not behind the zeros.
 *
 * A segment appears under its own name only with its head and its first records in it, synced: a reader never sees half
 * a head. When anything fails, the segment is given up. Its pages may by then be clean in memory and not on the disk,
 * so that a second fdatasync would succeed and mean nothing. What the failed batch wrote is cut off, so that a
 * record that was refused does not come back; no batch succeeds before that was done. Writing a marker instead was
 * rejected, for it needs what has just failed: a write of data. */
#include "spool/lane_writer.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>

static bool write_records(struct lane_writer *w, int fd, const struct lane_run *run, const char *data,
                          const char *head_page, struct err *err)
{
    static const char zeros[LANE_PAGE];
    uint64_t          end = run->offset + (uint64_t)run->len;
    struct iovec      parts[] = {
             {(void *)(uintptr_t)head_page, head_page ? LANE_PAGE : 0},
             {(void *)(uintptr_t)(data + run->from), run->len},
             {(void *)(uintptr_t)zeros, lane_round_up(end, LANE_PAGE) - end},
    };

    if (spool_write(fd, parts, 3, head_page ? 0 : run->offset) != 0 || spool_sync_data(fd) != 0)
        return err_set_os(err, errno, "spool %s: segment %016llx", w->dir, (unsigned long long)run->head.seq);
    return true;
}

static void let_go(struct lane_writer *w)
{
    spool_close(w->fd);
    w->fd = -1;
    w->fd_seq = 0;
}

/* Writes into a spare or a new file and gives it the segment's name. *ret_gone: the spare's name was not there any
 * more. */
static bool fill(struct lane_writer *w, const struct lane_run *run, const char *data, struct lane_spare *file,
                 bool *ret_gone, struct err *err)
{
    char from[LANE_NAME_SIZE], to[LANE_NAME_SIZE], page[LANE_PAGE];

    lane_name_write(from, file->kind, file->seq);
    lane_name_write(to, LANE_NAME_SEGMENT, run->head.seq);
    lane_head_encode(page, &run->head);
    if (write_records(w, file->fd, run, data, page, err)) {
        if (spool_rename(w->dirfd, from, to) == 0) {
            if (spool_sync(w->dirfd) == 0)
                return true;
            return err_set_os(err, errno, "spool %s", w->dir);
        }
        if (errno == ENOENT && file->kind == LANE_NAME_SPARE)
            *ret_gone = true;
        else
            err_set_os(err, errno, "spool %s/%s", w->dir, from);
    }
    spool_unlink(w->dirfd, from);
    return false;
}

static bool begin_segment(struct lane_writer *w, const struct lane_run *run, const char *data, struct err *err)
{
    bool large = run->head.flags & LANE_SEGMENT_LARGE, gone = false;

    let_go(w);
    do {
        struct lane_spare file;

        if ((large || gone || !lane_spare_take(w, run->head.size, &file)) &&
            !lane_spare_make(w, run->head.size, !large, &file, err))
            return false;
        gone = false;
        if (fill(w, run, data, &file, &gone, err)) {
            w->fd = file.fd;
            w->fd_seq = run->head.seq;
            return true;
        }
        spool_close(file.fd);
    } while (gone);
    return false;
}

static bool cut_end(struct lane_writer *w, struct err *err)
{
    char        name[LANE_NAME_SIZE];
    struct stat st;
    int         fd;
    bool        ok;

    lane_name_write(name, LANE_NAME_SEGMENT, w->committed.seq);
    fd = spool_open(w->dirfd, name, O_RDWR);
    if (fd < 0 && errno == ENOENT)
        return true;
    ok = fd >= 0 && spool_stat(fd, &st) == 0;
    if (ok && st.st_size > (off_t)w->committed.offset)
        ok = spool_truncate(fd, w->committed.offset) == 0;
    ok = ok && spool_sync(fd) == 0;
    if (!ok)
        err_set_os(err, errno, "spool %s/%s: the end of it could not be cut", w->dir, name);
    spool_close(fd);
    return ok;
}

bool lane_cut(struct lane_writer *w, struct err *err)
{
    struct lane_listing l;
    bool                ok = true;

    if (!lane_dir_list(w->dirfd, w->dir, &l, err))
        return false;
    for (size_t i = l.count[LANE_NAME_SEGMENT]; ok && i-- > 0;) {
        char name[LANE_NAME_SIZE];

        if (l.seqs[LANE_NAME_SEGMENT][i] <= w->committed.seq)
            break;
        lane_name_write(name, LANE_NAME_SEGMENT, l.seqs[LANE_NAME_SEGMENT][i]);
        if (spool_unlink(w->dirfd, name) != 0)
            ok = err_set_os(err, errno, "spool %s/%s", w->dir, name);
    }
    lane_listing_done(&l);
    if (ok && spool_sync(w->dirfd) != 0)
        ok = err_set_os(err, errno, "spool %s", w->dir);
    ok = ok && (w->committed.seq == 0 || cut_end(w, err));
    if (ok)
        w->uncut = false;
    return ok;
}

bool lane_batch_write(struct lane_batch *b, struct err *err)
{
    struct lane_writer    *w = b->w;
    const struct lane_run *run = NULL;

    if (b->pending.doomed)
        return err_set(err, ERR_TEMPORARY, "spool %s: what was to be written before it failed", w->dir);
    if (w->uncut && !lane_cut(w, err))
        return false;
    for (size_t i = 0; i < b->pending.run_count; i++) {
        const char *data = b->pending.data.data;

        run = &b->pending.runs[i];
        if (run->head.seq == w->fd_seq ? !write_records(w, w->fd, run, data, NULL, err)
                                       : !begin_segment(w, run, data, err)) {
            let_go(w);
            lane_plan(w, NULL);
            w->uncut = true;
            lane_cut(w, NULL);
            return false;
        }
    }
    b->end = (struct lane_place){run->head.seq, (uint32_t)(run->offset + run->len)};
    b->written = true;
    return true;
}
