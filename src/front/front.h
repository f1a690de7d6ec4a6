/* front.h: what the files of the front share. Nobody else includes it.
 *
 *   front.c          the role: start, peers, draining, the clock of all sessions
 *   front/accept.c   from the accepted connection to the greeting: limits, PROXY header, early talkers
 *   front/session.c  one session: its stream, its protocol, its end
 *   front/event.c    what the protocol asks: MAIL, RCPT, VRFY, EXPN, DATA, XCLIENT
 *   front/message.c  one message: its content gathers in memory or streams into a body file
 *   front/store.c    the end of a message: checked, appended, committed with others, answered
 *   front/ask.c      questions to the keeper
 *   front/remote.c   what is known of domains and addresses elsewhere: null MX, what other servers said
 *   front/log.c      lines of the log
 *
 * Who owns what. A session lives as long as its stream; only one whose message is being committed outlives it, because
 * the outcome belongs into the log. A message belongs to its session until it is answered or given up; a message given
 * up while a work thread has its content lives on alone until that thread is done. A question belongs to its session.
 *
 * A session takes no input while it waits for one of three: an answer of the keeper, the DNS or the disk (the protocol
 * asks and is not yet answered), room for content (its last piece is still being written), or its client (who does not
 * read what was answered). Each of them ends in front_session_resume. */
#ifndef TACIT_FRONT_FRONT_H
#define TACIT_FRONT_FRONT_H

#include "base/list.h"
#include "front/null_mx.h"
#include "mail/header.h"
#include "queue/record.h"
#include "role/ask.h"
#include "role/role.h"
#include "smtp/server.h"
#include "spool/lane.h"

#include <pthread.h>

enum {
    FRONT_TICK_MS = 100,          /* how exact time-outs are */
    FRONT_ROOM_MS = 1000,         /* how often room is looked for */
    FRONT_WHEEL = 1024,           /* ticks that the clock's wheel reaches ahead */
    FRONT_INPUT_MAX = 256 * 1024, /* octets of a session's input that wait */
    FRONT_UNSENT_MAX = 32 * 1024, /* octets of replies unsent before no more commands are taken */
    FRONT_RECIPIENTS_MIN = 100,   /* that a message may always have (RFC 5321 4.5.3.1.8) */
    FRONT_PIECE = 256 * 1024,     /* octets of content written at a time */
    FRONT_READ_MAX = 128 * 1024,  /* octets that one turn may add to a piece */
    FRONT_ASK_MS = 30 * 1000,     /* the keeper's time to answer */
    FRONT_FAREWELLS = 256,        /* refused connections that may linger to read why */
    FRONT_FREE_MESSAGES = 64,     /* kept for the next transactions */
    FRONT_THREADS = 8,            /* one for commits, the others sync large bodies meanwhile */
    FRONT_CLIENT_TEXT = 48,
    FRONT_LISTEN_SUBMIT = 0xffff, /* listeners that are no listen blocks: see master */
    FRONT_LISTEN_METRICS = 0xfffd,
};

#define FRONT_SHUTDOWN SMTP_REPLY(421, 4, 3, 2, "This server is shutting down, try again later")

struct front_session;

struct front_listener {
    struct list                 link;
    struct front               *front;
    const struct config_listen *config; /* NULL: the local submission socket */
    struct io_acceptor         *acceptor;
    const char                 *name; /* for the log */
};

/* MESSAGE_GATHERING --MESSAGE asked--> CHECKING --positive--> STORING --appended--> COMMITTING --durable--> answered
 * The body is written to its file in GATHERING and STORING only. */
enum front_message_step { MESSAGE_GATHERING, MESSAGE_CHECKING, MESSAGE_STORING, MESSAGE_COMMITTING };
enum front_work { WORK_WRITE, WORK_FINISH, WORK_ABORT };

struct front_message {
    struct list             link;    /* in front.pending or a batch; or in front.free_messages */
    struct list             holder;  /* in front.holders while it holds content in memory */
    struct list             starved; /* in front.starved while its session waits for memory */
    struct front           *front;
    struct front_session   *session; /* NULL: given up while a work thread was busy with it */
    enum front_message_step step;
    enum client_class class;
    uint64_t            id;
    uint64_t            received_ms; /* Unix time */
    uint64_t            began_ms;    /* the loop's clock */
    char                id_text[MESSAGE_ID_TEXT + 1];
    char                token[40]; /* proves that a Message-ID is ours; empty: none was asked for */
    struct buf          prefix;    /* fields in front of the content */
    struct buf          content;   /* not yet given to the lane or the work thread */
    uint64_t            size;      /* octets of content so far, without the prefix */
    uint64_t            memory;    /* octets that front.memory counts for it */
    uint64_t            envelope;  /* octets that front.envelopes counts for it */
    struct mail_address remote;    /* the recipient elsewhere that is being asked about; of the transaction's arena */
    struct mail_scan   *scan;      /* where the header matters; else NULL */
    bool                takes_content; /* false: whatever comes is refused at its end, so it is not kept */
    bool                external;      /* the content goes to a body file */
    bool                adds_fields;   /* Message-ID and Date where they are missing (RFC 6409 8) */
    bool                complete;      /* its end was seen; the prefix is made from what the whole header has */
    bool                lost;          /* there was no memory for a piece */
    bool                logged;

