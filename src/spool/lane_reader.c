/* lane_reader.c: reads a lane, also one that is being written.
 *
 * The reader sees a file at any moment of a write, so it believes nothing but checksums, and looks twice before it
 * calls something damage: the writer's pages become visible in ascending order, so if a later record is there, the
 * earlier one is too, when looked at again.
 *
 * How far a segment must be whole is known in two cases: up to `until`, and, once the next segment is there, up to
 * where that one's head says this one ended. Anything in that range which is no record is damage. Otherwise the end is
 * where no whole record follows any more. What stands there was checked once and is not searched again at each call. */
#include "spool/lane_reader.h"
#include "spool/lane_dir.h"
#include "spool/lane_scan.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct lane_reader {
    char *dir;
    int   dirfd;
    bool  owns_dirfd;

    struct lane_place place; /* of the next record */
    struct lane_scan  scan;  /* of segment place.seq, if it is open */
    struct lane_head  head;
    bool              head_ok;
    uint32_t          group_end; /* up to here the group under way was checked; 0: none */
    bool              resumed;   /* the first record may be one inside a group */

    uint64_t next_seq;    /* the following segment, once it was seen; 0: not seen */
    uint32_t known_end;   /* where the following segment says that this one ended; 0: it does not say */
    uint32_t searched_at; /* nothing whole stood behind this place; 0: not searched */
    uint64_t searched_size;

    struct lane_damage damage;
};

/* ---- segments ---- */

static void leave(struct lane_reader *r, struct lane_place to)
{
    lane_scan_end(&r->scan);
    r->place = to;
    r->head_ok = false;
    r->group_end = r->known_end = r->searched_at = 0;
    r->next_seq = 0;
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
        int                  fd;

        if (!find_segment(r, r->place.seq, &seq, err))
            return LANE_READ_FAILED;
        if (seq == 0)
            return LANE_READ_END;
        if (seq != r->place.seq) {
            leave(r, (struct lane_place){seq, 0});
            r->resumed = false;
        }
        fd = lane_segment_open(r->dirfd, r->dir, seq, O_RDONLY, &r->head, &state, err);
        if (fd < 0 && errno == ENOENT)
            continue; /* released between listing and opening */
        if (fd < 0)
            return LANE_READ_FAILED;
        if (!lane_scan_begin(&r->scan, fd, seq, r->head.salt, err)) {
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
                {seq, 0}, r->head_ok ? LANE_PAGE : (uint32_t)r->scan.size, .head = true, .confirmed = true};
            r->place.offset = r->damage.to;
            err_set(err, ERR_PERMANENT, "spool %s: the head of segment %016llx is damaged: %s", r->dir,
                    (unsigned long long)seq,
                    r->head_ok ? "its copy is whole, nothing is lost" : "none of its records can be read");
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
    return spool_sys->fstatat(r->dirfd, name, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
           spool_stat(r->scan.fd, &ours) == 0 && ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
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
    uint64_t limit = r->scan.size;

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
    struct lane_found f = {0};
    uint32_t          end = r->place.offset;
    uint64_t          whole = limit < r->scan.size ? limit : r->scan.size;

    if (r->place.offset >= limit)
        return LANE_READ_END;
    if (!firm && r->searched_at == r->place.offset && r->searched_size == r->scan.size)
        return LANE_READ_END;
    if (lane_scan_group(&r->scan, r->place.offset, whole, r->resumed, &end, err) == LANE_SCAN_FAILED ||
        !lane_scan_search(&r->scan, end + LANE_RECORD_ALIGN, whole, &f, err))
        return LANE_READ_FAILED;
    if (f.at == 0 && f.rest == 0 && !firm) {
        r->searched_at = r->place.offset;
        r->searched_size = r->scan.size;
        return LANE_READ_END;
    }
    if (!lane_scan_refresh(&r->scan, err))
        return LANE_READ_FAILED;
    switch (lane_scan_group(&r->scan, r->place.offset, whole, r->resumed, &end, err)) {
    case LANE_SCAN_WHOLE:
        return LANE_READ_RECORD;
    case LANE_SCAN_FAILED:
        return LANE_READ_FAILED;
    case LANE_SCAN_NOT:
        break;
    }
    if (!is_current(r)) {
        leave(r, (struct lane_place){r->place.seq + 1, 0});
        return LANE_READ_RECORD;
    }
    return report(r, f.at ? f.at : firm ? (uint32_t)limit : f.rest, firm || f.started, err);
}

/* The record at r->place, which is given away only when its group is whole. */
static enum lane_scan_result look_here(struct lane_reader *r, uint64_t limit, struct lane_record_head *ret_head,
                                       const char **ret_payload, struct err *err)
{
    enum lane_scan_result c = LANE_SCAN_WHOLE;
    uint32_t              end = r->group_end;

    if (!r->head_ok)
        return LANE_SCAN_NOT;
    r->scan.ahead = limit;
    if (r->place.offset >= r->group_end)
        c = lane_scan_group(&r->scan, r->place.offset, limit < r->scan.size ? limit : r->scan.size, r->resumed, &end,
                            err);
    if (c == LANE_SCAN_WHOLE)
        c = lane_scan_record(&r->scan, r->place.offset, end, ret_head, ret_payload, err);
    if (c != LANE_SCAN_FAILED)
        r->group_end = c == LANE_SCAN_WHOLE ? end : 0;
    return c;
}

enum lane_read lane_read_next(struct lane_reader *r, const struct lane_place *until, struct lane_record *ret_record,
                              struct err *err)
{
    bool fresh = false; /* what the file holds was looked at in this call */

    lane_scan_shrink(&r->scan);
    for (;;) {
        struct lane_record_head head;
        const char             *payload;
        uint64_t                limit;
        bool                    firm;
        enum lane_read          read;

        if (until && lane_place_cmp(r->place, *until) >= 0)
            return LANE_READ_END;
        if (r->scan.fd < 0) {
            read = enter(r, err);
            if (read != LANE_READ_RECORD)
                return read;
            fresh = true;
            continue;
        }
        limit = limit_of(r, until, &firm);
        switch (look_here(r, limit, &head, &payload, err)) {
        case LANE_SCAN_WHOLE:
            return take(r, &head, payload, ret_record);
        case LANE_SCAN_FAILED:
            return LANE_READ_FAILED;
        case LANE_SCAN_NOT:
            break;
        }
        if (!fresh) {
            if (!lane_scan_refresh(&r->scan, err))
                return LANE_READ_FAILED;
            fresh = true;
            continue;
        }
        read = r->head_ok ? judge(r, limit, firm, err) : LANE_READ_END;
        if (read == LANE_READ_RECORD)
            continue;
        if (read != LANE_READ_END || (until && until->seq <= r->place.seq))
            return read;
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
    r->scan = (struct lane_scan){.fd = -1, .dir = r->dir};
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
    lane_scan_done(&r->scan);
    if (r->owns_dirfd)
        spool_close(r->dirfd);
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

    if (r->scan.fd < 0)
        return false;
    v.file_size = r->scan.size;
    v.torn = r->head_ok && lane_scan_head(&r->scan, r->place.offset, &head, err) == LANE_SCAN_WHOLE;
    *ret_view = v;
    return true;
}
