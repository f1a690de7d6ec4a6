/* submission.c: one command, one reply: over a local socket pipelining would win nothing.
 *
 * If the server closes while content is being sent, its last words are read before the failure is told: they say
 * why. */
#include "cli/submission.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool submission_open(struct submission *c, const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval     wait = {.tv_sec = SUBMISSION_WAIT_S};

    *c = (struct submission){.fd = -1};
    buf_init(&c->in, SUBMISSION_REPLY_MAX);
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_CONFIG, "%s is too long for a socket's name: choose a shorter data directory", path);
    memcpy(address.sun_path, path, strlen(path));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return err_set_os(err, errno, "socket");
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(c->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int os_error = errno;

        if (os_error == ENOENT || os_error == ECONNREFUSED) {
            err_set(err, ERR_TEMPORARY, "the server is not running (nobody listens on %s)", path);
            return false;
        }
        return err_set_os(err, os_error, "%s", path);
    }
    return true;
}

void submission_close(struct submission *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_done(&c->in);
}

bool submission_send(struct submission *c, struct str data, struct err *err)
{
    while (data.len) {
        ssize_t n = send(c->fd, data.data, data.len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, errno == EAGAIN ? ETIMEDOUT : errno, "sending to the server");
        data = str_skip(data, (size_t)n);
    }
    return true;
}

static bool fill(struct submission *c, struct err *err)
{
    ssize_t n;

    if (!buf_reserve(&c->in, 4096))
        return err_set(err, ERR_LIMIT, "the server's reply is too long");
    do
        n = recv(c->fd, c->in.data + c->in.len, 4096, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_os(err, errno == EAGAIN ? ETIMEDOUT : errno, "reading from the server");
    if (n == 0)
        return err_set(err, ERR_TEMPORARY, "the server closed the connection");
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = 0;
    return true;
}

/* reply = *( code "-" text CRLF ) code [ " " text ] CRLF */
bool submission_read(struct submission *c, struct submission_reply *ret_reply, struct err *err)
{
    size_t   line = 0, at = 0;
    uint64_t code;

    buf_consume(&c->in, c->taken);
    c->taken = 0;
    for (;;) {
        struct str seen = buf_str(&c->in);

        at = str_find_byte(str_skip(seen, line), '\n');
        if (at == STR_NOT_FOUND) {
            if (!fill(c, err))
                return false;
            continue;
        }
        seen = str_part(seen, line, at);
        if (seen.len < 3 || !str_to_u64(str_part(seen, 0, 3), 599, &code) || code < 200)
            return err_set(err, ERR_PERMANENT, "the server's reply is not SMTP");
        line += at + 1;
        if (seen.len < 4 || seen.data[3] != '-')
            break;
    }
    c->taken = line;
    *ret_reply = (struct submission_reply){(unsigned)code, str_part(buf_str(&c->in), 0, line)};
    return true;
}

bool submission_say(struct submission *c, struct str line, struct submission_reply *ret_reply, struct err *err)
{
    struct buf out;
    bool       good;

    buf_init(&out, 8192);
    good = buf_append(&out, line) && buf_append_z(&out, "\r\n");
    good = good ? submission_send(c, buf_str(&out), err) : err_set(err, ERR_LIMIT, "a command would be too long");
    buf_done(&out);
    return good && submission_read(c, ret_reply, err);
}

static bool refused(const struct submission_reply *reply, struct err *err)
{
    return err_set(err, reply->code < 500 ? ERR_TEMPORARY : ERR_PERMANENT, "the server says: %.*s",
                   STR_ARG(str_part(str_trim(reply->text), 0, 400)));
}

bool submission_hello(struct submission *c, struct str name, struct err *err)
{
    struct submission_reply reply;
    struct buf              line;
    bool                    good;

    if (!submission_read(c, &reply, err))
        return false;
    if (reply.code != 220)
        return refused(&reply, err);
    buf_init(&line, 512);
    buf_printf(&line, "EHLO %.*s", STR_ARG(name));
    good = submission_say(c, buf_str(&line), &reply, err);
    buf_done(&line);
    if (!good)
        return false;
    if (reply.code != 250)
        return refused(&reply, err);
    while (reply.text.len) {
        struct str word = str_skip(str_cut(&reply.text, '\n'), 4);

        c->size |= str_starts_nocase(word, STR("SIZE"));
        c->utf8 |= str_starts_nocase(word, STR("SMTPUTF8"));
        c->eight_bit |= str_starts_nocase(word, STR("8BITMIME"));
        c->dsn |= str_starts_nocase(word, STR("DSN"));
    }
    return true;
}

bool submission_content(struct submission *c, struct str content, struct submission_reply *ret_reply, struct err *err)
{
    struct buf out;
    bool       good = true, begins = true;

    buf_init(&out, 128 * 1024);
    while (good && content.len) {
        size_t     at = str_find_byte(content, '\n');
        struct str line = str_part(content, 0, at == STR_NOT_FOUND ? content.len : at + 1);
        struct str piece = str_part(line, 0, 64 * 1024); /* of a line that is longer than any may be */

        if (begins && piece.data[0] == '.')
            buf_append_byte(&out, '.');
        buf_append(&out, piece);
        begins = piece.len == line.len;
        content = str_skip(content, piece.len);
        if (out.len >= 48 * 1024 || !content.len) {
            good = submission_send(c, buf_str(&out), err);
            buf_clear(&out);
        }
    }
    buf_done(&out);
    good = good && submission_send(c, STR(".\r\n"), err);
    if (good)
        return submission_read(c, ret_reply, err);
    return submission_read(c, ret_reply, NULL) ? refused(ret_reply, err) : false;
}
