/* dns.c: see dns.h.
 *
 * libunbound reports through a descriptor, which the loop watches; its callbacks run in ub_process, on the loop's
 * thread. Its own patience with silent servers differs from version to version, so each question has a timer of ours.
 *
 * Zones that the library answers by itself and that may be real where a resolver is named (.test, the reverse zones of
 * private networks) are taken from it. c-ares was rejected: it neither caches nor validates. */
#include "io/dns.h"

#include "base/list.h"
#include "io/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unbound.h>

enum {
    RECORDS_MAX = 512,
    TIMEOUT_MS = 30 * 1000,
    CLASS_IN = 1,
    SOCKETS = 4096,    /* to name servers, at once; made as they are needed */
    SOCKETS_SHARE = 2, /* and no more than this part of the process's descriptors */
    SERVER_REMEMBERED_S = 10,
};
static const uint64_t CACHE = 32 << 20;
static const char     ANCHORS[] = "/usr/share/dns/root.key", RESOLV_CONF[] = "/etc/resolv.conf";

struct file {
    const char *path; /* NULL: not read */
    struct stat stat; /* before it was read; zeros: it was not there */
};

struct io_dns {
    struct io_loop  *loop;
    struct ub_ctx   *context;
    struct io_watch *watch;
    struct list      questions;
    uint64_t         timeout_ms;
    bool             broken;
    struct file      resolv_conf, anchors;
};

struct io_dns_question {
    struct list      link;
    struct io_dns   *dns;
    struct io_timer *timer;
    int              id;
    int              refusal; /* why the library would not take it; answered in the next round */
    void (*answered)(const struct dns_answer *answer, void *arg);
    void *arg;
};

static void question_free(struct io_dns_question *q)
{
    list_remove(&q->link);
    io_timer_free(q->timer);
    free(q);
}

static void answer(struct io_dns_question *q, const struct dns_answer *a)
{
    void (*answered)(const struct dns_answer *answer, void *arg) = q->answered;
    void *arg = q->arg;

    question_free(q);
    answered(a, arg);
}

static enum dns_outcome outcome_of(const struct ub_result *r)
{
    if (r->bogus)
        return DNS_BOGUS;
    if (r->havedata)
        return DNS_FOUND;
    if (r->nxdomain)
        return DNS_NO_NAME;
    return r->rcode == 0 ? DNS_NO_DATA : DNS_FAILED;
}

static const char *why_of(const struct ub_result *r)
{
    if (r->bogus)
        return r->why_bogus;
    return r->rcode == 2   ? "the resolver could not find out (SERVFAIL)"
           : r->rcode == 5 ? "the resolver refuses to answer us (REFUSED)"
                           : "the resolver answered with an error";
}

static bool is_alias(const struct ub_result *r)
{
    struct str asked = str_from(r->qname), found = str_from(r->canonname);

    if (str_ends(asked, STR(".")))
        asked.len--;
    if (str_ends(found, STR(".")))
        found.len--;
    return found.len && !str_eq_nocase(asked, found);
}

static struct dns_answer refusal(int status)
{
    if (status == UB_SYNTAX)
        return (struct dns_answer){.outcome = DNS_NO_NAME}; /* there can be no such name */
    return (struct dns_answer){.outcome = DNS_FAILED, .why = ub_strerror(status)};
}

/* Without memory, or a thread, the library does not get going again: from then on it refuses all questions, or loses
 * them. */
static void note_status(struct io_dns *d, int status)
{
    d->broken |= status != UB_NOERROR && status != UB_SYNTAX && status != UB_SERVFAIL;
}

static void resolved(void *arg, int status, struct ub_result *r)
{
    struct io_dns_question *q = arg;
    struct str              records[RECORDS_MAX];
    struct dns_answer       a = {.outcome = DNS_FAILED, .records = records};

    note_status(q->dns, status);
    if (status != 0 || !r) {
        a = refusal(status);
    } else {
        a.outcome = outcome_of(r);
        a.secure = r->secure;
        a.cname = is_alias(r);
        a.ttl_s = r->ttl > 0 ? (uint32_t)r->ttl : 0;
        if (a.outcome == DNS_FAILED || a.outcome == DNS_BOGUS)
            a.why = why_of(r);
        else if (a.outcome == DNS_FOUND)
            for (; r->data[a.count] && a.count < RECORDS_MAX; a.count++)
                records[a.count] = str_of(r->data[a.count], (size_t)r->len[a.count]);
    }
    answer(q, &a);
    ub_resolve_free(r);
}

