/* config.c: loading: libconfuse parses, the table of config.def says what may stand where.
 *
 * To libconfuse every setting is a string or a list of strings without a default; a callback runs when a value has been
 * read, while the line is known, and puts it into its field (config/value.c). So a mistake in a value is reported like
 * one in the grammar: first one wins, FILE:LINE in front. What needs more than one value is judged at the end
 * (config/check.c). Rejected: libconfuse's own numbers and booleans: their messages do not say what is allowed, and
 * sizes and times need our units anyway. */
#include "base/nearest.h"
#include "config/lines.h"

#include "config/internal.h"
#include "io/file.h"

#include <confuse.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { VALUES_MAX = 4096 /* of one list */ };

struct loading {
    struct config      *config;
    struct config_scan  scan;
    struct config_lines lines;
    size_t             *room; /* for each block of config_blocks: instances there is room for */
    cfg_t              *section;
    struct err         *err;
    size_t              closed; /* blocks that have ended */
    bool                failed;
};
static struct loading *current; /* libconfuse hands nothing through to its callbacks, and its scanner is global too */

static int fail_at(unsigned line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail_at(unsigned line, const char *format, ...)
{
    char    text[sizeof((struct err *)0)->text];
    va_list args;

    if (current->failed)
        return -1;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(current->err, ERR_CONFIG, "%s:%u: %s", current->config->file, line, text);
    current->failed = true;
    return -1;
}

static const struct config_block *block_named(const char *name)
{
    for (size_t i = 1; i < config_block_count; i++)
        if (strcmp(config_blocks[i].name, name) == 0)
            return &config_blocks[i];
    return &config_blocks[0];
}

static void unknown_name(unsigned line, const struct config_block *block, struct str name)
{
    struct nearest near = nearest_to(name);
    char           shown[CONFIG_SHOWN_MAX], where[96] = "", meant[160] = "";

    for (size_t i = 0; i < block->setting_count; i++)
        nearest_offer(&near, block->settings[i].name);
    for (size_t i = 1; i < config_block_count && !block->name; i++)
        nearest_offer(&near, config_blocks[i].name);
    if (near.best) {
        snprintf(meant, sizeof meant, " (did you mean \"%s\"?)", near.best);
    } else {
        for (size_t i = 0; i < config_block_count && !meant[0]; i++)
            for (size_t k = 0; k < config_blocks[i].setting_count; k++)
                if (str_eq(name, str_from(config_blocks[i].settings[k].name))) {
                    if (config_blocks[i].name)
                        snprintf(meant, sizeof meant, " (it belongs in a block %s)", config_blocks[i].name);
                    else
                        snprintf(meant, sizeof meant, " (it belongs outside all blocks)");
                }
    }
    if (block->name)
        snprintf(where, sizeof where, " in block %s", block->name);
    fail_at(line, "unknown setting \"%s\"%s%s", config_shown(name, shown), where, meant);
}

static void on_error(cfg_t *cfg, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    static const char unknown[] = "no such option '";
    char              text[400];
    struct str        s;

    vsnprintf(text, sizeof text, format, args);
    s = str_from(text);
    if (str_starts(s, str_from(unknown)) && str_ends(s, STR("'"))) {
        s = str_skip(s, sizeof unknown - 1);
        s.len--;
        unknown_name((unsigned)cfg->line, block_named(cfg->name), s);
    } else {
        for (char *c = text; *c; c++)
            if ((unsigned char)*c < ' ')
                *c = '?';
        fail_at((unsigned)cfg->line, "%s", text);
    }
}

static bool set_defaults(const struct config_block *block, void *instance)
{
    for (size_t i = 0; i < block->setting_count; i++) {
        const struct config_setting *s = &block->settings[i];

        if (!config_value_default(s, (char *)instance + s->offset, &current->config->arena, current->err)) {
            current->failed = true;
            return false;
        }
    }
    return true;
}

/* An escape in a string can make what the scan keeps out of the text itself. */
static bool has_control(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f)
            return true;
    return false;
}

/* One more of a block that may occur many times. The array moves as it grows; nothing points into it yet. */
static void *instance_add(const struct config_block *block, const char *title, unsigned line)
{
    struct config *config = current->config;
    char          *base = (char *)config;
    void         **array = (void **)(void *)(base + block->offset);
    size_t    *count = (size_t *)(void *)(base + block->count_offset), *room = &current->room[block - config_blocks];
    char      *instance;
    struct str copy = arena_str(&config->arena, str_from(title));

    if (has_control(copy)) {
        fail_at(line, "the title of this block has a control character");
        return NULL;
    }
    if (*count == *room) {
        size_t size = *room ? *room * 2 : 4;
        void  *more = *count < CONFIG_BLOCKS_MAX ? arena_alloc(&config->arena, size * block->size) : NULL;

        if (!more) {
            fail_at(line, "too many blocks %s", block->name);
            return NULL;
        }
        if (*count)
            memcpy(more, *array, *count * block->size);
        *array = more;
        *room = size;
    }
    instance = (char *)*array + *count * block->size;
    if (!copy.data || !set_defaults(block, instance)) {
        fail_at(line, "out of memory");
        return NULL;
    }
    *(const char **)(void *)(instance + block->title_offset) = copy.data;
    *(unsigned *)(void *)(instance + block->line_offset) = line;
    ++*count;
    return instance;
}

