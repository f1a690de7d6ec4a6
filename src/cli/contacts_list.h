/* contacts_list.h: a list of addresses, read from a table for `tacit contacts check`. */
#ifndef TACIT_CLI_CONTACTS_LIST_H
#define TACIT_CLI_CONTACTS_LIST_H

#include "cli/cli.h"
#include "cli/domain_check.h"

#include "base/map.h"

struct contacts_row {
    uint32_t             line;
    struct str           text; /* as it stands in the list */
    struct mail_address  address;
    const char          *wrong;  /* with it; or NULL */
    struct domain_check *domain; /* NULL: ours, or the address is wrong */
};

struct contacts_list {
    struct arena          arena; /* of all that is in it */
    struct buf            text;
    struct contacts_row  *rows;
    size_t                count, room;
    struct map            by_name;
    struct domain_check **domains; /* those of the rows, once each */
    size_t                domain_count, domain_room;
};

void contacts_list_init(struct contacts_list *l);
void contacts_list_done(struct contacts_list *l);
/* Reads the file, "-" for standard input; `column` is the name or the number of one, or NULL. False: said why. */
bool contacts_list_read(struct contacts_list *l, struct cli *cli, const struct config *config, const char *file,
                        const char *column);

#endif
