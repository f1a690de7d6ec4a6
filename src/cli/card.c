/* card.c: see card.h. One order of entries for all kinds, so that two cards can stand side by side (compare.c). */
#include "cli/card.h"

#include "cli/frame.h"

enum { LABEL_WIDTH = 17 };

void card_add(struct card *c, const char *key, const char *label, struct str text)
{
    if (!text.len || c->count == CARD_ENTRIES)
        return;
    c->entries[c->count].key = key;
    c->entries[c->count].label = label;
    c->entries[c->count].text = text;
    c->count++;
}

struct str card_get(const struct card *c, const char *key)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key, key) == 0)
            return c->entries[i].text;
    return STR_NONE;
}

const char *card_label(const struct card *c, const char *key)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key, key) == 0)
            return c->entries[i].label;
    return NULL;
}

const char *card_class_words(unsigned class)
{
    return class == 2   ? "success"
           : class == 3 ? "more is expected"
           : class == 4 ? "failure for now"
           : class == 5 ? "failure for good"
                        : "no code of SMTP";
}

struct str card_enhanced_code(const struct codes_enhanced *e, struct arena *arena)
{
    struct str class = e->class ? arena_printf(arena, "%u", e->class) : STR("X");

    if (e->is_part && e->class)
        return arena_printf(arena, "%.*s.x.x", STR_ARG(class));
    if (e->is_part)
        return arena_printf(arena, "%.*s.%u.x", STR_ARG(class), e->subject);
    if (e->detail_last > e->detail)
        return arena_printf(arena, "%.*s.%u.%u-%u", STR_ARG(class), e->subject, e->detail, e->detail_last);
    return arena_printf(arena, "%.*s.%u.%u", STR_ARG(class), e->subject, e->detail);
}

unsigned card_enhanced_class(const struct codes_enhanced *e)
{
    if (e->class)
        return e->class;
    return str_find_byte(e->classes, '5') != STR_NOT_FOUND   ? 5
           : str_find_byte(e->classes, '4') != STR_NOT_FOUND ? 4
           : str_find_byte(e->classes, '2') != STR_NOT_FOUND ? 2
                                                             : 0;
}

static struct str delivery_of_class(unsigned class)
{
    switch (class) {
    case 2:
        return STR("Nothing stands in the way: this step worked, or the message was taken.");
    case 4:
        return STR(
            "Not yet. The sending server keeps the message and tries again by itself, usually for several days.");
    case 5:
        return STR("No. It was refused, and the sender gets a report.");
    default:
        return STR_NONE;
    }
}

static struct str again_of_class(unsigned class)
{
    switch (class) {
    case 4:
        return STR("It happens by itself: the sending server tries again.");
    case 5:
        return STR("No, not as it is: the same message gets the same answer until the cause is mended.");
    default:
        return STR("There is no need to.");
    }
}

static struct str again_of(const struct codes_basic *b, struct arena *arena)
{
    if (str_starts(b->retry, STR("no (")) && b->retry.len > 5) {
        struct str inner = str_part(b->retry, 4, b->retry.len - 5);

        return arena_printf(arena, "Not as it is, but %.*s.", STR_ARG(inner));
    }
    if (str_starts(b->retry, STR("no;")))
        return arena_printf(arena, "%.*s.", STR_ARG(b->retry));
    return str_eq(b->retry, STR("yes")) ? again_of_class(4) : again_of_class(b->code / 100 == 4 ? 5 : b->code / 100);
}

