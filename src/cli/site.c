/* site.c: see site.h. Each page is gathered in memory and written whole; texts come from the same cards that the
 * terminal shows, so that the two cannot differ. Every text is escaped where it is put into a page. */
#include "cli/site.h"

#include "base/buf.h"
#include "cli/card.h"
#include "io/file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_MAX = 4 << 20, MEMORY = 16 << 20, NAME_MAX_OCTETS = 4096 };

struct site {
    const char  *dir;
    struct buf   page;
    struct arena arena; /* of one page */
    size_t       pages;
    mode_t       mode; /* of a file */
    struct err  *err;
};

/* ---- pieces ---- */

static void put(struct site *s, const char *html) { buf_append_z(&s->page, html); }

static void put_text(struct site *s, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        switch (text.data[i]) {
        case '&':
            put(s, "&amp;");
            break;
        case '<':
            put(s, "&lt;");
            break;
        case '>':
            put(s, "&gt;");
            break;
        case '"':
            put(s, "&quot;");
            break;
        default:
            buf_append_byte(&s->page, text.data[i]);
        }
}

static const char *kind_of_class(unsigned class)
{
    return class == 2 ? "good" : class == 4 ? "wait" : class == 5 ? "bad" : "other";
}

static struct str basic_page(const struct codes_basic *b, struct arena *arena)
{
    return arena_printf(arena, "%u.html", b->code);
}

/* "x-1-10.html", "5-1-10-exchange-online.html" */
static struct str enhanced_page(const struct codes_enhanced *e, struct arena *arena)
{
    struct str name =
        e->vendor.len ? arena_printf(arena, "%.*s %.*s.html", STR_ARG(card_enhanced_code(e, arena)), STR_ARG(e->vendor))
                      : arena_printf(arena, "%.*s.html", STR_ARG(card_enhanced_code(e, arena)));
    char  *text = arena_alloc(arena, name.len + 1);
    size_t len = 0, stem = name.len < 5 ? 0 : name.len - 5;

    if (!text)
        return STR_NONE;
    for (size_t i = 0; i < name.len; i++)
        if (i >= stem || char_is_alnum(name.data[i]))
            text[len++] = char_lower(name.data[i]);
        else if (len && text[len - 1] != '-')
            text[len++] = '-';
    text[len] = 0;
    return str_of(text, len);
}

static struct str topic_page(const struct codes_topic *t, struct arena *arena)
{
    return arena_printf(arena, "cause-%.*s.html", STR_ARG(t->topic));
}

static struct str pair_page(const struct codes_pair *p, struct arena *arena)
{
    return arena_printf(arena, "compare-%.*s-%.*s.html", STR_ARG(p->a), STR_ARG(p->b));
}

/* The page of a number that stands in a text; data is NULL: there is none. */
static struct str page_of(struct str number, struct arena *arena)
{
    const struct codes_enhanced *e;
    struct codes_status          status;
    uint64_t                     code;

    if (codes_status_parse(number, &status)) {
        e = codes_enhanced(status.class, status.subject, status.detail);
        return e ? enhanced_page(e, arena) : STR_NONE;
    }
    return number.len == 3 && str_to_u64(number, 599, &code) && codes_basic((unsigned)code)
               ? basic_page(codes_basic((unsigned)code), arena)
               : STR_NONE;
}

/* Text with its numbers made into links. */
static void put_linked(struct site *s, struct str text)
{
    size_t i = 0;

    while (i < text.len) {
        size_t     end = i;
        struct str page;

        while (end < text.len && (char_is_alnum(text.data[end]) ||
                                  (text.data[end] == '.' && end + 1 < text.len && char_is_digit(text.data[end + 1]))))
            end++;
        page = end > i ? page_of(str_part(text, i, end - i), &s->arena) : STR_NONE;
        if (page.data)
            buf_printf(&s->page, "<a href=\"%s\">%.*s</a>", page.data, (int)(end - i), text.data + i);
        else
            put_text(s, str_part(text, i, end > i ? end - i : 1));
        i = end > i ? end : i + 1;
    }
}

