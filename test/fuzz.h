/* fuzz.h: what every fuzz target is made of: LLVMFuzzerTestOneInput, which libFuzzer or replay.c calls with one input
 * after the other, and `must` for what has to hold whatever the input. */
#ifndef TACIT_TEST_FUZZ_H
#define TACIT_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool holds)
{
    if (!holds)
        abort();
}

#endif
