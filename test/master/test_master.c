/* Master with small roles of our own: this program is the one that master executes again.
 *
 * A front accepts, says "front LANE keeper back resolver" as far as its peers have greeted it, and closes; where the
 * hostname begins with "lossy" each ends the first channel to the keeper that it gets. A carrier says in the log who
 * has greeted it, and everybody when he ends. A keeper refuses a configuration whose hostname begins with "bad", a
 * resolver one that begins with "mute"; a carrier whose hostname begins with "slow" takes time to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "files.h"

#include "io/file.h"
#include "io/net.h"
#include "master/master.h"
#include "role/log.h"
#include "role/role.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the roles ---- */

enum { SLOW_MS = 700 };

static const struct role_context *self;
static bool                       greeted[ROLE_COUNT];
static struct io_ipc             *lossy; /* is to end when its peer has greeted */

static void on_greeting(void *arg, struct str data, int fd)
{
    (void)fd;
    (void)data;
    if (lossy && *(const enum role *)arg == ROLE_KEEPER) {
        io_ipc_free(lossy);
        lossy = NULL;
        return;
    }
    greeted[*(const enum role *)arg] = true;
    if (self->role == ROLE_CARRIER)
        log_notice(LOG_LEVEL_INFO, "greeted by %s", role_name(*(const enum role *)arg));
}

static void on_gone(void *arg) { greeted[*(const enum role *)arg] = false; }

static bool start(struct role_context *c, struct err *err)
{
    self = c;
    if (c->role == ROLE_KEEPER && str_starts(str_from(c->config->hostname), STR("bad")))
        return err_set(err, ERR_CONFIG, "the hostname is bad");
    if (c->role == ROLE_RESOLVER && str_starts(str_from(c->config->hostname), STR("mute")))
        return err_set(err, ERR_CONFIG, "the resolver is mute");
    return true;
}

static void peer(struct role_context *c, enum role peer, unsigned index, int fd)
{
    static const enum role roles[] = {ROLE_MASTER, ROLE_FRONT, ROLE_KEEPER, ROLE_BACK, ROLE_RESOLVER, ROLE_CARRIER};
    static const struct io_ipc_ops ops = {on_greeting, on_gone};
    static bool                    has_lost;
    struct io_ipc                 *ipc = io_ipc_new(c->loop, fd, &ops, (void *)(uintptr_t)&roles[peer], NULL);

    (void)index;
    if (ipc)
        io_ipc_send(ipc, STR("hello"), -1);
    if (c->role == ROLE_FRONT && peer == ROLE_KEEPER && !has_lost &&
        str_starts(str_from(c->config->hostname), STR("lossy"))) {
        has_lost = true;
        lossy = ipc;
    }
}

static unsigned lacks(const struct role_context *c)
{
    return c->role == ROLE_FRONT && !greeted[ROLE_KEEPER] ? 1u << ROLE_KEEPER : 0;
}

static void accepted(int fd, const struct io_address *from, void *arg)
{
    const struct role_context *c = arg;

    (void)from;
    dprintf(fd, "front %u%s%s%s%s", c->lane, greeted[ROLE_KEEPER] ? " keeper" : "", greeted[ROLE_BACK] ? " back" : "",
            greeted[ROLE_RESOLVER] ? " resolver" : "", greeted[ROLE_CARRIER] ? " carrier" : "");
    close(fd);
}

static struct io_acceptor *acceptors[64];
static size_t              acceptor_count;

static void listener(struct role_context *c, unsigned number, int fd)
{
    (void)number;
    acceptors[acceptor_count++] = io_acceptor_new(c->loop, fd, accepted, c, NULL);
}

static void end(void *arg)
{
    log_notice(LOG_LEVEL_INFO, "ends");
    role_drained(arg);
}

static void drain(struct role_context *c, uint64_t grace_ms)
{
    (void)grace_ms;
    for (size_t i = 0; i < acceptor_count; i++)
        io_acceptor_free(acceptors[i]);
    acceptor_count = 0;
    if (c->role == ROLE_CARRIER && str_starts(str_from(c->config->hostname), STR("slow")))
        io_timer_start(io_timer_new(c->loop, end, c), SLOW_MS, 0);
    else
        end(c);
}

