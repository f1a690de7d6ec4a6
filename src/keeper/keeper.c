/* keeper.c: the keeper's process: its directories, its channels, its log.
 *
 * Questions are answered on the loop's own thread, one after the other. A look-up takes some ten microseconds from the
 * page cache; threads would cost more than they wait, and an order in which questions are answered that depends on who
 * exists would be a way to find out. A database that cannot be read within a quarter of a second is reported as failed
 * (directory/sqlite.c), so no question holds up the others for long. */
#include "keeper/internal.h"
#include "role/log.h"
#include "role/role.h"

#include "base/list.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ARENA_CHUNK = 16 << 10,
    ARENA_MAX = 16 << 20, /* octets for one question */
    COMPLAINTS_MS = 1000, /* at most one log line of a kind in this time */
    TICK_MS = 5000,
    START_OVER_MS = 2500, /* master takes six ends in ten seconds amiss */
};

/* ---- directories ----
 *
 * A directory that is missing is made only where the server has never run (it has no key yet): later it was lost, and
 * an empty one in its place would say of everybody that he does not exist. A keeper that takes the place of one that
 * ended starts with directories as they are: while they cannot be read it says so, to each question alike. */

static struct directory *directory_for(struct keeper *k, const char *spec, unsigned flags, struct err *err)
{
    struct keeper_directory *shared = k->directories;

    for (size_t i = 0; i < k->directory_count; i++, shared++)
        if (strcmp(shared->spec, spec) == 0)
            return shared->directory;
    *shared = (struct keeper_directory){spec, directory_open(spec, k->config->data, flags, err)};
    if (shared->directory)
        k->directory_count++;
    return shared->directory;
}

static bool domains_open(struct keeper *k, unsigned flags, struct err *err)
{
    const struct config *config = k->config;

    k->domains = calloc(config->domain_count + 1, sizeof *k->domains);
    k->directories = calloc(config->domain_count + 1, sizeof *k->directories);
    if (!k->domains || !k->directories)
        return err_set_os(err, ENOMEM, "keeper");
    for (size_t i = 0; i < config->domain_count; i++) {
        const struct config_domain *block = &config->domains[i];
        struct directory           *directory = directory_for(k, block->directory, flags, err);

        if (!directory)
            return err_prefix(err, "domain %s", block->title);
        k->domains[i].expansion = (struct expansion_domain){
            .directory = directory,
            .separator = block->separator[0],
            .quota = block->quota,
            .postmaster = str_from(block->postmaster),
        };
    }
    return true;
}

struct keeper *keeper_new(const struct config *config, bool patient, struct err *err)
{
    struct keeper *k = calloc(1, sizeof *k);
    struct arena   arena;
    const char    *key;
    unsigned       flags = patient ? DIRECTORY_PATIENT : 0;
    bool           ok;

    if (!k) {
        err_set_os(err, ENOMEM, "keeper");
        return NULL;
    }
    k->config = config;
    k->disclosure = (struct disclosure_config){
        .vrfy = (enum vrfy_mode)config->disclosure.vrfy,
        .strangers = (enum strangers_mode)config->disclosure.strangers,
        .rcpt_reply = config->disclosure.rcpt_reply == CONFIG_RCPT_252 ? 252 : 250,
    };
    arena_init(&arena, 8192, 8192);
    key = config_path(config->data, STR("keys/secret"), &arena).data;
    if (key && access(key, F_OK) != 0 && errno == ENOENT)
        flags = DIRECTORY_CREATE;
    ok = (key || err_set_os(err, ENOMEM, "keeper")) && domains_open(k, flags, err) && token_key_open(key, &k->key, err);
    arena_done(&arena);
    if (!ok) {
        keeper_free(k);
        return NULL;
    }
    k->contacts = keeper_contacts_open(config);
    return k;
}

void keeper_free(struct keeper *k)
{
    if (!k)
        return;
    keeper_contacts_close(k->contacts, NULL, NULL);
    for (size_t i = 0; i < k->directory_count; i++)
        directory_close(k->directories[i].directory);
    free(k->directories);
    free(k->domains);
    explicit_bzero(&k->key, sizeof k->key);
    free(k);
}

/* ---- the log, without letting an asker fill it ---- */