static void stop(struct io_dns_question *q)
{
    if (!q->refusal)
        ub_cancel(q->dns->context, q->id);
}

static void timed_out(void *arg)
{
    struct io_dns_question *q = arg;
    struct dns_answer       a = {.outcome = DNS_FAILED, .why = "no answer in time"};

    if (q->refusal)
        a = refusal(q->refusal);
    stop(q);
    answer(q, &a);
}

static void ready(unsigned what, void *arg)
{
    struct io_dns *d = arg;

    (void)what;
    note_status(d, ub_process(d->context));
}

struct io_dns_question *io_dns_ask(struct io_dns *d, struct str name, enum dns_type type,
                                   void (*answered)(const struct dns_answer *answer, void *arg), void *arg)
{
    struct io_dns_question *q = calloc(1, sizeof *q);
    char                    text[DNS_NAME_MAX + 1];
    int                     status = UB_SYNTAX;

    if (!q)
        return NULL;
    list_init(&q->link);
    q->dns = d;
    q->answered = answered;
    q->arg = arg;
    q->timer = io_timer_new(d->loop, timed_out, q);
    if (!q->timer) {
        free(q);
        return NULL;
    }
    snprintf(text, sizeof text, "%.*s", STR_ARG(str_part(name, 0, DNS_NAME_MAX)));
    if (name.len && strlen(text) == name.len)
        status = ub_resolve_async(d->context, text, (int)type, CLASS_IN, q, resolved, &q->id);
    note_status(d, status);
    if (status == UB_NOMEM) {
        question_free(q);
        return NULL;
    }
    list_push(&d->questions, &q->link);
    q->refusal = status;
    io_timer_start(q->timer, q->refusal ? 0 : d->timeout_ms, 0);
    return q;
}

void io_dns_cancel(struct io_dns_question *q)
{
    stop(q);
    question_free(q);
}

/* ---- the resolver ---- */

static bool set(struct io_dns *d, const char *option, const char *value, struct err *err)
{
    int status = ub_ctx_set_option(d->context, option, value);

    return status == 0 || err_set(err, ERR_TEMPORARY, "DNS: %s %s: %s", option, value, ub_strerror(status));
}

static bool set_number(struct io_dns *d, const char *option, uint64_t value, struct err *err)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return set(d, option, text, err);
}

/* By itself the library has 16 questions under way, and others wait behind those that nobody answers. And what it
 * knows of a server that says nothing it keeps for a quarter of an hour: but here it is a resolver, asked about all the
 * world, and its silence about one domain must not keep the others from being asked. */
static bool set_patience(struct io_dns *d, struct err *err)
{
    struct rlimit files = {.rlim_cur = SOCKETS};
    uint64_t      sockets;

    getrlimit(RLIMIT_NOFILE, &files);
    sockets = files.rlim_cur / SOCKETS_SHARE;
    return set_number(d, "outgoing-range:", sockets < SOCKETS ? sockets : SOCKETS, err) &&
           set_number(d, "infra-host-ttl:", SERVER_REMEMBERED_S, err);
}

static bool set_sizes(struct io_dns *d, uint64_t cache, struct err *err)
{
    return set_number(d, "msg-cache-size:", cache / 3, err) &&
           set_number(d, "rrset-cache-size:", cache / 3 * 2, err); /* records outweigh messages */
}

static struct stat state_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st : (struct stat){0};
}

static void note(struct file *f, const char *path) { *f = (struct file){path, state_of(path)}; }

static bool has_changed(const struct file *f)
{
    const struct stat now = f->path ? state_of(f->path) : f->stat;

    return now.st_nlink > 0 &&
           (now.st_dev != f->stat.st_dev || now.st_ino != f->stat.st_ino || now.st_size != f->stat.st_size ||
            now.st_mtim.tv_sec != f->stat.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->stat.st_mtim.tv_nsec);
}

