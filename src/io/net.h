/* net.h: listening sockets, connections and byte streams (TCP and Unix), without blocking. */
#ifndef TACIT_IO_NET_H
#define TACIT_IO_NET_H

#include "base/str.h"
#include "io/loop.h"
#include "mail/dns.h"

#include <sys/socket.h>

/* "192.0.2.1:25", "[::1]:25", "[::]:25", "*:25" (both families as two addresses), or "unix:PATH". */
struct io_address {
    struct sockaddr_storage storage;
    socklen_t               len;
};
bool io_address_parse(struct str text, struct io_address *ret_addresses, size_t max, size_t *ret_count,
                      struct err *err);
enum { IO_ADDRESS_TEXT = 128 };
/* With port; and the host alone in its shortest form ("2001:db8::1", IPv4-mapped shown as IPv4, "local" for Unix). */
void              io_address_text(const struct io_address *a, char ret_text[IO_ADDRESS_TEXT]);
void              io_address_host(const struct io_address *a, char ret_text[IO_ADDRESS_TEXT]);
uint16_t          io_address_port(const struct io_address *a);
/* What the DNS gave, with a port. */
struct io_address io_address_of(const struct dns_address *a, uint16_t port);
/* Whether an IP address is one of this machine's. The port does not matter. */
bool              io_address_is_local(const struct io_address *a);
/* 127.0.0.0/8 and ::1: nobody is between. */
bool              io_address_is_loopback(const struct io_address *a);
/* The client's network as limits count it: IPv4 /32, IPv6 /64, Unix: all one. 9 bytes: family tag and 8 octets. */
struct io_network {
    unsigned char bytes[9];
};
struct io_network io_address_network(const struct io_address *a);
/* "192.0.2.0/24", "2001:db8::/32", a bare address, "::ffff:..." as IPv4. */
struct io_cidr {
    unsigned char family, bits;
    unsigned char octets[16];
};
bool io_cidr_parse(struct str text, struct io_cidr *ret_cidr, struct err *err);
bool io_cidr_has(const struct io_cidr *c, const struct io_address *a);

/* Binds and listens (SO_REUSEADDR; with SO_REUSEPORT where `shared`, IPV6_V6ONLY); the descriptor is close-on-exec and
 * the caller's. Errors name the address and the remedy (in use by another program, privileged port, not an address of
 * this machine). Port 0: the kernel chooses, *ret_bound tells. A stale Unix socket is replaced. */
int io_listen(const struct io_address *a, bool shared, mode_t unix_mode, struct io_address *ret_bound, struct err *err);

/* Accepts on a listening descriptor; hands each connection over as a descriptor. When the process runs out of
 * descriptors it pauses for 100 ms instead of spinning. */
struct io_acceptor;
/* clang-format off */
struct io_acceptor *io_acceptor_new(struct io_loop *loop, int listen_fd,
                                    void (*accepted)(int fd, const struct io_address *peer, void *arg), void *arg,
                                    struct err *err);
/* clang-format on */
void io_acceptor_free(struct io_acceptor *a); /* closes the descriptor too */

/* Begins a connection. `done` is called once, never inside this call: with a descriptor, now the callee's (TCP_NODELAY
 * is set), or -1 and the reason, ETIMEDOUT after timeout_ms. It is gone afterwards. NULL: nothing was begun. */
struct io_connect;
struct io_connect *io_connect_new(struct io_loop *loop, const struct io_address *a, uint64_t timeout_ms,
                                  void (*done)(int fd, const struct err *err, void *arg), void *arg, struct err *err);
void               io_connect_free(struct io_connect *c); /* given up: `done` is not called any more */

/* A connected stream. Reading uses one buffer of the loop, so an idle stream costs only its own struct; what a callback
 * does not take it must copy. Writing tries at once and keeps (copies) only what the socket would not take, at most
 * IO_STREAM_UNSENT_MAX: beyond, the stream fails with ERR_LIMIT. A new stream does not read until io_stream_read. No
 * callback runs inside a call on the stream. */
enum { IO_STREAM_UNSENT_MAX = 16 << 20 }; /* octets */
struct io_stream;
struct io_stream_ops {
    /* Some bytes. */
    void (*read)(void *arg, struct str data);
    /* The peer closed (err NULL) or the stream failed; once. Call io_stream_free. */
    void (*end)(void *arg, const struct err *err);
    /* What had been unsent has gone to the kernel; not called when nothing was; may be NULL. */
    void (*drained)(void *arg);
};
/* Takes fd. */
struct io_stream *io_stream_new(struct io_loop *loop, int fd, const struct io_stream_ops *ops, void *arg,
                                struct err *err);
void   io_stream_free(struct io_stream *s); /* closes at once; no callback afterwards; allowed inside callbacks */
void   io_stream_read(struct io_stream *s, bool on);          /* off: back pressure; the kernel's window fills */
void   io_stream_write(struct io_stream *s, struct str data); /* errors come by `end` */
size_t io_stream_unsent(const struct io_stream *s);
/* Sends what is unsent (given up after 10 s without progress), then shuts down writing and drops input, up to 64 KiB or
 * 2 s, so that the peer sees our last words; then calls end. No read or drained any more. */
void   io_stream_finish(struct io_stream *s);
/* The same for a peer that has said all it will say: calls end as soon as everything is sent. */
void   io_stream_finish_quickly(struct io_stream *s);
/* Octets already waiting to be read (early talkers); credentials of a Unix peer (uid, or -1). */
size_t io_stream_waiting(const struct io_stream *s);
long   io_stream_peer_uid(const struct io_stream *s);

#endif
