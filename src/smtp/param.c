/* param.c: reads ESMTP parameters.
 *
 *   parameters    = *( 1*SP esmtp-param ) *( SP / HTAB )
 *   esmtp-param   = esmtp-keyword [ "=" esmtp-value ]
 *   esmtp-keyword = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
 *   esmtp-value   = 1*( %d33-60 / %d62-126 / UTF8-non-ascii )
 *
 * One loop serves both verbs; a table of each verb names its parameters and their readers. Whether a parameter came
 * twice is a bit at its place in the table. Grammar is judged before meaning, so a line that is both wrong and unknown
 * is a syntax error. RFC 3461 forbids "=" in values of its own; RFC 5321 does so for all. */
#include "smtp/param.h"

#include "mail/xtext.h"

struct params {
    struct smtp_param_rules  rules;
    struct arena            *arena;
    struct smtp_mail_params *mail;
    struct smtp_rcpt_params *rcpt;
};

struct param {
    struct str name;
    bool (*read)(const struct params *p, struct str value); /* value.data NULL: there was no "=" */
};

bool smtp_param_word(struct str *rest, struct str *ret_word)
{
    while (rest->len && rest->data[0] == ' ')
        *rest = str_skip(*rest, 1);
    if (!rest->len)
        return false;
    *ret_word = str_part(*rest, 0, str_find_byte(*rest, ' '));
    *rest = str_skip(*rest, ret_word->len);
    return true;
}

/* size-value = 1*20DIGIT. Twenty digits may pass 64 bits: that is too large, but not wrong. */
static bool read_size(const struct params *p, struct str value)
{
    if (!value.len || value.len > 20)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (!char_is_digit(value.data[i]))
            return false;
    if (!str_to_u64(value, UINT64_MAX, &p->mail->size))
        p->mail->size = UINT64_MAX;
    p->mail->has_size = true;
    return true;
}

static bool read_body(const struct params *p, struct str value)
{
    if (str_eq_nocase(value, STR("7BIT")))
        p->mail->body = BODY_7BIT;
    else if (str_eq_nocase(value, STR("8BITMIME")))
        p->mail->body = BODY_8BITMIME;
    else if (str_eq_nocase(value, STR("BINARYMIME")))
        p->mail->body = BODY_BINARYMIME;
    else
        return false;
    return true;
}

static bool read_smtputf8(const struct params *p, struct str value)
{
    p->mail->smtputf8 = true;
    return !value.data;
}

static bool read_ret(const struct params *p, struct str value)
{
    p->mail->ret = str_eq_nocase(value, STR("FULL"))   ? RET_FULL
                   : str_eq_nocase(value, STR("HDRS")) ? RET_HDRS
                                                       : RET_UNSET;
    return p->mail->ret != RET_UNSET;
}

static bool read_envid(const struct params *p, struct str value)
{
    return value.len && value.len <= MAIL_ENVID_MAX && mail_xtext_decode(value, p->arena, &p->mail->envid);
}

/* Who the client says has written it. We believe nobody, which RFC 4954 5 allows: it counts as AUTH=<>. */
static bool read_auth(const struct params *p, struct str value)
{
    struct str unused;

    return value.len && value.len <= 500 && mail_xtext_decode(value, p->arena, &unused);
}

/* notify-value = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ) */
static bool read_notify(const struct params *p, struct str value)
{
    if (str_eq_nocase(value, STR("NEVER"))) {
        p->rcpt->notify = NOTIFY_NEVER;
        return true;
    }
    do {
        struct str word = str_cut(&value, ',');

        if (str_eq_nocase(word, STR("SUCCESS")))
            p->rcpt->notify |= NOTIFY_SUCCESS;
        else if (str_eq_nocase(word, STR("FAILURE")))
            p->rcpt->notify |= NOTIFY_FAILURE;
        else if (str_eq_nocase(word, STR("DELAY")))
            p->rcpt->notify |= NOTIFY_DELAY;
        else
            return false;
    } while (value.data);
    return true;
}

