/* control_client.c: one request, one line; answers are lines until the one that says end or error. */
#include "cli/control_client.h"

#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_S = 180 /* between two lines */ };

const char *control_text(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));

    return text ? text : "";
}

uint64_t control_u64(const json_t *row, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(row, name));
    uint64_t   written = 0;

    if (value > 0)
        return (uint64_t)value;
    return str_to_u64(str_from(control_text(row, name)), UINT64_MAX, &written) ? written : 0;
}

void control_age_text(uint64_t ms, char ret_text[16])
{
    unsigned long long s = ms / 1000;

    if (s < 120)
        snprintf(ret_text, 16, "%llus", s);
    else if (s < 7200)
        snprintf(ret_text, 16, "%llum", s / 60);
    else if (s < 172800)
        snprintf(ret_text, 16, "%lluh", s / 3600);
    else
        snprintf(ret_text, 16, "%llud", s / 86400);
}

void control_time_text(uint64_t unix_ms, char ret_text[32])
{
    time_t    seconds = (time_t)(unix_ms / 1000);
    struct tm tm;

    if (!localtime_r(&seconds, &tm) || !strftime(ret_text, 32, "%Y-%m-%d %H:%M:%S %z", &tm))
        snprintf(ret_text, 32, "?");
}

void control_size_text(uint64_t octets, char ret_text[16])
{
    static const char units[] = " KMGTP";
    double            value = (double)octets;
    size_t            unit = 0;

    for (; value >= 1024 && units[unit + 1]; unit++)
        value /= 1024;
    snprintf(ret_text, 16, unit ? "%.1f%c" : "%.0f", value, units[unit]);
}

struct taker { /* of rows, by one of the two */
    void (*row)(json_t *row, void *arg);
    void (*line)(struct str line, void *arg);
    void *arg;
    bool  quiet; /* what fails is not said */
};

static int failed(const struct cli *cli, const struct taker *taker, const char *text)
{
    return taker->quiet ? CLI_FAILED : cli_fail(cli, "%s", text);
}

/* -1: errno says why. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval     wait = {.tv_sec = WAIT_S};
    int                fd, error;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        return fd;
    }
    error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static void say_why_not(const struct cli *cli, const char *path)
{
    if (errno == ENOENT || errno == ECONNREFUSED)
        cli_fail(cli, "the server is not running (nobody listens at %s); start it with: tacit serve --config %s", path,
                 cli_config_path(cli));
    else if (errno == EACCES)
        cli_fail(cli, "%s: permission denied: only root and the user who runs the server may ask it", path);
    else if (errno == ENAMETOOLONG)
        cli_fail(cli, "the path %s is too long for a socket", path);
    else
        cli_fail(cli, "%s: %s", path, strerror(errno));
}

/* Rows of messages begin with their id. */
static bool is_last(struct str line)
{
    return str_starts(line, STR("{\"end\"")) || str_starts(line, STR("{\"error\""));
}

static int converse(struct cli *cli, FILE *file, const char *request, const struct taker *taker, json_t **ret_end)
{
    char   *line = NULL;
    size_t  size = 0;
    int     status = -1;
    ssize_t len;

    if (fprintf(file, "%s\n", request) < 0 || fflush(file) != 0)
        return failed(cli, taker, "the server does not take the request");
    while (status < 0 && (len = getline(&line, &size, file)) > 0) {
        json_t     *value;
        const char *error;

        if (taker->line && !is_last(str_of(line, (size_t)len))) {
            taker->line(str_of(line, (size_t)len), taker->arg);
            continue;
        }
        value = json_loadb(line, (size_t)len, 0, NULL);
        error = json_string_value(json_object_get(value, "error"));
        if (!json_is_object(value)) {
            status = failed(cli, taker, "the server's answer makes no sense");
        } else if (error) {
            status = failed(cli, taker, error);
        } else if (json_is_true(json_object_get(value, "end"))) {
            status = CLI_OK;
            if (ret_end)
                *ret_end = json_incref(value);
        } else if (taker->row) {
            taker->row(value, taker->arg);
        }
        json_decref(value);
    }
    free(line);
    return status < 0 ? failed(cli, taker, "the server ended before it had answered; try again") : status;
}

static int call(struct cli *cli, json_t *request, const struct taker *taker, json_t **ret_end)
{
    const struct config *config = cli_config(cli);
    char                *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    char                 path[4096];
    FILE                *file = NULL;
    int                  fd = -1, status = CLI_FAILED;

    json_decref(request);
    if (config && text) {
        snprintf(path, sizeof path, "%s/run/control.sock", config->data);
        fd = connect_to(path);
        if (fd < 0 && !taker->quiet)
            say_why_not(cli, path);
        file = fd >= 0 ? fdopen(fd, "r+") : NULL;
    }
    if (file)
        status = converse(cli, file, text, taker, ret_end);
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
    free(text);
    return status;
}

int control_call(struct cli *cli, json_t *request, void (*row)(json_t *row, void *arg), void *arg, json_t **ret_end)
{
    return call(cli, request, &(struct taker){.row = row, .arg = arg}, ret_end);
}

void control_ask(struct cli *cli, json_t *request, void (*row)(json_t *row, void *arg), void *arg)
{
    call(cli, request, &(struct taker){.row = row, .arg = arg, .quiet = true}, NULL);
}

int control_call_lines(struct cli *cli, json_t *request, void (*line)(struct str line, void *arg), void *arg)
{
    return call(cli, request, &(struct taker){.line = line, .arg = arg}, NULL);
}
