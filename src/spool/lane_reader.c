/* lane_reader.c: reads a lane, also one that is being written.
 *
 * The reader sees a file at any moment of a write, so it believes nothing but checksums, and looks twice before it
 * calls something damage: the writer's pages become visible in ascending order, so if a later record is there, the
 * earlier one is too, when looked at again.
 *
 * How far a segment must be whole is known in two cases: up to `until`, and, once the next segment is there, up to
 * where that one's head says this one ended. Anything in that range which is no record is damage. Otherwise the end is
 * where no whole record follows any more. What stands there was checked once and is not searched again at each call.
 *
 * mmap was rejected: a file that is cut while it is read would end the process by SIGBUS. */
#include "spool/lane_reader.h"
#include "spool/lane_dir.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOW = 256 << 10, SEARCH_STEP = 64 << 10 };

struct lane_reader {
    char *dir;
    int   dirfd;
    bool  owns_dirfd;

    struct lane_place place; /* of the next record */
    int               fd;    /* of segment place.seq, or -1 */
    struct lane_head  head;
    bool              head_ok;
    uint64_t          size;      /* of the file, when last looked at */
    uint64_t          ahead;     /* no further than this is read ahead: behind it a writer may be at work */
    uint32_t          group_end; /* up to here the group under way was checked; 0: none */
    bool              resumed;   /* the first record may be one inside a group */

    uint64_t next_seq;    /* the following segment, once it was seen; 0: not seen */
    uint32_t known_end;   /* where the following segment says that this one ended; 0: it does not say */
    uint32_t searched_at; /* nothing whole stood behind this place; 0: not searched */
    uint64_t searched_size;

    char    *window;
    size_t   window_size, window_len;
    uint64_t window_at;

    struct lane_damage damage;
};

/* ---- octets of the segment ---- */

static void window_drop(struct lane_reader *r) { r->window_len = 0; }

/* `len` octets at `at` of the file. 0: read; 1: the file ends before; -1: I/O error. */
static int window_get(struct lane_reader *r, uint64_t at, size_t len, const char **ret_octets, struct err *err)
{
    ssize_t n;
    size_t  want = WINDOW;

    if (at >= r->window_at && at + len <= r->window_at + r->window_len) {
        *ret_octets = r->window + (at - r->window_at);
        return 0;
    }
    if (at + len > r->size)
        return 1;
    if (r->ahead < at + want)
        want = r->ahead > at ? (size_t)(r->ahead - at) : 0;
    if (want < len)
        want = len;
    if (want > r->window_size) {
        size_t size = want > WINDOW ? want : WINDOW;
        char  *window = malloc(size);

        if (!window) {
            err_set_os(err, ENOMEM, "spool %s", r->dir);
            return -1;
        }
        free(r->window);
        r->window = window;
        r->window_size = size;
    }
    window_drop(r);
    n = spool_read(r->fd, r->window, want, at);
    if (n < 0) {
        err_set_os(err, errno, "spool %s: segment %016llx", r->dir, (unsigned long long)r->place.seq);
        return -1;
    }
    r->window_at = at;
    r->window_len = (size_t)n;
    *ret_octets = r->window;
    return (size_t)n < len; /* cut since we looked */
}

/* One large record must not keep its memory. */
static void window_shrink(struct lane_reader *r)
{
    if (r->window_size > WINDOW) {
        free(r->window);
        r->window = NULL;
        r->window_size = 0;
        window_drop(r);
    }
}

static bool refresh(struct lane_reader *r, struct err *err)
{
    struct stat st;

    if (spool_stat(r->fd, &st) != 0)
        return err_set_os(err, errno, "spool %s: segment %016llx", r->dir, (unsigned long long)r->place.seq);
    r->size = (uint64_t)st.st_size < UINT32_MAX ? (uint64_t)st.st_size : UINT32_MAX;
    window_drop(r);
    return true;
}

/* ---- records ---- */

enum check { CHECK_WHOLE, CHECK_NOT, CHECK_FAILED };

