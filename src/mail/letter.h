/* letter.h: what the messages that this server writes (report.h, digest.h) have in common; for those two only. */
#ifndef TACIT_MAIL_LETTER_H
#define TACIT_MAIL_LETTER_H

#include "mail/address.h"

struct letter {
    struct str                 mta;
    struct str                 id;
    uint64_t                   date_ms;
    const struct mail_address *to;
    const char                *kind;       /* of Auto-Submitted, RFC 3834 5: "auto-replied", "auto-generated" */
    struct str                 answers;    /* Message-ID with brackets; empty: none */
    const char                *subject;    /* what it is about */
    struct str                 subject_of; /* the subject of another message, put behind it; empty: none */
    bool                       utf8;       /* UTF-8 may stand in header and text */
};

/* Appends all header fields but the MIME ones of the content. */
bool letter_head(const struct letter *l, struct buf *out);

/* Appends `first` and then the words of `text`, made safe and cut to `max` octets, in lines of 76 columns of which each
 * further one begins with `rest`; and a line end. */
enum { LETTER_TEXT_MAX = 900 };
bool letter_text(struct buf *out, bool utf8, const char *first, const char *rest, struct str text);
bool letter_line(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends an address as people and reports read it: one that is not ASCII as \x{...} where not `utf8`; a postmaster
 * without a domain with that of `mta`; the null path as "<>". */
bool letter_address(struct buf *out, const struct mail_address *a, struct str mta, bool utf8);
/* Appends what of `word` may stand in an id, a boundary or a host name; at most 128 octets. */
bool letter_word(struct buf *out, struct str word);
/* Appends "812 octets", "3.1 kB", "12 MB". */
bool letter_size(struct buf *out, uint64_t octets);

#endif
