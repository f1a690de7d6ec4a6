/* lane_lookup.c: one record again, by its place. Nothing is kept open between calls: whoever reads a message again does
 * so once for each attempt, and an open segment could not be released by others. */
#include "spool/lane_dir.h"
#include "spool/sys.h"

#include <errno.h>
#include <fcntl.h>

bool lane_read_at(const char *dir, struct lane_place place, struct buf *buffer, struct lane_record *ret_record,
                  struct err *err)
{
    struct lane_record_head record;
    struct lane_head        head;
    enum lane_head_state    state;
    char                    octets[LANE_RECORD_HEAD];
    int                     dirfd = lane_dir_open(dir, err), fd;
    ssize_t                 n;
    bool                    ok = false;

    if (dirfd < 0)
        return false;
    fd = lane_segment_open(dirfd, dir, place.seq, O_RDONLY, &head, &state, err);
    if (fd < 0 && errno == ENOENT)
        err_set(err, ERR_PERMANENT, "spool %s: segment %016llx is gone", dir, (unsigned long long)place.seq);
    spool_close(dirfd);
    if (fd < 0)
        return false;
    n = spool_read(fd, octets, sizeof octets, place.offset);
    if (n >= 0 && (state == LANE_HEAD_DAMAGED || state == LANE_HEAD_NEWER || (size_t)n < sizeof octets ||
                   !lane_record_decode(octets, head.salt, place, &record))) {
        err_set(err, ERR_PERMANENT, "spool %s: no record at octet %u of segment %016llx", dir, place.offset,
                (unsigned long long)place.seq);
    } else if (n >= 0) {
        buf_clear(buffer);
        if (record.length > buffer->max) {
            err_set(err, ERR_LIMIT, "spool %s: a record of %u octets, and only %zu may be read", dir, record.length,
                    buffer->max);
        } else if (!buf_reserve(buffer, record.length)) {
            buf_clear(buffer);
            err_set_os(err, ENOMEM, "spool %s", dir);
        } else {
            n = spool_read(fd, buffer->data, record.length, place.offset + (uint64_t)LANE_RECORD_HEAD);
            ok = n == (ssize_t)record.length &&
                 lane_record_sum_ok(octets, head.salt, place, str_of(buffer->data, record.length));
            if (!ok && n >= 0)
                err_set(err, ERR_PERMANENT, "spool %s: the record at octet %u of segment %016llx is damaged", dir,
                        place.offset, (unsigned long long)place.seq);
        }
    }
    if (n < 0)
        err_set_os(err, errno, "spool %s: segment %016llx", dir, (unsigned long long)place.seq);
    spool_close(fd);
    if (!ok)
        return false;
    buffer->len = record.length;
    buffer->data[record.length] = '\0';
    ret_record->place = place;
    ret_record->next = (struct lane_place){place.seq, place.offset + (uint32_t)lane_record_total(record.length)};
    ret_record->type = record.type;
    ret_record->more = record.flags & LANE_MORE;
    ret_record->payload = buf_str(buffer);
    return true;
}
