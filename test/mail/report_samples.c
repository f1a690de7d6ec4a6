/* report_samples.c: writes reports of each kind, for tests that read them as others do.
 *
 *     report_samples          names of all, one a line
 *     report_samples NAME     that one, to standard output
 *
 * check_mime.py, check_reports.py. To add a kind of report, add a row to `samples`. */
#include "mail/digest.h"
#include "mail/report.h"

#include <stdio.h>
#include <stdlib.h>

#define UTC_DAY UINT64_C(86400000)

enum { NOON_MS = 12 * 3600 * 1000 };

static const uint64_t today_ms = UINT64_C(951782400000); /* 2000-02-29 00:00 UTC */

static const struct mail_address bob_moved = {STR("bob"), STR("new-home.example"), false};
static const struct mail_address staff = {STR("staff"), STR("example.test"), false};

#define TO(name, host) .final = {STR(name), STR(host), false}, .last_attempt_ms = UINT64_C(951782400000)
#define OTHER .remote = STR("mx.example.net"), .remote_address = STR("192.0.2.25")

#define ONE(...) .to = {{__VA_ARGS__}}

enum { TO_MAX = 3 };
struct sample {
    const char                  *name;
    struct mail_report_recipient to[TO_MAX]; /* those that have a name */
    struct mail_report           r;          /* what is not as usual */
    struct str                   content;
};