bool io_dns_is_broken(const struct io_dns *d) { return d->broken; }

bool io_dns_is_stale(const struct io_dns *d) { return has_changed(&d->resolv_conf) || has_changed(&d->anchors); }

static bool use_server(struct io_dns *d, const char *server, struct err *err)
{
    struct io_address addresses[2];
    size_t            count;
    char              host[IO_ADDRESS_TEXT], text[IO_ADDRESS_TEXT + 8];
    int               status;

    if (!io_address_parse(str_from(server), addresses, 2, &count, NULL) || count != 1)
        return err_set(err, ERR_CONFIG, "dns server \"%s\": not ADDRESS:PORT", server);
    io_address_host(&addresses[0], host);
    snprintf(text, sizeof text, "%s@%u", host, io_address_port(&addresses[0]));
    status = ub_ctx_set_fwd(d->context, text);
    return status == 0 || err_set(err, ERR_CONFIG, "dns server \"%s\": %s", server, ub_strerror(status));
}

static bool use_system(struct io_dns *d, struct err *err)
{
    int status;

    note(&d->resolv_conf, RESOLV_CONF);
    status = ub_ctx_resolvconf(d->context, RESOLV_CONF);
    if (status == UB_READFILE) /* as the C library does */
        status = ub_ctx_set_fwd(d->context, "127.0.0.1");
    return status == 0 || err_set(err, ERR_CONFIG, "%s: %s; or name a resolver: dns { server = \"…\" }", RESOLV_CONF,
                                  ub_strerror(status));
}

static bool use_anchors(struct io_dns *d, const char *path, struct err *err)
{
    FILE *f;
    int   status;

    note(&d->anchors, path);
    f = fopen(path, "re");
    if (!f)
        return err_set(err, ERR_CONFIG,
                       "%s: the root's trust anchor cannot be read; install dns-root-data, or set dns { validate = "
                       "false }",
                       path);
    fclose(f);
    status = ub_ctx_add_ta_file(d->context, path);
    return status == 0 || err_set(err, ERR_CONFIG, "%s: %s", path, ub_strerror(status));
}

static bool begin(struct io_dns *d, const struct io_dns_options *o, struct err *err)
{
    bool named = o->server && *o->server;

    if (!set_sizes(d, o->cache ? o->cache : CACHE, err) || !set_patience(d, err) ||
        !set(d, "do-not-query-localhost:", "no", err) || !set(d, "unblock-lan-zones:", "yes", err) ||
        !set(d, "edns-buffer-size:", "1232", err))
        return false;
    if (o->validate ? !use_anchors(d, o->anchors ? o->anchors : ANCHORS, err)
                    : !set(d, "module-config:", "iterator", err))
        return false;
    if (named ? !use_server(d, o->server, err) : !use_system(d, err))
        return false;
    if (ub_ctx_async(d->context, 1) != 0 || ub_ctx_zone_remove(d->context, "test.") != 0)
        return err_set(err, ERR_TEMPORARY, "DNS: the resolver cannot be started");
    d->watch = io_watch_new(d->loop, ub_fd(d->context), ready, d, err);
    return d->watch && io_watch_want(d->watch, IO_READABLE, err);
}

struct io_dns *io_dns_new(struct io_loop *loop, const struct io_dns_options *options, struct err *err)
{
    struct io_dns *d = calloc(1, sizeof *d);

    if (!d) {
        err_set_os(err, ENOMEM, "DNS");
        return NULL;
    }
    d->loop = loop;
    d->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    list_init(&d->questions);
    d->context = ub_ctx_create();
    if (!d->context)
        err_set_os(err, ENOMEM, "DNS");
    if (d->context && begin(d, options, err))
        return d;
    io_dns_free(d);
    return NULL;
}

void io_dns_free(struct io_dns *d)
{
    struct list *link;

    if (!d)
        return;
    while ((link = list_first(&d->questions)))
        io_dns_cancel(LIST_ITEM(link, struct io_dns_question, link));
    io_watch_free(d->watch);
    ub_ctx_delete(d->context);
    free(d);
}
