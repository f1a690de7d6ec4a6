/* pipe.c: tacit pipe: the socket, who may connect, and a process for each connection (cli/pipe.h). */
#include "cli/pipe.h"

#include "cli/cli.h"
#include "config/config.h"
#include "io/loop.h"
#include "io/net.h"
#include "io/systemd.h"
#include "role/log.h"
#include "role/users.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE_MAX = 200, FROM_MAX = 16, ADDRESS_TEXT_MAX = 128, REFUSALS_MS = 60000 };

struct service {
    struct cli       *cli;
    struct pipe_rules rules;
    uint64_t          at_once;
    uid_t             from[FROM_MAX + 2];
    size_t            from_count;
    int               listen_fd;
    struct stat       socket;     /* as it was made */
    uint64_t          refused_ms; /* when a refusal was last told of; 0: never */
    pid_t             children[AT_ONCE_MAX];
    size_t            child_count;
    sigset_t          waiting; /* the signals that come while it waits: all of them */
};

static const int             signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
static volatile sig_atomic_t was_stopped;

static void on_signal(int signal)
{
    if (signal != SIGCHLD)
        was_stopped = 1;
}

bool pipe_is_stopping(void)
{
    sigset_t pending;

    sigpending(&pending);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigismember(&pending, signals[i]))
            on_signal(signals[i]);
    return was_stopped;
}

