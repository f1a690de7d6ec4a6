/* client_runner.c: plays the conversations of the scripts named, each whole, line by line, byte by byte and in pieces
 * of 7 octets, and compares what the client did with what the script says.
 *
 *   == TITLE             another conversation begins
 *   # ...                comment
 *   open: OFFER, ...     the server greets and offers that, and the client is ready
 *   set: NAME [VALUE]    lmtp, helo, tls may|must, tls-fails, no-convert, recipients N, memory N, give N, user TEXT,
 *                        password TEXT, clear-ok; whole: the script is about what comes in one piece, and is played
 *                        only so
 *   content: TEXT        of the messages that follow; \r \n \0 \\ \xHH stand for what they say
 *   M: FROM TO ... NAME=VALUE ...
 *                        a message: addresses without brackets ("<>" for none), then body=8bit|binary, size=N (of
 *                        the content unless given), header=utf8, ret=hdrs|full, envid=ID, notify=BITS, orcpt=ADDRESS
 *   S: TEXT              the server says a line       S~ TEXT   without CRLF      S* N TEXT   N times, without CRLF
 *   lost: / timeout: / quit: / stop:
 *                        the connection ends, the wait is over, the session is to end, this server ends
 *   wait: SECONDS        how long this may last
 *   C: / E:              what the client says, and what it tells, asks or has for results; "..." at the end: whatever
 *                        follows
 *
 * Whenever the server speaks, and at the end, the client has done just what stands before. */
#include "client_trace.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAX = 2048 };

struct step {
    enum { STEP_SAY, STEP_MESSAGE, STEP_EXPECT, STEP_LOST, STEP_TIMEOUT, STEP_QUIT, STEP_STOP, STEP_WAIT } kind;
    size_t                     line;
    struct str                 text; /* SAY, EXPECT; MESSAGE: its content */
    struct smtp_client_message message;
    uint32_t                   seconds;
};

struct script {
    const char               *name;
    struct arena              arena;
    struct smtp_client_config config;
    bool                      tls_fails, no_convert, whole_only;
    size_t                    give;
    struct str                content;
    struct step               steps[STEPS_MAX];
    size_t                    step_count, line;
};

_Noreturn static void fail(const struct script *s, const char *what)
{
    fprintf(stderr, "%s:%zu: %s\n", s->name, s->line, what);
    exit(1);
}

static struct str unescape(struct script *s, struct str in)
{
    struct str  out = STR_NONE;
    const char *wrong = trace_unescape(in, &s->arena, &out);

    if (wrong)
        fail(s, wrong);
    return out;
}

static struct step *add_step(struct script *s, struct step step)
{
    if (s->step_count == STEPS_MAX)
        fail(s, "too many steps");
    step.line = s->line;
    s->steps[s->step_count] = step;
    return &s->steps[s->step_count++];
}

static uint64_t number(struct script *s, struct str in, uint64_t max)
{
    uint64_t n;

    if (!str_to_u64(in, max, &n))
        fail(s, "not a number");
    return n;
}

static void set(struct script *s, struct str in)
{
    struct str value = in, name = str_cut(&value, ' ');

    if (str_eq(name, STR("lmtp")))
        s->config.lmtp = true;
    else if (str_eq(name, STR("helo")))
        s->config.helo = true;
    else if (str_eq(name, STR("tls")))
        s->config.tls = str_eq(value, STR("must")) ? SMTP_CLIENT_TLS_MUST : SMTP_CLIENT_TLS_MAY;
    else if (str_eq(name, STR("tls-fails")))
        s->tls_fails = true;
    else if (str_eq(name, STR("no-convert")))
        s->no_convert = true;
    else if (str_eq(name, STR("whole")))
        s->whole_only = true;
    else if (str_eq(name, STR("user")))
        s->config.user = unescape(s, value);
    else if (str_eq(name, STR("password")))
        s->config.password = unescape(s, value);
    else if (str_eq(name, STR("clear-ok")))
        s->config.clear_ok = true;
    else if (str_eq(name, STR("recipients")))
        s->config.recipients = (uint32_t)number(s, value, 1000);
    else if (str_eq(name, STR("memory")))
        s->config.memory = number(s, value, 1 << 24);
    else if (str_eq(name, STR("give")))
        s->give = number(s, value, 1 << 24);
    else
        fail(s, "nothing to set");
}

static struct mail_address address(struct script *s, struct str word)
{
    struct mail_address       a = {.utf8 = false};
    struct mail_address_error error;

    if (!str_eq(word, STR("<>")) && !mail_address_parse(word, true, &s->arena, &a, &error))
        fail(s, "not an address");
    return a;
}

