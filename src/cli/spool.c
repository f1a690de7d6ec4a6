/* spool.c: tacit spool: looks at a lane of the spool without changing it, also beside a running server. */
#include "cli/control_client.h"

#include "queue/queue.h"
#include "spool/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRATCH_CHUNK = 64 << 10, SCRATCH_MAX = 256 << 20 };

struct bad_body {
    struct bad_body *next;
    uint64_t         id;
    struct err       err;
};
struct look {
    struct cli      *cli;
    bool             json, dump;
    struct arena     scratch;
    uint64_t         bad_records, bad_body_count;
    struct bad_body *bad_bodies;
};

static const char *type_name(uint8_t type)
{
    static const char *const names[] = {"?", "message", "progress", "expansion", "finished", "state"};

    return type < sizeof names / sizeof *names ? names[type] : "?";
}

static void print_json(json_t *row)
{
    cli_print_json(row);
    putchar('\n');
    json_decref(row);
}

static void on_segment(const struct verify_segment *s, void *arg)
{
    const struct look *l = arg;

    if (l->json)
        print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "segment", (json_int_t)s->seq, "size",
                             (json_int_t)s->file_size, "records", (json_int_t)s->records, "octets",
                             (json_int_t)s->octets, "damages", (json_int_t)s->damages, "head_ok", s->head_ok, "torn",
                             s->torn));
    else
        printf("segment %016llx  %9llu record%s  %12llu octets%s%s%s\n", (unsigned long long)s->seq,
               (unsigned long long)s->records, s->records == 1 ? " " : "s", (unsigned long long)s->octets,
               s->head_ok ? "" : "  head damaged", s->damages ? "  damaged" : "",
               s->torn ? "  ends in a torn record, which a crash left and is no loss" : "");
}

static void on_damage(const struct verify_damage *d, void *arg)
{
    const struct look *l = arg;

    if (l->json)
        print_json(json_pack("{s:I, s:I, s:I, s:s, s:s}", "damage", (json_int_t)d->from.seq, "from",
                             (json_int_t)d->from.offset, "to", (json_int_t)d->to, "what", d->what, "remedy",
                             d->remedy));
    else
        printf("%sdamage%s in %016llx at %u to %u: %s; %s\n", cli_colour(stdout, CLI_RED),
               cli_colour(stdout, CLI_PLAIN), (unsigned long long)d->from.seq, d->from.offset, d->to, d->what,
               d->remedy);
}

/* ---- large bodies ---- */

static void path_beside(const struct look *l, unsigned lane, const char *below, char *out, size_t size)
{
    snprintf(out, size, "%s/../lane-%02u%s%s", l->cli->argv[0], lane, *below ? "/body/" : "", below);
}

