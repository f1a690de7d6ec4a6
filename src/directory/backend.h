/* backend.h: what a directory must be able to do. directory.c checks everything that is common to all of them (keys,
 * tags, catch-alls, what an entry may hold); a backend keeps entries by domain and key and knows no rules. */
#ifndef TACIT_DIRECTORY_BACKEND_H
#define TACIT_DIRECTORY_BACKEND_H

#include "directory/directory.h"

enum directory_change { DIRECTORY_ADD, DIRECTORY_UPDATE, DIRECTORY_REMOVE };

struct directory_backend {
    const char *name; /* in front of the colon of a spec */
    struct directory *(*open)(const char *path, unsigned flags, struct err *err);
    void (*close)(struct directory *d);
    enum directory_find (*get)(struct directory *d, struct str key, struct str domain, struct arena *arena,
                               struct directory_entry *ret_entry, struct err *err);
    /* Fails with ERR_PERMANENT if the key is there (ADD) or is not (UPDATE, REMOVE: only local and domain are set). */
    bool (*change)(struct directory *d, enum directory_change change, struct str key,
                   const struct directory_entry *entry, struct err *err);
    bool (*each)(struct directory *d, struct str domain, bool (*each)(const struct directory_entry *entry, void *arg),
                 void *arg, struct err *err);
};
struct directory { /* the first member of a backend's own */
    const struct directory_backend *backend;
};

extern const struct directory_backend directory_sqlite, directory_file;

enum {
    DIRECTORY_ENTRY_MEMORY = 1 << 20, /* octets that one entry may take */
    DIRECTORY_WAIT_MS = 5000,         /* for another process that is changing it */
    DIRECTORY_QUOTA_MAX_BITS = 62,    /* fits the numbers of every backend */
};

/* For backends: "exists" and "does not exist", in the words of every backend; return false. */
bool directory_fail_exists(const struct directory_entry *entry, struct err *err);
bool directory_fail_absent(const struct directory_entry *entry, struct err *err);
/* The file cannot be opened; says what to do where it is missing. */
bool directory_fail_open(const char *path, int os_error, struct err *err);
/* Makes an empty file of mode 0600 if there is none, and the directories above it. Made by root it belongs to whom the
 * directory above belongs, since that user will read it. */
bool directory_file_create(const char *path, struct err *err);
/* What an entry may hold, for what is read as for what is written. */
bool directory_entry_check(const struct directory_entry *entry, struct err *err);

#endif
