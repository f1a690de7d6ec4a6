/* schedule.c: a list of waits in place of a formula (doubling with a cap), since a list is what people read in a
 * configuration and can change at one point. */
#include "queue/schedule.h"

#include <xxhash.h>

uint64_t schedule_wait_ms(const uint64_t *waits_ms, size_t count, uint32_t attempts, uint64_t seed)
{
    const uint64_t hour_ms = 3600000;
    size_t         last = count ? count - 1 : 0, at = attempts ? attempts - 1 : 0;
    uint64_t       wait = count ? waits_ms[at < last ? at : last] : hour_ms;
    uint64_t       spread = wait / 4, chance = XXH3_64bits_withSeed(&attempts, sizeof attempts, seed);

    wait = wait - wait / 8 + (spread ? chance % (spread + 1) : 0);
    return wait ? wait : 1;
}
