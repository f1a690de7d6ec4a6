/* control.h: what master and a role say to each other (role.h), as messages of io/ipc.h. */
#ifndef TACIT_ROLE_CONTROL_H
#define TACIT_ROLE_CONTROL_H

#include "base/codec.h"
#include "base/err.h"
#include "role/counters.h"

enum control_kind {
    CONTROL_LISTENER = 1, /* number; a descriptor comes along */
    CONTROL_PEER,         /* role, number; a descriptor comes along */
    CONTROL_LOG,          /* a descriptor comes along */
    CONTROL_START,
    CONTROL_DRAIN,  /* grace_ms */
    CONTROL_READY,  /* this and the following: from the role */
    CONTROL_FAILED, /* class, text */
    CONTROL_DRAINED,
    CONTROL_LACKS, /* role */
};
struct control {
    enum control_kind kind;
    enum role         role;
    unsigned          number;
    uint64_t          grace_ms;
    enum err_class class;
    struct str text; /* borrows the message */
};

bool control_put(const struct control *c, struct buf *out);
bool control_get(struct str message, struct control *ret_control);

#endif
