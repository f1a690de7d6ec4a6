/* param.h: what may follow the path in MAIL and RCPT (RFC 5321 4.1.2; RFC 1870 SIZE, 6152 and 3030 BODY, 6531 SMTPUTF8,
 * 3461 RET, ENVID, NOTIFY, ORCPT; 4954 AUTH). What is wrong gives the reply to send:
 *   501 5.5.4 not of the grammar, a value that is none, a parameter twice     555 5.5.4 a parameter that is not known
 */
#ifndef TACIT_SMTP_PARAM_H
#define TACIT_SMTP_PARAM_H

#include "mail/envelope.h"
#include "smtp/reply.h"

struct smtp_param_rules {
    bool extended; /* false: the client said HELO; no parameter is known */
    bool auth;     /* AUTH= of MAIL is known (and not believed) */
    bool smtputf8; /* RCPT: raw UTF-8 may stand in ORCPT */
};

struct smtp_mail_params {
    bool           has_size, smtputf8;
    uint64_t       size; /* octets */
    enum body_type body;
    enum dsn_ret   ret;
    struct str     envid; /* decoded */
};
struct smtp_rcpt_params {
    uint8_t    notify; /* enum dsn_notify bits */
    struct str orcpt_type, orcpt;
};

/* `in` is all that stands behind the path. Decoded values are taken from `arena`. */
bool smtp_param_mail(struct str in, struct smtp_param_rules rules, struct arena *arena,
                     struct smtp_mail_params *ret_params, struct smtp_reply *ret_refusal);
bool smtp_param_rcpt(struct str in, struct smtp_param_rules rules, struct arena *arena,
                     struct smtp_rcpt_params *ret_params, struct smtp_reply *ret_refusal);

/* Cuts the next word off *rest: blanks in front of it are dropped. False: there is none. */
bool smtp_param_word(struct str *rest, struct str *ret_word);

#endif