static void message_param(struct script *s, struct smtp_client_message *m, struct recipient *r, size_t count,
                          struct str name, struct str value)
{
    if (str_eq(name, STR("body")))
        m->body = str_eq(value, STR("binary")) ? BODY_BINARYMIME : BODY_8BITMIME;
    else if (str_eq(name, STR("size")))
        m->size = number(s, value, UINT64_MAX);
    else if (str_eq(name, STR("header")))
        m->header_utf8 = true;
    else if (str_eq(name, STR("ret")))
        m->ret = str_eq(value, STR("full")) ? RET_FULL : RET_HDRS;
    else if (str_eq(name, STR("envid")))
        m->envid = value;
    else if (str_eq(name, STR("notify")))
        for (size_t i = 0; i < count; i++)
            r[i].notify = (uint8_t)number(s, value, 15);
    else if (str_eq(name, STR("orcpt")))
        for (size_t i = 0; i < count; i++)
            r[i].orcpt_type = str_is_ascii(value) ? STR("rfc822") : STR("utf-8"), r[i].orcpt = value;
    else
        fail(s, "an unknown parameter");
}

static void add_message(struct script *s, struct str in)
{
    struct str                 rest = arena_str(&s->arena, in);
    struct recipient          *r = arena_alloc(&s->arena, (in.len / 2 + 1) * sizeof *r);
    struct smtp_client_message m = {.recipients = r, .size = s->content.len, .sender = address(s, str_cut(&rest, ' '))};

    while (rest.len) {
        struct str value = str_cut(&rest, ' '), name = str_cut(&value, '=');

        if (value.data)
            message_param(s, &m, r, m.recipient_count, name, unescape(s, value));
        else
            r[m.recipient_count++].address = address(s, name);
    }
    add_step(s, (struct step){.kind = STEP_MESSAGE, .text = s->content, .message = m});
}

static void say(struct script *s, struct str in, uint64_t times, bool crlf)
{
    struct str text = unescape(s, in);
    char      *bytes = arena_alloc(&s->arena, times * text.len + 2);

    for (size_t i = 0; i < times; i++)
        memcpy(bytes + i * text.len, text.data, text.len);
    memcpy(bytes + times * text.len, "\r\n", 2);
    add_step(s, (struct step){.kind = STEP_SAY, .text = str_of(bytes, times * text.len + (crlf ? 2 : 0))});
}

static void expect(struct script *s, struct str line)
{
    add_step(s, (struct step){.kind = STEP_EXPECT, .text = arena_str(&s->arena, line)});
}

static void add_opening(struct script *s, struct str offers)
{
    say(s, STR("220 mx.test"), 1, true);
    expect(s, s->config.lmtp ? STR("C: LHLO us.test") : STR("C: EHLO us.test"));
    say(s, STR("250-mx.test"), 1, true);
    while (offers.len) {
        struct str offer = str_trim(str_cut(&offers, ','));

        say(s, arena_printf(&s->arena, "250-%.*s", STR_ARG(offer)), 1, true);
    }
    say(s, STR("250 OK"), 1, true);
    expect(s, STR("E: READY..."));
}

static void parse_line(struct script *s, struct str l)
{
    struct str rest = str_skip(l, 3);

    if (l.len == 0 || l.data[0] == '#')
        return;
    if (str_starts(l, STR("set: "))) {
        set(s, str_skip(l, 5));
    } else if (str_starts(l, STR("open: "))) {
        add_opening(s, str_skip(l, 6));
    } else if (str_starts(l, STR("content: "))) {
        s->content = unescape(s, str_skip(l, 9));
    } else if (str_starts(l, STR("M: "))) {
        add_message(s, rest);
    } else if (str_starts(l, STR("S: "))) {
        say(s, rest, 1, true);
    } else if (str_starts(l, STR("S~ "))) {
        say(s, rest, 1, false);
    } else if (str_starts(l, STR("S* "))) {
        struct str times = str_cut(&rest, ' ');

        say(s, rest, number(s, times, 1 << 20), false);
    } else if (str_eq(l, STR("lost:"))) {
        add_step(s, (struct step){.kind = STEP_LOST});
    } else if (str_eq(l, STR("timeout:"))) {
        add_step(s, (struct step){.kind = STEP_TIMEOUT});
    } else if (str_eq(l, STR("quit:"))) {
        add_step(s, (struct step){.kind = STEP_QUIT});
    } else if (str_eq(l, STR("stop:"))) {
        add_step(s, (struct step){.kind = STEP_STOP});
    } else if (str_starts(l, STR("wait: "))) {
        add_step(s, (struct step){.kind = STEP_WAIT, .seconds = (uint32_t)number(s, str_skip(l, 6), 3600)});
    } else if (str_starts(l, STR("C: ")) || str_starts(l, STR("E: ")) || str_starts(l, STR("C~ "))) {
        expect(s, l);
    } else {
        fail(s, "not a line of a script");
    }
}

