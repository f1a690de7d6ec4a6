/* header.h: the header of a message (RFC 5322 2.2, 3.6; RFC 6532), as far as a mail server looks into it.
 *
 *   header = *( field-name *WSP ":" body line-end *( WSP body line-end ) ) [ line-end ]
 *
 * Line ends are CRLF or LF. The first line that is neither a field nor the continuation of one ends the header, with
 * or without an empty line. Nothing here fails: any bytes have a header, if need be an empty one. The iterator looks
 * at content that is all there; the scanner takes content in pieces of any size in constant memory. Both see the same
 * fields and the same end. */
#ifndef TACIT_MAIL_HEADER_H
#define TACIT_MAIL_HEADER_H

#include "base/buf.h"

struct mail_field {
    struct str name; /* without the colon and blanks before it */
    struct str body; /* what follows the colon, still folded, without the last line end */
    struct str raw;  /* the whole field with its last line end */
};

struct mail_fields {
    struct str content;
    size_t     at;  /* where the next field begins; after the last one: where the header ends */
    size_t     max; /* octets to look at */
};

/* `max`: a header is not read beyond this many octets (a field that passes it is not given). */
enum { MAIL_HEADER_MAX = 1 << 20 };
void mail_fields_init(struct mail_fields *f, struct str content, size_t max);
bool mail_fields_next(struct mail_fields *f, struct mail_field *ret_field);

/* The first field of that name (in any case), looking at MAIL_HEADER_MAX octets. */
bool   mail_header_find(struct str content, struct str name, struct mail_field *ret_field);
size_t mail_header_count(struct str content, struct str name);
/* Octets of the header's fields, without the empty line behind them, and where the body begins. */
size_t mail_header_len(struct str content);
size_t mail_header_body(struct str content);

/* Appends a field's body on one line: line ends dropped, blanks at both ends trimmed (RFC 5322 2.2.3). */
bool mail_field_unfold(struct str body, struct buf *out);
/* The first "<...@...>" of a Message-ID, In-Reply-To or References body, with its brackets: printable ASCII (or UTF-8
 * where `utf8`) without blanks, at most MAIL_MESSAGE_ID_MAX octets; empty if there is none. Borrows `body`. */
enum { MAIL_MESSAGE_ID_MAX = 250 };
struct str mail_message_id(struct str body, bool utf8);

/* The scanner. */
enum { MAIL_SCAN_IDS = 16, MAIL_SCAN_ID_MAX = 64, MAIL_SCAN_NAME_MAX = 24 };

struct mail_scan {
    /* What was found; complete after mail_scan_end. */
    uint64_t size;
    uint64_t header_len; /* as mail_header_len, but without its ceiling */
    uint64_t body_start; /* as mail_header_body */
    uint32_t received;   /* Received fields */
    uint32_t fields;     /* all fields */
    bool     header_ended;
    bool     has_message_id, has_date, has_from;
    bool     header_8bit; /* a byte over 127 in the header: needs SMTPUTF8 */
    bool     body_8bit;   /* one in the body: needs 8BITMIME */
    bool     has_nul;
    /* Left parts of "<left@hostname>" anywhere in the content, in order, each once; further ones are passed over. */
    uint8_t  id_count;
    uint8_t  id_lens[MAIL_SCAN_IDS];
    char     ids[MAIL_SCAN_IDS][MAIL_SCAN_ID_MAX];

    /* Its own. */
    struct str hostname;
    uint64_t   line_start;
    uint8_t    state, token_state;
    uint8_t    name_len, left_len;
    size_t     host_len;
    bool       any_field;
    char       name[MAIL_SCAN_NAME_MAX];
    char       left[MAIL_SCAN_ID_MAX];
};

/* `hostname` is borrowed and compared without case; empty: no ids are looked for. */
void       mail_scan_init(struct mail_scan *s, struct str hostname);
void       mail_scan_feed(struct mail_scan *s, struct str piece);
void       mail_scan_end(struct mail_scan *s);
struct str mail_scan_id(const struct mail_scan *s, size_t index); /* left part, as it was written */

#endif