static bool read_orcpt(const struct params *p, struct str value)
{
    return mail_orcpt_parse(value, p->rules.smtputf8, p->arena, &p->rcpt->orcpt_type, &p->rcpt->orcpt);
}

static const struct param mail_table[] = {
    {{"SIZE", 4}, read_size}, {{"BODY", 4}, read_body},   {{"SMTPUTF8", 8}, read_smtputf8},
    {{"RET", 3}, read_ret},   {{"ENVID", 5}, read_envid}, {{"AUTH", 4}, read_auth},
};
static const struct param rcpt_table[] = {{{"NOTIFY", 6}, read_notify}, {{"ORCPT", 5}, read_orcpt}};

static bool refuse(struct smtp_reply *ret_refusal, struct smtp_reply reply)
{
    *ret_refusal = reply;
    return false;
}

static bool keyword_is_valid(struct str keyword)
{
    for (size_t i = 0; i < keyword.len; i++)
        if (!char_is_alnum(keyword.data[i]) && (keyword.data[i] != '-' || i == 0))
            return false;
    return keyword.len > 0;
}

static bool value_is_valid(struct str value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] <= ' ' || value.data[i] == '=' || value.data[i] == 127)
            return false;
    return value.len > 0 && str_is_utf8(value);
}

static bool params_read(struct str in, const struct params *p, const struct param *table, size_t count,
                        struct smtp_reply *ret_refusal)
{
    unsigned   seen = 0;
    struct str word;

    while (in.len && (in.data[in.len - 1] == ' ' || in.data[in.len - 1] == '\t'))
        in.len--;
    if (in.len && in.data[0] != ' ')
        return refuse(ret_refusal, SMTP_REPLY(501, 5, 5, 4, "A blank must stand between the path and what follows"));
    while (smtp_param_word(&in, &word)) {
        struct str keyword = str_cut(&word, '=');
        size_t     at = 0;

        if (!keyword_is_valid(keyword) || (word.data && !value_is_valid(word)))
            return refuse(ret_refusal, SMTP_REPLY(501, 5, 5, 4, "A parameter is not of the form NAME or NAME=VALUE"));
        while (at < count && !str_eq_nocase(table[at].name, keyword))
            at++;
        if (at == count || !p->rules.extended || (table[at].read == read_auth && !p->rules.auth))
            return refuse(ret_refusal, SMTP_REPLY(555, 5, 5, 4, "A parameter is not known here"));
        if (seen & 1u << at)
            return refuse(ret_refusal, SMTP_REPLY(501, 5, 5, 4, "A parameter is given twice"));
        if (!table[at].read(p, word))
            return refuse(ret_refusal, SMTP_REPLY(501, 5, 5, 4, "A parameter has a value that it cannot have"));
        seen |= 1u << at;
    }
    return true;
}

bool smtp_param_mail(struct str in, struct smtp_param_rules rules, struct arena *arena,
                     struct smtp_mail_params *ret_params, struct smtp_reply *ret_refusal)
{
    struct smtp_mail_params params = {.size = 0};
    const struct params     p = {rules, arena, &params, NULL};

    if (!params_read(in, &p, mail_table, sizeof mail_table / sizeof mail_table[0], ret_refusal))
        return false;
    *ret_params = params;
    return true;
}

bool smtp_param_rcpt(struct str in, struct smtp_param_rules rules, struct arena *arena,
                     struct smtp_rcpt_params *ret_params, struct smtp_reply *ret_refusal)
{
    struct smtp_rcpt_params params = {.notify = 0};
    const struct params     p = {rules, arena, NULL, &params};

    if (!params_read(in, &p, rcpt_table, sizeof rcpt_table / sizeof rcpt_table[0], ret_refusal))
        return false;
    *ret_params = params;
    return true;
}
