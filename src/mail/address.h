/* address.h: mail addresses and paths (RFC 5321 4.1.2, 4.1.3; RFC 6531 3.3).
 *
 *   Reverse-path = Path / "<>"            Path = "<" [ A-d-l ":" ] Mailbox ">"
 *   Mailbox      = Local-part "@" ( Domain / address-literal )
 *   Local-part   = Dot-string / Quoted-string
 *
 * A parsed address is canonical: quotes and backslashes of the local part are resolved and its case is kept; the
 * domain is in lower case and as A-labels (IDNA 2008, non-transitional); an address literal keeps its brackets
 * with the address in its shortest form. So two spellings of one address give the same bytes (but for the case of
 * the local part, which belongs to its host). Source routes are read and thrown away (RFC 5321 appendix C). */
#ifndef TACIT_MAIL_ADDRESS_H
#define TACIT_MAIL_ADDRESS_H

#include "base/arena.h"
#include "base/buf.h"

/* Octets, RFC 5321 4.5.3.1. */
enum { MAIL_LOCAL_MAX = 64, MAIL_DOMAIN_MAX = 255, MAIL_PATH_MAX = 256 };

struct mail_address {
    struct str local;
    struct str domain; /* empty: the null path (local empty too), or "postmaster" without a domain */
    bool       utf8;   /* the local part has bytes outside ASCII: needs SMTPUTF8 all the way */
};

enum parse_result { PARSE_OK, PARSE_MORE, PARSE_BAD };

/* Why a path is wrong: decides the reply (syntax 5.1.3/5.1.7, length 5.1.3, UTF-8 without SMTPUTF8 5.6.7). */
enum mail_address_fault {
    MAIL_ADDRESS_SYNTAX,      /* not of the grammar */
    MAIL_ADDRESS_LOCAL_LONG,  /* local part over MAIL_LOCAL_MAX */
    MAIL_ADDRESS_DOMAIN_LONG, /* domain over MAIL_DOMAIN_MAX, a label over 63, or the path over MAIL_PATH_MAX */
    MAIL_ADDRESS_DOMAIN_BAD,  /* domain not a valid host name (single labels are valid) or not valid IDNA */
    MAIL_ADDRESS_NOT_UTF8,    /* bytes outside ASCII that are not UTF-8 */
    MAIL_ADDRESS_NEEDS_UTF8,  /* UTF-8, but `utf8` was not allowed */
    MAIL_ADDRESS_NO_MEMORY,   /* the arena's ceiling is met */
};

struct mail_address_error {
    enum mail_address_fault fault;
    size_t                  offset; /* where in the input */
    const char             *reason; /* a static sentence without a full stop */
};

/* Reads a path with its angle brackets at the start of `in`; *ret_len is how much of `in` it took. The address's
 * bytes are taken from `arena`. `allow_null`: "<>" is right (reverse paths). `allow_bare_postmaster`:
 * "<postmaster>" in any case is right (RFC 5321 4.5.1) and given back in lower case. `utf8`: SMTPUTF8 is in force.
 * Returns PARSE_OK or PARSE_BAD: `in` is a whole line, so a path that has no end is wrong. */
struct mail_path_rules {
    bool allow_null, allow_bare_postmaster, utf8;
};
enum parse_result mail_path_parse(struct str in, struct mail_path_rules rules, struct arena *arena,
                                  struct mail_address *ret_address, size_t *ret_len,
                                  struct mail_address_error *ret_error);

/* A whole "local@domain" without brackets, as people and configuration files write it. */
bool mail_address_parse(struct str in, bool utf8, struct arena *arena, struct mail_address *ret_address,
                        struct mail_address_error *ret_error);

/* A domain alone, made canonical as above; a literal only where `allow_literal`. */
bool mail_domain_parse(struct str in, bool allow_literal, struct arena *arena, struct str *ret_domain);

static inline bool mail_address_is_null(const struct mail_address *a) { return !a->local.len && !a->domain.len; }
bool mail_address_eq(const struct mail_address *a, const struct mail_address *b); /* local parts by exact case */

/* Appends "local@domain", the local part quoted where the grammar needs it; nothing for the null path. */
bool       mail_address_format(const struct mail_address *a, struct buf *out);
/* Into an arena, NUL-terminated; data is NULL if it does not fit. */
struct str mail_address_text(const struct mail_address *a, struct arena *arena);
bool       mail_address_copy(const struct mail_address *from, struct arena *arena, struct mail_address *ret_address);

/* The key under which a mailbox is known: local part in lower case (Unicode case folding, normalised to NFC, so that
 * canonically equivalent spellings meet) and without "+tag" if `separator` (0: none) occurs in it after the first
 * byte. "Alice+lists" and "alice" have the same key; RFC 5321 2.4 leaves this to the receiving host. The key of a key
 * is the key itself. data is NULL if the arena is full. */
struct str mail_local_key(struct str local, char separator, struct arena *arena);

#endif
