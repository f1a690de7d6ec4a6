/* script_runner.c: plays the scripts named, each whole, line by line, byte by byte and in pieces of 7 octets, and
 * compares what the server did with what the script says.
 *
 *   # ...                comment
 *   set: NAME [VALUE]    lmtp, no-vrfy, no-expn, xclient, require-auth, size N, recipients N, errors N, commands N,
 *                        transactions N, idle N, hops N, memory N
 *   greeting: REPLY      the session is refused
 *   A: KIND REPLY        the answer to the next question of that kind; without one a plain yes
 *   C: TEXT              the client sends a line; \r \n \0 \\ \xHH stand for what they say
 *   C~ TEXT              the same without CRLF
 *   C* N TEXT            the text N times, without CRLF
 *   --                   the client waits for its replies here
 *   close: REPLY         the session is ended from outside
 *   S: / E:              what the server says, and what it tells or asks; "..." at the end: whatever follows
 *
 * S: and E: lines are compared in the order in which they happen, whatever C: lines stand between them. */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWERS_MAX = 64, STEPS_MAX = 4096 };

struct scripted_answer {
    enum smtp_event_kind kind;
    struct smtp_reply    reply;
    bool                 used;
};

struct step {
    enum { STEP_SEND, STEP_WAIT, STEP_CLOSE } kind;
    struct str        bytes;
    struct smtp_reply reply;
};

struct script {
    const char               *name;
    struct arena              arena;
    struct smtp_server_config config;
    bool                      refused;
    struct smtp_reply         refusal;
    struct scripted_answer    answers[ANSWERS_MAX];
    struct step               steps[STEPS_MAX];
    struct str                expected[STEPS_MAX];
    size_t                    answer_count, step_count, expected_count, line;
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

/* "550 5.1.1 text" or "421 text" */
static struct smtp_reply parse_reply(struct script *s, struct str in)
{
    struct smtp_reply reply = {.code = 0};
    struct str        rest = in, word = str_cut(&rest, ' '), status = rest;
    unsigned class, subject, detail;
    int      end;
    uint64_t code;

    if (!str_to_u64(word, 599, &code) || code < 200)
        fail(s, "not a reply");
    reply.code = (uint16_t)code;
    word = str_cut(&status, ' ');
    if (word.len && sscanf(word.data, "%1u.%3u.%3u%n", &class, &subject, &detail, &end) == 3 &&
        (size_t)end == word.len) {
        reply.status = SMTP_STATUS((uint8_t) class, (uint16_t)subject, (uint16_t)detail);
        rest = status;
    }
    reply.text = unescape(s, rest);
    return reply;
}

static enum smtp_event_kind parse_kind(struct script *s, struct str word)
{
    static const struct {
        const char          *name;
        enum smtp_event_kind kind;
    } kinds[] = {{"MAIL", SMTP_EVENT_MAIL},      {"RCPT", SMTP_EVENT_RCPT}, {"VRFY", SMTP_EVENT_VRFY},
                 {"EXPN", SMTP_EVENT_EXPN},      {"DATA", SMTP_EVENT_DATA}, {"MESSAGE", SMTP_EVENT_MESSAGE},
                 {"XCLIENT", SMTP_EVENT_XCLIENT}};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (str_eq(word, str_from(kinds[i].name)))
            return kinds[i].kind;
    fail(s, "not a question");
}

static void set(struct script *s, struct str in)
{
    struct smtp_server_limits *l = &s->config.limits;
    struct str                 value = in, name = str_cut(&value, ' ');
    uint64_t                   number = 0;
    const struct {
        const char *name;
        bool       *flag, to;
    } flags[] = {{"lmtp", &s->config.lmtp, true},
                 {"no-vrfy", &s->config.vrfy, false},
                 {"no-expn", &s->config.expn, false},
                 {"xclient", &s->config.xclient, true},
                 {"require-auth", &s->config.require_auth, true}};
    const struct {
        const char *name;
        uint32_t   *number;
    } numbers[] = {{"recipients", &l->recipients},     {"errors", &l->errors},      {"commands", &l->commands},
                   {"transactions", &l->transactions}, {"idle", &l->idle_commands}, {"hops", &l->hops}};

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (str_eq(name, str_from(flags[i].name))) {
            *flags[i].flag = flags[i].to;
            return;
        }
    }
    if (!str_to_u64(value, UINT32_MAX, &number))
        fail(s, "a number is missing");
    if (str_eq(name, STR("size")))
        l->message_size = number;
    else if (str_eq(name, STR("memory")))
        l->transaction_memory = number;
    else {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            if (str_eq(name, str_from(numbers[i].name))) {
                *numbers[i].number = (uint32_t)number;
                return;
            }
        }
        fail(s, "nothing to set");
    }
}

