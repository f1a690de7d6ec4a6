/* user.c: tacit user: who exists. It opens the directory itself, whether the server runs or not: the keeper sees a
 * change at its next look-up. Commands that change an entry read it, change a copy and write it back. */
#include "cli/user.h"

#include <errno.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

enum { PASSWORD_TYPED_MAX = 512 };

static int fail_err(struct user *u, const struct err *err) { return cli_fail_err(u->cli, err); }

static bool parse_address(struct user *u, const char *text, struct mail_address *ret_address)
{
    struct mail_address_error error;

    if (mail_address_parse(str_from(text), true, &u->arena, ret_address, &error))
        return true;
    cli_fail(u->cli, "\"%s\" is not an address: %s", text, error.reason);
    return false;
}

/* Canonical, as entries hold it. */
static bool parse_target(struct user *u, const char *text, struct str *ret_target)
{
    struct mail_address address;

    if (!parse_address(u, text, &address))
        return false;
    *ret_target = mail_address_text(&address, &u->arena);
    return ret_target->data != NULL;
}

bool user_open_directory(struct user *u, const struct config_domain *domain, unsigned flags, struct err *err)
{
    u->domain = domain;
    u->directory = directory_open(domain->directory, u->config->data, flags, err);
    return u->directory != NULL;
}

/* The first argument is an address in a domain of ours. False: said why. */
static bool user_begin(struct user *u, struct cli *cli, unsigned flags)
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

/* The entry that the first argument names. False: said why. */
static bool get_entry(struct user *u, struct directory_entry *ret_entry)
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

/* What was done to the address, in a word, with what it is. */
static int said(struct user *u, const char *done, enum entry_kind kind)
{
    printf("%s%s%s ", done, *done ? " " : "", directory_kind_name(kind));
    cli_print_safe(stdout, mail_address_text(&u->address, &u->arena));
    putchar('\n');
    return CLI_OK;
}

static int put_entry(struct user *u, const struct directory_entry *entry, const char *done)
{
    struct err err;

    return directory_update(u->directory, entry, &err) ? said(u, done, entry->kind) : fail_err(u, &err);
}

/* ---- passwords ---- */

static void set_echo(bool on)
{
    struct termios t;

    if (tcgetattr(STDIN_FILENO, &t) != 0)
        return;
    t.c_lflag = on ? t.c_lflag | ECHO : t.c_lflag & ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &t);
}

/* One line from standard input, asked for twice on a terminal. */
static bool read_line(char *ret_line, size_t size)
{
    size_t len;

    if (!fgets(ret_line, (int)size, stdin))
        return false;
    len = strlen(ret_line);
    if (len && ret_line[len - 1] == '\n')
        ret_line[--len] = '\0';
    else if (!feof(stdin))
        return false;
    if (len && ret_line[len - 1] == '\r')
        ret_line[--len] = '\0';
    return len > 0;
}

static bool type_password(struct user *u, char line[PASSWORD_TYPED_MAX])
{
    char again[PASSWORD_TYPED_MAX];
    bool terminal = isatty(STDIN_FILENO), ok;

    if (!terminal) {
        ok = read_line(line, PASSWORD_TYPED_MAX);
        if (!ok)
            cli_fail(u->cli, "no password: one line of up to %d octets is read from standard input",
                     PASSWORD_TYPED_MAX - 2);
        return ok;
    }
    set_echo(false);
    fputs("Password: ", stderr);
    ok = read_line(line, PASSWORD_TYPED_MAX);
    fputs("\nAgain: ", stderr);
    ok = ok && read_line(again, sizeof again) && strcmp(line, again) == 0;
    fputs("\n", stderr);
    set_echo(true);
    explicit_bzero(again, sizeof again);
    if (!ok)
        cli_fail(u->cli, "the two are not the same, or empty");
    return ok;
}

static bool read_password(struct user *u, struct str *ret_hash)
{
    char       line[PASSWORD_TYPED_MAX], hash[DIRECTORY_PASSWORD_MAX];
    struct err err;
    bool       ok = type_password(u, line);

    if (ok && !directory_password_hash(str_from(line), hash, sizeof hash, &err)) {
        cli_fail_err(u->cli, &err);
        ok = false;
    }
    explicit_bzero(line, sizeof line);
    if (ok)
        *ret_hash = arena_str(&u->arena, str_from(hash));
    return ok && ret_hash->data;
}

/* ---- what options say of an entry ---- */

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

        if (!parse_target(u, cli_value_at(u->cli, option, i), &target))
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

    return !owner || (*owner ? parse_target(u, owner, &entry->owner) : (entry->owner = STR_NONE, true));
}

/* ---- add ---- */

static const char *const list_options[] = {"member", "owner", "show-members", "closed"};

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
           option_owner(u, entry) && (!cli_has(u->cli, "password-stdin") || read_password(u, &entry->password));
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
    return fail_err(u, &err);
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
        return user_end(&u, fail_err(&u, &err));
    if (cli_has(cli, "catch-all"))
        status = add_catch_all(&u);
    return user_end(&u, status == CLI_OK ? said(&u, "added", entry.kind) : status);
}