static struct str standing_of(struct str status)
{
    static const struct {
        const char *status, *words;
    } all[] = {
        {"standard", ""},
        {"experimental", "Of an experiment, rarely seen."},
        {"draft", "Of a draft that never became a standard."},
        {"deprecated", "No longer to be used."},
        {"table-only", "Stands in a registry, but no standard explains it."},
        {"folk", "Not a code of SMTP: no standard has it. It is found in lists on the web, and some servers use it."},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (str_eq(status, str_from(all[i].status)))
            return str_from(all[i].words);
    return STR_NONE;
}

void card_of_basic(const struct codes_basic *b, struct arena *arena, struct card *ret_card)
{
    struct card c = {0};
    struct str  also =
        b->also_in.len ? arena_printf(arena, "%.*s; %.*s", STR_ARG(b->defined_in), STR_ARG(b->also_in)) : b->defined_in;

    c.code = arena_printf(arena, "%u", b->code);
    c.title = arena_printf(arena, "%u  %.*s", b->code, STR_ARG(b->name));
    card_add(&c, "name", "Name", b->name);
    card_add(&c, "category", "Category",
             arena_printf(arena, "%s, %.*s", card_class_words(b->code / 100), STR_ARG(b->category)));
    card_add(&c, "standing", "Standing", standing_of(b->status));
    card_add(&c, "meaning", "Meaning", b->meaning);
    card_add(&c, "delivery", "Delivered?", b->delivery);
    card_add(&c, "again", "Try again?", again_of(b, arena));
    card_add(&c, "cause", "Where it lies", str_from(codes_party_words(b->party)));
    card_add(&c, "sender", "Sender", b->fix_sender);
    card_add(&c, "receiver", "Receiving side", b->fix_receiver);
    card_add(&c, "when", "When", b->when_seen);
    card_add(&c, "commands", "Answers to", b->commands);
    card_add(&c, "goes_with", "Goes with", b->enhanced_typical);
    card_add(&c, "defined", "Defined in", also);
    card_add(&c, "notes", "Notes", b->notes);
    card_add(&c, "uncertain", "Not agreed on", b->uncertain);
    *ret_card = c;
}

static struct str status_text(struct codes_status s, struct arena *arena)
{
    return arena_printf(arena, "%u.%u.%u", s.class, s.subject, s.detail);
}

static void add_enhanced(struct card *c, const struct codes_enhanced *e, unsigned class, struct arena *arena)
{
    card_add(c, "name", "Name", e->name);
    card_add(c, "category", "Category",
             arena_printf(arena, "%s%s%.*s", card_class_words(class), codes_subject(e->subject) ? ", " : "",
                          STR_ARG(codes_subject(e->subject) ? codes_subject(e->subject)->name : STR_NONE)));
    card_add(c, "meaning", "Meaning", e->meaning);
    card_add(c, "delivery", "Delivered?", delivery_of_class(class));
    card_add(c, "again", "Try again?", again_of_class(class));
    card_add(c, "cause", "Where it lies", str_from(codes_party_words(class == 2 ? CODES_PARTY_NONE : e->party)));
    card_add(c, "sender", "Sender", e->fix_sender);
    card_add(c, "receiver", "Receiving side", e->fix_receiver);
    card_add(c, "when", "When", e->when_seen);
    card_add(c, "goes_with", "Goes with", e->basic_codes);
    card_add(c, "defined", "Defined in", e->section);
    card_add(c, "notes", "Notes", e->notes);
    card_add(c, "uncertain", "Not agreed on", e->uncertain);
}

/* Other senses of the same number. */
static void add_vendors(struct card *c, struct codes_status s, const struct codes_enhanced *but, struct arena *arena)
{
    for (size_t i = 0; i < codes_enhanced_count(); i++) {
        const struct codes_enhanced *e = codes_enhanced_at(i);

        if (e == but || !e->vendor.len || e->is_part || e->subject != s.subject || e->detail > s.detail ||
            e->detail_last < s.detail || (e->class && e->class != s.class))
            continue;
        card_add(
            c, "vendor", "Elsewhere",
            arena_printf(arena, "%.*s means: %.*s. %.*s", STR_ARG(e->vendor), STR_ARG(e->name), STR_ARG(e->meaning)));
    }
}

void card_of_status(struct codes_status status, struct arena *arena, struct card *ret_card)
{
    struct card                  c = {0};
    const struct codes_enhanced *e = codes_enhanced(status.class, status.subject, status.detail);
    const struct codes_enhanced *part = e ? e : codes_subject(status.subject);

    if (!part)
        part = codes_class(status.class);
    c.code = status_text(status, arena);
    c.title = arena_printf(arena, "%.*s  %.*s", STR_ARG(c.code), STR_ARG(part->name));
    if (!e)
        card_add(&c, "standing", "Standing", STR("Not a registered number: only what its first parts say is sure."));
    add_enhanced(&c, part, status.class, arena);
    add_vendors(&c, status, e, arena);
    *ret_card = c;
}

void card_of_enhanced(const struct codes_enhanced *e, struct arena *arena, struct card *ret_card)
{
    struct card c = {0};
    unsigned class = card_enhanced_class(e);

    if (e->vendor.len)
        card_add(&c, "standing", "Standing",
                 arena_printf(arena, "A sense of its own that %.*s gives the number.", STR_ARG(e->vendor)));
    add_enhanced(&c, e, class ? class : 2, arena);
    if (!e->is_part && !e->vendor.len)
        add_vendors(&c, (struct codes_status){(uint8_t) class, e->subject, e->detail}, e, arena);
    *ret_card = c;
}

void card_of_topic(const struct codes_topic *t, struct arena *arena, struct card *ret_card)
{
    struct card                  c = {0};
    struct codes_words           w = codes_topic_words(t);
    const struct codes_enhanced *e = codes_enhanced(t->status.class, t->status.subject, t->status.detail);

    c.code = status_text(t->status, arena);
    c.title = t->topic;
    card_add(&c, "name", "Name", t->topic);
    card_add(&c, "meaning", "Meaning", t->meaning);
    card_add(&c, "delivery", "Delivered?", delivery_of_class(t->status.class));
    card_add(&c, "again", "Try again?", again_of_class(t->status.class));
    card_add(&c, "cause", "Where it lies", str_from(codes_party_words(t->party)));
    card_add(&c, "sender", "Sender", w.fix_sender);
    card_add(&c, "receiver", "Receiving side", w.fix_receiver);
    card_add(&c, "goes_with", "Goes with",
             e && e->basic_codes.len && char_is_digit(e->basic_codes.data[0])
                 ? arena_printf(arena, "%.*s, with %.*s", STR_ARG(c.code), STR_ARG(e->basic_codes))
                 : c.code);
    card_add(&c, "notes", "Also called", t->words);
    *ret_card = c;
}

static struct str delivery_of(const struct codes_reading *r, struct str action)
{
    if (str_eq_nocase(action, STR("failed")) && r->class == 4)
        return STR("No. The sending server tried until its time was over, and has given up.");
    if (str_eq_nocase(action, STR("delayed")))
        return delivery_of_class(4);
    if (str_eq_nocase(action, STR("delivered")))
        return STR("Yes, into the mailbox.");
    if (str_eq_nocase(action, STR("relayed")))
        return STR("It was handed to another server, which sends no reports of success.");
    if (str_eq_nocase(action, STR("expanded")))
        return STR("It was handed to all members of a list.");
    return r->basic ? r->basic->delivery : delivery_of_class(r->class);
}

void card_of_reading(const struct codes_reading *r, struct str action, struct arena *arena, struct card *ret_card)
{
    struct card c = {0};
    struct str  status = r->status.class ? status_text(r->status, arena) : STR_NONE;
    struct str  code = r->code ? arena_printf(arena, "%u", r->code) : STR_NONE;

    c.code = code.len ? code : status;
    c.title = arena_printf(arena, "%.*s%s%.*s%s%.*s", STR_ARG(code), code.len && status.len ? " " : "", STR_ARG(status),
                           code.len || status.len ? "  " : "", STR_ARG(r->words.name));
    card_add(&c, "name", "Name", r->words.name);
    card_add(&c, "meaning", "Meaning", r->words.meaning);
    card_add(&c, "delivery", "Delivered?", delivery_of(r, action));
    card_add(&c, "again", "Try again?", r->basic ? again_of(r->basic, arena) : again_of_class(r->class));
    card_add(&c, "cause", "Where it lies", str_from(codes_party_words(r->party)));
    card_add(&c, "sender", "Sender", r->words.fix_sender);
    card_add(&c, "receiver", "Receiving side", r->words.fix_receiver);
    if (r->by_words && status.len && r->enhanced)
        card_add(&c, "notes", "The numbers",
                 arena_printf(arena, "%.*s alone means: %.*s.", STR_ARG(status), STR_ARG(r->enhanced->name)));
    if (r->basic)
        card_add(&c, "code", "The code",
                 arena_printf(arena, "%u alone means: %.*s", r->code, STR_ARG(r->basic->meaning)));
    else if (r->code)
        card_add(&c, "code", "The code",
                 arena_printf(arena, "No standard knows %u; its first digit decides: %s.", r->code,
                              card_class_words(r->class)));
    if (r->basic)
        card_add(&c, "standing", "Standing", standing_of(r->basic->status));
    if (r->contradiction)
        card_add(&c, "uncertain", "Beware",
                 arena_printf(arena, "%.*s and %.*s contradict each other; the first digit of the reply code holds.",
                              STR_ARG(code), STR_ARG(status)));
    if (r->status.class)
        add_vendors(&c, r->status, r->enhanced, arena);
    *ret_card = c;
}

bool card_of_number(struct str text, struct arena *arena, struct card *ret_card)
{
    struct codes_status status;
    uint64_t            code;

    text = str_trim(text);
    if (codes_status_parse(text, &status)) {
        card_of_status(status, arena, ret_card);
        return true;
    }
    if (text.len != 3 || !str_to_u64(text, 599, &code) || !codes_basic((unsigned)code))
        return false;
    card_of_basic(codes_basic((unsigned)code), arena, ret_card);
    return true;
}

void card_print(const struct card *c, FILE *out)
{
    fprintf(out, "%s%.*s%s\n", cli_colour(out, CLI_BOLD), STR_ARG(c->title), cli_colour(out, CLI_PLAIN));
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->entries[i].key, "name") == 0)
            continue;
        fprintf(out, "  %s%-*s%s", cli_colour(out, CLI_DIM), LABEL_WIDTH, c->entries[i].label,
                cli_colour(out, CLI_PLAIN));
        cli_print_filled(out, c->entries[i].text, LABEL_WIDTH + 2, LABEL_WIDTH + 2);
    }
}

json_t *card_json(const struct card *c)
{
    json_t *row = json_object();

    if (c->code.len)
        json_object_set_new(row, "code", json_stringn(c->code.data, c->code.len));
    for (size_t i = 0; i < c->count; i++) {
        struct str text = c->entries[i].text;
        json_t    *value = json_stringn(text.data, text.len), *old = json_object_get(row, c->entries[i].key);

        if (strcmp(c->entries[i].key, "code") == 0)
            json_object_set_new(row, "code_alone", value);
        else if (strcmp(c->entries[i].key, "vendor") == 0) { /* there may be several */
            if (!old)
                json_object_set_new(row, "vendor", json_array());
            json_array_append_new(json_object_get(row, "vendor"), value);
        } else
            json_object_set_new(row, c->entries[i].key, value);
    }
    return row;
}
