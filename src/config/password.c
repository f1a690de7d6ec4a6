/* password.c: passwords that stand in files of their own, and a word on those that do not.
 *
 * The configuration is for every user of the machine to read, for `tacit sendmail` is; a password in it is not. So it
 * can stand in a file that only master opens. That file must give nothing to its group either: of 0640 nobody can tell
 * here who is meant. Rejected: to take the access away from others ourselves; they have had it by then. */
#include "config/internal.h"

#include "io/file.h"
#include "smtp/client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 2 * SMTP_CLIENT_CREDENTIAL_MAX, OF_OTHERS = S_IRWXG | S_IRWXO };

/* No device, and no pipe that would be waited for. */
static bool read_closed_file(const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    int         fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool        ok;

    if (fd < 0 || fstat(fd, &st) != 0)
        ok = err_set_os(err, errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        ok = err_set(err, ERR_CONFIG, "%s is not a file", path);
    else if (st.st_mode & OF_OTHERS)
        ok = err_set(err, ERR_CONFIG,
                     "%s has mode %04o, which lets others than its owner at the password: change it (chmod 600), and "
                     "the password if they may have read it",
                     path, (unsigned)st.st_mode & 07777);
    else
        ok = io_fd_read_all(fd, path, out, err);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool read_password(const char *path, struct buf *out, struct err *err)
{
    struct str line;

    if (!read_closed_file(path, out, err))
        return false;
    line = buf_str(out);
    if (str_ends(line, STR("\n")))
        line.len--;
    if (str_ends(line, STR("\r")))
        line.len--;
    if (!line.len)
        return err_set(err, ERR_CONFIG, "%s has no password in it", path);
    if (line.len > SMTP_CLIENT_CREDENTIAL_MAX)
        return err_set(err, ERR_CONFIG, "%s has %zu octets: a password may have %d", path, line.len,
                       SMTP_CLIENT_CREDENTIAL_MAX);
    for (size_t i = 0; i < line.len; i++)
        if ((unsigned char)line.data[i] < ' ' || line.data[i] == 0x7f)
            return err_set(err, ERR_CONFIG, "%s must be one line with the password and nothing else; it has %s", path,
                           line.data[i] == '\n' ? "more lines" : "a control character");
    buf_cut(out, line.len);
    return true;
}

bool config_read_passwords(struct config *config, bool may_be_closed, struct err *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < config->route_count; i++) {
        struct config_route *r = &config->routes[i];
        struct buf           text;
        struct err           why;

        if (!*r->password_file)
            continue;
        buf_init(&text, FILE_MAX);
        if (read_password(r->password_file, &text, &why)) {
            r->password = arena_str(&config->arena, buf_str(&text)).data;
            ok = r->password || err_set(err, ERR_LIMIT, "%s:%u: out of memory", config->file, r->line);
        } else if (may_be_closed && why.os_error == EACCES) {
            config_warn(config, r->line,
                        "password_file of route \"%s\" was not checked, for you may not read it (try as root): %s",
                        r->title, r->password_file);
        } else {
            ok = err_set(err, ERR_CONFIG, "%s:%u: password_file: %s", config->file, r->line, why.text);
        }
        buf_done(&text);
    }
    return ok;
}

void config_warn_of_open_passwords(struct config *config)
{
    struct stat st;

    if (stat(config->file, &st) != 0 || !(st.st_mode & OF_OTHERS))
        return;
    for (size_t i = 0; i < config->route_count; i++)
        if (*config->routes[i].password)
            config_warn(
                config, config->routes[i].line,
                "others may read this file (mode %04o), and so the password of route \"%s\": put it into a file "
                "of its own, with password_file",
                (unsigned)st.st_mode & 07777, config->routes[i].title);
}
