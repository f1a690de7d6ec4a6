/* crypto.h: keyed hashes, over OpenSSL. Random bytes: io_random of loop.h. */
#ifndef TACIT_IO_CRYPTO_H
#define TACIT_IO_CRYPTO_H

#include "base/str.h"

enum { IO_HMAC_SHA256 = 32 /* octets */ };

void io_hmac_sha256(struct str key, struct str data, unsigned char ret_mac[IO_HMAC_SHA256]);
/* Takes a time that depends on the lengths only. */
bool io_secret_eq(struct str a, struct str b);

#endif
