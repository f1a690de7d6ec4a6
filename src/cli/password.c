/* password.c: a password, from standard input or typed twice. */
#include "cli/password.h"

#include "directory/directory.h"

#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { PASSWORD_TYPED_MAX = 512 };

static void set_echo(bool on)
{
    struct termios t;

    if (tcgetattr(STDIN_FILENO, &t) != 0)
        return;
    t.c_lflag = on ? t.c_lflag | ECHO : t.c_lflag & ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &t);
}

/* One line, without its end. False: none, an empty or a longer one. */
static bool read_line(char *ret_line, size_t size)
{
    size_t len;

    if (!fgets(ret_line, (int)size, stdin))
        return false;
    len = strlen(ret_line);
    if (len && ret_line[len - 1] == '\n')
        ret_line[--len] = '\0';
    else if (!feof(stdin))
        return false;
    if (len && ret_line[len - 1] == '\r')
        ret_line[--len] = '\0';
    return len > 0;
}

static bool type_password(const struct cli *cli, char line[PASSWORD_TYPED_MAX])
{
    char again[PASSWORD_TYPED_MAX];
    bool terminal = isatty(STDIN_FILENO), ok;

    if (!terminal) {
        ok = read_line(line, PASSWORD_TYPED_MAX);
        if (!ok)
            cli_fail(cli, "no password: one line of up to %d octets is read from standard input",
                     PASSWORD_TYPED_MAX - 2);
        return ok;
    }
    set_echo(false);
    fputs("Password: ", stderr);
    ok = read_line(line, PASSWORD_TYPED_MAX);
    fputs("\nAgain: ", stderr);
    ok = ok && read_line(again, sizeof again) && strcmp(line, again) == 0;
    fputs("\n", stderr);
    set_echo(true);
    explicit_bzero(again, sizeof again);
    if (!ok)
        cli_fail(cli, "the two are not the same, or empty");
    return ok;
}

bool cli_password_read(const struct cli *cli, struct arena *arena, struct str *ret_hash)
{
    char       line[PASSWORD_TYPED_MAX], hash[DIRECTORY_PASSWORD_MAX];
    struct err err;
    bool       ok = type_password(cli, line);

    if (ok && !directory_password_hash(str_from(line), hash, sizeof hash, &err)) {
        cli_fail_err(cli, &err);
        ok = false;
    }
    explicit_bzero(line, sizeof line);
    if (!ok)
        return false;
    *ret_hash = arena_str(arena, str_from(hash));
    if (!ret_hash->data)
        cli_fail(cli, "out of memory");
    return ret_hash->data != NULL;
}
