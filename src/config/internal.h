/* internal.h: what the files of the configuration share. */
#ifndef TACIT_CONFIG_INTERNAL_H
#define TACIT_CONFIG_INTERNAL_H

#include "config/config.h"

enum { CONFIG_ARENA_MAX = 256 << 20 /* octets */ };

/* config/scan.c: the text as libconfuse gets it, and where each block begins. */
struct config_scan {
    char     *text; /* NUL-terminated, comments blanked, the same lines; free() */
    unsigned *block_lines;
    size_t    block_count;
};
/* On failure err has the text without file and line, and *ret_line is the line. */
bool config_scan(struct str text, struct config_scan *ret_scan, unsigned *ret_line, struct err *err);
void config_scan_done(struct config_scan *scan);

/* config.c: `hostname` NULL: found, if the text has none. */
struct config *config_parse(struct str text, const char *name, const char *base_dir, const char *hostname,
                            struct err *err);

/* config/pack.c: the same text without passwords and comments. `text` is one that config_scan takes. */
bool config_hide(struct str text, struct buf *out);

/* config/password.c: of those that stand in the file itself, where others may read that. */
void config_warn_of_open_passwords(struct config *config);

/* config/value.c: values given in the file into a field of the setting's type. */
bool config_value_set(const struct config_setting *s, void *field, const struct str *values, size_t count,
                      struct arena *arena, struct err *err);
bool config_value_default(const struct config_setting *s, void *field, struct arena *arena, struct err *err);
/* Puts text from the file into `ret_text` so that a message stays one line: '?' for control characters, cut if long. */
enum { CONFIG_SHOWN_MAX = 64 };
const char *config_shown(struct str text, char ret_text[CONFIG_SHOWN_MAX]);

/* config/string.c */
bool config_check_string(const struct config_setting *s, const char *value, struct err *err);

/* config/check.c: what single values cannot show, names made canonical, warnings. Messages are "FILE:LINE: …". */
struct config_lines;
bool config_check(struct config *config, const struct config_lines *lines, const char *hostname, struct err *err);
void config_warn(struct config *config, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
unsigned config_line_of(const struct config_lines *lines, const char *block, size_t index, const char *setting);

#endif
