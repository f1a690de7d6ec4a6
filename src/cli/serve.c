/* serve.c: tacit serve: master, or, as master starts it again, one of its roles (role/role.h). */
#include "cli/cli.h"

#include "master/master.h"
#include "role/role.h"

static int run_role(struct cli *cli, const char *name)
{
    static const struct {
        enum role              role;
        const struct role_ops *ops;
    } roles[] = {{ROLE_FRONT, &front_ops},
                 {ROLE_KEEPER, &keeper_ops},
                 {ROLE_BACK, &back_ops},
                 {ROLE_RESOLVER, &resolver_ops},
                 {ROLE_CARRIER, &carrier_ops}};
    uint64_t index = 0, lane = 0;

    if (!str_to_u64(str_from(cli_value(cli, "index")), UINT16_MAX, &index) ||
        !str_to_u64(str_from(cli_value(cli, "lane")), LANE_MAX, &lane))
        return cli_usage(cli, "--role needs --index and --lane");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_eq(str_from(name), str_from(role_name(roles[i].role))))
            return role_run(roles[i].ops, roles[i].role, (unsigned)index, (unsigned)lane);
    return cli_usage(cli, "there is no role \"%s\"", name);
}

static int run_serve(struct cli *cli)
{
    if (cli_has(cli, "role"))
        return run_role(cli, cli_value(cli, "role"));
    if (!cli_config(cli)) /* said with its remedy; master reads it again for itself */
        return CLI_FAILED;
    return master_run(&(struct serve_options){.config_path = cli_config_path(cli)});
}

static const struct cli_option options[] = {
    CLI_OPTION_CONFIG,
    {.name = "role", .value = "NAME"},
    {.name = "index", .value = "N"},
    {.name = "lane", .value = "N"},
    {0},
};

const struct cli_command serve_command = {
    .name = "serve",
    .summary = "runs the server in the foreground",
    .description =
        "Starts the processes of the server, watches them and restarts what ends. The log goes to standard error and "
        "to data/log, which tacit trace reads. When mail can come in, a line \"ready: listening on …\" says where.\n\n"
        "SIGHUP reads the configuration again; if it is not right, the old one stays in force and the log says why. "
        "SIGTERM and SIGINT end the server: open transactions may finish within the time that the setting grace gives.",
    .examples = "tacit serve\n"
                "tacit serve --config ./tacit.conf",
    .options = options,
    .run = run_serve,
};
