/* queue_request.c: ids and filters of the command line as a request of the control socket (back/filter.c). What
 * can be wrong is said here, with the name that the option has for people. */
#include "cli/queue.h"

#include "config/config.h"
#include "io/loop.h"

static const struct {
    const char *option;
    enum { TEXT, AGE, SIZE, FLAG } kind;
    const char *member; /* NULL: named as the option */
} filters[] = {
    {"sender", TEXT, NULL},     {"recipient", TEXT, NULL}, {"domain", TEXT, NULL},  {"site", TEXT, NULL},
    {"reply", TEXT, NULL},      {"text", TEXT, NULL},      {"state", TEXT, NULL},   {"older", AGE, "older_ms"},
    {"newer", AGE, "newer_ms"}, {"larger", SIZE, NULL},    {"smaller", SIZE, NULL}, {"unclaimed", FLAG, NULL},
};

static bool check_state(struct cli *cli)
{
    static const char *const states[] = {"queued", "active", "deferred", "waiting", "unclaimed", "held"};
    const char              *text = cli_value(cli, "state");

    for (size_t i = 0; text && i < sizeof states / sizeof *states; i++)
        if (strcmp(text, states[i]) == 0)
            text = NULL;
    if (text)
        cli_usage(cli, "--state must be queued, active, deferred, waiting, unclaimed or held, not \"%s\"", text);
    return !text;
}

/* NULL: wrong, which was said. */
static json_t *age(struct cli *cli, const char *option, const char *text)
{
    uint64_t ms, now = io_wall_ms();

    if (config_time_parse(str_from(text), &ms))
        return json_integer((json_int_t)(ms < now ? now - ms : 0));
    cli_usage(cli, "--%s must be a time such as 30m, 2h or 5d, not \"%s\"", option, text);
    return NULL;
}

static json_t *size(struct cli *cli, const char *option, const char *text)
{
    uint64_t octets;

    if (config_size_parse(str_from(text), &octets) && octets > 0 && octets < INT64_MAX)
        return json_integer((json_int_t)octets);
    cli_usage(cli, "--%s must be a size such as 100K, 10M or 1G, not \"%s\"", option, text);
    return NULL;
}

static bool add(struct cli *cli, json_t *request, size_t i)
{
    const char *option = filters[i].option, *text = cli_value(cli, option);
    json_t     *value = NULL;

    if (!cli_has(cli, option))
        return true;
    switch (filters[i].kind) {
    case TEXT:
        value = *text ? json_string(text) : NULL;
        if (!value)
            cli_usage(cli, "--%s must not be empty, and be UTF-8", option);
        break;
    case AGE:
        value = age(cli, option, text);
        break;
    case SIZE:
        value = size(cli, option, text);
        break;
    case FLAG:
        value = json_true();
        break;
    }
    return value && json_object_set_new(request, filters[i].member ? filters[i].member : option, value) == 0;
}

bool queue_names_any(const struct cli *cli)
{
    bool any = cli->argc > 0;

    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        any |= cli_has(cli, filters[i].option);
    return any;
}

json_t *queue_request(struct cli *cli, const char *command)
{
    json_t *request = json_pack("{s:s}", "command", command), *ids;
    bool    ok = request && check_state(cli);

    for (size_t i = 0; ok && i < sizeof filters / sizeof *filters; i++)
        ok = add(cli, request, i);
    if (ok && cli->argc) {
        ids = json_array();
        for (int i = 0; i < cli->argc; i++)
            json_array_append_new(ids, json_string(cli->argv[i]));
        json_object_set_new(request, "ids", ids);
    }
    if (ok)
        return request;
    json_decref(request);
    return NULL;
}