static const struct role_ops ops = {start, listener, peer, lacks, drain};

/* ---- the server under test ---- */

static char   dir[64], conf_path[128];
static pid_t  server;
static int    output; /* standard error of the server and its processes */
static char   seen[256 * 1024];
static size_t seen_len, seen_from;
static int    port;

static void write_config(const char *hostname, const char *more, int listen_port)
{
    char       text[2048];
    struct err err;
    int        len = snprintf(text, sizeof text,
                              "hostname = \"%s\"\ndata = \"data\"\nfronts = 2\ngrace = \"1s\"\n%s\n"
                                     "listen mx { address = \"127.0.0.1:%d\" }\ndomain \"example.test\" { }\n",
                              hostname, more, listen_port);

    assert_true(io_file_write_atomic(conf_path, 0600, str_of(text, (size_t)len), &err));
}

static int run_master(void *unused)
{
    struct serve_options o = {.config_path = conf_path};

    (void)unused;
    return master_run(&o);
}

static void start_server(void)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    server = fork();
    if (server == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        exit(run_master(NULL));
    }
    close(fds[1]);
    output = fds[0];
    seen_len = seen_from = 0;
    seen[0] = '\0';
}

/* Waits until the server says `what`, after what was waited for before; NULL: until the end of its output. */
static const char *wait_for(const char *what)
{
    for (;;) {
        struct pollfd p = {.fd = output, .events = POLLIN};
        char         *at = what ? strstr(seen + seen_from, what) : NULL;
        ssize_t       n;

        if (at) {
            seen_from = (size_t)(at - seen) + 1;
            return at;
        }
        if (poll(&p, 1, 15000) != 1)
            fail_msg("not said: %s; but:\n%s", what ? what : "the end", seen);
        n = read(output, seen + seen_len, sizeof seen - 1 - seen_len);
        if (n <= 0 && !what)
            return seen;
        if (n <= 0)
            fail_msg("ended without: %s; said:\n%s", what, seen);
        seen_len += (size_t)n;
        seen[seen_len] = '\0';
    }
}

static void wait_ready(void)
{
    const char *at = wait_for("ready: listening on 127.0.0.1:");

    wait_for("\n");
    port = atoi(at + strlen("ready: listening on 127.0.0.1:"));
    assert_true(port > 0);
}

static int wait_exit(void)
{
    int status;

    assert_int_equal(waitpid(server, &status, 0), server);
    server = 0;
    wait_for(NULL);
    close(output);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int stop_server(void)
{
    kill(server, SIGTERM);
    return wait_exit();
}

/* What a front answers on the port, or "" */
static const char *ask(void)
{
    static char       answer[64];
    char              text[32];
    struct io_address a[2];
    size_t            count;
    ssize_t           n = 0;
    int               fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval    patience = {5, 0};

    snprintf(text, sizeof text, "127.0.0.1:%d", port);
    assert_true(io_address_parse(str_from(text), a, 2, &count, NULL));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (const void *)&a[0].storage, a[0].len) == 0)
        n = read(fd, answer, sizeof answer - 1);
    answer[n > 0 ? n : 0] = '\0';
    close(fd);
    return answer;
}

/* Children of the server that run as `role`. */
static size_t find(const char *role, pid_t pids[16])
{
    DIR           *d = opendir("/proc");
    struct dirent *e;
    size_t         count = 0;

    while ((e = readdir(d)) && count < 16) {
        char  path[300], text[512] = "", want[64];
        pid_t parent = 0;
        FILE *f;
        int   fd;

        if (atoi(e->d_name) <= 0)
            continue;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        f = fopen(path, "r");
        if (f && fscanf(f, "%*d (%*[^)]) %*c %d", &parent) != 1)
            parent = 0;
        if (f)
            fclose(f);
        if (parent != server)
            continue;
        snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        fd = open(path, O_RDONLY);
        if (fd >= 0) {
            ssize_t n = read(fd, text, sizeof text - 1);

            close(fd);
            for (ssize_t i = 0; i < n; i++)
                text[i] = text[i] ? text[i] : ' ';
        }
        snprintf(want, sizeof want, "--role %s ", role);
        if (strstr(text, want))
            pids[count++] = atoi(e->d_name);
    }
    closedir(d);
    return count;
}

