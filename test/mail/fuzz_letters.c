/* fuzz_letters.c: whatever strangers said, what this server writes about it (reports, digests, trace fields) stays
 * mail: lines that end in CRLF and are short enough, only the header fields and the parts that were meant, and no octet
 * over 127 where it says that there is none.
 *
 * The first octet chooses what is written, the second its flags; then strings, each an octet of length and its octets,
 * as many as are asked for; the rest is the content of the message that is reported. */
#include "fuzz.h"

#include "mail/digest.h"
#include "mail/header.h"
#include "mail/report.h"
#include "mail/trace.h"

enum { RECIPIENTS = 3, LINE_MAX_OCTETS = 998, TIME_MS = 1790000000 };

struct input {
    struct str    rest;
    struct arena *arena;
};

static struct str next(struct input *in)
{
    size_t     len = in->rest.len ? (unsigned char)in->rest.data[0] : 0;
    struct str s = str_part(in->rest, 1, len);

    in->rest = str_skip(in->rest, len + 1);
    return s;
}

static unsigned next_number(struct input *in, unsigned below)
{
    unsigned value = in->rest.len ? (unsigned char)in->rest.data[0] : 0;

    in->rest = str_skip(in->rest, 1);
    return value % below;
}

/* Addresses are parsed before anything is written about them; one that is wrong becomes a right one. */
static struct mail_address next_address(struct input *in, bool utf8)
{
    struct mail_address a;

    if (!mail_address_parse(next(in), utf8, in->arena, &a, NULL))
        a = (struct mail_address){STR("user"), STR("example.test"), false};
    return a;
}

/* Lines as RFC 5322 2.1.1 has them; returns how many begin with `start`. */
static size_t check_lines(struct str text, struct str start)
{
    size_t count = 0;

    must(str_ends(text, STR("\r\n")) && str_find_byte(text, '\0') == STR_NOT_FOUND);
    while (text.len) {
        size_t     end = str_find(text, STR("\r\n"));
        struct str line = str_part(text, 0, end);

        must(line.len <= LINE_MAX_OCTETS);
        must(str_find_byte(line, '\r') == STR_NOT_FOUND && str_find_byte(line, '\n') == STR_NOT_FOUND);
        count += start.len && str_starts(line, start);
        text = str_skip(text, end + 2);
    }
    return count;
}

/* The fields of the header, each at most once, and none that was not meant. */
static void check_header(struct str text, size_t expected)
{
    static const char *const known[] = {"From",
                                        "To",
                                        "Subject",
                                        "Date",
                                        "Message-ID",
                                        "In-Reply-To",
                                        "References",
                                        "MIME-Version",
                                        "Content-Type",
                                        "Auto-Submitted",
                                        "Content-Transfer-Encoding"};
    struct mail_fields       f;
    struct mail_field        field;
    unsigned                 seen = 0;
    size_t                   count = 0;

    mail_fields_init(&f, text, SIZE_MAX);
    for (; mail_fields_next(&f, &field); count++) {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && !str_eq(field.name, str_from(known[i])))
            i++;
        must(i < sizeof known / sizeof *known && !(seen & 1u << i));
        seen |= 1u << i;
    }
    must(count == expected && str_starts(str_skip(text, f.at), STR("\r\n")));
}

static void check_letter(struct str text, enum body_type body, size_t answers)
{
    must(body == BODY_7BIT ? str_is_ascii(text) : body == BODY_8BITMIME);
    check_header(text, 9 + answers);
}

/* The boundary stands at the start of as many lines as there are parts, and of the one that ends them. */
static void check_parts(struct str text, bool has_third)
{
    struct mail_field type;
    struct str        boundary, mark;
    struct buf        start;

    must(mail_header_find(text, STR("Content-Type"), &type));
    boundary = str_skip(type.body, str_find(type.body, STR("boundary=\"")) + 10);
    boundary = str_part(boundary, 0, str_find_byte(boundary, '"'));
    buf_init(&start, 100);
    buf_append_z(&start, "--");
    buf_append(&start, boundary);
    mark = buf_str(&start);
    must(boundary.len > 0 && buf_ok(&start));
    must(check_lines(text, mark) == 3u + has_third);
    buf_append_z(&start, "--\r\n");
    must(str_ends(text, buf_str(&start)));
    buf_done(&start);
}

