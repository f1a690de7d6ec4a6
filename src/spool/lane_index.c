/* lane_index.c: see lane_index.h.
 *
 * Not synced: after a power cut the file may hold anything, which its checksum tells, and then the segment is read.
 * Syncing would cost a wait of the disk for something that can be made again. The time of the segment's last write
 * stands in it because a complete segment is never written again: where it differs, somebody restored, repaired or
 * damaged the file, and the segment must be looked at itself. A checksum over the segment's records was rejected: to
 * compare it, everything would have to be read, which is what the index is there to save. */
#include "spool/lane_index.h"
#include "base/codec.h"
#include "spool/lane_dir.h"
#include "spool/lane_reader.h"
#include "spool/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <xxhash.h>

/* head = magic(8) version(4) lane(4) seq(8) salt(8) size(8) written(8) xxh3(8) */
enum { HEAD = 56, SUM_AT = 48, NAME_SIZE = 48 };
static const char MAGIC[8] = {'t', 'a', 'c', 'i', 't', 'i', 'd', 'x'};

static void name_write(char ret_name[NAME_SIZE], unsigned lane, uint64_t seq, bool half_made)
{
    snprintf(ret_name, NAME_SIZE, "%sindex-%02u-%016llx.idx", half_made ? "new-" : "", lane % 1000,
             (unsigned long long)seq);
}

/* Reads loosely, and compares with how it would have been written. */
static bool name_read(const char *name, unsigned *ret_lane, uint64_t *ret_seq)
{
    struct str rest = str_from(name), number;
    char       again[NAME_SIZE];
    unsigned   lane = 0;
    uint64_t   seq = 0;

    if (!str_starts(rest, STR("index-")))
        return false;
    rest = str_skip(rest, STR("index-").len);
    number = str_part(str_cut(&rest, '-'), 0, 3);
    for (size_t i = 0; i < number.len; i++)
        lane = lane * 10 + (unsigned)(number.data[i] - '0') % 10;
    number = str_part(rest, 0, 16);
    for (size_t i = 0; i < number.len; i++)
        seq = seq << 4 | ((unsigned)char_hex_value(number.data[i]) & 15);
    name_write(again, lane, seq, false);
    *ret_lane = lane;
    *ret_seq = seq;
    return strcmp(again, name) == 0;
}