static void wait_answer(const char *want)
{
    for (int i = 0; i < 500; i++) {
        if (strstr(ask(), want))
            return;
        usleep(10000);
    }
    fail_msg("no front says \"%s\", but \"%s\"", want, ask());
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tacit-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(conf_path, sizeof conf_path, "%s/tacit.conf", dir);
    server = 0;
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    return files_remove(dir) ? 0 : -1;
}

/* Where in the output the last of the role's processes ended. */
static size_t last(const char *role)
{
    char        want[64];
    const char *found = NULL;

    for (unsigned i = 0; i < 2; i++) {
        const char *at = seen;

        snprintf(want, sizeof want, "role=%s-%u text=ends", role, i);
        while ((at = strstr(at, want)))
            found = at++ > found ? at - 1 : found;
    }
    assert_non_null(found);
    return (size_t)(found - seen);
}

static void it_starts_says_where_and_stops(void **state)
{
    char        path[128];
    struct stat st;
    pid_t       pids[16];

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    wait_answer(" keeper back resolver");
    assert_int_equal(find("front", pids), 2);
    assert_int_equal(find("keeper", pids), 1);
    assert_int_equal(find("resolver", pids), 1);
    assert_int_equal(find("carrier", pids), 1);
    assert_null(strstr(ask(), "carrier"));
    snprintf(path, sizeof path, "%s/data/run/control.sock", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stop_server(), 0);
    assert_int_equal(stat(path, &st), -1);
    assert_non_null(strstr(seen, "stopped"));
    assert_null(strstr(seen, "killed"));
    assert_true(last("front") < last("back") && last("carrier") < last("back"));
    assert_true(last("back") < last("keeper") && last("back") < last("resolver"));
}

static bool are_replaced(const char *role, const pid_t *old, size_t count)
{
    pid_t now[16];

    if (find(role, now) != count)
        return false;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            if (now[i] == old[k])
                return false;
    return true;
}

static void a_killed_process_is_replaced_and_wired_anew(void **state)
{
    static const char *const roles[] = {"front", "keeper", "back", "resolver", "carrier"};
    pid_t                    pids[16];

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        size_t count = find(roles[i], pids);

        for (size_t k = 0; k < count; k++)
            kill(pids[k], SIGKILL);
        wait_for("was killed by signal 9");
        for (int k = 0; k < 500 && !are_replaced(roles[i], pids, count); k++)
            usleep(10000);
        assert_true(are_replaced(roles[i], pids, count));
        wait_answer(" keeper back resolver");
        if (i >= 2) /* one of those that a carrier talks to, or itself */
            wait_for(i == 3 ? "role=carrier-0 text=\"greeted by resolver\""
                            : "role=carrier-0 text=\"greeted by back\"");
    }
    assert_int_equal(stop_server(), 0);
}

static void who_lacks_a_peer_that_runs_gets_a_channel(void **state)
{
    pid_t before[16], after[16];

    (void)state;
    write_config("lossy.example.test", "", 0);
    start_server();
    wait_ready();
    assert_int_equal(find("keeper", before), 1);
    wait_for("front-0 has lost its channel to the keeper and gets a new one");
    wait_answer(" keeper back resolver");
    assert_int_equal(find("keeper", after), 1);
    assert_int_equal(before[0], after[0]);
    assert_int_equal(stop_server(), 0);
}

static void a_crash_loop_slows_down(void **state)
{
    pid_t pids[16];

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    for (int i = 0; i < 6; i++) {
        while (find("back", pids) == 0)
            usleep(1000);
        kill(pids[0], SIGKILL);
        wait_for("back-0 was killed");
    }
    wait_for("back-0 ends over and over: starts again in 1 s");
    usleep(200000);
    assert_int_equal(find("back", pids), 0);
    for (int i = 0; i < 10000 && find("back", pids) == 0; i++)
        usleep(1000);
    assert_int_equal(find("back", pids), 1);
    assert_int_equal(stop_server(), 0);
}

