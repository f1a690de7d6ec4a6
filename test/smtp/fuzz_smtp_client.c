/* Any bytes as a server. The first two octets choose what the client is and what it has to send; the rest is what the
 * server says, in turns parted by the octet 0x1e: the client has sent all it wants to before the next turn comes. Each
 * turn whole, in small pieces and byte by byte, the client must do the same.
 *
 * One difference is meant to be: what comes in one piece with an answer is known to have come before the next question
 * was sent: it is no answer to that, or the question is not sent any more (client.c). Then the session ends, and all
 * that was said before must still be the same. */
#include "client_trace.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

enum { TURN_END = 0x1e, MESSAGES = 3, RECIPIENTS = 4 };

static struct smtp_client_config config_of(uint8_t kind)
{
    return (struct smtp_client_config){
        .hostname = STR("us.test"),
        .lmtp = kind & 1,
        .helo = (kind & 3) == 2,
        .tls = kind & 4   ? SMTP_CLIENT_TLS_MUST
               : kind & 8 ? SMTP_CLIENT_TLS_MAY
                          : SMTP_CLIENT_TLS_NEVER,
        .recipients = kind & 16 ? 2 : 100,
        .memory = kind & 32 ? 2500 : 64 << 10,
        .user = kind & 64 ? STR("u") : STR_NONE,
        .password = kind & 64 ? STR("p") : STR_NONE,
        .clear_ok = kind & 128,
    };
}

static struct smtp_client_message message_of(uint8_t kind, unsigned number, struct recipient recipients[RECIPIENTS])
{
    bool utf8 = kind & 1 && number == 1;

    for (size_t i = 0; i < RECIPIENTS; i++)
        recipients[i] = (struct recipient){
            .address = {.local = utf8 && i ? STR("\xc3\xa9") : STR("b"), .domain = STR("them.test"), .utf8 = utf8 && i},
            .orcpt_type = kind & 2 ? STR("rfc822") : STR_NONE,
            .orcpt = STR("old one@them.test"),
            .notify = kind & 2 ? NOTIFY_SUCCESS | NOTIFY_DELAY : 0,
        };
    return (struct smtp_client_message){
        .sender = {.local = STR("a"), .domain = STR("us.test")},
        .recipients = recipients,
        .recipient_count = kind & 4 ? 1 : RECIPIENTS,
        .body = kind & 8    ? BODY_8BITMIME
                : kind & 16 ? BODY_BINARYMIME
                            : BODY_7BIT,
        .header_utf8 = kind & 32 && number == 0,
        .ret = kind & 2 ? RET_HDRS : RET_UNSET,
        .envid = kind & 2 ? STR("an id") : STR_NONE,
    };
}

/* One message after another, as soon as one may go; then QUIT. */
static void go_on(struct client_trace *t, uint8_t kind, unsigned *number)
{
    static struct recipient recipients[RECIPIENTS];
    const struct str        content = kind & 64 ? STR("S: \xc3\xa9\r\n\r\n.\xe9 =\r\n") : STR(".\r\n\r\n..no end");

    while (t->ready && !t->closed && smtp_client_takes_more(t->client)) {
        struct smtp_client_message message = message_of(kind, *number, recipients);

        if ((*number)++ == MESSAGES) {
            t->ready = false;
            smtp_client_quit(t->client);
            client_trace_go_on(t);
            return;
        }
        message.size = content.len;
        client_trace_message(t, &message, content);
    }
}

static void play(struct client_trace *t, const struct smtp_client_config *config, uint8_t kind, struct str in,
                 size_t piece)
{
    unsigned number = 0;

    client_trace_start(t, config);
    t->tls_works = !(kind & 128);
    while (in.len && !t->closed) {
        struct str turn = str_cut(&in, TURN_END);

        client_trace_feed(t, turn, piece);
        go_on(t, kind, &number);
    }
    smtp_client_lost(t->client);
    client_trace_go_on(t);
    if (!t->closed)
        abort();
}

/* Without the results and the end. */
static struct str said(struct str text)
{
    while (text.len) {
        size_t     start = str_find_last_byte(str_part(text, 0, text.len - 1), '\n');
        struct str line = str_skip(text, start == STR_NOT_FOUND ? 0 : start + 1);

        if (!str_starts(line, STR("E: <")) && !str_starts(line, STR("E: DONE")) && !str_starts(line, STR("E: CLOSE")) &&
            !str_starts(line, STR("E: START_TLS")) && !str_starts(line, STR("C~ ")))
            break;
        text.len -= line.len;
    }
    return text;
}

/* What was heard too early, or ended the session before the next question was sent. */
static bool is_cut_short(struct str bytes, struct str pieces)
{
    size_t last = str_find_last_byte(str_part(pieces, 0, pieces.len - 1), '\n');

    return str_starts(str_skip(pieces, last == STR_NOT_FOUND ? 0 : last + 1), STR("E: CLOSE ")) &&
           str_starts(bytes, said(pieces));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_client_config config;
    struct client_trace       bytes, pieces;
    const size_t              sizes[] = {SIZE_MAX, 6, 11};
    struct str                in;

    if (size < 2 || size > 100000)
        return 0;
    config = config_of(data[0]);
    in = str_of((const char *)data + 2, size - 2);
    play(&bytes, &config, data[1], in, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct str a = buf_str(&bytes.text), b;

        play(&pieces, &config, data[1], in, sizes[i]);
        b = buf_str(&pieces.text);
        if (!str_eq(a, b) && !is_cut_short(a, b)) {
            fprintf(stderr, "byte by byte:\n%.*s\nin pieces:\n%.*s", STR_ARG(a), STR_ARG(b));
            abort();
        }
        client_trace_done(&pieces);
    }
    client_trace_done(&bytes);
    return 0;
}