/* ---- change, move, disable, enable, password, remove ---- */

static bool drop_members(struct user *u, struct directory_entry *entry)
{
    for (size_t i = 0; i < cli_count(u->cli, "drop-member"); i++) {
        const char *text = cli_value_at(u->cli, "drop-member", i);
        struct str  target;
        size_t      kept = 0;

        if (!parse_target(u, text, &target))
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

    if (!user_begin(&u, cli, 0) || !get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    for (size_t i = 0; i < sizeof list_options / sizeof *list_options; i++)
        list |= cli_has(cli, list_options[i]);
    list |= cli_has(cli, "drop-member") || cli_has(cli, "hide-members") || cli_has(cli, "open");
    if (list && entry.kind != ENTRY_LIST && entry.kind != ENTRY_ALIAS)
        return user_end(&u, cli_fail(cli, "%s is no list but: %s", cli->argv[0], directory_kind_name(entry.kind)));
    if (cli_has(cli, "quota") && entry.kind != ENTRY_MAILBOX)
        return user_end(&u, cli_fail(cli, "%s is not a mailbox", cli->argv[0]));
    if (!option_quota(&u, &entry) || !option_targets(&u, "member", &entry) || !drop_members(&u, &entry) ||
        !option_owner(&u, &entry))
        return user_end(&u, u.status);
    entry.closed = (entry.closed || cli_has(cli, "closed")) && !cli_has(cli, "open");
    entry.show_members = (entry.show_members || cli_has(cli, "show-members")) && !cli_has(cli, "hide-members");
    return user_end(&u, put_entry(&u, &entry, "changed"));
}

static int run_move(struct cli *cli)
{
    const char            *reply = cli_value(cli, "reply");
    struct user            u;
    struct directory_entry entry;
    struct str             target;
    enum moved_reply       moved;

    if (!reply || !directory_moved_parse(str_from(reply), &moved))
        return cli_usage(cli, "say with --reply 251, 551 or hide what senders are told");
    if (!user_begin(&u, cli, 0) || !parse_target(&u, cli->argv[1], &target) || !get_entry(&u, &entry))
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
    return user_end(&u, put_entry(&u, &entry, ""));
}

static int set_disabled(struct cli *cli, bool disabled)
{
    struct user            u;
    struct directory_entry entry;

    if (!user_begin(&u, cli, 0) || !get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (disabled && directory_name_is_reserved(entry.local, 0))
        return user_end(&u, cli_fail(cli, "%s must always be reachable (RFC 5321 4.5.1, RFC 2142)", cli->argv[0]));
    entry.disabled = disabled;
    if (!disabled && entry.kind == ENTRY_MOVED) {
        entry.kind = ENTRY_MAILBOX;
        entry.target_count = 0;
    }
    return user_end(&u, put_entry(&u, &entry, disabled ? "disabled" : "enabled"));
}

static int run_disable(struct cli *cli) { return set_disabled(cli, true); }
static int run_enable(struct cli *cli) { return set_disabled(cli, false); }

static int run_password(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;

    if (!user_begin(&u, cli, 0) || !get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (entry.kind != ENTRY_MAILBOX)
        return user_end(&u, cli_fail(cli, "%s is not a mailbox", cli->argv[0]));
    if (cli_has(cli, "remove"))
        entry.password = STR_NONE;
    else if (!read_password(&u, &entry.password))
        return user_end(&u, CLI_FAILED);
    return user_end(&u,
                    put_entry(&u, &entry, cli_has(cli, "remove") ? "removed the password of" : "set the password of"));
}

static int run_remove(struct cli *cli)
{
    struct user            u;
    struct directory_entry entry;
    struct err             err;

    if (!user_begin(&u, cli, 0) || !get_entry(&u, &entry))
        return user_end(&u, CLI_FAILED);
    if (!directory_remove(u.directory, entry.local, entry.domain, &err))
        return user_end(&u, fail_err(&u, &err));
    if (entry.kind == ENTRY_MAILBOX)
        fprintf(stderr, "The mail of %s was left where it is.\n", cli->argv[0]);
    return user_end(&u, said(&u, "removed", entry.kind));
}

/* ---- the table ---- */

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

static const struct cli_command add_command = {
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
static const struct cli_command change_command = {.name = "change",
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

static const struct cli_command *const commands[] = {&add_command,      &user_list_command, &change_command,
                                                     &move_command,     &disable_command,   &enable_command,
                                                     &password_command, &remove_command,    NULL};

const struct cli_command user_command = {.name = "user",
                                         .summary = "who exists: mailboxes, aliases and lists",
                                         .description = "Changes take effect at once, whether the server runs or not.",
                                         .examples = "tacit user add alice@example.org\n"
                                                     "tacit user list",
                                         .subs = commands};
