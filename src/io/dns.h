/* dns.h: questions to the DNS, answered later, from a cache where that knows, and validated (libunbound underneath).
 *
 * The library resolves on a thread of its own, which starts with the first question. Files are read by io_dns_new. */
#ifndef TACIT_IO_DNS_H
#define TACIT_IO_DNS_H

#include "io/loop.h"
#include "mail/dns.h"

struct io_dns_options {
    const char *server;     /* "192.0.2.1:53", "[2001:db8::1]:53"; empty or NULL: those of /etc/resolv.conf,
                               or without that file this machine */
    bool        validate;   /* by DNSSEC */
    const char *anchors;    /* file with the root's trust anchor, a text that stays; NULL: where Debian keeps it */
    uint64_t    cache;      /* octets, roughly; 0: 32 MiB */
    uint64_t    timeout_ms; /* of a question, with all its retries; 0: 30 s */
};

struct io_dns;
struct io_dns_question;

/* Errors name the setting: a server that is no address, an anchor file that cannot be read. */
struct io_dns *io_dns_new(struct io_loop *loop, const struct io_dns_options *options, struct err *err);
void           io_dns_free(struct io_dns *d); /* open questions end without an answer */
/* Another file than the one that was read stands there now; not where there is none, for that is no better. */
bool           io_dns_is_stale(const struct io_dns *d);
/* The library had no memory, or no thread, and will not get going again: free it, or end, and begin anew. */
bool           io_dns_is_broken(const struct io_dns *d);

/* `name` without a dot at its end. `answered` is called once, never inside this call; what it gets is valid during the
 * call, and the question is gone afterwards. NULL: no memory. */
struct io_dns_question *io_dns_ask(struct io_dns *d, struct str name, enum dns_type type,
                                   void (*answered)(const struct dns_answer *answer, void *arg), void *arg);
void                    io_dns_cancel(struct io_dns_question *q); /* answered is not called any more */

#endif