/* Whether a whole record stands at `at` and ends at or before `limit`. */
static enum check record_check(struct lane_reader *r, uint32_t at, uint64_t limit, struct lane_record_head *ret_head,
                               const char **ret_payload, struct err *err)
{
    struct lane_place place = {r->place.seq, at};
    const char       *octets;
    uint64_t          total;
    int               got;

    if (at + (uint64_t)LANE_RECORD_HEAD > limit)
        return CHECK_NOT;
    got = window_get(r, at, LANE_RECORD_HEAD, &octets, err);
    if (got != 0)
        return got < 0 ? CHECK_FAILED : CHECK_NOT;
    if (!lane_record_decode(octets, r->head.salt, place, ret_head))
        return CHECK_NOT;
    total = lane_record_total(ret_head->length);
    if (at + total > limit)
        return CHECK_NOT;
    got = window_get(r, at, total, &octets, err);
    if (got != 0)
        return got < 0 ? CHECK_FAILED : CHECK_NOT;
    if (!lane_record_sum_ok(octets, r->head.salt, place, str_of(octets + LANE_RECORD_HEAD, ret_head->length)))
        return CHECK_NOT;
    *ret_payload = octets + LANE_RECORD_HEAD;
    return CHECK_WHOLE;
}

/* Whether a whole group (or a single record) begins at `at`; *ret_end: behind it, or, when it is not whole, where the
 * record stands that is not. */
static enum check group_check(struct lane_reader *r, uint32_t at, uint64_t limit, bool may_continue, uint32_t *ret_end,
                              struct err *err)
{
    struct lane_record_head head;
    const char             *payload;

    do {
        enum check c = record_check(r, at, limit, &head, &payload, err);

        *ret_end = at;
        if (c != CHECK_WHOLE)
            return c;
        if (!may_continue && (head.flags & LANE_CONTINUES))
            return CHECK_NOT;
        may_continue = true;
        at += (uint32_t)lane_record_total(head.length);
    } while (head.flags & LANE_MORE);
    *ret_end = at;
    return CHECK_WHOLE;
}

struct found {
    uint32_t at;      /* a whole group begins here; 0: none does */
    uint32_t rest;    /* end of the last whole record that belongs to a group we cannot have; 0: none */
    bool     started; /* a whole record behind says that everything before it had been durable */
};

/* Looks for whole records in [from, limit). */
static enum check search(struct lane_reader *r, uint32_t from, uint64_t limit, struct found *ret_found, struct err *err)
{
    struct found f = {0};
    uint64_t     at = lane_round_up(from, LANE_RECORD_ALIGN), step_end = 0;
    const char  *octets = NULL;

    while (at + LANE_RECORD_HEAD <= limit && (f.at == 0 || !f.started)) {
        struct lane_record_head head;
        const char             *payload;
        enum check              c;

        if (at + LANE_RECORD_HEAD > step_end) {
            uint64_t len = limit - at < SEARCH_STEP ? limit - at : SEARCH_STEP;
            int      got = window_get(r, at, len, &octets, err);

            if (got != 0 && len > LANE_RECORD_HEAD)
                got = window_get(r, at, len = LANE_RECORD_HEAD, &octets, err);
            if (got < 0)
                return CHECK_FAILED;
            if (got > 0)
                break;
            step_end = at + len;
        }
        if (!lane_record_decode(octets, r->head.salt, (struct lane_place){r->place.seq, (uint32_t)at}, &head)) {
            at += LANE_RECORD_ALIGN;
            octets += LANE_RECORD_ALIGN;
            continue;
        }
        c = record_check(r, (uint32_t)at, limit, &head, &payload, err);
        step_end = 0; /* the window may have moved */
        if (c == CHECK_FAILED)
            return c;
        if (c == CHECK_NOT) {
            at += LANE_RECORD_ALIGN;
            continue;
        }
        f.started = f.started || (head.flags & LANE_STARTS);
        if (f.at == 0 && !(head.flags & LANE_CONTINUES)) {
            uint32_t end;

            c = group_check(r, (uint32_t)at, limit, false, &end, err);
            if (c == CHECK_FAILED)
                return c;
            if (c == CHECK_WHOLE)
                f.at = (uint32_t)at;
        }
        at += lane_record_total(head.length);
        if (f.at == 0)
            f.rest = (uint32_t)at;
    }
    *ret_found = f;
    return CHECK_WHOLE;
}

