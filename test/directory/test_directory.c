/* test_directory.c: one body of tests for every kind of directory. */
#include "files.h"

#include "directory/directory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    const char       *spec; /* in front of the path */
    char              base[64], full[96];
    struct directory *d;
    struct arena      arena;
    struct err        err;
};

static const char *temporary(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    p->spec = *state;
    snprintf(p->base, sizeof p->base, "%s/tacit-directory-XXXXXX", temporary());
    assert_non_null(mkdtemp(p->base));
    snprintf(p->full, sizeof p->full, "%s/users", p->base);
    p->d = directory_open(p->spec, p->base, DIRECTORY_CREATE, &p->err);
    if (!p->d)
        fail_msg("%s", p->err.text);
    arena_init(&p->arena, 4096, 4 << 20);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    directory_close(p->d);
    arena_done(&p->arena);
    assert_true(files_remove(p->base));
    free(p);
    return 0;
}

static bool is_sqlite(const struct place *p) { return p->spec[0] == 's'; }

static struct mail_address parse(struct place *p, const char *text)
{
    struct mail_address a;

    if (!mail_address_parse(str_from(text), true, &p->arena, &a, NULL))
        fail_msg("%s", text);
    return a;
}

static struct directory_entry mailbox(struct place *p, const char *text)
{
    struct mail_address a = parse(p, text);

    return (struct directory_entry){.kind = ENTRY_MAILBOX, .local = a.local, .domain = a.domain};
}

static void must(struct place *p, bool ok)
{
    if (!ok)
        fail_msg("%s", p->err.text);
}

static void add(struct place *p, const char *text)
{
    struct directory_entry e = mailbox(p, text);

    must(p, directory_add(p->d, &e, &p->err));
}

static void add_alias(struct place *p, const char *text, const char *target)
{
    struct directory_entry e = mailbox(p, text);
    struct str             to = str_from(target);

    e.kind = ENTRY_ALIAS;
    e.targets = &to;
    e.target_count = 1;
    must(p, directory_add(p->d, &e, &p->err));
}

static enum directory_find find(struct place *p, const char *text, struct directory_entry *ret_entry)
{
    struct mail_address a = parse(p, text);

    return directory_find(p->d, &a, '+', &p->arena, ret_entry, &p->err);
}

static void assert_str(struct str s, const char *z)
{
    if (!str_eq(s, str_from(z)))
        fail_msg("\"%.*s\" is not \"%s\"", STR_ARG(s), z);
}

static void assert_finds(struct place *p, const char *text, const char *local)
{
    struct directory_entry e;

    assert_int_equal(find(p, text, &e), DIRECTORY_FOUND);
    assert_str(e.local, local);
}

static void assert_absent(struct place *p, const char *text)
{
    struct directory_entry e;

    assert_int_equal(find(p, text, &e), DIRECTORY_ABSENT);
}

static void test_keeps_every_field(void **state)
{
    struct place          *p = *state;
    struct str             members[] = {STR("bob@example.test"), STR("\"a b\"@other.test"), STR("x=y@other.test")};
    struct directory_entry list = mailbox(p, "Staff.All@example.test"), got;

    list.kind = ENTRY_LIST;
    list.targets = members;
    list.target_count = 3;
    list.owner = STR("owner=me@example.test");
    list.closed = list.show_members = list.disabled = true;
    must(p, directory_add(p->d, &list, &p->err));
    assert_int_equal(find(p, "staff.all@example.test", &got), DIRECTORY_FOUND);
    assert_int_equal(got.kind, ENTRY_LIST);
    assert_str(got.local, "Staff.All");
    assert_str(got.domain, "example.test");
    assert_true(got.closed && got.show_members && got.disabled);
    assert_int_equal(got.target_count, 3);
    assert_str(got.targets[0], "bob@example.test");
    assert_str(got.targets[1], "\"a b\"@other.test");
    assert_str(got.targets[2], "x=y@other.test");
    assert_true(str_ends(got.owner, STR("@example.test")));

    struct directory_entry box = mailbox(p, "quota@example.test");
    box.quota = UINT64_C(5) << 40;
    box.password = STR("$y$j9T$abc$def");
    must(p, directory_add(p->d, &box, &p->err));
    assert_int_equal(find(p, "quota@example.test", &got), DIRECTORY_FOUND);
    assert_int_equal(got.quota, UINT64_C(5) << 40);
    assert_str(got.password, "$y$j9T$abc$def");
    assert_false(got.closed || got.show_members || got.disabled || got.implied);

    struct str             to = STR("new@elsewhere.test");
    struct directory_entry moved = mailbox(p, "moved@example.test");
    moved.kind = ENTRY_MOVED;
    moved.moved = MOVED_551;
    moved.targets = &to;
    moved.target_count = 1;
    must(p, directory_add(p->d, &moved, &p->err));
    assert_int_equal(find(p, "moved@example.test", &got), DIRECTORY_FOUND);
    assert_int_equal(got.kind, ENTRY_MOVED);
    assert_int_equal(got.moved, MOVED_551);
    assert_str(got.targets[0], "new@elsewhere.test");

    /* what one process wrote another reads, and after a restart it is still there */
    directory_close(p->d);
    p->d = directory_open(p->spec, p->base, 0, &p->err);
    assert_non_null(p->d);
    assert_finds(p, "STAFF.all@EXAMPLE.test", "Staff.All");
}

