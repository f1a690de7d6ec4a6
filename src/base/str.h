/* str.h: borrowed bytes.
 *
 * A `struct str` points at bytes that somebody else owns; it is passed by value, may hold NUL and need not
 * end in one. It stays valid as long as its owner says (an arena until its reset, a buffer until it changes).
 * All functions here are total: they take any bytes, also empty ones with a NULL pointer. */
#ifndef TACIT_BASE_STR_H
#define TACIT_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *data;
    size_t      len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For "%.*s" of printf; longer strings than an int can say are cut by the caller beforehand. */
#define STR_ARG(s) ((int)(s).len), ((s).data ? (s).data : "")

static inline struct str str_of(const char *data, size_t len) { return (struct str){data, len}; }
static inline struct str str_from(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
static inline bool       str_is_empty(struct str s) { return s.len == 0; }

/* The part from `from` on, or up to `len` bytes from `from`; both are cut to what is there. */
struct str str_skip(struct str s, size_t from);
struct str str_part(struct str s, size_t from, size_t len);

bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b); /* ASCII letters only */
int  str_cmp(struct str a, struct str b);       /* bytewise, as memcmp, the shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_ends_nocase(struct str s, struct str suffix);

#define STR_NOT_FOUND ((size_t)-1)
size_t str_find_byte(struct str s, char byte); /* offset of the first, or STR_NOT_FOUND */
size_t str_find_last_byte(struct str s, char byte);
size_t str_find(struct str s, struct str what);

/* Without the spaces and tabs at both ends. */
struct str str_trim(struct str s);

/* Cuts *rest at the first `byte`: returns what stands before it and leaves what stands after it in *rest;
 * without such a byte returns all and leaves *rest empty with a NULL pointer. */
struct str str_cut(struct str *rest, char byte);

/* A decimal number without sign, leading blanks or leftovers, at most `max`. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret_value);
/* Decimal; borrows ret_text, which has room for the digits of the largest. */
enum { STR_U64_TEXT = 20 };
struct str str_from_u64(uint64_t value, char ret_text[STR_U64_TEXT]);

bool   str_is_7bit(struct str s);  /* every byte is in 0..127 */
bool   str_is_ascii(struct str s); /* every byte is in 1..127 */
bool   str_is_utf8(struct str s);  /* RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF, no NUL */
/* Length of the character of UTF-8, as above, at the start of `s`; 0: there is none. */
size_t str_utf8_point(struct str s, uint32_t *ret_point);
/* Whether it could make a line on a screen read as another: controls, ends of lines, marks of direction, nothing to be
 * seen. */
bool   point_misleads(uint32_t point);

static inline char char_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
static inline char char_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }
static inline bool char_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool char_is_alpha(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
static inline bool char_is_alnum(char c) { return char_is_digit(c) || char_is_alpha(c); }
static inline int  char_hex_value(char c) /* 0..15, or -1 */
{
    return char_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