static void a_start_that_cannot_succeed_leaves_nothing(void **state)
{
    pid_t       pids[16];
    struct stat st;
    char        path[128];

    (void)state;
    write_config("bad.example.test", "", 0);
    start_server();
    assert_int_equal(wait_exit(), 1);
    assert_string_equal(seen + (strstr(seen, "tacit: ") ? strstr(seen, "tacit: ") - seen : 0),
                        "tacit: the hostname is bad\n");
    server = getpid();
    for (enum role role = ROLE_FIRST; role <= ROLE_LAST; role++)
        assert_int_equal(find(role_name(role), pids), 0);
    server = 0;
    snprintf(path, sizeof path, "%s/data/run/submit.sock", dir);
    assert_int_equal(stat(path, &st), -1);
}

static void a_second_server_and_a_port_in_use_are_refused(void **state)
{
    struct io_address a[2], bound;
    size_t            count;
    pid_t             first;
    int               first_output, fd;
    char              want[64], run[128];

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    first = server;
    first_output = output;
    start_server();
    assert_int_equal(wait_exit(), 1);
    snprintf(want, sizeof want, "already runs there; stop it first (kill %d)", first);
    assert_non_null(strstr(seen, want));
    snprintf(run, sizeof run, "rm -rf '%s/data/run'", dir);
    assert_int_equal(system(run), 0);
    start_server();
    assert_int_equal(wait_exit(), 1);
    assert_non_null(strstr(seen, "already runs there; stop it first (kill PID)"));
    server = first;
    output = first_output;
    seen_len = seen_from = 0;
    seen[0] = '\0';
    assert_int_equal(stop_server(), 0);

    assert_true(io_address_parse(STR("127.0.0.1:0"), a, 2, &count, NULL));
    fd = io_listen(&a[0], true, 0, &bound, NULL); /* also when the other shares its port */
    write_config("mx.example.test", "", io_address_port(&bound));
    start_server();
    assert_int_equal(wait_exit(), 1);
    assert_non_null(strstr(seen, "in use by another program"));
    assert_non_null(strstr(seen, "tacit.conf:"));
    close(fd);
}

static void a_reload_that_is_valid_replaces_all(void **state)
{
    pid_t before[16], after[16];
    int   fixed;

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    fixed = port;
    assert_int_equal(find("keeper", before), 1);
    write_config("mx.example.test", "log_level = \"debug\"\nlisten more { address = \"127.0.0.1:0\" }", 0);
    for (int i = 0; i < 100; i++) { /* connections go on all the time */
        if (i == 10)
            kill(server, SIGHUP);
        if (strncmp(ask(), "front", 5) != 0)
            fail_msg("connection %d was not served", i);
        usleep(5000);
    }
    wait_for("reloaded: listening on 127.0.0.1:");
    port = fixed;
    wait_answer(" keeper back resolver");
    for (int i = 0; i < 500 && find("front", after) > 2; i++)
        usleep(10000);
    assert_int_equal(find("front", after), 2);
    assert_int_equal(find("keeper", after), 1);
    assert_int_not_equal(before[0], after[0]);
    wait_answer("front 3"); /* a lane that the old ones did not write */
    assert_int_equal(stop_server(), 0);
}

static void a_reload_makes_removed_sockets_anew(void **state)
{
    static const char *const names[] = {"control.sock", "submit.sock"};
    char                     path[2][300];
    struct stat              st;

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    for (size_t i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/data/run/%s", dir, names[i]);
        assert_int_equal(unlink(path[i]), 0);
    }
    kill(server, SIGHUP);
    wait_for("reloaded: listening on 127.0.0.1:");
    for (size_t i = 0; i < 2; i++) {
        int                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        strcpy(address.sun_path, path[i]);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        close(fd);
        assert_int_equal(stat(path[i], &st), 0);
        assert_int_equal(st.st_mode & 07777, i ? 0666 : 0600);
    }
    assert_int_equal(stop_server(), 0);
    assert_int_equal(stat(path[0], &st), -1);
}

