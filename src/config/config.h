/* config.h: the configuration, made from config.def.
 *
 * struct config has a member for each global setting, a member `struct config_limits limits` for a block that occurs
 * once, and an array `struct config_listen *listens; size_t listen_count` for one that may occur many times. It is
 * never changed after loading; a reload makes another. Every string is NUL-terminated and never NULL.
 *
 * What a value is by its type: STRING const char *; LIST struct config_list; BOOL bool; NUMBER, SIZE (octets), TIME
 * (ms) and MODE uint64_t; CHOICE unsigned, the word's place in config.def (the enums below, and those of other headers
 * that name the same words in the same order: log.h, disclosure.h); NETWORKS struct config_networks; TIMES struct
 * config_times.
 *
 * Made canonical on the way: `data`, `password_file` and the PATH of "unix:PATH" are absolute (a socket relative to
 * `data`, the others to the file's directory); `hostname` and the titles of `domain` and `route` as mail_domain_parse
 * gives them, but
 * "*" stays. `directory` and `deliver` stay as written: their paths are relative to `data`. */
#ifndef TACIT_CONFIG_CONFIG_H
#define TACIT_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "io/net.h"
#include "mail/address.h"

enum config_vrfy { CONFIG_VRFY_252, CONFIG_VRFY_502, CONFIG_VRFY_ANSWER };
enum config_strangers { CONFIG_STRANGERS_ACCEPT, CONFIG_STRANGERS_REFUSE };
enum config_rcpt_reply { CONFIG_RCPT_250, CONFIG_RCPT_252 };
enum config_follow { CONFIG_FOLLOW_NEVER, CONFIG_FOLLOW_TRUSTED };
enum config_protocol { CONFIG_SMTP, CONFIG_LMTP };

struct config_list {
    const char **items;
    size_t       count;
};
struct config_networks {
    struct io_cidr *items;
    size_t          count;
};
struct config_times {
    uint64_t *ms;
    size_t    count;
};

#define CONFIG_TYPE_STRING const char *
#define CONFIG_TYPE_LIST struct config_list
#define CONFIG_TYPE_BOOL bool
#define CONFIG_TYPE_NUMBER uint64_t
#define CONFIG_TYPE_SIZE uint64_t
#define CONFIG_TYPE_TIME uint64_t
#define CONFIG_TYPE_MODE uint64_t
#define CONFIG_TYPE_CHOICE unsigned
#define CONFIG_TYPE_NETWORKS struct config_networks
#define CONFIG_TYPE_TIMES struct config_times
#define CONFIG_TITLE_TITLED const char *title;
#define CONFIG_TITLE_UNTITLED

/* struct config_listen, struct config_domain, …; `line` is where the block begins in the file, 0 if it is not there. */
#define GLOBAL(name, type, ...)
#define BLOCK(name, titled, many, help) \
    struct config_##name {              \
        CONFIG_TITLE_##titled unsigned line;
#define SETTING(block, name, type, ...) CONFIG_TYPE_##type name;
#define END(name) \
    }             \
    ;
#include "config/config.def"
#undef GLOBAL
#undef BLOCK
#undef SETTING
#undef END

#define CONFIG_MEMBER_ONE(name) struct config_##name name;
#define CONFIG_MEMBER_MANY(name)   \
    struct config_##name *name##s; \
    size_t                name##_count;

struct config {
#define GLOBAL(name, type, ...) CONFIG_TYPE_##type name;
#define BLOCK(name, titled, many, help) CONFIG_MEMBER_##many(name)
#define SETTING(block, name, type, ...)
#define END(name)
#include "config/config.def"
#undef GLOBAL
#undef BLOCK
#undef SETTING
#undef END
    struct config_route route_default; /* where no block is written */
    const char         *file;          /* as named to config_load; for messages */
    const char         *base_dir;      /* absolute */
    struct str          text;          /* what was parsed */
    struct config_list  warnings;      /* "FILE:LINE: sentence": not errors, but worth knowing */
    struct map          domain_map, route_map;
    struct arena        arena;
};

