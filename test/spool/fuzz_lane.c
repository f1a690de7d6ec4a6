/* fuzz_lane.c: any octets as a segment file. The reader must not crash, must come to an end, must stay inside the file,
 * and returns nothing but records whose checksum holds; reading one of them alone gives the same octets, a recovering
 * writer finds the same end, and the verifier counts the same.
 *
 * Random octets almost never have a valid checksum, so the input is a program as well: its first octet says how to use
 * the rest. Even: it is the file as it stands. Odd: it is a list of changes to a well-formed segment. */
#include "fuzz.h"

#include "spool/lane.h"
#include "spool/lane_format.h"
#include "spool/lane_reader.h"
#include "spool/sys.h"
#include "spool/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEQ = 7, SALT = 12345, FILE_SIZE = 16384 };

#define CHECK(truth)                                                    \
    do {                                                                \
        if (!(truth)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #truth); \
            abort();                                                    \
        }                                                               \
    } while (0)

static char dir[64], body_dir[80], path[128], lock_path[80];

static void remove_all(void)
{
    unlink(path);
    unlink(lock_path);
    rmdir(body_dir);
    rmdir(dir);
}

static int no_sync(int fd) { return (void)fd, 0; }

static void begin(void)
{
    static struct spool_sys quick;
    char                    name[LANE_NAME_SIZE];

    if (dir[0])
        return;
    quick = spool_sys_real;
    quick.fsync = quick.fdatasync = no_sync;
    spool_sys = &quick;
    snprintf(dir, sizeof dir, "%s/tacit-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    CHECK(mkdtemp(dir));
    snprintf(body_dir, sizeof body_dir, "%s/body", dir);
    snprintf(lock_path, sizeof lock_path, "%s/lock", dir);
    lane_name_write(name, LANE_NAME_SEGMENT, SEQ);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    atexit(remove_all);
}

/* A segment with records and groups of several sizes; returns the end of the last. */
static uint32_t well_formed(char *file)
{
    struct lane_head head = {.seq = SEQ, .salt = SALT, .size = FILE_SIZE};
    uint32_t         at = LANE_PAGE;

    memset(file, 0, FILE_SIZE);
    lane_head_encode(file, &head);
    for (unsigned i = 0; i < 12; i++) {
        struct lane_record_head record = {.length = i * i * 5, .type = (uint8_t)i};
        struct str              part = str_of(file + at + LANE_RECORD_HEAD, record.length);

        record.flags = (uint8_t)((i % 4 == 1 || i % 4 == 2 ? LANE_MORE : 0) |
                                 (i % 4 == 2 || i % 4 == 3 ? LANE_CONTINUES : 0) | (i % 3 == 0 ? LANE_STARTS : 0));
        memset(file + at + LANE_RECORD_HEAD, (int)('a' + i), record.length);
        lane_record_encode(file + at, SALT, (struct lane_place){SEQ, at}, &record, &part, 1);
        at += (uint32_t)lane_record_total(record.length);
    }
    return at;
}

/* changes = *( what(1) offset(2) value(1) ): flip, set, zero a sector, copy a stretch, cut, or make a record anew. */
static size_t change(char *file, uint32_t end, const uint8_t *data, size_t size)
{
    size_t len = FILE_SIZE;

    for (size_t i = 0; i + 4 <= size && i < 256; i += 4) {
        uint32_t at = LANE_PAGE + (data[i + 1] | (uint32_t)data[i + 2] << 8) % (end - LANE_PAGE + 64);
        uint8_t  value = data[i + 3];

        switch (data[i] % 6) {
        case 0:
            file[at] = (char)(file[at] ^ value);
            break;
        case 1:
            file[(data[i + 1] | (uint32_t)data[i + 2] << 8) % FILE_SIZE] = (char)value;
            break;
        case 2:
            memset(file + at / 512 * 512, 0, 512);
            break;
        case 3:
            memmove(file + at, file + LANE_PAGE + value * 8u, 64);
            break;
        case 4:
            len = at;
            break;
        case 5: { /* well-formed by itself, wherever it stands, with any flags and whatever length fits */
            struct lane_record_head record = {.length = value * 8u, .type = value, .flags = value % 8};
            struct str              part;

            at = at / 8 * 8;
            if (at + lane_record_total(record.length) > FILE_SIZE)
                break;
            part = str_of(file + at + LANE_RECORD_HEAD, record.length);
            lane_record_encode(file + at, SALT, (struct lane_place){SEQ, at}, &record, &part, 1);
            break;
        }
        }
    }
    return len;
}

static void count_record(const struct lane_record *r, void *arg)
{
    (void)r;
    ++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char         file[FILE_SIZE];
    struct lane_reader *r;
    struct lane_record  record;
    struct lane_place   last = {0, 0}, end;
    struct lane_writer *w;
    struct verify_sum   sum;
    struct buf          alone;
    struct lane_head    head;
    enum lane_read      read;
    unsigned            records = 0, damages = 0, verified = 0;
    const char         *content = file;
    bool                more = false;
    size_t              len;
    int                 fd;

    if (size < 1 || size > 65536)
        return 0;
    begin();
    if (data[0] % 2) {
        len = change(file, well_formed(file), data + 1, size - 1);
    } else {
        content = (const char *)data + 1;
        len = size - 1;
    }
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, content, len) == (ssize_t)len);
    close(fd);

    buf_init(&alone, 1 << 20);
    r = lane_reader_open(dir, (struct lane_place){0, 0}, NULL);
    CHECK(r);
    while ((read = lane_read_next(r, NULL, &record, NULL)) != LANE_READ_END) {
        struct lane_record again;

        if (read == LANE_READ_FAILED)
            break; /* a head that claims a newer version */
        if (read == LANE_READ_DAMAGED) {
            const struct lane_damage *d = lane_reader_damage(r);

            CHECK(!more); /* never inside a group */
            CHECK(d->from.offset < d->to || len == 0);
            CHECK(d->to <= len);
            CHECK(++damages <= len + 1); /* an empty file is one damage */
            continue;
        }
        CHECK(record.place.seq == SEQ && record.place.offset >= LANE_PAGE && record.next.offset <= len);
        CHECK(lane_place_cmp(last, record.place) < 0);
        CHECK(lane_head_decode(str_of(content, len < LANE_PAGE ? len : LANE_PAGE), SEQ, &head) < LANE_HEAD_DAMAGED);
        CHECK(lane_record_sum_ok(content + record.place.offset, head.salt, record.place, record.payload));
        CHECK(memcmp(content + record.place.offset + LANE_RECORD_HEAD, record.payload.data, record.payload.len) == 0);
        CHECK(lane_read_at(dir, record.place, &alone, &again, NULL));
        CHECK(again.type == record.type && again.more == record.more && str_eq(again.payload, record.payload));
        last = record.place;
        more = record.more;
        records++;
    }
    CHECK(!more);
    end = lane_reader_place(r);
    lane_reader_close(r);
    if (read != LANE_READ_FAILED) {
        CHECK(lane_verify(dir, false, &(struct verify_calls){.record = count_record, .arg = &verified}, &sum, NULL));
        CHECK(verified == records && sum.records == records && sum.damages == damages);
        w = lane_writer_open(dir, &(struct lane_options){.segment_size = 8192, .reserve = 1}, NULL);
        CHECK(w);
        CHECK(lane_place_cmp(lane_writer_committed(w), end) == 0);
        lane_writer_close(w);
        /* Recovery made a spare; the next input starts without it. */
        for (uint64_t seq = SEQ; seq < SEQ + 4; seq++)
            for (int kind = LANE_NAME_SPARE; kind <= LANE_NAME_NEW; kind++) {
                char name[LANE_NAME_SIZE], other[128];

                lane_name_write(name, (enum lane_name_kind)kind, seq);
                snprintf(other, sizeof other, "%s/%s", dir, name);
                unlink(other);
            }
    }
    buf_done(&alone);
    return 0;
}