static void a_reload_that_is_not_valid_changes_nothing(void **state)
{
    pid_t before[16], after[16];

    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    find("keeper", before);
    write_config("mx.example.test", "nonsense = 1", 0);
    kill(server, SIGHUP);
    wait_for("reload refused, the old configuration stays: ");
    write_config("bad.example.test", "", 0); /* only the keeper finds out */
    kill(server, SIGHUP);
    wait_for("reload refused, the old configuration stays: the hostname is bad");
    write_config("mute.example.test", "", 0); /* and only the resolver */
    kill(server, SIGHUP);
    wait_for("reload refused, the old configuration stays: the resolver is mute");
    wait_answer(" keeper back resolver");
    assert_null(strstr(seen, " ended ")); /* the refusal says all: no ends of what was on trial beside it */
    assert_null(strstr(seen, " was killed "));
    find("keeper", after);
    assert_int_equal(before[0], after[0]);
    assert_int_equal(find("front", after), 2);
    assert_int_equal(find("resolver", after), 1);
    assert_int_equal(stop_server(), 0);
}

static void a_reload_that_overtakes_another_holds(void **state)
{
    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    for (int i = 0; i < 5; i++) {
        kill(server, SIGHUP);
        usleep(5000);
    }
    wait_for("another one was asked for");
    wait_for("reloaded: listening on 127.0.0.1:");
    assert_null(strstr(seen, "ended before it was ready"));
    assert_int_equal(stop_server(), 0);
}

/* What it has begun it ends while another one works already; and what it says then, the new back must hear. */
static void an_old_carrier_has_its_time(void **state)
{
    pid_t pids[16];

    (void)state;
    write_config("slow.example.test", "", 0);
    start_server();
    wait_ready();
    kill(server, SIGHUP);
    wait_for("role=carrier-0 text=\"greeted by resolver\""); /* of the new ones, while it ends */
    wait_for("role=carrier-0 text=\"greeted by back\"");
    wait_for("reloaded"); /* which does not wait for it */
    wait_for("role=carrier-0 text=ends");
    for (int i = 0; i < 8; i++) { /* more than there are numbers for */
        kill(server, SIGHUP);
        wait_for("reloaded");
        assert_true(find("carrier", pids) <= CARRIERS_MAX);
    }
    for (int i = 0; i < 500 && find("carrier", pids) > 1; i++)
        usleep(10000);
    assert_int_equal(find("carrier", pids), 1);
    assert_int_equal(stop_server(), 0);
}

static void without_master_the_others_end(void **state)
{
    (void)state;
    write_config("mx.example.test", "", 0);
    start_server();
    wait_ready();
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
    wait_for(NULL); /* the last writer of the pipe has gone */
    assert_int_equal(strcmp(ask(), ""), 0);
    start_server(); /* and the next start finds nothing in its way */
    wait_ready();
    wait_answer(" keeper back resolver");
    assert_int_equal(stop_server(), 0);
}

static void the_log_is_rotated(void **state)
{
    char        path[128], other[128], *filler = calloc(1, 300000);
    struct stat st;
    struct buf  text;
    pid_t       pids[16];
    int         fd;

    (void)state;
    buf_init(&text, 1 << 20);
    write_config("mx.example.test", "log_keep = \"1M\"", 0);
    start_server();
    wait_ready();
    snprintf(path, sizeof path, "%s/data/log/tacit.log", dir);
    fd = open(path, O_WRONLY | O_APPEND);
    memset(filler, '\n', 300000);
    assert_int_equal(write(fd, filler, 300000), 300000);
    close(fd);
    free(filler);
    snprintf(path, sizeof path, "%s/data/log/tacit.log.1", dir);
    for (int i = 0; i < 500 && stat(path, &st) != 0; i++)
        usleep(10000);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size >= 300000);
    find("back", pids);
    kill(pids[0], SIGKILL);
    wait_for("back-0 was killed");
    snprintf(path, sizeof path, "%s/data/log/tacit.log", dir);
    for (int i = 0; i < 100 && text.len == 0; i++) {
        usleep(10000);
        assert_true(io_file_read_all(path, &text, NULL));
    }
    assert_non_null(strstr(text.data, "back-0 was killed by signal 9"));
    buf_done(&text);
    snprintf(other, sizeof other, "%s/data/elsewhere", dir); /* another program takes it away, with its directory */
    snprintf(path, sizeof path, "%s/data/log", dir);
    assert_int_equal(rename(path, other), 0);
    snprintf(path, sizeof path, "%s/data/log/tacit.log", dir);
    for (int i = 0; i < 500 && stat(path, &st) != 0; i++)
        usleep(10000);
    assert_int_equal(stat(path, &st), 0);
    find("keeper", pids);
    kill(pids[0], SIGKILL);
    wait_for("keeper-0 was killed");
    for (int i = 0; i < 500 && (stat(path, &st) != 0 || st.st_size == 0); i++)
        usleep(10000);
    assert_true(st.st_size > 0);
    assert_int_equal(stop_server(), 0);
}