/* The conversation at the start of *rest. */
static void script_load(struct script *s, struct str *rest)
{
    const char *name = s->name;
    size_t      line = s->line;

    memset(s, 0, sizeof *s);
    s->name = name;
    s->line = line;
    s->content = STR("Subject: x\r\n\r\nHello\r\n");
    s->give = 5;
    arena_init(&s->arena, 64 << 10, 64 << 20);
    s->config = (struct smtp_client_config){.hostname = STR("us.test"), .recipients = 100, .memory = 64 << 10};
    while (rest->len) {
        struct str l = str_cut(rest, '\n');

        s->line++;
        if (str_starts(l, STR("== ")) && s->step_count)
            break;
        if (!str_starts(l, STR("== ")))
            parse_line(s, l);
    }
    if (!s->step_count || s->steps[s->step_count - 1].kind == STEP_SAY)
        fail(s, "a script that expects nothing proves nothing");
}

struct play {
    struct script      *script;
    struct client_trace trace;
    size_t              seen;    /* of the trace's text, and */
    size_t              checked; /* of the steps: what was compared before */
    const char         *mode;
};

/* What was done since is what stands before step `upto`. */
static bool compare(struct play *p, size_t upto)
{
    struct str got = str_skip(buf_str(&p->trace.text), p->seen);

    for (; p->checked < upto; p->checked++) {
        const struct step *step = &p->script->steps[p->checked];
        struct str         line, want = step->text;

        if (step->kind != STEP_EXPECT)
            continue;
        line = str_cut(&got, '\n');
        if (trace_fits(line, want))
            continue;
        fprintf(stderr, "%s:%zu, %s:\n   want %.*s\n   got  %.*s\n", p->script->name, step->line, p->mode,
                STR_ARG(want), STR_ARG(line));
        return false;
    }
    if (got.len)
        fprintf(stderr, "%s, before line %zu, %s: too much:\n%.*s", p->script->name,
                upto < p->script->step_count ? p->script->steps[upto].line : p->script->line, p->mode, STR_ARG(got));
    p->seen = p->trace.text.len;
    return !got.len;
}

static bool act(struct play *p, const struct step *step)
{
    struct smtp_client *c = p->trace.client;

    switch (step->kind) {
    case STEP_MESSAGE:
        if (!p->trace.ready || !smtp_client_takes_more(c)) {
            fprintf(stderr, "%s:%zu, %s: no message is taken now\n", p->script->name, step->line, p->mode);
            return false;
        }
        client_trace_message(&p->trace, &step->message, step->text);
        return true;
    case STEP_WAIT:
        if (smtp_client_wait(c).ms == step->seconds * 1000)
            return true;
        fprintf(stderr, "%s:%zu, %s: the wait is %u ms\n", p->script->name, step->line, p->mode,
                smtp_client_wait(c).ms);
        return false;
    case STEP_LOST:
        smtp_client_lost(c);
        break;
    case STEP_TIMEOUT:
        smtp_client_timed_out(c);
        break;
    case STEP_QUIT:
        smtp_client_quit(c);
        break;
    case STEP_STOP:
        smtp_client_stop(c);
        break;
    case STEP_SAY:
    case STEP_EXPECT:
        return true;
    }
    client_trace_go_on(&p->trace);
    return true;
}

/* `by_line`: as the script says it; else what the server says in a row is put together and fed in pieces. */
static bool play(struct script *s, bool by_line, size_t piece, const char *mode)
{
    struct play p = {.script = s, .mode = mode};
    struct buf  input;
    bool        ok = true;

    buf_init(&input, 64 << 20);
    client_trace_start(&p.trace, &s->config);
    p.trace.give = s->give;
    p.trace.tls_works = !s->tls_fails;
    p.trace.converts = !s->no_convert;
    for (size_t i = 0; i < s->step_count && ok; i++) {
        const struct step *step = &s->steps[i];
        bool               more = i + 1 < s->step_count && s->steps[i + 1].kind == STEP_SAY;

        if (step->kind == STEP_EXPECT)
            continue;
        if (!input.len && !(by_line && i && s->steps[i - 1].kind == STEP_SAY))
            ok = compare(&p, i);
        if (step->kind != STEP_SAY) {
            ok = ok && act(&p, step);
            continue;
        }
        buf_append(&input, step->text);
        if (more && !by_line)
            continue;
        client_trace_feed(&p.trace, buf_str(&input), piece);
        buf_clear(&input);
    }
    ok = ok && compare(&p, s->step_count);
    client_trace_done(&p.trace);
    buf_done(&input);
    return ok;
}

int main(int argc, char **argv)
{
    static struct script script;
    bool                 ok = argc > 1;
    size_t               count = 0;

    for (int i = 1; i < argc; i++) {
        struct str rest = trace_file(argv[i]);

        script.name = argv[i];
        script.line = 0;
        for (; rest.len; count++) {
            script_load(&script, &rest);
            ok = play(&script, false, SIZE_MAX, "whole") && ok;
            if (!script.whole_only) {
                ok = play(&script, true, SIZE_MAX, "line by line") && ok;
                ok = play(&script, false, 7, "in pieces of 7") && ok;
                ok = play(&script, false, 1, "byte by byte") && ok;
            }
            arena_done(&script.arena);
        }
    }
    printf("%zu conversations\n", count);
    return ok ? 0 : 1;
}
