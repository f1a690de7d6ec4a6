/* fuzz_control.c: octets as a message between master and a role, and as a request on the control socket. What is taken
 * of the first gives, written again, the same octets; a filter that is taken of the second is within its bounds, and
 * one that is not says why. */
#include "fuzz.h"

#include "back/back.h"
#include "role/control.h"

#include <jansson.h>

static void message(struct str in)
{
    struct control c;
    struct buf     out;

    if (!control_get(in, &c))
        return;
    must(c.kind >= CONTROL_LISTENER && c.kind <= CONTROL_LACKS && c.text.len <= in.len);
    buf_init(&out, in.len);
    must(control_put(&c, &out) && str_eq(buf_str(&out), in));
    buf_done(&out);
}

static void request(struct str in)
{
    json_t            *request = json_loadb(in.data, in.len, JSON_REJECT_DUPLICATES, NULL);
    struct back_filter f;
    char               wrong[128] = "";

    if (!request)
        return;
    if (back_filter_get(request, &f, wrong)) {
        must(!wrong[0] && f.by_id == (json_object_get(request, "ids") != NULL));
        must(f.id_count == json_array_size(json_object_get(request, "ids")));
        for (size_t i = 1; i < f.id_count; i++)
            must(f.ids[i - 1] <= f.ids[i]);
        must(!back_filter_is_empty(&f) || (!f.id_count && !back_filter_needs_message(&f)));
        back_filter_done(&f);
    } else {
        must(wrong[0] && memchr(wrong, '\0', sizeof wrong));
    }
    json_decref(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = str_of((const char *)data, size);

    message(in);
    request(in);
    return 0;
}