static void watch_signals(struct service *s)
{
    sigset_t blocked;

    sigemptyset(&s->waiting);
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaddset(&blocked, signals[i]);
        sigaction(signals[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, NULL);
}

/* ---- connections ---- */

static bool may_connect(const struct service *s, int fd, long *ret_uid)
{
    struct ucred who;
    socklen_t    len = sizeof who;

    *ret_uid = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    *ret_uid = (long)who.uid;
    for (size_t i = 0; i < s->from_count; i++)
        if (s->from[i] == who.uid)
            return true;
    return false;
}

/* Whoever connects again and again does not fill the log. */
static void refuse(struct service *s, int fd, long uid)
{
    static const char reply[] = "554 5.7.1 This service is not for you\r\n";
    const uint64_t    now_ms = io_clock_ms();

    if (!s->refused_ms || now_ms - s->refused_ms >= REFUSALS_MS) {
        s->refused_ms = now_ms;
        log_notice(LOG_LEVEL_WARNING,
                   "a connection of user %ld was refused: --from names who may connect; further ones within a minute "
                   "are not told of",
                   uid);
    }
    if (write(fd, reply, sizeof reply - 1) < 0)
        return; /* it has gone already */
}

static void take(struct service *s)
{
    int   fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    long  uid;
    pid_t pid;

    if (fd < 0)
        return;
    if (!may_connect(s, fd, &uid)) {
        refuse(s, fd, uid);
        close(fd);
        return;
    }
    log_flush();
    pid = fork();
    if (pid == 0) {
        io_service_forget();
        close(s->listen_fd);
        pipe_session(&s->rules, fd);
        _exit(CLI_OK);
    }
    if (pid > 0)
        s->children[s->child_count++] = pid;
    else
        log_notice(LOG_LEVEL_ERROR, "no process for a connection: %s", strerror(errno));
    close(fd);
}

static void reap(struct service *s)
{
    for (size_t i = 0; i < s->child_count;) {
        int status;

        if (waitpid(s->children[i], &status, WNOHANG) != s->children[i]) {
            i++;
            continue;
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != CLI_OK)
            log_notice(LOG_LEVEL_ERROR, "the process of a connection ended with status %d", status);
        s->children[i] = s->children[--s->child_count];
    }
}

/* Until a signal, or a connection if there may be another. */
static bool wait_for(const struct service *s, bool takes, uint64_t ms)
{
    struct pollfd   p = {.fd = takes ? s->listen_fd : -1, .events = POLLIN};
    struct timespec most = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    log_flush();
    return ppoll(&p, 1, ms ? &most : NULL, &s->waiting) > 0;
}

static void tell_children(const struct service *s, int signal)
{
    for (size_t i = 0; i < s->child_count; i++)
        kill(s->children[i], signal);
}

/* Not the socket of another that was started in our place. While ours is open nothing else has its number. */
static void remove_socket(const struct service *s)
{
    const char *path = s->cli->argv[0];
    struct stat st;

    if (lstat(path, &st) == 0 && st.st_dev == s->socket.st_dev && st.st_ino == s->socket.st_ino)
        unlink(path);
}

/* Those that run a program go on to its end. */
static void stop(struct service *s)
{
    uint64_t until_ms = io_clock_ms() + s->rules.timeout_ms + 2 * PIPE_KILL_AFTER_MS, now_ms;

    io_service_stopping();
    remove_socket(s);
    close(s->listen_fd);
    tell_children(s, SIGTERM);
    for (reap(s); s->child_count && (now_ms = io_clock_ms()) < until_ms; reap(s))
        wait_for(s, false, until_ms - now_ms);
    tell_children(s, SIGKILL);
}

static void serve(struct service *s)
{
    log_notice(LOG_LEVEL_INFO, "ready: %s takes mail on %s", s->rules.words[0], s->cli->argv[0]);
    io_service_ready("takes mail");
    while (!pipe_is_stopping()) {
        if (wait_for(s, s->child_count < s->at_once, 0))
            take(s);
        reap(s);
    }
    stop(s);
}

/* ---- what it was told ---- */

static int add_from(struct service *s, const char *name)
{
    const struct passwd *p = getpwnam(name);
    uint64_t             number;

    if (s->from_count >= FROM_MAX)
        return cli_usage(s->cli, "--from may be given %d times", FROM_MAX - 2);
    if (p)
        s->from[s->from_count++] = p->pw_uid;
    else if (str_to_u64(str_from(name), UINT32_MAX - 1, &number))
        s->from[s->from_count++] = (uid_t)number;
    else
        return cli_usage(s->cli, "there is no user \"%s\"", name);
    return CLI_OK;
}

/* Root and ourselves may do what the program does anyway. */
static int read_from(struct service *s)
{
    const struct passwd *carrier = getpwnam("tacit-carrier");
    int                  status = CLI_OK;

    s->from[s->from_count++] = 0;
    s->from[s->from_count++] = geteuid();
    if (!cli_has(s->cli, "from"))
        s->from[s->from_count++] = carrier ? carrier->pw_uid : (uid_t)(USERS_NUMBER_FIRST + ROLE_CARRIER - ROLE_FIRST);
    for (size_t i = 0; status == CLI_OK && i < cli_count(s->cli, "from"); i++)
        status = add_from(s, cli_value_at(s->cli, "from", i));
    return status;
}

static int read_program(struct service *s)
{
    struct cli *cli = s->cli;
    struct str  name;

    s->rules.words = cli->argv + 1;
    if (cli->argv[1][0] != '/')
        return cli_usage(cli, "\"%s\": name the program with its whole path", cli->argv[1]);
    if (access(cli->argv[1], X_OK) != 0)
        return cli_fail(cli, "%s cannot be run: %s", cli->argv[1], strerror(errno));
    if (!pipe_words_check(s->rules.words + 1, &name))
        return cli_usage(cli, "there is no {%.*s}; there are {recipient}, {local}, {domain} and {sender}",
                         STR_ARG(name));
    return CLI_OK;
}

static int read_options(struct service *s)
{
    struct cli *cli = s->cli;
    const char *timeout = cli_value(cli, "timeout"), *size = cli_value(cli, "size"), *most = cli_value(cli, "at-once");

    s->rules.timeout_ms = 300 * 1000;
    s->rules.message_size = 50 << 20;
    s->at_once = 10;
    if (timeout && (!config_time_parse(str_from(timeout), &s->rules.timeout_ms) || s->rules.timeout_ms < 1000 ||
                    s->rules.timeout_ms > 540 * 1000)) /* the server waits ten minutes for each reply */
        return cli_usage(cli, "\"%s\" is not a time between 1s and 9m", timeout);
    if (size && (!config_size_parse(str_from(size), &s->rules.message_size) || s->rules.message_size < 1 << 16 ||
                 s->rules.message_size > 1ull << 40))
        return cli_usage(cli, "\"%s\" is not a size between 64K and 1T", size);
    if (most && (!str_to_u64(str_from(most), AT_ONCE_MAX, &s->at_once) || s->at_once < 1))
        return cli_usage(cli, "\"%s\" is not a number between 1 and %d", most, AT_ONCE_MAX);
    return CLI_OK;
}

static int listen_on(struct service *s)
{
    char              text[ADDRESS_TEXT_MAX];
    struct io_address found[2];
    size_t            count;
    struct err        err;

    if (s->cli->argv[0][0] != '/')
        return cli_usage(s->cli, "\"%s\": name the socket with its whole path", s->cli->argv[0]);
    snprintf(text, sizeof text, "unix:%s", s->cli->argv[0]);
    if (strlen(s->cli->argv[0]) + 6 > sizeof text || !io_address_parse(str_from(text), found, 2, &count, &err))
        return cli_usage(s->cli, "\"%s\" is too long for the name of a socket", s->cli->argv[0]);
    s->listen_fd = io_listen(&found[0], false, 0666, NULL, &err); /* whom it takes is looked at then */
    if (s->listen_fd < 0)
        return cli_fail_err(s->cli, &err);
    if (lstat(s->cli->argv[0], &s->socket) != 0)
        return cli_fail(s->cli, "%s: %s", s->cli->argv[0], strerror(errno));
    return CLI_OK;
}

static int run_pipe(struct cli *cli)
{
    struct service s = {.cli = cli};
    int            status = read_program(&s);

    log_init(LOG_TEXT, LOG_LEVEL_INFO, "pipe", -1);
    if (status == CLI_OK)
        status = read_options(&s);
    if (status == CLI_OK)
        status = read_from(&s);
    if (status == CLI_OK)
        status = listen_on(&s);
    if (status == CLI_OK) {
        watch_signals(&s);
        serve(&s);
    }
    return status;
}

static const struct cli_option options[] = {
    {.name = "timeout", .value = "TIME", .help = "how long the program may take, up to 9m; default: 5m"},
    {.name = "at-once", .value = "N", .help = "connections, and so programs, at a time, up to 200; default: 10"},
    {.name = "size", .value = "SIZE", .help = "the largest message; default: 50M"},
    {.name = "from",
     .value = "USER",
     .many = true,
     .help = "whose processes may connect, beside root's and our own; default: tacit-carrier"},
    {0},
};

const struct cli_command pipe_command = {
    .name = "pipe",
    .arguments = "SOCKET -- PROGRAM [ARGUMENT]…",
    .min = 2,
    .max = CLI_UNLIMITED,
    .summary = "gives mail to a program",
    .description =
        "Runs in the foreground as whoever started it, and takes mail by LMTP on the Unix socket SOCKET. For each "
        "recipient of a message the program is run with the message at its standard input: lines end in LF, and "
        "Return-Path and Delivered-To stand in front. No shell is between. In arguments {recipient}, {local}, {domain} "
        "and {sender} are replaced; the same stand in the environment as RECIPIENT, LOCAL, DOMAIN and SENDER, and what "
        "the sender's side called the recipient as ORIGINAL_RECIPIENT. An address whose part would begin an argument "
        "with a hyphen is refused.\n\n"
        "The server delivers there as to any LMTP server, for a domain or a route:\n\n"
        "    domain \"tickets.example.org\" { deliver = \"lmtp:unix:/run/tacit-pipe/tickets.sock\" }\n\n"
        "What the program's exit status means (sysexits.h): 0 it has the message; 65, 67, 68, 69, 77 and 100 it never "
        "takes it, and the sender gets a report; anything else, also a signal or too long a time: it is tried again "
        "later. A message may come a second time where something ended between the program's work and the server's "
        "note of it.\n\n"
        "What stands behind -- is the program's, also what begins with a hyphen. SIGTERM: the programs that run may "
        "end, and no more are begun.",
    .examples = "tacit pipe /run/tacit-pipe/tickets.sock -- /usr/local/bin/new-ticket {local}\n"
                "tacit pipe --timeout 1m /run/tacit-pipe/list.sock -- /usr/bin/handle --to {recipient}",
    .options = options,
    .run = run_pipe,
};
