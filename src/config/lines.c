/* config/lines.c */
#include "config/lines.h"

void config_lines_init(struct config_lines *l) { map_init(&l->lines, 0); }
void config_lines_done(struct config_lines *l) { map_done(&l->lines); }

/* Tables of settings are static and instances fewer than 2^16, so the two in one number name the place. */
static uint64_t key_of(const struct config_setting *s, size_t instance)
{
    return (uint64_t)(uintptr_t)s << 16 ^ instance;
}

bool config_lines_put(struct config_lines *l, const struct config_setting *s, size_t instance, unsigned line)
{
    return map_put_u64(&l->lines, key_of(s, instance), (void *)(uintptr_t)line);
}

unsigned config_lines_get(const struct config_lines *l, const struct config_setting *s, size_t instance)
{
    return (unsigned)(uintptr_t)map_get_u64(&l->lines, key_of(s, instance));
}
