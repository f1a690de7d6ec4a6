/* follow.c: lanes become the queue, and segments that the queue needs no more are released.
 *
 * A lane is read up to what its writer said is durable. Where there is no writer (it has not started yet, or has ended)
 * it is read to its end: what a front committed in its last moment was perhaps answered 250 already, so it counts,
 * whether word of it came here or not. A front begins by saying how far its predecessor came; what that one said, which
 * may have fallen into wrong hands, counts no more. */
#include "back/back.h"
#include "role/log.h"
#include "spool/lane_index.h"
#include "spool/lane_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    RECORDS_PER_TURN = 500,
    ORPHAN_AGE_MS = 3600 * 1000,
    ORPHANS_MAX = 4096, /* that are watched at once */
};

const char *back_lane_dir(struct back *b, unsigned lane)
{
    return lane < QUEUE_LANES && b->lanes[lane] ? b->lanes[lane]->dir : NULL;
}

static bool each_segment(uint64_t seq, uint64_t size, void *arg)
{
    struct back_lane *l = ((void **)arg)[0];
    struct back      *b = ((void **)arg)[1];

    (void)size;
    if (seq > l->newest)
        l->newest = seq;
    if (!queue_segment_present(&b->queue, l->number, seq))
        role_give_up("out of memory", NULL);
    return true;
}

static bool lane_list(struct back *b, struct back_lane *l, struct err *err)
{
    void *args[] = {l, b};

    l->newest = 0;
    return lane_each_segment(l->dir, each_segment, args, err);
}

static struct back_lane *lane_open(struct back *b, unsigned number, struct err *err)
{
    struct back_lane *l = calloc(1, sizeof *l);
    struct arena      arena;

    if (!l) {
        err_set(err, ERR_LIMIT, "out of memory");
        return NULL;
    }
    arena_init(&arena, 512, 1 << 16);
    l->number = number;
    l->dir = strdup(role_lane_dir(b->config, number, &arena).data);
    arena_done(&arena);
    l->reader = l->dir ? lane_reader_open(l->dir, (struct lane_place){0, 0}, err) : NULL;
    if (!l->reader) {
        if (!l->dir)
            err_set(err, ERR_LIMIT, "out of memory");
        free(l->dir);
        free(l);
        return NULL;
    }
    return b->lanes[number] = l;
}

static void apply(struct back *b, struct back_lane *l, const struct lane_record *r)
{
    struct queue_message *fresh;
    struct queue_place    place = {.seq = r->place.seq, .offset = r->place.offset, .lane = l->number};

    switch (queue_apply(&b->queue, place, r->type, r->payload, &b->scratch, &fresh)) {
    case QUEUE_APPLIED:
        if (fresh && !b->queue.replaying && !b->draining && !b->config->queue.paused &&
            b->attempt_count < b->config->queue.deliveries && !back_attempt_start(b, fresh, r->payload))
            role_give_up("out of memory", NULL);
        break;
    case QUEUE_REFUSED:
        if (log_begin(LOG_LEVEL_WARNING, "notice")) {
            log_str("text", STR("a record of the spool is not one that may stand there; passed over"));
            log_u64("lane", l->number);
            log_printf("place", "%llx:%u", (unsigned long long)place.seq, place.offset);
            log_end();
        }
        break;
    case QUEUE_NO_MEMORY:
        role_give_up("out of memory for the queue", NULL);
    }
    arena_reset(&b->scratch);
}

/* The newest segment is the writer's, whatever it says. */
static void lane_read_up(struct back *b, struct back_lane *l)
{
    uint64_t below = l->bounded && l->until.seq < l->newest ? l->until.seq : l->newest;

    queue_lane_read(&b->queue, l->number, below, io_wall_ms());
    l->failing = false;
}

/* Reads up to `most` records; false: there may be more. */
static bool lane_follow(struct back *b, struct back_lane *l, size_t most)
{
    while (most--) {
        struct lane_record r;
        struct err         err = {0};

        switch (lane_read_next(l->reader, l->bounded ? &l->until : NULL, &r, &err)) {
        case LANE_READ_RECORD:
            apply(b, l, &r);
            break;
        case LANE_READ_END:
            lane_read_up(b, l);
            return true;
        case LANE_READ_DAMAGED:
            if (lane_reader_damage(l->reader)->confirmed)
                log_notice(LOG_LEVEL_ERROR,
                           "the spool is damaged: %s; the segment is kept; look at the disk, and restore the segment "
                           "from a backup while the server is stopped; tacit spool verify %s shows what is whole",
                           err.text, l->dir);
            else
                log_notice(LOG_LEVEL_ERROR, "the spool is damaged: %s", err.text);
            if (lane_reader_damage(l->reader)->confirmed) /* a write torn by a crash held nothing that counts */
                queue_segment_damaged(&b->queue, l->number, lane_reader_damage(l->reader)->from.seq);
            break;
        case LANE_READ_FAILED:
            if (!l->failing)
                log_notice(LOG_LEVEL_ERROR, "the spool cannot be read: %s; tried again", err.text);
            l->failing = true;
            return true; /* the next tick tries again */
        }
    }
    return false;
}

