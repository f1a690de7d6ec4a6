/* table.h: the tables that data/codes/generate.py makes, sorted by number; for the other files of this
 * folder. */
#ifndef TACIT_CODES_TABLE_H
#define TACIT_CODES_TABLE_H

#include "codes/reading.h"

/* Words of a reply, and the topic that they give away. */
struct codes_phrase {
    size_t     topic;
    struct str phrase; /* lower case; " & " parts words that must all occur, in this order */
};

extern const struct codes_basic    codes_basic_table[];
extern const size_t                codes_basic_table_len;
extern const struct codes_enhanced codes_enhanced_table[];
extern const size_t                codes_enhanced_table_len;
extern const struct codes_topic    codes_topic_table[];
extern const size_t                codes_topic_table_len;
extern const struct codes_phrase   codes_phrase_table[];
extern const size_t                codes_phrase_table_len;
extern const struct codes_pair     codes_pair_table[];
extern const size_t                codes_pair_table_len;

#endif
