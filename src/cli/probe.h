/* probe.h: between the files of tacit probe. */
#ifndef TACIT_CLI_PROBE_H
#define TACIT_CLI_PROBE_H

#include "base/arena.h"
#include "base/err.h"
#include "cli/cli.h"
#include "codes/reading.h"
#include "io/net.h"
#include "io/tls.h"
#include "mail/address.h"
#include "queue/route.h"

/* ---- probe_dns.c: what the DNS says of a domain ---- */

struct probe_dns {
    enum route_outcome         outcome;
    struct str                 status, reason; /* of ROUTE_FOUND empty */
    const struct route_target *targets;
    size_t                     target_count;
    bool                       implicit, odd_null, aliases, has_ipv6, secure;
    struct str                 spf, dmarc, mta_sts, tls_rpt; /* the records' texts; empty: none */
    unsigned                   spf_count;                    /* more than one is a mistake (RFC 7208 4.5) */
    size_t                     tlsa_count;                   /* of the first host */
    bool                       tlsa_secure;
};
/* Asks everything at once. Results lie in `arena`. False: there is no way to ask. `server`: NULL or empty: the
 * system's. */
bool probe_dns(struct str domain, uint16_t port, const char *server, bool validate, struct arena *arena,
               struct probe_dns *ret, struct err *err);
/* The addresses of one host, as targets. */
bool probe_dns_host(struct str host, const char *server, bool validate, struct arena *arena, struct probe_dns *ret,
                    struct err *err);

/* ---- probe_talk.c: a short conversation ---- */

enum probe_act {
    PROBE_CONNECT,
    PROBE_GREETING,
    PROBE_EHLO,
    PROBE_HELO,
    PROBE_VRFY,
    PROBE_MAIL,
    PROBE_RCPT,
    PROBE_RSET,
    PROBE_STARTTLS,
    PROBE_TLS,
    PROBE_QUIT,
};
enum { PROBE_STEPS = 12 };
struct probe_step {
    enum probe_act act;
    uint64_t       ms;   /* since the connection was begun: when the answer was there */
    struct str     said; /* by us; empty: nothing */
    unsigned       code; /* of the answer; 0: none came */
    struct str     text; /* of the answer with its code and enhanced code, lines parted by '\n'; or why there is none */
};
struct probe_talk {
    struct probe_step  steps[PROBE_STEPS];
    size_t             count;
    bool               extended;   /* EHLO was understood */
    struct str         extensions; /* "PIPELINING, SIZE 10240000" */
    bool               starttls, smtputf8, dsn, auth;
    uint64_t           size; /* octets; 0: none told */
    bool               has_tls;
    struct io_tls_look tls; /* with has_tls */
};
struct probe_wish {
    const char                *helo;
    const struct mail_address *sender;     /* for MAIL; null: <> */
    const struct mail_address *recipient;  /* NULL: only up to EHLO */
    const char                *tls_host;   /* whom the certificate should be for; NULL: TLS is not tried */
    unsigned                   timeout_ms; /* of each step */
};
/* With one address. False: not even a greeting came. */
bool probe_talk(const struct io_address *to, const struct probe_wish *wish, struct arena *arena,
                struct probe_talk *ret);

/* ---- probe_verdict.c: what the answers mean, and what comes of all of them ---- */

/* Exit status, beside CLI_OK, CLI_FAILED and CLI_USAGE. */
enum { PROBE_NOT_NOW = 3, PROBE_NEVER = 4 };

struct probe_verdict {
    const char *key; /* for programs */
    int         exit;
    struct str  words, advice;
};

struct probe {
    struct cli         *cli;
    struct arena        arena;
    struct mail_address recipient; /* null: none was given */
    struct mail_address sender;
    struct str          domain;
    uint16_t            port;
    bool                is_host; /* asked as a host, not as a domain */
    bool                asks_dns;
    struct probe_dns    dns;
    struct probe_talk   talk;
    struct io_address   address; /* of a host that was given by it */
    struct str          spoken;  /* whom we spoke to */
    bool                has_spoken;
    struct probe_wish   wish;
    const char         *server;
    bool                validate;
};

/* Of an answer, in plain words; data is NULL: it says nothing. */
struct str           probe_meaning(struct probe *p, const struct probe_step *s);
struct probe_verdict probe_verdict(struct probe *p);

#endif
