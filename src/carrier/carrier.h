/* carrier.h: the process that connects to other mail servers. It gets carriages from back (carriage.h), finds their way
 * with the resolver's help, takes turns, speaks to the servers, and says what became of each recipient. It has neither
 * spool nor mailboxes nor directory: what it must not forget, back knows too.
 *
 *                                  way known                 its turn                    every recipient settled
 *   back ── CARRY ──► ROUTING ─────────────────► WAITING ───────────────► UNDER_WAY ──────────────► CARRIED ──► gone
 *                     │   │ no way, and why         │ │ the site rests     │ ▲  │ other host             ▲  RECORDED
 *                     │   └─────────────────────────┼─┴────────────────────┼─┼──┼────────────────────────┘
 *                     └──► put back, gone ◄─────────┴──── before MAIL ─────┘ └──┘       all changes: carry_change
 *
 *   state      guarantee
 *   ROUTING    nothing was said to any server; it waits for the answers of the DNS
 *   WAITING    as before; it is among the jobs of its site (queue/site.h)
 *   UNDER_WAY  a session has it, and one only
 *              while no MAIL was said of it, it is put back where the carrier ends, or on CANCEL
 *   CARRIED    its message is said no more to anybody; what became of it is kept, encoded, until back has it recorded
 *
 * Where back ends, what is ROUTING or WAITING is forgotten: the next back finds it in the spool and gives it again.
 *
 * A session (carrier/session.c) is one of the connections that a site bears. It may go through several connections
 * until one of the hosts takes its carriage; then it takes the next of the site, and is idle for a while when there is
 * none. A connection (carrier/talk.c) is octets in and out with a smtp/client between. */
#ifndef TACIT_CARRIER_CARRIER_H
#define TACIT_CARRIER_CARRIER_H

#include "config/config.h"
#include "io/ipc.h"
#include "io/net.h"
#include "mail/seven.h"
#include "queue/route.h"
#include "queue/site.h"
#include "queue/via.h"
#include "role/carriage.h"
#include "role/lookup.h"

enum {
    CARRIER_WAITING = 100,   /* carriages at one site, or what it took in a second; beyond they are put back */
    CARRIER_ROUTINGS = 2000, /* ways that are remembered */
    CARRIER_SITES = 50000,   /* sites of which anything is known */
    CARRIER_HOSTS = 16,      /* connections begun for one carriage */
    CARRIER_CONNECTION_MESSAGES = 100,
    CARRIER_IDLE = 100,               /* connections that wait for work */
    CARRIER_IDLE_MS = 5 * 1000,       /* and for how long */
    CARRIER_STALL_MS = 2 * 1000,      /* a connection that takes longer to come about stands aside (queue/site.h) */
    CARRIER_CARRY_MS = 3600 * 1000,   /* for all hosts of a carriage; and a second for each CARRIER_RATE octets */
    CARRIER_MESSAGE_MS = 1800 * 1000, /* for a message on one connection; and the same */
    CARRIER_RATE = 1024,              /* octets a second */
};
#define CARRIER_OCTETS ((size_t)256 << 20)           /* of carriages and of what is not recorded */
#define CARRIER_CONVERT_OCTETS ((uint64_t)128 << 20) /* of content that is being converted, at once */

/* Messages that were put back for want of room, and are to hear of it. */
struct carrier_parking {
    uint64_t    number; /* names it to back */
    struct list link;   /* in carrier.parkings while any are parked */
    uint64_t    parked, promised, promised_ms;
};

/* Why a host did not take a carriage: texts of its own, for they outlive connection and carriage. */
struct host_failure {
    enum smtp_stage    stage;
    uint16_t           code;
    struct smtp_status status;
    size_t             text_len, words_len;
    char               text[CARRIAGE_TEXT_MAX], words[CARRIAGE_TEXT_MAX];
    char               host[MAIL_DOMAIN_MAX + 3], address[IO_ADDRESS_TEXT];
};

struct carrier_site {
    struct site           *site;
    struct carrier_parking parking;
    struct list            idle;    /* sessions, the one used last first */
    struct host_failure   *failure; /* the last of a session that ended badly; NULL: none yet */
    uint64_t               second;  /* of `took`: messages that went through in this second, and in the one before */
    uint32_t               took[2];
    struct str             key; /* behind the struct */
};

struct carrier_target {
    struct str        host; /* the path of a Unix socket */
    struct io_address address;
    uint16_t          preference;
};

/* The way of a domain or host; carriages share it, and it is remembered for some seconds. */
struct routing {
    struct carrier        *carrier;
    struct str             key;
    struct list            age;     /* in carrier.routings; alone: it is not remembered any more */
    struct list            carries; /* that wait for it */
    struct list            questions;
    size_t                 users; /* carries that have it, and calls at work on it */
    uint64_t               until_ms;
    struct via             via;
    uint16_t               port;
    struct arena           arena;
    struct arena           scratch; /* of `route` */
    struct route          *route;   /* NULL: concluded */
    enum route_outcome     outcome;
    struct smtp_status     status;
    struct str             reason;
    struct carrier_target *targets;
    size_t                 target_count;
    struct str             site_key;
};

