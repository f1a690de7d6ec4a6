/* file_text.c: the grammar of a directory that is a text file.
 *
 *   line    = [ entry ] [ comment ]
 *   entry   = address kind *( option / address )          words, parted by blanks outside of double quotes
 *   kind    = "mailbox" / "alias" / "list" / "moved"
 *   option  = "disabled" / "closed" / "show-members" / "quota=" size / "password=" hash / "owner=" address
 *           / "reply=" ( "251" / "551" / "hide" )
 *   size    = 1*DIGIT [ "K" / "M" / "G" / "T" ]
 *   comment = "#" and all that follows, where a word could begin
 *
 * An address that would read as an option or a comment is written with its local part in quotes, which RFC 5321 lets
 * every address have. JSON and the like were rejected: this form is for people with an editor, and a line that is wrong
 * is named by its number. */
#include "directory/file_text.h"

enum { WORD_MEMORY = 4096 };

const struct str directory_file_header =
    STR("# A directory of tacit: one entry a line, in any order; what follows a # is a comment.\n"
        "# The server reads it again when it changes. `tacit user` may change it too and keeps the comments.\n"
        "#\n"
        "#   ADDRESS mailbox [quota=1G] [password=HASH] [disabled]\n"
        "#   ADDRESS alias   ADDRESS... [disabled]\n"
        "#   ADDRESS list    ADDRESS... [owner=ADDRESS] [show-members] [closed] [disabled]\n"
        "#   ADDRESS moved   ADDRESS reply=251|551|hide\n"
        "#   *@DOMAIN alias  ADDRESS...                    whatever no other line names\n"
        "#\n"
        "# HASH is a crypt(5) hash. reply: 251 forwards and says so, 551 refuses and says where to, hide refuses.\n");

/* ---- reading ---- */

/* The next word of *rest; a comment is left where it is. Empty: there is none. */
static struct str word_next(struct str *rest)
{
    struct str word;
    bool       quoted = false;
    size_t     len = 0;

    while (rest->len && (rest->data[0] == ' ' || rest->data[0] == '\t'))
        *rest = str_skip(*rest, 1);
    if (rest->len && rest->data[0] == '#')
        return STR_NONE;
    for (; len < rest->len; len++) {
        char c = rest->data[len];

        if (!quoted && (c == ' ' || c == '\t'))
            break;
        if (c == '"')
            quoted = !quoted;
        if (quoted && c == '\\' && len + 1 < rest->len)
            len++;
    }
    word = str_part(*rest, 0, len);
    *rest = str_skip(*rest, len);
    return word;
}

static bool fail_word(struct err *err, const char *what, struct str word)
{
    return err_set(err, ERR_CONFIG, "%s: \"%.*s\"", what, STR_ARG(str_part(word, 0, 100)));
}

static bool size_parse(struct str text, uint64_t *ret_octets)
{
    static const char units[] = "KMGT";
    const char       *unit = text.len ? memchr(units, char_upper(text.data[text.len - 1]), sizeof units - 1) : NULL;
    unsigned          shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t          number;

    if (!str_to_u64(str_part(text, 0, text.len - (unit ? 1 : 0)), (UINT64_C(1) << 62) >> shift, &number))
        return false;
    *ret_octets = number << shift;
    return true;
}

/* Canonical, so that the rest of the program never sees another spelling. */
static bool address_parse(struct str word, struct arena *arena, struct str *ret_text, struct err *err)
{
    struct mail_address       address;
    struct mail_address_error error;

    if (!mail_address_parse(word, true, arena, &address, &error))
        return err_set(err, ERR_CONFIG, "not an address: \"%.*s\" (%s)", STR_ARG(str_part(word, 0, 100)), error.reason);
    *ret_text = mail_address_text(&address, arena);
    return ret_text->data ? true : err_set(err, ERR_LIMIT, "the file needs more memory than a directory may take");
}

static bool option_value(struct str word, struct str name, struct str *ret_value)
{
    if (!str_starts(word, name))
        return false;
    *ret_value = str_skip(word, name.len);
    return true;
}

static bool option_parse(struct str word, struct arena *arena, struct directory_entry *e, struct err *err)
{
    struct str value;

    if (str_eq(word, STR("disabled")))
        e->disabled = true;
    else if (str_eq(word, STR("closed")))
        e->closed = true;
    else if (str_eq(word, STR("show-members")))
        e->show_members = true;
    else if (option_value(word, STR("quota="), &value)) {
        if (!size_parse(value, &e->quota))
            return fail_word(err, "quota= takes octets, or a number and K, M, G or T", word);
    } else if (option_value(word, STR("password="), &value))
        e->password = value;
    else if (option_value(word, STR("owner="), &value))
        return address_parse(value, arena, &e->owner, err);
    else if (option_value(word, STR("reply="), &value)) {
        if (!directory_moved_parse(value, &e->moved))
            return fail_word(err, "reply= takes 251, 551 or hide", word);
    } else
        return fail_word(err, "neither an address nor a known option", word);
    return true;
}