static const struct sample samples[] = {
    {.name = "failed-no-mailbox",
     ONE(TO("ghost", "example.net"), OTHER, .original_type = STR("rfc822"), .original = STR("Ghost@example.net"),
         .status = {5, 1, 1}, .code = 550,
         .reply = STR("550 5.1.1 <ghost@example.net>: Recipient address rejected: User unknown"), .attempts = 1)},
    {.name = "failed-no-mailbox-here", ONE(TO("ghost", "example.test"), .status = {5, 1, 1}, .attempts = 1)},
    {.name = "failed-null-mx", ONE(TO("info", "nomail.example"), .status = {5, 1, 10}, .attempts = 1)},
    {.name = "failed-no-domain", ONE(TO("info", "exampel.invalid"), .status = {5, 1, 2}, .attempts = 1)},
    {.name = "failed-no-server", ONE(TO("info", "web.example"), .status = {5, 4, 4}, .attempts = 1)},
    {.name = "failed-moved",
     ONE(TO("bob", "example.net"), OTHER, .status = {5, 1, 6}, .code = 551,
         .reply = STR("551 5.1.6 User not local; please try <bob@new-home.example>"), .moved_to = &bob_moved,
         .attempts = 1)},
    {.name = "failed-moved-here",
     ONE(TO("bob", "example.test"), .status = {5, 1, 6}, .moved_to = &bob_moved, .attempts = 1)},
    {.name = "failed-full",
     ONE(TO("carol", "example.net"), OTHER, .status = {5, 2, 2}, .last_status = {4, 2, 2}, .code = 452,
         .reply = STR("452 4.2.2 The mailbox is over quota"), .attempts = 34)},
    {.name = "failed-too-large-here", ONE(TO("carol", "example.test"), .status = {5, 2, 3}, .attempts = 1)},
    {.name = "failed-expired",
     ONE(TO("dave", "example.net"), OTHER, .status = {5, 4, 7}, .last_status = {4, 4, 1},
         .happened = STR("no connection to the server in time"), .attempts = 34)},
    {.name = "failed-expired-refused",
     ONE(TO("dave", "example.net"), OTHER, .status = {5, 4, 7}, .last_status = {4, 7, 1}, .code = 451,
         .reply = STR("451 4.7.1 Please try again later"), .attempts = 34)},
    {.name = "failed-expired-dns",
     ONE(TO("dave", "example.net"), .status = {5, 4, 7}, .last_status = {4, 4, 3}, .attempts = 34)},
    {.name = "failed-policy",
     ONE(TO("erin", "example.net"), OTHER, .status = {5, 7, 1}, .code = 554,
         .reply = STR("554-5.7.1 Your message was rejected as spam.\n"
                      "554 5.7.1 See https://postmaster.example.net/why?id=4711"),
         .attempts = 1)},
    {.name = "failed-authentication",
     ONE(TO("erin", "example.net"), OTHER, .status = {5, 7, 26}, .code = 550,
         .reply = STR("550 5.7.26 This mail is unauthenticated"), .attempts = 1)},
    {.name = "failed-loop",
     ONE(TO("frank", "example.net"), OTHER, .status = {5, 4, 6}, .code = 554, .reply = STR("554 5.4.6 Too many hops"),
         .attempts = 1)},
    {.name = "failed-behind", ONE(TO("sales", "example.test"), .status = {5, 1, 1}, .is_behind = true, .attempts = 1)},
    {.name = "failed-of-list",
     ONE(TO("gone", "example.net"), OTHER, .status = {5, 1, 1}, .code = 550, .reply = STR("550 5.1.1 No such user"),
         .attempts = 1),
     .r = {.list = &staff}},
    {.name = "failed-several",
     .to =
         {
             {TO("ghost", "example.net"), OTHER, .status = {5, 1, 1}, .code = 550,
              .reply = STR("550 5.1.1 No such user here"), .attempts = 1},
             {TO("info", "nomail.example"), .status = {5, 1, 10}, .attempts = 1},
             {TO("carol", "example.org"), .remote = STR("mail.example.org"), .remote_address = STR("2001:db8::25"),
              .status = {5, 3, 4}, .code = 552, .reply = STR("552 5.3.4 Message size exceeds fixed limit"),
              .attempts = 1},
         }},
    {.name = "failed-hostile",
     ONE(TO("mallory", "example.net"), .remote = STR("mx\r\nX-Evil: 1"), .remote_address = STR("192.0.2.66"),
         .status = {5, 7, 1}, .code = 550,
         .reply = STR("550-\x1b[2J\r\n--=_tacit_0123456789abc_0\nContent-Type: text/html\n"
                      "<script>alert(1)</script> \xe2\x80\xaetxt.exe\n"
                      "550 You have won. This server asks you to send your password to us."),
         .attempts = 1)},
    {.name = "failed-and-relayed",
     .to = {{TO("ghost", "example.net"), OTHER, .status = {5, 1, 1}, .code = 550,
             .reply = STR("550 5.1.1 No such user"), .attempts = 1},
            {TO("heidi", "example.net"), OTHER, .action = REPORT_RELAYED, .status = {2, 0, 0}, .code = 250,
             .reply = STR("250 Ok"), .attempts = 1}}},
    {.name = "delayed",
     ONE(TO("dave", "example.net"), OTHER, .action = REPORT_DELAYED, .status = {4, 4, 1},
         .happened = STR("no connection to the server in time"), .attempts = 5, .tells_failure = true,
         .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "delayed-greylisting",
     ONE(TO("dave", "example.net"), OTHER, .action = REPORT_DELAYED, .status = {4, 7, 1}, .code = 450,
         .reply = STR("450 4.7.1 Greylisted, please come back in 15 minutes"), .attempts = 5, .tells_failure = true,
         .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "delayed-under-way",
     ONE(TO("dave", "example.net"), .action = REPORT_DELAYED, .wait = REPORT_FIRST_ATTEMPT, .tells_failure = true,
         .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "delayed-in-line",
     ONE(TO("dave", "example.net"), .action = REPORT_DELAYED, .wait = REPORT_NO_ATTEMPT, .tells_failure = true,
         .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "delayed-by-us",
     ONE(TO("dave", "example.net"), .action = REPORT_DELAYED, .status = {4, 3, 0},
         .happened = STR("this server was stopped or restarted while the message was on its way"), .attempts = 1,
         .tells_failure = true, .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "delayed-behind",
     ONE(TO("sales", "example.test"), .action = REPORT_DELAYED, .status = {4, 4, 1}, .is_behind = true, .attempts = 5,
         .tells_failure = true, .retry_until_ms = UINT64_C(952171200000)),
     .r = {.arrival_ms = UINT64_C(951768000000)}},
    {.name = "relayed",
     ONE(TO("heidi", "example.net"), OTHER, .action = REPORT_RELAYED, .status = {2, 0, 0}, .code = 250,
         .reply = STR("250 Ok"), .attempts = 1)},
    {.name = "relayed-moved",
     ONE(TO("bob", "example.net"), OTHER, .action = REPORT_RELAYED, .status = {2, 1, 5}, .code = 250,
         .reply = STR("250 Ok"), .moved_to = &bob_moved, .attempts = 1)},
    {.name = "delivered",
     ONE(TO("ivan", "example.test"), .action = REPORT_DELIVERED, .status = {2, 1, 5}, .attempts = 1)},
    {.name = "expanded",
     ONE(TO("staff", "example.test"), .action = REPORT_EXPANDED, .status = {2, 0, 0}, .attempts = 1)},
    {.name = "utf8",
     ONE(.final = {STR("jos\xc3\xa9"), STR("example.net"), true}, .original_type = STR("utf-8"),
         .original = STR("jos\xc3\xa9@example.net"), OTHER, .status = {5, 1, 1}, .code = 550,
         .reply = STR("550 5.1.1 jos\xc3\xa9 est parti"), .attempts = 1, .last_attempt_ms = UINT64_C(951782400000)),
     .r = {.smtputf8 = true},
     .content = STR("Subject: \xc3\xa9t\xc3\xa9\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nThe b\xc3\xb6"
                    "dy.\r\n")},
    {.name = "utf8-to-ascii",
     ONE(.final = {STR("jos\xc3\xa9"), STR("example.net"), true}, .original_type = STR("utf-8"),
         .original = STR("jos\xc3\xa9@example.net"), OTHER, .status = {5, 6, 7},
         .happened = STR("the address needs SMTPUTF8, which the server has not"), .attempts = 1,
         .last_attempt_ms = UINT64_C(951782400000)),
     .content = STR("Subject: =?utf-8?b?w6l0w6k=?=\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nThe body.\r\n")},
    {.name = "full",
     ONE(TO("ghost", "example.net"), OTHER, .status = {5, 1, 1}, .code = 550, .reply = STR("550 5.1.1 No such user"),
         .attempts = 1),
     .r = {.full = true}},
    {.name = "utf8-full",
     ONE(TO("ghost", "example.net"), OTHER, .status = {5, 1, 1}, .code = 550, .reply = STR("550 5.1.1 No such user"),
         .attempts = 1),
     .r = {.full = true, .smtputf8 = true},
     .content = STR("Subject: \xc3\xa9t\xc3\xa9\r\nMessage-ID: <1@elsewhere.example>\r\n\r\nThe b\xc3\xb6"
                    "dy.\r\n")},
};

static bool sample_put(const struct sample *s, const struct locale *locale, struct buf *out)
{
    struct mail_report r = s->r;
    enum body_type     body;

    r.locale = locale;
    r.mta = STR("mx.example.test");
    r.id = STR("0123456789abc");
    r.date_ms = today_ms;
    r.to = (struct mail_address){STR("alice"), STR("elsewhere.example"), false};
    r.envelope_id = STR("QQ314159");
    if (!r.arrival_ms)
        r.arrival_ms = s->to[0].attempts > 1 ? today_ms - 5 * UTC_DAY : today_ms - 1000;
    r.recipients = s->to;
    while (r.recipient_count < TO_MAX && s->to[r.recipient_count].final.local.len)
        r.recipient_count++;
    r.content = s->content.len ? s->content
                               : STR("From: alice@elsewhere.example\r\nSubject: Hello\r\n there\r\n"
                                     "Message-ID: <1@elsewhere.example>\r\n\r\nThe body.\r\n");
    return mail_report_format(&r, out, &body);
}

static bool digest_put(struct buf *out)
{
    struct mail_digest_entry e = {STR("0000000000xyz"),
                                  today_ms - NOON_MS,
                                  today_ms + 7 * UTC_DAY,
                                  3120,
                                  {STR("s"), STR("elsewhere.example"), false},
                                  {STR("invented"), STR("example.test"), false},
                                  STR("192.0.2.7")};
    struct mail_digest       d = {.mta = STR("mx.example.test"),
                                  .id = STR("0123456789abc"),
                                  .domain = STR("example.test"),
                                  .date_ms = today_ms,
                                  .entries = &e,
                                  .entry_count = 1,
                                  .total = 1};
    enum body_type           body;

    return mail_digest_format(&d, out, &body);
}

int main(int argc, char **argv)
{
    struct buf out;
    bool       done = argc == 1;

    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (argc == 1)
            puts(samples[i].name);
        else if (strcmp(argv[1], samples[i].name) == 0)
            done = sample_put(&samples[i], argc > 2 ? locale_named(str_from(argv[2])) : NULL, &out);
    if (argc > 1 && strcmp(argv[1], "digest") == 0)
        done = digest_put(&out);
    if (done && out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_done(&out);
    return !done;
}
