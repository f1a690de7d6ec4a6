/* dns_server.h: a DNS server in the loop of a test: what it says is decided by the first label of the name.
 *
 *   mx..., cname..., many..., no..., empty..., broken..., refused..., silent..., garbage... (and then the answer),
 *   cut... (the answer is too long for UDP; here it always says the same over TCP) */
#ifndef TACIT_TEST_IO_DNS_SERVER_H
#define TACIT_TEST_IO_DNS_SERVER_H

#include "io/loop.h"
#include "mail/dns.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void dns_server_must(bool right)
{
    if (!right)
        abort();
}

enum { DNS_SERVER_HEADER = 12, DNS_SERVER_PACKET = 1500, DNS_SERVER_TTL = 300 };

struct dns_server {
    int              fd, tcp;
    struct io_watch *watch, *tcp_watch;
    uint16_t         port;
    unsigned         questions, tcp_questions;
};

static inline void dns_server_put16(struct buf *b, unsigned v)
{
    buf_append_byte(b, (char)(v >> 8));
    buf_append_byte(b, (char)v);
}

/* `owner`: NULL is the name of the question. */
static inline void dns_server_put_rr(struct buf *b, const char *owner, size_t owner_len, unsigned type, struct str data)
{
    buf_append(b, owner ? str_of(owner, owner_len) : STR("\xc0\x0c"));
    dns_server_put16(b, type);
    dns_server_put16(b, 1);
    dns_server_put16(b, 0);
    dns_server_put16(b, DNS_SERVER_TTL);
    dns_server_put16(b, (unsigned)data.len);
    buf_append(b, data);
}

/* NULL for `peer`: over TCP. False: it is silent. */
static inline bool dns_server_make(struct dns_server *s, struct str packet, const struct sockaddr_in *peer,
                                   struct buf *out)
{
    struct str name = str_skip(packet, DNS_SERVER_HEADER), label = str_part(name, 1, (unsigned char)name.data[0]);
    size_t     len = strlen(name.data) + 1;
    unsigned   type = (unsigned char)name.data[len + 1], code = 0, count = 0;
    bool       is_cut = peer && str_starts(label, STR("cut"));
    struct buf records;

    buf_init(&records, DNS_SERVER_PACKET);
    s->questions++;
    if (str_starts(label, STR("silent")))
        return false;
    if (peer && str_starts(label, STR("garbage"))) {
        struct str id = str_part(packet, 0, 2);

        sendto(s->fd, "xx", 2, 0, (const void *)peer, sizeof *peer);
        sendto(s->fd, id.data, id.len, 0, (const void *)peer, sizeof *peer);
        buf_append(&records, packet); /* somebody else's id */
        records.data[0] ^= 0x55;
        records.data[2] |= (char)0x80;
        sendto(s->fd, records.data, records.len, 0, (const void *)peer, sizeof *peer);
        buf_clear(&records);
    }
    if (str_starts(label, STR("no"))) {
        code = 3;
    } else if (str_starts(label, STR("broken"))) {
        code = 2;
    } else if (str_starts(label, STR("refused"))) {
        code = 5;
    } else if (str_starts(label, STR("cname")) && type == DNS_A) {
        dns_server_put_rr(&records, NULL, 0, 5, STR("\4real\7example\4test\0"));
        dns_server_put_rr(&records, "\4real\7example\4test", 19, 1, STR("\300\0\2\1"));
        count = 2;
    } else if (str_starts(label, STR("many"))) {
        for (; count < 30; count++)
            dns_server_put_rr(&records, NULL, 0, 1, str_of((char[]){'\300', 0, 2, (char)count}, 4));
    } else if (!is_cut && !str_starts(label, STR("empty"))) {
        dns_server_put_rr(&records, NULL, 0, type,
                          type == DNS_A ? STR("\300\0\2\1") : STR("\0\12\2mx\7example\4test\0"));
        count = 1;
    }
    buf_append(out, str_part(packet, 0, 2));
    dns_server_put16(out, 0x8580 | code | (is_cut ? 0x200 : 0));
    dns_server_put16(out, 1);
    dns_server_put16(out, count);
    dns_server_put16(out, 0);
    dns_server_put16(out, 0);
    buf_append(out, str_part(packet, DNS_SERVER_HEADER, len + 4));
    buf_append(out, buf_str(&records));
    dns_server_must(buf_ok(out) && buf_ok(&records));
    buf_done(&records);
    return true;
}

