/* reading.c: see reading.h.
 *
 * Which of number and words decides: an enhanced code that names a particular cause, before words, before an enhanced
 * code that says only "something about policy", before the reply code alone. So "550 5.7.1 ... Spamhaus" is a
 * blocklist, and "550 5.1.1 ... spam" is still a mailbox that does not exist. */
#include "codes/reading.h"

#include "codes/table.h"

static bool is_digits(struct str s, size_t at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (at + i >= s.len || !char_is_digit(s.data[at + i]))
            return false;
    return true;
}

static char at_or(struct str s, size_t at, char other) { return at < s.len ? s.data[at] : other; }

static bool is_word(char c) { return char_is_alnum(c) || (unsigned char)c >= 0x80; }

/* ---- numbers ---- */

/* An enhanced code that begins at `at`, and no longer run of numbers and dots (an address, a version). */
static size_t status_at(struct str s, size_t at, struct codes_status *ret_status)
{
    size_t end = at;

    if (at && (is_word(s.data[at - 1]) || s.data[at - 1] == '.' ||
               (s.data[at - 1] == '-' && at > 3 && !is_digits(s, at - 4, 3))))
        return 0;
    while (end < s.len && (char_is_digit(s.data[end]) || (s.data[end] == '.' && char_is_digit(at_or(s, end + 1, 0)))))
        end++;
    if (is_word(at_or(s, end, ' ')) || !codes_status_parse(str_part(s, at, end - at), ret_status))
        return 0;
    return end - at;
}

/* A reply code that begins at `at`: three digits that stand alone, or before "-" or " ". */
static bool code_at(struct str s, size_t at, unsigned *ret_code)
{
    unsigned code;
    char     before = at ? s.data[at - 1] : ' ', after;

    if (!is_digits(s, at, 3) || is_digits(s, at, 4) || is_word(before) || before == '.' || before == '-' ||
        before == '/' || before == '+')
        return false;
    after = at_or(s, at + 3, ' ');
    if (is_word(after) || (after == '.' && is_digits(s, at + 4, 1)) || after == '/' || after == '%')
        return false;
    if (after == '-' && is_digits(s, at + 4, 1) && at_or(s, at + 5, 0) != '.' &&
        (!is_digits(s, at + 4, 3) || is_digits(s, at + 4, 4)))
        return false; /* "555-1234" */
    code =
        (unsigned)(s.data[at] - '0') * 100 + (unsigned)(s.data[at + 1] - '0') * 10 + (unsigned)(s.data[at + 2] - '0');
    if (code < 101 || code > 599)
        return false;
    *ret_code = code;
    return true;
}

static bool begins_line(struct str s, size_t at)
{
    while (at && (s.data[at - 1] == ' ' || s.data[at - 1] == '\t' || s.data[at - 1] == '<' || s.data[at - 1] == '"'))
        at--;
    return !at || s.data[at - 1] == '\n' || s.data[at - 1] == ':' || s.data[at - 1] == ';';
}

/* The most likely of the numbers that could be codes: one that an enhanced code of its class follows, one at the
 * beginning of a line or of what somebody said, one that is a failure. */
static void find_code(struct str s, struct codes_reading *r)
{
    unsigned best = 0;

    for (size_t i = 0; i + 3 <= s.len; i++) {
        struct codes_status status;
        unsigned            code, worth = 1;
        size_t              next = i + 4;

        if (!code_at(s, i, &code))
            continue;
        if (at_or(s, next, ' ') == '#')
            next++;
        if (next < s.len && status_at(s, next, &status))
            worth += 8;
        if (begins_line(s, i))
            worth += 4;
        if (codes_basic(code))
            worth += 2;
        if (code >= 400)
            worth += 1;
        if (code >= 100 && code < 200 && !(s.len == 3))
            worth = 1; /* no mail server says it */
        if (worth > best && (worth > 3 || s.len < 8)) {
            best = worth;
            r->code = code;
        }
    }
}

static void find_status(struct str s, struct codes_reading *r)
{
    for (size_t i = 0; i + 5 <= s.len; i++) {
        struct codes_status status;
        size_t              len = char_is_digit(s.data[i]) ? status_at(s, i, &status) : 0;

        if (!len)
            continue;
        if (!r->status.class || (r->code && r->status.class != r->code / 100 && status.class == r->code / 100))
            r->status = status;
        i += len - 1;
    }
}

/* ---- words ---- */

static bool is_boundary(struct str s, size_t at)
{
    return !at || !is_word(s.data[at - 1]) || !is_word(at_or(s, at, ' '));
}

static size_t find_from(struct str s, size_t from, struct str what)
{
    for (size_t i = from; i + what.len <= s.len; i++)
        if (str_eq_nocase(str_part(s, i, what.len), what) && is_boundary(s, i) &&
            (what.len > 4 || is_boundary(s, i + what.len)))
            return i;
    return STR_NOT_FOUND;
}

static bool has_phrase(struct str s, struct str phrase)
{
    size_t from = 0;

    while (phrase.len) {
        size_t     cut = str_find(phrase, STR(" & "));
        struct str part = cut == STR_NOT_FOUND ? phrase : str_part(phrase, 0, cut);
        size_t     at = find_from(s, from, part);

        if (at == STR_NOT_FOUND)
            return false;
        from = at + part.len;
        phrase = cut == STR_NOT_FOUND ? STR_NONE : str_skip(phrase, cut + 3);
    }
    return true;
}

const struct codes_topic *codes_topic_in(struct str text)
{
    for (size_t i = 0; i < codes_phrase_table_len; i++)
        if (has_phrase(text, codes_phrase_table[i].phrase))
            return &codes_topic_table[codes_phrase_table[i].topic];
    return NULL;
}