/* ---- segments ---- */

static void leave(struct lane_reader *r, struct lane_place to)
{
    spool_close(r->fd);
    r->fd = -1;
    r->place = to;
    r->head_ok = false;
    r->group_end = r->known_end = r->searched_at = 0;
    r->next_seq = 0;
    window_shrink(r);
    window_drop(r);
}

/* The first segment at or behind `seq`; *ret_seq 0: none. */
static bool find_segment(struct lane_reader *r, uint64_t seq, uint64_t *ret_seq, struct err *err)
{
    struct lane_listing l;
    uint64_t            found = 0;

    if (!lane_dir_list(r->dirfd, r->dir, &l, err))
        return false;
    for (size_t i = 0; i < l.count[LANE_NAME_SEGMENT] && found == 0; i++)
        if (l.seqs[LANE_NAME_SEGMENT][i] >= seq)
            found = l.seqs[LANE_NAME_SEGMENT][i];
    lane_listing_done(&l);
    *ret_seq = found;
    return true;
}

/* Opens the segment of r->place, or the first behind it. END: there is none. */
static enum lane_read enter(struct lane_reader *r, struct err *err)
{
    for (;;) {
        enum lane_head_state state;
        uint64_t             seq;

        if (!find_segment(r, r->place.seq, &seq, err))
            return LANE_READ_FAILED;
        if (seq == 0)
            return LANE_READ_END;
        if (seq != r->place.seq) {
            leave(r, (struct lane_place){seq, 0});
            r->resumed = false;
        }
        r->fd = lane_segment_open(r->dirfd, r->dir, seq, O_RDONLY, &r->head, &state, err);
        if (r->fd < 0 && errno == ENOENT)
            continue; /* released between listing and opening */
        if (r->fd < 0)
            return LANE_READ_FAILED;
        if (!refresh(r, err)) {
            leave(r, r->place);
            return LANE_READ_FAILED;
        }
        if (state == LANE_HEAD_NEWER) {
            err_set(err, ERR_PERMANENT, "spool %s: segment %016llx was written by a newer version of tacit", r->dir,
                    (unsigned long long)seq);
            leave(r, r->place);
            return LANE_READ_FAILED;
        }
        r->head_ok = state != LANE_HEAD_DAMAGED;
        if (r->place.offset <= LANE_PAGE)
            r->resumed = false;
        if (state != LANE_HEAD_WHOLE && r->place.offset < LANE_PAGE) {
            r->damage = (struct lane_damage){
                {seq, 0}, r->head_ok ? LANE_PAGE : (uint32_t)r->size, .head = true, .confirmed = true};
            r->place.offset = r->damage.to;
            return LANE_READ_DAMAGED;
        }
        r->place.offset = (uint32_t)lane_round_up(r->place.offset, LANE_RECORD_ALIGN);
        if (r->place.offset < LANE_PAGE && r->head_ok)
            r->place.offset = LANE_PAGE;
        return LANE_READ_RECORD;
    }
}

/* The segment behind this one, and what its head says of our end. */
static bool look_ahead(struct lane_reader *r, struct err *err)
{
    struct lane_head     head;
    enum lane_head_state state;
    int                  fd;

    if (!find_segment(r, r->place.seq + 1, &r->next_seq, err))
        return false;
    if (r->next_seq == 0)
        return true;
    fd = lane_segment_open(r->dirfd, r->dir, r->next_seq, O_RDONLY, &head, &state, err);
    if (fd < 0)
        return errno == ENOENT; /* released meanwhile: then it cannot say */
    spool_close(fd);
    if ((state == LANE_HEAD_WHOLE || state == LANE_HEAD_HALF) && head.before.seq == r->place.seq)
        r->known_end = head.before.offset;
    return true;
}

