/* domain.h: the canonical form of domains and address literals (RFC 5321 4.1.2, 4.1.3; RFC 5890), for address.c.
 *
 *   Domain          = Label *( "." Label )
 *   Label           = Let-dig [ *( Let-dig / "-" ) Let-dig ] / U-label
 *   address-literal = "[" ( Snum 3( "." Snum ) / "IPv6:" IPv6-addr ) "]" */
#ifndef TACIT_MAIL_DOMAIN_H
#define TACIT_MAIL_DOMAIN_H

#include "mail/address.h"

struct domain_text {
    char   bytes[MAIL_DOMAIN_MAX];
    size_t len;
};

enum domain_fault {
    DOMAIN_OK,
    DOMAIN_LONG,        /* a label over 63 octets or the whole over MAIL_DOMAIN_MAX, as A-labels */
    DOMAIN_BAD_NAME,    /* an empty label, or a hyphen at the end of one */
    DOMAIN_BAD_IDNA,    /* a label outside ASCII that IDNA does not allow */
    DOMAIN_BAD_LITERAL, /* not an address, or of an unknown kind */
    DOMAIN_NO_MEMORY,
};

bool              domain_byte_is_valid(char c); /* letters, digits, "-", "." and all bytes over 127 */
/* `in` is ASCII or UTF-8, with brackets if it is a literal. *ret_domain holds rubbish after a fault. */
enum domain_fault domain_canonical(struct str in, struct domain_text *ret_domain);

#endif
