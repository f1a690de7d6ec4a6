/* pipe_program.c: one run: the message goes to the program's standard input, what it says is heard, and its exit status
 * becomes a reply.
 *
 *   exit status (sysexits.h)           reply       the server
 *   0                                  250 2.0.0   is through with it
 *   65 EX_DATAERR                      554 5.6.0   reports to the sender
 *   67 EX_NOUSER                       550 5.1.1   reports
 *   68 EX_NOHOST                       550 5.1.2   reports
 *   69 EX_UNAVAILABLE, 100 (qmail)     554 5.3.0   reports
 *   77 EX_NOPERM                       550 5.7.1   reports
 *   any other, a signal, too long,     451 4.3.0   tries again: a mistake in a program or in how it is called must not
 *   the program cannot be started                  cost mail (4.3.5 where it cannot be started)
 *
 * The program gets a session of its own, so that it can be ended with all that it has started. */
#include "cli/pipe.h"

#include "base/buf.h"
#include "io/file.h"
#include "io/loop.h"
#include "mail/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { PIECE = 1 << 20, TEXT_MAX = 4096, POLL_MS = 100, HEAR_PIECE = 64 << 10, EX_FAILED_OF_QMAIL = 100 };

/* ---- words ---- */

static const struct {
    struct str  name;
    const char *variable;
} values[] = {
    {STR("recipient"), "RECIPIENT"}, {STR("local"), "LOCAL"}, {STR("domain"), "DOMAIN"}, {STR("sender"), "SENDER"}};
enum { VALUES = sizeof values / sizeof *values };

struct value_set {
    struct str of[VALUES]; /* in the order of `values`, ending with NUL */
};

static bool values_of(const struct pipe_message *m, struct arena *arena, struct value_set *ret_values)
{
    struct value_set v = {{mail_address_text(&m->to->address, arena), arena_str(arena, m->to->address.local),
                           arena_str(arena, m->to->address.domain), mail_address_text(m->sender, arena)}};

    *ret_values = v;
    return v.of[0].data && v.of[1].data && v.of[2].data && v.of[3].data;
}

static size_t value_named(struct str name)
{
    for (size_t i = 0; i < VALUES; i++)
        if (str_eq(name, values[i].name))
            return i;
    return VALUES;
}

/* Cuts `s` at the next "{name}": what stands before it; *ret_value VALUES: there is none. Other braces are text. */
static struct str next_value(struct str *s, size_t *ret_value)
{
    for (size_t at = 0; at < s->len; at++) {
        size_t end = s->data[at] == '{' ? str_find_byte(str_skip(*s, at), '}') : STR_NOT_FOUND;
        size_t value = end != STR_NOT_FOUND ? value_named(str_part(*s, at + 1, end - 1)) : VALUES;

        if (value < VALUES) {
            struct str before = str_part(*s, 0, at);

            *s = str_skip(*s, at + end + 1);
            *ret_value = value;
            return before;
        }
    }
    *ret_value = VALUES;
    return str_part(*s, 0, s->len);
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 'a' || s.data[i] > 'z')
            return false;
    return s.len > 0;
}

bool pipe_words_check(char *const *words, struct str *ret_name)
{
    for (; *words; words++) {
        struct str rest = str_from(*words);

        while (str_cut(&rest, '{'), rest.data) {
            size_t end = str_find_byte(rest, '}');

            *ret_name = end == STR_NOT_FOUND ? STR_NONE : str_part(rest, 0, end);
            if (is_name(*ret_name) && value_named(*ret_name) == VALUES)
                return false;
        }
    }
    return true;
}

/* A word with the values in their places. data is NULL: no memory. */
static struct str fill_in(struct str word, const struct value_set *v, struct arena *arena)
{
    struct str out = STR("");
    size_t     value;

    do {
        struct str before = next_value(&word, &value);
        struct str of = value < VALUES ? v->of[value] : STR_NONE;

        out = arena_printf(arena, "%.*s%.*s%.*s", STR_ARG(out), STR_ARG(before), STR_ARG(of));
    } while (out.data && value < VALUES);
    return out;
}

bool pipe_takes(const struct pipe_rules *rules, const struct pipe_message *m)
{
    struct arena     arena;
    struct value_set v;
    bool             ok = true;

    arena_init(&arena, 4096, PIPE_MEMORY_MAX);
    if (values_of(m, &arena, &v)) /* else the run fails, for now */
        for (char *const *word = rules->words + 1; ok && *word; word++)
            ok = !str_starts(fill_in(str_from(*word), &v, &arena), STR("-")) || **word == '-';
    arena_done(&arena);
    return ok;
}

static char **argv_of(const struct pipe_rules *rules, const struct value_set *v, struct arena *arena)
{
    size_t count = 0;
    char **argv;

    while (rules->words[count])
        count++;
    argv = arena_alloc(arena, (count + 1) * sizeof *argv);
    for (size_t i = 0; argv && i < count; i++) {
        struct str word =
            i ? fill_in(str_from(rules->words[i]), v, arena) : arena_str(arena, str_from(rules->words[i]));

        argv[i] = (char *)(uintptr_t)word.data; /* memory of ours */
        if (!argv[i])
            return NULL;
    }
    return argv;
}

