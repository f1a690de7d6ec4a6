/* lines.h: on which line each setting of a file stands, while it is loaded. */
#ifndef TACIT_CONFIG_LINES_H
#define TACIT_CONFIG_LINES_H

#include "config/config.h"

struct config_lines {
    struct map lines; /* setting and instance of its block → line, as a pointer */
};

void     config_lines_init(struct config_lines *l);
void     config_lines_done(struct config_lines *l);
bool     config_lines_put(struct config_lines *l, const struct config_setting *s, size_t instance, unsigned line);
unsigned config_lines_get(const struct config_lines *l, const struct config_setting *s,
                          size_t instance); /* 0: not set */

#endif
