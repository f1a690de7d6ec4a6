/* value.c: from the text of a value to a field of its type.
 *
 *   size = 1*DIGIT [ "K" / "M" / "G" / "T" ] [ "B" ]      time = 1*DIGIT [ "ms" / "s" / "m" / "h" / "d" / "w" ]
 *
 * Letters in either case. A message says what the setting takes, its range in the units of the file, and what it got.
 */
#include "config/internal.h"

#include <stdio.h>

static const struct {
    char     name[3];
    uint64_t factor;
} size_units[] = {{"", 1},           {"B", 1},           {"K", 1ull << 10}, {"KB", 1ull << 10},
                  {"M", 1ull << 20}, {"MB", 1ull << 20}, {"G", 1ull << 30}, {"GB", 1ull << 30},
                  {"T", 1ull << 40}, {"TB", 1ull << 40}},
  time_units[] = {{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};

static bool number_split(struct str text, uint64_t *ret_number, struct str *ret_unit)
{
    size_t digits = 0;

    while (digits < text.len && char_is_digit(text.data[digits]))
        digits++;
    *ret_unit = str_skip(text, digits);
    return str_to_u64(str_part(text, 0, digits), UINT64_MAX, ret_number);
}

bool config_size_parse(struct str text, uint64_t *ret_octets)
{
    uint64_t   number;
    struct str unit;

    if (!number_split(text, &number, &unit))
        return false;
    for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++)
        if (str_eq_nocase(unit, str_from(size_units[i].name)))
            return !__builtin_mul_overflow(number, size_units[i].factor, ret_octets);
    return false;
}

bool config_time_parse(struct str text, uint64_t *ret_ms)
{
    uint64_t   number;
    struct str unit;

    if (!number_split(text, &number, &unit))
        return false;
    for (size_t i = 0; i < sizeof time_units / sizeof *time_units; i++)
        if (str_eq_nocase(unit, str_from(time_units[i].name)))
            return !__builtin_mul_overflow(number, time_units[i].factor, ret_ms);
    return false;
}

const char *config_shown(struct str text, char ret_text[CONFIG_SHOWN_MAX])
{
    size_t len = text.len < CONFIG_SHOWN_MAX - 1 ? text.len : CONFIG_SHOWN_MAX - 1;

    for (size_t i = 0; i < len; i++)
        ret_text[i] = (unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f ? '?' : text.data[i];
    ret_text[len] = 0;
    if (len < text.len)
        memcpy(ret_text + len - 3, "...", 3);
    return ret_text;
}

/* A size or time as a file would have it: the largest unit that divides it. */
static const char *as_written(enum config_type type, uint64_t value, char *ret_text, size_t size)
{
    static const char *const size_names[] = {"T", "G", "M", "K"}, *const time_names[] = {"d", "h", "m", "s", "ms"};
    static const uint64_t size_factors[] = {1ull << 40, 1ull << 30, 1ull << 20, 1ull << 10},
                          time_factors[] = {86400000, 3600000, 60000, 1000, 1};
    bool               is_size = type == CONFIG_SIZE;
    const char *const *names = is_size ? size_names : time_names;
    const uint64_t    *factors = is_size ? size_factors : time_factors;

    for (size_t i = 0; value && i < (is_size ? 4 : 5); i++)
        if (value % factors[i] == 0) {
            snprintf(ret_text, size, "%llu%s", (unsigned long long)(value / factors[i]), names[i]);
            return ret_text;
        }
    snprintf(ret_text, size, "%llu", (unsigned long long)value);
    return ret_text;
}

static bool set_number(const struct config_setting *s, uint64_t *field, struct str text, struct err *err)
{
    bool     is_time = s->type == CONFIG_TIME || s->type == CONFIG_TIMES, good;
    char     shown[CONFIG_SHOWN_MAX], low[32], high[32];
    uint64_t value = 0;

    if (is_time)
        good = config_time_parse(text, &value);
    else if (s->type == CONFIG_SIZE)
        good = config_size_parse(text, &value);
    else
        good = str_to_u64(text, UINT64_MAX, &value);
    if (good && value >= s->min && value <= s->max) {
        *field = value;
        return true;
    }
    config_shown(text, shown);
    if (s->type == CONFIG_NUMBER)
        return err_set(err, ERR_CONFIG, "%s must be a number from %llu to %llu, not \"%s\"", s->name,
                       (unsigned long long)s->min, (unsigned long long)s->max, shown);
    as_written(is_time ? CONFIG_TIME : CONFIG_SIZE, s->min, low, sizeof low);
    as_written(is_time ? CONFIG_TIME : CONFIG_SIZE, s->max, high, sizeof high);
    return err_set(err, ERR_CONFIG, "%s must be a %s from %s to %s, such as \"%s\", not \"%s\"", s->name,
                   is_time ? "time" : "size", low, high, is_time ? "90s" : "50M", shown);
}

static bool set_bool(const struct config_setting *s, bool *field, struct str text, struct err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    char                     shown[CONFIG_SHOWN_MAX];

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq_nocase(text, str_from(words[i]))) {
            *field = i % 2;
            return true;
        }
    return err_set(err, ERR_CONFIG, "%s must be true or false, not \"%s\"", s->name, config_shown(text, shown));
}

