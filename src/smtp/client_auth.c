/* client_auth.c: who we are, where a smarthost wants to know: AUTH (RFC 4954) by PLAIN (RFC 4616), or by LOGIN where a
 * server has only that.
 *
 *   PLAIN    AUTH PLAIN base64(NUL user NUL password)                            235
 *            longer than a command may be: AUTH PLAIN       334  base64(...)     235
 *   LOGIN    AUTH LOGIN      334  base64(user)      334  base64(password)        235
 *
 * Where it fails, our own configuration is at fault: nothing that waits is failed for it, and no other host is asked,
 * for some count wrong passwords and lock the account.
 *
 * The text of a reply goes into logs and reports, and there are servers that repeat what they did not like. So a text
 * that has a piece of what we said in it is dropped.
 *
 * Rejected: CRAM-MD5 and SCRAM. They keep the password from whoever listens, and so does TLS; without either it goes to
 * this machine only (clear_ok). */
#include "smtp/client_internal.h"

#include "base/base64.h"

#include <assert.h>

enum { PIECE = 8 /* octets of a secret that are enough to hide a text for */ };

static bool offers(const struct smtp_client *c, struct str mechanism)
{
    for (struct str rest = c->caps.auth; rest.len;)
        if (str_eq(str_cut(&rest, ' '), mechanism))
            return true;
    return false;
}

static bool put_plain(const struct smtp_client_config *config, struct buf *out)
{
    char   text[2 * SMTP_CLIENT_CREDENTIAL_MAX + 2];
    size_t at = 0;

    text[at++] = '\0';
    memcpy(text + at, config->user.data, config->user.len);
    at += config->user.len;
    text[at++] = '\0';
    memcpy(text + at, config->password.data, config->password.len);
    return base64_encode(str_of(text, at + config->password.len), out);
}

static bool put_response(const struct smtp_client *c, struct buf *out)
{
    if (!c->auth_login)
        return put_plain(c->config, out);
    return base64_encode(c->auth_said ? c->config->password : c->config->user, out);
}

bool client_auth_has_more(const struct smtp_client *c) { return c->auth_said < (c->auth_login ? 2 : 1); }

static void respond(struct smtp_client *c)
{
    client_wait_anew(c);
    put_response(c, &c->out);
    c->auth_said++;
    if (!client_command_end(c))
        client_happen(c, SMTP_OUR_FAULT, NULL);
}

void client_auth_begin(struct smtp_client *c)
{
    size_t plain = (c->config->user.len + c->config->password.len + 2 + 2) / 3 * 4;

    if (!c->tls && !c->config->clear_ok) {
        client_leave_unasked(c, SMTP_STAGE_AUTH, SMTP_AUTH_IN_CLEAR);
        return;
    }
    c->auth_login = !offers(c, STR("PLAIN"));
    if (c->auth_login && !offers(c, STR("LOGIN"))) {
        client_leave_unasked(c, SMTP_STAGE_AUTH, SMTP_AUTH_MISSING);
        return;
    }
    c->auth_said = 0;
    client_change(c, SMTP_CLIENT_IN_AUTH);
    buf_append_z(&c->out, c->auth_login ? "AUTH LOGIN" : "AUTH PLAIN");
    if (!c->auth_login && plain + sizeof "AUTH PLAIN \r\n" - 1 <= CLIENT_COMMAND_MAX) {
        buf_append_byte(&c->out, ' ');
        respond(c);
    } else if (!client_command_end(c)) {
        client_happen(c, SMTP_OUR_FAULT, NULL);
    }
}

static bool has_piece(struct str text, struct str secret)
{
    struct str piece = str_part(secret, 0, PIECE);

    return piece.len && str_find(text, piece) != STR_NOT_FOUND;
}

static bool repeats_secret(const struct smtp_client *c, struct str text)
{
    const struct str secrets[] = {c->config->user, c->config->password};
    struct buf       encoded;
    bool             repeats = has_piece(text, c->config->password);

    buf_init(&encoded, 4 * SMTP_CLIENT_CREDENTIAL_MAX);
    for (size_t i = 0; i < 3 && !repeats; i++) {
        buf_clear(&encoded);
        repeats = !(i < 2 ? base64_encode(secrets[i], &encoded) : put_plain(c->config, &encoded)) ||
                  has_piece(text, buf_str(&encoded));
    }
    buf_done(&encoded);
    return repeats;
}

void client_auth_reply(struct smtp_client *c, struct client_answer *a)
{
    if (repeats_secret(c, a->text))
        a->text = STR_NONE;
    if (a->row->action == SMTP_DO_GO_ON)
        client_ready(c);
    else if (a->row->action == SMTP_DO_RESPOND)
        respond(c);
    else
        client_leave(c, a, a->code >= 400 && a->code != 421); /* below 400 it may wait for a response still */
}
