/* internal.h: what the keeper holds. */
#ifndef TACIT_KEEPER_INTERNAL_H
#define TACIT_KEEPER_INTERNAL_H

#include "keeper/contacts.h"
#include "keeper/keeper.h"
#include "keeper/token.h"

struct keeper_domain { /* at the same place as in config->domains */
    struct expansion_domain expansion;
};

struct keeper_directory {
    const char       *spec;
    struct directory *directory;
};

struct keeper {
    const struct config     *config;
    struct disclosure_config disclosure;
    struct keeper_domain    *domains;
    struct keeper_directory *directories; /* several domains may share one */
    size_t                   directory_count;
    struct token_key         key;
    struct keeper_contacts  *contacts; /* NULL: nothing is remembered */
};

#endif
