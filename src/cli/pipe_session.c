/* pipe_session.c: one connection of tacit pipe, blocking, in a process of its own: the protocol is smtp/server.h's, and
 * each recipient of a message is a run of the program, one after the other. The content waits in a file without a name,
 * so that its size costs no memory. */
#include "cli/pipe.h"

#include "io/file.h"
#include "io/loop.h"
#include "role/log.h"
#include "smtp/server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_PIECE = 64 * 1024 };

#define NO_ROOM SMTP_REPLY(452, 4, 3, 1, "There is no room for the message")

struct session {
    const struct pipe_rules *rules;
    int                      fd;
    struct smtp_server      *smtp;
    FILE                    *content; /* of the message under way; NULL: none, or there is no room for it */
    bool                     cr_waits;
    size_t                   done;    /* recipients that were answered */
    uint64_t                 most_ms; /* until then all runs must have ended */
    char                     in[READ_PIECE];
};

/* ---- content ---- */

static void content_drop(struct session *s)
{
    if (s->content)
        fclose(s->content);
    s->content = NULL;
    s->done = 0;
}

static void content_begin(struct session *s)
{
    content_drop(s);
    s->content = pipe_file();
    s->cr_waits = false;
}

/* Lines end in LF, as programs expect; binary content is left as it is. */
static void content_add(struct session *s, struct str piece)
{
    const bool binary = smtp_server_envelope(s->smtp)->body == BODY_BINARYMIME;

    for (size_t i = 0; s->content && i < piece.len; i++) {
        char c = piece.data[i];

        if (s->cr_waits && c != '\n')
            putc_unlocked('\r', s->content);
        s->cr_waits = !binary && c == '\r';
        if (!s->cr_waits)
            putc_unlocked(c, s->content);
    }
}

static bool content_is_whole(struct session *s) { return s->content && fflush(s->content) == 0 && !ferror(s->content); }

/* ---- answers ---- */

static void log_run(const struct pipe_message *m, const struct smtp_reply *reply, uint64_t ms, struct arena *arena)
{
    const bool is_done = smtp_reply_is_positive(reply);
    char       status[SMTP_STATUS_TEXT];

    if (log_begin(is_done ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "run")) {
        log_str("from", mail_address_text(m->sender, arena));
        log_str("rcpt", mail_address_text(&m->to->address, arena));
        log_z("result", is_done ? "delivered" : reply->code < 500 ? "deferred" : "failed");
        log_u64("code", reply->code);
        log_str("status", smtp_status_text(reply->status, status));
        log_str("reply", reply->text);
        log_u64("ms", ms);
        log_end();
    }
    log_flush();
}

/* In LMTP it is asked for each recipient, in their order. */
static struct smtp_reply deliver(struct session *s, struct arena *arena)
{
    const struct envelope *e = smtp_server_envelope(s->smtp);
    struct pipe_message    m = {.sender = &e->sender, .to = &e->recipients[s->done++]};
    uint64_t               began_ms = io_clock_ms();
    struct smtp_reply      reply;

    if (pipe_is_stopping()) {
        reply = SMTP_REPLY(451, 4, 3, 2, "This service stops");
    } else if (began_ms + s->rules->timeout_ms > s->most_ms) {
        reply = SMTP_REPLY(451, 4, 3, 0, "The runs for the other recipients took too long");
    } else if (!content_is_whole(s)) {
        reply = NO_ROOM;
    } else {
        m.content = fileno(s->content);
        reply = pipe_run(s->rules, &m, arena);
    }
    log_run(&m, &reply, io_clock_ms() - began_ms, arena);
    return reply;
}

static bool send_output(struct session *s)
{
    struct str out = smtp_server_output(s->smtp);
    bool       ok = io_fd_write_all(s->fd, out, NULL);

    smtp_server_sent(s->smtp, out.len);
    return ok;
}

static bool deliver_all(struct session *s)
{
    bool ok = true;

    while (ok && smtp_server_is_asking(s->smtp)) {
        struct arena      arena;
        struct smtp_reply reply;

        arena_init(&arena, 4096, PIPE_MEMORY_MAX);
        reply = deliver(s, &arena);
        smtp_server_answer(s->smtp, &reply);
        arena_done(&arena);
        ok = send_output(s); /* the client waits for each */
    }
    content_drop(s);
    return ok;
}

static struct smtp_reply answer_rcpt(const struct session *s, const struct recipient *to)
{
    const struct pipe_message m = {.sender = &smtp_server_envelope(s->smtp)->sender, .to = to};

