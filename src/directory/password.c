/* password.c: passwords by libcrypt, which has yescrypt and every older hash that people bring along.
 *
 * For a user without a hash a fixed one is computed and thrown away, so that the time of an answer does not tell who
 * exists. That time is the same only for hashes of the kind that this file makes; an imported SHA-512 hash takes its
 * own time, until its owner sets the password again. */
#include "directory/directory.h"

#include "io/crypto.h"

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>

static const char *const yescrypt = "$y$";
/* The cost of crypt_gensalt's default, the salt of nobody. */
static const char *const nobody = "$y$j9T$QbWJ1cm5hOq4yLkXr0uZe/$";

/* False: the password cannot be hashed: NUL in it, empty, or longer than libcrypt takes. */
static bool phrase_from(struct str password, char ret_phrase[CRYPT_MAX_PASSPHRASE_SIZE])
{
    if (!password.len || password.len >= CRYPT_MAX_PASSPHRASE_SIZE || str_find_byte(password, '\0') != STR_NOT_FOUND)
        return false;
    memcpy(ret_phrase, password.data, password.len);
    ret_phrase[password.len] = '\0';
    return true;
}

bool directory_password_hash(struct str password, char *ret_hash, size_t size, struct err *err)
{
    char               phrase[CRYPT_MAX_PASSPHRASE_SIZE], salt[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data;
    const char        *hash;
    bool               ok;

    if (!phrase_from(password, phrase))
        return err_set(err, ERR_PERMANENT, "a password has 1 to %d octets and no NUL", CRYPT_MAX_PASSPHRASE_SIZE - 1);
    data = calloc(1, sizeof *data);
    if (!data) {
        explicit_bzero(phrase, sizeof phrase);
        return err_set_os(err, ENOMEM, "password");
    }
    hash = crypt_gensalt_rn(yescrypt, 0, NULL, 0, salt, sizeof salt) ? crypt_r(phrase, salt, data) : NULL;
    ok = hash && hash[0] != '*' && strlen(hash) < size;
    if (ok)
        memcpy(ret_hash, hash, strlen(hash) + 1);
    else
        err_set(err, ERR_TEMPORARY, "the password could not be hashed");
    explicit_bzero(data, sizeof *data);
    free(data);
    explicit_bzero(phrase, sizeof phrase);
    return ok;
}

bool directory_password_check(struct str password, struct str hash)
{
    char               phrase[CRYPT_MAX_PASSPHRASE_SIZE], setting[DIRECTORY_PASSWORD_MAX + 1];
    struct crypt_data *data = calloc(1, sizeof *data);
    bool               known = hash.len && hash.len <= DIRECTORY_PASSWORD_MAX, right;
    struct str         use = known ? hash : str_from(nobody);
    const char        *made;

    if (!data)
        return false;
    if (!phrase_from(password, phrase)) {
        known = false;
        memcpy(phrase, "x", 2);
    }
    memcpy(setting, use.data, use.len);
    setting[use.len] = '\0';
    made = crypt_r(phrase, setting, data);
    right = made && made[0] != '*' && io_secret_eq(str_from(made), use) && known;
    explicit_bzero(data, sizeof *data);
    free(data);
    explicit_bzero(phrase, sizeof phrase);
    return right;
}
