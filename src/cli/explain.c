/* explain.c: tacit explain: what people have in hand, in plain words: a number, a line, a whole bounce, or a word.
 *
 * It is tried in this order: a report's fields; a number alone; the name of a cause; a line with numbers or known
 * words; a word to be searched for; what is nearest to it. */
#include "cli/explain.h"

#include "base/nearest.h"
#include "cli/card.h"
#include "cli/cli.h"
#include "cli/site.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_MAX = 4 << 20, MEMORY = 32 << 20, FOUND_MAX = 12 };

static void show(struct cli *cli, struct card *card)
{
    if (cli_has(cli, "json")) {
        json_t *row = card_json(card);

        cli_print_json(row);
        putchar('\n');
        json_decref(row);
    } else {
        card_print(card, stdout);
    }
}

/* ---- listing and searching ---- */

static void list_row(struct cli *cli, struct str code, struct str name, const char *kind)
{
    if (cli_has(cli, "json")) {
        json_t *row =
            json_pack("{s:s%, s:s%, s:s}", "code", code.data, code.len, "name", name.data, name.len, "kind", kind);

        cli_print_json(row);
        putchar('\n');
        json_decref(row);
    } else {
        printf("%-20.*s  %.*s\n", STR_ARG(code), STR_ARG(name));
    }
}

static struct str enhanced_name(const struct codes_enhanced *e, struct arena *arena)
{
    return e->vendor.len ? arena_printf(arena, "%.*s (%.*s)", STR_ARG(e->name), STR_ARG(e->vendor)) : e->name;
}

static int run_list(struct cli *cli, struct arena *arena)
{
    for (size_t i = 0; i < codes_basic_count(); i++)
        list_row(cli, arena_printf(arena, "%u", codes_basic_at(i)->code), codes_basic_at(i)->name, "reply");
    for (size_t i = 0; i < codes_enhanced_count(); i++)
        list_row(cli, card_enhanced_code(codes_enhanced_at(i), arena), enhanced_name(codes_enhanced_at(i), arena),
                 "enhanced");
    for (size_t i = 0; i < codes_topic_count(); i++)
        list_row(cli, codes_topic_at(i)->topic, codes_topic_at(i)->words, "cause");
    return CLI_OK;
}

static bool has(struct str text, struct str word)
{
    for (size_t i = 0; i + word.len <= text.len; i++)
        if (str_eq_nocase(str_part(text, i, word.len), word))
            return true;
    return false;
}

static size_t search(struct cli *cli, struct str word, struct arena *arena)
{
    size_t found = 0;

    if (word.len < 3)
        return 0;
    for (size_t i = 0; i < codes_topic_count(); i++) {
        const struct codes_topic *t = codes_topic_at(i);

        if ((has(t->topic, word) || has(t->words, word) || has(t->meaning, word)) && ++found)
            list_row(cli, t->topic, t->meaning, "cause");
    }
    for (size_t i = 0; i < codes_basic_count(); i++) {
        const struct codes_basic *b = codes_basic_at(i);

        if ((has(b->name, word) || has(b->meaning, word) || has(b->when_seen, word)) && ++found)
            list_row(cli, arena_printf(arena, "%u", b->code), b->name, "reply");
    }
    for (size_t i = 0; i < codes_enhanced_count(); i++) {
        const struct codes_enhanced *e = codes_enhanced_at(i);

        if ((has(e->name, word) || has(e->meaning, word) || has(e->vendor, word)) && ++found)
            list_row(cli, card_enhanced_code(e, arena), enhanced_name(e, arena), "enhanced");
    }
    return found;
}

/* ---- what was meant ---- */

static int not_known(struct cli *cli, struct str text, struct arena *arena)
{
    struct nearest n = nearest_to(str_part(text, 0, 40));
    const char    *shown = arena_printf(arena, "%.*s", (int)(text.len > 60 ? 60 : text.len), text.data).data;

    for (size_t i = 0; i < codes_basic_count(); i++)
        nearest_offer(&n, arena_printf(arena, "%u", codes_basic_at(i)->code).data);
    for (size_t i = 0; i < codes_enhanced_count(); i++)
        if (!codes_enhanced_at(i)->is_part && codes_enhanced_at(i)->detail == codes_enhanced_at(i)->detail_last)
            for (unsigned class = 2; class <= 5; class += class == 2 ? 2 : 1)
                if (codes_enhanced_at(i)->class == class ||
                    (!codes_enhanced_at(i)->class &&
                     str_find_byte(codes_enhanced_at(i)->classes, (char)('0' + class)) != STR_NOT_FOUND))
                    nearest_offer(&n, arena_printf(arena, "%u.%u.%u", class, codes_enhanced_at(i)->subject,
                                                   codes_enhanced_at(i)->detail)
                                          .data);
    for (size_t i = 0; i < codes_topic_count(); i++)
        nearest_offer(&n, arena_str(arena, codes_topic_at(i)->topic).data);
    if (n.best)
        return cli_fail(cli, "\"%s\" is not known; perhaps %s was meant? tacit explain --list shows all there is",
                        shown, n.best);
    return cli_fail(cli, "\"%s\" holds no code and no words that are known; tacit explain --list shows all there is",
                    shown);
}

