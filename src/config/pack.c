/* pack.c: a configuration on its way from master to a role.
 *
 * Only the carrier says passwords, so only it gets them. For the others their text is made over: "x" stands in place of
 * each, and comments, in which there may be older ones, are left out. What else a role reads stands on the same line as
 * in the file. Rejected: to hand over the values instead of the text. A second form of every type would have to be kept
 * right. */
#include "config/internal.h"

#include "base/codec.h"

static bool ends_word(char c) { return (unsigned char)c <= ' ' || strchr("\"'#={},", c) != NULL; }

/* From the quote at `at` to behind its end. */
static size_t string_end(struct str text, size_t at)
{
    char quote = text.data[at++];

    while (at < text.len && text.data[at] != quote)
        at += text.data[at] == '\\' ? 2 : 1;
    return at < text.len ? at + 1 : text.len;
}

static size_t word_end(struct str text, size_t at)
{
    while (at < text.len && !ends_word(text.data[at]))
        at++;
    return at;
}

static struct str unquoted(struct str token)
{
    bool quoted = token.len >= 2 && (token.data[0] == '"' || token.data[0] == '\'');

    return quoted ? str_part(token, 1, token.len - 2) : token;
}

/* Never longer than it was, for no value is empty. */
static void put_hidden(struct str token, struct buf *out)
{
    struct str value = unquoted(token);

    buf_append(out, str_part(token, 0, (token.len - value.len) / 2));
    buf_append_byte(out, 'x');
    buf_append(out, str_part(token, 0, (token.len - value.len) / 2));
}

bool config_hide(struct str text, struct buf *out)
{
    enum { ELSEWHERE, BEHIND_NAME, BEHIND_EQUALS } place = ELSEWHERE;

    for (size_t at = 0, end; at < text.len; at = end) {
        char       c = text.data[at];
        bool       quoted = c == '"' || c == '\'', blank = (unsigned char)c <= ' ';
        struct str token;

        end = quoted ? string_end(text, at) : ends_word(c) ? at + 1 : word_end(text, at);
        if (c == '#') {
            while (end < text.len && text.data[end] != '\n')
                end++;
            continue;
        }
        token = str_part(text, at, end - at);
        if (place == BEHIND_EQUALS && (quoted || !ends_word(c)))
            put_hidden(token, out);
        else
            buf_append(out, token);
        if (blank)
            continue;
        if (c == '=' && place == BEHIND_NAME)
            place = BEHIND_EQUALS;
        else
            place = str_eq(unquoted(token), STR("password")) ? BEHIND_NAME : ELSEWHERE;
    }
    return buf_ok(out);
}

/* What was read from files, for each route. */
static bool pack_read(const struct config *config, bool passwords, struct buf *out)
{
    struct buf read;
    bool       ok;

    buf_init(&read, CONFIG_TEXT_MAX);
    for (size_t i = 0; i < config->route_count; i++)
        put_str(&read, str_from(passwords && *config->routes[i].password_file ? config->routes[i].password : ""));
    ok = buf_ok(&read);
    put_str(out, buf_str(&read));
    buf_done(&read);
    return ok;
}

static bool unpack_read(struct config *config, struct str packed)
{
    struct reader r = reader_of(packed);

    for (size_t i = 0; i < config->route_count; i++) {
        struct str password = get_str(&r);

        if (password.len)
            config->routes[i].password = arena_str(&config->arena, password).data;
        if (!config->routes[i].password)
            return false;
    }
    return reader_ended(&r);
}

bool config_pack(const struct config *config, bool passwords, struct buf *out)
{
    struct buf text;
    bool       ok;

    buf_init(&text, CONFIG_TEXT_MAX);
    ok = passwords ? buf_append(&text, config->text) : config_hide(config->text, &text);
    put_str(out, str_from(config->file));
    put_str(out, str_from(config->base_dir));
    put_str(out, str_from(config->hostname));
    put_str(out, buf_str(&text));
    buf_done(&text);
    return pack_read(config, passwords, out) && ok && buf_ok(out);
}

struct config *config_unpack(struct str packed, struct err *err)
{
    struct reader r = reader_of(packed);
    struct str   file = get_str(&r), base = get_str(&r), hostname = get_str(&r), text = get_str(&r), read = get_str(&r);
    struct arena arena;
    struct config *config = NULL;

    if (!reader_ended(&r)) {
        err_set(err, ERR_PERMANENT, "the configuration from master cannot be read");
        return NULL;
    }
    arena_init(&arena, 4096, 64 * 1024);
    file = arena_str(&arena, file);
    base = arena_str(&arena, base);
    hostname = arena_str(&arena, hostname);
    if (file.data && base.data && hostname.data)
        config = config_parse(text, file.data, base.data, hostname.data, err);
    else
        err_set(err, ERR_LIMIT, "the configuration from master has names that are too long");
    arena_done(&arena);
    if (config && !unpack_read(config, read)) {
        config_free(config);
        config = NULL;
        err_set(err, ERR_PERMANENT, "the passwords from master cannot be read");
    }
    return config;
}
