/* check.c: tacit check: is a configuration right, and what is it worth to know about it. */
#include "cli/cli.h"

#include "config/config.h"
#include "directory/directory.h"

#include <jansson.h>
#include <unistd.h>

static int print_json(const struct config *config, const struct err *err)
{
    json_t *warnings = json_array(), *listens = json_array(), *domains = json_array(), *all;

    for (size_t i = 0; config && i < config->warnings.count; i++)
        json_array_append_new(warnings, json_string(config->warnings.items[i]));
    for (size_t i = 0; config && i < config->listen_count; i++)
        json_array_append_new(listens, json_string(config->listens[i].address));
    for (size_t i = 0; config && i < config->domain_count; i++)
        json_array_append_new(domains, json_string(config->domains[i].title));
    all = json_pack("{s:b, s:o, s:o, s:o}", "ok", config != NULL, "warnings", warnings, "listen", listens, "domains",
                    domains);
    if (all && config)
        json_object_set_new(all, "hostname", json_string(config->hostname));
    if (all && !config)
        json_object_set_new(all, "error", json_string(err->text));
    if (all)
        cli_print_json(all);
    putchar('\n');
    json_decref(all);
    return config ? CLI_OK : CLI_FAILED;
}

static void print_summary(const struct cli *cli, const struct config *config)
{
    printf("%s%s: right.%s %s,", cli_colour(stdout, CLI_GREEN), cli_config_path(cli), cli_colour(stdout, CLI_PLAIN),
           config->hostname);
    for (size_t i = 0; i < config->listen_count; i++)
        printf("%s %s", i ? "," : " listening on", config->listens[i].address);
    printf("%s for", config->listen_count ? ";" : "");
    for (size_t i = 0; i < config->domain_count && i < 5; i++)
        printf("%s %s", i ? "," : "", config->domains[i].title);
    if (config->domain_count > 5)
        printf(" and %zu more domains", config->domain_count - 5);
    printf("%s; data in %s\n", config->domain_count ? "" : " no domain", config->data);
}

/* The server does not start with a text file that it cannot read. Databases are left alone: to open one is to change
 * it. */
static bool read_directory_files(const struct config *config, struct err *err)
{
    bool good = true;

    for (size_t i = 0; good && i < config->domain_count; i++) {
        const struct config_domain *d = &config->domains[i];
        struct str                  path = str_from(d->directory);
        struct directory           *directory;
        struct arena                arena;

        if (!str_eq(str_cut(&path, ':'), STR("file")))
            continue;
        arena_init(&arena, 4096, 4096);
        path = config_path(config->data, path, &arena);
        if (path.data && access(path.data, R_OK) == 0) { /* else it is to be made, or for other eyes only */
            directory = directory_open(d->directory, config->data, 0, err);
            good = directory || err_prefix(err, "domain %s", d->title);
            directory_close(directory);
        }
        arena_done(&arena);
    }
    return good;
}

static bool read_other_files(struct config *config, struct err *err)
{
    return config_read_passwords(config, true, err) && read_directory_files(config, err);
}

static int run_check(struct cli *cli)
{
    struct config *config;
    struct err     err = {0};

    if (cli_has(cli, "json")) {
        struct config *loaded = config_load(cli_config_path(cli), &err);
        bool           right = loaded && read_other_files(loaded, &err);
        int            status = print_json(right ? loaded : NULL, &err);

        if (loaded && loaded->warnings.count && cli_has(cli, "strict"))
            status = CLI_FAILED;
        config_free(loaded);
        return status;
    }
    if (!cli_config(cli))
        return CLI_FAILED;
    config = cli->config;
    if (!read_other_files(config, &err))
        return cli_fail_err(cli, &err);
    for (size_t i = 0; i < config->warnings.count; i++)
        cli_warn("%s", config->warnings.items[i]);
    print_summary(cli, config);
    return config->warnings.count && cli_has(cli, "strict") ? CLI_FAILED : CLI_OK;
}

static const struct cli_option options[] = {
    CLI_OPTION_CONFIG,
    {.name = "strict", .help = "a warning is a failure"},
    CLI_OPTION_JSON,
    {0},
};

const struct cli_command check_command = {
    .name = "check",
    .summary = "tells whether a configuration is right",
    .description =
        "Reads the configuration, text files of who exists and files with passwords as the server would, and changes "
        "nothing. A password file that you may not read is not checked, and a warning says so. The first "
        "mistake is told in one line with file, line, what is wrong and what was perhaps meant. Warnings are about "
        "what "
        "is right but perhaps not wanted.",
    .examples = "tacit check\n"
                "tacit check --strict --config ./tacit.conf && systemctl reload tacit",
    .options = options,
    .run = run_check,
};