static void add_step(struct script *s, struct step step)
{
    if (s->step_count == STEPS_MAX)
        fail(s, "too many steps");
    s->steps[s->step_count++] = step;
}

static void send_line(struct script *s, struct str in, bool crlf)
{
    struct str text = unescape(s, in);
    char      *bytes = arena_alloc(&s->arena, text.len + 2);

    memcpy(bytes, text.data, text.len);
    memcpy(bytes + text.len, "\r\n", 2);
    add_step(s, (struct step){STEP_SEND, str_of(bytes, text.len + (crlf ? 2 : 0)), {.code = 0}});
}

static void send_times(struct script *s, struct str in)
{
    struct str text = in, word = str_cut(&text, ' ');
    uint64_t   times;
    char      *bytes;

    if (!str_to_u64(word, 2 << 20, &times))
        fail(s, "not a number of times");
    text = unescape(s, text);
    bytes = arena_alloc(&s->arena, times * text.len);
    if (!bytes)
        fail(s, "too long");
    for (size_t i = 0; i < times; i++)
        memcpy(bytes + i * text.len, text.data, text.len);
    add_step(s, (struct step){STEP_SEND, str_of(bytes, times * text.len), {.code = 0}});
}

static void parse_line(struct script *s, struct str l)
{
    if (l.len == 0 || l.data[0] == '#')
        return;
    if (str_starts(l, STR("set: "))) {
        set(s, str_skip(l, 5));
    } else if (str_starts(l, STR("greeting: "))) {
        s->refused = true;
        s->refusal = parse_reply(s, str_skip(l, 10));
    } else if (str_starts(l, STR("close: "))) {
        add_step(s, (struct step){STEP_CLOSE, STR_NONE, parse_reply(s, str_skip(l, 7))});
    } else if (str_eq(l, STR("--"))) {
        add_step(s, (struct step){STEP_WAIT, STR_NONE, {.code = 0}});
    } else if (str_starts(l, STR("A: "))) {
        struct str rest = str_skip(l, 3), word = str_cut(&rest, ' ');

        if (s->answer_count == ANSWERS_MAX)
            fail(s, "too many answers");
        s->answers[s->answer_count++] = (struct scripted_answer){parse_kind(s, word), parse_reply(s, rest), false};
    } else if (str_eq(l, STR("C:"))) {
        send_line(s, STR(""), true);
    } else if (str_starts(l, STR("C: "))) {
        send_line(s, str_skip(l, 3), true);
    } else if (str_starts(l, STR("C~ "))) {
        send_line(s, str_skip(l, 3), false);
    } else if (str_starts(l, STR("C* "))) {
        send_times(s, str_skip(l, 3));
    } else if (str_starts(l, STR("S: ")) || str_starts(l, STR("E: "))) {
        if (s->expected_count == STEPS_MAX)
            fail(s, "too many lines");
        s->expected[s->expected_count++] = l;
    } else {
        fail(s, "not a line of a script");
    }
}

