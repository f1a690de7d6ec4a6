/* address_list.c: an item at a time, by what may hold a comma.
 *
 *   address-list = [ item ] *( "," [ item ] )
 *   item         = [ phrase ] "<" addr ">" / addr / phrase ":" address-list ";"
 *
 * Quoted strings and comments (which nest) hide everything else; a route in angle brackets keeps its commas. Only the
 * place of an address is found here; whether it is one, mail_path_parse decides. */
#include "cli/address_list.h"

struct item {
    struct str plain; /* from the first to the last octet that is neither blank nor comment */
    struct str angle; /* between the brackets; data NULL: there are none */
};

static size_t skip_quoted(struct str s, size_t at)
{
    for (at++; at < s.len && s.data[at] != '"'; at++)
        if (s.data[at] == '\\')
            at++;
    return at < s.len ? at : s.len - 1;
}

static size_t skip_comment(struct str s, size_t at)
{
    size_t depth = 0;

    for (; at < s.len; at++) {
        if (s.data[at] == '\\')
            at++;
        else if (s.data[at] == '(')
            depth++;
        else if (s.data[at] == ')' && --depth == 0)
            return at;
    }
    return s.len - 1;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Reads up to a separator (',' ';' ':' outside brackets, or the end), which it takes too and gives back: 0 at the
 * end. */
static char take_item(struct str *rest, struct item *ret_item)
{
    struct str s = *rest;
    size_t     begin = s.len, end = 0, angle = STR_NOT_FOUND, at;
    char       separator = 0;

    *ret_item = (struct item){0};
    for (at = 0; at < s.len; at++) {
        char   c = s.data[at];
        size_t from = at;

        if (c == '(') {
            at = skip_comment(s, at);
            continue;
        }
        if (is_blank(c))
            continue;
        if (c == '"')
            at = skip_quoted(s, at);
        else if (c == '[' && angle == STR_NOT_FOUND) /* an address literal may have colons */
            while (at + 1 < s.len && s.data[at] != ']')
                at++;
        else if (c == '<' && angle == STR_NOT_FOUND)
            angle = at + 1;
        else if (c == '>' && angle != STR_NOT_FOUND && !ret_item->angle.data)
            ret_item->angle = str_part(s, angle, at - angle);
        else if ((c == ',' || c == ';' || c == ':') && (angle == STR_NOT_FOUND || ret_item->angle.data)) {
            separator = c;
            break;
        }
        if (from < begin)
            begin = from;
        end = at + 1;
    }
    if (begin < end)
        ret_item->plain = str_part(s, begin, end - begin);
    *rest = str_skip(s, at < s.len ? at + 1 : s.len);
    return separator;
}

bool address_list_next(struct address_list *list, struct str *ret_address)
{
    while (list->rest.len) {
        struct item item;
        char        separator = take_item(&list->rest, &item);

        if (separator == ':') /* the name of a group */
            continue;
        if (item.angle.data || item.plain.len) {
            *ret_address = item.angle.data ? str_trim(item.angle) : item.plain;
            return true;
        }
    }
    return false;
}