static void test_names_by_key(void **state)
{
    struct place *p = *state;

    add(p, "Alice@example.test");
    assert_finds(p, "alice@example.test", "Alice");
    assert_finds(p, "ALICE@Example.TEST", "Alice");
    assert_finds(p, "\"alice\"@example.test", "Alice");
    assert_finds(p, "alice+shop@example.test", "Alice");
    assert_finds(p, "ALICE+@example.test", "Alice");
    assert_finds(p, "alice+a+b@example.test", "Alice");
    assert_absent(p, "+alice@example.test");
    assert_absent(p, "alic@example.test");
    assert_absent(p, "alicee@example.test");
    assert_absent(p, "alice@other.test");
    assert_absent(p, "alice-shop@example.test");
    assert_absent(p, "\"alice \"@example.test");
    assert_absent(p, "\"alice' OR 1=1 --\"@example.test");
    assert_absent(p, "%@example.test");

    add(p, "alice+shop@example.test"); /* an entry of its own comes before the tag's mailbox */
    assert_finds(p, "Alice+Shop@example.test", "alice+shop");
    assert_finds(p, "alice+other@example.test", "Alice");

    struct mail_address    tagged = parse(p, "alice+x@example.test");
    struct directory_entry e;
    assert_int_equal(directory_find(p->d, &tagged, 0, &p->arena, &e, &p->err), DIRECTORY_ABSENT);
}

static void test_unicode_names(void **state)
{
    struct place *p = *state;

    add(p, "J\xc3\xbcrgen@example.test");
    assert_finds(p, "j\xc3\xbcrgen@example.test", "J\xc3\xbcrgen");
    assert_finds(p, "J\xc3\x9cRGEN@example.test", "J\xc3\xbcrgen");
    assert_finds(p, "ju\xcc\x88rgen@example.test", "J\xc3\xbcrgen"); /* u and a combining diaeresis */
    assert_finds(p, "j\xc3\xbcrgen+tag@example.test", "J\xc3\xbcrgen");
    assert_absent(p, "jurgen@example.test");
    add(p, "a@b\xc3\xbc"
           "cher.test");
    assert_finds(p, "A@xn--bcher-kva.test", "a");
}

static void test_refuses_what_exists_and_what_does_not(void **state)
{
    struct place          *p = *state;
    struct directory_entry e = mailbox(p, "alice@example.test"), again = mailbox(p, "ALICE@example.test");
    struct directory_entry other = mailbox(p, "nobody@example.test");

    must(p, directory_add(p->d, &e, &p->err));
    assert_false(directory_add(p->d, &again, &p->err));
    assert_int_equal(p->err.class, ERR_PERMANENT);
    assert_non_null(strstr(p->err.text, "exists"));
    assert_false(directory_update(p->d, &other, &p->err));
    assert_int_equal(p->err.class, ERR_PERMANENT);
    assert_false(directory_remove(p->d, other.local, other.domain, &p->err));
    assert_int_equal(p->err.class, ERR_PERMANENT);

    again.disabled = true;
    again.quota = 1000;
    must(p, directory_update(p->d, &again, &p->err));
    assert_int_equal(find(p, "alice@example.test", &e), DIRECTORY_FOUND);
    assert_true(e.disabled && e.quota == 1000);
    assert_str(e.local, "alice"); /* as it was created */
    must(p, directory_remove(p->d, STR("aLICE"), STR("example.test"), &p->err));
    assert_absent(p, "alice@example.test");
    assert_false(directory_remove(p->d, STR("alice"), STR("example.test"), &p->err));
    add(p, "alice@example.test");
}

