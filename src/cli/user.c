/* user.c: tacit user: who exists. It opens the directory itself, whether the server runs or not: the keeper sees a
 * change at its next look-up. Commands that change an entry read it, change a copy and write it back. */
#include "cli/user.h"

#include "cli/password.h"

static bool parse_address(struct user *u, const char *text, struct mail_address *ret_address)
{
    struct mail_address_error error;

    if (mail_address_parse(str_from(text), true, &u->arena, ret_address, &error))
        return true;
    cli_fail(u->cli, "\"%s\" is not an address: %s", text, error.reason);
    return false;
}

bool user_target(struct user *u, const char *text, struct str *ret_target)
{
    struct mail_address address;

    if (!parse_address(u, text, &address))
        return false;
    *ret_target = mail_address_text(&address, &u->arena);
    if (!ret_target->data)
        cli_fail(u->cli, "out of memory");
    return ret_target->data != NULL;
}

bool user_open_directory(struct user *u, const struct config_domain *domain, unsigned flags, struct err *err)
{
    u->domain = domain;
    u->directory = directory_open(domain->directory, u->config->data, flags, err);
    return u->directory != NULL;
}

bool user_begin(struct user *u, struct cli *cli, unsigned flags)
{
    const struct config_domain *domain;
    struct err                  err;

    *u = (struct user){.cli = cli, .config = cli_config(cli), .status = CLI_FAILED};
    arena_init(&u->arena, USER_ARENA_CHUNK, USER_ARENA_MAX);
    if (!u->config || !parse_address(u, cli->argv[0], &u->address))
        return false;
    domain = config_domain_find(u->config, u->address.domain);
    if (!domain) {
        cli_fail(cli, "%.*s is not a domain of this server; %s has no block for it", STR_ARG(u->address.domain),
                 cli_config_path(cli));
        return false;
    }
    if (user_open_directory(u, domain, flags, &err))
        return true;
    cli_fail_err(cli, &err);
    return false;
}

int user_end(struct user *u, int status)
{
    directory_close(u->directory);
    arena_done(&u->arena);
    return status;
}

bool user_get_entry(struct user *u, struct directory_entry *ret_entry)
{
    struct err err;

    switch (directory_get(u->directory, u->address.local, u->address.domain, &u->arena, ret_entry, &err)) {
    case DIRECTORY_FOUND:
        return true;
    case DIRECTORY_ABSENT:
        cli_fail(u->cli, "%s does not exist", u->cli->argv[0]);
        return false;
    case DIRECTORY_FAILED:
        break;
    }
    cli_fail_err(u->cli, &err);
    return false;
}

int user_said(struct user *u, const char *done, enum entry_kind kind)
{
    printf("%s%s%s ", done, *done ? " " : "", directory_kind_name(kind));
    cli_print_safe(stdout, mail_address_text(&u->address, &u->arena));
    putchar('\n');
    return CLI_OK;
}

static bool is_absent(struct user *u, const struct mail_address *address)
{
    const struct config_domain *domain = config_domain_find(u->config, address->domain);
    const bool                  same = domain && str_eq(str_from(domain->directory), str_from(u->domain->directory));
    struct directory           *directory;
    struct directory_entry      entry;
    struct err                  err;
    bool                        absent;

    if (!domain)
        return false;
    directory = same ? u->directory : directory_open(domain->directory, u->config->data, 0, &err);
    absent = directory &&
             directory_find(directory, address, *domain->separator, &u->arena, &entry, &err) == DIRECTORY_ABSENT;
    if (!same)
        directory_close(directory);
    return absent;
}

void user_warn_of_targets(struct user *u, const struct directory_entry *entry)
{
    struct mail_address       address;
    struct mail_address_error error;

    for (size_t i = 0; i < entry->target_count; i++)
        if (mail_address_parse(entry->targets[i], true, &u->arena, &address, &error) && is_absent(u, &address))
            cli_warn("%.*s does not exist", STR_ARG(entry->targets[i]));
}

int user_put_entry(struct user *u, const struct directory_entry *entry, const char *done)
{
    struct err err;

    if (!directory_update(u->directory, entry, &err))
        return cli_fail_err(u->cli, &err);
    user_said(u, done, entry->kind);
    user_warn_of_targets(u, entry);
    return CLI_OK;
}

/* ---- move, disable, enable, password, remove ---- */