enum carry_state { CARRY_ROUTING, CARRY_WAITING, CARRY_UNDER_WAY, CARRY_CARRIED };

struct carry_key {
    uint64_t id, number;
};

struct carry {
    struct carrier            *carrier;
    struct carry_key           key; /* in carrier.carries */
    enum carry_state           state;
    size_t                     octets; /* that count in carrier.octets */
    struct arena               arena;  /* all below up to `said` */
    struct carriage            carriage;
    uint32_t                  *indices; /* those of `carriage`; they stay to the end */
    int                        body_fd; /* -1: the content is in `carriage` */
    const struct config_route *settings;
    struct via                 via;
    struct routing            *routing;
    struct list                routing_link;
    struct carrier_site       *site;
    struct site_job            job;
    struct session            *session;
    /* Recipients that are not settled: their places in `carriage`, and themselves, for the client. */
    uint32_t                  *todo;
    struct recipient          *asked;
    size_t                     todo_count;
    struct carried             result;
    /* The hosts so far. */
    size_t                     target;
    unsigned                   connections, soft, refused, no_mail;
    bool                       helo;      /* the next connection is to a host that ended the last one at EHLO */
    bool                       cancelled; /* put back instead of another connection */
    uint64_t                   until_ms;
    /* CARRIED. */
    struct buf                 said;
    struct list                unsaid; /* in carrier.unsaid: this back has not been told */
};

enum session_state {
    SESSION_CONNECTING, /* to a host for its carriage */
    SESSION_OPENING,    /* connected: greeting, EHLO */
    SESSION_BUSY,       /* the carriage's message */
    SESSION_IDLE,       /* without a carriage */
};

struct session {
    struct carrier       *carrier;
    struct carrier_site  *site;
    struct list           link;                 /* in carrier.sessions */
    struct list           site_idle, idle_link; /* in site.idle and carrier.idle */
    enum session_state    state;
    struct carry         *carry;
    struct io_timer      *timer;
    struct io_connect    *connecting;
    bool                  stalled;
    struct conn          *conn;
    struct carrier_target target; /* host: in host_text */
    char                  host_text[MAIL_DOMAIN_MAX + 3], address_text[IO_ADDRESS_TEXT];
    uint64_t              began_ms, idle_until_ms;
    struct host_failure   failure;
};

struct carrier {
    const struct config   *config;
    struct io_loop        *loop;
    struct lookup          lookup;
    struct io_ipc         *back; /* NULL: there is none at the moment */
    struct map             carries;
    size_t                 octets, files; /* content and results in memory; descriptors of content */
    struct carrier_parking full;          /* the carrier as a whole */
    struct map             routing_map, site_map;
    struct list            routings, parkings, sessions, idle; /* the oldest first */
    struct list            goodbyes;                           /* connections that only end */
    struct list            unsaid;                             /* carriages that are CARRIED */
    size_t                 idle_count, goodbye_count, files_most;
    struct sites           sites;
    struct site_rules      rests; /* rest_ms, rest_most_ms */
    uint64_t               next_number, convert_octets, swept_ms;
    struct io_timer       *tick, *wake, *grace;
    struct buf             scratch; /* a message to back, or a piece of content */
    struct arena           message_arena;
    bool                   draining, is_drained;
    void (*drained)(void *arg);
    void *drained_arg;
};

/* carrier.c */
/* `config` is borrowed. Descriptors are taken. */
struct carrier *carrier_new(struct io_loop *loop, const struct config *config, struct err *err);
void            carrier_free(struct carrier *c);
bool            carrier_attach_back(struct carrier *c, int fd, struct err *err);
bool            carrier_attach_resolver(struct carrier *c, int fd, struct err *err);
/* Takes nothing more, puts back what was not begun, gives transactions the time; then `drained`. */
void            carrier_drain(struct carrier *c, uint64_t grace_ms, void (*drained)(void *arg), void *arg);
void            carrier_check_drained(struct carrier *c);
uint64_t        carrier_now_ms(const struct carrier *c);

/* carrier/back.c: the channel, and the life of a carriage. */
void carrier_back_said(void *arg, struct str message, int fd);
void carrier_back_gone(void *arg);
void carrier_welcome(struct carrier *c); /* a new back */
void carrier_room(struct carrier *c, struct carrier_parking *p, uint32_t room);
void carry_change(struct carry *y, enum carry_state to);
void carry_free(struct carry *y);
/* Nothing was begun. `p` NULL: it does not wait for room. */
void carry_put_back(struct carry *y, struct carrier_parking *p);
/* The result of one that is to do, and of all. Texts are copied. */
void carry_note(struct carry *y, size_t place, const struct smtp_client_result *result);
void carry_note_host(struct carry *y, struct str host, struct str address);
void carry_note_all(struct carry *y, enum smtp_client_verdict verdict, const struct host_failure *why);
void carry_note_plain(struct carry *y, enum smtp_client_verdict verdict, struct smtp_status status, struct str words);
void carry_compact(struct carry *y); /* takes those that are settled out of what is to do */
/* All are settled: tells back. */
void carry_settle(struct carry *y);
void carrier_say_carried(struct carrier *c); /* of what is unsaid, as much as the channel takes now */

