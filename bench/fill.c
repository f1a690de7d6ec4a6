/* fill.c: fills a lane with messages as a front would have stored them, without a server: for measurements of large
 * queues, which SMTP would take hours to make.
 *
 *   tacit-fill [options] SPOOL        SPOOL: data/spool of a server that does not run
 *
 * Every message differs by its id, addresses and a tag in its header; domains and local parts go round, so that a run
 * with the same options makes the same queue but for the ids. --deferred adds a progress record to lane 0 for each
 * message, as back writes it when every server says 451: then the queue rests for an hour after a start, and its two
 * lanes look as they do after an outage of the network. */
#include "mail/address.h"
#include "queue/progress.h"
#include "spool/lane.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { COMMIT_OCTETS = 8 << 20, TEXT = 256, RETRY_MS = 3600 * 1000, RECIPIENTS_MAX = 1000, SIZE_MIN = 64 };

static struct {
    uint64_t    messages, size, sender_domains, recipient_domains, users, recipients, lane, segment, class;
    const char *sender_domain, *recipient_domain;
    bool        deferred;
} options = {.messages = 1000,
             .size = 4096,
             .sender_domains = 100,
             .recipient_domains = 100,
             .users = 1000,
             .recipients = 1,
             .lane = 1,
             .class = CLASS_RELAY,
             .sender_domain = "sender%llu.example",
             .recipient_domain = "elsewhere%llu.example"};

static const char usage[] =
    "usage: tacit-fill [options] SPOOL\n"
    "  --messages N            1000\n"
    "  --size OCTETS           of the content: 4096\n"
    "  --recipients N          of each message: 1\n"
    "  --users N               local parts of senders and of recipients: 1000\n"
    "  --sender-domains N      100\n"
    "  --recipient-domains N   100\n"
    "  --sender-domain TEXT    sender%llu.example, with the domain's number\n"
    "  --recipient-domain TEXT elsewhere%llu.example\n"
    "  --class NAME            submitter, relay, stranger, ...: relay\n"
    "  --lane N                1\n"
    "  --segment OCTETS        of a segment: 16 MiB\n"
    "  --deferred              each message was attempted once, and is tried again in an hour\n";

static _Noreturn void die(const char *what, const struct err *err)
{
    fprintf(stderr, "tacit-fill: %s%s%s\n", what, err ? ": " : "", err ? err->text : "");
    exit(EXIT_FAILURE);
}

static bool parse_class(const char *name)
{
    for (int class = CLASS_SUBMITTER; class <= CLASS_OURSELVES; class ++)
        if (strcmp(client_class_name((enum client_class) class), name) == 0) {
            options.class = (uint64_t) class;
            return true;
        }
    return false;
}

static const char *parse(int argc, char **argv)
{
    static const struct option names[] = {{"messages", required_argument, NULL, 0},
                                          {"size", required_argument, NULL, 1},
                                          {"recipients", required_argument, NULL, 2},
                                          {"users", required_argument, NULL, 3},
                                          {"sender-domains", required_argument, NULL, 4},
                                          {"recipient-domains", required_argument, NULL, 5},
                                          {"lane", required_argument, NULL, 6},
                                          {"segment", required_argument, NULL, 7},
                                          {"sender-domain", required_argument, NULL, 8},
                                          {"recipient-domain", required_argument, NULL, 9},
                                          {"class", required_argument, NULL, 10},
                                          {"deferred", no_argument, NULL, 11},
                                          {0}};
    uint64_t *const            numbers[] = {&options.messages, &options.size,           &options.recipients,
                                            &options.users,    &options.sender_domains, &options.recipient_domains,
                                            &options.lane,     &options.segment};
    const uint64_t limits[] = {100000000, 16 << 20, RECIPIENTS_MAX, 1000000000, 1000000000, 1000000000, 255, 1 << 30};
    int            which;

    while ((which = getopt_long(argc, argv, "", names, NULL)) != -1) {
        char *end;

        if (which >= 0 && which <= 7) {
            *numbers[which] = strtoull(optarg, &end, 10);
            if (*end || *numbers[which] == 0 || *numbers[which] > limits[which])
                return NULL;
        } else if (which == 8) {
            options.sender_domain = optarg;
        } else if (which == 9) {
            options.recipient_domain = optarg;
        } else if (which == 10 && parse_class(optarg)) {
            continue;
        } else if (which == 11) {
            options.deferred = true;
        } else {
            return NULL;
        }
    }
    return optind == argc - 1 ? argv[optind] : NULL;
}

/* The domain's number stands where the text has "%llu"; without it there is one domain. */
static struct str domain_text(const char *form, uint64_t number, char ret_text[TEXT])
{
    struct str text = str_from(form);
    size_t     at = str_find(text, STR("%llu"));
    int        len = at == STR_NOT_FOUND
                         ? snprintf(ret_text, TEXT, "%s", form)
                         : snprintf(ret_text, TEXT, "%.*s%llu%s", (int)at, form, (unsigned long long)number, form + at + 4);

    if (len <= 0 || len >= TEXT)
        die("a domain is too long", NULL);
    return str_of(ret_text, (size_t)len);
}

struct texts {
    char local[TEXT], domain[TEXT];
};

static struct mail_address address(const char *what, const char *form, uint64_t user, uint64_t domain, struct texts *t)
{
    int len = snprintf(t->local, TEXT, "%s%llu", what, (unsigned long long)user);

    return (struct mail_address){.local = str_of(t->local, (size_t)len),
                                 .domain = domain_text(form, domain, t->domain)};
}

