/* base64.h: base64 with padding and without line breaks (RFC 4648 4). */
#ifndef TACIT_BASE_BASE64_H
#define TACIT_BASE_BASE64_H

#include "base/buf.h"

bool base64_encode(struct str in, struct buf *out);

#endif
