#include "mail/envelope.h"

static const char *const class_names[] = {
    [CLASS_SUBMITTER] = "submitter",     [CLASS_RELAY] = "relay",         [CLASS_CORRESPONDENT] = "correspondent",
    [CLASS_ACCOUNTABLE] = "accountable", [CLASS_BOUNCE] = "bounce",       [CLASS_STRANGER] = "stranger",
    [CLASS_BLOCKED] = "blocked",         [CLASS_OURSELVES] = "ourselves",
};
enum { CLASS_COUNT = sizeof class_names / sizeof class_names[0] };

const char *client_class_name(enum client_class class)
{
    return (unsigned)class < CLASS_COUNT ? class_names[class] : "unknown";
}
