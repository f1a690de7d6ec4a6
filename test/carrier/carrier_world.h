/* carrier_world.h: a carrier in the loop of a test, and everybody it meets: back and the resolver behind channels, and
 * mail servers (scripted_server.h). */
#ifndef TACIT_TEST_SERVER_CARRIER_WORLD_H
#define TACIT_TEST_SERVER_CARRIER_WORLD_H

#include "carrier/carrier.h"
#include "role/log.h"

#include "../io/turns.h"
#include "scripted_server.h"

enum { WORLD_RESULTS = 1200 };

struct result {
    uint64_t                 id, site, retry_ms;
    uint32_t                 number, room;
    enum carriage_kind       kind;
    size_t                   count;
    enum smtp_client_verdict verdict;     /* of the first */
    unsigned                 verdicts[4]; /* how many have each */
    unsigned                 code, class, subject, detail;
    bool                     refused, dsn;
    char                     text[600], words[600], host[300], address[64];
};

struct zone {
    const char *name, *type, *data; /* data with several records: parted by "|"; "": NXDOMAIN; "-": no such data; "?":
                                       SERVFAIL; "~": silence */
};

struct world {
    struct io_loop    *loop;
    struct config     *config;
    struct carrier    *carrier;
    struct io_ipc     *back, *resolver;
    uint16_t           port;
    struct server      servers[SCRIPTED_SERVERS];
    const struct zone *zone;
    bool               records, drained;
    int                questions, results_count, carried, put_back, opened, welcomes, rooms;
    struct result      results[WORLD_RESULTS];
    struct arena       arena;
    struct buf         out;
};

/* ---- the resolver ---- */

static inline void put_name(struct buf *b, struct str name)
{
    while (name.len) {
        struct str label = str_cut(&name, '.');

        buf_append_byte(b, (char)label.len);
        buf_append(b, label);
    }
    buf_append_byte(b, 0);
}

static inline struct str rdata(struct world *w, enum dns_type type, struct str text)
{
    struct buf b;
    struct str kept;
    uint64_t   number;

    buf_init(&b, 512);
    if (type == DNS_MX) {
        assert_true(str_to_u64(str_cut(&text, ' '), 65535, &number));
        buf_append_byte(&b, (char)(number >> 8));
        buf_append_byte(&b, (char)number);
        put_name(&b, str_eq(text, STR(".")) ? STR("") : text);
    } else {
        while (text.len) {
            assert_true(str_to_u64(str_cut(&text, '.'), 255, &number));
            buf_append_byte(&b, (char)number);
        }
    }
    kept = arena_str(&w->arena, buf_str(&b));
    buf_done(&b);
    return kept;
}

static inline void resolver_asked(void *arg, struct str data, int fd)
{
    struct world       *w = arg;
    struct lookup_query q;
    struct str          records[400];
    struct dns_answer   a = {.outcome = DNS_NO_DATA, .records = records};

    (void)fd;
    assert_true(lookup_query_get(data, &q));
    w->questions++;
    for (const struct zone *z = w->zone; z && z->name; z++) {
        bool       mine = str_eq(q.name, str_from(z->name));
        struct str rest = str_from(z->data);

        if (!mine || (strcmp(z->type, "MX") == 0) != (q.type == DNS_MX) || q.type == DNS_AAAA)
            continue;
        if (str_eq(rest, STR("~")))
            return;
        a.outcome = str_eq(rest, STR("")) ? DNS_NO_NAME : str_eq(rest, STR("?")) ? DNS_FAILED : DNS_FOUND;
        while (a.outcome == DNS_FOUND && rest.len)
            records[a.count++] = rdata(w, q.type, str_cut(&rest, '|'));
    }
    buf_clear(&w->out);
    assert_true(lookup_answer_put(q.tag, &a, &w->out));
    io_ipc_send(w->resolver, buf_str(&w->out), -1);
    arena_reset(&w->arena);
}

static inline void resolver_ended(void *arg) { (void)arg; }

/* ---- back ---- */

static inline void copy(char *to, size_t size, struct str from) { snprintf(to, size, "%.*s", STR_ARG(from)); }

static inline void back_told(struct world *w, const struct carried *c, struct result *r)
{
    const struct carried_recipient *first = &c->recipients[0];

    r->count = c->recipient_count;
    r->retry_ms = c->retry_ms;
    r->refused = c->refused;
    r->dsn = c->dsn;
    r->verdict = first->verdict;
    r->code = first->code;
    r->class = first->status.class;
    r->subject = first->status.subject;
    r->detail = first->status.detail;
    copy(r->text, sizeof r->text, first->text);
    copy(r->words, sizeof r->words, first->words);
    copy(r->host, sizeof r->host, c->host);
    copy(r->address, sizeof r->address, c->address);
    for (size_t i = 0; i < c->recipient_count; i++)
        r->verdicts[c->recipients[i].verdict]++;
    if (w->records) {
        const struct carriage_message m = {.kind = CARRIAGE_RECORDED, .carried = {.id = c->id, .number = c->number}};

        buf_clear(&w->out);
        assert_true(carriage_put(&m, &w->out));
        io_ipc_send(w->back, buf_str(&w->out), -1);
    }
}

