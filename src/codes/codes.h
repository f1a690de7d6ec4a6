/* codes.h: what reply codes and enhanced status codes mean, in plain words (RFC 5321 4.2, RFC 3463, RFC 5248).
 *
 * The tables are made from data/codes/ at build time and live for ever. Texts are whole sentences in ASCII. */
#ifndef TACIT_CODES_H
#define TACIT_CODES_H

#include "base/str.h"

struct codes_status { /* X.Y.Z; class 0: none */
    uint8_t class;
    uint16_t subject, detail;
};

enum codes_party { /* where the cause lies */
                   CODES_PARTY_NONE,
                   CODES_PARTY_UNKNOWN,
                   CODES_PARTY_ADDRESS,
                   CODES_PARTY_DOMAIN,
                   CODES_PARTY_MAILBOX,
                   CODES_PARTY_RECEIVER,
                   CODES_PARTY_SENDER,
                   CODES_PARTY_ORIGIN,
                   CODES_PARTY_MESSAGE,
                   CODES_PARTY_POLICY,
                   CODES_PARTY_NETWORK,
};
const char *codes_party_name(enum codes_party party);  /* "address" */
const char *codes_party_words(enum codes_party party); /* a whole sentence */

/* The columns are those of data/codes/README.md. */
struct codes_basic {
    uint16_t         code;
    enum codes_party party;
    struct str       name;
    struct str       status;     /* "standard", "experimental", "draft", "deprecated", "table-only" or "folk" */
    struct str       category;   /* "mail system (x5z)" */
    struct str       defined_in; /* where, or that it is defined nowhere */
    struct str       also_in, commands;
    struct str       client_action; /* "continue", "retry", "bounce", ... */
    struct str       retry, scope, enhanced_typical, uncertain;
    struct str       meaning, delivery, when_seen, fix_sender, fix_receiver, notes;
    struct str       report, advice; /* as codes_report has them; empty: others say it */
};

struct codes_enhanced {
    uint8_t class;            /* 2, 4 or 5; 0: the text is about every class of `classes` */
    bool             is_part; /* about a class or a subject alone: its detail (and subject) say nothing */
    uint16_t         subject, detail, detail_last; /* most often one detail, else a range */
    struct str       vendor;                       /* who uses the number in this sense; empty: registered by IANA */
    enum codes_party party;
    struct str       classes; /* "4,5" */
    struct str       name;
    struct str       basic_codes, section, registry;
    struct str       client_action, uncertain;
    struct str       meaning, when_seen, fix_sender, fix_receiver, notes;
    struct str       report, advice; /* as codes_report has them; empty: others say it */
};

/* What people call a cause, whatever number it comes with. */
struct codes_topic {
    struct codes_status status; /* the number that says the same */
    enum codes_party    party;
    struct str          topic;               /* "greylisting" */
    struct str          words;               /* other names, parted by ", " */
    struct str          meaning, fix_sender; /* the second empty: that of the number */
    struct str          report, advice;      /* empty: those of the number */
};

/* Two codes side by side, as text ("252", "5.1.1"). */
struct codes_pair {
    struct str a, b, difference, when, advice;
};

/* NULL: nobody uses it. */
const struct codes_basic    *codes_basic(unsigned code);
/* The registered meaning; NULL: the number is not registered. */
const struct codes_enhanced *codes_enhanced(unsigned class, unsigned subject, unsigned detail);
const struct codes_enhanced *codes_subject(unsigned subject); /* of the middle number alone */
const struct codes_enhanced *codes_class(unsigned class);     /* of the first number alone */

/* The best plain words for a reply or a report: those of the enhanced code where it says something particular, else
 * of the reply code, else what the parts of the enhanced code say. Always gives words. `code` 0 and class 0: unknown.
 */
struct codes_words {
    struct str name, meaning, fix_sender, fix_receiver;
};
struct codes_words codes_explain(unsigned code, struct codes_status status);

/* The same for people who know nothing of mail servers, in a report about their message: what stands in the way, and
 * what they can do once nobody tries any more. Always gives words. */
struct codes_report {
    struct str happened, advice;
};
struct codes_report codes_report(unsigned code, struct codes_status status);

/* "5.1.10" of RFC 3463 2: classes 2, 4 and 5, numbers of 1 to 3 digits without leading zeros. */
bool codes_status_parse(struct str text, struct codes_status *ret_status);

/* In either order; NULL: nothing particular is known of the two. */
const struct codes_pair *codes_pair(struct str a, struct str b);

/* All entries, for listings. */
size_t                       codes_basic_count(void);
const struct codes_basic    *codes_basic_at(size_t index);
size_t                       codes_enhanced_count(void);
const struct codes_enhanced *codes_enhanced_at(size_t index);
size_t                       codes_topic_count(void);
const struct codes_topic    *codes_topic_at(size_t index);
size_t                       codes_pair_count(void);
const struct codes_pair     *codes_pair_at(size_t index);

#endif