    /* While `working` these belong to the work thread. */
    bool              working;
    enum front_work   work;
    struct buf        writing;
    struct lane_body *body;
    uint64_t          body_size, body_xxh3;
    bool              body_finished;
    bool              failed; /* err says why; nothing further is kept */
    struct err        err;
};

enum front_phase {
    PHASE_PROXY, /* waits for the PROXY header */
    PHASE_DELAY, /* waits before the greeting */
    PHASE_TALK,
    PHASE_CLOSING, /* what is unsent goes out, then the connection ends */
    PHASE_GONE,    /* no stream any more; waits for its message's commit */
};

struct front_session {
    struct list                  link;  /* in front.sessions */
    struct list                  wheel; /* in a slot of the clock, or in front.greetings */
    struct front                *front;
    const struct front_listener *listener;
    struct io_stream            *stream;
    int                          fd; /* the stream's */
    enum front_phase             phase;
    struct smtp_server          *smtp; /* from the greeting on */
    struct smtp_server_config    config;
    struct front_message        *message;      /* from MAIL to its end */
    struct front_ask            *ask;          /* the question that waits, or NULL */
    struct null_mx_question     *null_mx;      /* the same for one to the DNS */
    struct str                   patch_domain; /* of the recipient that is being asked about; empty: as it is */
    struct buf                   input;
    uint64_t                     deadline_ms, slot_ms;             /* when it is over; when the clock looks at it */
    uint64_t                     began_ms, heard_ms;               /* heard: the last command or piece of content */
    uint64_t                     content_began_ms, content_octets; /* of the message that is being sent to us */
    uint64_t                     stalled_ms;                       /* since when we make it wait; 0: we do not */
    uint64_t                     client_key;
    size_t                       output_seen;
    uint32_t                     messages;
    char                         id[MESSAGE_ID_TEXT + 1];
    char                         client[FRONT_CLIENT_TEXT]; /* "192.0.2.1", "2001:db8::1", "local" */
    uint16_t                     port;
    char                         user[64]; /* who submits: the uid on the local socket, or the login of XCLIENT */
    char                        *proxy;    /* address of the balancer or gateway in between, or NULL */
    const char                  *reason;   /* why it ended; NULL: it has not */
    bool                         is_local_socket; /* the local submission socket */
    bool                         is_relay;        /* in a relay network */
    bool                         admitted;        /* counted in sessions_open */
    bool                         counted;         /* counted for its network */
    bool                         talking;         /* inside its own protocol loop */
    bool                         quit, said_all;  /* ended by QUIT; with nothing behind it */
    bool                         farewell;        /* counted in front.farewells */
    bool                         utf8;            /* the VRFY that is being asked about may be answered in UTF-8 */
};

struct front {
    struct role_context     *role;
    const struct config     *config;
    struct io_loop          *loop;
    struct disclosure_config disclosure;
    struct list              listeners, sessions;
    struct list              greetings; /* sessions that wait for theirs, oldest first */
    struct io_timer         *greeting;
    size_t                   farewells;
    struct io_metrics       *metrics;

    struct io_timer *tick;
    uint64_t         tick_ms; /* the clock has looked at everything before this */
    uint64_t         room_ms; /* when room was looked for */
    struct list      wheel[FRONT_WHEEL];

    struct io_ipc *keeper, *back;
    struct null_mx null_mx;
    struct map     asks;      /* tag -> struct front_ask */
    struct list    ask_order; /* oldest first */
    uint32_t       next_tag;

