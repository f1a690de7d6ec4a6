/* outcome.h: what the sending side does about a reply, or about none (RFC 5321 4.2, 4.3.2; RFC 7504, 7505).
 *
 * The first digit of the reply decides, the enhanced code refines, and where the two contradict each other (550 4.2.1)
 * the digit holds. outcome.def is the one table; client.h reads it, and so may whoever meets a host that does not even
 * answer. */
#ifndef TACIT_SMTP_OUTCOME_H
#define TACIT_SMTP_OUTCOME_H

#include "smtp/reply.h"

enum smtp_stage {
    SMTP_STAGE_CONNECT,
    SMTP_STAGE_GREETING,
    SMTP_STAGE_HELLO, /* EHLO, HELO, LHLO */
    SMTP_STAGE_STARTTLS,
    SMTP_STAGE_AUTH,
    SMTP_STAGE_IDLE, /* nothing was asked */
    SMTP_STAGE_RSET,
    SMTP_STAGE_MAIL,
    SMTP_STAGE_RCPT,
    SMTP_STAGE_DATA,
    SMTP_STAGE_MESSAGE, /* the content, and the reply to it */
    SMTP_STAGE_QUIT,
};
const char *smtp_stage_name(enum smtp_stage stage); /* "RCPT" */

/* What happened where no reply came, or none was waited for; stands in the place of a code. */
enum smtp_happening {
    SMTP_NOBODY = 1, /* the connection was refused, or there is no way to the host */
    SMTP_LOST,       /* the connection ended */
    SMTP_TIMED_OUT,
    SMTP_GARBLED,     /* what came is no reply, or none to what was asked */
    SMTP_TLS_MISSING, /* TLS is demanded and not offered */
    SMTP_TLS_FAILED,
    SMTP_TOO_LARGE,     /* these are known before anything is sent: more than the host's SIZE */
    SMTP_NEEDS_UTF8,    /* SMTPUTF8 is needed and not offered */
    SMTP_NEEDS_8BIT,    /* 8-bit or binary content that the host does not take and that cannot be converted */
    SMTP_SPOILT,        /* the content has a NUL, or CR or LF alone */
    SMTP_AUTH_MISSING,  /* we have a password, and the host offers no way to say it */
    SMTP_AUTH_IN_CLEAR, /* anybody on the way could read it */
    SMTP_OUR_FAULT,     /* no memory here, or the content cannot be read to its end */
    SMTP_STOPPED,       /* we end, or start anew, and wait no longer */
};

/* Facts of the moment on which rows depend. */
enum smtp_fact {
    SMTP_FACT_NONE = 0,
    SMTP_FACT_EHLO = 1,     /* it was EHLO, and there is HELO still */
    SMTP_FACT_TLS_MAY = 2,  /* without TLS will do */
    SMTP_FACT_OPTIONAL = 4, /* parameters were sent that can be left out */
    SMTP_FACT_ACCEPTED = 8, /* recipients of this transaction were accepted before */
    SMTP_FACT_SEVERAL = 16, /* more than one recipient was accepted, and the reply is for all */
    SMTP_FACT_MORE = 32,    /* AUTH: there is more to say */
};

enum smtp_action {
    /* Good. */
    SMTP_DO_GO_ON,
    SMTP_DO_SAY_HELO, /* on the same connection */
    SMTP_DO_SKIP_TLS,
    SMTP_DO_RESPOND, /* goes on with AUTH */
    /* About the host: QUIT if it still listens, then ... */
    SMTP_DO_NEXT_HOST,       /* the next host, then the queue */
    SMTP_DO_NO_MAIL,         /* the next host; where all say so, the message fails (RFC 7504) */
    SMTP_DO_REFUSED,         /* the next host; a few retries; then the message fails */
    SMTP_DO_RECONNECT_HELO,  /* the same host again, with HELO */
    SMTP_DO_RECONNECT_PLAIN, /* the same host again, without TLS */
    SMTP_DO_MISCONFIGURED,   /* our settings are wrong: ask no other host, defer, and tell the operator */
    /* About recipients: the one asked about, or all that are not settled. */
    SMTP_DO_DEFER,
    SMTP_DO_FAIL,
    SMTP_DO_STRIP,  /* once more without optional parameters */
    SMTP_DO_REST,   /* in a new transaction, at once */
    SMTP_DO_SINGLE, /* each alone, to find the one that is meant */
    SMTP_DO_CLOSE,  /* defer, and close the connection */
};

struct smtp_outcome {
    enum smtp_stage    stage;
    uint16_t           first, last;     /* codes, or happenings */
    int16_t            subject, detail; /* of the enhanced code; -1: any, or none */
    enum smtp_fact     when;
    enum smtp_action   action;
    bool               moved;  /* the text may name the new address */
    struct smtp_status status; /* to report where the host gave no enhanced code */
    const char        *words;  /* for people: a sentence without a full stop; "": the reply says it */
};

/* Always finds one: the table has a row for every code of 200 to 599 and every happening of its stage. `code` stands
 * for a reply or a happening, `status` is the reply's (class 0: none), `facts` a set of enum smtp_fact. */
const struct smtp_outcome *smtp_outcome_find(enum smtp_stage stage, unsigned code, struct smtp_status status,
                                             unsigned facts);
/* The enhanced code to report: the host's, its class 4 or 5 as belongs to what is done; the row's where it gave none,
 * or one of success for a failure. */
struct smtp_status         smtp_outcome_status(const struct smtp_outcome *o, struct smtp_status status);
/* For tests and manuals; NULL behind the last. */
const struct smtp_outcome *smtp_outcome_at(size_t index);

#endif
