/* fuzz_proxy.c: any octets as a PROXY header, whole and one at a time: both must come to the same, a header takes no
 * more than there is, and no input keeps a connection waiting beyond the longest header. */
#include "fuzz.h"

#include "front/proxy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str          in = str_of((const char *)data, size);
    struct proxy_header whole = {0}, part = {0};
    size_t              whole_len = 0, part_len = 0;
    const char         *why = NULL;
    enum parse_result   result = proxy_parse(in, &whole, &whole_len, &why), step = PARSE_MORE;

    for (size_t i = 0; i <= size && step == PARSE_MORE; i++)
        step = proxy_parse(str_part(in, 0, i), &part, &part_len, &why);
    if (step != result || part_len != whole_len || memcmp(&whole, &part, sizeof whole) != 0)
        abort();
    if (result == PARSE_MORE && size >= PROXY_HEADER_MAX)
        abort();
    if (result == PARSE_BAD && !why)
        abort();
    if (result == PARSE_OK && (whole_len == 0 || whole_len > size || whole_len > PROXY_HEADER_MAX))
        abort();
    return 0;
}