/* Where the values of a section go; made when the section is first seen. */
static void *instance_of(cfg_t *cfg, const struct config_block *block, size_t *ret_index)
{
    char    *base = (char *)current->config;
    unsigned line = 0;
    size_t   count;

    *ret_index = 0;
    if (!block->name)
        return base;
    if (current->closed < current->scan.block_count)
        line = current->scan.block_lines[current->closed];
    if (!block->many) {
        unsigned *known = (unsigned *)(void *)(base + block->offset + block->line_offset);

        if (!*known)
            *known = line;
        return base + block->offset;
    }
    if (cfg != current->section) {
        current->section = cfg;
        if (!instance_add(block, cfg_title(cfg), line))
            return NULL;
    }
    count = *(size_t *)(void *)(base + block->count_offset);
    *ret_index = count - 1;
    return *(char **)(void *)(base + block->offset) + (count - 1) * block->size;
}

static bool set_values(cfg_t *cfg, const struct config_block *block, const struct config_setting *s, cfg_opt_t *opt)
{
    struct str one, *values = &one;
    size_t     count = cfg_opt_size(opt), index;
    void      *instance = instance_of(cfg, block, &index);
    unsigned   line = (unsigned)cfg->line, first;
    bool       is_list = s->type == CONFIG_LIST || s->type == CONFIG_NETWORKS || s->type == CONFIG_TIMES, good;
    struct err err;

    if (!instance)
        return false;
    first = config_lines_get(&current->lines, s, index);
    if (first && !is_list)
        return fail_at(line, "%s is set twice, first on line %u", s->name, first) == 0;
    if (count > VALUES_MAX)
        return fail_at(line, "%s has more than %d values", s->name, VALUES_MAX) == 0;
    if (is_list && !(values = calloc(count + 1, sizeof *values)))
        return fail_at(line, "out of memory") == 0;
    for (size_t i = 0; i < (is_list ? count : 1); i++)
        values[i] = str_from(cfg_opt_getnstr(opt, (unsigned)i));
    good = true;
    for (size_t i = 0; i < (is_list ? count : 1) && good; i++)
        if (has_control(values[i]))
            good = err_set(&err, ERR_CONFIG, "%s has a control character", s->name);
    good = good && config_value_set(s, (char *)instance + s->offset, values, count, &current->config->arena, &err);
    if (is_list)
        free(values);
    if (!good)
        return fail_at(line, "%s", err.text) == 0;
    if (!config_lines_put(&current->lines, s, index, line))
        return fail_at(line, "out of memory") == 0;
    return true;
}

static const struct config_setting *setting_of(const struct config_block *block, const cfg_opt_t *opt)
{
    for (size_t i = 0; i < block->setting_count; i++)
        if (strcmp(block->settings[i].name, opt->name) == 0)
            return &block->settings[i];
    return NULL;
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const struct config_block   *block = block_named(cfg->name);
    const struct config_setting *s = setting_of(block, opt);
    bool                         is_own = false;

    if (current->failed)
        return -1;
    for (size_t i = 0; cfg->opts[i].name && !is_own; i++) /* libconfuse also takes "limits|message = …" */
        is_own = &cfg->opts[i] == opt;
    if (!is_own || !s) {
        unknown_name((unsigned)cfg->line, block, str_from(opt->name));
        return -1;
    }
    return set_values(cfg, block, s, opt) ? 0 : -1;
}

/* A list given as {} has no value that a callback could run for. */
static bool set_empty_lists(cfg_t *cfg, const struct config_block *block)
{
    for (size_t i = 0; cfg->opts[i].name; i++) {
        cfg_opt_t                   *opt = &cfg->opts[i];
        const struct config_setting *s = opt->type == CFGT_STR ? setting_of(block, opt) : NULL;

        if (s && (opt->flags & CFGF_LIST) && (opt->flags & CFGF_MODIFIED) && !cfg_opt_size(opt) &&
            !set_values(cfg, block, s, opt))
            return false;
    }
    return true;
}

static int on_block_end(cfg_t *cfg, cfg_opt_t *opt)
{
    cfg_t                     *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
    const struct config_block *block = block_named(opt->name);
    size_t                     index;

    (void)cfg;
    if (current->failed || !section || !instance_of(section, block, &index) || !set_empty_lists(section, block))
        return -1;
    current->closed++;
    return 0;
}

static cfg_opt_t *settings_for_confuse(const struct config_block *block, size_t more)
{
    cfg_opt_t *opts = calloc(block->setting_count + more + 1, sizeof *opts);

    for (size_t i = 0; opts && i < block->setting_count; i++) {
        enum config_type type = block->settings[i].type;
        bool             is_list = type == CONFIG_LIST || type == CONFIG_NETWORKS || type == CONFIG_TIMES;

        opts[i] = (cfg_opt_t)CFG_STR(block->settings[i].name, NULL, is_list ? CFGF_LIST : CFGF_NONE);
        opts[i].validcb = on_value;
    }
    return opts;
}

