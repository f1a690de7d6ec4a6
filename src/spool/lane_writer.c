/* lane_writer.c: the memory's side of a writer: records become bytes with a place, and batches.
 *
 * The place and the checksum of a record are settled when it is appended, so that the caller can refer to it at once.
 * That costs something when a batch fails: what was appended behind it meanwhile has places in a segment that is
 * given up, and fails with the next batch. Giving places only when a batch begins was rejected, for then the hashing
 * would happen between two batches instead of beside one. The salt of a segment whose file does not exist yet comes
 * from a secret drawn when the writer was opened, so that appending makes no system call.
 *
 * A group (LANE_MORE) lies in one segment and in one batch: a segment is not left in the middle of it, but grows past
 * its size, and a batch leaves an open group for the next. */
#include "spool/lane_writer.h"
#include "base/array.h"
#include "io/file.h"
#include "io/loop.h"
#include "spool/lane_reader.h"
#include "spool/sys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- append ---- */

static struct lane_head next_segment(struct lane_writer *w, uint64_t total)
{
    uint64_t         text[3] = {w->secret[0], w->secret[1], 0};
    struct lane_head head = {.before = w->tail, .mark = w->mark};

    pthread_mutex_lock(&w->mutex);
    head.seq = w->next_seq++;
    w->spare_failed = false;
    head.size = w->spare.state == LANE_SPARE_READY ? w->spare.size : w->plan_size;
    pthread_mutex_unlock(&w->mutex);
    if (LANE_PAGE + total > head.size) {
        head.size = (uint32_t)lane_round_up(LANE_PAGE + total, LANE_PAGE);
        head.flags = LANE_SEGMENT_LARGE;
    }
    text[2] = head.seq;
    head.salt = XXH3_64bits(text, sizeof text);
    return head;
}

static bool pending_reserve(struct lane_pending *p, uint64_t total)
{
    if (!buf_reserve(&p->data, total)) {
        p->data.failed = false;
        return false;
    }
    return ARRAY_ROOM(p->runs, p->run_count, p->run_size, 4);
}

bool lane_append(struct lane_writer *w, uint8_t type, unsigned flags, const struct str *parts, size_t part_count,
                 struct lane_place *ret_place, struct err *err)
{
    static const char       zeros[LANE_RECORD_ALIGN];
    struct lane_pending    *p = &w->pending;
    struct lane_record_head record = {.type = type, .flags = flags & LANE_MORE};
    struct lane_run        *run;
    char                    head[LANE_RECORD_HEAD];
    uint64_t                length = 0, total;

    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len > LANE_RECORD_MAX - length)
            return err_set(err, ERR_LIMIT, "spool %s: a record of more than %d octets", w->dir, LANE_RECORD_MAX);
        length += parts[i].len;
    }
    total = lane_record_total(length);
    if (total > LANE_PENDING_MAX - p->data.len)
        return err_set(err, ERR_LIMIT, "spool %s: %zu octets wait to be written already", w->dir, p->data.len);
    if (!pending_reserve(p, total))
        return err_set_os(err, ENOMEM, "spool %s", w->dir);

    if (w->roll ||
        (!w->group_open && (w->tail.offset + total > w->head.size || (w->head.flags & LANE_SEGMENT_LARGE)))) {
        assert(!w->group_open);
        w->head = next_segment(w, total);
        w->tail = (struct lane_place){w->head.seq, LANE_PAGE};
        w->roll = false;
    } else if (w->tail.offset + total > UINT32_MAX - LANE_PAGE) {
        return err_set(err, ERR_LIMIT, "spool %s: a group of records is larger than a segment can be", w->dir);
    }
    if (p->run_count == 0 || p->runs[p->run_count - 1].head.seq != w->tail.seq)
        p->runs[p->run_count++] = (struct lane_run){w->head, w->tail.offset, p->data.len, 0};
    run = &p->runs[p->run_count - 1];

    record.length = (uint32_t)length;
    record.flags |= (uint8_t)((w->group_open ? LANE_CONTINUES : 0) | (p->data.len == 0 ? LANE_STARTS : 0));
    lane_record_encode(head, w->head.salt, w->tail, &record, parts, part_count);
    if (!w->group_open)
        w->group_from = p->data.len;
    w->group_open = flags & LANE_MORE;
    buf_append(&p->data, str_of(head, sizeof head));
    for (size_t i = 0; i < part_count; i++)
        buf_append(&p->data, parts[i]);
    buf_append(&p->data, str_of(zeros, total - LANE_RECORD_HEAD - length));
    assert(buf_ok(&p->data));
    run->len += total;
    if (ret_place)
        *ret_place = w->tail;
    w->tail.offset += (uint32_t)total;
    atomic_store_explicit(&w->filled, (uint32_t)((uint64_t)w->tail.offset * LANE_FULL / w->head.size),
                          memory_order_relaxed);
    return true;
}