struct complaint {
    const char *what;
    uint64_t    last_ms; /* 0: never */
    uint64_t    unsaid;
};

static void complain(struct complaint *c, enum log_level level, uint64_t now_ms, const char *who, unsigned index,
                     const char *why)
{
    if (c->last_ms && now_ms - c->last_ms < COMPLAINTS_MS) {
        c->unsaid++;
        return;
    }
    if (c->unsaid)
        log_notice(level, "%s of %s %u: %s (and %llu before it)", c->what, who, index, why,
                   (unsigned long long)c->unsaid);
    else
        log_notice(level, "%s of %s %u: %s", c->what, who, index, why);
    c->last_ms = now_ms;
    c->unsaid = 0;
}

/* ---- the role ---- */

struct keeper_role {
    struct role_context *context;
    struct keeper       *keeper;
    struct list          peers;
    struct arena         arena;
    struct buf           out;
    struct complaint     refused, malformed, failed;
    struct io_timer     *tick;
    uint64_t             started_ms;
};

struct peer {
    struct list         link;
    struct keeper_role *owner;
    struct io_ipc      *channel;
    enum role           role;
    unsigned            index;
    struct list         lessons;
};

/* What back told, until it can be answered. */
struct lesson {
    struct list             link;
    struct peer            *peer;
    uint32_t                tag;
    struct keeper_learning *learning;
};

static void peer_free(struct peer *p)
{
    struct list *link;

    while ((link = list_first(&p->lessons))) {
        struct lesson *lesson = LIST_ITEM(link, struct lesson, link);

        keeper_learning_forsake(lesson->learning);
        list_remove(link);
        free(lesson);
    }
    io_ipc_free(p->channel);
    list_remove(&p->link);
    free(p);
}

static void peer_end(void *arg) { peer_free(arg); }

/* An answer that does not fit into a message names more than anybody can deliver to. */
static void send_answer(struct peer *p, const struct answer *answer)
{
    struct buf *out = &p->owner->out;

    buf_clear(out);
    if (!answer_put(answer, out)) {
        struct answer large = {.tag = answer->tag, .kind = answer->kind, .told = TOLD_EXISTS, .resolve = RESOLVE_LOOP};

        buf_clear(out);
        answer_put(&large, out);
    }
    io_ipc_send(p->channel, buf_str(out), -1);
}

static void learned(void *arg, bool remembered)
{
    struct lesson *lesson = arg;
    struct peer   *p = lesson->peer;
    struct answer  answer = {.tag = lesson->tag, .kind = ASK_LEARN, .yes = remembered, .resolve = RESOLVE_FAILED};

    list_remove(&lesson->link);
    free(lesson);
    send_answer(p, &answer);
}

/* False: it will not be remembered. */
static bool learn(struct peer *p, const struct ask *ask)
{
    struct keeper_role *r = p->owner;
    struct lesson      *lesson = calloc(1, sizeof *lesson);

    if (!lesson)
        return false;
    lesson->peer = p;
    lesson->tag = ask->tag;
    lesson->learning = keeper_contacts_learn(r->keeper->contacts, r->context->loop, ask->text, learned, lesson);
    if (!lesson->learning) {
        free(lesson);
        return false;
    }
    list_init(&lesson->link);
    list_push(&p->lessons, &lesson->link);
    return true;
}

/* A database that was put in place of another cannot be opened in here (role/confine.c), and a log beside it that
 * somebody removed cannot be made. Whoever asked asks the next keeper. */
static _Noreturn void start_over(const struct err *err)
{
    log_notice(LOG_LEVEL_WARNING, "%s; starts over to open it anew", err->text);
    log_flush();
    _exit(EXIT_FAILURE);
}

/* At once if no keeper ended before this one; later not over and over, for the next one may be no better off. */
static bool may_start_over(const struct keeper_role *r, uint64_t now_ms)
{
    return atomic_load(&r->context->slot->restarts) == 0 || now_ms - r->started_ms > START_OVER_MS;
}