const struct codes_topic *codes_topic_named(struct str words)
{
    words = str_trim(words);
    for (size_t i = 0; i < codes_topic_table_len; i++) {
        const struct codes_topic *t = &codes_topic_table[i];
        struct str                rest = t->words;

        if (str_eq_nocase(t->topic, words))
            return t;
        while (rest.data)
            if (str_eq_nocase(str_trim(str_cut(&rest, ',')), words))
                return t;
    }
    return NULL;
}

/* ---- all together ---- */

static bool says(struct str s, const char *word) { return find_from(s, 0, str_from(word)) != STR_NOT_FOUND; }

static const struct codes_enhanced *vendor_sense(struct str s, struct codes_status status)
{
    static const struct {
        const char *vendor, *marks[6];
    } vendors[] = {
        {"Exchange Online", {"resolver.", "outlook.com", "office365", "exchange", "eop.", "microsoft"}},
        {"Outlook.com", {"outlook.com", "hotmail", "microsoft", "live.com"}},
        {"Google", {"gsmtp", "google", "gmail"}},
    };

    for (size_t v = 0; v < sizeof vendors / sizeof *vendors; v++)
        for (size_t i = 0; i < codes_enhanced_table_len; i++) {
            const struct codes_enhanced *e = &codes_enhanced_table[i];

            if (!str_starts(e->vendor, str_from(vendors[v].vendor)) || e->subject != status.subject ||
                e->detail > status.detail || e->detail_last < status.detail ||
                (e->class ? e->class != status.class : status.class == 2))
                continue;
            for (size_t m = 0; m < sizeof vendors[v].marks / sizeof *vendors[v].marks && vendors[v].marks[m]; m++)
                if (says(s, vendors[v].marks[m]))
                    return e;
        }
    return NULL;
}

/* Says something of its own, and not only where to look. That an address is wrong cannot be for now only: such a number
 * is greylisting, or trouble with a look-up. */
static bool is_particular(const struct codes_enhanced *e, unsigned class)
{
    static const struct {
        unsigned subject, detail;
    } general[] = {{2, 4}, {3, 2}, {4, 7}, {5, 1}, {5, 2}, {5, 4}, {7, 1}};

    if (!e || !e->detail || (e->subject == 1 && class == 4))
        return false;
    for (size_t i = 0; i < sizeof general / sizeof *general; i++)
        if (!e->vendor.len && e->subject == general[i].subject && e->detail == general[i].detail)
            return false;
    return true;
}

/* A reply code with one cause only, whatever stands beside it. */
static bool decides_alone(const struct codes_basic *b)
{
    static const uint16_t codes[] = {432, 502, 521, 534, 535, 538, 556};

    for (size_t i = 0; b && i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == b->code)
            return true;
    return b && b->code < 400;
}

struct codes_words codes_topic_words(const struct codes_topic *t)
{
    struct codes_words w = codes_explain(0, t->status);

    w.name = t->topic;
    w.meaning = t->meaning;
    if (t->fix_sender.len)
        w.fix_sender = t->fix_sender;
    return w;
}

static void decide(struct codes_reading *r)
{
    bool particular = is_particular(r->enhanced, r->class), alone = decides_alone(r->basic);

    if (r->enhanced && r->class > 3 &&
        (r->enhanced->vendor.len || (!alone && particular) || (!r->basic && !r->topic))) {
        r->party = r->enhanced->party;
        r->words = (struct codes_words){r->enhanced->name, r->enhanced->meaning, r->enhanced->fix_sender,
                                        r->enhanced->fix_receiver};
    } else if (r->topic && r->class > 3 && (!alone || (r->code == 521 && r->topic->party == CODES_PARTY_ORIGIN))) {
        r->by_words = true;
        r->party = r->topic->party;
        r->words = codes_topic_words(r->topic);
    } else if (r->basic) {
        r->words =
            (struct codes_words){r->basic->name, r->basic->meaning, r->basic->fix_sender, r->basic->fix_receiver};
        r->party = r->basic->party;
        if (!alone && r->enhanced && r->enhanced->party != CODES_PARTY_UNKNOWN)
            r->party = r->enhanced->party;
    } else {
        r->words = codes_explain(r->code, r->status);
        r->party = r->class == 2 || r->class == 3 ? CODES_PARTY_NONE
                   : r->enhanced                  ? r->enhanced->party
                                                  : CODES_PARTY_UNKNOWN;
    }
}

bool codes_read(struct str text, struct codes_reading *ret_reading)
{
    struct codes_reading r = {0};

    text = str_trim(str_part(text, 0, CODES_READING_MAX));
    find_code(text, &r);
    find_status(text, &r);
    r.basic = codes_basic(r.code);
    if (r.status.class) {
        r.enhanced = vendor_sense(text, r.status);
        if (!r.enhanced)
            r.enhanced = codes_enhanced(r.status.class, r.status.subject, r.status.detail);
        r.contradiction = r.code && r.code / 100 != r.status.class;
    }
    r.topic = codes_topic_in(text);
    r.class = r.code ? r.code / 100 : r.status.class ? r.status.class : r.topic ? r.topic->status.class : 0;
    if (!r.code && !r.status.class && !r.topic)
        return false;
    decide(&r);
    *ret_reading = r;
    return true;
}

struct codes_report codes_reading_report(const struct codes_reading *r)
{
    if (r->by_words && r->topic->report.len)
        return (struct codes_report){r->topic->report, r->topic->advice};
    if (r->by_words)
        return codes_report(0, r->topic->status);
    if (r->enhanced && r->enhanced->vendor.len && r->enhanced->report.len)
        return (struct codes_report){r->enhanced->report, r->enhanced->advice};
    return codes_report(r->code, r->status);
}