static void test_refuses_bad_entries(void **state)
{
    struct place                *p = *state;
    struct str                   bad_target = STR("not an address"), good = STR("a@b.test"), none = STR_NONE;
    struct str                   many[DIRECTORY_TARGETS_MAX + 1], d = STR("example.test");
    struct directory_entry       e;
    const struct directory_entry bad[] = {
        {.local = STR_NONE, .domain = d},
        {.local = STR("a\nb mailbox"), .domain = d},
        {.local = STR("a\0b"), .domain = d},
        {.local = STR("\xff\xfe"), .domain = d},
        {.local = STR("x"), .domain = STR("EXAMPLE test")},
        {.local = STR("x"), .domain = STR_NONE},
        {.local = STR("01234567890123456789012345678901234567890123456789012345678901234"), .domain = d},
        {.local = STR("*"), .domain = d},
        {.kind = ENTRY_ALIAS, .local = STR("x"), .domain = d},
        {.kind = ENTRY_ALIAS, .local = STR("x"), .domain = d, .targets = &bad_target, .target_count = 1},
        {.kind = ENTRY_ALIAS, .local = STR("x"), .domain = d, .targets = &none, .target_count = 1},
        {.kind = ENTRY_MAILBOX, .local = STR("x"), .domain = d, .targets = &good, .target_count = 1},
        {.kind = ENTRY_MOVED, .local = STR("x"), .domain = d, .moved = MOVED_251},
        {.kind = ENTRY_LIST, .local = STR("x"), .domain = d, .owner = STR("nobody")},
        {.local = STR("x"), .domain = d, .quota = UINT64_MAX},
        {.local = STR("x"), .domain = d, .password = STR("has a blank")},
        {.local = STR("x"), .domain = d, .password = STR("has\na line")},
        {.kind = ENTRY_LIST,
         .local = STR("x"),
         .domain = d,
         .targets = many,
         .target_count = DIRECTORY_TARGETS_MAX + 1},
    };

    for (size_t i = 0; i < DIRECTORY_TARGETS_MAX + 1; i++)
        many[i] = good;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        p->err = (struct err){0};
        if (directory_add(p->d, &bad[i], &p->err))
            fail_msg("entry %zu was taken", i);
        assert_true(p->err.class != ERR_NONE && p->err.text[0]);
    }
    assert_absent(p, "x@example.test");

    /* as many as are allowed come back */
    e = (struct directory_entry){.kind = ENTRY_LIST,
                                 .local = STR("big"),
                                 .domain = STR("example.test"),
                                 .targets = many,
                                 .target_count = DIRECTORY_TARGETS_MAX};
    must(p, directory_add(p->d, &e, &p->err));
    assert_int_equal(find(p, "big@example.test", &e), DIRECTORY_FOUND);
    assert_int_equal(e.target_count, DIRECTORY_TARGETS_MAX);
    assert_str(e.targets[DIRECTORY_TARGETS_MAX - 1], "a@b.test");

    /* an arena that is too small is a failure, not an absence */
    struct arena        small;
    struct mail_address a = parse(p, "big@example.test");
    arena_init(&small, 512, 512);
    assert_int_equal(directory_find(p->d, &a, '+', &small, &e, &p->err), DIRECTORY_FAILED);
    assert_int_equal(p->err.class, ERR_LIMIT);
    arena_done(&small);
}

