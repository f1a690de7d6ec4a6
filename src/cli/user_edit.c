/* user_edit.c: tacit user add, tacit user change: what their options say of an entry. */
#include "cli/user.h"

#include "cli/password.h"

/* ---- options of both; false: said why ---- */

static const char *const list_options[] = {"member", "owner", "show-members", "closed"};

static bool option_quota(struct user *u, struct directory_entry *entry)
{
    const char *text = cli_value(u->cli, "quota");

    if (!text || config_size_parse(str_from(text), &entry->quota))
        return true;
    u->status = cli_usage(u->cli, "--quota \"%s\": a number of octets, or one with K, M, G or T, such as 1G", text);
    return false;
}

static bool option_targets(struct user *u, const char *option, struct directory_entry *entry)
{
    size_t      count = cli_count(u->cli, option);
    struct str *targets;

    if (!count)
        return true;
    targets = arena_alloc(&u->arena, (entry->target_count + count) * sizeof *targets);
    if (!targets) {
        cli_fail(u->cli, "too many addresses");
        return false;
    }
    for (size_t i = 0; i < entry->target_count; i++)
        targets[i] = entry->targets[i];
    entry->targets = targets;
    for (size_t i = 0; i < count; i++) {
        struct str target;
        bool       there = false;

        if (!user_target(u, cli_value_at(u->cli, option, i), &target))
            return false;
        for (size_t k = 0; k < entry->target_count; k++)
            there |= str_eq(targets[k], target);
        if (!there)
            targets[entry->target_count++] = target;
    }
    return true;
}

static bool option_owner(struct user *u, struct directory_entry *entry)
{
    const char *owner = cli_value(u->cli, "owner");

    return !owner || (*owner ? user_target(u, owner, &entry->owner) : (entry->owner = STR_NONE, true));
}

/* ---- add ---- */

static bool add_options_agree(struct cli *cli)
{
    bool list = cli_has(cli, "list"), alias = cli_has(cli, "alias-of");

    for (size_t i = 0; i < sizeof list_options / sizeof *list_options; i++)
        if (!list && cli_has(cli, list_options[i])) {
            cli_usage(cli, "--%s belongs to a list: add --list", list_options[i]);
            return false;
        }
    if (list && alias) {
        cli_usage(cli, "an address is an alias or a list, not both");
        return false;
    }
    if ((list || alias) && (cli_has(cli, "quota") || cli_has(cli, "password-stdin") || cli_has(cli, "catch-all"))) {
        cli_usage(cli, "--quota, --password-stdin and --catch-all belong to a mailbox");
        return false;
    }
    if (strncmp(cli->argv[0], "*@", 2) == 0 && !list && !alias) {
        cli_usage(cli, "a catch-all leads to a mailbox: add --alias-of ADDRESS");
        return false;
    }
    return true;
}

static bool add_entry(struct user *u, struct directory_entry *entry)
{
    *entry = (struct directory_entry){.kind = cli_has(u->cli, "list")       ? ENTRY_LIST
                                              : cli_has(u->cli, "alias-of") ? ENTRY_ALIAS
                                                                            : ENTRY_MAILBOX,
                                      .local = u->address.local,
                                      .domain = u->address.domain,
                                      .closed = cli_has(u->cli, "closed"),
                                      .show_members = cli_has(u->cli, "show-members")};
    return option_quota(u, entry) && option_targets(u, "alias-of", entry) && option_targets(u, "member", entry) &&
           option_owner(u, entry) &&
           (!cli_has(u->cli, "password-stdin") || cli_password_read(u->cli, &u->arena, &entry->password));
}

static int add_catch_all(struct user *u)
{
    struct str             target = mail_address_text(&u->address, &u->arena);
    struct directory_entry entry = {
        .kind = ENTRY_ALIAS, .local = STR("*"), .domain = u->address.domain, .targets = &target, .target_count = 1};
    struct err err;

    if (directory_add(u->directory, &entry, &err))
        return CLI_OK;
    err_prefix(&err, "%s was added, but", u->cli->argv[0]);
    return cli_fail_err(u->cli, &err);
}

static int run_add(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;
    struct err             err;
    int                    status = CLI_OK;

    if (!add_options_agree(cli))
        return CLI_USAGE;
    if (!user_begin(&u, cli, DIRECTORY_CREATE) || !add_entry(&u, &entry))
        return user_end(&u, u.status);
    if (!directory_add(u.directory, &entry, &err))
        return user_end(&u, cli_fail_err(cli, &err));
    if (cli_has(cli, "catch-all"))
        status = add_catch_all(&u);
    if (status == CLI_OK) {
        user_said(&u, "added", entry.kind);
        user_warn_of_targets(&u, &entry);
    }
    return user_end(&u, status);
}

