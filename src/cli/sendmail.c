/* sendmail.c: the interface that programs on this machine know as sendmail.
 *
 * The message is read whole, completed (From, Date; a Message-ID comes from the server), and handed to the server over
 * data/run/submit.sock. All recipients or none: when the server refuses one, nothing is sent and the reply is shown, so
 * that a caller that tries again makes no duplicates. Exit statuses are those of sysexits.h. */
#include "cli/frame.h"

#include "cli/address_list.h"
#include "cli/sendmail_message.h"
#include "cli/submission.h"
#include "config/config.h"
#include "mail/address.h"
#include "mail/xtext.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum { RECIPIENTS_MAX = 10000, ARENA_MAX = 64 << 20 };

struct sending {
    struct cli             *cli;
    const struct config    *config;
    struct arena            arena;
    struct str              origin; /* the domain of addresses without one */
    struct mail_address     sender;
    struct mail_address    *recipients;
    size_t                  recipient_count, recipient_room;
    struct sendmail_message message;
};

/* ---- addresses ---- */

/* "a@b", "<a@b>", or "a", which gets the domain of this server. */
static bool parse_address(struct sending *s, struct str text, struct mail_address *ret_address)
{
    struct mail_address_error error;
    struct str                whole = text;

    if (text.len > 2 && text.data[0] == '<' && text.data[text.len - 1] == '>')
        whole = str_part(text, 1, text.len - 2);
    if (str_find_byte(whole, '@') == STR_NOT_FOUND)
        whole = arena_printf(&s->arena, "%.*s@%.*s", STR_ARG(whole), STR_ARG(s->origin));
    return whole.data && mail_address_parse(whole, true, &s->arena, ret_address, &error);
}

static int add_recipient(struct sending *s, struct str text)
{
    struct mail_address address;

    if (!parse_address(s, text, &address)) {
        cli_fail(s->cli, "\"%.*s\" is not an address; nothing was sent", STR_ARG(str_part(text, 0, 300)));
        return EX_DATAERR;
    }
    for (size_t i = 0; i < s->recipient_count; i++)
        if (mail_address_eq(&s->recipients[i], &address))
            return EX_OK;
    if (s->recipient_count == s->recipient_room) {
        size_t               room = s->recipient_room ? s->recipient_room * 2 : 16;
        struct mail_address *more =
            s->recipient_count < RECIPIENTS_MAX ? arena_alloc(&s->arena, room * sizeof *more) : NULL;

        if (!more) {
            cli_fail(s->cli, "there are too many recipients; nothing was sent");
            return EX_DATAERR;
        }
        if (s->recipient_count)
            memcpy(more, s->recipients, s->recipient_count * sizeof *more);
        s->recipients = more;
        s->recipient_room = room;
    }
    s->recipients[s->recipient_count++] = address;
    return EX_OK;
}

static int add_list(struct sending *s, struct str body)
{
    struct address_list list = {body};
    struct str          address;
    int                 status = EX_OK;

    while (status == EX_OK && address_list_next(&list, &address))
        status = add_recipient(s, address);
    return status;
}

/* Who sends: -f or -r, else the user who calls. */
static int find_sender(struct sending *s)
{
    const char    *given = cli_value(s->cli, "f") ? cli_value(s->cli, "f") : cli_value(s->cli, "r");
    struct passwd *user;

    if (given && (!*given || strcmp(given, "<>") == 0)) {
        s->sender = (struct mail_address){0};
        return EX_OK;
    }
    if (!given) {
        user = getpwuid(getuid());
        given = user ? user->pw_name : "nobody";
    }
    if (parse_address(s, str_from(given), &s->sender))
        return EX_OK;
    cli_fail(s->cli, "\"%s\" is not an address", given);
    return EX_USAGE;
}

/* ---- the conversation ---- */

static int refused(struct sending *s, const char *what, const struct submission_reply *reply, int permanent)
{
    struct str text = str_trim(reply->text);

    while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--;
    cli_fail(s->cli, "%s was refused, nothing was sent: %.*s", what, STR_ARG(str_part(text, 0, 600)));
    return reply->code < 500 ? EX_TEMPFAIL : permanent;
}