static int explain_report(struct cli *cli, struct str text, struct arena *arena)
{
    struct report_recipient *all = arena_alloc(arena, REPORT_RECIPIENTS * sizeof *all);
    size_t                   count = all ? explain_report_read(text, arena, all) : 0, shown = 0;

    for (size_t i = 0; i < count; i++) {
        struct codes_reading r;
        struct card          card;
        bool                 known = codes_read(all[i].diagnostic, &r) && (r.code || r.status.class);

        if (!known &&
            !codes_read(arena_printf(arena, "%.*s %.*s", STR_ARG(all[i].status), STR_ARG(all[i].diagnostic)), &r))
            continue;
        card_of_reading(&r, all[i].action, arena, &card);
        card_add(&card, "recipient", "Recipient", all[i].address);
        card_add(&card, "server", "Said by", all[i].remote);
        card_add(&card, "reply", "In its words", all[i].diagnostic);
        if (shown++ && !cli_has(cli, "json"))
            putchar('\n');
        show(cli, &card);
    }
    return shown ? CLI_OK : CLI_FAILED;
}

static int explain(struct cli *cli, struct str all, struct arena *arena)
{
    struct str                text = str_trim(all);
    struct codes_reading      r;
    struct card               card;
    const struct codes_topic *topic = codes_topic_named(text);

    if (card_of_number(text, arena, &card) || (topic && (card_of_topic(topic, arena, &card), true))) {
        show(cli, &card);
        return CLI_OK;
    }
    if (explain_report(cli, all, arena) == CLI_OK)
        return CLI_OK;
    if (codes_read(text, &r) && (r.basic || r.status.class || r.topic)) {
        card_of_reading(&r, STR_NONE, arena, &card);
        show(cli, &card);
        return CLI_OK;
    }
    return search(cli, text, arena) ? CLI_OK : not_known(cli, text, arena);
}

static int run_html(struct cli *cli, const char *dir)
{
    struct err err;
    size_t     pages;

    if (!site_write(dir, &pages, &err))
        return cli_fail_err(cli, &err);
    fprintf(stderr, "%zu pages written; begin with %s/index.html\n", pages, dir);
    return CLI_OK;
}

static int run_explain(struct cli *cli)
{
    struct arena arena;
    struct buf   text;
    int          status;

    arena_init(&arena, 16 << 10, MEMORY);
    buf_init(&text, INPUT_MAX);
    for (int i = 0; i < cli->argc; i++) {
        if (i)
            buf_append_byte(&text, ' ');
        buf_append(&text, str_from(cli->argv[i]));
    }
    if (cli_has(cli, "html")) {
        status = run_html(cli, cli_value(cli, "html"));
    } else if (cli_has(cli, "list")) {
        status = run_list(cli, &arena);
    } else if (cli_has(cli, "search")) {
        status = search(cli, str_from(cli_value(cli, "search")), &arena)
                     ? CLI_OK
                     : cli_fail(cli, "nothing is said with \"%s\"", cli_value(cli, "search"));
    } else {
        if (!cli->argc) {
            char   piece[4096];
            size_t len;

            if (isatty(STDIN_FILENO))
                fprintf(stderr, "Paste a reply or a bounce, then press Ctrl-D:\n");
            while ((len = fread(piece, 1, sizeof piece, stdin)) && buf_append(&text, str_of(piece, len)))
                continue;
        }
        status = !str_trim(buf_str(&text)).len ? cli_usage(cli, "there is nothing to explain")
                                               : explain(cli, buf_str(&text), &arena);
    }
    buf_done(&text);
    arena_done(&arena);
    return status;
}

static const struct cli_option options[] = {
    CLI_OPTION_JSON,
    {.name = "list", .help = "list all codes and causes that are known"},
    {.name = "html", .value = "DIR", .help = "write all of it as pages into the directory DIR"},
    {.name = "search", .value = "WORD", .help = "list those that speak of it"},
    {0},
};

const struct cli_command explain_command = {
    .name = "explain",
    .arguments = "[CODE | LINE | WORDS]…",
    .max = CLI_UNLIMITED,
    .summary = "what a reply or a bounce means, and what to do",
    .description =
        "Takes what you have in hand: a reply code (252), an enhanced code (5.1.10), the name of a cause "
        "(greylisting), a "
        "whole line that a server said, or a bounce on standard input. Says what it means, whether the message was or "
        "will be delivered, where the cause lies, and what the sender and the receiving side can do.\n\n"
        "Where numbers are too general the words beside them decide, and where a large provider uses a number in a "
        "sense of its own, the text that shows whose it is.",
    .examples = "tacit explain 252\n"
                "tacit explain null mx\n"
                "tacit explain \"550-5.1.1 The email account that you tried to reach does not exist\"\n"
                "tacit explain < bounce.eml",
    .options = options,
    .run = run_explain};
