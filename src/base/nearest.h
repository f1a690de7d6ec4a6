/* nearest.h: what was perhaps meant by a name that does not exist. */
#ifndef TACIT_BASE_NEAREST_H
#define TACIT_BASE_NEAREST_H

#include "base/str.h"

struct nearest {
    struct str  wanted;
    const char *best; /* NULL: nothing is near */
    size_t      distance;
};

struct nearest nearest_to(struct str wanted);
void           nearest_offer(struct nearest *n, const char *name); /* the first of equally near ones stays */

#endif
