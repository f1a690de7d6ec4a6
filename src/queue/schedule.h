/* schedule.h: when a message is attempted again. Pure: time and chance are given. */
#ifndef TACIT_QUEUE_SCHEDULE_H
#define TACIT_QUEUE_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

/* The wait after `attempts` attempts (1: after the first), an eighth of it shorter or longer as `seed` decides, so that
 * messages that failed together do not come back together. The last of `waits_ms` repeats; without any it is an hour.
 * Never 0. */
uint64_t schedule_wait_ms(const uint64_t *waits_ms, size_t count, uint32_t attempts, uint64_t seed);

#endif