static inline void back_said(void *arg, struct str data, int fd)
{
    struct world           *w = arg;
    struct carriage_message m;
    struct result          *r = &w->results[w->results_count];

    assert_int_equal(fd, -1);
    assert_true(carriage_get(data, &w->arena, &m));
    assert_true(w->results_count < WORLD_RESULTS);
    w->results_count++;
    *r =
        (struct result){.kind = m.kind, .site = m.site, .room = m.room, .id = m.carried.id, .number = m.carried.number};
    switch (m.kind) {
    case CARRIAGE_CARRIED:
        back_told(w, &m.carried, r);
        w->carried++;
        break;
    case CARRIAGE_PUT_BACK:
        w->put_back++;
        break;
    case CARRIAGE_OPEN:
        r->id = m.carriage.id;
        r->number = m.carriage.number;
        r->count = m.carriage.recipient_count;
        w->opened++;
        break;
    case CARRIAGE_WELCOME:
        w->welcomes++;
        break;
    case CARRIAGE_ROOM:
        w->rooms += (int)m.room;
        break;
    case CARRIAGE_CARRY:
    case CARRIAGE_RECORDED:
    case CARRIAGE_CANCEL:
        fail();
    }
    arena_reset(&w->arena);
}

static inline void back_ended(void *arg) { (void)arg; }

static inline void back_begin(struct world *w)
{
    static const struct io_ipc_ops ops = {back_said, back_ended};
    struct err                     err;
    int                            fds[2];

    io_ipc_free(w->back);
    assert_true(io_ipc_pair(fds, &err));
    w->back = io_ipc_new(w->loop, fds[0], &ops, w, &err);
    assert_true(carrier_attach_back(w->carrier, fds[1], &err));
}

/* ---- the whole ---- */

static inline struct config *world_config(struct world *w, const char *extra)
{
    struct buf     text;
    struct config *config;
    struct err     err;

    buf_init(&text, 1 << 16);
    buf_printf(&text, "hostname = \"us.test\"\nlisten mx { address = \"127.0.0.9:%u\" }\n", w->port);
    buf_printf(&text, "domain \"here.test\" {}\n");
    for (const char *at = extra; *at; at++)
        if (*at == '$')
            buf_append_u64(&text, w->port);
        else
            buf_append_byte(&text, *at);
    config = config_parse_text(buf_str(&text), "test.conf", "/tmp", &err);
    if (!config)
        print_message("%s\n", err.text);
    assert_non_null(config);
    buf_done(&text);
    return config;
}

/* `extra`: more of the configuration; "$" is the port. */
static inline struct world *world_new(const struct zone *zone, const char *extra)
{
    static const struct io_ipc_ops ops = {resolver_asked, resolver_ended};
    struct world                  *w = calloc(1, sizeof *w);
    struct err                     err;
    int                            fds[2];

    w->loop = io_loop_new(&err);
    w->zone = zone;
    w->records = true;
    arena_init(&w->arena, 4096, 1 << 20);
    buf_init(&w->out, IPC_MESSAGE_MAX * 2);
    w->port = servers_init(w->servers, w->loop);
    w->config = world_config(w, extra);
    w->carrier = carrier_new(w->loop, w->config, &err);
    assert_non_null(w->carrier);
    assert_true(io_ipc_pair(fds, &err));
    w->resolver = io_ipc_new(w->loop, fds[0], &ops, w, &err);
    assert_true(carrier_attach_resolver(w->carrier, fds[1], &err));
    back_begin(w);
    return w;
}

static inline void world_free(struct world *w)
{
    carrier_free(w->carrier);
    io_ipc_free(w->back);
    io_ipc_free(w->resolver);
    for (size_t i = 0; i < SCRIPTED_SERVERS; i++)
        server_done(&w->servers[i]);
    io_loop_free(w->loop);
    config_free(w->config);
    arena_done(&w->arena);
    buf_done(&w->out);
    free(w);
}

struct mail {
    const char    *via, *domain, *content;
    unsigned       recipients;
    enum body_type body;
    bool           utf8;
    int            fd;
    uint64_t       size;
};

