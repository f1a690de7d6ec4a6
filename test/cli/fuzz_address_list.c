/* fuzz_address_list.c: every address found lies inside the body, in order, and the list comes to an end. */
#include "fuzz.h"

#include "cli/address_list.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char         *text = (const char *)data, *last = text;
    struct address_list list = {str_of(text, size)};
    struct str          address;
    size_t              count = 0;

    while (address_list_next(&list, &address)) {
        assert(address.data >= last && address.data + address.len <= text + size);
        last = address.data + address.len;
        count++;
        assert(count <= size + 1);
    }
    assert(!list.rest.len);
    return 0;
}
