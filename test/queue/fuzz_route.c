/* fuzz_route.c: whatever the DNS answers, routing asks a bounded number of questions, comes to one result that keeps
 * its limits, and names nothing that no host can be called. Records are also read as every kind there is.
 *
 * input = domain *answer; domain and records: an octet of length and the octets; answer = octets: outcome, of which the
 * high bits are flags, and number of records, then these. Questions are answered in the order in which they come, or,
 * where the first octet is odd, the newest first. */
#include "fuzz.h"

#include "mail/address.h"
#include "queue/route.h"

enum { QUESTIONS_MAX = 3 + 2 * ROUTE_HOSTS, RECORDS_MAX = 40 };

static uint8_t next_octet(struct str *in)
{
    uint8_t octet = in->len ? (uint8_t)in->data[0] : 0;

    *in = str_skip(*in, 1);
    return octet;
}

static struct str next_text(struct str *in)
{
    size_t     len = next_octet(in);
    struct str text = str_part(*in, 0, len);

    *in = str_skip(*in, len);
    return text;
}

static void check_name(const struct dns_name *name)
{
    must(name->len <= DNS_NAME_MAX && name->text[name->len] == '\0' && strlen(name->text) == name->len);
    for (size_t i = 0; i < name->len; i++)
        must(name->text[i] > ' ' && name->text[i] < 0x7f && char_lower(name->text[i]) == name->text[i]);
}

static void read_as_all(struct str record)
{
    struct dns_name    name;
    struct dns_address address;
    struct dns_tlsa    tlsa;
    struct buf         text;
    uint16_t           preference;

    if (dns_name_get(record, &name))
        check_name(&name);
    if (dns_mx_get(record, &preference, &name))
        check_name(&name);
    must(dns_address_get(record, DNS_A, &address) == (record.len == 4));
    must(dns_address_get(record, DNS_AAAA, &address) == (record.len == 16));
    must(!dns_tlsa_get(record, &tlsa) || tlsa.data.len + 3 == record.len);
    buf_init(&text, 256);
    must(!dns_txt_get(record, &text) || text.len < record.len);
    buf_done(&text);
}

static struct dns_answer next_answer(struct str *in, struct str records[RECORDS_MAX])
{
    uint8_t           kind = next_octet(in);
    struct dns_answer a = {.outcome = (enum dns_outcome)((kind & 0x3f) % (DNS_BOGUS + 1)), .secure = kind & 0x40};

    a.cname = kind & 0x80;
    if (a.outcome != DNS_FOUND)
        return a;
    a.count = 1 + next_octet(in) % RECORDS_MAX;
    a.records = records;
    for (size_t i = 0; i < a.count; i++) {
        records[i] = next_text(in);
        read_as_all(records[i]);
    }
    return a;
}

static void check_result(const struct route_result *r)
{
    must(r && r->target_count <= ROUTE_TARGETS && (r->outcome == ROUTE_FOUND) == (r->target_count > 0));
    must((r->outcome == ROUTE_FOUND) == (r->status == NULL) && (r->outcome == ROUTE_FOUND) == (r->reason.len == 0));
    must(!r->status || r->status[0] == (r->outcome == ROUTE_FAILS ? '5' : '4'));
    for (size_t i = 0; i < r->target_count; i++)
        must(r->targets[i].host.len > 0 && str_is_ascii(r->targets[i].host));
}

static bool is_our_name(struct str host, void *arg) { return (void)arg, str_eq(host, STR("mx.us.test")); }
static bool is_our_address(const struct dns_address *a, void *arg) { return (void)arg, a->octets[0] == 127; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct route_rules    rules = {.is_our_name = is_our_name, .is_our_address = is_our_address};
    struct str            in = str_of((const char *)data, size), records[RECORDS_MAX], domain;
    struct route_question questions[QUESTIONS_MAX];
    struct route         *r;
    struct arena          arena;
    size_t                open = 0, first = 0, asked = 0;
    uint8_t               how = next_octet(&in);

    rules.seed = how;
    rules.ipv4 = how & 2;
    rules.ipv6 = (how & 4) || !rules.ipv4;
    arena_init(&arena, 4096, 1 << 20);
    if (mail_domain_parse(next_text(&in), true, &arena, &domain)) {
        r = route_new(domain, &rules, &arena);
        must(r);
        for (;;) {
            struct dns_answer answer;
            size_t            which;

            while (asked < QUESTIONS_MAX && route_next_question(r, &questions[open])) {
                open++;
                asked++;
            }
            must(asked < QUESTIONS_MAX);
            if (open == first)
                break;
            must(!route_result(r));
            which = how & 1 ? open - 1 : first;
            answer = next_answer(&in, records);
            must(route_answer(r, &questions[which], &answer));
            if (how & 1)
                open--;
            else
                first++;
        }
        check_result(route_result(r));
    }
    arena_done(&arena);
    return 0;
}
