/* reading.h: what a reply says, read as a person would read it: numbers where they are particular, words where the
 * numbers are not, a vendor's own sense where the text gives the vendor away.
 *
 *   reply = code [ ( " " / "-" ) ] [ enhanced code ] text        ; RFC 5321 4.2, RFC 2034
 *
 * The numbers may stand anywhere: bounces quote replies in the middle of sentences of their own. Pure. */
#ifndef TACIT_CODES_READING_H
#define TACIT_CODES_READING_H

#include "codes/codes.h"

enum { CODES_READING_MAX = 64 << 10 }; /* octets that are looked at */

struct codes_reading {
    unsigned                     code;          /* 0: none stands there */
    struct codes_status          status;        /* class 0: none */
    const struct codes_basic    *basic;         /* NULL: no code, or one that nobody uses */
    const struct codes_enhanced *enhanced;      /* in the vendor's sense if the text shows whose it is; NULL: none */
    const struct codes_topic    *topic;         /* what the words give away; NULL: nothing */
    bool                         contradiction; /* the first digits of code and status differ; the code holds */
    /* The outcome of all that. */
    enum codes_party             party;
    unsigned class; /* 2, 4, 5; 3: more is to be sent; 0: nobody can say */
    struct codes_words words;
    bool               by_words; /* the words decided, since the numbers are too general */
};

/* Of one reply, perhaps of several lines. False: it holds neither a number nor words that are known. */
bool codes_read(struct str text, struct codes_reading *ret_reading);

/* The same for people who know nothing of mail servers (codes_report). */
struct codes_report codes_reading_report(const struct codes_reading *r);
struct codes_words  codes_topic_words(const struct codes_topic *t);

/* The topic that the words give away, or NULL; and one by its name or by another of its words, whole. */
const struct codes_topic *codes_topic_in(struct str text);
const struct codes_topic *codes_topic_named(struct str words);

#endif