static void begin(struct site *s, struct str title, const char *description)
{
    buf_clear(&s->page);
    put(s, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    put_text(s, title);
    put(s, " - mail server replies</title>\n<meta name=\"description\" content=\"");
    put_text(s, str_from(description));
    put(s, "\">\n<link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n"
           "<a class=\"skip\" href=\"#main\">To the text</a>\n"
           "<header class=\"site\"><nav aria-label=\"Site\"><a href=\"index.html\">Mail server replies, "
           "explained</a></nav>"
           "</header>\n<main id=\"main\">\n");
}

/* Whatever has the name, perhaps a link to a file elsewhere, is replaced and not written to. */
static bool write_file(struct site *s, struct str name, struct str text)
{
    char path[NAME_MAX_OCTETS], fresh[PATH_MAX];
    int  fd;
    bool ok;

    if (!name.data || snprintf(path, sizeof path, "%s/%.*s", s->dir, STR_ARG(name)) >= (int)sizeof path)
        return err_set(s->err, ERR_PERMANENT, "%s: the name is too long", s->dir);
    fd = io_file_beside(path, fresh);
    if (fd < 0)
        return err_set_os(s->err, errno, "%s", path);
    ok = io_fd_write_all(fd, text, s->err) && (fchmod(fd, s->mode) == 0 || err_set_os(s->err, errno, "mode"));
    close(fd);
    if (ok && rename(fresh, path) != 0)
        ok = err_set_os(s->err, errno, "rename");
    if (ok)
        return true;
    unlink(fresh);
    return err_prefix(s->err, "%s", path);
}

static bool finish(struct site *s, struct str name)
{
    bool ok;

    put(s, "</main>\n<footer>Made by tacit from its catalogue of reply codes: RFC 5321, RFC 3463 and their extensions."
           "</footer>\n</body>\n</html>\n");
    ok = buf_ok(&s->page) ? write_file(s, name, buf_str(&s->page)) : err_set(s->err, ERR_LIMIT, "out of memory");
    s->pages++;
    arena_reset(&s->arena);
    return ok;
}

/* ---- a page of one thing ---- */

static void put_entries(struct site *s, const struct card *c, const char *const *keys, const char *class, bool linked)
{
    bool open = false;

    for (; *keys; keys++)
        for (size_t i = 0; i < c->count; i++) {
            if (strcmp(c->entries[i].key, *keys) != 0)
                continue;
            if (!open)
                buf_printf(&s->page, "<dl class=\"%s\">\n", class);
            open = true;
            put(s, strcmp(class, "answers") == 0 ? "<div><dt>" : "<dt>");
            put_text(s, str_from(c->entries[i].label));
            put(s, "</dt><dd>");
            if (linked || strcmp(*keys, "goes_with") == 0)
                put_linked(s, c->entries[i].text);
            else
                put_text(s, c->entries[i].text);
            put(s, strcmp(class, "answers") == 0 ? "</dd></div>\n" : "</dd>\n");
        }
    if (open)
        put(s, "</dl>\n");
}

static void put_pairs(struct site *s, struct str code)
{
    bool open = false;

    for (size_t i = 0; code.len && i < codes_pair_count(); i++) {
        const struct codes_pair *p = codes_pair_at(i);
        bool                     first = str_eq(p->a, code);

        if (!first && !str_eq(p->b, code))
            continue;
        if (!open)
            put(s, "<h2>Side by side</h2>\n<ul class=\"list\">\n");
        open = true;
        buf_printf(&s->page, "<li><a href=\"%s\"><b>%.*s</b> beside %.*s</a></li>\n", pair_page(p, &s->arena).data,
                   STR_ARG(first ? p->b : p->a), STR_ARG(code));
    }
    if (open)
        put(s, "</ul>\n");
}

static bool card_page(struct site *s, const struct card *c, unsigned class, const char *kind, struct str name)
{
    static const char *const answers[] = {"delivery", "again", "cause", NULL};
    static const char *const doing[] = {"sender", "receiver", NULL};
    static const char *const facts[] = {"standing", "when",  "commands",  "goes_with", "category",
                                        "defined",  "notes", "uncertain", "vendor",    NULL};
    struct str               title = card_get(c, "name");

    begin(s, arena_printf(&s->arena, "%.*s%s%.*s", STR_ARG(c->code), c->code.len ? " " : "", STR_ARG(title)),
          card_get(c, "meaning").data);
    put(s, "<h1>");
    if (c->code.len)
        buf_printf(&s->page, "<span class=\"number\">%.*s</span>", STR_ARG(c->code));
    put_text(s, title);
    buf_printf(&s->page, "</h1>\n<p class=\"kind %s\">%s</p>\n<p class=\"lead\">", kind_of_class(class), kind);
    put_text(s, card_get(c, "meaning"));
    put(s, "</p>\n");
    put_entries(s, c, answers, "answers", false);
    put(s, "<h2>What to do</h2>\n");
    put_entries(s, c, doing, "answers", false);
    put(s, "<h2>More about it</h2>\n");
    put_entries(s, c, facts, "facts", false);
    put_pairs(s, c->code);
    return finish(s, name);
}

static bool enhanced_pages(struct site *s)
{
    for (size_t i = 0; i < codes_enhanced_count(); i++) {
        const struct codes_enhanced *e = codes_enhanced_at(i);
        bool                         several = !e->class && e->classes.len > 1;
        struct card                  c;

        card_of_enhanced(e, &s->arena, &c);
        c.code = card_enhanced_code(e, &s->arena);
        if (!card_page(s, &c, several ? 0 : card_enhanced_class(e),
                       several ? "success or failure, as its first digit says"
                               : card_class_words(card_enhanced_class(e)),
                       enhanced_page(e, &s->arena)))
            return false;
    }
    return true;
}

static bool basic_pages(struct site *s)
{
    for (size_t i = 0; i < codes_basic_count(); i++) {
        const struct codes_basic *b = codes_basic_at(i);
        struct card               c;

        card_of_basic(b, &s->arena, &c);
        if (!card_page(s, &c, b->code / 100, card_class_words(b->code / 100), basic_page(b, &s->arena)))
            return false;
    }
    return true;
}

static bool topic_pages(struct site *s)
{
    for (size_t i = 0; i < codes_topic_count(); i++) {
        const struct codes_topic *t = codes_topic_at(i);
        struct card               c;

        card_of_topic(t, &s->arena, &c);
        c.code = STR_NONE;
        if (!card_page(s, &c, t->status.class, card_class_words(t->status.class), topic_page(t, &s->arena)))
            return false;
    }
    return true;
}

/* ---- two things side by side ---- */

static bool pair_pages(struct site *s)
{
    static const char *const keys[] = {"meaning", "delivery", "again", "cause",
                                       "sender",  "receiver", "when",  "commands"};

    for (size_t i = 0; i < codes_pair_count(); i++) {
        const struct codes_pair *p = codes_pair_at(i);
        struct card              a, b;

        if (!card_of_number(p->a, &s->arena, &a) || !card_of_number(p->b, &s->arena, &b))
            continue;
        begin(s, arena_printf(&s->arena, "%.*s or %.*s", STR_ARG(p->a), STR_ARG(p->b)), p->difference.data);
        buf_printf(&s->page, "<h1>%.*s beside %.*s</h1>\n", STR_ARG(p->a), STR_ARG(p->b));
        put(s, "<p class=\"lead\">");
        put_linked(s, p->difference);
        put(s, "</p>\n<dl class=\"answers\">\n<div><dt>Which when</dt><dd>");
        put_linked(s, p->when);
        put(s, "</dd></div>\n<div><dt>What to do</dt><dd>");
        put_linked(s, p->advice);
        put(s, "</dd></div>\n</dl>\n<h2>Point by point</h2>\n<table class=\"sides\">\n<thead><tr><th "
               "scope=\"col\">Point</th>");
        for (unsigned side = 0; side < 2; side++) {
            const struct card *c = side ? &b : &a;

            buf_printf(&s->page, "<th role=\"columnheader\" scope=\"col\"><a href=\"%s\">%.*s ",
                       page_of(c->code, &s->arena).data, STR_ARG(c->code));
            put_text(s, card_get(c, "name"));
            put(s, "</a></th>");
        }
        put(s, "</tr></thead>\n<tbody role=\"rowgroup\">\n");
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            const char *label = card_label(&a, keys[k]) ? card_label(&a, keys[k]) : card_label(&b, keys[k]);

            if (!label)
                continue;
            buf_printf(
                &s->page,
                "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">%s</th><td role=\"cell\" data-code=\"%.*s\">",
                label, STR_ARG(a.code));
            put_text(s, card_get(&a, keys[k]));
            buf_printf(&s->page, "</td><td role=\"cell\" data-code=\"%.*s\">", STR_ARG(b.code));
            put_text(s, card_get(&b, keys[k]));
            put(s, "</td></tr>\n");
        }
        put(s, "</tbody>\n</table>\n");
        if (!finish(s, pair_page(p, &s->arena)))
            return false;
    }
    return true;
}

