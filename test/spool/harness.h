/* harness.h: a lane in a directory of its own, records whose content follows from their number, and system calls that
 * fail where a test wants it. Include cmocka before it. */
#ifndef TACIT_TEST_SPOOL_HARNESS_H
#define TACIT_TEST_SPOOL_HARNESS_H

#include "spool/lane.h"
#include "spool/lane_format.h"
#include "spool/sys.h"

enum { NUMBERS_MAX = 4096 };

extern bool harness_on_disk;    /* TMPDIR or /tmp even where there is a file system in memory, which is faster */
extern char lane_dir_path[256]; /* made by harness_begin, with everything in it removed by harness_end */
int         harness_begin(void **state);
int         harness_end(void **state);
void        harness_clear(void); /* removes what is in the directory */

/* The payload of record `number`: its length varies with the number, and every octet follows from it. */
size_t   payload_of(unsigned number, char *out, size_t size);
size_t   payload_length(unsigned number);
/* The number of a payload; fails the test where the content is not exactly what the number says. */
unsigned number_of(struct str payload);
bool     append_number(struct lane_writer *w, unsigned number, bool more, struct lane_place *ret_place);

/* What a reader gave: numbers in order, and how often damage. */
struct seen {
    unsigned          numbers[NUMBERS_MAX];
    struct lane_place places[NUMBERS_MAX];
    size_t            count;
    unsigned          damages;
    bool              open_group; /* the last record said that another belongs to it */
};
/* Reads on until END; fails the test on I/O errors unless `tolerant`, when it returns false. */
bool read_on(struct lane_reader *r, const struct lane_place *until, struct seen *seen, bool tolerant);
void read_all(struct seen *seen);

struct lane_writer *open_writer(uint64_t segment_size);
void                read_file(const char *name, struct buf *out);
void                write_file(const char *name, struct str content);
unsigned            files_named(const char *prefix); /* files in the directory whose name begins so */

/* ---- system calls that fail ---- */

enum fault {
    FAULT_NONE,
    FAULT_ENOSPC,
    FAULT_EIO,
    FAULT_EINTR,
    FAULT_SHORT, /* what can be done in part is */
    FAULT_EDQUOT,
    FAULT_LATE, /* done, but reported as EIO */
};
struct fault_plan {
    enum fault  kind;
    unsigned    at;    /* the call to fail, from 1 */
    unsigned    count; /* how many from there on */
    unsigned    calls; /* made since it was armed */
    unsigned    hits;
    const char *call; /* the last one that was hit */
};
extern struct fault_plan fault_plan;
/* Replaces the system calls; syncs are not carried out, which makes tests fast and no less true. */
void                     faults_begin(void);
void                     faults_arm(enum fault kind, unsigned at, unsigned count);
void                     faults_end(void);

#endif