    struct lane_writer      *lane;
    struct str               lane_dir;
    struct message_id_source ids;
    struct list              holders, starved, pending, free_messages;
    size_t                   free_count;
    uint64_t                 memory;        /* octets of content held */
    uint64_t                 envelopes;     /* octets that senders and recipients of open transactions take */
    bool                     is_short;      /* of memory: no content is taken until enough has been written to files */
    unsigned                 working;       /* messages that a work thread has, and segments it prepares */
    pthread_mutex_t          create_lock;   /* body files are created one at a time */
    struct front_batch      *batch;         /* being written; NULL: none */
    size_t                   message_count; /* from MAIL to the answer, or the end of what a thread does for them */
    uint64_t                 commit_us;     /* what a batch takes, smoothed; 0: not known yet */
    struct lane_place        committed;
    bool                     has_committed;
    struct buf               scratch; /* of one call */
    struct arena             arena;   /* of one call */
    struct arena             own;     /* as long as the process */

    struct io_timer *grace;
    bool             draining, drained;
};

/* front.c */
uint64_t front_now_ms(const struct front *f);
void     front_clock_set(struct front_session *s, uint64_t deadline_ms);
void     front_may_be_drained(struct front *f); /* call when something has ended */

/* front/accept.c */
bool front_listen(struct front *f, unsigned number, int fd, struct err *err);
void front_unlisten(struct front *f);
/* Where the session's client is, or that it is elsewhere than its connection says. False: that network, or user of this
 * machine, has too many. */
bool front_set_client(struct front_session *s, const struct io_address *a);
/* Nobody knows where the client is: it is no relay, and no network counts it. */
void front_forget_client(struct front_session *s);
void front_greetings_due(void *front);                           /* the timer front.greeting */
void front_accept_input(struct front_session *s, struct str in); /* PHASE_PROXY; in PHASE_DELAY nothing is read */
void front_accept_due(struct front_session *s);

/* front/session.c */
extern const struct io_stream_ops front_stream_ops;
void                              front_session_start(struct front_session *s); /* the greeting */
/* Says why and closes, before there is a protocol. */
void              front_session_refuse(struct front_session *s, const struct smtp_reply *reply, const char *reason);
/* Ends it from our side, unless it has ended or its message is being committed. */
void              front_session_end(struct front_session *s, const struct smtp_reply *reply, const char *reason);
void              front_session_due(struct front_session *s);
void              front_session_drain(struct front_session *s); /* ends it if nothing is under way */
void              front_session_answer(struct front_session *s, const struct smtp_reply *reply);
void              front_session_resume(struct front_session *s);
void              front_session_free(struct front_session *s);
bool              front_session_in_transaction(const struct front_session *s);
enum client_class front_session_class(const struct front_session *s, const struct mail_address *sender);

/* front/event.c */
void front_event(struct front_session *s, const struct smtp_event *event);
/* What the keeper said to the session's question; NULL: nothing in time. */
void front_event_told(struct front_session *s, const struct ask *ask, const struct answer *answer);

void front_look_for_room(struct front *f); /* and tells role/storage.h; once a second, and when it lacked */

/* front/message.c */
struct front_message *front_message_new(struct front_session *s, enum client_class class); /* NULL: no memory */
void                  front_message_content(struct front_message *m, struct str piece);
/* No content can be taken now; front_session_resume follows. */
bool                  front_message_is_stalled(struct front_message *m);
void                  front_message_wake(struct front *f); /* goes on with who was starved, if there is memory again */
/* Makes the prefix, once recipients and header are known. */
bool                  front_message_prefix(struct front_message *m);
void                  front_message_work(struct front_message *m, enum front_work work);
void                  front_message_drop_content(struct front_message *m); /* its memory */
void                  front_message_free(struct front_message *m);         /* also while a work thread has it */

/* front/store.c */
void front_store(struct front_message *m); /* MESSAGE was asked */
void front_store_told(struct front_message *m, bool answers_ours, bool failed);
void front_store_worked(struct front_message *m); /* a work thread has finished with it, in STORING */
void front_store_round(struct front *f);          /* begins a batch if there is something to commit */
void front_store_committed(struct front *f);      /* tells back */

/* front/ask.c */
struct front_ask;
bool front_ask(struct front_session *s, const struct ask *question); /* false: no memory */
void front_ask_cancel(struct front_session *s);
void front_ask_peer(struct front *f, int fd); /* a keeper */
void front_ask_overdue(struct front *f);

/* front/remote.c: each ends in front_session_answer, at once or later. */
void front_remote_mail(struct front_session *s, struct str domain); /* of the sender; empty: it has none */
void front_remote_rcpt(struct front_session *s, const struct mail_address *to);
void front_remote_told(struct front_session *s, const struct answer *said); /* NULL: nothing in time */
void front_remote_cancel(struct front_session *s);

/* front/log.c */
void front_log_session(const struct front_session *s);
/* Before the transaction is answered, while its envelope is there; only the first line of a message is written. */
void front_log_transaction(struct front_message *m, const char *result, const struct smtp_reply *reply,
                           const char *reason);

#endif
