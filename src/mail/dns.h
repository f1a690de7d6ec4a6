/* dns.h: what the DNS answers, for those who do not ask it themselves: kinds of records, outcomes, and the records that
 * mail needs, decoded from their wire form (RFC 1035 3.3, RFC 3596, RFC 6698 2.1). Pure. */
#ifndef TACIT_MAIL_DNS_H
#define TACIT_MAIL_DNS_H

#include "base/buf.h"

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

/* The last two are no statement of the domain: what is asked may be there, and the question is worth repeating. */
enum dns_outcome {
    DNS_FOUND,
    DNS_NO_DATA, /* the name exists, without records of this type */
    DNS_NO_NAME, /* NXDOMAIN */
    DNS_FAILED,  /* SERVFAIL, no answer in time, no resolver */
    DNS_BOGUS,   /* signed, and the signatures are wrong */
};

struct dns_answer {
    enum dns_outcome  outcome;
    bool              secure; /* validated by DNSSEC, whatever the outcome is */
    bool              cname;  /* an alias led there */
    uint32_t          ttl_s;
    const struct str *records; /* RDATA with names uncompressed */
    size_t            count;
    const char       *why; /* DNS_FAILED, DNS_BOGUS: in words, for people; may be NULL */
};

enum { DNS_NAME_MAX = 253 }; /* characters, without the last dot */
struct dns_name {
    char   text[DNS_NAME_MAX + 1]; /* lower case, NUL behind it */
    size_t len;                    /* 0: the root */
};
static inline struct str dns_name_str(const struct dns_name *n) { return str_of(n->text, n->len); }

struct dns_address {
    unsigned char octets[16]; /* network order; of IPv4 the first four */
    bool          is_ipv6;
};
enum { DNS_ADDRESS_TEXT = 46 }; /* with NUL */
bool dns_address_eq(const struct dns_address *a, const struct dns_address *b);

/* All false: not of that form, or longer than it should be. A name with octets that no name in mail has (blanks,
 * control characters, quotes, a dot or backslash inside a label, anything outside ASCII) is not of that form either. */
bool dns_name_get(struct str rdata, struct dns_name *ret_name);
bool dns_mx_get(struct str rdata, uint16_t *ret_preference, struct dns_name *ret_host);
/* Of an answer to MX: one record, and that names the root, so the domain takes no mail at all (RFC 7505). */
bool dns_is_null_mx(const struct dns_answer *a);
bool dns_address_get(struct str rdata, enum dns_type type, struct dns_address *ret_address);
/* Appends the strings of one record, joined without anything between them (RFC 7208 3.3). */
bool dns_txt_get(struct str rdata, struct buf *out);
struct dns_tlsa {
    uint8_t    usage, selector, matching;
    struct str data; /* borrows the record */
};
bool dns_tlsa_get(struct str rdata, struct dns_tlsa *ret_tlsa);

#endif