/* carrier/route.c */
void routing_join(struct carry *y); /* then carrier_site_enter, or the carriage is settled; perhaps now */
void routing_leave(struct carry *y);
void routings_tick(struct carrier *c);
void routings_done(struct carrier *c);

/* carrier/site.c */
void          carrier_sites_init(struct carrier *c);
void          carrier_sites_done(struct carrier *c);
void          carrier_site_enter(struct carry *y);
void          carrier_pump(void *carrier); /* begins what may begin */
/* A session less. Where the site begins to rest, what waits there is put off. The end of the rest, Unix ms, or 0. */
uint64_t      carrier_site_ended(struct carrier_site *site, struct carrier *c, enum site_end how,
                                 const struct host_failure *why);
void          carrier_site_took(struct carrier *c, struct carrier_site *site); /* a message went through */
struct carry *carrier_site_next(struct carrier *c, struct carrier_site *site); /* for a session that is open */
void          carrier_sites_tick(struct carrier *c);
void          carrier_parking_init(struct carrier *c, struct carrier_parking *p);
void          carrier_parking_add(struct carrier *c, struct carrier_parking *p);
bool          carrier_is_full(const struct carrier *c); /* of memory, or descriptors */
void          carrier_check_full(struct carrier *c);
void          carrier_parkings_forget(struct carrier *c);

/* carrier/session.c */
void session_begin(struct carrier *c, struct carrier_site *site, struct carry *y);
bool session_fits(const struct session *s, const struct carry *y); /* its host is one of the carriage's */
void session_take(struct session *s, struct carry *y);             /* one that is idle */
void session_quit(struct session *s);                              /* one that is idle */
void session_drain(struct session *s, bool at_once);
void session_cancel(struct session *s); /* gives its carriage back, unless MAIL was said: then when it can */
void session_free(struct session *s);
/* From the connection. */
void session_ready(struct session *s);
void session_done(struct session *s); /* a message is through, and the connection ready for another */
void session_over(struct session *s); /* the client has left; its end says why */
void session_wait(struct session *s); /* something went on: the timer anew */

/* carrier/session.c and carrier/host.c, to each other */
void session_give_back(struct session *s);
void session_change(struct session *s, enum session_state to);
void session_unstall(struct session *s);
/* Its connection ends; `why` may be NULL. */
void session_leave(struct session *s, const char *result, const struct host_failure *why);
void session_end_badly(struct session *s, const char *result); /* and its carriage is settled */
void session_connect(struct session *s);                       /* to the next host of its carriage */
void session_host_over(struct session *s, const struct smtp_client_end *ended);
void session_failure_set(struct session *s, enum smtp_stage stage, uint16_t code, struct smtp_status status,
                         struct str text, struct str words);
void session_failure_of(struct session *s, const struct smtp_client_result *why);

/* carrier/talk.c */
struct conn {
    struct session            *session; /* NULL: it only says goodbye */
    struct carrier            *carrier;
    struct list                link; /* in carrier.goodbyes */
    struct io_stream          *stream;
    struct smtp_client        *client;
    struct smtp_client_config  config;
    uint64_t                   wait_number;          /* of smtp_client_wait, for which the session's timer runs */
    uint64_t                   until_ms;             /* the message's limit */
    uint32_t                   messages;             /* begun */
    uint32_t                   taken;                /* recipients that were accepted */
    bool                       busy, ended, parting; /* at work; the other side has closed; says goodbye */
    /* The message. */
    struct carry              *carry;
    struct smtp_client_message message;
    uint64_t                   at;    /* in the content */
    struct arena               plan;  /* of a conversion */
    struct mail_seven          seven; /* at its beginning; content NULL: not converted */
    struct mail_seven          giving;
    char                      *copy; /* of content in a file, to be converted */
    uint64_t                   copy_len;
};
struct conn *conn_new(struct session *s, int fd, struct err *err);
void         conn_message(struct conn *c, struct carry *y);
void         conn_timed_out(struct conn *c);
void         conn_quit(struct conn *c);  /* as smtp_client_quit; then session_over */
void         conn_stop(struct conn *c);  /* as smtp_client_stop; then session_over */
void         conn_leave(struct conn *c); /* sends what is to be sent still, and ends by itself */
void         conn_free(struct conn *c);

/* carrier/log.c */
void carrier_log_connection(const struct session *s, const char *result, const struct host_failure *why);
void carrier_log_route(const struct routing *r, const struct route_result *result);
void host_failure_set(struct host_failure *f, enum smtp_stage stage, uint16_t code, struct smtp_status status,
                      struct str text, struct str words);

#endif