static bool set_mode(const struct config_setting *s, uint64_t *field, struct str text, struct err *err)
{
    char     shown[CONFIG_SHOWN_MAX];
    uint64_t value = 0;
    bool     good = text.len > 0 && text.len <= 6;

    for (size_t i = 0; good && i < text.len; i++) {
        good = text.data[i] >= '0' && text.data[i] <= '7';
        value = value * 8 + (uint64_t)(text.data[i] - '0');
    }
    if (!good || value > s->max)
        return err_set(err, ERR_CONFIG, "%s must be octal permissions such as \"0666\", not \"%s\"", s->name,
                       config_shown(text, shown));
    *field = value;
    return true;
}

static bool set_choice(const struct config_setting *s, unsigned *field, struct str text, struct err *err)
{
    struct str rest = str_from(s->words);
    char       shown[CONFIG_SHOWN_MAX], words[128] = "";
    size_t     used = 0;

    for (unsigned i = 0; rest.data; i++) {
        struct str word = str_cut(&rest, '|');

        if (str_eq(text, word)) {
            *field = i;
            return true;
        }
        used += (size_t)snprintf(words + used, sizeof words - used, "%s\"%.*s\"",
                                 !i          ? ""
                                 : rest.data ? ", "
                                             : " or ",
                                 STR_ARG(word));
    }
    return err_set(err, ERR_CONFIG, "%s must be %s, not \"%s\"", s->name, words, config_shown(text, shown));
}

static bool set_string(const struct config_setting *s, const char **field, struct str text, struct arena *arena,
                       struct err *err)
{
    struct str copy = arena_str(arena, text);

    if (!copy.data)
        return err_set(err, ERR_LIMIT, "out of memory");
    if (!config_check_string(s, copy.data, err))
        return false;
    *field = copy.data;
    return true;
}

static void *new_items(struct arena *arena, size_t count, size_t size, struct err *err)
{
    void *items = arena_alloc(arena, count ? count * size : 1);

    if (!items)
        err_set(err, ERR_LIMIT, "out of memory");
    return items;
}

static bool set_list(struct config_list *field, const struct str *values, size_t count, struct arena *arena,
                     struct err *err)
{
    const char **items = new_items(arena, count, sizeof *items, err);

    if (!items)
        return false;
    for (size_t i = 0; i < count; i++) {
        items[i] = arena_str(arena, values[i]).data;
        if (!items[i])
            return err_set(err, ERR_LIMIT, "out of memory");
    }
    *field = (struct config_list){items, count};
    return true;
}

static bool set_networks(const struct config_setting *s, struct config_networks *field, const struct str *values,
                         size_t count, struct arena *arena, struct err *err)
{
    struct io_cidr *items = new_items(arena, count, sizeof *items, err);

    if (!items)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!io_cidr_parse(values[i], &items[i], err))
            return err_prefix(err, "%s", s->name);
    *field = (struct config_networks){items, count};
    return true;
}

static bool set_times(const struct config_setting *s, struct config_times *field, const struct str *values,
                      size_t count, struct arena *arena, struct err *err)
{
    uint64_t *items = new_items(arena, count, sizeof *items, err);

    if (!items)
        return false;
    if (!count)
        return err_set(err, ERR_CONFIG, "%s needs at least one time, such as {15m}", s->name);
    for (size_t i = 0; i < count; i++)
        if (!set_number(s, &items[i], values[i], err))
            return false;
    *field = (struct config_times){items, count};
    return true;
}

bool config_value_set(const struct config_setting *s, void *field, const struct str *values, size_t count,
                      struct arena *arena, struct err *err)
{
    switch (s->type) {
    case CONFIG_STRING:
        return set_string(s, field, values[0], arena, err);
    case CONFIG_LIST:
        return set_list(field, values, count, arena, err);
    case CONFIG_BOOL:
        return set_bool(s, field, values[0], err);
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_TIME:
        return set_number(s, field, values[0], err);
    case CONFIG_MODE:
        return set_mode(s, field, values[0], err);
    case CONFIG_CHOICE:
        return set_choice(s, field, values[0], err);
    case CONFIG_NETWORKS:
        return set_networks(s, field, values, count, arena, err);
    case CONFIG_TIMES:
        return set_times(s, field, values, count, arena, err);
    }
    return false;
}

bool config_value_default(const struct config_setting *s, void *field, struct arena *arena, struct err *err)
{
    struct str values[16], rest = str_from(s->fallback);
    size_t     count = 0;

    switch (s->type) {
    case CONFIG_STRING: /* an empty default means "not given" and need not pass the checks of what is */
        *(const char **)field = s->fallback;
        return true;
    case CONFIG_LIST:
    case CONFIG_NETWORKS:
    case CONFIG_TIMES:
        rest = str_part(rest, 1, rest.len - 2); /* without the braces */
        while (rest.len && count < sizeof values / sizeof *values)
            values[count++] = str_trim(str_cut(&rest, ','));
        break;
    case CONFIG_BOOL:
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_MODE:
    case CONFIG_CHOICE:
        values[count++] = rest;
        break;
    }
    return config_value_set(s, field, values, count, arena, err);
}
