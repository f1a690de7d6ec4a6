/* site.h: tacit explain --html: the catalogue of codes as pages to read. */
#ifndef TACIT_CLI_SITE_H
#define TACIT_CLI_SITE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Writes index.html and a page for each code, cause and pair into `dir`, which is made if it is missing; what stands
 * there under the same names is replaced. They need no server, and nothing from elsewhere. */
bool site_write(const char *dir, size_t *ret_pages, struct err *err);

/* The same bytes for every page: data/site/. */
extern const char site_style[], site_script[];

#endif
