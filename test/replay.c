/* replay.c: runs a fuzz target over every file of the directories named, so that what fuzzing once found stays
 * found. A corpus that is missing or empty fails: a test that looks at nothing proves nothing. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>

static int replay_file(const char *dir, const char *name)
{
    char     path[4096];
    FILE    *file;
    uint8_t *data;
    size_t   size;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "rb");
    if (!file)
        return perror(path), 1;
    fseek(file, 0, SEEK_END);
    size = (size_t)ftell(file);
    rewind(file);
    data = malloc(size ? size : 1); /* exactly as long as the input, so that the sanitizer sees a read past it */
    if (!data || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int count = 0, failed = 0;

    for (int i = 1; i < argc; i++) {
        struct dirent **names;
        int             n = scandir(argv[i], &names, NULL, alphasort);

        if (n < 0)
            return perror(argv[i]), 1;
        for (int k = 0; k < n; k++) {
            if (names[k]->d_name[0] != '.') {
                failed |= replay_file(argv[i], names[k]->d_name);
                count++;
            }
            free(names[k]);
        }
        free(names);
    }
    if (count == 0)
        fprintf(stderr, "no input to replay\n");
    printf("%d inputs replayed\n", count);
    return count == 0 || failed;
}