/* Any users will do, where we may change to them. */
static void as_root_each_role_has_its_user(void **state)
{
    static const struct {
        const char *role, *user;
    } roles[] = {{"front", "daemon"}, {"keeper", "bin"}, {"back", "mail"}, {"resolver", "games"}, {"carrier", "news"}};
    char        path[300];
    struct stat st;
    pid_t       pids[16];

    (void)state;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (geteuid() != 0 || !getpwnam(roles[i].user))
            skip();
    assert_int_equal(chmod(dir, 0711), 0);
    write_config(
        "mx.example.test",
        "users { front = \"daemon\" keeper = \"bin\" back = \"mail\" resolver = \"games\" carrier = \"news\" }", 0);
    start_server();
    wait_ready();
    wait_answer(" keeper back resolver");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        unsigned    real, effective, saved, privileges = 0;
        struct buf  status;
        const char *at;

        buf_init(&status, 1 << 16);
        assert_true(find(roles[i].role, pids) >= 1);
        snprintf(path, sizeof path, "/proc/%d/status", pids[0]);
        assert_true(io_file_read_all(path, &status, NULL));
        at = strstr(status.data, "\nUid:");
        assert_int_equal(sscanf(at, "\nUid: %u %u %u", &real, &effective, &saved), 3);
        assert_int_equal(real, getpwnam(roles[i].user)->pw_uid);
        assert_int_equal(effective, real);
        assert_int_equal(saved, real);
        at = strstr(status.data, "\nNoNewPrivs:");
        assert_int_equal(sscanf(at, "\nNoNewPrivs: %u", &privileges), 1);
        assert_int_equal(privileges, 1);
        buf_done(&status);
    }
    snprintf(path, sizeof path, "%s/data/spool/lane-01", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, getpwnam("daemon")->pw_uid);
    assert_int_equal(st.st_gid, getpwnam("mail")->pw_gid);
    assert_int_equal(st.st_mode & 07777, 02770);
    snprintf(path, sizeof path, "%s/data/mail", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, getpwnam("mail")->pw_uid);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stop_server(), 0);
}

static int be_role(char **argv)
{
    for (enum role role = ROLE_FIRST; role <= ROLE_LAST; role++)
        if (strcmp(argv[3], role_name(role)) == 0)
            return role_run(&ops, role, (unsigned)atoi(argv[5]), (unsigned)atoi(argv[7]));
    return 2;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_starts_says_where_and_stops, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_killed_process_is_replaced_and_wired_anew, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(who_lacks_a_peer_that_runs_gets_a_channel, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_crash_loop_slows_down, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_start_that_cannot_succeed_leaves_nothing, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_second_server_and_a_port_in_use_are_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_reload_that_is_valid_replaces_all, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_reload_makes_removed_sockets_anew, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_reload_that_is_not_valid_changes_nothing, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_reload_that_overtakes_another_holds, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(an_old_carrier_has_its_time, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(without_master_the_others_end, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_log_is_rotated, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(as_root_each_role_has_its_user, make_dir, remove_dir),
    };

    if (argc == 8 && strcmp(argv[1], "serve") == 0)
        return be_role(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
