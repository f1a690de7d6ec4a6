/* err.h: why an operation failed.
 *
 * A function that can fail returns bool and takes a `struct err *err` last, which may be NULL where the caller
 * does not care. It writes *err only on failure. The class is set where the cause is known; only deliver/ and
 * server/ turn a class into a reply, a retry or a bounce. The text is one sentence for a person without a full
 * stop: what was tried, on what, what went wrong, and what to do where that is known. */
#ifndef TACIT_BASE_ERR_H
#define TACIT_BASE_ERR_H

#include <stdbool.h>

enum err_class {
    ERR_NONE,
    ERR_TEMPORARY, /* may work later without anybody changing anything: I/O, a lock, a busy peer */
    ERR_PERMANENT, /* will not work in this form: bad input, not found, not permitted */
    ERR_LIMIT,     /* a ceiling of ours was met: memory, disk space, a count */
    ERR_CONFIG,    /* the configuration asks for what cannot be */
};

struct err {
    enum err_class class;
    int  os_error; /* errno where a system call failed, else 0 */
    char text[496];
};

/* Fills *err (if not NULL) and returns false, so that `return err_set(...)` ends a function. */
bool err_set(struct err *err, enum err_class class, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": <strerror(os_error)>" behind the text. The class follows from os_error: ENOSPC, EDQUOT,
 * EMFILE, ENFILE and ENOMEM are limits; ENOENT, EACCES, EPERM, EEXIST, ENOTDIR, EISDIR, EINVAL, EROFS,
 * ENAMETOOLONG and ELOOP are permanent; everything else is temporary. */
bool err_set_os(struct err *err, int os_error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<prefix>: " before the text, cutting the end if it gets too long; returns false. */
bool err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
