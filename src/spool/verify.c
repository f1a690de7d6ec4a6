/* verify.c: what stands in a lane, judged by the very reader that replays it: a verifier with its own opinion of the
 * format would one day differ from what the server does. */
#include "spool/verify.h"
#include "base/map.h"
#include "spool/lane_dir.h"
#include "spool/lane_reader.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

struct name { /* of a body that a record refers to */
    struct name *next;
    char         text[LANE_BODY_NAME_MAX];
    size_t       len;
};

struct verify {
    const char                *dir;
    const struct verify_calls *calls;
    struct verify_sum          sum;
    struct verify_segment      segment; /* seq 0: none begun */
    int                        bodyfd;
    bool                       contents;
    struct map                 seen;
    struct name               *names;
};

static void segment_finish(struct verify *v)
{
    if (v->segment.seq != 0 && v->calls->segment)
        v->calls->segment(&v->segment, v->calls->arg);
    v->segment = (struct verify_segment){0};
}

static void segment_enter(struct verify *v, struct lane_reader *r, uint64_t seq)
{
    struct lane_segment_view view;

    if (seq != v->segment.seq) {
        segment_finish(v);
        v->segment.seq = seq;
        v->sum.segments++;
    }
    if (lane_reader_view(r, &view, NULL) && view.seq == seq) {
        v->segment.file_size = view.file_size;
        v->segment.head_ok = view.head_ok;
        v->segment.large = view.head_ok && (view.head.flags & LANE_SEGMENT_LARGE);
        v->segment.torn = view.torn;
    }
}

static void damage(struct verify *v, const struct lane_damage *d, bool head_ok)
{
    struct verify_damage out = {.from = d->from, .to = d->to};

    if (d->head && head_ok) {
        out.what = "one of the two copies of the segment's head is damaged; nothing is lost";
        out.remedy = "look at the disk; the segment goes when its messages are delivered";
    } else if (d->head) {
        out.what = "the segment's head and its copy are damaged; none of its records can be read";
        out.remedy = "look at the disk, and restore the segment from a backup while the server is stopped";
    } else if (d->confirmed) {
        out.what = "records that had been stored are damaged; messages or progress may be lost";
        out.remedy = "look at the disk, and restore the segment from a backup while the server is stopped";
    } else {
        out.what = "a batch is whole only in part; if the power failed while it was written, nobody was told that it "
                   "was stored";
        out.remedy = "nothing after a power failure; otherwise look at the disk";
    }
    v->segment.damages++;
    v->sum.damages++;
    v->sum.damaged_octets += d->to > d->from.offset ? d->to - d->from.offset : 0;
    if (v->calls->damage)
        v->calls->damage(&out, v->calls->arg);
}

/* ---- bodies ---- */

static void body_found(struct verify *v, enum verify_body what, struct str name)
{
    v->sum.bodies_missing += what == VERIFY_BODY_MISSING;
    v->sum.bodies_differing += what == VERIFY_BODY_DIFFERS;
    v->sum.bodies_orphaned += what == VERIFY_BODY_ORPHANED;
    if (v->calls->body)
        v->calls->body(what, name, v->calls->arg);
}

static bool body_check(struct verify *v, const struct lane_record *record, struct err *err)
{
    struct verify_body_ref ref;
    struct name           *name;
    struct stat            st;
    char                   text[LANE_BODY_NAME_MAX + 1] = {0};
    int                    fd;

    if (!v->calls->body_of || !v->calls->body_of(record, &ref, v->calls->arg) || !lane_body_name_ok(ref.name))
        return true;
    if (map_get(&v->seen, ref.name))
        return true; /* an older copy of the same message */
    name = calloc(1, sizeof *name);
    if (!name)
        return err_set_os(err, ENOMEM, "spool %s", v->dir);
    memcpy(name->text, ref.name.data, ref.name.len);
    name->len = ref.name.len;
    name->next = v->names;
    v->names = name;
    if (!map_put(&v->seen, str_of(name->text, name->len), name))
        return err_set_os(err, ENOMEM, "spool %s", v->dir);
    v->sum.bodies++;

    memcpy(text, name->text, name->len);
    fd = v->bodyfd < 0 ? -1 : spool_open(v->bodyfd, text, O_RDONLY);
    if (fd < 0 && v->bodyfd >= 0 && errno != ENOENT)
        return err_set_os(err, errno, "spool %s/body/%.*s", v->dir, STR_ARG(ref.name));
    if (fd < 0)
        body_found(v, VERIFY_BODY_MISSING, ref.name);
    else if (spool_stat(fd, &st) != 0 || (uint64_t)st.st_size != ref.size ||
             (v->contents && !lane_body_check(text, fd, ref.size, ref.xxh3, NULL)))
        body_found(v, VERIFY_BODY_DIFFERS, ref.name);
    spool_close(fd);
    return true;
}

static bool orphan_check(struct str name, uint64_t size, uint64_t written_ms, void *arg)
{
    struct verify *v = arg;

    (void)size;
    (void)written_ms;
    if (!map_get(&v->seen, name))
        body_found(v, VERIFY_BODY_ORPHANED, name);
    return true;
}

/* ---- the walk ---- */

static bool walk(struct verify *v, struct err *err)
{
    struct lane_reader *r = lane_reader_open(v->dir, (struct lane_place){0, 0}, err);
    bool                ok = r, in_group = false;

    while (ok) {
        struct lane_record record;
        enum lane_read     read = lane_read_next(r, NULL, &record, err);

        if (read == LANE_READ_FAILED) {
            ok = false;
        } else if (read == LANE_READ_DAMAGED) {
            const struct lane_damage *d = lane_reader_damage(r);

            segment_enter(v, r, d->from.seq);
            damage(v, d, v->segment.head_ok);
        } else if (read == LANE_READ_RECORD) {
            segment_enter(v, r, record.place.seq);
            v->segment.records++;
            v->segment.octets += record.payload.len;
            v->segment.groups += record.more && !in_group;
            v->segment.end = record.next.offset;
            in_group = record.more;
            v->sum.records++;
            v->sum.octets += record.payload.len;
            if (v->calls->record)
                v->calls->record(&record, v->calls->arg);
            ok = body_check(v, &record, err);
        } else {
            struct lane_place place = lane_reader_place(r);

            if (place.seq != 0)
                segment_enter(v, r, place.seq);
            segment_finish(v);
            break;
        }
    }
    lane_reader_close(r);
    return ok;
}

bool lane_verify(const char *dir, bool contents, const struct verify_calls *calls, struct verify_sum *ret_sum,
                 struct err *err)
{
    struct verify v = {.dir = dir, .calls = calls, .contents = contents, .bodyfd = -1};
    char         *path = NULL;
    bool          ok = true;

    map_init(&v.seen, 0);
    if (calls->body_of) {
        if (asprintf(&path, "%s/body", dir) < 0)
            return err_set_os(err, ENOMEM, "spool %s", dir);
        v.bodyfd = lane_dir_open(path, err);
        ok = v.bodyfd >= 0;
        free(path);
    }
    ok = ok && walk(&v, err);
    if (ok && calls->body_of)
        ok = lane_each_body(dir, orphan_check, &v, err);
    while (v.names) {
        struct name *next = v.names->next;

        free(v.names);
        v.names = next;
    }
    map_done(&v.seen);
    spool_close(v.bodyfd);
    if (ok)
        *ret_sum = v.sum;
    return ok;
}
