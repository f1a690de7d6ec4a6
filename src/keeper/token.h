/* token.h: proofs that something is ours, made with a key that only the keeper reads.
 *
 * A Message-ID of ours is <ID.TOKEN@hostname>: TOKEN are the first 12 base32 digits (60 bits) of HMAC-SHA256(key, ID).
 * A bounce that quotes one answers something that we sent.
 *
 * A signed return path is prvs=KDDDSSSSSS=local@domain (draft-levine-smtp-batv): K the key's number, DDD the day on
 * which it expires (days since 1970, modulo 1000), SSSSSS the first 6 hexadecimal digits of HMAC-SHA256(key, K, DDD,
 * address). 24 bits are few, but a guess costs a whole message and is worth one bounce. */
#ifndef TACIT_KEEPER_TOKEN_H
#define TACIT_KEEPER_TOKEN_H

#include "base/arena.h"
#include "base/err.h"
#include "mail/address.h"

enum {
    TOKEN_KEY = 32,    /* octets */
    TOKEN_ID_MAX = 64, /* octets of an id that gets a token */
    TOKEN_DIGITS = 12,
    TOKEN_PATH_DAYS = 7,  /* a signed return path is good for */
    TOKEN_PATH_EXTRA = 16 /* octets that signing adds to a local part */
};

struct token_key {
    unsigned char bytes[TOKEN_KEY];
};

/* Reads the key from `path`, or makes it there if it is missing: 0600, whole or not at all, durable. */
bool token_key_open(const char *path, struct token_key *ret_key, struct err *err);

/* ret_token is NUL-terminated. False: `id` is none that a Message-ID may hold: 1 to TOKEN_ID_MAX letters, digits, '-'
 * or '_'. */
bool token_make(const struct token_key *key, struct str id, char ret_token[TOKEN_DIGITS + 1]);
/* Whether a Message-ID, with or without angle brackets, is one of ours. */
bool token_check(const struct token_key *key, struct str message_id, struct str hostname);

/* False: the local part is too long to be signed, or the arena is full. */
bool token_path_sign(const struct token_key *key, const struct mail_address *address, uint64_t now_ms,
                     struct arena *arena, struct mail_address *ret_path);
/* False: not a path that we signed. *ret_address is the address inside; *ret_fresh tells that it has not expired. */
bool token_path_open(const struct token_key *key, const struct mail_address *path, uint64_t now_ms, struct arena *arena,
                     struct mail_address *ret_address, bool *ret_fresh);

#endif
