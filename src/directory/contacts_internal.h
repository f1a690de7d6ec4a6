/* contacts_internal.h: what contacts.c (opening, reading) and contacts_learn.c (changing) share. */
#ifndef TACIT_DIRECTORY_CONTACTS_INTERNAL_H
#define TACIT_DIRECTORY_CONTACTS_INTERNAL_H

#include "directory/contacts.h"
#include "directory/sqlite_db.h"

enum statement {
    BEGIN,
    COMMIT,
    GET,
    PAGE,
    PAGE_OF,
    SAY,
    UNSAY_DOMAIN,
    EXPIRE,
    EVICT,
    FORGET,
    FORGET_DOMAIN,
    STATEMENTS
};

struct contacts {
    struct sqlite_db db;
    bool             counted; /* `count` holds, while the database is of this version */
    uint64_t         count;
    int64_t          version; /* of the data, when it was counted */
};

bool contacts_no_memory(const struct contacts *c, struct err *err);

#endif
