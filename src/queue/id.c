/* id.c: message ids. Time first, so that ids sort by age and an id alone tells when its message came; the lane in the
 * middle, so that no two writers need to talk to be unique and a body file's lane is known from its name. Random ids
 * were rejected: they tell nothing, sort nowhere and are longer for the same certainty. */
#include "queue/record.h"

enum { COUNTER_BITS = 14, LANE_BITS = 8, TIME_SHIFT = COUNTER_BITS + LANE_BITS };
#define COUNTER_MAX ((UINT64_C(1) << COUNTER_BITS) - 1)
#define TIME_MAX ((UINT64_C(1) << (64 - TIME_SHIFT)) - 1)

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
_Static_assert(sizeof digits == 33, "thirty-two digits");

uint64_t message_id_next(struct message_id_source *source, uint64_t now_ms)
{
    uint64_t time = source->last >> TIME_SHIFT, counter = source->last & COUNTER_MAX;

    if (now_ms > TIME_MAX)
        now_ms = TIME_MAX;
    if (now_ms > time) {
        time = now_ms;
        counter = 0;
    } else if (counter < COUNTER_MAX) {
        counter++;
    } else {
        time++;
        counter = 0;
    }
    return source->last = time << TIME_SHIFT | (uint64_t)source->lane << COUNTER_BITS | counter;
}

void message_id_text(uint64_t id, char ret_text[MESSAGE_ID_TEXT + 1])
{
    for (int i = MESSAGE_ID_TEXT; i--; id >>= 5)
        ret_text[i] = digits[id & 31];
    ret_text[MESSAGE_ID_TEXT] = 0;
}

bool message_id_parse(struct str text, uint64_t *ret_id)
{
    uint64_t id = 0;

    if (text.len != MESSAGE_ID_TEXT)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.data[i] ? strchr(digits, text.data[i]) : NULL;

        if (!at || (i == 0 && at - digits > 15)) /* thirteen digits hold one bit more than an id has */
            return false;
        id = id << 5 | (uint64_t)(at - digits);
    }
    *ret_id = id;
    return true;
}

uint64_t message_id_time_ms(uint64_t id) { return id >> TIME_SHIFT; }

unsigned message_id_lane(uint64_t id) { return (unsigned)(id >> COUNTER_BITS) & 255; }

int message_id_compare(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return (a > b) - (a < b);
}
