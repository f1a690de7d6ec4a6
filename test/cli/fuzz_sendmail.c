/* fuzz_sendmail.c: any text on the standard input of sendmail becomes a message with CRLF line ends and a header of its
 * own, or is refused with a reason; a CR alone stays, for the server to refuse. Made again from what it became, nothing
 * changes any more. The first octet chooses the rules. */
#include "fuzz.h"

#include "cli/sendmail_message.h"
#include "mail/header.h"

static bool make(struct sendmail_message *m, struct str text, const struct sendmail_message_rules *rules)
{
    struct err err = {.class = ERR_NONE};
    bool       made;

    *m = (struct sendmail_message){.list_count = 0};
    buf_init(&m->input, 0);
    buf_init(&m->content, 4 * text.len + 1000);
    made = sendmail_message_make(m, text, rules, 0, &err);
    must(made == (err.class == ERR_NONE));
    return made;
}

static void check(const struct sendmail_message *m, struct str input)
{
    struct str        content = buf_str(&m->content), rest = content, whole;
    struct mail_field field;

    must(str_ends(content, STR("\r\n")) && m->list_count <= SENDMAIL_LISTS_MAX);
    while (rest.len) {
        size_t lf = str_find_byte(rest, '\n');

        must(lf != STR_NOT_FOUND && lf > 0 && rest.data[lf - 1] == '\r');
        rest = str_skip(rest, lf + 1);
    }
    must(m->is_8bit == !str_is_ascii(content) && (m->is_8bit || !m->header_8bit));
    must(mail_header_count(content, STR("Date")) > 0 && mail_header_count(content, STR("From")) > 0);
    must(mail_header_find(content, STR("Date"), &field) && str_ends(field.raw, STR("\r\n")));
    whole = str_skip(content, mail_header_len(content));
    must(str_starts(whole, STR("\r\n")) || content.len > MAIL_HEADER_MAX);
    for (size_t i = 0; i < m->list_count; i++)
        must(m->lists[i].data >= input.data && m->lists[i].data + m->lists[i].len <= input.data + input.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mail_address sender = {.local = STR("alice"), .domain = STR("example.test")};
    struct sendmail_message_rules    rules = {.sender = &sender};
    struct sendmail_message          first, again;
    struct str                       in = str_of((const char *)data + 1, size - 1);

    if (size == 0 || size > 65536)
        return 0;
    rules.dot_ends = data[0] & 1;
    rules.drop_bcc = data[0] & 2;
    rules.full_name = data[0] & 4 ? "Alice \"A\" B\\C" : NULL;
    if (make(&first, in, &rules)) {
        check(&first, in);
        rules.dot_ends = false;
        if (make(&again, buf_str(&first.content), &rules)) /* else its only Resent field is gone, and To has too many */
            must(str_eq(buf_str(&again.content), buf_str(&first.content)));
        sendmail_message_done(&again);
    }
    sendmail_message_done(&first);
    return 0;
}
