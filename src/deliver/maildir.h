/* maildir.h: delivery into a Maildir (https://cr.yp.to/proto/maildir.html; Maildir++ quota; Dovecot's S= and W=).
 *
 * A message is written to tmp/, synced, renamed into new/, and the directory synced: after success it survives a
 * loss of power, and before it nobody sees a part of it. Blocking: call on a work thread; several threads may deliver
 * at once, also into one mailbox, but only one of them the same message into the same mailbox.
 *
 * Exactly once. The name of the file follows from the message and the mailbox. Whoever cannot know whether an earlier
 * delivery came through (the process ended before it could write that down) sets `look`, and the file is looked for
 * first, under whatever flags a reader gave it. What remains: a reader that removed the message, moved it to another
 * folder or changed its flags while the directory was being read, between the delivery and the look. */
#ifndef TACIT_DELIVER_MAILDIR_H
#define TACIT_DELIVER_MAILDIR_H

#include "base/buf.h"
#include "base/err.h"
#include "deliver/earlier.h"

/* "mail/{domain}/{local}" with the two names filled in, made safe as file names: '/', '%', control characters, and a
 * leading '.' become %XX, so no address leads out of its place; at most 255 octets each. Relative to `base`. */
bool maildir_path(struct str template, struct str base, struct str local, struct str domain, struct buf *out,
                  struct err *err);
/* The path where a mailbox would be, with ".nobody" for its name, which no address gets. False: the template has no
 * {local}, or the path would be too long. */
bool maildir_path_nobody(struct str template, struct str base, struct str domain, struct buf *out);

/* Makes it with its parents (mode 0700), durably. Nothing to do where tmp/ is. */
bool maildir_make(const char *path, struct err *err);

struct maildir_delivery {
    const char *path;    /* the Maildir; made with its parents (mode 0700) if missing */
    uint64_t    id;      /* the message's */
    struct str  mailbox; /* whose copy it is: text that is the same for each attempt */
    bool        look;    /* it may lie there already */
    struct maildir_earlier
               *earlier;    /* with look: what lay there before this process; NULL: looks at what lies there now */
    struct str  head;       /* trace fields to put in front (Return-Path, Delivered-To), with CRLF line ends */
    struct str  content;    /* with CRLF line ends, stored as LF; or empty and content_fd is read from its start */
    int         content_fd; /* -1, or a body file; its place is not moved */
    bool        binary;     /* the content's octets are stored as they are */
    const char *hostname;
    uint64_t    quota; /* octets, 0: none */
};
enum maildir_result {
    MAILDIR_DELIVERED,
    MAILDIR_FOUND,      /* it lay there already, and is durable now (only with `look`) */
    MAILDIR_OVER_QUOTA, /* nothing stored; err says the figures. It would fit if others went */
    MAILDIR_TOO_LARGE,  /* nothing stored, as above; it has more octets than the quota, so no room that is made helps */
    MAILDIR_FAILED,     /* nothing stored; may be tried again: what fails here is for the operator to mend */
    MAILDIR_UNSURE,     /* failed, but it may lie there: `look` the next time */
};
enum maildir_result maildir_deliver(const struct maildir_delivery *d, struct err *err);

#endif