    return pipe_takes(s->rules, &m) ? SMTP_REPLY(250, 2, 1, 5, "Recipient OK")
                                    : SMTP_REPLY(553, 5, 1, 3, "The program would take this address for an option");
}

/* False: the conversation is over. */
static bool happen(struct session *s, const struct smtp_event *event)
{
    switch (event->kind) {
    case SMTP_EVENT_MAIL:
        smtp_server_answer(s->smtp, &SMTP_REPLY(250, 2, 1, 0, "Sender OK"));
        break;
    case SMTP_EVENT_RCPT: {
        struct smtp_reply reply = answer_rcpt(s, &event->recipient);

        smtp_server_answer(s->smtp, &reply);
        break;
    }
    case SMTP_EVENT_DATA:
        content_begin(s);
        smtp_server_answer(s->smtp, s->content ? &SMTP_REPLY(250, 2, 0, 0, "OK") : &NO_ROOM);
        break;
    case SMTP_EVENT_CONTENT:
        content_add(s, event->content);
        break;
    case SMTP_EVENT_MESSAGE:
        s->most_ms = io_clock_ms() + PIPE_MESSAGE_MS;
        return deliver_all(s);
    case SMTP_EVENT_RESET:
        content_drop(s);
        break;
    case SMTP_EVENT_CLOSE:
        return false;
    case SMTP_EVENT_VRFY:
    case SMTP_EVENT_EXPN:
    case SMTP_EVENT_XCLIENT: /* not offered */
    case SMTP_EVENT_HELO:
    case SMTP_EVENT_NONE:
        break;
    }
    return true;
}

/* ---- the conversation ---- */

/* All of `in`; the server takes what it is given, for every question is answered at once. */
static bool talk(struct session *s, struct str in)
{
    struct smtp_event event;
    size_t            n;

    do {
        event = (struct smtp_event){0};
        n = smtp_server_feed(s->smtp, in, &event);
        in = str_skip(in, n);
        if (!happen(s, &event))
            return false;
        if (n == 0 && event.kind == SMTP_EVENT_NONE && !send_output(s))
            return false;
    } while (n || in.len || event.kind != SMTP_EVENT_NONE);
    return send_output(s);
}

static bool is_between(const struct session *s) { return smtp_server_state(s->smtp) <= SMTP_SERVER_READY; }

/* Octets of the client; 0: there are none any more, or the server is told why. */
static size_t listen_to(struct session *s)
{
    struct pollfd   p = {.fd = s->fd, .events = POLLIN};
    struct timespec most = {PIPE_COMMAND_MS / 1000, 0};
    sigset_t        none;
    ssize_t         n = -1;
    int             ready = 0;

    sigemptyset(&none);
    while (!(pipe_is_stopping() && is_between(s)) && (ready = ppoll(&p, 1, &most, &none)) < 0 && errno == EINTR)
        ;
    if (pipe_is_stopping() && is_between(s))
        smtp_server_close(s->smtp, &SMTP_REPLY(421, 4, 3, 2, "This service stops"));
    else if (ready == 0)
        smtp_server_close(s->smtp, &SMTP_REPLY(421, 4, 4, 2, "Timeout, closing the connection"));
    else if (ready > 0)
        n = read(s->fd, s->in, sizeof s->in);
    return n > 0 ? (size_t)n : 0;
}

void pipe_session(const struct pipe_rules *rules, int fd)
{
    const struct smtp_server_config config = {.hostname = STR("localhost"),
                                              .lmtp = true,
                                              .limits = {.message_size = rules->message_size,
                                                         .recipients = PIPE_RECIPIENTS_MAX,
                                                         .errors = 100,
                                                         .commands = UINT32_MAX,
                                                         .transactions = UINT32_MAX,
                                                         .idle_commands = 1000,
                                                         .hops = 100,
                                                         .transaction_memory = PIPE_MEMORY_MAX}};
    struct session                 *s = calloc(1, sizeof *s);
    size_t                          len;

    if (!s)
        return;
    *s = (struct session){.rules = rules, .fd = fd, .smtp = smtp_server_new(&config)};
    if (s->smtp) {
        smtp_server_start(s->smtp, NULL);
        if (send_output(s))
            while ((len = listen_to(s)) && talk(s, str_of(s->in, len)))
                ;
        send_output(s);
        smtp_server_free(s->smtp);
    }
    content_drop(s);
    close(fd);
    free(s);
}
