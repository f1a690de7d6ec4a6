/* address_list.h: the addresses in To, Cc and Bcc (RFC 5322 3.4), for `sendmail -t`. */
#ifndef TACIT_CLI_ADDRESS_LIST_H
#define TACIT_CLI_ADDRESS_LIST_H

#include "base/str.h"

struct address_list {
    struct str rest;
};

/* Takes the next address from a field's body, folded or not: what stands between angle brackets, else the item without
 * its comments; *ret_address borrows the body (a comment inside an address is left in it, for the parser of addresses
 * to refuse). Names of groups are passed over. False: no more. */
bool address_list_next(struct address_list *list, struct str *ret_address);

#endif