/* ---- the program's process ---- */

struct run {
    const struct pipe_rules *rules;
    pid_t                    pid;
    int                      pidfd, out; /* out: -1 when it has closed it */
    bool                     timed_out;
    size_t                   said_len;
    char                     said[PIPE_SAID_MAX];
};

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static _Noreturn void become(char *const *argv, int in, int out, int failed)
{
    sigset_t none;

    setsid();
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0)
        execv(argv[0], argv);
    _exit(write(failed, &errno, sizeof errno) > 0 ? EX_UNAVAILABLE : EX_OSERR);
}

static bool set_environment(const struct pipe_message *m, const struct value_set *v, struct arena *arena)
{
    struct str original = arena_str(arena, m->to->orcpt);
    bool       ok = original.data && setenv("ORIGINAL_RECIPIENT", original.data, 1) == 0;

    for (size_t i = 0; i < VALUES && ok; i++)
        ok = setenv(values[i].variable, v->of[i].data, 1) == 0;
    return ok;
}

static void pair_close(int fds[2])
{
    close_end(&fds[0]);
    close_end(&fds[1]);
}

/* 0, or errno. The kernel closes `failed` when the program begins; until then it says why it does not. */
static int start(struct run *r, char *const *argv, int in)
{
    int out[2] = {-1, -1}, failed[2] = {-1, -1}, why = 0;

    r->pid = -1;
    if (pipe2(out, O_CLOEXEC) == 0 && pipe2(failed, O_CLOEXEC) == 0)
        r->pid = fork();
    if (r->pid == 0)
        become(argv, in, out[1], failed[1]);
    if (r->pid < 0)
        why = errno;
    close_end(&failed[1]);
    if (r->pid > 0 && read(failed[0], &why, sizeof why) == (ssize_t)sizeof why)
        waitpid(r->pid, NULL, 0);
    if (why == 0) {
        r->out = out[0];
        out[0] = -1;
        fcntl(r->out, F_SETFL, O_NONBLOCK);
        r->pidfd = pidfd_open(r->pid, 0);
    }
    pair_close(out);
    pair_close(failed);
    return why;
}

/* ---- what it says, and its end ---- */

/* What is more than there is room for is thrown away. */
static void hear(struct run *r)
{
    char    more[HEAR_PIECE];
    ssize_t n = read(r->out, more, sizeof more);

    if (n > 0) {
        size_t room = sizeof r->said - r->said_len, len = (size_t)n < room ? (size_t)n : room;

        memcpy(r->said + r->said_len, more, len);
        r->said_len += len;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close_end(&r->out);
    }
}

/* It is not waited for yet: until then its number, which is also its session's, is nobody else's. */
static bool has_ended(const struct run *r)
{
    siginfo_t of = {0};

    return waitid(P_PID, (id_t)r->pid, &of, WEXITED | WNOHANG | WNOWAIT) == 0 && of.si_pid == r->pid;
}

/* Until it has ended; what it leaves behind in the background is not waited for. */
static int attend(struct run *r)
{
    uint64_t until_ms = io_clock_ms() + r->rules->timeout_ms;
    int      status = 0;

    while (!has_ended(r)) {
        uint64_t      now_ms = io_clock_ms();
        struct pollfd fds[] = {{r->pidfd, POLLIN, 0}, {r->out, POLLIN, 0}};
        int           wait_ms = now_ms < until_ms ? (int)(until_ms - now_ms) : 0;

        if (poll(fds, 2, r->pidfd < 0 && wait_ms > POLL_MS ? POLL_MS : wait_ms) > 0 && fds[1].revents)
            hear(r);
        if (io_clock_ms() >= until_ms && !has_ended(r)) {
            kill(-r->pid, r->timed_out ? SIGKILL : SIGTERM);
            r->timed_out = true;
            until_ms = io_clock_ms() + PIPE_KILL_AFTER_MS;
        }
    }
    if (r->timed_out)
        kill(-r->pid, SIGKILL); /* its children */
    waitpid(r->pid, &status, 0);
    if (r->out >= 0)
        hear(r);
    return status;
}

/* ---- the reply ---- */

static const struct ending {
    int                status;
    uint16_t           code;
    struct smtp_status enhanced;
    const char        *words;
} endings[] = {
    {EX_DATAERR, 554, {5, 6, 0}, "it cannot do anything with this message"},
    {EX_NOUSER, 550, {5, 1, 1}, "it knows no such user"},
    {EX_NOHOST, 550, {5, 1, 2}, "it knows no such host"},
    {EX_UNAVAILABLE, 554, {5, 3, 0}, "it does not take this message"},
    {EX_FAILED_OF_QMAIL, 554, {5, 3, 0}, "it does not take this message"},
    {EX_NOPERM, 550, {5, 7, 1}, "this message is not permitted"},
};

