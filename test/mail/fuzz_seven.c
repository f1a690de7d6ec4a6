/* Whatever can be made 7-bit is: no octet over 127 is left, in pieces as in one, of the size that was told before, and
 * a second time there is nothing to do. */
#include "fuzz.h"

#include "mail/seven.h"

static void convert(struct mail_seven s, size_t piece, struct buf *out)
{
    buf_init(out, 64 << 20);
    while (mail_seven_next(&s, piece, out))
        ;
    must(buf_ok(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena      arena;
    struct mail_seven s, again;
    struct buf        whole, pieces;
    const char       *why = NULL;

    if (size > 100000)
        return 0;
    arena_init(&arena, 4096, 1 << 20);
    if (!mail_seven_init(&s, str_of((const char *)data, size), &arena, &why)) {
        must(why != NULL);
        arena_done(&arena);
        return 0;
    }
    convert(s, SIZE_MAX, &whole);
    convert(s, 3, &pieces);
    must(str_eq(buf_str(&whole), buf_str(&pieces)) && whole.len == mail_seven_size(&s));
    for (size_t i = 0; i < whole.len; i++)
        must((unsigned char)whole.data[i] < 128);
    must(mail_seven_init(&again, buf_str(&whole), &arena, &why) && again.edit_count == 0);
    buf_done(&whole);
    buf_done(&pieces);
    arena_done(&arena);
    return 0;
}