static struct lane_writer *open_lane(const char *spool, uint64_t lane)
{
    struct lane_options lane_options = {.segment_size = options.segment, .reserve = 1 << 20};
    char                path[4096], bodies[4200];
    struct err          err;
    struct lane_writer *w;

    snprintf(path, sizeof path, "%s/lane-%02llu", spool, (unsigned long long)lane);
    snprintf(bodies, sizeof bodies, "%s/body", path);
    if ((mkdir(spool, 0770) != 0 && errno != EEXIST) || (mkdir(path, 0770) != 0 && errno != EEXIST) ||
        (mkdir(bodies, 0770) != 0 && errno != EEXIST))
        die(path, NULL);
    w = lane_writer_open(path, &lane_options, &err);
    if (!w)
        die("the lane cannot be opened", &err);
    return w;
}

static void commit(struct lane_writer *w)
{
    struct err err;

    if (lane_wants_spare(w) && !lane_prepare_spare(w, &err))
        die("no room", &err);
    if (!lane_commit(w, &err))
        die("not stored", &err);
}

static void append(struct lane_writer *w, uint8_t type, const struct str *parts, size_t count)
{
    struct lane_place place;
    struct err        err;

    if (!lane_append(w, type, 0, parts, count, &place, &err))
        die("not appended", &err);
    if (lane_pending(w) >= COMMIT_OCTETS)
        commit(w);
}

static void put_message(struct lane_writer *w, uint64_t id, uint64_t n, char *content)
{
    static struct recipient to[RECIPIENTS_MAX];
    static struct texts     to_texts[RECIPIENTS_MAX];
    struct texts            from_texts;
    struct message          m = {.id = id, .received_ms = message_id_time_ms(id), .size = options.size};
    struct envelope        *e = &m.envelope;
    struct buf              head;
    char                    tag[40];
    int                     len = snprintf(tag, sizeof tag, "X-Fill: %020llu\r\n\r\n", (unsigned long long)n);

    memcpy(content, tag, (size_t)len);
    e->origin = (struct origin){.class = (enum client_class)options.class,
                                .session = STR("fill"),
                                .client = STR("192.0.2.1"),
                                .helo = STR("fill.example"),
                                .protocol = STR("ESMTP")};
    e->sender = address("from", options.sender_domain, n % options.users, n % options.sender_domains, &from_texts);
    e->recipients = to;
    e->recipient_count = options.recipients;
    for (uint64_t i = 0; i < options.recipients; i++)
        to[i].address = address("to", options.recipient_domain, (n + i) % options.users,
                                (n + i) % options.recipient_domains, &to_texts[i]);
    buf_init(&head, 1 << 20);
    if (!record_message_put(&m, &head))
        die("out of memory", NULL);
    append(w, RECORD_MESSAGE, (struct str[]){buf_str(&head), str_of(content, options.size)}, 2);
    buf_done(&head);
}

static void put_deferred(struct lane_writer *w, uint64_t id, uint64_t n, uint64_t now_ms)
{
    static struct recipient_progress to[RECIPIENTS_MAX];
    static char                      hosts[RECIPIENTS_MAX][TEXT + 8];
    struct progress                  p = {.id = id,
                                          .last_ms = now_ms,
                                          .next_ms = now_ms + RETRY_MS,
                                          .attempts = 1,
                                          .recipients = to,
                                          .recipient_count = options.recipients};
    struct buf                       record;

    for (uint64_t i = 0; i < options.recipients; i++) {
        char       domain[TEXT];
        struct str text = domain_text(options.recipient_domain, (n + i) % options.recipient_domains, domain);
        int        len = snprintf(hosts[i], sizeof hosts[i], "mx.%.*s", STR_ARG(text));

        to[i] = (struct recipient_progress){.state = RECIPIENT_PENDING,
                                            .status = STR("4.2.1"),
                                            .reason = STR("the server there cannot take it at the moment"),
                                            .remote = str_of(hosts[i], (size_t)len),
                                            .remote_address = STR("192.0.2.1"),
                                            .code = 451,
                                            .reply = STR("451 4.2.1 Try again later")};
    }
    buf_init(&record, 1 << 20);
    if (!progress_put(&p, &record))
        die("out of memory", NULL);
    append(w, RECORD_PROGRESS, (struct str[]){buf_str(&record)}, 1);
    buf_done(&record);
}

int main(int argc, char **argv)
{
    const char              *spool = parse(argc, argv);
    struct message_id_source ids;
    struct lane_writer      *w, *progress = NULL;
    struct timespec          now;
    uint64_t                 now_ms;
    char                    *content;

    if (!spool) {
        fputs(usage, stderr);
        return 2;
    }
    if (options.size < SIZE_MIN)
        options.size = SIZE_MIN;
    content = malloc(options.size);
    if (!content)
        die("out of memory", NULL);
    for (size_t i = 0; i < options.size; i++)
        content[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : 'x';
    clock_gettime(CLOCK_REALTIME, &now);
    now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    w = open_lane(spool, options.lane);
    if (options.deferred)
        progress = open_lane(spool, 0);
    ids = (struct message_id_source){.lane = (uint8_t)options.lane, .last = lane_marked(w)};
    for (uint64_t n = 0; n < options.messages; n++) {
        uint64_t id = message_id_next(&ids, now_ms);

        lane_mark(w, id);
        put_message(w, id, n, content);
        if (progress)
            put_deferred(progress, id, n, now_ms);
    }
    commit(w);
    lane_writer_close(w);
    if (progress) {
        commit(progress);
        lane_writer_close(progress);
    }
    free(content);
    printf("%llu messages of %llu octets in lane %llu\n", (unsigned long long)options.messages,
           (unsigned long long)options.size, (unsigned long long)options.lane);
    return 0;
}