static struct smtp_reply reply_of(uint16_t code, struct smtp_status status, struct str name, struct str words,
                                  struct arena *arena)
{
    struct str text = arena_printf(arena, "%.*s: %.*s", STR_ARG(name), STR_ARG(words));

    return (struct smtp_reply){.code = code, .status = status, .text = text.data ? text : STR("out of memory")};
}

static struct str said(const struct run *r, struct arena *arena)
{
    struct str text, safe = STR("");
    struct buf b;

    buf_init(&b, TEXT_MAX);
    mail_safe_text(str_of(r->said, r->said_len), false, PIPE_SAID_MAX, &b);
    text = str_trim(buf_str(&b));
    if (text.len)
        safe = arena_printf(arena, "; it says: %.*s", STR_ARG(text));
    buf_done(&b);
    return safe.data ? safe : STR("");
}

static struct smtp_reply exited(const struct run *r, int status, struct str name, struct arena *arena)
{
    const struct str says = said(r, arena);

    if (status == 0)
        return reply_of(250, SMTP_STATUS(2, 0, 0), name, STR("took the message"), arena);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (endings[i].status == status)
            return reply_of(endings[i].code, endings[i].enhanced, name,
                            arena_printf(arena, "%s%.*s", endings[i].words, STR_ARG(says)), arena);
    return reply_of(451, SMTP_STATUS(4, 3, 0), name,
                    arena_printf(arena, "ended with status %d%.*s", status, STR_ARG(says)), arena);
}

static struct smtp_reply ended(const struct run *r, int status, struct str name, struct arena *arena)
{
    const struct str says = said(r, arena);

    if (r->timed_out)
        return reply_of(451, SMTP_STATUS(4, 3, 0), name,
                        arena_printf(arena, "took more than %llu s and was killed%.*s",
                                     (unsigned long long)(r->rules->timeout_ms / 1000), STR_ARG(says)),
                        arena);
    if (WIFSIGNALED(status))
        return reply_of(451, SMTP_STATUS(4, 3, 0), name,
                        arena_printf(arena, "was killed by signal %d%.*s", WTERMSIG(status), STR_ARG(says)), arena);
    return exited(r, WEXITSTATUS(status), name, arena);
}

/* ---- the message ---- */

/* The trace fields of a final delivery (RFC 5321 4.4), with the line ends of the content. */
static bool put_head(const struct pipe_message *m, int to)
{
    struct buf b;
    size_t     len = 0;
    bool       ok;

    buf_init(&b, TEXT_MAX);
    ok = mail_trace_return_path(m->sender, &b) && mail_trace_delivered_to(&m->to->address, &b);
    for (size_t i = 0; ok && i < b.len; i++)
        if (b.data[i] != '\r')
            b.data[len++] = b.data[i];
    ok = ok && io_fd_write_all(to, str_of(b.data, len), NULL);
    buf_done(&b);
    return ok;
}

FILE *pipe_file(void)
{
    FILE *file = tmpfile();

    if (file)
        fcntl(fileno(file), F_SETFD, FD_CLOEXEC);
    return file;
}

/* The whole message in a file of this run's own, which nobody else reads on in. NULL: there is no room for it. A pipe
 * was rejected: if we were killed, the program would take what it had got for the whole. */
static FILE *message_file(const struct pipe_message *m)
{
    FILE   *file = pipe_file();
    off_t   at = 0;
    ssize_t n = 1;

    if (!file)
        return NULL;
    if (put_head(m, fileno(file)))
        while ((n = sendfile(fileno(file), m->content, &at, PIECE)) > 0)
            ;
    if (n == 0 && lseek(fileno(file), 0, SEEK_SET) == 0)
        return file;
    fclose(file);
    return NULL;
}

struct smtp_reply pipe_run(const struct pipe_rules *rules, const struct pipe_message *m, struct arena *arena)
{
    struct str        path = str_from(rules->words[0]), name = str_skip(path, str_find_last_byte(path, '/') + 1);
    struct smtp_reply reply = {.code = 451, .status = SMTP_STATUS(4, 3, 0), .text = STR("out of memory")};
    struct run        r = {.rules = rules, .pidfd = -1, .out = -1};
    FILE             *message = message_file(m);
    struct value_set  v;
    char            **argv = NULL;
    int               why;

    if (!message)
        return SMTP_REPLY(452, 4, 3, 1, "There is no room for the message");
    if (values_of(m, arena, &v) && set_environment(m, &v, arena))
        argv = argv_of(rules, &v, arena);
    if (argv) {
        why = start(&r, argv, fileno(message));
        reply = why ? reply_of(451, SMTP_STATUS(4, 3, 5), name,
                               arena_printf(arena, "it cannot be started: %s", strerror(why)), arena)
                    : ended(&r, attend(&r), name, arena);
    }
    close_end(&r.out);
    close_end(&r.pidfd);
    fclose(message);
    return reply;
}