static int failed(struct sending *s, const struct err *err)
{
    cli_fail(s->cli, "%s; nothing was sent", err->text);
    switch (err->class) {
    case ERR_NONE:
    case ERR_TEMPORARY:
    case ERR_LIMIT:
        return EX_TEMPFAIL;
    case ERR_PERMANENT:
        return err->os_error == EACCES || err->os_error == EPERM ? EX_NOPERM : EX_UNAVAILABLE;
    case ERR_CONFIG:
        return EX_CONFIG;
    }
    return EX_SOFTWARE;
}

static bool needs_utf8(const struct sending *s)
{
    bool utf8 = s->sender.utf8 || s->message.header_8bit;

    for (size_t i = 0; i < s->recipient_count; i++)
        utf8 |= s->recipients[i].utf8;
    return utf8;
}

static int say_mail(struct sending *s, struct submission *c)
{
    const char *ret = cli_value(s->cli, "R"), *envid = cli_value(s->cli, "V"), *body = cli_value(s->cli, "B");
    struct buf  line;
    struct submission_reply reply;
    struct err              err;
    bool                    good;

    buf_init(&line, 4096);
    buf_append_z(&line, "MAIL FROM:<");
    mail_address_format(&s->sender, &line);
    buf_append_z(&line, ">");
    if (c->size)
        buf_printf(&line, " SIZE=%zu", s->message.content.len);
    if (c->utf8 && needs_utf8(s))
        buf_append_z(&line, " SMTPUTF8");
    if (c->eight_bit && (s->message.is_8bit || (body && strcasecmp(body, "8BITMIME") == 0)))
        buf_append_z(&line, " BODY=8BITMIME");
    if (c->dsn && ret)
        buf_printf(&line, " RET=%s", strcasecmp(ret, "full") == 0 ? "FULL" : "HDRS");
    if (c->dsn && envid) {
        buf_append_z(&line, " ENVID=");
        mail_xtext_encode(str_from(envid), &line);
    }
    good = buf_ok(&line) ? submission_say(c, buf_str(&line), &reply, &err)
                         : err_set(&err, ERR_LIMIT, "the sender's address is too long");
    buf_done(&line);
    if (!good)
        return failed(s, &err);
    return reply.code == 250 ? EX_OK : refused(s, "the sender", &reply, EX_UNAVAILABLE);
}

static int say_recipient(struct sending *s, struct submission *c, const struct mail_address *address)
{
    const char             *notify = cli_value(s->cli, "N");
    struct buf              line;
    struct submission_reply reply;
    struct err              err;
    bool                    good;
    int                     status = EX_OK;

    buf_init(&line, 4096);
    buf_append_z(&line, "RCPT TO:<");
    mail_address_format(address, &line);
    buf_append_z(&line, ">");
    if (c->dsn && notify)
        buf_printf(&line, " NOTIFY=%s", notify);
    good = buf_ok(&line) ? submission_say(c, buf_str(&line), &reply, &err)
                         : err_set(&err, ERR_LIMIT, "a recipient's address is too long");
    if (!good)
        status = failed(s, &err);
    else if (reply.code != 250 && reply.code != 251 && reply.code != 252) {
        buf_clear(&line);
        mail_address_format(address, &line);
        status = refused(s, buf_ok(&line) ? line.data : "a recipient", &reply, EX_NOUSER);
    }
    buf_done(&line);
    return status;
}

static int say_content(struct sending *s, struct submission *c)
{
    struct submission_reply reply;
    struct err              err;

    if (!submission_say(c, STR("DATA"), &reply, &err))
        return failed(s, &err);
    if (reply.code != 354)
        return refused(s, "the message", &reply, EX_UNAVAILABLE);
    if (!submission_content(c, buf_str(&s->message.content), &reply, &err))
        return failed(s, &err);
    if (reply.code != 250)
        return refused(s, "the message", &reply, EX_UNAVAILABLE);
    if (cli_has(s->cli, "v"))
        printf("%.*s", STR_ARG(reply.text));
    submission_say(c, STR("QUIT"), &reply, NULL);
    return EX_OK;
}

static bool open_socket(struct sending *s, struct submission *c, struct err *err)
{
    struct str path = config_path(s->config->data, STR("run/submit.sock"), &s->arena);

    *c = (struct submission){.fd = -1};
    return path.data ? submission_open(c, path.data, err) : err_set(err, ERR_LIMIT, "out of memory");
}

