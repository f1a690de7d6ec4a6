/* files.h: directories that tests fill and throw away. */
#ifndef TACIT_TEST_FILES_H
#define TACIT_TEST_FILES_H

#include <stdbool.h>

/* Removes what is in the directory; the second also the directory itself. False: something is left. */
bool files_clear(const char *dir);
bool files_remove(const char *dir);

/* How many names in the directory begin with `prefix`, and with no dot. A directory that is not there has none. */
unsigned files_count(const char *dir, const char *prefix);

#endif