/* ---- the index ---- */

static void put_words(struct site *s, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = char_lower(text.data[i]);

        put_text(s, str_of(&c, 1));
    }
    buf_append_byte(&s->page, ' ');
}

static void put_entry(struct site *s, struct str page, const char *kind, struct str code, struct str name,
                      struct str more)
{
    put(s, "<li data-words=\"");
    put_words(s, code);
    put_words(s, name);
    put_words(s, more);
    buf_printf(&s->page, "\"><a class=\"is-%s\" href=\"%.*s\">", kind, STR_ARG(page));
    if (code.len) {
        put(s, "<b>");
        put_text(s, code);
        put(s, "</b> ");
    }
    put(s, "<span>");
    put_text(s, name);
    put(s, "</span></a></li>\n");
}

static void section(struct site *s, const char *id, const char *title)
{
    buf_printf(&s->page, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n<ul class=\"list\">\n", id, id,
               title);
}

static void put_basic(struct site *s, unsigned class, bool folk)
{
    for (size_t i = 0; i < codes_basic_count(); i++) {
        const struct codes_basic *b = codes_basic_at(i);
        bool                      is_folk = str_eq(b->status, STR("folk"));

        if (is_folk == folk && (folk || b->code / 100 == class))
            put_entry(s, basic_page(b, &s->arena), kind_of_class(b->code / 100), arena_printf(&s->arena, "%u", b->code),
                      b->name, b->meaning);
    }
    put(s, "</ul>\n</section>\n");
}