static int converse(struct sending *s)
{
    struct submission c;
    struct err        err;
    int               status;

    if (!open_socket(s, &c, &err) || !submission_hello(&c, str_from(s->config->hostname), &err))
        status = failed(s, &err);
    else
        status = say_mail(s, &c);
    for (size_t i = 0; status == EX_OK && i < s->recipient_count; i++)
        status = say_recipient(s, &c, &s->recipients[i]);
    if (status == EX_OK)
        status = say_content(s, &c);
    submission_close(&c);
    return status;
}

/* ---- the modes ---- */

static int deliver(struct sending *s)
{
    const char *notify = cli_value(s->cli, "N");
    struct err  err;
    int         status = find_sender(s);

    for (int i = 0; status == EX_OK && i < s->cli->argc; i++)
        status = add_list(s, str_from(s->cli->argv[i]));
    if (status != EX_OK)
        return status;
    if (notify && strspn(notify, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,") != strlen(notify)) {
        cli_fail(s->cli, "-N takes never, or a list such as failure,delay");
        return EX_USAGE;
    }
    if (!s->recipient_count && !cli_has(s->cli, "t")) {
        cli_fail(s->cli, "name a recipient, or give -t to take them from the message");
        return EX_USAGE;
    }
    struct sendmail_message_rules rules = {
        .sender = &s->sender,
        .full_name = cli_value(s->cli, "F"),
        .dot_ends = !cli_has(s->cli, "i"),
        .drop_bcc = cli_has(s->cli, "t"),
    };
    for (size_t i = 0; i < cli_count(s->cli, "o"); i++)
        if (strcmp(cli_value_at(s->cli, "o", i), "i") == 0)
            rules.dot_ends = false;
    if (!sendmail_message_read(&s->message, STDIN_FILENO, s->config->limits.message, &rules, &err)) {
        cli_fail(s->cli, "%s; nothing was sent", err.text);
        return err.class == ERR_LIMIT ? EX_DATAERR : EX_IOERR;
    }
    for (size_t i = 0; cli_has(s->cli, "t") && status == EX_OK && i < s->message.list_count; i++)
        status = add_list(s, s->message.lists[i]);
    if (status != EX_OK)
        return status;
    if (!s->recipient_count) {
        cli_fail(s->cli, "the message has no recipient in To, Cc or Bcc; nothing was sent");
        return EX_DATAERR;
    }
    return converse(s);
}

/* Octets from one descriptor to another; false at the end of either. */
static bool pass_on(int from, int to)
{
    char    data[16384];
    ssize_t n = read(from, data, sizeof data);

    if (n < 0)
        return errno == EINTR;
    for (ssize_t done = 0; n > 0 && done < n;) {
        ssize_t wrote = write(to, data + done, (size_t)(n - done));

        if (wrote < 0 && errno != EINTR)
            return false;
        done += wrote > 0 ? wrote : 0;
    }
    return n > 0;
}

/* -bs: SMTP on standard input and output. Nothing is passed on before the greeting, since who talks first is
 * refused. */
static int speak(struct sending *s)
{
    struct submission       c;
    struct submission_reply greeting;
    struct err              err;
    int                     status = EX_OK;
    struct pollfd           polled[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

    if (!open_socket(s, &c, &err) || !submission_read(&c, &greeting, &err)) {
        submission_close(&c);
        return failed(s, &err);
    }
    fwrite(c.in.data, 1, c.in.len, stdout);
    fflush(stdout);
    polled[1].fd = c.fd;
    while (poll(polled, 2, SUBMISSION_WAIT_S * 1000) > 0) {
        if (polled[1].revents && !pass_on(c.fd, STDOUT_FILENO))
            break;
        if (polled[0].revents && !pass_on(STDIN_FILENO, c.fd)) {
            shutdown(c.fd, SHUT_WR);
            polled[0].fd = -1;
        }
    }
    submission_close(&c);
    return status;
}

static int list_queue(const struct cli *cli)
{
    char *args[] = {(char[]){"queue"}, (char[]){"list"}, (char[]){"--config"}, strdup(cli_config_path(cli)), NULL};
    int   status = args[3] ? cli_run(&queue_command, "tacit queue", 4, args) : EX_OSERR;

    free(args[3]);
    return status;
}

static int run_sendmail(struct cli *cli)
{
    const char     *mode = cli_value(cli, "b") ? cli_value(cli, "b") : "m";
    struct sending *s;
    int             status;

    if (strcmp(mode, "p") == 0)
        return list_queue(cli);
    if (strcmp(mode, "i") == 0 || cli_has(cli, "I") || cli_has(cli, "q"))
        return EX_OK; /* aliases are never out of date, and the queue runs by itself */
    if (strcmp(mode, "m") != 0 && strcmp(mode, "s") != 0) {
        cli_fail(cli, "-b%s is not supported%s", mode,
                 strcmp(mode, "d") == 0 ? "; to run the server: tacit serve" : "");
        return EX_USAGE;
    }
    s = calloc(1, sizeof *s);
    if (!s)
        return EX_OSERR;
    arena_init(&s->arena, 64 * 1024, ARENA_MAX);
    s->cli = cli;
    s->config = cli_config(cli);
    if (!s->config)
        status = EX_CONFIG;
    else {
        s->origin = str_from(s->config->domain_count ? s->config->domains[0].title : s->config->hostname);
        status = strcmp(mode, "s") == 0 ? speak(s) : deliver(s);
    }
    sendmail_message_done(&s->message);
    arena_done(&s->arena);
    free(s);
    return status;
}

static const struct cli_option options[] = {
    {.letter = 't', .help = "take recipients from To, Cc and Bcc as well, and remove Bcc"},
    {.letter = 'i', .help = "a line with a single dot does not end the message"},
    {.letter = 'f', .value = "ADDRESS", .help = "the sender, to whom reports go (default: the user who calls)"},
    {.letter = 'r', .value = "ADDRESS", .help = "the same"},
    {.letter = 'F', .value = "NAME", .help = "the sender's full name, for a From field that is missing"},
    {.letter = 'b',
     .value = "MODE",
     .help = "m: send (default); s: speak SMTP on standard input and output; p: list the queue; i: nothing"},
    {.letter = 'o', .value = "OPTION", .many = true, .help = "i: the same as -i; others have no effect"},
    {.letter = 'N', .value = "WHEN", .help = "reports wanted: never, or a list of success, delay, failure"},
    {.letter = 'R', .value = "WHAT", .help = "what reports bring back: full or hdrs"},
    {.letter = 'V', .value = "ID", .help = "name of the message in reports"},
    {.letter = 'B', .value = "TYPE", .help = "7BIT or 8BITMIME (default: what the message is)"},
    {.letter = 'v', .help = "show the server's last reply"},
    CLI_OPTION_CONFIG_LONG,
    /* what other programs give and means nothing here */
    {.letter = 'A', .value = "X", .many = true},
    {.letter = 'C', .value = "X", .many = true},
    {.letter = 'd', .value = "X", .many = true, .optional = true},
    {.letter = 'e', .value = "X", .many = true},
    {.letter = 'G'},
    {.letter = 'h', .value = "X", .many = true},
    {.letter = 'I'},
    {.letter = 'L', .value = "X", .many = true},
    {.letter = 'm'},
    {.letter = 'n'},
    {.letter = 'O', .value = "X", .many = true},
    {.letter = 'p', .value = "X", .many = true},
    {.letter = 'q', .value = "X", .many = true, .optional = true},
    {.letter = 's'},
    {.letter = 'U'},
    {.letter = 'X', .value = "X", .many = true},
    {0},
};

const struct cli_command sendmail_command = {
    .name = "sendmail",
    .arguments = "[ADDRESS]…",
    .max = CLI_UNLIMITED,
    .summary = "sends a message from standard input",
    .description =
        "Reads a message with LF or CRLF line ends and hands it to the server. From, Date and Message-ID are added "
        "where they are missing. Addresses without a domain get the first domain of the configuration. If the server "
        "refuses "
        "one recipient nothing is sent.\n\n"
        "Also works when called by the name sendmail; called as mailq it lists the queue, and as newaliases it does "
        "nothing, since aliases are never out of date.\n\n"
        "The exit status is one of sysexits.h: 0 accepted, 64 wrong use, 65 the message or an address is not right, 67 "
        "a "
        "recipient does not exist, 69 refused, 75 not now (the server is not running, or says to try later), 77 not "
        "permitted, 78 the configuration is not right.",
    .examples = "printf 'Subject: disk full\\n\\n/var\\n' | tacit sendmail you@example.org\n"
                "tacit sendmail -t -i < message.eml\n"
                "tacit user add root@example.org --alias-of you@example.org   (mail of cron)",
    .options = options,
    .run = run_sendmail,
};