size_t lane_pending(const struct lane_writer *w) { return w->pending.data.len; }

/* ---- batches ---- */

/* Moves what stands behind `cut` (an open group, which lies in the last run) to the start of *to. */
static bool split(struct lane_pending *from, size_t cut, struct lane_pending *to)
{
    struct lane_run *last = &from->runs[from->run_count - 1], run = *last;

    if (!pending_reserve(to, from->data.len - cut))
        return false;
    assert(cut >= last->from);
    buf_append(&to->data, str_skip(buf_str(&from->data), cut));
    run.offset += (uint32_t)(cut - last->from);
    run.len -= cut - last->from;
    run.from = 0;
    to->runs[to->run_count++] = run;
    to->doomed = from->doomed;
    last->len = cut - last->from;
    if (last->len == 0)
        from->run_count--;
    buf_cut(&from->data, cut);
    return true;
}

struct lane_batch *lane_batch_begin(struct lane_writer *w)
{
    struct lane_batch  *b = &w->batch;
    size_t              cut = w->group_open ? w->group_from : w->pending.data.len;
    struct lane_pending other;

    if (b->under_way || cut == 0)
        return NULL;
    other = b->pending;
    if (cut < w->pending.data.len) {
        if (!split(&w->pending, cut, &other))
            return NULL;
        w->group_from = 0;
    } else if (w->pending.doomed) {
        w->roll = true;
        w->tail = w->committed;
    }
    b->pending = w->pending;
    w->pending = other;
    b->under_way = true;
    b->written = false;
    return b;
}

void lane_batch_end(struct lane_batch *b, struct lane_place *ret_committed)
{
    struct lane_writer *w = b->w;

    assert(b->under_way);
    if (b->written) {
        w->committed = b->end;
    } else if (b->pending.doomed) {
        ; /* nothing was written, and what is pending now stands in a segment of its own */
    } else if (w->pending.data.len > 0) {
        w->pending.doomed = true;
    } else {
        w->roll = true;
        w->tail = w->committed;
    }
    buf_shrink(&b->pending.data, LANE_BUFFER_KEEP);
    b->pending.run_count = 0;
    b->pending.doomed = false;
    b->under_way = false;
    if (ret_committed)
        *ret_committed = w->committed;
}

bool lane_commit(struct lane_writer *w, struct err *err)
{
    struct lane_batch *b = lane_batch_begin(w);
    bool               ok;

    if (!b) {
        if (w->batch.under_way)
            return err_set(err, ERR_TEMPORARY, "spool %s: a batch is under way", w->dir);
        return w->pending.data.len == 0 || (w->group_open && w->group_from == 0) ||
               err_set_os(err, ENOMEM, "spool %s", w->dir);
    }
    ok = lane_batch_write(b, err);
    lane_batch_end(b, NULL);
    return ok;
}

struct lane_place lane_writer_committed(const struct lane_writer *w) { return w->committed; }

/* Where there is less above the reserve, a second is long enough to use it up. */
#define SPACE_PLENTY (UINT64_C(4) << 30)

bool lane_room(struct lane_writer *w, uint64_t now_ms, struct lane_room *ret_room, struct err *err)
{
    uint64_t kept_ms = lane_above_reserve(w, w->space_free) > SPACE_PLENTY ? 1000 : 20;

    if (!w->space_known || now_ms < w->space_at_ms || now_ms - w->space_at_ms >= kept_ms) {
        if (!lane_free_space(w, &w->space_free, err))
            return false;
        w->space_known = true;
        w->space_at_ms = now_ms;
    }
    *ret_room = (struct lane_room){
        .usable = lane_above_reserve(w, w->space_free), .free = w->space_free, .reserve = w->reserve};
    if (!w->roll && w->head.size > w->tail.offset && !(w->head.flags & LANE_SEGMENT_LARGE))
        ret_room->usable += w->head.size - w->tail.offset;
    pthread_mutex_lock(&w->mutex);
    if (w->spare.state == LANE_SPARE_READY)
        ret_room->usable += w->spare.size;
    pthread_mutex_unlock(&w->mutex);
    return true;
}

