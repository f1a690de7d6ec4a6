/* meaning.c: the words of another server, told line by line as its own, then what codes/ makes of them: first its
 * numbers, and where those say little, its words. */
#include "cli/meaning.h"

#include "cli/control_client.h"
#include "codes/reading.h"

enum { REPLY_TEXT_MAX = 4096 };

/* In the log "address" is the server's; in the queue it is the recipient's. */
static const char *server_address(const json_t *row)
{
    return control_text(row, json_object_get(row, "kind") ? "address" : "remote_address");
}

static bool is_named(const json_t *row) { return *control_text(row, "remote") || *server_address(row); }

static void print_server(const json_t *row)
{
    const char *name = control_text(row, "remote"), *address = server_address(row);

    cli_print_safe(stdout, str_from(*name ? name : address));
    if (*name && *address) {
        printf(" [");
        cli_print_safe(stdout, str_from(address));
        printf("]");
    }
}

/* What the reply says, or the status where none came; false: nothing bad, or nothing at all. Where no server was asked,
 * X.3.0 is trouble of our own, and says no more than its reason. */
static bool find_meaning(const json_t *row, struct str *ret_meaning)
{
    const char          *reply = control_text(row, "reply");
    unsigned             code = (unsigned)control_u64(row, "code");
    struct codes_reading reading;
    struct codes_status  status;
    char                 text[REPLY_TEXT_MAX];

    snprintf(text, sizeof text, "%.0u %s", code, reply);
    if (code >= 400 && codes_read(str_from(text), &reading)) {
        *ret_meaning = reading.words.meaning;
        return true;
    }
    if (code || !codes_status_parse(str_from(control_text(row, "status")), &status) || status.class == 2)
        return false;
    if (!is_named(row) && status.subject == 3 && status.detail == 0)
        return false;
    *ret_meaning = codes_explain(0, status).meaning;
    return true;
}

void meaning_print(const json_t *row, const char *indent)
{
    struct str rest = str_from(control_text(row, "reply")), meaning;

    if (is_named(row)) {
        printf("%s", indent);
        print_server(row);
        printf(rest.len ? " said:\n" : " gave no answer\n");
        while (rest.len) {
            printf("%s  %s", indent, cli_colour(stdout, CLI_BOLD));
            cli_print_safe(stdout, str_cut(&rest, '\n'));
            printf("%s\n", cli_colour(stdout, CLI_PLAIN));
        }
    }
    if (find_meaning(row, &meaning))
        printf("%sthat means: %.*s\n", indent, STR_ARG(meaning));
}

static bool is_told(const json_t *row)
{
    const char *class = control_text(row, "class");

    return *control_text(row, "sender") && (strcmp(class, "submitter") == 0 || strcmp(class, "relay") == 0);
}

void meaning_print_next(const json_t *row)
{
    const char *state = control_text(row, "state"), *id = control_text(row, "id");
    char        next[32], end[32];

    control_time_text(control_u64(row, "next_ms"), next);
    control_time_text(control_u64(row, "expires_ms"), end);
    if (strcmp(state, "held") == 0 || strcmp(state, "waiting") == 0)
        printf("nothing happens until you say so: tacit queue release %s\n", id);
    else if (strcmp(state, "unclaimed") == 0)
        printf("it is kept until %s, then removed; nobody is told\n", end);
    else if (strcmp(state, "active") == 0 || !control_u64(row, "next_ms"))
        printf("it is being attempted now\n");
    else
        printf("it is tried again at %s; what has not arrived by %s is given up%s\n", next, end,
               is_told(row) ? ", and the sender is told" : "");
}
