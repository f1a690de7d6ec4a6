/* json.c: JSON on its way to a terminal. Jansson escapes C0 alone; what else could steer or mislead whoever reads the
 * rows without jq stands inside of strings, where an escape means the same. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>

void cli_print_json_text(struct str text)
{
    size_t from = 0;

    for (size_t at = 0, len; at < text.len; at += len ? len : 1) {
        uint32_t point;

        len = 1;
        if ((unsigned char)text.data[at] < 0x7f) /* a line's end, or plain */
            continue;
        len = str_utf8_point(str_skip(text, at), &point);
        if (!len || !point_misleads(point))
            continue;
        fwrite(text.data + from, 1, at - from, stdout);
        printf("\\u%04X", (unsigned)point);
        from = at + len;
    }
    fwrite(text.data + from, 1, text.len - from, stdout);
}

void cli_print_json(const struct json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    if (text)
        cli_print_json_text(str_from(text));
    free(text);
}