struct replay {
    struct back      *back;
    struct back_lane *lane;
    struct buf        buffer;
};

/* All but the newest segment, each from its index, or itself. */
static bool replay_segment(uint64_t seq, uint64_t size, void *arg)
{
    struct replay    *r = arg;
    struct back_lane *l = r->lane;

    (void)size;
    if (seq == l->newest)
        return true;
    if (back_index_replay(r->back, l->number, seq, &r->buffer)) {
        lane_reader_seek(l->reader, (struct lane_place){seq + 1, 0});
        return true;
    }
    l->bounded = true;
    l->until = (struct lane_place){seq + 1, 0};
    return lane_follow(r->back, l, SIZE_MAX) && !l->failing;
}

static bool lane_replay(struct back *b, struct back_lane *l, struct err *err)
{
    struct replay r = {.back = b, .lane = l};
    bool          ok;

    err_set(err, ERR_TEMPORARY, "lane %u of the spool cannot be read", l->number);
    buf_init(&r.buffer, LANE_INDEX_MAX + 4096);
    ok = lane_each_segment(l->dir, replay_segment, &r, err);
    buf_done(&r.buffer);
    l->bounded = false;
    l->until = (struct lane_place){0, 0};
    return ok && lane_follow(b, l, SIZE_MAX) && !l->failing;
}

bool back_lanes_replay(struct back *b, struct err *err)
{
    struct stat st;

    for (unsigned number = 0; number < QUEUE_LANES; number++) {
        struct arena arena;
        bool         exists;

        arena_init(&arena, 512, 1 << 16);
        exists = stat(role_lane_dir(b->config, number, &arena).data, &st) == 0;
        arena_done(&arena);
        if (!exists && errno != ENOENT)
            return err_set_os(err, errno, "lane %u of the spool", number);
        if (exists && (!lane_open(b, number, err) || !lane_list(b, b->lanes[number], err)))
            return false;
    }
    for (unsigned number = 0; number < QUEUE_LANES; number++)
        if (b->lanes[number] && !lane_replay(b, b->lanes[number], err))
            return false;
    queue_replayed(&b->queue);
    back_index_clean(b);
    return true;
}

void back_lane_committed(struct back *b, unsigned lane, struct lane_place until)
{
    struct back_lane *l = b->lanes[lane];
    struct err        err;

    if (!l && !(l = lane_open(b, lane, &err))) {
        log_notice(LOG_LEVEL_ERROR, "lane %u: %s; tried again", lane, err.text);
        return;
    }
    if (lane_place_cmp(until, l->until) > 0)
        l->until = until;
    l->bounded = true;
    if (lane == LANE_BACK) { /* what we just wrote ourselves, and nobody else waits behind it */
        while (!lane_follow(b, l, SIZE_MAX))
            ;
        return;
    }
    back_follow(b);
}

void back_lane_attached(struct back *b, unsigned lane)
{
    struct back_lane *l = b->lanes[lane];

    if (!l)
        return;
    l->bounded = true;
    l->until = (struct lane_place){0, 0};
}

void back_lanes_catch_up(struct back *b)
{
    bool alive[QUEUE_LANES] = {[LANE_BACK] = true};

    LIST_EACH (link, &b->fronts) {
        alive[LIST_ITEM(link, struct back_front, link)->lane] = true;
    }
    for (unsigned number = 1; number < QUEUE_LANES; number++) {
        struct arena arena;
        struct stat  st;
        struct err   err;

        if (!b->lanes[number]) {
            arena_init(&arena, 512, 1 << 16);
            if (stat(role_lane_dir(b->config, number, &arena).data, &st) == 0 && !lane_open(b, number, &err))
                log_notice(LOG_LEVEL_ERROR, "lane %u: %s; tried again", number, err.text);
            arena_done(&arena);
        }
        if (b->lanes[number] && !alive[number])
            b->lanes[number]->bounded = false;
    }
    back_follow(b);
}

void back_follow(struct back *b)
{
    bool all = true;

    for (unsigned number = 0; number < QUEUE_LANES; number++)
        if (b->lanes[number])
            all &= lane_follow(b, b->lanes[number], RECORDS_PER_TURN);
    if (!all)
        io_timer_start(b->again, 0, 0);
    back_kick(b);
}

bool back_record_read(const char *dir, struct queue_place place, enum record_type type, struct buf *buffer,
                      struct str *ret_payload, struct err *err)
{
    struct lane_record r;

    buf_clear(buffer);
    if (!lane_read_at(dir, (struct lane_place){place.seq, place.offset}, buffer, &r, err))
        return false;
    if (r.type != type)
        return err_set(err, ERR_PERMANENT, "%s: another record than expected stands at %llx:%u", dir,
                       (unsigned long long)place.seq, place.offset);
    *ret_payload = r.payload;
    return true;
}

/* ---- segments ---- */

struct back_release {
    struct back          *back;
    struct queue_segment *segment;
    const char           *dir, *index_dir;
    bool                  ok;
    struct err            err;
};

