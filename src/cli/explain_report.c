/* explain_report.c: the fields of a delivery status report (RFC 3464 2.3) in whatever was pasted: the message, its
 * part, or lines of it with a mail program's indentation. A recipient begins with Final-Recipient, or with
 * Original-Recipient where that stands first; a field goes on in lines that begin with a blank. */
#include "cli/explain.h"

static bool is_field(struct str line, const char *name, struct str *ret_value)
{
    struct str rest = line, field = str_cut(&rest, ':');

    if (!rest.data || !str_eq_nocase(str_trim(field), str_from(name)))
        return false;
    if (str_ends(rest, STR("\r")))
        rest.len--;
    *ret_value = str_trim(rest);
    return true;
}

/* "rfc822; a@b" -> "a@b" */
static struct str behind_type(struct str value)
{
    struct str rest = value;

    str_cut(&rest, ';');
    return rest.data ? str_trim(rest) : value;
}

static size_t indentation(struct str line)
{
    size_t n = 0;

    while (n < line.len && (line.data[n] == ' ' || line.data[n] == '\t'))
        n++;
    return n;
}

/* A line with those that go on from it, joined; *rest goes behind them. Those are indented further than it is itself.
 */
static struct str next_line(struct str *rest, struct arena *arena)
{
    struct str line = str_cut(rest, '\n');

    while (str_find_byte(line, ':') != STR_NOT_FOUND && indentation(*rest) > indentation(line)) {
        struct str more = str_trim(str_cut(rest, '\n'));
        struct str joined = arena_printf(arena, "%.*s %.*s", STR_ARG(line), STR_ARG(more));

        if (!joined.data)
            break;
        line = joined;
    }
    return line;
}

size_t explain_report_read(struct str text, struct arena *arena, struct report_recipient ret[REPORT_RECIPIENTS])
{
    size_t                  count = 0;
    bool                    original = false;
    struct report_recipient ignored, *to = &ignored;

    while (text.len) {
        struct str line = next_line(&text, arena), value;
        bool       is_final = is_field(line, "final-recipient", &value);

        if (is_final || is_field(line, "original-recipient", &value)) {
            if (!(is_final && original && !to->status.len) && count < REPORT_RECIPIENTS) {
                to = &ret[count++];
                *to = (struct report_recipient){0};
            }
            original = !is_final;
            to->address = behind_type(value);
        } else if (is_field(line, "action", &value)) {
            to->action = value;
        } else if (is_field(line, "status", &value)) {
            to->status = value;
        } else if (is_field(line, "remote-mta", &value)) {
            to->remote = behind_type(value);
        } else if (is_field(line, "diagnostic-code", &value)) {
            to->diagnostic = behind_type(value);
        }
    }
    return count;
}
