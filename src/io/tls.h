/* tls.h: one TLS handshake as a client, to see what the other side shows: for commands that look at servers. It waits,
 * and trusts nobody for it: a certificate that is wrong is described, and the handshake goes on. */
#ifndef TACIT_IO_TLS_H
#define TACIT_IO_TLS_H

#include "base/err.h"
#include "base/str.h"

enum { IO_TLS_TEXT = 512 };
struct io_tls_look {
    char protocol[32], cipher[64]; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
    char names[IO_TLS_TEXT];       /* of the certificate, "mx.example.org, *.example.org", cut where too many */
    char issuer[IO_TLS_TEXT];      /* who signed it */
    char from[32], until[32];      /* "2026-11-21" */
    bool trusted;                  /* by an authority that this machine knows, and in its time */
    bool name_fits;                /* it is for the host that was asked for */
    char problem[128];             /* why it is not trusted; "": it is */
};
/* Over a connected socket without blocking, which stays the caller's and is of no use afterwards. `last` is said at the
 * end, within TLS. False: no TLS came about, and err says why. */
bool io_tls_look(int fd, const char *host, struct str last, unsigned timeout_ms, struct io_tls_look *ret,
                 struct err *err);

#endif