bool lane_has_space(struct lane_writer *w, uint64_t octets, uint64_t now_ms, struct err *err)
{
    struct lane_room room;

    if (!lane_room(w, now_ms, &room, err))
        return false;
    if (octets <= room.usable)
        return true;
    return err_set(err, ERR_LIMIT,
                   "spool %s: no room for %llu octets: %llu can be used, and %llu are kept free; make room on its file "
                   "system",
                   w->dir, (unsigned long long)octets, (unsigned long long)room.usable,
                   (unsigned long long)room.reserve);
}

void lane_mark(struct lane_writer *w, uint64_t mark)
{
    if (mark > w->mark)
        w->mark = mark;
}

uint64_t lane_marked(const struct lane_writer *w) { return w->mark; }

/* ---- open and close ---- */

static bool take_lock(struct lane_writer *w, struct err *err)
{
    do
        w->lockfd = spool_sys->openat(w->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    while (w->lockfd < 0 && errno == EINTR);
    if (w->lockfd < 0)
        return err_set_os(err, errno, "spool %s/lock", w->dir);
    while (spool_sys->flock(w->lockfd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_TEMPORARY, "spool %s is in use by another process", w->dir);
        return err_set_os(err, errno, "spool %s/lock", w->dir);
    }
    return true;
}

/* The highest mark in the heads of all segments and spares. Only the newest would have to be asked, but its head may be
 * damaged. What cannot be read has none: here that is no reason not to start. */
static void find_mark(struct lane_writer *w, const struct lane_listing *l)
{
    for (int kind = 0; kind < LANE_NAME_KINDS; kind++)
        for (size_t i = 0; i < l->count[kind]; i++) {
            char             name[LANE_NAME_SIZE], page[LANE_PAGE];
            struct lane_head head;
            ssize_t          n;
            int              fd;

            lane_name_write(name, (enum lane_name_kind)kind, l->seqs[kind][i]);
            fd = spool_open(w->dirfd, name, O_RDONLY);
            n = fd < 0 ? -1 : spool_read(fd, page, sizeof page, 0);
            spool_close(fd);
            if (n > 0 && lane_head_any(str_of(page, (size_t)n), &head) && head.mark > w->mark)
                w->mark = head.mark;
        }
}

/* Reads the last segment to its end, makes what was read durable (the process before us may have ended between write
 * and sync) and cuts off the rest. */
static bool recover(struct lane_writer *w, uint64_t seq, const struct lane_options *options, struct err *err)
{
    struct lane_reader *r = lane_reader_open_in(w->dirfd, w->dir, (struct lane_place){seq, 0}, err);
    struct lane_record  record;
    enum lane_read      read;

    if (!r)
        return false;
    do {
        read = lane_read_next(r, NULL, &record, err);
        if (read == LANE_READ_RECORD && options->found)
            options->found(options->found_arg, &record);
    } while (read == LANE_READ_RECORD || read == LANE_READ_DAMAGED);
    w->committed = lane_reader_place(r);
    lane_reader_close(r);
    return read == LANE_READ_END && lane_cut(w, err);
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most) { return n < least ? least : n > most ? most : n; }

static bool choose_sizes(struct lane_writer *w, const struct lane_options *options, struct err *err)
{
    struct statvfs st;

    if (spool_stat_space(w->dirfd, &st) != 0)
        return err_set_os(err, errno, "spool %s", w->dir);
    w->reserve = clamp((uint64_t)st.f_blocks * st.f_frsize / 10, LANE_RESERVE_MIN, LANE_RESERVE_MAX);
    if (options->reserve > 0)
        w->reserve = options->reserve;
    w->wanted = options->segment_size > 0 ? clamp(options->segment_size, LANE_SEGMENT_SMALLEST, LANE_SEGMENT_LARGEST)
                                          : LANE_SEGMENT_WANTED;
    return true;
}

/* What the process before us left: where the lane ends, and what was being made. */
static bool take_over(struct lane_writer *w, const struct lane_options *options, struct err *err)
{
    struct lane_listing l;
    uint64_t            newest;

    if (!lane_dir_list(w->dirfd, w->dir, &l, err))
        return false;
    if (lane_listing_newest(&l) > UINT64_MAX / 2) { /* further numbers would end, and their segments not be found */
        err_set(err, ERR_PERMANENT, "spool %s: a file has the number %016llx, which no lane comes to; move it away",
                w->dir, (unsigned long long)lane_listing_newest(&l));
        lane_listing_done(&l);
        return false;
    }
    w->next_seq = lane_listing_newest(&l) + 1;
    newest = l.count[LANE_NAME_SEGMENT] > 0 ? l.seqs[LANE_NAME_SEGMENT][l.count[LANE_NAME_SEGMENT] - 1] : 0;
    for (size_t i = 0; i < l.count[LANE_NAME_NEW]; i++) {
        char name[LANE_NAME_SIZE];

        lane_name_write(name, LANE_NAME_NEW, l.seqs[LANE_NAME_NEW][i]);
        spool_unlink(w->dirfd, name);
    }
    find_mark(w, &l);
    lane_listing_done(&l);
    if (newest > 0 && !recover(w, newest, options, err))
        return false;
    w->tail = w->committed;
    w->roll = true;
    return true;
}

/* A lane that is new must not be lost. Where we may not read above it, that is others' care. */
static bool sync_names(struct lane_writer *w, struct err *err)
{
    int  parent;
    bool ok;

    if (spool_sync(w->dirfd) != 0)
        return err_set_os(err, errno, "spool %s", w->dir);
    parent = spool_open(w->dirfd, "..", O_RDONLY | O_DIRECTORY);
    ok = parent < 0 || spool_sync(parent) == 0;
    if (!ok)
        err_set_os(err, errno, "spool %s/..", w->dir);
    spool_close(parent);
    return ok;
}

static bool open_lane(struct lane_writer *w, const struct lane_options *options, struct err *err)
{
    struct err spare_err;
    bool       ok;

    if (!take_lock(w, err) || !choose_sizes(w, options, err) || !take_over(w, options, err) || !sync_names(w, err))
        return false;
    w->spare_waited_for = true;
    ok = lane_prepare_spare(w, &spare_err);
    w->spare_waited_for = false;
    if (!ok && spare_err.class != ERR_LIMIT) {
        if (err)
            *err = spare_err;
        return false;
    }
    return true; /* a full disk is no reason not to start: it is answered when mail comes */
}

struct lane_writer *lane_writer_open(const char *dir, const struct lane_options *options, struct err *err)
{
    struct lane_writer *w = calloc(1, sizeof *w);
    char               *body = NULL;

    if (!w) {
        err_set_os(err, ENOMEM, "spool %s", dir);
        return NULL;
    }
    w->dirfd = w->bodyfd = w->lockfd = w->fd = w->spare.fd = -1;
    w->batch.w = w;
    buf_init(&w->pending.data, LANE_PENDING_MAX);
    buf_init(&w->batch.pending.data, LANE_PENDING_MAX);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    io_random(w->secret, sizeof w->secret);
    w->dir = strdup(dir);
    if (!w->dir || asprintf(&body, "%s/body", dir) < 0) {
        err_set_os(err, ENOMEM, "spool %s", dir);
        lane_writer_close(w);
        return NULL;
    }
    if (io_mkdirs(dir, 0770, err) && io_mkdirs(body, 0770, err) && (w->dirfd = lane_dir_open(dir, err)) >= 0 &&
        (w->bodyfd = lane_dir_open(body, err)) >= 0 && open_lane(w, options, err)) {
        free(body);
        return w;
    }
    free(body);
    lane_writer_close(w);
    return NULL;
}

void lane_writer_close(struct lane_writer *w)
{
    if (!w)
        return;
    assert(!w->batch.under_way);
    spool_close(w->fd);
    spool_close(w->spare.fd);
    spool_close(w->bodyfd);
    spool_close(w->dirfd);
    spool_close(w->lockfd);
    buf_done(&w->pending.data);
    buf_done(&w->batch.pending.data);
    free(w->pending.runs);
    free(w->batch.pending.runs);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mutex);
    free(w->dir);
    free(w);
}