static int run_move(struct cli *cli)
{
    const char            *reply = cli_value(cli, "reply");
    struct user            u;
    struct directory_entry entry;
    struct str             target;
    enum moved_reply       moved;

    if (!reply || !directory_moved_parse(str_from(reply), &moved))
        return cli_usage(cli, "say with --reply 251, 551 or hide what senders are told");
    if (!user_begin(&u, cli, 0) || !user_target(&u, cli->argv[1], &target) || !user_get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (entry.kind != ENTRY_MAILBOX && entry.kind != ENTRY_MOVED)
        return user_end(&u, cli_fail(cli, "%s is no mailbox but: %s; only mailboxes move", cli->argv[0],
                                     directory_kind_name(entry.kind)));
    if (str_eq(target, mail_address_text(&u.address, &u.arena)))
        return user_end(&u, cli_fail(cli, "the new address is the old one"));
    entry.kind = ENTRY_MOVED;
    entry.moved = moved;
    entry.targets = &target;
    entry.target_count = 1;
    return user_end(&u, user_put_entry(&u, &entry, ""));
}

static int set_disabled(struct cli *cli, bool disabled)
{
    struct user            u;
    struct directory_entry entry;

    if (!user_begin(&u, cli, 0) || !user_get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (disabled && directory_name_is_reserved(entry.local, 0))
        return user_end(&u, cli_fail(cli, "%s must always be reachable (RFC 5321 4.5.1, RFC 2142)", cli->argv[0]));
    entry.disabled = disabled;
    if (!disabled && entry.kind == ENTRY_MOVED) {
        entry.kind = ENTRY_MAILBOX;
        entry.target_count = 0;
    }
    return user_end(&u, user_put_entry(&u, &entry, disabled ? "disabled" : "enabled"));
}

static int run_disable(struct cli *cli) { return set_disabled(cli, true); }
static int run_enable(struct cli *cli) { return set_disabled(cli, false); }

static int run_password(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;

    if (!user_begin(&u, cli, 0) || !user_get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (entry.kind != ENTRY_MAILBOX)
        return user_end(&u, cli_fail(cli, "%s is not a mailbox", cli->argv[0]));
    if (cli_has(cli, "remove"))
        entry.password = STR_NONE;
    else if (!cli_password_read(cli, &u.arena, &entry.password))
        return user_end(&u, CLI_FAILED);
    return user_end(
        &u, user_put_entry(&u, &entry, cli_has(cli, "remove") ? "removed the password of" : "set the password of"));
}

static int run_remove(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;
    struct err             err;

    if (!user_begin(&u, cli, 0) || !user_get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (!directory_remove(u.directory, entry.local, entry.domain, &err))
        return user_end(&u, cli_fail_err(cli, &err));
    if (entry.kind == ENTRY_MAILBOX)
        fprintf(stderr, "The mail of %s was left where it is.\n", cli->argv[0]);
    return user_end(&u, user_said(&u, "removed", entry.kind));
}

/* ---- the table ---- */

static const struct cli_option move_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "reply",
     .value = "251|551|hide",
     .help = "251: forward, and say so; 551: refuse, and name the new address; hide: refuse, and do not name it"},
    {0},
};
static const struct cli_option password_options[] = {
    CLI_OPTION_CONFIG,
    {.name = "remove", .help = "nobody can log in any more"},
    {0},
};
static const struct cli_option plain_options[] = {CLI_OPTION_CONFIG, {0}};

static const struct cli_command move_command = {
    .name = "move",
    .arguments = "OLD NEW",
    .min = 2,
    .max = 2,
    .summary = "says that a mailbox has a new address",
    .description =
        "The mailbox OLD takes no mail any more; NEW is where its owner went. What senders learn of it is for "
        "--reply to say, and only those who may be told learn anything at all; to everybody else OLD is an "
        "address like any other. With 251 mail is forwarded, and a failure there is reported without naming "
        "NEW. The mail that lies in OLD stays there.",
    .examples = "tacit user move alice@example.org alice@elsewhere.example --reply 251\n"
                "tacit user move alice@example.org alice@elsewhere.example --reply hide",
    .options = move_options,
    .run = run_move};
static const struct cli_command disable_command = {
    .name = "disable",
    .arguments = "ADDRESS",
    .min = 1,
    .max = 1,
    .summary = "takes no mail for an address for now",
    .description = "Mail for it fails with 5.2.1 until it is enabled again. What it holds is kept.",
    .options = plain_options,
    .run = run_disable};
static const struct cli_command enable_command = {.name = "enable",
                                                  .arguments = "ADDRESS",
                                                  .min = 1,
                                                  .max = 1,
                                                  .summary = "takes mail for it again",
                                                  .description = "Ends what disable or move began.",
                                                  .options = plain_options,
                                                  .run = run_enable};
static const struct cli_command password_command = {
    .name = "password",
    .arguments = "ADDRESS",
    .min = 1,
    .max = 1,
    .summary = "sets the password of a mailbox",
    .description = "Reads one line from standard input, or asks twice on a terminal, and keeps a yescrypt hash of it.",
    .examples = "tacit user password alice@example.org\n"
                "pwgen 20 1 | tacit user password alice@example.org",
    .options = password_options,
    .run = run_password};
static const struct cli_command remove_command = {
    .name = "remove",
    .arguments = "ADDRESS",
    .min = 1,
    .max = 1,
    .summary = "removes an address",
    .description = "The address does not exist any more. Mail that was delivered to it is left where it is.",
    .options = plain_options,
    .run = run_remove};

static const struct cli_command *const commands[] = {&user_add_command, &user_list_command, &user_change_command,
                                                     &move_command,     &disable_command,   &enable_command,
                                                     &password_command, &remove_command,    NULL};

const struct cli_command user_command = {.name = "user",
                                         .summary = "who exists: mailboxes, aliases and lists",
                                         .description =
                                             "Changes take effect at once, whether the server runs or not.\n\n"
                                             "A domain with directory = \"file:PATH\" has its entries in a text file, "
                                             "one a line, that may be changed with an editor too: alice@example.org "
                                             "mailbox quota=1G. A file that tacit user has made says in its first "
                                             "lines what else there is.",
                                         .examples = "tacit user add alice@example.org\n"
                                                     "tacit user list",
                                         .subs = commands};
