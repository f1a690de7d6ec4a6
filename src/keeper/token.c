/* token.c: what is signed begins with a word for its purpose, so that a token of one kind never passes for one of
 * another. Addresses are signed by their keys (mail_local_key without a separator), since bounces come back in every
 * case. Rejected: a list of the Message-IDs that were sent, which would have to be kept, shared and forgotten. */
#include "keeper/token.h"

#include "io/crypto.h"
#include "io/file.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz";
enum { DAY_MS = 86400000, DAYS = 1000, PATH_DIGITS = 6, KEY_NUMBER = '0' };
static const struct str path_prefix = STR("prvs=");

/* ---- the key ---- */

static bool key_read(const char *path, int fd, struct token_key *ret_key, struct err *err)
{
    struct buf  b;
    struct stat st;
    bool        ok;

    if (fstat(fd, &st) != 0)
        return err_set_os(err, errno, "key %s", path);
    if (st.st_mode & 07)
        return err_set(err, ERR_CONFIG, "key %s: everybody may read it; make it 0600 and replace it by a new one",
                       path);
    buf_init(&b, TOKEN_KEY);
    ok = io_fd_read_all(fd, path, &b, err);
    if (ok && b.len != TOKEN_KEY)
        ok = err_set(err, ERR_CONFIG, "key %s: %zu octets instead of %d; restore it, or remove it to get a new one",
                     path, b.len, TOKEN_KEY);
    if (ok)
        memcpy(ret_key->bytes, b.data, TOKEN_KEY);
    if (b.data)
        explicit_bzero(b.data, b.len);
    buf_done(&b);
    return ok;
}