enum { CONFIG_TEXT_MAX = 4 << 20 /* octets */, CONFIG_BLOCKS_MAX = 10000 /* of one kind */ };

/* NULL with one line in err ("FILE:LINE: what is wrong, and what was perhaps meant") on the first mistake. Not
 * reentrant (libconfuse's scanner is global): one thread at a time. */
struct config *config_load(const char *path, struct err *err);
struct config *config_parse_text(struct str text, const char *name_for_messages, const char *base_dir, struct err *err);
void           config_free(struct config *config); /* NULL is fine */

/* Puts into each route the password that its password_file has. For master, at the start and at a reload; commands do
 * without, and an ordinary user may not read it. False: "FILE:LINE: …" as above, for a file that is not there, is
 * empty, has more than one line, or gives others than its owner any access. `may_be_closed`: one that we may not open
 * is a warning. */
bool config_read_passwords(struct config *config, bool may_be_closed, struct err *err);

/* A configuration as master hands it to its roles: the text with what does not stand in it (file, base_dir, the
 * hostname that was found, and what config_read_passwords read). unpack parses it again and gives the same
 * configuration; without `passwords` "x" stands in place of each, and comments are gone. */
bool           config_pack(const struct config *config, bool passwords, struct buf *out);
struct config *config_unpack(struct str packed, struct err *err);

/* The block of a hosted domain, by canonical name; NULL: not ours. */
const struct config_domain *config_domain_find(const struct config *config, struct str domain);
/* The route of mail from `sender` to `domain` (canonical): the first there is of the block of the domain, of "from "
 * and the sender's address, of "from " and the sender's domain, and "*". Never NULL: without a block, one with
 * defaults. */
const struct config_route  *config_route_find(const struct config *config, const struct mail_address *sender,
                                              struct str domain);
const struct config_route  *config_route_titled(const struct config *config, struct str title); /* the same */
bool                        config_networks_have(const struct config_networks *networks, const struct io_address *a);
/* "base/relative", or `path` if it is absolute, NUL-terminated in `arena`. */
struct str                  config_path(const char *base, struct str path, struct arena *arena);

/* Whether anything goes to a Unix socket: a route, or the mail of a domain. */
bool config_uses_sockets(const struct config *config);

/* Where it is remembered what other servers said (directory/contacts.h); the same. */
struct str config_contacts_path(const struct config *config, struct arena *arena);

/* "50M" → octets; "5d", "90s", "500ms" → milliseconds; a bare number is octets, or seconds. */
bool config_size_parse(struct str text, uint64_t *ret_octets);
bool config_time_parse(struct str text, uint64_t *ret_ms);

/* The table of config.def, for `tacit check`, the manual and tests. */
enum config_type {
    CONFIG_STRING,
    CONFIG_LIST,
    CONFIG_BOOL,
    CONFIG_NUMBER,
    CONFIG_SIZE,
    CONFIG_TIME,
    CONFIG_MODE,
    CONFIG_CHOICE,
    CONFIG_NETWORKS,
    CONFIG_TIMES,
};
struct config_setting {
    const char      *block; /* NULL: global */
    const char      *name;
    enum config_type type;
    const char      *fallback; /* as in a file, without the quotes of a string */
    const char      *words;    /* CHOICE: "a|b" */
    uint64_t         min, max;
    bool             reload;
    const char      *help;
    size_t           offset; /* in struct config, or in the block's struct */
};
struct config_block {
    const char                  *name;
    bool                         titled, many;
    const char                  *help;
    size_t                       offset, count_offset, size; /* in struct config; of one */
    size_t                       title_offset, line_offset;
    const struct config_setting *settings;
    size_t                       setting_count;
};
/* The first block has the name NULL and is the global settings. */
extern const struct config_block config_blocks[];
extern const size_t              config_block_count;

#endif
