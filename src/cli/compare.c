/* compare.c: tacit compare: two codes side by side, then what differs. */
#include "cli/card.h"
#include "cli/cli.h"

#include <string.h>

enum { MEMORY = 1 << 20, LABEL = 15, COLUMN = 31, GAP = 2 };

static const struct {
    const char *key, *label;
} rows[] = {
    {"name", "Name"},           {"category", "Category"},   {"standing", "Standing"},
    {"meaning", "Meaning"},     {"delivery", "Delivered?"}, {"again", "Try again?"},
    {"cause", "Where it lies"}, {"sender", "Sender"},       {"receiver", "Receiving side"},
    {"when", "When"},           {"commands", "Answers to"}, {"goes_with", "Goes with"},
    {"defined", "Defined in"},
};

/* As many words as fit into a column, padded with blanks; *text goes behind them. */
static void print_part(struct str *text, size_t width, bool pad)
{
    size_t len = 0;

    *text = str_trim(*text);
    while (len < text->len) {
        size_t     end = len + (len ? 1 : 0);
        struct str rest = str_skip(*text, end);
        size_t     blank = str_find_byte(rest, ' ');

        end += blank == STR_NOT_FOUND ? rest.len : blank;
        if (end > width && len)
            break;
        len = end > width ? width : end;
        if (end > width)
            break;
    }
    printf("%-*.*s", pad ? (int)width : 0, (int)len, text->data ? text->data : "");
    *text = str_skip(*text, len);
}

static void print_row(const char *label, struct str a, struct str b)
{
    if (!a.len && !b.len)
        return;
    if (!a.len)
        a = STR("-");
    if (!b.len)
        b = STR("-");
    do {
        printf("%s%-*s%s", cli_colour(stdout, CLI_DIM), LABEL, label, cli_colour(stdout, CLI_PLAIN));
        print_part(&a, COLUMN, true);
        printf("%*s", GAP, "");
        print_part(&b, COLUMN, false);
        putchar('\n');
        label = "";
    } while (a.len || b.len);
}

/* For two codes of which nothing particular is written: what their first digits and parties say. */
static struct codes_pair general(const struct card *a, const struct card *b, struct arena *arena)
{
    struct codes_pair p = {.a = a->code, .b = b->code};

    p.difference = arena_printf(arena, "%.*s: %.*s %.*s: %.*s", STR_ARG(a->code), STR_ARG(card_get(a, "meaning")),
                                STR_ARG(b->code), STR_ARG(card_get(b, "meaning")));
    p.when = arena_printf(arena, "%.*s: %.*s %.*s: %.*s", STR_ARG(a->code), STR_ARG(card_get(a, "when")),
                          STR_ARG(b->code), STR_ARG(card_get(b, "when")));
    p.advice = arena_printf(arena, "After %.*s: %.*s After %.*s: %.*s", STR_ARG(a->code),
                            STR_ARG(card_get(a, "sender")), STR_ARG(b->code), STR_ARG(card_get(b, "sender")));
    return p;
}

static void print_text(const char *label, struct str text)
{
    printf("%s%-*s%s", cli_colour(stdout, CLI_BOLD), LABEL, label, cli_colour(stdout, CLI_PLAIN));
    cli_print_filled(stdout, text, LABEL, LABEL);
}

static void set(json_t *row, const char *name, struct str text)
{
    json_object_set_new(row, name, json_stringn(text.data ? text.data : "", text.len));
}

static int run_compare(struct cli *cli)
{
    struct arena             arena;
    struct card              a, b;
    const struct codes_pair *known;
    struct codes_pair        pair;
    int                      status = CLI_OK;

    arena_init(&arena, 8 << 10, MEMORY);
    if (!card_of_number(str_from(cli->argv[0]), &arena, &a) || !card_of_number(str_from(cli->argv[1]), &arena, &b)) {
        bool first = !card_of_number(str_from(cli->argv[0]), &arena, &a);

        status = cli_fail(cli, "\"%s\" is no code that is known, such as 252 or 5.1.10; tacit explain --list shows all",
                          cli->argv[first ? 0 : 1]);
        arena_done(&arena);
        return status;
    }
    known = codes_pair(a.code, b.code);
    pair = known ? *known : general(&a, &b, &arena);
    if (cli_has(cli, "json")) {
        json_t *row = json_object();

        json_object_set_new(row, "a", card_json(&a));
        json_object_set_new(row, "b", card_json(&b));
        set(row, "difference", pair.difference);
        set(row, "when", pair.when);
        set(row, "advice", pair.advice);
        cli_print_json(row);
        putchar('\n');
        json_decref(row);
    } else {
        printf("%s%-*s%-*.*s%*s%.*s%s\n", cli_colour(stdout, CLI_BOLD), LABEL, "", COLUMN, STR_ARG(a.code), GAP, "",
               STR_ARG(b.code), cli_colour(stdout, CLI_PLAIN));
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            print_row(rows[i].label, card_get(&a, rows[i].key), card_get(&b, rows[i].key));
        putchar('\n');
        print_text("Difference", pair.difference);
        print_text("Which when", pair.when);
        print_text("What to do", pair.advice);
    }
    arena_done(&arena);
    return status;
}

static const struct cli_option options[] = {CLI_OPTION_JSON, {0}};

const struct cli_command compare_command = {
    .name = "compare",
    .arguments = "CODE CODE",
    .min = 2,
    .max = 2,
    .summary = "two replies side by side",
    .description =
        "Two reply codes or enhanced codes: what each means, what differs, when which of them applies, and what "
        "to do after it.",
    .examples = "tacit compare 252 550\n"
                "tacit compare 5.1.1 5.1.10",
    .options = options,
    .run = run_compare};