static void script_load(struct script *s, const char *path)
{
    struct str rest = trace_file(path);

    memset(s, 0, sizeof *s);
    s->name = path;
    arena_init(&s->arena, 64 << 10, 64 << 20);
    s->config = (struct smtp_server_config){
        .hostname = STR("mx.test"),
        .vrfy = true,
        .expn = true,
        .limits = {.message_size = 10000,
                   .recipients = 100,
                   .errors = 10,
                   .commands = 1000,
                   .transactions = 50,
                   .idle_commands = 50,
                   .hops = 5,
                   .transaction_memory = 64 << 10},
    };
    while (rest.len) {
        struct str l = str_cut(&rest, '\n');

        s->line++;
        parse_line(s, l);
    }
    if (!s->expected_count)
        fail(s, "a script that expects nothing proves nothing");
}

static struct smtp_reply answer(void *arg, const struct smtp_event *event, size_t number)
{
    struct script *s = arg;

    (void)number;
    for (size_t i = 0; i < s->answer_count; i++) {
        if (!s->answers[i].used && s->answers[i].kind == event->kind) {
            s->answers[i].used = true;
            return s->answers[i].reply;
        }
    }
    return event->kind == SMTP_EVENT_VRFY || event->kind == SMTP_EVENT_EXPN ? SMTP_REPLY(252, 2, 5, 0, "Perhaps")
                                                                            : SMTP_REPLY(250, 2, 1, 0, "Yes");
}

static bool compare(const struct script *s, struct str got, const char *mode)
{
    for (size_t i = 0; i < s->expected_count || got.len; i++) {
        struct str line = str_cut(&got, '\n'), want = i < s->expected_count ? s->expected[i] : STR("(nothing)");

        if (!trace_fits(line, want)) {
            fprintf(stderr, "%s, %s, line %zu of the trace:\n   want %.*s\n   got  %.*s\n", s->name, mode, i + 1,
                    STR_ARG(want), STR_ARG(line));
            return false;
        }
    }
    return true;
}

/* `by_line`: as the script sends it; else what stands between two waits is put together and fed in pieces. */
static bool play(struct script *s, bool by_line, size_t piece, const char *mode)
{
    struct trace t;
    struct buf   input;
    bool         ok;

    buf_init(&input, 64 << 20);
    for (size_t i = 0; i < s->answer_count; i++)
        s->answers[i].used = false;
    trace_start(&t, &s->config, s->refused ? &s->refusal : NULL, answer, s);
    for (size_t i = 0; i <= s->step_count; i++) {
        const struct step *step = i < s->step_count ? &s->steps[i] : NULL;

        if (step && step->kind == STEP_SEND) {
            buf_append(&input, step->bytes);
            if (!by_line)
                continue;
        }
        trace_feed(&t, buf_str(&input), piece);
        buf_clear(&input);
        if (step && step->kind == STEP_CLOSE)
            trace_close(&t, &step->reply);
    }
    trace_end(&t);
    ok = compare(s, buf_str(&t.text), mode);
    for (size_t i = 0; i < s->answer_count; i++) {
        if (ok && !s->answers[i].used) {
            fprintf(stderr, "%s, %s: answer %zu was not asked for\n", s->name, mode, i + 1);
            ok = false;
        }
    }
    trace_done(&t);
    buf_done(&input);
    return ok;
}

int main(int argc, char **argv)
{
    static struct script script;
    bool                 ok = argc > 1;

    for (int i = 1; i < argc; i++) {
        script_load(&script, argv[i]);
        ok = play(&script, false, SIZE_MAX, "whole") && ok;
        ok = play(&script, true, SIZE_MAX, "line by line") && ok;
        ok = play(&script, false, 7, "in pieces of 7") && ok;
        ok = play(&script, false, 1, "byte by byte") && ok;
        arena_done(&script.arena);
    }
    printf("%d scripts\n", argc - 1);
    return ok ? 0 : 1;
}