static bool word_is_option(struct str word)
{
    static const char *const names[] = {"quota=", "password=", "owner=", "reply="};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_starts(word, str_from(names[i])))
            return true;
    return str_find_byte(word, '@') == STR_NOT_FOUND;
}

static bool words_parse(struct str rest, struct arena *arena, struct directory_entry *e, struct str *ret_rest,
                        struct err *err)
{
    struct str ahead = rest, word;
    size_t     count = 0;

    while ((word = word_next(&ahead)).len)
        count += !word_is_option(word);
    if (count > DIRECTORY_TARGETS_MAX)
        return err_set(err, ERR_CONFIG, "more than %d addresses on one line", DIRECTORY_TARGETS_MAX);
    if (count && !(e->targets = arena_alloc(arena, count * sizeof *e->targets)))
        return err_set(err, ERR_LIMIT, "the file needs more memory than a directory may take");
    while ((word = word_next(&rest)).len)
        if (word_is_option(word)) {
            if (!option_parse(word, arena, e, err))
                return false;
        } else {
            if (!address_parse(word, arena, &e->targets[e->target_count], err))
                return false;
            e->target_count++;
        }
    *ret_rest = rest;
    return true;
}

bool directory_line_parse(struct str line, struct arena *arena, bool *ret_has_entry, struct directory_entry *ret_entry,
                          struct str *ret_comment, struct err *err)
{
    struct directory_entry    e = {0};
    struct mail_address       address;
    struct mail_address_error error;
    struct str                rest = line, name, kind;

    while (rest.len &&
           rest.data[rest.len - 1] == '\r') /* all: a comment that keeps one would lose it when it is written */
        rest.len--;
    name = word_next(&rest);
    if (!name.len) {
        *ret_has_entry = false;
        *ret_comment = rest;
        return true;
    }
    if (!mail_address_parse(name, true, arena, &address, &error))
        return err_set(err, ERR_CONFIG, "a line begins with an address, not \"%.*s\" (%s)",
                       STR_ARG(str_part(name, 0, 100)), error.reason);
    e.local = address.local;
    e.domain = address.domain;
    kind = word_next(&rest);
    if (!kind.len)
        return err_set(err, ERR_CONFIG, "after the address stands mailbox, alias, list or moved");
    if (!directory_kind_parse(kind, &e.kind))
        return fail_word(err, "after the address stands mailbox, alias, list or moved, not", kind);
    if (!words_parse(rest, arena, &e, &rest, err))
        return false;
    *ret_has_entry = true;
    *ret_entry = e;
    *ret_comment = rest;
    return true;
}

/* ---- writing ---- */

static void put_address_text(const struct mail_address *a, struct buf *out)
{
    size_t start = out->len;

    mail_address_format(a, out);
    if (!buf_ok(out) || out->data[start] == '"' ||
        (out->data[start] != '#' && str_find_byte(a->local, '=') == STR_NOT_FOUND))
        return;
    buf_cut(out, start); /* no character that stands bare needs a backslash in quotes */
    buf_printf(out, "\"%.*s\"@%.*s", STR_ARG(a->local), STR_ARG(a->domain));
}

static void put_target(struct str text, struct buf *out)
{
    struct mail_address address;
    struct arena        arena;

    arena_init(&arena, WORD_MEMORY, WORD_MEMORY);
    buf_append_byte(out, ' ');
    if (mail_address_parse(text, true, &arena, &address, NULL))
        put_address_text(&address, out);
    else
        out->failed = true;
    arena_done(&arena);
}

bool directory_line_format(const struct directory_entry *e, struct str comment, struct buf *out)
{
    put_address_text(&(struct mail_address){.local = e->local, .domain = e->domain}, out);
    buf_printf(out, " %s", directory_kind_name(e->kind));
    for (size_t i = 0; i < e->target_count; i++)
        put_target(e->targets[i], out);
    if (e->owner.len)
        buf_printf(out, " owner=%.*s", STR_ARG(e->owner));
    if (e->kind == ENTRY_MOVED)
        buf_printf(out, " reply=%s", directory_moved_name(e->moved));
    if (e->quota)
        buf_printf(out, " quota=%llu", (unsigned long long)e->quota);
    if (e->show_members)
        buf_append_z(out, " show-members");
    if (e->closed)
        buf_append_z(out, " closed");
    if (e->disabled)
        buf_append_z(out, " disabled");
    if (e->password.len)
        buf_printf(out, " password=%.*s", STR_ARG(e->password));
    if (comment.len) {
        buf_append_byte(out, ' ');
        buf_append(out, comment);
    }
    buf_append_byte(out, '\n');
    return buf_ok(out);
}