/* The tables that libconfuse wants; it copies them at once. */
static cfg_t *confuse_new(void)
{
    cfg_opt_t *root = settings_for_confuse(&config_blocks[0], config_block_count);
    cfg_t     *cfg = NULL;
    size_t     at = config_blocks[0].setting_count, i;

    for (i = 1; root && i < config_block_count; i++, at++) {
        const struct config_block *block = &config_blocks[i];
        cfg_opt_t                 *opts = settings_for_confuse(block, 0);

        if (!opts)
            break;
        root[at] = (cfg_opt_t)CFG_SEC(block->name, opts,
                                      block->titled ? CFGF_TITLE | CFGF_MULTI | CFGF_NO_TITLE_DUPES : CFGF_NONE);
        root[at].validcb = on_block_end;
    }
    if (root && i == config_block_count)
        cfg = cfg_init(root, CFGF_NONE);
    for (at = config_blocks[0].setting_count; root && root[at].name; at++)
        free(root[at].subopts);
    free(root);
    return cfg;
}

static bool parse_scanned(struct loading *l, const char *hostname)
{
    cfg_t *cfg;
    bool   good;

    if (!set_defaults(&config_blocks[0], l->config))
        return false;
    for (size_t i = 1; i < config_block_count; i++)
        if (!config_blocks[i].many && !set_defaults(&config_blocks[i], (char *)l->config + config_blocks[i].offset))
            return false;
    if (!set_defaults(block_named("route"), &l->config->route_default))
        return false;
    l->config->route_default.title = "*";
    cfg = confuse_new();
    if (!cfg)
        return err_set(l->err, ERR_LIMIT, "out of memory");
    cfg_set_error_function(cfg, on_error);
    good = cfg_parse_buf(cfg, l->scan.text) == CFG_SUCCESS && !l->failed && set_empty_lists(cfg, &config_blocks[0]);
    if (!good)
        fail_at((unsigned)cfg->line, "this line cannot be read");
    cfg_free(cfg);
    return good && config_check(l->config, &l->lines, hostname, l->err);
}

struct config *config_parse(struct str text, const char *name, const char *base_dir, const char *hostname,
                            struct err *err)
{
    struct config *config = calloc(1, sizeof *config);
    size_t        *room = calloc(config_block_count, sizeof *room);
    struct loading l = {.config = config, .err = err, .room = room};
    unsigned       line;
    bool           good = false;

    if (!config || !room) {
        free(config);
        free(room);
        err_set(err, ERR_LIMIT, "%s: out of memory", name);
        return NULL;
    }
    arena_init(&config->arena, 64 * 1024, CONFIG_ARENA_MAX);
    map_init(&config->domain_map, 0);
    map_init(&config->route_map, 0);
    config_lines_init(&l.lines);
    config->file = arena_str(&config->arena, str_from(name)).data;
    config->base_dir = arena_str(&config->arena, str_from(base_dir)).data;
    config->text = arena_str(&config->arena, text);
    current = &l;
    if (!config->file || !config->base_dir || !config->text.data)
        err_set(err, ERR_LIMIT, "%s: out of memory", name);
    else if (!config_scan(config->text, &l.scan, &line, err))
        err_prefix(err, "%s:%u", name, line);
    else
        good = parse_scanned(&l, hostname);
    current = NULL;
    config_scan_done(&l.scan);
    config_lines_done(&l.lines);
    free(room);
    if (good)
        return config;
    config_free(config);
    return NULL;
}

struct config *config_parse_text(struct str text, const char *name_for_messages, const char *base_dir, struct err *err)
{
    return config_parse(text, name_for_messages, base_dir, NULL, err);
}

struct config *config_load(const char *path, struct err *err)
{
    struct buf     text;
    struct config *config = NULL;
    char          *copy = strdup(path), *base = NULL;

    buf_init(&text, CONFIG_TEXT_MAX);
    if (!copy)
        err_set(err, ERR_LIMIT, "%s: out of memory", path);
    else if (io_file_read_all(path, &text, err)) {
        base = realpath(dirname(copy), NULL);
        if (base)
            config = config_parse(buf_str(&text), path, base, NULL, err);
        else
            err_set(err, ERR_CONFIG, "%s: its directory cannot be found", path);
        if (config)
            config_warn_of_open_passwords(config);
    }
    free(base);
    free(copy);
    buf_done(&text);
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    map_done(&config->domain_map);
    map_done(&config->route_map);
    arena_done(&config->arena);
    free(config);
}

bool config_networks_have(const struct config_networks *networks, const struct io_address *a)
{
    for (size_t i = 0; i < networks->count; i++)
        if (io_cidr_has(&networks->items[i], a))
            return true;
    return false;
}

struct str config_path(const char *base, struct str path, struct arena *arena)
{
    if (path.len && path.data[0] == '/')
        return arena_str(arena, path);
    return arena_printf(arena, "%s/%.*s", base, STR_ARG(path));
}
