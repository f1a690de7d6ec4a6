/* What a path says, it says again when it is written and read a second time; and it keeps its limits. */
#include "fuzz.h"

#include "mail/address.h"

static void check(const struct mail_address *a, bool from_path, struct arena *arena)
{
    struct mail_path_rules rules = {true, true, true};
    struct mail_address    again;
    struct buf             path;
    struct str             key;
    size_t                 len;

    must(a->local.len <= MAIL_LOCAL_MAX && a->domain.len <= MAIL_DOMAIN_MAX && str_is_ascii(a->domain));
    must(a->utf8 == !str_is_ascii(a->local) && (!a->utf8 || str_is_utf8(a->local)));
    buf_init(&path, MAIL_PATH_MAX);
    buf_append_byte(&path, '<');
    must(mail_address_format(a, &path) && buf_append_byte(&path, '>'));
    must(mail_path_parse(buf_str(&path), rules, arena, &again, &len, NULL) == PARSE_OK && len == path.len);
    must(mail_address_eq(a, &again) && a->utf8 == again.utf8);
    if (!from_path)
        must(mail_address_parse(str_part(buf_str(&path), 1, path.len - 2), true, arena, &again, NULL));
    must(mail_address_eq(a, &again));
    rules.utf8 = false;
    must((mail_path_parse(buf_str(&path), rules, arena, &again, &len, NULL) == PARSE_OK) == !a->utf8);
    buf_done(&path);

    key = mail_local_key(a->local, '+', arena);
    must(key.data && str_eq(mail_local_key(key, '+', arena), key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_path_rules    rules = {true, true, true};
    struct str                in = str_of((const char *)data, size), domain, again;
    struct arena              arena;
    struct mail_address       a;
    struct mail_address_error e = {MAIL_ADDRESS_SYNTAX, 0, NULL};
    size_t                    len;

    arena_init(&arena, 4096, 1 << 16);
    if (mail_path_parse(in, rules, &arena, &a, &len, &e) == PARSE_OK) {
        must(len <= size && len <= MAIL_PATH_MAX);
        check(&a, true, &arena);
    } else {
        must(e.reason && e.offset <= size && e.fault != MAIL_ADDRESS_NO_MEMORY);
    }
    if (mail_address_parse(in, true, &arena, &a, &e))
        check(&a, false, &arena);
    if (mail_domain_parse(in, true, &arena, &domain))
        must(mail_domain_parse(domain, true, &arena, &again) && str_eq(domain, again));
    arena_done(&arena);
    return 0;
}
