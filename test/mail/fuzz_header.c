/* A header is the same whole, byte by byte and in uneven pieces, and the same for the iterator. The first byte of the
 * input chooses the pieces. */
#include "fuzz.h"

#include "mail/header.h"

static struct mail_scan scan(struct str content, size_t piece)
{
    struct mail_scan s;

    mail_scan_init(&s, STR("h.test"));
    for (size_t at = 0; at < content.len; at += piece)
        mail_scan_feed(&s, str_part(content, at, piece));
    mail_scan_end(&s);
    return s;
}

static void must_agree(const struct mail_scan *a, const struct mail_scan *b)
{
    must(a->size == b->size && a->header_len == b->header_len && a->body_start == b->body_start);
    must(a->received == b->received && a->fields == b->fields && a->header_ended == b->header_ended);
    must(a->has_message_id == b->has_message_id && a->has_date == b->has_date && a->has_from == b->has_from);
    must(a->header_8bit == b->header_8bit && a->body_8bit == b->body_8bit && a->has_nul == b->has_nul);
    must(a->id_count == b->id_count);
    for (size_t i = 0; i < a->id_count; i++)
        must(str_eq(mail_scan_id(a, i), mail_scan_id(b, i)));
}

static void check_fields(struct str content, const struct mail_scan *s)
{
    struct mail_fields f;
    struct mail_field  field, found;
    uint32_t           fields = 0, received = 0;
    size_t             at = 0;
    struct buf         unfolded;

    buf_init(&unfolded, 1 << 20);
    mail_fields_init(&f, content, SIZE_MAX);
    while (mail_fields_next(&f, &field)) {
        must(field.raw.data == content.data + at && field.name.len && field.body.len < field.raw.len);
        must(field.body.data >= field.raw.data && field.body.data + field.body.len <= field.raw.data + field.raw.len);
        at += field.raw.len;
        fields++;
        received += str_eq_nocase(field.name, STR("Received"));
        buf_clear(&unfolded);
        must(mail_field_unfold(field.body, &unfolded));
        must(str_find_byte(buf_str(&unfolded), '\n') == STR_NOT_FOUND);
        must(mail_header_find(content, field.name, &found) && found.raw.data <= field.raw.data);
        must(mail_message_id(field.body, true).len <= MAIL_MESSAGE_ID_MAX);
    }
    must(f.at == at && at == s->header_len && fields == s->fields && received == s->received);
    must(mail_header_body(content) == s->body_start);
    must(s->has_from == mail_header_find(content, STR("from"), &found));
    buf_done(&unfolded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str       content;
    struct mail_scan whole, bytes, pieces;

    if (size < 1)
        return 0;
    content = str_of((const char *)data + 1, size - 1);
    whole = scan(content, content.len + 1);
    bytes = scan(content, 1);
    pieces = scan(content, (size_t)data[0] + 2);
    must_agree(&whole, &bytes);
    must_agree(&whole, &pieces);
    check_fields(content, &whole);
    return 0;
}