static void test_catch_all_and_reserved_names(void **state)
{
    struct place          *p = *state;
    struct directory_entry e;

    assert_int_equal(find(p, "Postmaster@example.test", &e), DIRECTORY_FOUND);
    assert_true(e.implied && e.kind == ENTRY_MAILBOX);
    assert_str(e.local, "postmaster");
    assert_int_equal(find(p, "ABUSE+x@example.test", &e), DIRECTORY_FOUND);
    assert_true(e.implied);
    assert_absent(p, "postmasters@example.test");

    add_alias(p, "*@example.test", "alice@example.test");
    add(p, "alice@example.test");
    assert_finds(p, "alice@example.test", "alice");
    assert_finds(p, "alice+tag@example.test", "alice");
    assert_finds(p, "whoever@example.test", "*");
    assert_finds(p, "postmaster@example.test", "*");
    assert_absent(p, "whoever@other.test");

    add(p, "postmaster@example.test");
    assert_int_equal(find(p, "postmaster@example.test", &e), DIRECTORY_FOUND);
    assert_false(e.implied);
    assert_str(e.local, "postmaster");
    assert_true(directory_name_is_reserved(STR("POSTmaster"), '+') && directory_name_is_reserved(STR("abuse-x"), '-'));
    assert_false(directory_name_is_reserved(STR("abuse-x"), '+') || directory_name_is_reserved(STR(""), '+'));

    struct str             local = STR("postmaster");
    struct directory_entry got;
    must(p, directory_remove(p->d, local, STR("example.test"), &p->err));
    assert_int_equal(directory_get(p->d, local, STR("example.test"), &p->arena, &got, &p->err), DIRECTORY_ABSENT);
}

struct seen {
    char   text[256];
    size_t count, stop;
};

static bool note(const struct directory_entry *e, void *arg)
{
    struct seen *s = arg;

    if (s->count < 10)
        snprintf(s->text + strlen(s->text), sizeof s->text - strlen(s->text), "%.*s@%.*s ", STR_ARG(e->local),
                 STR_ARG(e->domain));
    return ++s->count != s->stop;
}

static void test_each(void **state)
{
    struct place *p = *state;
    struct seen   all = {0}, one = {0}, two = {.stop = 2}, none = {0};

    add(p, "Zoe@b.test");
    add(p, "bob@a.test");
    add(p, "Alice@b.test");
    add_alias(p, "*@a.test", "bob@a.test");
    must(p, directory_each(p->d, STR_NONE, note, &all, &p->err));
    assert_string_equal(all.text, "*@a.test bob@a.test Alice@b.test Zoe@b.test ");
    must(p, directory_each(p->d, STR("b.test"), note, &one, &p->err));
    assert_string_equal(one.text, "Alice@b.test Zoe@b.test ");
    must(p, directory_each(p->d, STR_NONE, note, &two, &p->err));
    assert_int_equal(two.count, 2);
    must(p, directory_each(p->d, STR("c.test"), note, &none, &p->err));
    assert_int_equal(none.count, 0);
    add(p, "after@a.test"); /* a listing that was stopped leaves no lock behind */
}

enum { WRITERS = 4, EACH_WRITES = 12 };

/* Processes change one directory at once while this one reads: nothing is lost, and each is seen when it is done. */
static void test_changes_by_other_processes(void **state)
{
    struct place *p = *state;
    int           reports[2];
    pid_t         children[WRITERS];
    char          done;

    assert_absent(p, "w0.0@example.test");
    assert_int_equal(pipe(reports), 0);
    for (int w = 0; w < WRITERS; w++) {
        children[w] = fork();
        if (children[w] == 0) {
            struct directory *d = directory_open(p->spec, p->base, 0, NULL);
            int               bad = !d;

            for (int i = 0; i < EACH_WRITES && !bad; i++) {
                char                   name[32];
                int                    len = snprintf(name, sizeof name, "w%d.%d", w, i);
                struct directory_entry e = {.local = str_of(name, (size_t)len), .domain = STR("example.test")};

                bad = !directory_add(d, &e, &p->err) || write(reports[1], &(char){(char)w}, 1) != 1;
            }
            if (bad)
                fprintf(stderr, "%s\n", p->err.text);
            directory_close(d);
            _exit(bad);
        }
    }
    close(reports[1]);
    int seen[WRITERS] = {0};
    while (read(reports[0], &done, 1) == 1) {
        char                   name[64];
        struct directory_entry e;

        snprintf(name, sizeof name, "w%d.%d@example.test", done, seen[(int)done]++);
        if (find(p, name, &e) != DIRECTORY_FOUND)
            fail_msg("%s was added but is not seen: %s", name, p->err.text);
        arena_reset(&p->arena);
    }
    close(reports[0]);
    for (int w = 0; w < WRITERS; w++) {
        int status;

        assert_int_equal(waitpid(children[w], &status, 0), children[w]);
        assert_int_equal(status, 0);
        assert_int_equal(seen[w], EACH_WRITES);
    }
    struct seen all = {0};
    must(p, directory_each(p->d, STR_NONE, note, &all, &p->err));
    assert_int_equal(all.count, WRITERS * EACH_WRITES);
}