static void peer_message(void *arg, struct str data, int fd)
{
    struct peer        *p = arg;
    struct keeper_role *r = p->owner;
    uint64_t            now_ms = io_loop_now_ms(r->context->loop) + 1;
    struct ask          ask;
    struct answer       answer;
    struct err          err = {0};

    if (fd >= 0)
        close(fd);
    arena_reset(&r->arena);
    if (!ask_get(data, &r->arena, &ask)) {
        complain(&r->malformed, LOG_LEVEL_WARNING, now_ms, role_name(p->role), p->index, "not a question");
        return;
    }
    switch (keeper_answer(r->keeper, &ask, p->role != ROLE_BACK, io_wall_ms(), &r->arena, &answer, &err)) {
    case KEEPER_ANSWERED:
        break;
    case KEEPER_REFUSED:
        complain(&r->refused, LOG_LEVEL_WARNING, now_ms, role_name(p->role), p->index, err.text);
        break;
    case KEEPER_FAILED:
        if (err.class == ERR_CONFIG && err.os_error == EACCES && may_start_over(r, now_ms))
            start_over(&err);
        complain(&r->failed, LOG_LEVEL_ERROR, now_ms, role_name(p->role), p->index, err.text);
        break;
    case KEEPER_LEARNS:
        if (learn(p, &ask))
            return;
        break;
    }
    count(COUNTER_questions_total, 1);
    send_answer(p, &answer);
}

static void keeper_peer(struct role_context *c, enum role role, unsigned index, int fd)
{
    static const struct io_ipc_ops ops = {peer_message, peer_end};
    struct keeper_role            *r = c->state;
    struct peer                   *p = calloc(1, sizeof *p);
    struct err                     err;

    LIST_EACH (link, &r->peers) {
        struct peer *old = LIST_ITEM(link, struct peer, link);

        if (old->role == role && old->index == index) {
            peer_free(old);
            break;
        }
    }
    if (!p) {
        close(fd);
        log_notice(LOG_LEVEL_ERROR, "no memory for the channel of %s %u", role_name(role), index);
        return;
    }
    *p = (struct peer){.owner = r, .role = role, .index = index};
    list_init(&p->link);
    list_init(&p->lessons);
    p->channel = io_ipc_new(c->loop, fd, &ops, p, &err);
    if (!p->channel) {
        log_notice(LOG_LEVEL_ERROR, "channel of %s %u: %s", role_name(role), index, err.text);
        free(p);
        return;
    }
    list_push(&r->peers, &p->link);
}

static void tick(void *arg)
{
    struct keeper_role *r = arg;

    keeper_contacts_tick(r->keeper->contacts, r->context->loop);
}

static bool keeper_start(struct role_context *c, struct err *err)
{
    static struct keeper_role self; /* one role for each process */

    self = (struct keeper_role){
        .context = c,
        .started_ms = io_loop_now_ms(c->loop),
        .refused = {.what = "refused a question"},
        .malformed = {.what = "refused a message"},
        .failed = {.what = "cannot answer a question"},
    };
    self.keeper = keeper_new(c->config, atomic_load(&c->slot->restarts) > 0, err);
    if (!self.keeper)
        return false;
    self.tick = io_timer_new(c->loop, tick, &self);
    if (!self.tick)
        return err_set_os(err, ENOMEM, "timer");
    io_timer_start(self.tick, TICK_MS, TICK_MS);
    list_init(&self.peers);
    arena_init(&self.arena, ARENA_CHUNK, ARENA_MAX);
    buf_init(&self.out, IPC_MESSAGE_MAX);
    c->state = &self;
    return true;
}

static void contacts_closed(void *arg)
{
    struct keeper_role *r = arg;

    r->keeper->contacts = NULL;
    keeper_free(r->keeper);
    r->keeper = NULL;
    role_drained(r->context);
}

/* Those who ask are drained before the keeper is; what they still wanted to know they will ask its successor. */
static void keeper_drain(struct role_context *c, uint64_t grace_ms)
{
    struct keeper_role *r = c->state;

    (void)grace_ms;
    while (!list_is_empty(&r->peers))
        peer_free(LIST_ITEM(list_first(&r->peers), struct peer, link));
    io_timer_free(r->tick);
    keeper_contacts_close(r->keeper->contacts, contacts_closed, r);
}

const struct role_ops keeper_ops = {.start = keeper_start, .peer = keeper_peer, .drain = keeper_drain};
