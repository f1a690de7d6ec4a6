/* client_hello.c: from the greeting to AUTH or READY: EHLO, HELO, LHLO, what is offered, STARTTLS.
 *
 *   ehlo-line    = keyword *( SP param )                    keywords in any case (RFC 5321 4.1.1.1)
 *   size-line    = "SIZE" [ SP 1*20DIGIT ]                  RFC 1870
 *   auth-line    = "AUTH" *( SP mechanism )                 RFC 4954; "AUTH=" of old servers is read too
 *   limits-line  = "LIMITS" 1*( SP name "=" value )         RFC 9422
 *
 * A line that is not understood is passed over, and so is a value that makes no sense: what is not offered plainly is
 * not used. What was offered in clear is forgotten when TLS begins. */
#include "smtp/client_internal.h"

#include <assert.h>

void client_say_hello(struct smtp_client *c)
{
    const char *verb = c->config->lmtp ? "LHLO" : c->helo ? "HELO" : "EHLO";

    if (c->state != SMTP_CLIENT_IN_HELLO)
        client_change(c, SMTP_CLIENT_IN_HELLO);
    client_wait_anew(c);
    if (!client_command(c, "%s %.*s", verb, STR_ARG(c->config->hostname)))
        client_happen(c, SMTP_OUR_FAULT, NULL);
}

void client_greeting_reply(struct smtp_client *c, struct client_answer *a)
{
    if (a->row->action == SMTP_DO_GO_ON)
        client_say_hello(c);
    else
        client_leave(c, a, a->code != 421);
}

/* ---- what is offered ---- */

static void read_size(struct smtp_client *c, struct str value)
{
    c->caps.size = true;
    if (value.len && !str_to_u64(str_trim(value), UINT64_MAX, &c->caps.size_max))
        c->caps.size_max = 0;
}

static void read_limits(struct smtp_client *c, struct str value)
{
    while (value.len) {
        struct str number = str_cut(&value, ' '), name = str_cut(&number, '=');
        uint64_t   n;

        if (!str_to_u64(number, 999999, &n) || n == 0)
            continue;
        if (str_eq_nocase(name, STR("MAILMAX")))
            c->caps.mail_max = (uint32_t)n;
        else if (str_eq_nocase(name, STR("RCPTMAX")))
            c->caps.rcpt_max = (uint32_t)n;
    }
}

/* The first line that names any counts. */
static void read_auth(struct smtp_client *c, struct str value)
{
    char  *text = c->caps.auth.data ? NULL : arena_alloc(&c->session, CLIENT_AUTH_MAX);
    size_t len = 0;

    if (!text)
        return;

    while (value.len) {
        struct str word = str_cut(&value, ' ');

        if (!word.len || len + 1 + word.len > CLIENT_AUTH_MAX)
            continue;
        if (len)
            text[len++] = ' ';
        for (size_t i = 0; i < word.len; i++)
            text[len++] = char_upper(word.data[i]);
    }
    c->caps.auth = str_of(text, len);
}

static void cap_read(struct smtp_client *c, struct str line)
{
    struct str value = str_trim(line), keyword;
    const struct {
        const char *name;
        bool       *flag;
    } flags[] = {{"PIPELINING", &c->caps.pipelining},
                 {"8BITMIME", &c->caps.eight_bit},
                 {"BINARYMIME", &c->caps.binary},
                 {"SMTPUTF8", &c->caps.smtputf8},
                 {"DSN", &c->caps.dsn},
                 {"CHUNKING", &c->caps.chunking},
                 {"STARTTLS", &c->caps.starttls},
                 {"ENHANCEDSTATUSCODES", &c->caps.enhanced}};

    if (str_starts_nocase(value, STR("AUTH="))) {
        read_auth(c, str_skip(value, 5));
        return;
    }
    keyword = str_cut(&value, ' ');
    if (str_eq_nocase(keyword, STR("SIZE")))
        read_size(c, value);
    else if (str_eq_nocase(keyword, STR("LIMITS")))
        read_limits(c, value);
    else if (str_eq_nocase(keyword, STR("AUTH")))
        read_auth(c, value);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (str_eq_nocase(keyword, str_from(flags[i].name)))
            *flags[i].flag = true;
}

static void caps_read(struct smtp_client *c, struct str text)
{
    arena_reset(&c->session);
    c->caps = (struct smtp_client_caps){.extended = !c->helo};
    str_cut(&text, '\n'); /* its name, and a greeting */
    while (!c->helo && text.len)
        cap_read(c, str_cut(&text, '\n'));
}

/* ---- replies ---- */

void client_ready(struct smtp_client *c)
{
    client_change(c, SMTP_CLIENT_IN_READY);
    c->tell_ready = true;
}

static void hello_end(struct smtp_client *c)
{
    if (c->config->user.len)
        client_auth_begin(c);
    else
        client_ready(c);
}

static void hello_taken(struct smtp_client *c, struct str text)
{
    caps_read(c, text);
    if (c->config->tls == SMTP_CLIENT_TLS_NEVER || c->tls) {
        hello_end(c);
    } else if (c->caps.starttls) {
        client_change(c, SMTP_CLIENT_IN_STARTTLS);
        if (!client_command(c, "STARTTLS"))
            client_happen(c, SMTP_OUR_FAULT, NULL);
    } else if (c->config->tls == SMTP_CLIENT_TLS_MUST) {
        client_leave_unasked(c, SMTP_STAGE_STARTTLS, SMTP_TLS_MISSING);
    } else {
        hello_end(c);
    }
}

void client_hello_reply(struct smtp_client *c, struct client_answer *a)
{
    if (a->row->action == SMTP_DO_GO_ON) {
        hello_taken(c, a->text);
    } else if (a->row->action == SMTP_DO_SAY_HELO) {
        c->helo = true;
        client_say_hello(c);
    } else {
        client_leave(c, a, a->code != 421);
    }
}

void client_starttls_reply(struct smtp_client *c, struct client_answer *a)
{
    if (a->row->action == SMTP_DO_GO_ON) {
        client_change(c, SMTP_CLIENT_IN_TLS);
        c->ask_tls = true;
    } else if (a->row->action == SMTP_DO_SKIP_TLS) {
        hello_end(c);
    } else {
        client_leave(c, a, a->code != 421);
    }
}

void smtp_client_tls_done(struct smtp_client *c, bool done)
{
    if (c->state == SMTP_CLIENT_IN_CLOSED)
        return;
    assert(c->state == SMTP_CLIENT_IN_TLS);
    if (!done) {
        client_happen(c, SMTP_TLS_FAILED, NULL);
        return;
    }
    c->tls = true;
    c->caps = (struct smtp_client_caps){.extended = false};
    client_say_hello(c);
}