static void test_ten_thousand(void **state)
{
    struct place *p = *state;
    enum { COUNT = 10000 };
    struct seen all = {0};

    if (is_sqlite(p)) {
        for (int i = 0; i < COUNT; i++) {
            char                   name[32];
            int                    len = snprintf(name, sizeof name, "user%d", i);
            struct directory_entry e = {.local = str_of(name, (size_t)len), .domain = STR("example.test")};

            must(p, directory_add(p->d, &e, &p->err));
        }
    } else {
        FILE           *f = fopen(p->full, "a");
        struct timespec long_ago[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};

        for (int i = 0; i < COUNT; i++)
            fprintf(f, "user%d@example.test mailbox\n", i);
        fclose(f);
        assert_int_equal(utimensat(AT_FDCWD, p->full, long_ago, 0), 0);
    }
    must(p, directory_each(p->d, STR_NONE, note, &all, &p->err));
    assert_int_equal(all.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char asked[64], local[32];

        snprintf(asked, sizeof asked, "USER%d+t@example.test", i);
        snprintf(local, sizeof local, "user%d", i);
        assert_finds(p, asked, local);
        arena_reset(&p->arena);
    }
    assert_absent(p, "user10000@example.test");
    add(p, "user10000@example.test");
    assert_finds(p, "user10000@example.test", "user10000");
}

static void overwrite(const char *path, off_t at, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

static void test_damage(void **state)
{
    struct place *p = *state;
    char          junk[4096];
    struct stat   st;

    for (int i = 0; i < 40; i++) {
        char name[64];

        snprintf(name, sizeof name, "user%d@example.test", i);
        add(p, name);
    }
    directory_close(p->d); /* the last one to close moves the log into the database */
    p->d = NULL;
    assert_int_equal(stat(p->full, &st), 0);
    memset(junk, 0xa5, sizeof junk);
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof junk)
        overwrite(p->full, at, junk, sizeof junk);
    p->d = directory_open(p->spec, p->base, DIRECTORY_CREATE, &p->err);
    assert_null(p->d);
    assert_true(p->err.class == ERR_PERMANENT || p->err.class == ERR_CONFIG);
    assert_non_null(strstr(p->err.text, p->full));
}

/* With SQLite's log and index beside it. */
static void move_files(const char *from, const char *to)
{
    static const char *const ends[] = {"", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char a[160], b[160];

        snprintf(a, sizeof a, "%s%s", from, ends[i]);
        snprintf(b, sizeof b, "%s%s", to, ends[i]);
        unlink(b);
        assert_true(rename(a, b) == 0 || i > 0);
    }
}

/* Damage that begins while it is open: the answer is a failure, never "absent", and it heals when the file does. */
static void test_damage_while_open(void **state)
{
    struct place          *p = *state;
    struct directory_entry e;
    char                   away[128];

    add(p, "alice@example.test");
    snprintf(away, sizeof away, "%s.away", p->full);
    move_files(p->full, away);
    p->err = (struct err){0};
    assert_int_equal(find(p, "alice@example.test", &e), DIRECTORY_FAILED);
    assert_non_null(strstr(p->err.text, p->full));
    assert_int_equal(find(p, "nobody@example.test", &e), DIRECTORY_FAILED);
    FILE *f = fopen(p->full, "w");
    fputs("this is neither a database nor a list of addresses, but long enough to be looked at as one: "
          "0123456789012345678901234567890123456789\n",
          f);
    fclose(f);
    assert_int_equal(find(p, "alice@example.test", &e), DIRECTORY_FAILED);
    assert_true(p->err.text[0]);
    e = mailbox(p, "bob@example.test");
    assert_false(directory_add(p->d, &e, &p->err));
    struct seen none = {0};
    assert_false(directory_each(p->d, STR_NONE, note, &none, &p->err));
    move_files(away, p->full);
    assert_finds(p, "alice@example.test", "alice");
    add(p, "bob@example.test");
}

