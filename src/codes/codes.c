/* codes.c: looks up codes. The tables have a couple of hundred rows and are asked for reports and by people, so they
 * are searched from front to back; an index would be more to get wrong than it could save. */
#include "codes/table.h"

const struct codes_basic *codes_basic(unsigned code)
{
    for (size_t i = 0; i < codes_basic_table_len; i++)
        if (codes_basic_table[i].code == code)
            return &codes_basic_table[i];
    return NULL;
}

/* Whether an entry speaks of this class: some numbers are registered for some classes only. */
static bool class_fits(const struct codes_enhanced *e, unsigned class)
{
    return e->class ? e->class == class : str_find_byte(e->classes, (char)('0' + class)) != STR_NOT_FOUND;
}

const struct codes_enhanced *codes_enhanced(unsigned class, unsigned subject, unsigned detail)
{
    const struct codes_enhanced *other_class = NULL;

    if (class != 2 && class != 4 && class != 5)
        return NULL;
    for (size_t i = 0; i < codes_enhanced_table_len; i++) {
        const struct codes_enhanced *e = &codes_enhanced_table[i];

        if (e->is_part || e->vendor.len || e->subject != subject || e->detail > detail || e->detail_last < detail)
            continue;
        if (class_fits(e, class))
            return e;
        other_class = e;
    }
    return other_class;
}

const struct codes_enhanced *codes_subject(unsigned subject)
{
    for (size_t i = 0; i < codes_enhanced_table_len; i++)
        if (codes_enhanced_table[i].is_part && !codes_enhanced_table[i].class &&
            codes_enhanced_table[i].subject == subject)
            return &codes_enhanced_table[i];
    return NULL;
}

const struct codes_enhanced *codes_class(unsigned class)
{
    for (size_t i = 0; i < codes_enhanced_table_len; i++)
        if (codes_enhanced_table[i].is_part && codes_enhanced_table[i].class && codes_enhanced_table[i].class == class)
            return &codes_enhanced_table[i];
    return NULL;
}

static struct codes_words words_of(const struct codes_enhanced *e)
{
    return (struct codes_words){e->name, e->meaning, e->fix_sender, e->fix_receiver};
}

struct codes_words codes_explain(unsigned code, struct codes_status status)
{
    const struct codes_basic    *basic = codes_basic(code);
    const struct codes_enhanced *exact = codes_enhanced(status.class, status.subject, status.detail);
    const struct codes_enhanced *part;

    if (exact && exact->detail)
        return words_of(exact);
    if (basic)
        return (struct codes_words){basic->name, basic->meaning, basic->fix_sender, basic->fix_receiver};
    if (exact && exact->subject)
        return words_of(exact);
    part = codes_class(status.class ? status.class : code / 100);
    if (part)
        return words_of(part);
    return (struct codes_words){
        STR("Unknown"),
        STR("No reason is known."),
        STR("Ask the postmaster of the receiving domain."),
        STR("Look in the server's logs."),
    };
}

struct codes_report codes_report(unsigned code, struct codes_status status)
{
    const struct codes_basic    *basic = codes_basic(code);
    const struct codes_enhanced *rows[] = {
        codes_enhanced(status.class, status.subject, status.detail),
        status.class && status.subject ? codes_subject(status.subject) : NULL,
        codes_class(status.class ? status.class : code / 100),
        codes_subject(0),
    };

    if (rows[0] && rows[0]->report.len)
        return (struct codes_report){rows[0]->report, rows[0]->advice};
    if (basic && basic->report.len)
        return (struct codes_report){basic->report, basic->advice};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i] && rows[i]->report.len)
            return (struct codes_report){rows[i]->report, rows[i]->advice};
    return (struct codes_report){STR_NONE, STR_NONE}; /* never: generate.py sees to it */
}

bool codes_status_parse(struct str text, struct codes_status *ret_status)
{
    uint64_t   numbers[3];
    struct str rest = text;

    for (size_t i = 0; i < 3; i++) {
        struct str part = str_cut(&rest, '.');

        if (part.len > 3 || !str_to_u64(part, 999, &numbers[i]) || (part.len > 1 && part.data[0] == '0') ||
            (i < 2) != (rest.data != NULL))
            return false;
    }
    if (numbers[0] != 2 && numbers[0] != 4 && numbers[0] != 5)
        return false;
    *ret_status = (struct codes_status){(uint8_t)numbers[0], (uint16_t)numbers[1], (uint16_t)numbers[2]};
    return true;
}

const struct codes_pair *codes_pair(struct str a, struct str b)
{
    for (size_t i = 0; i < codes_pair_table_len; i++) {
        const struct codes_pair *p = &codes_pair_table[i];

        if ((str_eq(p->a, a) && str_eq(p->b, b)) || (str_eq(p->a, b) && str_eq(p->b, a)))
            return p;
    }
    return NULL;
}

static const struct {
    const char *name, *words;
} parties[] = {
    [CODES_PARTY_NONE] = {"none",
                          "Nowhere: this is not an error, and nothing is wrong with the address or the message."},
    [CODES_PARTY_UNKNOWN] = {"unknown", "The number does not say; read the text beside it."},
    [CODES_PARTY_ADDRESS] = {"address", "The recipient's address: it is wrong, gone or moved."},
    [CODES_PARTY_DOMAIN] = {"domain", "The recipient's domain, or what the DNS says of it."},
    [CODES_PARTY_MAILBOX] = {"mailbox", "The recipient's mailbox: its owner or its administrator has to act."},
    [CODES_PARTY_RECEIVER] = {"receiver", "The receiving server: its administrator has to act."},
    [CODES_PARTY_SENDER] = {"sender", "The sender: the address, the account or the settings of the mail program."},
    [CODES_PARTY_ORIGIN] = {"origin",
                            "The sending server, or the settings of its domain: its administrator has to act."},
    [CODES_PARTY_MESSAGE] = {"message", "The message itself: its size, its form or what is in it."},
    [CODES_PARTY_POLICY] = {"policy", "The rules of the receiving side, about this sender or this message."},
    [CODES_PARTY_NETWORK] = {"network", "The way between the two servers: network, firewall or DNS."},
};

const char *codes_party_name(enum codes_party party) { return parties[party].name; }
const char *codes_party_words(enum codes_party party) { return parties[party].words; }

size_t                       codes_basic_count(void) { return codes_basic_table_len; }
const struct codes_basic    *codes_basic_at(size_t index) { return &codes_basic_table[index]; }
size_t                       codes_enhanced_count(void) { return codes_enhanced_table_len; }
const struct codes_enhanced *codes_enhanced_at(size_t index) { return &codes_enhanced_table[index]; }
size_t                       codes_topic_count(void) { return codes_topic_table_len; }
const struct codes_topic    *codes_topic_at(size_t index) { return &codes_topic_table[index]; }
size_t                       codes_pair_count(void) { return codes_pair_table_len; }
const struct codes_pair     *codes_pair_at(size_t index) { return &codes_pair_table[index]; }
