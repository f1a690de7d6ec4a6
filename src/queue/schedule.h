/* schedule.h: when a message is attempted again. Pure: time and chance are given. */
#ifndef TACIT_QUEUE_SCHEDULE_H
#define TACIT_QUEUE_SCHEDULE_H

#include "base/str.h"

enum { SCHEDULE_WAITS_MAX = 64 };
struct schedule {
    uint64_t waits_ms[SCHEDULE_WAITS_MAX]; /* the last repeats */
    size_t   count;                        /* 0: an hour each time */
};

/* "90s", "15m", "4h", "5d" or "250ms"; false: not one, or zero, or more than a year. */
bool     schedule_time_parse(struct str text, uint64_t *ret_ms);
/* The wait after `attempts` attempts (1: after the first), an eighth of it shorter or longer as `seed` decides, so that
 * messages that failed together do not come back together. Never 0. */
uint64_t schedule_wait_ms(const struct schedule *s, uint32_t attempts, uint64_t seed);

#endif