static bool key_write(int fd, const char *dir, struct err *err)
{
    struct token_key key;
    struct stat      st;
    bool             ok;

    io_random(key.bytes, sizeof key.bytes);
    ok = io_fd_write_all(fd, str_of((const char *)key.bytes, sizeof key.bytes), err);
    explicit_bzero(&key, sizeof key);
    /* root makes it for the user to whom the directory belongs */
    if (ok && ((geteuid() == 0 && stat(dir, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0) || fsync(fd) != 0))
        ok = err_set_os(err, errno, "key");
    return ok;
}

/* Written beside its place and linked there: whoever looks sees no key or a whole one, and the first of two wins. */
static bool key_make(const char *path, struct err *err)
{
    char  dir[PATH_MAX], fresh[PATH_MAX];
    char *slash;
    int   fd;
    bool  ok;

    snprintf(dir, sizeof dir, "%s", path);
    slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    else
        snprintf(dir, sizeof dir, ".");
    if (!io_mkdirs(dir, 0700, err))
        return false;
    fd = io_file_beside(path, fresh);
    if (fd < 0)
        return err_set_os(err, errno, "key %.200s", path);
    ok = key_write(fd, dir, err);
    close(fd);
    if (!ok)
        err_prefix(err, "%s", path);
    else if (link(fresh, path) != 0 && errno != EEXIST)
        ok = err_set_os(err, errno, "key %s", path);
    unlink(fresh);
    return ok && io_dir_sync(dir, err);
}

bool token_key_open(const char *path, struct token_key *ret_key, struct err *err)
{
    int  fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0 && errno == ENOENT) {
        if (!key_make(path, err))
            return false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return err_set_os(err, errno, "key %s", path);
    ok = key_read(path, fd, ret_key, err);
    close(fd);
    return ok;
}

static struct str key_str(const struct token_key *key) { return str_of((const char *)key->bytes, sizeof key->bytes); }

/* ---- Message-IDs ---- */

bool token_make(const struct token_key *key, struct str id, char ret_token[TOKEN_DIGITS + 1])
{
    unsigned char mac[IO_HMAC_SHA256];
    char          text[16 + TOKEN_ID_MAX];
    int           len;

    if (!id.len || id.len > TOKEN_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!char_is_alnum(id.data[i]) && id.data[i] != '-' && id.data[i] != '_')
            return false;
    len = snprintf(text, sizeof text, "message-id %.*s", STR_ARG(id));
    io_hmac_sha256(key_str(key), str_of(text, (size_t)len), mac);
    for (size_t i = 0; i < TOKEN_DIGITS; i++) {
        size_t   bit = i * 5;
        unsigned pair = (unsigned)mac[bit / 8] << 8 | mac[bit / 8 + 1];

        ret_token[i] = base32[pair >> (11 - bit % 8) & 31];
    }
    ret_token[TOKEN_DIGITS] = '\0';
    return true;
}

bool token_check(const struct token_key *key, struct str message_id, struct str hostname)
{
    char       token[TOKEN_DIGITS + 1];
    struct str rest = str_trim(message_id), left;
    size_t     at, dot;

    if (str_starts(rest, STR("<")) && str_ends(rest, STR(">")))
        rest = str_part(rest, 1, rest.len - 2);
    at = str_find_last_byte(rest, '@');
    if (at == STR_NOT_FOUND || !str_eq_nocase(str_skip(rest, at + 1), hostname))
        return false;
    left = str_part(rest, 0, at);
    dot = str_find_last_byte(left, '.');
    return dot != STR_NOT_FOUND && token_make(key, str_part(left, 0, dot), token) &&
           io_secret_eq(str_from(token), str_skip(left, dot + 1));
}

/* ---- return paths ---- */

/* `day` as its three digits. */
static bool path_digits(const struct token_key *key, const struct mail_address *address, unsigned day,
                        struct arena *arena, char ret_digits[PATH_DIGITS + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char     mac[IO_HMAC_SHA256];
    struct str        local = mail_local_key(address->local, 0, arena), text;

    if (!local.data)
        return false;
    text =
        arena_printf(arena, "return-path %c%03u %.*s@%.*s", KEY_NUMBER, day, STR_ARG(local), STR_ARG(address->domain));
    if (!text.data)
        return false;
    io_hmac_sha256(key_str(key), text, mac);
    for (size_t i = 0; i < PATH_DIGITS; i++)
        ret_digits[i] = hex[mac[i / 2] >> (i % 2 ? 0 : 4) & 15];
    ret_digits[PATH_DIGITS] = '\0';
    return true;
}

bool token_path_sign(const struct token_key *key, const struct mail_address *address, uint64_t now_ms,
                     struct arena *arena, struct mail_address *ret_path)
{
    unsigned            day = (unsigned)((now_ms / DAY_MS + TOKEN_PATH_DAYS) % DAYS);
    char                digits[PATH_DIGITS + 1];
    struct mail_address path = *address;

    if (!address->local.len || address->local.len + TOKEN_PATH_EXTRA > MAIL_LOCAL_MAX ||
        !path_digits(key, address, day, arena, digits))
        return false;
    path.local = arena_printf(arena, "prvs=%c%03u%s=%.*s", KEY_NUMBER, day, digits, STR_ARG(address->local));
    if (!path.local.data)
        return false;
    *ret_path = path;
    return true;
}

bool token_path_open(const struct token_key *key, const struct mail_address *path, uint64_t now_ms, struct arena *arena,
                     struct mail_address *ret_address, bool *ret_fresh)
{
    struct mail_address inner = *path;
    struct str          tag = str_part(path->local, path_prefix.len, TOKEN_PATH_EXTRA - path_prefix.len);
    char                digits[PATH_DIGITS + 1], given[PATH_DIGITS + 1] = {0};
    uint64_t            day, left;

    if (path->local.len <= TOKEN_PATH_EXTRA || !str_starts_nocase(path->local, path_prefix) ||
        tag.data[0] != KEY_NUMBER || tag.data[4 + PATH_DIGITS] != '=' || !str_to_u64(str_part(tag, 1, 3), 999, &day))
        return false;
    inner.local = str_skip(path->local, TOKEN_PATH_EXTRA);
    for (size_t i = 0; i < PATH_DIGITS; i++)
        given[i] = char_lower(tag.data[4 + i]);
    if (!path_digits(key, &inner, (unsigned)day, arena, digits) || !io_secret_eq(str_from(digits), str_from(given)))
        return false;
    left = (day + DAYS - now_ms / DAY_MS % DAYS) % DAYS;
    *ret_address = inner;
    *ret_fresh = left <= TOKEN_PATH_DAYS;
    return true;
}
