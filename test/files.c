/* files.c: see files.h. */
#include "files.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind;
    return at->level == 0 ? 0 : remove(path);
}

bool files_clear(const char *dir) { return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0; }

bool files_remove(const char *dir) { return files_clear(dir) && rmdir(dir) == 0; }

unsigned files_count(const char *dir, const char *prefix)
{
    DIR           *open = opendir(dir);
    struct dirent *entry;
    unsigned       count = 0;

    while (open && (entry = readdir(open)))
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (open)
        closedir(open);
    return count;
}