static inline void world_send(struct world *w, uint64_t id, struct mail mail)
{
    struct recipient        recipients[CARRIAGE_RECIPIENTS_MAX] = {0};
    uint32_t                indices[CARRIAGE_RECIPIENTS_MAX];
    char                    names[CARRIAGE_RECIPIENTS_MAX][8];
    struct carriage_message m = {.kind = CARRIAGE_CARRY};
    struct carriage        *c = &m.carriage;

    c->recipient_count = mail.recipients ? mail.recipients : 1;
    for (uint32_t i = 0; i < c->recipient_count; i++) {
        snprintf(names[i], sizeof names[i], "r%u", i);
        recipients[i].address = (struct mail_address){str_from(names[i]), str_from(mail.domain), false};
        indices[i] = i;
    }
    c->id = id;
    c->indices = indices;
    c->recipients = recipients;
    c->via = str_from(mail.via ? mail.via : "mx");
    c->route = STR("*");
    c->domain = str_from(mail.domain);
    c->sender = (struct mail_address){STR("me"), STR("us.test"), false};
    c->body = mail.body;
    c->header_utf8 = mail.utf8;
    c->external = mail.fd > 0;
    c->content = str_from(c->external ? NULL : mail.content ? mail.content : "Subject: x\r\n\r\nHello\r\n");
    c->size = c->external ? mail.size : c->content.len;
    buf_clear(&w->out);
    assert_true(carriage_put(&m, &w->out));
    assert_true(io_ipc_send(w->back, buf_str(&w->out), mail.fd > 0 ? mail.fd : -1));
}

static inline void world_cancel(struct world *w, uint64_t id)
{
    const struct carriage_message m = {.kind = CARRIAGE_CANCEL, .carried = {.id = id}};

    buf_clear(&w->out);
    assert_true(carriage_put(&m, &w->out));
    assert_true(io_ipc_send(w->back, buf_str(&w->out), -1));
}

/* Sends one, and waits for its result. */
static inline struct result *world_try(struct world *w, struct mail mail)
{
    int            before = w->carried;
    struct result *found = NULL;

    world_send(w, (uint64_t)w->results_count + 1000, mail);
    run_until(w->loop, &w->carried, before + 1);
    assert_int_equal(w->carried, before + 1);
    for (int i = 0; i < w->results_count; i++)
        if (w->results[i].kind == CARRIAGE_CARRIED)
            found = &w->results[i];
    return found;
}

/* ---- what every test of the carrier begins with ---- */

#define WORLD_ROUTE "route \"*\" { port = $ connect_timeout = \"300ms\" }\n"

/* mxN.test is servers[N - 1]; nobody listens where dead.test, many.test and more.test are. */
static const struct zone world_zone[] = {
    {"a.test", "MX", "10 mx1.test"},
    {"b.test", "MX", "20 mx1.test"},
    {"c.test", "MX", "10 mx2.test"},
    {"two.test", "MX", "10 mx1.test|20 mx2.test"},
    {"three.test", "MX", "10 mx1.test|20 mx2.test|30 mx3.test"},
    {"backup.test", "MX", "10 mx1.test|20 mx3.test"},
    {"dead.test", "MX", "10 dead.test"},
    {"dead.test", "A", "127.0.0.200"},
    {"deadtwo.test", "MX", "10 dead.test|20 mx2.test"},
    {"many.test", "A",
     "127.0.1.1|127.0.1.2|127.0.1.3|127.0.1.4|127.0.1.5|127.0.1.6|127.0.1.7|127.0.1.8|127.0.1.9|127.0.1.10|127.0.1.11"},
    {"many.test", "MX", "10 many.test|20 more.test|30 dead.test|40 mx1.test"},
    {"more.test", "A", "127.0.2.1|127.0.2.2|127.0.2.3|127.0.2.4|127.0.2.5|127.0.2.6|127.0.2.7|127.0.2.8|127.0.2.9"},
    {"null.test", "MX", "0 ."},
    {"odd.test", "MX", "0 .|10 mx1.test"},
    {"gone.test", "MX", ""},
    {"broken.test", "MX", "?"},
    {"silent.test", "MX", "~"},
    {"loop.test", "MX", "10 us.test"},
    {"loopaddress.test", "MX", "10 other.test"},
    {"other.test", "A", "127.0.0.9"},
    {"implicit.test", "A", "127.0.0.2"},
    {"mx1.test", "A", "127.0.0.1"},
    {"mx2.test", "A", "127.0.0.2"},
    {"mx3.test", "A", "127.0.0.3"},
    {"relay.test", "A", "127.0.0.4"},
    {NULL, NULL, NULL},
};

static struct world *w; /* of the test that runs */

static inline int set_up(void **state)
{
    (void)state;
    w = world_new(world_zone, WORLD_ROUTE);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    world_free(w);
    return 0;
}

/* The same with another configuration. */
static inline void set_up_again(const char *extra)
{
    tear_down(NULL);
    w = world_new(world_zone, extra);
}

/* For all connections to that server. */
static inline void rule(int server, const char *verb, const char *reply)
{
    struct rule *r = w->servers[server].rules;

    while (r->verb)
        r++;
    *r = (struct rule){.verb = verb, .reply = reply};
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
