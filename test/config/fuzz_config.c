/* fuzz_config.c: any text is either refused with one line that names the file, or gives a configuration whose packed
 * form gives an equal one, but for passwords where they are hidden. The hostname is put in front so that no input waits
 * for the system's resolver. */
#include "fuzz.h"

#include "config/config.h"

#include <assert.h>

static void compare(const struct config_route *had, const struct config_route *has)
{
    assert(strcmp(had->title, has->title) == 0 && strcmp(had->via, has->via) == 0 && had->line == has->line);
    assert(strcmp(had->user, has->user) == 0 && strcmp(has->password, *had->password ? "x" : "") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char host[] = "hostname = \"mx.example.test\"\n";
    struct buf        text, packed, again;
    struct err        err = {0};
    struct config    *c, *second;

    if (size > 4096) /* titles are compared with all before them */
        return 0;
    buf_init(&text, 8192);
    buf_append_z(&text, host);
    buf_append(&text, str_of((const char *)data, size));
    c = config_parse_text(buf_str(&text), "f", "/base", &err);
    if (!c) {
        assert(err.class != ERR_NONE);
        assert(err.text[0] == 'f' && err.text[1] == ':');
        assert(!strchr(err.text, '\n'));
    } else {
        buf_init(&packed, CONFIG_TEXT_MAX);
        buf_init(&again, CONFIG_TEXT_MAX);
        assert(config_pack(c, true, &packed));
        second = config_unpack(buf_str(&packed), &err);
        assert(second);
        assert(config_pack(second, true, &again));
        assert(str_eq(buf_str(&packed), buf_str(&again)));
        assert(second->domain_count == c->domain_count && second->listen_count == c->listen_count);
        config_free(second);
        buf_clear(&again);
        assert(config_pack(c, false, &again));
        second = config_unpack(buf_str(&again), &err);
        assert(second && second->route_count == c->route_count && again.len <= packed.len);
        for (size_t i = 0; i < c->route_count; i++)
            compare(&c->routes[i], &second->routes[i]);
        config_free(second);
        buf_done(&again);
        buf_done(&packed);
        config_free(c);
    }
    buf_done(&text);
    return 0;
}
