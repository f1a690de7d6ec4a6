/* Any bytes as a reply: what is read is within the tables, and the words are there. */
#include "fuzz.h"

#include "codes/reading.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codes_reading r;

    if (size > 2048 || !codes_read(str_of((const char *)data, size), &r))
        return 0;
    if (r.code > 599 || r.class > 5 || r.party > CODES_PARTY_NETWORK || !r.words.meaning.len || !r.words.fix_sender.len)
        abort();
    if (!r.code && !r.status.class && !r.topic)
        abort();
    return 0;
}
