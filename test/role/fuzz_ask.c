/* fuzz_ask.c: octets as a question and as an answer. What is taken must be the same after it was written again. */
#include "fuzz.h"

#include "role/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str    in = str_of((const char *)data, size);
    struct arena  arena;
    struct buf    out;
    struct ask    ask;
    struct answer answer;

    arena_init(&arena, 4096, 1 << 20);
    buf_init(&out, size * 4 + 4096);
    if (ask_get(in, &arena, &ask)) {
        must(ask_put(&ask, &out) && str_eq(buf_str(&out), in));
        must(ask.address.local.len <= MAIL_LOCAL_MAX && ask.sender.domain.len <= MAIL_DOMAIN_MAX);
    }
    {
        struct contact *contacts;
        size_t          count;

        buf_clear(&out);
        if (ask_contacts_get(in, &arena, &contacts, &count)) {
            must(count <= ASK_LEARN_MAX);
            for (size_t i = 0; i < count; i++)
                must(ask_contact_put(&contacts[i], &out));
            must(str_eq(buf_str(&out), in));
        }
    }
    buf_clear(&out);
    if (answer_get(in, &arena, &answer)) {
        struct buf    second;
        struct answer again;

        must(answer.target_count <= ASK_TARGETS_MAX && answer_put(&answer, &out));
        must(answer_get(buf_str(&out), &arena, &again) && again.target_count == answer.target_count);
        buf_init(&second, out.max);
        must(answer_put(&again, &second) && str_eq(buf_str(&second), buf_str(&out)));
        buf_done(&second);
    }
    buf_done(&out);
    arena_done(&arena);
    return 0;
}