bool lane_segment_identify(const char *dir, uint64_t seq, struct lane_segment_id *ret_id, struct err *err)
{
    struct lane_head     head;
    enum lane_head_state state;
    struct stat          st;
    int                  dirfd = lane_dir_open(dir, err), fd;
    bool                 ok;

    if (dirfd < 0)
        return false;
    fd = lane_segment_open(dirfd, dir, seq, O_RDONLY, &head, &state, err);
    if (fd < 0 && errno == ENOENT)
        err_set(err, ERR_PERMANENT, "spool %s: segment %016llx is gone", dir, (unsigned long long)seq);
    spool_close(dirfd);
    if (fd < 0)
        return false;
    ok = state == LANE_HEAD_WHOLE || err_set(err, ERR_PERMANENT, "spool %s: the head of segment %016llx is not whole",
                                             dir, (unsigned long long)seq);
    if (ok && spool_stat(fd, &st) != 0)
        ok = err_set_os(err, errno, "spool %s: segment %016llx", dir, (unsigned long long)seq);
    spool_close(fd);
    if (ok)
        *ret_id = (struct lane_segment_id){seq, head.salt, (uint64_t)st.st_size,
                                           (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec};
    return ok;
}

bool lane_segment_read(const char *dir, uint64_t seq, bool (*each)(const struct lane_record *record, void *arg),
                       void *arg, struct err *err)
{
    struct lane_reader     *r = lane_reader_open(dir, (struct lane_place){seq, 0}, err);
    const struct lane_place until = {seq + 1, 0};
    bool                    going = r != NULL, ok = false;

    while (going) {
        struct lane_record record;

        switch (lane_read_next(r, &until, &record, err)) {
        case LANE_READ_RECORD:
            going = record.place.seq == seq && each(&record, arg);
            break;
        case LANE_READ_END:
            ok = lane_reader_place(r).seq > seq; /* else nothing says that this was the end */
            going = false;
            if (!ok)
                err_set(err, ERR_TEMPORARY, "spool %s: segment %016llx is not complete", dir, (unsigned long long)seq);
            break;
        case LANE_READ_DAMAGED:
        case LANE_READ_FAILED:
            going = false;
            break;
        }
    }
    lane_reader_close(r);
    return ok;
}

/* The head's own octets are the seed, so one sum covers both. */
static uint64_t sum_of(const struct buf *head, struct str entries)
{
    return XXH3_64bits_withSeed(entries.data, entries.len, XXH3_64bits(head->data, SUM_AT));
}

static bool head_put(struct buf *out, unsigned lane, const struct lane_segment_id *id, struct str entries)
{
    buf_append(out, str_of(MAGIC, sizeof MAGIC));
    put_u32(out, LANE_INDEX_VERSION);
    put_u32(out, lane);
    put_u64(out, id->seq);
    put_u64(out, id->salt);
    put_u64(out, id->size);
    put_u64(out, id->written_ns);
    if (!buf_ok(out))
        return false;
    put_u64(out, sum_of(out, entries));
    return buf_ok(out);
}

static bool write_file(int dirfd, const char *name, struct str head, struct str entries)
{
    struct iovec parts[] = {{(void *)(uintptr_t)head.data, head.len}, {(void *)(uintptr_t)entries.data, entries.len}};
    int          fd;

    if (spool_unlink(dirfd, name) != 0)
        return false;
    fd = spool_create(dirfd, name, 0640);
    if (fd < 0 || spool_write(fd, parts, 2, 0) != 0) {
        spool_close(fd);
        return false;
    }
    spool_close(fd);
    return true;
}

bool lane_index_write(const char *index_dir, unsigned lane, const struct lane_segment_id *id, struct str entries,
                      struct err *err)
{
    char       half[NAME_SIZE], name[NAME_SIZE];
    struct buf head;
    int        dirfd = lane_dir_open(index_dir, err);
    bool       ok;

    if (dirfd < 0)
        return false;
    name_write(half, lane, id->seq, true);
    name_write(name, lane, id->seq, false);
    buf_init(&head, HEAD);
    ok = head_put(&head, lane, id, entries) || err_set_os(err, ENOMEM, "%s/%s", index_dir, name);
    if (ok && (!write_file(dirfd, half, buf_str(&head), entries) || spool_rename(dirfd, half, name) != 0)) {
        err_set_os(err, errno, "%s/%s", index_dir, name);
        spool_unlink(dirfd, half);
        ok = false;
    }
    buf_done(&head);
    spool_close(dirfd);
    return ok;
}

static bool counts(struct str file, unsigned lane, const struct lane_segment_id *id, struct str *ret_entries)
{
    struct str entries = str_skip(file, HEAD);
    struct buf head;
    bool       same;

    buf_init(&head, HEAD);
    same = file.len >= HEAD && head_put(&head, lane, id, entries) && str_eq(buf_str(&head), str_part(file, 0, HEAD));
    buf_done(&head);
    if (same)
        *ret_entries = entries;
    return same;
}

bool lane_index_read(const char *index_dir, unsigned lane, const struct lane_segment_id *id, struct buf *buffer,
                     struct str *ret_entries)
{
    char        name[NAME_SIZE];
    struct stat st;
    int         dirfd = lane_dir_open(index_dir, NULL), fd;
    ssize_t     n = -1;

    if (dirfd < 0)
        return false;
    name_write(name, lane, id->seq, false);
    fd = spool_open(dirfd, name, O_RDONLY);
    buf_clear(buffer);
    if (fd >= 0 && spool_stat(fd, &st) == 0 && st.st_size >= HEAD && st.st_size <= HEAD + LANE_INDEX_MAX &&
        buf_reserve(buffer, (size_t)st.st_size))
        n = spool_read(fd, buffer->data, (size_t)st.st_size, 0);
    spool_close(fd);
    spool_close(dirfd);
    return n >= 0 && counts(str_of(buffer->data, (size_t)n), lane, id, ret_entries);
}

bool lane_index_remove(const char *index_dir, unsigned lane, uint64_t seq, struct err *err)
{
    char name[NAME_SIZE];
    int  dirfd = lane_dir_open(index_dir, err);
    bool ok;

    if (dirfd < 0)
        return false;
    name_write(name, lane, seq, false);
    ok = spool_unlink(dirfd, name) == 0 || err_set_os(err, errno, "%s/%s", index_dir, name);
    spool_close(dirfd);
    return ok;
}

bool lane_index_clean(const char *index_dir, bool (*keep)(unsigned lane, uint64_t seq, void *arg), void *arg,
                      struct err *err)
{
    int            fd = lane_dir_open(index_dir, err);
    DIR           *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool           ok = true;

    if (fd < 0)
        return false;
    if (!stream) {
        err_set_os(err, errno, "%s", index_dir);
        spool_close(fd);
        return false;
    }
    while (ok && (entry = readdir(stream))) {
        struct str name = str_from(entry->d_name);
        unsigned   lane;
        uint64_t   seq;

        if (name_read(entry->d_name, &lane, &seq) ? !keep(lane, seq, arg) : str_starts(name, STR("new-index-")))
            ok = spool_unlink(fd, entry->d_name) == 0 || err_set_os(err, errno, "%s/%s", index_dir, entry->d_name);
    }
    closedir(stream);
    return ok;
}