static const struct cli_option add_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "quota", .value = "SIZE", .help = "octets the mailbox may hold, such as 1G"},
    {.name = "password-stdin", .help = "read the password from standard input; without one nobody can log in"},
    {.name = "catch-all", .help = "the mailbox also gets what is sent to names that do not exist in its domain"},
    {.name = "alias-of", .value = "ADDRESS", .help = "make an alias that leads to this address", .many = true},
    {.name = "list", .help = "make a list"},
    {.name = "member", .value = "ADDRESS", .help = "a member of the list", .many = true},
    {.name = "owner", .value = "ADDRESS", .help = "who gets the bounces of the list"},
    {.name = "show-members", .help = "EXPN may show the members to those who may be told"},
    {.name = "closed", .help = "only members, the owner and relays may write to the list"},
    {0},
};
const struct cli_command user_add_command = {
    .name = "add",
    .arguments = "ADDRESS",
    .min = 1,
    .max = 1,
    .summary = "makes a mailbox, an alias or a list",
    .description = "Makes a mailbox, or with --alias-of an alias and with --list a list. The domain of ADDRESS must "
                   "have a block in the configuration. Case does not matter in names, and a name with a tag behind the "
                   "domain's separator (alice+shop) reaches the name without it unless it has an entry of its own.\n\n"
                   "The address *@DOMAIN gets whatever no other entry names; it is an alias.",
    .examples = "tacit user add alice@example.org --quota 2G\n"
                "tacit user add info@example.org --alias-of alice@example.org\n"
                "tacit user add team@example.org --list --member alice@example.org \\\n"
                "    --member bob@elsewhere.example --owner alice@example.org",
    .options = add_options,
    .run = run_add};

/* ---- change ---- */

static bool drop_members(struct user *u, struct directory_entry *entry)
{
    for (size_t i = 0; i < cli_count(u->cli, "drop-member"); i++) {
        const char *text = cli_value_at(u->cli, "drop-member", i);
        struct str  target;
        size_t      kept = 0;

        if (!user_target(u, text, &target))
            return false;
        for (size_t k = 0; k < entry->target_count; k++)
            if (!str_eq(entry->targets[k], target))
                entry->targets[kept++] = entry->targets[k];
        if (kept == entry->target_count) {
            cli_fail(u->cli, "%s is not a member of %s", text, u->cli->argv[0]);
            return false;
        }
        entry->target_count = kept;
    }
    return true;
}

static int run_change(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;
    bool                   list = false;

    if (!user_begin(&u, cli, 0) || !user_get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    for (size_t i = 0; i < sizeof list_options / sizeof *list_options; i++)
        list |= cli_has(cli, list_options[i]);
    list |= cli_has(cli, "drop-member") || cli_has(cli, "hide-members") || cli_has(cli, "open");
    if (!list && !cli_has(cli, "quota"))
        return user_end(&u, cli_usage(cli, "say what is to change, such as --quota 5G or --member ADDRESS"));
    if (list && entry.kind != ENTRY_LIST && entry.kind != ENTRY_ALIAS)
        return user_end(&u, cli_fail(cli, "%s is neither a list nor an alias, but: %s", cli->argv[0],
                                     directory_kind_name(entry.kind)));
    if (cli_has(cli, "quota") && entry.kind != ENTRY_MAILBOX)
        return user_end(&u, cli_fail(cli, "%s is not a mailbox", cli->argv[0]));
    if (!option_quota(&u, &entry) || !option_targets(&u, "member", &entry) || !drop_members(&u, &entry) ||
        !option_owner(&u, &entry))
        return user_end(&u, u.status);
    entry.closed = (entry.closed || cli_has(cli, "closed")) && !cli_has(cli, "open");
    entry.show_members = (entry.show_members || cli_has(cli, "show-members")) && !cli_has(cli, "hide-members");
    return user_end(&u, user_put_entry(&u, &entry, "changed"));
}

static const struct cli_option change_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "quota", .value = "SIZE", .help = "octets the mailbox may hold; 0: what the domain says"},
    {.name = "member", .value = "ADDRESS", .help = "add a member to a list or a target to an alias", .many = true},
    {.name = "drop-member", .value = "ADDRESS", .help = "take one away", .many = true},
    {.name = "owner", .value = "ADDRESS", .help = "who gets the bounces of the list; empty: the sender"},
    {.name = "show-members", .help = "EXPN may show the members"},
    {.name = "hide-members", .help = "EXPN may not show the members"},
    {.name = "closed", .help = "only members, the owner and relays may write to the list"},
    {.name = "open", .help = "everybody may write to the list"},
    {0},
};
const struct cli_command user_change_command = {.name = "change",
                                                .arguments = "ADDRESS",
                                                .min = 1,
                                                .max = 1,
                                                .summary = "changes a quota, a list or an alias",
                                                .description = "Changes what the options name and leaves the rest.",
                                                .examples =
                                                    "tacit user change alice@example.org --quota 5G\n"
                                                    "tacit user change team@example.org --member carol@example.org",
                                                .options = change_options,
                                                .run = run_change};
