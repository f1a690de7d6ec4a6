/* table.c: config.def as a table that a program can walk. */
#include "config/config.h"

#define NO false
#define YES true
#define TITLED true
#define UNTITLED false
#define ONE false
#define MANY true

/* min stands for the words where the type is CHOICE. */
#define LOW_STRING(low) NULL, 0
#define LOW_LIST(low) NULL, 0
#define LOW_BOOL(low) NULL, 0
#define LOW_NUMBER(low) NULL, low
#define LOW_SIZE(low) NULL, low
#define LOW_TIME(low) NULL, low
#define LOW_MODE(low) NULL, low
#define LOW_CHOICE(low) low, 0
#define LOW_NETWORKS(low) NULL, 0
#define LOW_TIMES(low) NULL, low
#define HEAD(block, name, type, fallback) block, name, CONFIG_##type, fallback

static const struct config_setting global_settings[] = {
#define GLOBAL(name, type, fallback, low, high, reload, help) \
    {HEAD(NULL, #name, type, fallback), LOW_##type(low), high, reload, help, offsetof(struct config, name)},
#define BLOCK(name, titled, many, help)
#define SETTING(block, name, type, fallback, low, high, reload, help)
#define END(name)
#include "config/config.def"
#undef GLOBAL
#undef BLOCK
#undef SETTING
#undef END
};

#define GLOBAL(name, type, fallback, low, high, reload, help)
#define BLOCK(name, titled, many, help) static const struct config_setting name##_settings[] = {
#define SETTING(block, name, type, fallback, low, high, reload, help) \
    {HEAD(#block, #name, type, fallback), LOW_##type(low), high, reload, help, offsetof(struct config_##block, name)},
#define END(name) \
    }             \
    ;
#include "config/config.def"
#undef GLOBAL
#undef BLOCK
#undef SETTING
#undef END

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))
#define OFFSETS_ONE(name) offsetof(struct config, name), 0
#define OFFSETS_MANY(name) offsetof(struct config, name##s), offsetof(struct config, name##_count)
#define TITLE_OFFSET_TITLED(name) offsetof(struct config_##name, title)
#define TITLE_OFFSET_UNTITLED(name) 0

const struct config_block config_blocks[] = {
    {NULL, false, false, "settings outside all blocks", 0, 0, sizeof(struct config), 0, 0, global_settings,
     COUNT_OF(global_settings)},
#define GLOBAL(name, type, fallback, low, high, reload, help)
#define BLOCK(name, titled, many, help)    \
    {#name,                                \
     titled,                               \
     many,                                 \
     help,                                 \
     OFFSETS_##many(name),                 \
     sizeof(struct config_##name),         \
     TITLE_OFFSET_##titled(name),          \
     offsetof(struct config_##name, line), \
     name##_settings,                      \
     COUNT_OF(name##_settings)},
#define SETTING(block, name, type, fallback, low, high, reload, help)
#define END(name)
#include "config/config.def"
};
const size_t config_block_count = COUNT_OF(config_blocks);
