/* fuzz_token.c: what a stranger says was ours is not, unless it is what the key makes of it: no input opens as a signed
 * return path or passes as a Message-ID of ours but the one that is signed here. An address that can be signed comes
 * back from its path as it was, in any case of the path's letters. */
#include "fuzz.h"

#include "keeper/token.h"

static const struct token_key key = {"0123456789abcdef0123456789abcdef"};
static const uint64_t         now_ms = UINT64_C(1790000000000);

static void signed_path(const struct mail_address *address, struct arena *arena)
{
    struct mail_address path, opened;
    bool                fresh;

    if (!token_path_sign(&key, address, now_ms, arena, &path)) {
        must(!address->local.len || address->local.len + TOKEN_PATH_EXTRA > MAIL_LOCAL_MAX);
        return;
    }
    must(path.local.len == address->local.len + TOKEN_PATH_EXTRA && path.local.len <= MAIL_LOCAL_MAX);
    must(token_path_open(&key, &path, now_ms, arena, &opened, &fresh) && fresh && mail_address_eq(&opened, address));
    must(token_path_open(&key, &path, now_ms + 9 * UINT64_C(86400000), arena, &opened, &fresh) && !fresh);
}

static void message_id(struct str id, struct arena *arena)
{
    char       token[TOKEN_DIGITS + 1];
    struct str ours, hostname = STR("mx.example.test");

    must(!token_check(&key, id, hostname));
    if (!token_make(&key, id, token))
        return;
    ours = arena_printf(arena, " <%.*s.%s@MX.example.test>", STR_ARG(id), token);
    must(id.len <= TOKEN_ID_MAX && token_check(&key, ours, hostname) && !token_check(&key, ours, STR("example.test")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str          in = str_of((const char *)data, size);
    struct mail_address address, opened;
    struct arena        arena;
    bool                fresh;

    if (size > 4096)
        return 0;
    arena_init(&arena, 4096, 1 << 20);
    message_id(in, &arena);
    if (mail_address_parse(in, true, &arena, &address, NULL)) {
        must(!token_path_open(&key, &address, now_ms, &arena, &opened, &fresh));
        signed_path(&address, &arena);
    }
    arena_done(&arena);
    return 0;
}