static void test_specs(void **state)
{
    struct place            *p = *state;
    static const char *const bad[] = {"", "users", "sqlite", "sqlite:", "mysql:users", ":users"};
    char                     path[160];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(directory_open(bad[i], p->base, DIRECTORY_CREATE, &p->err));
        assert_int_equal(p->err.class, ERR_CONFIG);
    }
    snprintf(path, sizeof path, "%.*s:missing", is_sqlite(p) ? 6 : 4, p->spec);
    assert_null(directory_open(path, p->base, 0, &p->err));
    snprintf(path, sizeof path, "%.*s:%s/deeper/still/users", is_sqlite(p) ? 6 : 4, p->spec, p->base);
    struct directory *d = directory_open(path, "/nowhere", DIRECTORY_CREATE, &p->err);
    if (!d)
        fail_msg("%s", p->err.text);
    directory_close(d);
    struct stat st;
    snprintf(path, sizeof path, "%s/deeper/still/users", p->base);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0); /* it holds hashes of passwords */
}

static void test_passwords(void **state)
{
    char       hash[DIRECTORY_PASSWORD_MAX], other[DIRECTORY_PASSWORD_MAX], tiny[8];
    char       longest[600];
    struct err err;

    (void)state;
    assert_true(directory_password_hash(STR("correct horse"), hash, sizeof hash, &err));
    assert_true(str_starts(str_from(hash), STR("$y$")));
    assert_true(directory_password_check(STR("correct horse"), str_from(hash)));
    assert_false(directory_password_check(STR("correct horse "), str_from(hash)));
    assert_false(directory_password_check(STR(""), str_from(hash)));
    assert_false(directory_password_check(STR("correct horse\0x"), str_from(hash)));
    assert_true(directory_password_hash(STR("correct horse"), other, sizeof other, &err));
    assert_string_not_equal(hash, other); /* salted */
    assert_false(directory_password_hash(STR("x"), tiny, sizeof tiny, &err));
    assert_false(directory_password_hash(STR(""), hash, sizeof hash, &err));
    assert_false(directory_password_hash(STR("a\0b"), hash, sizeof hash, &err));
    memset(longest, 'x', sizeof longest);
    assert_false(directory_password_hash(str_of(longest, sizeof longest), hash, sizeof hash, &err));
    assert_false(directory_password_check(str_of(longest, sizeof longest), str_from(other)));
    /* nobody's password is right, whatever the "hash" says */
    assert_false(directory_password_check(STR("x"), STR("")));
    assert_false(directory_password_check(STR("x"), STR("x")));
    assert_false(directory_password_check(STR("*0"), STR("*0")));
    assert_false(directory_password_check(STR("x"), STR("$y$j9T$QbWJ1cm5hOq4yLkXr0uZe/$")));
    assert_true(directory_password_check(/* a hash of another kind that somebody brought along */
                                         STR("Hello world!"),
                                         STR("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5")));
}

#define BOTH(test)                                                                \
    {"sqlite: " #test, test, set_up, tear_down, (void *)(size_t) "sqlite:users"}, \
    {                                                                             \
        "file: " #test, test, set_up, tear_down, (void *)(size_t) "file:users"    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_keeps_every_field),
        BOTH(test_names_by_key),
        BOTH(test_unicode_names),
        BOTH(test_refuses_what_exists_and_what_does_not),
        BOTH(test_refuses_bad_entries),
        BOTH(test_catch_all_and_reserved_names),
        BOTH(test_each),
        BOTH(test_changes_by_other_processes),
        BOTH(test_ten_thousand),
        BOTH(test_damage),
        BOTH(test_damage_while_open),
        BOTH(test_specs),
        cmocka_unit_test(test_passwords),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
