/* maildir_path.c: from an address to the directory of its mailbox. Names are escaped and not refused: every valid local
 * part must have a place, and no two the same one. */
#include "deliver/maildir.h"

enum { NAME_LIMIT = 255 /* octets, of most file systems */ };

static const char nobody[] = ".nobody"; /* no local part becomes that: a dot in front is escaped */

static bool put_name(struct str name, struct buf *out, struct err *err)
{
    size_t start = out->len;

    if (name.len == 0)
        return err_set(err, ERR_PERMANENT, "an address without a local part or domain has no mailbox");
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];

        if (c == '/' || c == '%' || c < 32 || c == 127 || (c == '.' && i == 0))
            buf_printf(out, "%%%02X", c);
        else
            buf_append_byte(out, (char)c);
    }
    if (out->len - start > NAME_LIMIT)
        return err_set(err, ERR_PERMANENT, "the name \"%.60s...\" is too long for a directory", name.data);
    return true;
}

static bool fill(struct str template, struct str base, struct str local, struct str domain, struct buf *out,
                 struct err *err)
{
    if (template.len == 0 || template.data[0] != '/') {
        buf_append(out, base);
        if (base.len && base.data[base.len - 1] != '/')
            buf_append_byte(out, '/');
    }
    while (template.len) {
        size_t     brace = str_find_byte(template, '{');
        struct str rest = str_skip(template, brace == STR_NOT_FOUND ? template.len : brace);

        buf_append(out, str_part(template, 0, template.len - rest.len));
        if (str_starts(rest, STR("{local}"))) {
            if (local.data == nobody)
                buf_append_z(out, nobody);
            else if (!put_name(local, out, err))
                return false;
            rest = str_skip(rest, 7);
        } else if (str_starts(rest, STR("{domain}"))) {
            if (!put_name(domain, out, err))
                return false;
            rest = str_skip(rest, 8);
        } else if (rest.len) {
            buf_append_byte(out, '{');
            rest = str_skip(rest, 1);
        }
        template = rest;
    }
    return buf_ok(out) || err_set(err, ERR_LIMIT, "the path of the mailbox is too long");
}

bool maildir_path(struct str template, struct str base, struct str local, struct str domain, struct buf *out,
                  struct err *err)
{
    return fill(template, base, local, domain, out, err);
}

bool maildir_path_nobody(struct str template, struct str base, struct str domain, struct buf *out)
{
    return str_find(template, STR("{local}")) != STR_NOT_FOUND &&
           fill(template, base, str_from(nobody), domain, out, NULL);
}
