/* base64.c: see base64.h. */
#include "base/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct str in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i += 3) {
        size_t   n = in.len - i < 3 ? in.len - i : 3;
        uint32_t group = 0;
        char     four[4] = "====";

        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < n ? (unsigned char)in.data[i + k] : 0);
        for (size_t k = 0; k <= n; k++)
            four[k] = letters[group >> (18 - 6 * k) & 63];
        buf_append(out, str_of(four, 4));
    }
    return buf_ok(out);
}