static bool index_page(struct site *s)
{
    static const char *const titles[] = {
        "", "", "Replies of success: 2yz", "Go on: 3yz", "Failures for now: 4yz", "Failures for good: 5yz"};

    begin(s, STR("All replies"), "What the replies of mail servers mean, whether the mail arrived, and what to do.");
    put(s,
        "<h1>What did the mail server say?</h1>\n<p class=\"lead\">Every reply code and enhanced code of mail: what it "
        "means, whether the message arrived, where the cause lies, and what each side can do.</p>\n"
        "<div class=\"search\" role=\"search\" hidden><label for=\"words\">Search by number or word</label>"
        "<input id=\"words\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"252, 5.1.10, "
        "mailbox full\"><p id=\"found\" role=\"status\"></p></div>\n");
    for (unsigned class = 2; class <= 5; class ++) {
        section(s, arena_printf(&s->arena, "class-%u", class).data, titles[class]);
        put_basic(s, class, false);
    }
    section(s, "causes", "By cause");
    for (size_t i = 0; i < codes_topic_count(); i++) {
        const struct codes_topic *t = codes_topic_at(i);

        put_entry(s, topic_page(t, &s->arena), kind_of_class(t->status.class), STR_NONE, t->topic,
                  arena_printf(&s->arena, "%.*s %.*s", STR_ARG(t->words), STR_ARG(t->meaning)));
    }
    put(s, "</ul>\n</section>\n");
    section(s, "pairs", "Side by side");
    for (size_t i = 0; i < codes_pair_count(); i++) {
        const struct codes_pair *p = codes_pair_at(i);

        put_entry(s, pair_page(p, &s->arena), "other",
                  arena_printf(&s->arena, "%.*s / %.*s", STR_ARG(p->a), STR_ARG(p->b)), STR("compared"), STR_NONE);
    }
    put(s, "</ul>\n</section>\n");
    section(s, "enhanced", "Enhanced codes: the three numbers with dots");
    for (size_t i = 0; i < codes_enhanced_count(); i++) {
        const struct codes_enhanced *e = codes_enhanced_at(i);
        bool                         several = !e->class && e->classes.len > 1;
        struct str                   code = card_enhanced_code(e, &s->arena);

        /* "5.1.1" finds X.1.1 */
        put_entry(s, enhanced_page(e, &s->arena), kind_of_class(several ? 0 : card_enhanced_class(e)), code,
                  e->vendor.len ? arena_printf(&s->arena, "%.*s (%.*s)", STR_ARG(e->name), STR_ARG(e->vendor))
                                : e->name,
                  arena_printf(&s->arena, "2%.*s 4%.*s 5%.*s %.*s", STR_ARG(str_skip(code, 1)),
                               STR_ARG(str_skip(code, 1)), STR_ARG(str_skip(code, 1)), STR_ARG(e->meaning)));
    }
    put(s, "</ul>\n</section>\n");
    section(s, "folk", "Numbers that no standard has");
    put_basic(s, 0, true);
    put(s, "<script src=\"search.js\"></script>\n");
    return finish(s, STR("index.html"));
}

bool site_write(const char *dir, size_t *ret_pages, struct err *err)
{
    mode_t      mask = umask(0);
    struct site s = {.dir = dir, .mode = 0666 & ~mask, .err = err};
    bool        ok;

    umask(mask);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return err_set_os(err, errno, "%s", dir);
    arena_init(&s.arena, 64 << 10, MEMORY);
    buf_init(&s.page, PAGE_MAX);
    ok = write_file(&s, STR("style.css"), str_from(site_style)) &&
         write_file(&s, STR("search.js"), str_from(site_script)) && basic_pages(&s) && enhanced_pages(&s) &&
         topic_pages(&s) && pair_pages(&s) && index_page(&s);
    *ret_pages = s.pages;
    buf_done(&s.page);
    arena_done(&s.arena);
    return ok;
}
