/* power_story.h: what a lane lives through while power.h notes each change, and what it was told meanwhile. Include
 * cmocka before it. The variables say what the newest story appended. */
#ifndef TACIT_TEST_SPOOL_POWER_STORY_H
#define TACIT_TEST_SPOOL_POWER_STORY_H

#include "harness.h"
#include "power.h"

enum mark { MARK_STORED = 1, MARK_REFUSED, MARK_RELEASING, MARK_RELEASED }; /* of records [from, to) */

extern uint64_t            segment_size;
extern struct lane_writer *writer;
extern unsigned            next_number, first_open; /* first_open: neither stored nor refused yet */
extern unsigned            groups, group_of[NUMBERS_MAX], group_size[NUMBERS_MAX];
extern uint32_t            body_size[NUMBERS_MAX]; /* 0: no body; its name is "b" and the record's number */
extern enum power_sync     mute_late;              /* left out by the process that comes after a death */

bool writer_open(void); /* of the lane at lane_dir_path */
void body_octets(unsigned number, char *out, size_t len);
/* All that can be read; *ret_confirmed: how often stored records were called damaged. False: I/O error. A lane that is
 * not there has nothing. */
bool lane_read(struct seen *seen, unsigned *ret_confirmed);
/* What the next process finds is as good as stored: it acts on it. */
void mark_found(void);

/* Few changes, so that every combination can be looked at: a record, a group, a body, a second segment, a release and
 * a segment in the file of the first. */
void tell_short(void);
void tell_long(void);
/* A sync fails (power_fail_at), and the writer goes on as it should. */
void tell_refused(void);
/* The process dies (power_die_at); the next one recovers, and takes what it finds for stored. */
void tell_killed(void);

#endif
