/* schedule.c: a list of waits in place of a formula (doubling with a cap), since a list is what people read in a
 * configuration and can change at one point. */
#include "queue/schedule.h"

#include <xxhash.h>

static const uint64_t hour_ms = 3600000;

bool schedule_time_parse(struct str text, uint64_t *ret_ms)
{
    static const struct {
        struct str unit;
        uint64_t   ms;
    } units[] = {{{"ms", 2}, 1}, {{"s", 1}, 1000}, {{"m", 1}, 60000}, {{"h", 1}, 3600000}, {{"d", 1}, 86400000}};
    const uint64_t year_ms = UINT64_C(365) * 86400000;

    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t value;

        if (!str_ends(text, units[i].unit) ||
            !str_to_u64(str_part(text, 0, text.len - units[i].unit.len), year_ms / units[i].ms, &value))
            continue;
        if (value == 0)
            return false;
        *ret_ms = value * units[i].ms;
        return true;
    }
    return false;
}

uint64_t schedule_wait_ms(const struct schedule *s, uint32_t attempts, uint64_t seed)
{
    size_t   last = s->count ? s->count - 1 : 0, at = attempts ? attempts - 1 : 0;
    uint64_t wait = s->count ? s->waits_ms[at < last ? at : last] : hour_ms;
    uint64_t spread = wait / 4, chance = XXH3_64bits_withSeed(&attempts, sizeof attempts, seed);

    wait = wait - wait / 8 + (spread ? chance % (spread + 1) : 0);
    return wait ? wait : 1;
}