static void report(struct input *in, unsigned flags)
{
    struct mail_report_recipient to[RECIPIENTS] = {0};
    bool                         utf8 = flags & 1;
    struct mail_report  r = {.mta = STR("mx.example.test"), .date_ms = TIME_MS, .recipients = to, .smtputf8 = utf8};
    struct mail_address moved;
    struct mail_field   field;
    enum body_type      body;
    struct buf          out;
    bool                has_third;

    r.full = flags & 2;
    r.binary = flags & 4;
    r.arrival_ms = flags & 8 ? TIME_MS : 0;
    r.recipient_count = 1 + (flags >> 4) % RECIPIENTS;
    r.id = next(in);
    r.to = next_address(in, utf8);
    r.envelope_id = next(in);
    for (size_t i = 0; i < r.recipient_count; i++) {
        to[i].final = next_address(in, true);
        to[i].original_type = next(in);
        to[i].original = next(in);
        to[i].action = (enum mail_report_action)next_number(in, REPORT_EXPANDED + 1);
        to[i].status.class = (uint8_t)next_number(in, 6);
        to[i].status.subject = (uint16_t)next_number(in, 256);
        to[i].code = (uint16_t)(next_number(in, 256) * 3);
        to[i].remote = next(in);
        to[i].remote_address = next(in);
        to[i].reply = next(in);
        to[i].happened = next(in);
        to[i].last_status.class = (uint8_t)next_number(in, 6);
        to[i].attempts = next_number(in, 3);
        to[i].last_attempt_ms = next_number(in, 2) * (TIME_MS + 1000ull * 3600);
        to[i].is_behind = next_number(in, 2);
        to[i].retry_until_ms = next_number(in, 2) * (uint64_t)TIME_MS;
        if (next_number(in, 4) == 3) {
            moved = next_address(in, true);
            to[i].moved_to = &moved;
        }
    }
    r.content = in->rest;
    buf_init(&out, 16 << 20);
    must(mail_report_format(&r, &out, &body));
    has_third = str_find(buf_str(&out), STR("\r\nContent-Type: message/rfc822\r\n")) != STR_NOT_FOUND ||
                str_find(buf_str(&out), STR("\r\nContent-Type: message/global\r\n")) != STR_NOT_FOUND ||
                str_find(buf_str(&out), STR("\r\nContent-Type: message/global-headers\r\n")) != STR_NOT_FOUND ||
                str_find(buf_str(&out), STR("\r\nContent-Type: text/rfc822-headers\r\n")) != STR_NOT_FOUND;
    check_parts(buf_str(&out), has_third);
    check_letter(buf_str(&out), body, mail_header_find(buf_str(&out), STR("In-Reply-To"), &field) ? 2 : 0);
    buf_done(&out);
}

static void digest(struct input *in, unsigned flags)
{
    struct mail_digest_entry entries[RECIPIENTS] = {0};
    struct mail_digest       d = {.mta = STR("mx.example.test"), .date_ms = TIME_MS, .entries = entries};
    enum body_type           body;
    struct buf               out;

    d.smtputf8 = flags & 1;
    d.domain = next_address(in, true).domain;
    d.id = next(in);
    d.total = d.entry_count = (flags >> 4) % (RECIPIENTS + 1);
    for (size_t i = 0; i < d.entry_count; i++)
        entries[i] = (struct mail_digest_entry){.id = next(in),
                                                .size = (uint64_t)next_number(in, 256) << (i * 20),
                                                .from = next_address(in, true),
                                                .to = next_address(in, true),
                                                .client = next(in)};
    buf_init(&out, 1 << 20);
    must(mail_digest_format(&d, &out, &body));
    check_lines(buf_str(&out), STR_NONE);
    check_letter(buf_str(&out), body, 0);
    buf_done(&out);
}

/* One field each, whatever was said. */
static void trace(struct input *in, unsigned flags)
{
    struct mail_address  to = next_address(in, true), from = next_address(in, true);
    struct mail_received r = {
        .client = next(in), .helo = next(in), .by = next(in), .protocol = next(in), .id = next(in)};
    struct mail_fields f;
    struct mail_field  field;
    size_t             count = 0;
    struct buf         out;

    r.smtputf8 = flags & 1;
    r.recipient = flags & 2 ? &to : NULL;
    buf_init(&out, 1 << 16);
    must(mail_trace_return_path(&from, &out) && mail_trace_delivered_to(&to, &out) && mail_trace_received(&r, &out));
    check_lines(buf_str(&out), STR_NONE);
    mail_fields_init(&f, buf_str(&out), SIZE_MAX);
    while (mail_fields_next(&f, &field))
        count++;
    must(count == 3 && f.at == out.len && str_eq(field.name, STR("Received")));
    must(r.smtputf8 || to.utf8 || from.utf8 || str_is_ascii(buf_str(&out)));
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct input in = {str_of((const char *)data + 2, size - 2), &arena};

    if (size < 2 || size > 65536)
        return 0;
    arena_init(&arena, 4096, 1 << 20);
    switch (data[0] % 4) {
    case 0:
        digest(&in, data[1]);
        break;
    case 1:
        trace(&in, data[1]);
        break;
    default:
        report(&in, data[1]);
        break;
    }
    arena_done(&arena);
    return 0;
}
