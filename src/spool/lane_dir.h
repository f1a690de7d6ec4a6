/* lane_dir.h: the directory of a lane, for the parts of the spool. */
#ifndef TACIT_SPOOL_LANE_DIR_H
#define TACIT_SPOOL_LANE_DIR_H

#include "spool/lane_format.h"

/* What stands in the directory, by kind, each list ascending. */
struct lane_listing {
    uint64_t *seqs[LANE_NAME_KINDS];
    size_t    count[LANE_NAME_KINDS];
};

/* A descriptor of the directory, or -1. All other access goes through it, so that it works after confinement. */
int      lane_dir_open(const char *dir, struct err *err);
bool     lane_dir_list(int dirfd, const char *dir, struct lane_listing *ret_listing, struct err *err);
void     lane_listing_done(struct lane_listing *l);
uint64_t lane_listing_newest(const struct lane_listing *l); /* of all kinds; 0: none */
/* Opens the segment and reads its head. -1 with errno ENOENT: there is none, which is not reported in err. */
int      lane_segment_open(int dirfd, const char *dir, uint64_t seq, int flags, struct lane_head *ret_head,
                           enum lane_head_state *ret_state, struct err *err);

#endif