/* Whether it matters is known when the walk is over: the body of a message that is finished is gone. */
static void body_check(struct look *l, const struct message *m)
{
    char            path[PATH_MAX], name[MESSAGE_ID_TEXT + 1];
    struct bad_body bad = {.next = l->bad_bodies, .id = m->id}, *b;
    int             fd;
    bool            ok;

    message_id_text(m->id, name);
    path_beside(l, message_id_lane(m->id), name, path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ok = fd >= 0 ? lane_body_check(path, fd, m->size, m->external_xxh3, &bad.err)
                 : err_set_os(&bad.err, errno, "body %s", path);
    if (fd >= 0)
        close(fd);
    if (ok || !(b = malloc(sizeof *b)))
        return;
    *b = bad;
    l->bad_bodies = b;
}

static void on_finished(const struct lane_record *r, void *arg)
{
    struct look *l = arg;
    uint64_t     id;

    if (r->type != RECORD_FINISHED || !finished_get(r->payload, &id))
        return;
    for (struct bad_body **at = &l->bad_bodies, *b; (b = *at);)
        if (b->id == id) {
            *at = b->next;
            free(b);
        } else {
            at = &b->next;
        }
}

static void tell_bodies(struct look *l)
{
    static const char remedy[] = "look at the disk, and restore the file from a backup, or give the message up: tacit "
                                 "queue remove";
    struct verify_calls calls = {.record = on_finished, .arg = l};
    struct verify_sum   sum;
    char                lane0[PATH_MAX];

    path_beside(l, 0, "", lane0, sizeof lane0);
    if (l->bad_bodies)
        lane_verify(lane0, false, &calls, &sum, NULL); /* where that lane is missing, nothing is known as finished */
    for (struct bad_body *b; (b = l->bad_bodies); l->bad_body_count++) {
        char id[MESSAGE_ID_TEXT + 1];

        message_id_text(b->id, id);
        if (l->json)
            print_json(json_pack("{s:s, s:s, s:s}", "body", id, "what", b->err.text, "remedy", remedy));
        else
            printf("%sdamage%s in the body of %s: %s; %s %s\n", cli_colour(stdout, CLI_RED),
                   cli_colour(stdout, CLI_PLAIN), id, b->err.text, remedy, id);
        l->bad_bodies = b->next;
        free(b);
    }
}

/* ---- records ---- */

/* What the record says, and the id it is about; false: its payload is not well-formed. */
static bool describe(struct look *l, const struct lane_record *r, uint64_t *ret_id, struct buf *out)
{
    struct message   m;
    struct progress  p;
    struct expansion e;
    struct str       name, value;

    *ret_id = 0;
    switch (r->type) {
    case RECORD_MESSAGE:
        if (!record_message_get(r->payload, &l->scratch, &m))
            return false;
        *ret_id = m.id;
        if (m.external && !l->dump)
            body_check(l, &m);
        buf_append_byte(out, '<');
        mail_address_format(&m.envelope.sender, out);
        buf_printf(out, "> %zu recipients %llu octets %s", m.envelope.recipient_count, (unsigned long long)m.size,
                   m.external ? "in a file" : "inline");
        return true;
    case RECORD_PROGRESS:
        if (!progress_get(r->payload, &l->scratch, &p))
            return false;
        *ret_id = p.id;
        for (size_t i = 0; i < p.recipient_count; i++)
            buf_printf(out, "%s%s", i ? " " : "", recipient_state_name(p.recipients[i].state));
        if (p.via.len)
            buf_printf(out, " via %.*s", STR_ARG(p.via));
        return true;
    case RECORD_EXPANSION:
        if (!expansion_get(r->payload, &l->scratch, &e))
            return false;
        *ret_id = e.id;
        buf_printf(out, "recipient %u becomes %zu", e.parent, e.target_count);
        return true;
    case RECORD_FINISHED:
        return finished_get(r->payload, ret_id);
    case RECORD_STATE:
        if (!state_get(r->payload, &name, &value))
            return false;
        buf_append(out, name);
        buf_append_byte(out, '=');
        buf_append(out, value);
        return true;
    default:
        return false;
    }
}

static void on_record(const struct lane_record *r, void *arg)
{
    struct look *l = arg;
    struct buf   text;
    uint64_t     id;
    char         id_text[MESSAGE_ID_TEXT + 1] = "-";
    bool         ok;

    buf_init(&text, 1 << 20);
    ok = describe(l, r, &id, &text);
    l->bad_records += !ok;
    if (id)
        message_id_text(id, id_text);
    if (!ok && !l->json)
        printf("%srecord%s in %016llx at %u is not one of the queue\n", cli_colour(stdout, CLI_RED),
               cli_colour(stdout, CLI_PLAIN), (unsigned long long)r->place.seq, r->place.offset);
    if (l->dump && l->json) {
        print_json(json_pack("{s:I, s:I, s:s, s:s, s:b, s:I, s:b, s:s%}", "segment", (json_int_t)r->place.seq, "offset",
                             (json_int_t)r->place.offset, "type", type_name(r->type), "id", id_text, "more", r->more,
                             "octets", (json_int_t)r->payload.len, "ok", ok, "text",
                             str_is_utf8(buf_str(&text)) && text.data ? text.data : "",
                             str_is_utf8(buf_str(&text)) ? text.len : (size_t)0));
    } else if (l->dump) {
        printf("%016llx:%-10u %c %-9s %s %8zu  ", (unsigned long long)r->place.seq, r->place.offset,
               r->more ? '+' : ' ', type_name(r->type), id_text, r->payload.len);
        cli_print_safe(stdout, buf_str(&text));
        putchar('\n');
    }
    buf_done(&text);
    arena_reset(&l->scratch);
}

/* Every lane has its lock (spool/lane.h); another directory would look like a lane with nothing in it. */
static bool is_lane(const struct cli *cli)
{
    char        path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/lock", cli->argv[0]);
    if (stat(cli->argv[0], &st) != 0 || access(path, F_OK) == 0 || errno != ENOENT)
        return true; /* or what is wrong will be said better by whoever opens it */
    cli_fail(cli, "%s is not a lane of the spool; one is, for instance, data/spool/lane-01", cli->argv[0]);
    return false;
}

static void print_count(const char *before, uint64_t count, const char *what)
{
    printf("%s%llu %s%s", before, (unsigned long long)count, what, count == 1 ? "" : "s");
}

static void print_sum(const struct verify_sum *sum, const struct look *l)
{
    print_count("", sum->segments, "segment");
    print_count(", ", sum->records, "record");
    print_count(", ", sum->octets, "octet");
    if (sum->damages)
        print_count(", ", sum->damages, "damaged place");
    if (l->bad_body_count)
        printf(", %llu damaged bod%s", (unsigned long long)l->bad_body_count, l->bad_body_count == 1 ? "y" : "ies");
    if (l->bad_records)
        printf(", %llu of the records not the queue's", (unsigned long long)l->bad_records);
    puts(sum->damages || l->bad_body_count || l->bad_records ? "" : "; nothing is damaged");
}

static int look(struct cli *cli, bool dump)
{
    struct look         l = {.cli = cli, .json = cli_has(cli, "json"), .dump = dump};
    struct verify_calls calls = {
        .segment = dump ? NULL : on_segment, .damage = on_damage, .record = on_record, .arg = &l};
    struct verify_sum sum;
    struct err        err;
    bool              ok;

    if (!is_lane(cli))
        return CLI_FAILED;
    arena_init(&l.scratch, SCRATCH_CHUNK, SCRATCH_MAX);
    ok = lane_verify(cli->argv[0], false, &calls, &sum, &err);
    arena_done(&l.scratch);
    tell_bodies(&l);
    if (!ok)
        return cli_fail_err(cli, &err);
    if (!dump && !l.json)
        print_sum(&sum, &l);
    return sum.damages || l.bad_body_count || l.bad_records ? CLI_FAILED : CLI_OK;
}

static int run_verify(struct cli *cli) { return look(cli, false); }
static int run_dump(struct cli *cli) { return look(cli, true); }

static const struct cli_option options[] = {CLI_OPTION_JSON, {0}};

static const struct cli_command verify_command = {
    .name = "verify",
    .arguments = "LANE-DIRECTORY",
    .min = 1,
    .max = 1,
    .summary = "checks every record of a lane, and its large messages",
    .description =
        "Reads the lane without changing it, also beside a running server, and says for each segment what is in "
        "it, and what is damaged there or in the files of large messages. Exit status 1: something is damaged.",
    .examples = "tacit spool verify /var/lib/tacit/spool/lane-01",
    .options = options,
    .run = run_verify};
static const struct cli_command        dump_command = {.name = "dump",
                                                       .arguments = "LANE-DIRECTORY",
                                                       .min = 1,
                                                       .max = 1,
                                                       .summary = "shows every record of a lane",
                                                       .description =
                                                           "One line for each record, in order: place, whether the next "
                                                                  "belongs to it (+), type, id, octets, and what it says.",
                                                       .examples = "tacit spool dump /var/lib/tacit/spool/lane-00",
                                                       .options = options,
                                                       .run = run_dump};
static const struct cli_command *const subs[] = {&verify_command, &dump_command, NULL};

const struct cli_command spool_command = {
    .name = "spool",
    .summary = "checks and shows the lanes of the spool",
    .description =
        "A lane is a directory data/spool/lane-NN; lane-00 is written by the process that delivers, the others by "
        "those that receive. The format is in doc/spool-format.md.",
    .examples = "tacit spool verify /var/lib/tacit/spool/lane-01",
    .subs = subs};