static inline void dns_server_reply(struct dns_server *s, struct str packet, const struct sockaddr_in *peer)
{
    struct buf out;

    buf_init(&out, DNS_SERVER_PACKET);
    if (dns_server_make(s, packet, peer, &out))
        sendto(s->fd, out.data, out.len, 0, (const void *)peer, sizeof *peer);
    buf_done(&out);
}

/* One question, as soon as it comes. */
static inline void dns_server_accept(unsigned what, void *arg)
{
    struct dns_server *s = arg;
    int                fd = accept(s->tcp, NULL, NULL);
    char               packet[2 + DNS_SERVER_PACKET + 1] = {0};
    struct buf         out, framed;
    ssize_t            n = fd < 0 ? 0 : recv(fd, packet, 2, MSG_WAITALL);

    (void)what;
    if (n == 2)
        n = recv(fd, packet, (size_t)((unsigned char)packet[0] << 8 | (unsigned char)packet[1]) % DNS_SERVER_PACKET,
                 MSG_WAITALL);
    buf_init(&out, DNS_SERVER_PACKET);
    buf_init(&framed, 2 + DNS_SERVER_PACKET);
    if (n > DNS_SERVER_HEADER && dns_server_make(s, str_of(packet, (size_t)n), NULL, &out)) {
        s->tcp_questions++;
        dns_server_put16(&framed, (unsigned)out.len);
        buf_append(&framed, buf_str(&out));
        send(fd, framed.data, framed.len, MSG_NOSIGNAL);
    }
    buf_done(&framed);
    buf_done(&out);
    if (fd >= 0)
        close(fd);
}

static inline void dns_server_ready(unsigned what, void *arg)
{
    struct dns_server *s = arg;
    char               packet[DNS_SERVER_PACKET + 1] = {0};
    struct sockaddr_in peer;
    socklen_t          peer_len = sizeof peer;
    ssize_t            n = recvfrom(s->fd, packet, DNS_SERVER_PACKET, MSG_DONTWAIT, (void *)&peer, &peer_len);

    (void)what;
    if (n > DNS_SERVER_HEADER)
        dns_server_reply(s, str_of(packet, (size_t)n), &peer);
}

/* One port for UDP and TCP: another program may have taken the one that was free for the other. */
static inline bool dns_server_bind(struct dns_server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          len = sizeof address;

    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    dns_server_must(bind(s->fd, (const void *)&address, sizeof address) == 0);
    dns_server_must(getsockname(s->fd, (void *)&address, &len) == 0);
    s->port = ntohs(address.sin_port);
    if (bind(s->tcp, (const void *)&address, sizeof address) == 0 && listen(s->tcp, 8) == 0)
        return true;
    close(s->fd);
    close(s->tcp);
    return false;
}

static inline void dns_server_init(struct dns_server *s, struct io_loop *loop)
{
    unsigned   tries = 0;
    struct err err;

    *s = (struct dns_server){.fd = -1};
    while (!dns_server_bind(s))
        dns_server_must(++tries < 1000);
    s->watch = io_watch_new(loop, s->fd, dns_server_ready, s, &err);
    dns_server_must(s->watch);
    dns_server_must(io_watch_want(s->watch, IO_READABLE, &err));
    s->tcp_watch = io_watch_new(loop, s->tcp, dns_server_accept, s, &err);
    dns_server_must(s->tcp_watch && io_watch_want(s->tcp_watch, IO_READABLE, &err));
}

static inline void dns_server_done(struct dns_server *s)
{
    io_watch_free(s->watch);
    io_watch_free(s->tcp_watch);
    close(s->fd);
    close(s->tcp);
}

#endif
