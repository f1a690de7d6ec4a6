/* card.h: what is known of a code, as labelled texts, for a person or as JSON. */
#ifndef TACIT_CLI_CARD_H
#define TACIT_CLI_CARD_H

#include "base/arena.h"
#include "codes/reading.h"

#include <jansson.h>
#include <stdio.h>

enum { CARD_ENTRIES = 24 };

struct card {
    struct str title; /* "252  Cannot Verify User" */
    struct str code;  /* "252", "5.1.10"; empty: none */
    size_t     count;
    struct {
        const char *key, *label; /* of JSON; for people */
        struct str  text;
    } entries[CARD_ENTRIES];
};

/* Texts lie in `arena` or live for ever. */
void card_of_basic(const struct codes_basic *b, struct arena *arena, struct card *ret_card);
void card_of_status(struct codes_status status, struct arena *arena, struct card *ret_card);
/* Of one row of the table: `X` codes in their gravest class. */
void card_of_enhanced(const struct codes_enhanced *e, struct arena *arena, struct card *ret_card);
void card_of_topic(const struct codes_topic *t, struct arena *arena, struct card *ret_card);
/* `action`: of a report's field ("failed", "delayed", ...), or empty. */
void card_of_reading(const struct codes_reading *r, struct str action, struct arena *arena, struct card *ret_card);
/* "252" or "5.1.10"; false: it is neither, or nobody uses it. */
bool card_of_number(struct str text, struct arena *arena, struct card *ret_card);

const char *card_class_words(unsigned class); /* of a first digit: "failure for now" */
/* "X.1.10", "4.7.500-699", "X.1.x" for a part; and its class, the gravest where it has several. */
struct str  card_enhanced_code(const struct codes_enhanced *e, struct arena *arena);
unsigned    card_enhanced_class(const struct codes_enhanced *e);

void        card_add(struct card *c, const char *key, const char *label, struct str text); /* empty: left out */
const char *card_label(const struct card *c, const char *key); /* NULL: there is no such entry */
struct str  card_get(const struct card *c, const char *key);
void        card_print(const struct card *c, FILE *out);
json_t     *card_json(const struct card *c);

#endif
