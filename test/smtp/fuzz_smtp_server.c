/* Any bytes as a session. The first three choose what is offered, the limits and the answers; the rest is what the
 * client sends. Fed whole, in small pieces and byte by byte the server must do the same.
 *
 * One difference is meant to be: where a DATA was refused and more input had come behind it, the session ends, and
 * only input fed whole shows that it had come. Then what happened before must still be the same. */
#include "fuzz.h"
#include "trace.h"

#include <stdlib.h>

static struct smtp_reply answer(void *arg, const struct smtp_event *event, size_t number)
{
    unsigned seed = *(const unsigned char *)arg;

    switch ((seed ^ (unsigned)event->kind * 5 ^ (unsigned)number * 3) & seed & 7) {
    case 4:
        return SMTP_REPLY(550, 5, 1, 1, "No");
    case 5:
        return SMTP_REPLY(451, 4, 3, 0, "Later");
    case 6:
        return SMTP_REPLY(251, 2, 1, 5, "Two\nlines \x01\xff");
    case 7:
        return number & 1 ? SMTP_REPLY(421, 4, 3, 2, "Going down") : SMTP_REPLY(250, 2, 0, 0, "");
    default:
        return SMTP_REPLY(250, 2, 0, 0, "Ok");
    }
}

static struct smtp_server_config config_of(uint8_t offers, uint8_t limits)
{
    bool tight = limits & 1;

    return (struct smtp_server_config){
        .hostname = STR("mx.test"),
        .lmtp = offers & 1,
        .vrfy = offers & 2,
        .expn = offers & 4,
        .xclient = offers & 8,
        .require_auth = (offers & 0xf0) == 0xf0,
        .limits = {.message_size = limits & 2 ? 16 : 100000,
                   .recipients = limits & 4 ? 2 : 100,
                   .errors = tight ? 3 : 1000,
                   .commands = tight ? 20 : 10000,
                   .transactions = limits & 8 ? 2 : 100,
                   .idle_commands = tight ? 4 : 1000,
                   .hops = 2,
                   .transaction_memory = limits & 16 ? 2048 : 1 << 20},
    };
}

static void play(struct trace *t, const struct smtp_server_config *config, uint8_t *seed, bool refused, struct str in,
                 size_t piece)
{
    const struct smtp_reply refusal = SMTP_REPLY(554, 5, 7, 1, "No");

    trace_start(t, config, refused ? &refusal : NULL, answer, seed);
    trace_feed(t, in, piece);
    trace_end(t);
}

static void compare(struct str whole, struct str pieces)
{
    size_t behind = str_find(whole, STR("S: 421 4.5.0 "));

    if (behind == STR_NOT_FOUND ? !str_eq(whole, pieces) : !str_starts(pieces, str_part(whole, 0, behind)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_server_config config;
    struct trace              whole, pieces;
    uint8_t                   seed;
    struct str                in;

    if (size < 3 || size > 100000)
        return 0;
    config = config_of(data[0], data[1]);
    seed = data[2];
    in = str_of((const char *)data + 3, size - 3);
    play(&whole, &config, &seed, (data[1] & 0xc0) == 0xc0, in, SIZE_MAX);
    for (size_t piece = 1; piece <= 11; piece += 5) {
        play(&pieces, &config, &seed, (data[1] & 0xc0) == 0xc0, in, piece);
        compare(buf_str(&whole.text), buf_str(&pieces.text));
        trace_done(&pieces);
    }
    trace_done(&whole);
    return 0;
}
