/* Any bytes behind a path: either a reply that says what is wrong, or values within their limits. The same bytes after
 * HELO, where nothing is known, are either blank or refused. */
#include "fuzz.h"

#include "mail/xtext.h"
#include "smtp/param.h"

#include <stdlib.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] < ' ' || s.data[i] == 127)
            return false;
    return true;
}

static void check_refusal(const struct smtp_reply *r)
{
    check((r->code == 501 || r->code == 555) && r->status.class == 5 && r->text.len > 0);
}

static void mail(struct str in, struct smtp_param_rules rules, struct arena *arena)
{
    struct smtp_mail_params p;
    struct smtp_reply       refusal;

    if (!smtp_param_mail(in, rules, arena, &p, &refusal)) {
        check_refusal(&refusal);
        return;
    }
    check(p.body <= BODY_BINARYMIME && p.ret <= RET_FULL && (p.has_size || p.size == 0));
    check(p.envid.len <= MAIL_ENVID_MAX && is_printable(p.envid));
    check(rules.extended || str_trim(in).len == 0);
}

static void rcpt(struct str in, struct smtp_param_rules rules, struct arena *arena)
{
    struct smtp_rcpt_params p;
    struct smtp_reply       refusal;

    if (!smtp_param_rcpt(in, rules, arena, &p, &refusal)) {
        check_refusal(&refusal);
        return;
    }
    check(p.notify == NOTIFY_NEVER || !(p.notify & NOTIFY_NEVER));
    check(p.orcpt.len <= MAIL_ORCPT_MAX && is_printable(p.orcpt) && is_printable(p.orcpt_type));
    check((p.orcpt_type.len == 0) == (p.orcpt.len == 0));
    check(rules.extended || str_trim(in).len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str              in = {(const char *)data + 1, size - 1};
    struct smtp_param_rules rules;
    struct arena            arena;

    if (size == 0)
        return 0;
    rules = (struct smtp_param_rules){.extended = true, .auth = data[0] & 1, .smtputf8 = data[0] & 2};
    arena_init(&arena, 1024, 64 << 10);
    mail(in, rules, &arena);
    rcpt(in, rules, &arena);
    rules.extended = false;
    mail(in, rules, &arena);
    rcpt(in, rules, &arena);
    arena_done(&arena);
    return 0;
}
