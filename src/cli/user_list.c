/* user_list.c: tacit user list: entries as they come from the directory, one at a time, however many there are. */
#include "cli/user.h"

#include "cli/control_client.h"

#include <errno.h>

struct listing {
    struct user                *u;
    const struct config_domain *domain; /* whose entries are shown now */
    bool                        json;
    size_t                      count;
};

static json_t *json_str(struct str s) { return json_stringn(s.data ? s.data : "", s.len); }

static void print_json(const struct directory_entry *e, struct str address, size_t count)
{
    json_t *targets = json_array(), *o;

    for (size_t i = 0; i < e->target_count; i++)
        json_array_append_new(targets, json_str(e->targets[i]));
    o = json_pack("{s:o, s:s, s:b, s:I, s:b, s:o}", "address", json_str(address), "kind", directory_kind_name(e->kind),
                  "disabled", e->disabled, "quota", (json_int_t)e->quota, "password", e->password.len > 0, "targets",
                  targets);
    if (o && e->kind == ENTRY_LIST) {
        json_object_set_new(o, "closed", json_boolean(e->closed));
        json_object_set_new(o, "show_members", json_boolean(e->show_members));
        json_object_set_new(o, "owner", json_str(e->owner));
    }
    if (o && e->kind == ENTRY_MOVED)
        json_object_set_new(o, "reply", json_string(directory_moved_name(e->moved)));
    fputs(count ? ",\n" : "", stdout);
    if (o)
        cli_print_json(o);
    json_decref(o);
}

static void print_text(const struct directory_entry *e, struct str address)
{
    char size[16];

    printf("%s", cli_colour(stdout, CLI_BOLD));
    cli_print_column(stdout, address, 32);
    printf("%s  %-7s", cli_colour(stdout, CLI_PLAIN), directory_kind_name(e->kind));
    for (size_t i = 0; i < e->target_count; i++) {
        fputs(i ? ", " : "  to ", stdout);
        cli_print_safe(stdout, e->targets[i]);
    }
    if (e->kind == ENTRY_MOVED)
        printf("  reply %s", directory_moved_name(e->moved));
    if (e->owner.len) {
        fputs("  owner ", stdout);
        cli_print_safe(stdout, e->owner);
    }
    control_size_text(e->quota, size);
    if (e->quota)
        printf("  quota %s", size);
    printf("%s%s%s%s%s%s\n", e->show_members ? "  shows its members" : "", e->closed ? "  closed" : "",
           e->password.len ? "  has a password" : "", cli_colour(stdout, CLI_YELLOW), e->disabled ? "  disabled" : "",
           cli_colour(stdout, CLI_PLAIN));
}

static bool print_entry(const struct directory_entry *e, void *arg)
{
    struct listing     *l = arg;
    struct mail_address address = {e->local, e->domain, false};
    struct str          text;

    arena_reset(&l->u->arena);
    text = mail_address_text(&address, &l->u->arena);
    if (!text.data)
        return true;
    if (!l->json && !l->count)
        printf("%s%-32s  %-7s  %s%s\n", cli_colour(stdout, CLI_DIM), "ADDRESS", "KIND", "MORE",
               cli_colour(stdout, CLI_PLAIN));
    if (l->json)
        print_json(e, text, l->count);
    else
        print_text(e, text);
    l->count++;
    return !ferror(stdout);
}

static int list_domain(struct listing *l, const struct config_domain *domain)
{
    struct err err;
    bool       ok;

    if (!user_open_directory(l->u, domain, 0, &err)) /* missing: nobody was added yet */
        return err.os_error == ENOENT ? CLI_OK : cli_fail_err(l->u->cli, &err);
    ok = directory_each(l->u->directory, str_from(domain->title), print_entry, l, &err);
    directory_close(l->u->directory);
    l->u->directory = NULL;
    return ok ? CLI_OK : cli_fail_err(l->u->cli, &err);
}

static int list_domains(struct listing *l, const char *only)
{
    const struct config *config = l->u->config;
    struct str           name;
    int                  status = CLI_OK;

    if (only) {
        if (!mail_domain_parse(str_from(only), true, &l->u->arena, &name) || !config_domain_find(config, name))
            return cli_fail(l->u->cli, "%s is not a domain of this server", only);
        return list_domain(l, config_domain_find(config, name));
    }
    for (size_t i = 0; i < config->domain_count && status == CLI_OK; i++)
        status = list_domain(l, &config->domains[i]);
    return status;
}

static int run_list(struct cli *cli)
{
    struct user    u = {.cli = cli, .config = cli_config(cli)};
    struct listing l = {.u = &u, .json = cli_has(cli, "json")};
    int            status;

    if (!u.config)
        return CLI_FAILED;
    arena_init(&u.arena, USER_ARENA_CHUNK, USER_ARENA_MAX);
    fputs(l.json ? "[" : "", stdout);
    status = list_domains(&l, cli->argc ? cli->argv[0] : NULL);
    if (l.json)
        puts("]");
    else if (status == CLI_OK)
        printf("%zu address%s\n", l.count, l.count == 1 ? "" : "es");
    return user_end(&u, status);
}

static const struct cli_option options[] = {
    CLI_OPTION_CONFIG,
    {.name = "json", .help = "print a JSON array, one entry a line"},
    {0},
};

const struct cli_command user_list_command = {
    .name = "list",
    .arguments = "[DOMAIN]",
    .min = 0,
    .max = 1,
    .summary = "shows who exists",
    .description = "Shows the entries of one domain or of all, one a line. Passwords are never shown.",
    .examples = "tacit user list\n"
                "tacit user list example.org --json",
    .options = options,
    .run = run_list};
