/* fuzz_carriage.c: octets as a message between back and the carrier. What is taken keeps to its limits, and is the same
 * after it was written again. */
#include "fuzz.h"

#include "role/carriage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str              in = str_of((const char *)data, size);
    struct arena            arena;
    struct buf              out;
    struct carriage_message m;

    arena_init(&arena, 4096, 1 << 20);
    buf_init(&out, size * 4 + 4096);
    if (carriage_get(in, &arena, &m)) {
        must(m.carriage.recipient_count <= CARRIAGE_RECIPIENTS_MAX);
        must(m.carried.recipient_count <= CARRIAGE_RECIPIENTS_MAX);
        for (size_t i = 1; i < m.carriage.recipient_count; i++)
            must(m.carriage.indices[i] > m.carriage.indices[i - 1]);
        must(carriage_put(&m, &out) && str_eq(buf_str(&out), in));
    }
    buf_done(&out);
    arena_done(&arena);
    return 0;
}