/* Whether our file still is the segment: it may have been released, and have become another, while we read. */
static bool is_current(const struct lane_reader *r)
{
    char        name[LANE_NAME_SIZE];
    struct stat ours, theirs;

    lane_name_write(name, LANE_NAME_SEGMENT, r->place.seq);
    return spool_sys->fstatat(r->dirfd, name, &theirs, AT_SYMLINK_NOFOLLOW) == 0 && spool_stat(r->fd, &ours) == 0 &&
           ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static enum lane_read report(struct lane_reader *r, uint32_t to, bool confirmed, struct err *err)
{
    r->damage = (struct lane_damage){r->place, to, .confirmed = confirmed};
    err_set(err, ERR_PERMANENT, "spool %s: segment %016llx is damaged from octet %u to %u: %s", r->dir,
            (unsigned long long)r->place.seq, r->place.offset, to,
            confirmed ? "records that had been stored are lost; look at the disk"
                      : "a write was torn, or records are lost; look at the disk unless the power failed");
    r->place.offset = to;
    r->resumed = false;
    return LANE_READ_DAMAGED;
}

/* ---- reading ---- */

/* How far the segment is to be read, and whether everything up to there must be whole. */
static uint64_t limit_of(const struct lane_reader *r, const struct lane_place *until, bool *ret_firm)
{
    uint64_t limit = r->size;

    *ret_firm = false;
    if (until && until->seq == r->place.seq) {
        *ret_firm = true;
        limit = until->offset;
    }
    if (r->known_end > 0 && (!*ret_firm || r->known_end < limit)) {
        *ret_firm = true;
        limit = r->known_end;
    }
    return limit;
}

static enum lane_read take(struct lane_reader *r, const struct lane_record_head *head, const char *payload,
                           struct lane_record *ret_record)
{
    ret_record->place = r->place;
    ret_record->type = head->type;
    ret_record->more = head->flags & LANE_MORE;
    ret_record->payload = str_of(payload, head->length);
    r->place.offset += (uint32_t)lane_record_total(head->length);
    ret_record->next = r->place;
    r->resumed = false;
    return LANE_READ_RECORD;
}

/* At r->place stands no whole group: is that damage? END: no. */
static enum lane_read judge(struct lane_reader *r, uint64_t limit, bool firm, struct err *err)
{
    struct found f = {0};
    uint32_t     end = r->place.offset;
    uint64_t     whole = limit < r->size ? limit : r->size;

    if (r->place.offset >= limit)
        return LANE_READ_END;
    if (!firm && r->searched_at == r->place.offset && r->searched_size == r->size)
        return LANE_READ_END;
    if (group_check(r, r->place.offset, whole, r->resumed, &end, err) == CHECK_FAILED ||
        search(r, end + LANE_RECORD_ALIGN, whole, &f, err) == CHECK_FAILED)
        return LANE_READ_FAILED;
    if (f.at == 0 && f.rest == 0 && !firm) {
        r->searched_at = r->place.offset;
        r->searched_size = r->size;
        return LANE_READ_END;
    }
    if (!refresh(r, err))
        return LANE_READ_FAILED;
    switch (group_check(r, r->place.offset, whole, r->resumed, &end, err)) {
    case CHECK_WHOLE:
        return LANE_READ_RECORD;
    case CHECK_FAILED:
        return LANE_READ_FAILED;
    case CHECK_NOT:
        break;
    }
    if (!is_current(r)) {
        leave(r, (struct lane_place){r->place.seq + 1, 0});
        return LANE_READ_RECORD;
    }
    return report(r, f.at ? f.at : firm ? (uint32_t)limit : f.rest, firm || f.started, err);
}

enum lane_read lane_read_next(struct lane_reader *r, const struct lane_place *until, struct lane_record *ret_record,
                              struct err *err)
{
    bool fresh = false;

    window_shrink(r);
    for (;;) {
        struct lane_record_head head;
        const char             *payload;
        uint64_t                limit;
        uint32_t                end = 0;
        bool                    firm;
        enum check              c = CHECK_NOT;
        enum lane_read          read;

        if (until && lane_place_cmp(r->place, *until) >= 0)
            return LANE_READ_END;
        if (r->fd < 0) {
            read = enter(r, err);
            if (read == LANE_READ_DAMAGED)
                err_set(err, ERR_PERMANENT, "spool %s: the head of segment %016llx is damaged: %s", r->dir,
                        (unsigned long long)r->place.seq,
                        r->head_ok ? "its copy is whole, nothing is lost" : "none of its records can be read");
            if (read != LANE_READ_RECORD)
                return read;
            fresh = true;
            continue;
        }
        limit = limit_of(r, until, &firm);
        r->ahead = limit;
        if (r->head_ok && r->place.offset < r->group_end) {
            c = record_check(r, r->place.offset, r->group_end, &head, &payload, err);
        } else if (r->head_ok) {
            c = group_check(r, r->place.offset, limit < r->size ? limit : r->size, r->resumed, &end, err);
            if (c == CHECK_WHOLE) {
                r->group_end = end;
                c = record_check(r, r->place.offset, end, &head, &payload, err);
            }
        }
        if (c == CHECK_FAILED)
            return LANE_READ_FAILED;
        if (c == CHECK_WHOLE)
            return take(r, &head, payload, ret_record);
        r->group_end = 0;
        if (!fresh) {
            if (!refresh(r, err))
                return LANE_READ_FAILED;
            fresh = true;
            continue;
        }
        read = r->head_ok ? judge(r, limit, firm, err) : LANE_READ_END;
        if (read == LANE_READ_RECORD)
            continue;
        if (read != LANE_READ_END)
            return read;
        if (until && until->seq <= r->place.seq)
            return LANE_READ_END;
        if (r->next_seq == 0) {
            /* The end may have moved before the next segment came: look once more when it is known to be there. */
            if (!look_ahead(r, err))
                return LANE_READ_FAILED;
            if (r->next_seq == 0)
                return LANE_READ_END;
            fresh = false;
            r->searched_at = 0;
            continue;
        }
        leave(r, (struct lane_place){r->next_seq, 0});
    }
}

/* ---- open and close ---- */

struct lane_reader *lane_reader_open_in(int dirfd, const char *dir, struct lane_place from, struct err *err)
{
    struct lane_reader *r = calloc(1, sizeof *r);

    if (r)
        r->dir = strdup(dir);
    if (!r || !r->dir) {
        free(r);
        err_set_os(err, ENOMEM, "spool %s", dir);
        return NULL;
    }
    r->dirfd = dirfd;
    r->fd = -1;
    r->place = from;
    r->resumed = true;
    return r;
}

struct lane_reader *lane_reader_open(const char *dir, struct lane_place from, struct err *err)
{
    int                 fd = lane_dir_open(dir, err);
    struct lane_reader *r = fd < 0 ? NULL : lane_reader_open_in(fd, dir, from, err);

    if (r)
        r->owns_dirfd = true;
    else
        spool_close(fd);
    return r;
}

void lane_reader_close(struct lane_reader *r)
{
    if (!r)
        return;
    spool_close(r->fd);
    if (r->owns_dirfd)
        spool_close(r->dirfd);
    free(r->window);
    free(r->dir);
    free(r);
}

void lane_reader_seek(struct lane_reader *r, struct lane_place to)
{
    leave(r, to);
    r->resumed = true;
}

struct lane_place lane_reader_place(const struct lane_reader *r) { return r->place; }

const struct lane_damage *lane_reader_damage(const struct lane_reader *r) { return &r->damage; }

bool lane_reader_view(struct lane_reader *r, struct lane_segment_view *ret_view, struct err *err)
{
    struct lane_segment_view v = {.seq = r->place.seq, .head = r->head, .head_ok = r->head_ok};
    struct lane_record_head  head;
    const char              *octets;

    if (r->fd < 0)
        return false;
    v.file_size = r->size;
    v.torn = r->head_ok && window_get(r, r->place.offset, LANE_RECORD_HEAD, &octets, err) == 0 &&
             lane_record_decode(octets, r->head.salt, r->place, &head);
    *ret_view = v;
    return true;
}
