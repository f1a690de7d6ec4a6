#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_set(struct err *err, enum err_class class, const char *format, ...)
{
    va_list args;

    if (!err)
        return false;
    err->class = class;
    err->os_error = 0;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return false;
}

static enum err_class class_of_os_error(int os_error)
{
    switch (os_error) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ERR_LIMIT;
    case ENOENT:
    case EACCES:
    case EPERM:
    case EEXIST:
    case ENOTDIR:
    case EISDIR:
    case EINVAL:
    case EROFS:
    case ENAMETOOLONG:
    case ELOOP:
        return ERR_PERMANENT;
    default:
        return ERR_TEMPORARY;
    }
}

bool err_set_os(struct err *err, int os_error, const char *format, ...)
{
    va_list args;
    size_t  used;

    if (!err)
        return false;
    err->class = class_of_os_error(os_error);
    err->os_error = os_error;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerrordesc_np(os_error));
    return false;
}

bool err_prefix(struct err *err, const char *format, ...)
{
    va_list args;
    char    old[sizeof err->text];
    size_t  used;

    if (!err)
        return false;
    memcpy(old, err->text, sizeof old);
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", old);
    return false;
}
