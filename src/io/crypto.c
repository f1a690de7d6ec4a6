/* crypto.c: HMAC over OpenSSL's one call. A failure can only mean that the library is broken or out of memory; a token
 * that was not computed must never pass for one that was, so the process ends. */
#include "io/crypto.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

void io_hmac_sha256(struct str key, struct str data, unsigned char ret_mac[IO_HMAC_SHA256])
{
    unsigned len = 0;

    if (key.len > INT_MAX ||
        !HMAC(EVP_sha256(), key.data ? key.data : "", (int)key.len, (const unsigned char *)(data.data ? data.data : ""),
              data.len, ret_mac, &len) ||
        len != IO_HMAC_SHA256) {
        fputs("tacit: OpenSSL cannot compute HMAC-SHA256\n", stderr);
        abort();
    }
}

bool io_secret_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}