static void release_work(void *arg)
{
    struct back_release *r = arg;

    /* The index first: one without its segment would be found and removed only at the next start. */
    lane_index_remove(r->index_dir, r->segment->lane, r->segment->seq, NULL);
    r->ok = lane_release(r->dir, r->segment->seq, &r->err);
}

static void release_done(void *arg)
{
    struct back_release *r = arg;
    struct back         *b = r->back;

    b->release = NULL;
    if (r->ok)
        queue_segment_gone(&b->queue, r->segment);
    else
        log_notice(LOG_LEVEL_WARNING, "a segment of the spool cannot be released: %s; tried again", r->err.text);
    if (r->ok && !b->draining)
        back_release_tick(b);
    free(r);
}

void back_release_tick(struct back *b)
{
    struct queue_segment *s = b->release ? NULL : queue_releasable(&b->queue);
    struct back_release  *r = s ? malloc(sizeof *r) : NULL;

    if (!r)
        return;
    *r = (struct back_release){
        .back = b, .segment = s, .dir = back_lane_dir(b, s->lane), .index_dir = back_lane_dir(b, LANE_BACK)};
    b->release = r;
    if (!io_work(b->loop, release_work, release_done, r)) {
        b->release = NULL;
        free(r);
    }
}

void back_segments_tick(struct back *b)
{
    for (unsigned number = 0; number < QUEUE_LANES; number++) {
        struct back_lane *l = b->lanes[number];
        struct err        err;

        if (l && !lane_list(b, l, &err))
            log_notice(LOG_LEVEL_WARNING, "%s", err.text);
    }
    back_follow(b); /* marks what was read to its end, and tries again where reading failed */
}

/* ---- bodies ---- */

struct body_removal {
    const char *dir;
    char        name[MESSAGE_ID_TEXT + 1];
    bool        ok;
    struct err  err;
};

static void removal_work(void *arg)
{
    struct body_removal *r = arg;

    r->ok = lane_body_remove(r->dir, str_from(r->name), &r->err);
}

static void removal_done(void *arg)
{
    struct body_removal *r = arg;

    if (!r->ok)
        log_notice(LOG_LEVEL_WARNING, "a body of the spool cannot be removed: %s", r->err.text);
    free(r);
}

static void body_remove(struct back *b, unsigned lane, uint64_t id)
{
    const char          *dir = back_lane_dir(b, lane);
    struct body_removal *r = dir ? calloc(1, sizeof *r) : NULL;

    if (!r)
        return; /* found as an orphan later */
    r->dir = dir;
    message_id_text(id, r->name);
    if (!io_work(b->loop, removal_work, removal_done, r))
        free(r);
}

void back_body_remove(struct back *b, uint64_t id) { body_remove(b, message_id_lane(id), id); }

/* A body whose message has no record yet looks like one whose message never came to its end. Age tells them apart, but
 * a clock may step, or be another than that of the file system. So it goes only when it was found twice, an hour apart
 * by our own timer, and nobody had written to it meanwhile. */
struct orphan {
    uint64_t id, written_ms;
    unsigned lane;
};

struct orphans {
    struct back   *back;
    unsigned       lane;
    uint64_t       now_ms, age_ms;
    struct orphan *found; /* this time */
    size_t         count;
};

static bool was_found_before(const struct back *b, const struct orphan *now)
{
    for (size_t i = 0; i < b->orphan_count; i++)
        if (b->orphans[i].id == now->id && b->orphans[i].written_ms == now->written_ms &&
            b->orphans[i].lane == now->lane)
            return true;
    return false;
}

/* By its last write, not by its id: a slow client may be at work on one message for hours. */
static bool each_body(struct str name, uint64_t size, uint64_t written_ms, void *arg)
{
    struct orphans       *o = arg;
    struct orphan         orphan = {.written_ms = written_ms, .lane = o->lane};
    struct queue_message *m;

    (void)size;
    if (!message_id_parse(name, &orphan.id) || written_ms + o->age_ms > o->now_ms)
        return true;
    m = queue_find(&o->back->queue, orphan.id);
    if (m && m->external && message_id_lane(orphan.id) == o->lane)
        return true;
    if (was_found_before(o->back, &orphan))
        body_remove(o->back, o->lane, orphan.id);
    else if (o->count < ORPHANS_MAX)
        o->found[o->count++] = orphan;
    return true;
}

void back_orphans_remove(struct back *b)
{
    uint64_t session_ms = b->config->limits.session_time * 2; /* a message under way has a body before its record */
    struct orphans o = {.back = b,
                        .now_ms = io_wall_ms(),
                        .age_ms = session_ms > ORPHAN_AGE_MS ? session_ms : ORPHAN_AGE_MS,
                        .found = calloc(ORPHANS_MAX, sizeof *o.found)};
    struct err     err;

    for (; o.found && o.lane < QUEUE_LANES; o.lane++)
        if (b->lanes[o.lane] && !lane_each_body(b->lanes[o.lane]->dir, each_body, &o, &err) && err.os_error != ENOENT)
            log_notice(LOG_LEVEL_WARNING, "%s", err.text);
    free(b->orphans);
    b->orphans = o.found;
    b->orphan_count = o.count;
}
