/* test_contacts.c: what is remembered of other servers' words, and what becomes of it when the database does not do. */
#include "faulty_vfs.h"
#include "files.h"

#include "directory/contacts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DAY = 24 * 3600 * 1000 };

static char                  base[64], path[80];
static struct arena          arena;
static struct err            err;
static struct contacts      *contacts;
static const uint64_t        now = UINT64_C(1790000000000);
static struct contacts_rules rules;

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "%s/tacit-contacts-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof path, "%s/contacts.db", base);
    arena_init(&arena, 4096, 4 << 20);
    rules = (struct contacts_rules){.keep_ms = 365ull * DAY, .max = 1000000};
    contacts = contacts_open(path, CONTACTS_CREATE, NULL, &err);
    if (!contacts)
        fail_msg("%s", err.text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    contacts_close(contacts);
    contacts = NULL;
    arena_done(&arena);
    return files_remove(base) ? 0 : -1;
}

static struct mail_address address(const char *text)
{
    struct mail_address a;

    if (text[0] == '@') /* a domain */
        return (struct mail_address){STR(""), str_from(text + 1), false};
    assert_true(mail_address_parse(str_from(text), true, &arena, &a, NULL));
    return a;
}

static struct contact said(const char *text, enum contact_outcome outcome, uint64_t when)
{
    return (struct contact){
        .address = address(text), .outcome = outcome, .last_ms = when, .code = 250, .host = STR("mx.example.net")};
}

static bool learn_all(const struct contact *list, size_t count, uint64_t when, bool *ret_more)
{
    return contacts_learn(contacts, list, count, &rules, when, ret_more, &err);
}

static void learn(struct contact c)
{
    bool more;

    if (!learn_all(&c, 1, c.last_ms, &more))
        fail_msg("%s", err.text);
}

static enum contact_outcome known(const char *text, struct contact *ret_contact)
{
    struct mail_address a = address(text);
    struct contact      c = {.outcome = CONTACT_UNKNOWN};

    switch (contacts_find(contacts, &a, 0, &arena, &c, &err)) {
    case CONTACTS_FOUND:
        assert_int_not_equal(c.outcome, CONTACT_UNKNOWN);
        break;
    case CONTACTS_ABSENT:
        assert_int_equal(c.outcome, CONTACT_UNKNOWN);
        break;
    case CONTACTS_FAILED:
        fail_msg("%s", err.text);
    }
    if (ret_contact)
        *ret_contact = c;
    return c.outcome;
}

static bool count_one(const struct contact *c, void *arg)
{
    (void)c;
    ++*(size_t *)arg;
    return true;
}

static size_t count_of(const struct contacts_filter *filter)
{
    size_t count = 0;

    assert_true(contacts_each(contacts, filter, count_one, &count, &err));
    return count;
}

/* ---- what is remembered ---- */

static void test_the_last_word_counts(void **state)
{
    struct contact c = said("Ann@example.net", CONTACT_NO_MAILBOX, now), k;

    (void)state;
    c.code = 550;
    strcpy(c.status, "5.1.1");
    c.text = STR("No such user");
    learn(c);
    assert_int_equal(known("ann@EXAMPLE.net", &k), CONTACT_NO_MAILBOX);
    assert_true(k.code == 550 && str_eq(k.text, STR("No such user")) && str_eq(k.host, STR("mx.example.net")));
    assert_string_equal(k.status, "5.1.1");
    assert_true(k.first_ms == now && k.last_ms == now && !k.delivered_ms && str_eq(k.address.local, STR("Ann")));
    c.last_ms = now + 5;
    learn(c);
    known("ann@example.net", &k);
    assert_true(k.first_ms == now && k.last_ms == now + 5);
    learn(said("ann@example.net", CONTACT_DELIVERED, now + 9));
    assert_int_equal(known("ann@example.net", &k), CONTACT_DELIVERED);
    assert_true(k.first_ms == now + 9 && k.delivered_ms == now + 9 && k.text.len == 0);
    c = said("ann@example.net", CONTACT_MOVED, now + 20);
    c.moved_to = address("\"a b\"@new.example");
    learn(c);
    known("ann@example.net", &k);
    assert_true(mail_address_eq(&k.moved_to, &c.moved_to) && k.delivered_ms == now + 9 && k.first_ms == now + 20);
    assert_int_equal(known("bob@example.net", NULL), CONTACT_UNKNOWN);
}

/* That all is well is written once in a day; that it is not well any more, at once. */
static void test_usual_news(void **state)
{
    struct contact k;

    (void)state;
    learn(said("a@example.net", CONTACT_DELIVERED, now));
    learn(said("a@example.net", CONTACT_DELIVERED, now + DAY - 1));
    known("a@example.net", &k);
    assert_true(k.last_ms == now);
    learn(said("a@example.net", CONTACT_DELIVERED, now + DAY));
    known("a@example.net", &k);
    assert_true(k.last_ms == now + DAY && k.first_ms == now);
    learn(said("a@example.net", CONTACT_FULL, now + DAY + 1));
    assert_int_equal(known("a@example.net", NULL), CONTACT_FULL);
}

static void test_domains(void **state)
{
    struct mail_address a = address("x@example.net");
    struct contact      k;

    (void)state;
    learn(said("a@example.net", CONTACT_DELIVERED, now));
    learn(said("@example.net", CONTACT_NO_MAIL, now + 1));
    assert_int_equal(known("a@example.net", &k), CONTACT_NO_MAIL);
    assert_true(!k.address.local.len && str_eq(k.address.domain, STR("example.net")));
    assert_int_equal(known("x@example.net", NULL), CONTACT_NO_MAIL);
    assert_int_equal(known("x@sub.example.net", NULL), CONTACT_UNKNOWN);
    assert_int_equal(contacts_find(contacts, &a, now + 2, &arena, &k, &err), CONTACTS_ABSENT); /* too long ago */
    learn(said("b@example.net", CONTACT_NO_MAILBOX, now + 2)); /* there is a server, whatever it says */
    assert_int_equal(known("a@example.net", NULL), CONTACT_DELIVERED);
    assert_int_equal(known("x@example.net", NULL), CONTACT_UNKNOWN);
    learn(said("@example.net", CONTACT_NO_MAIL, now + 3));
    learn(said("a@example.net", CONTACT_DELIVERED, now + 4)); /* usual news, and no row of its own is written */
    assert_int_equal(known("x@example.net", NULL), CONTACT_UNKNOWN);
}

static void test_listings(void **state)
{
    static struct contact  list[1000];
    struct contacts_filter filter = {.since_ms = 0};
    char                   text[40];
    bool                   more;

    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "u%zu@d%zu.example", i, i % 3);
        list[i] = said(arena_str(&arena, str_from(text)).data, i % 10 ? CONTACT_DELIVERED : CONTACT_MOVED, now + i);
    }
    assert_true(learn_all(list, 1000, now, &more));
    assert_int_equal(count_of(&filter), 1000); /* some pages of them, each once */
    filter.outcome = CONTACT_MOVED;
    assert_int_equal(count_of(&filter), 100);
    filter.since_ms = now + 500;
    assert_int_equal(count_of(&filter), 50);
    filter = (struct contacts_filter){.domain = STR("d1.example")};
    assert_int_equal(count_of(&filter), 333);
    filter.domain = STR("d.example");
    assert_int_equal(count_of(&filter), 0);
}

/* ---- what is forgotten ---- */

static void test_old_ones_go(void **state)
{
    struct contacts_filter all = {.since_ms = 0};
    static struct contact  list[2000];
    char                   text[40];
    bool                   more;

    (void)state;
    rules.max = 500;
    for (size_t i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "u%zu@example.net", i);
        list[i] = said(arena_str(&arena, str_from(text)).data, CONTACT_DELIVERED, now + i);
    }
    assert_true(learn_all(list, 2000, now, &more));
    assert_false(more); /* as many go as came */
    assert_int_equal(count_of(&all), 500);
    assert_int_equal(known("u1499@example.net", NULL), CONTACT_UNKNOWN);
    assert_int_equal(known("u1500@example.net", NULL), CONTACT_DELIVERED);
    learn(said("u1500@example.net", CONTACT_FULL, now + 3000)); /* the newest of all now */
    learn(said("fresh@example.net", CONTACT_FULL, now + 3000));
    assert_int_equal(known("u1500@example.net", NULL), CONTACT_FULL);
    assert_int_equal(known("u1501@example.net", NULL), CONTACT_UNKNOWN);
    rules.max = 10; /* a smaller setting: in pieces */
    assert_true(learn_all(NULL, 0, now, &more));
    assert_true(more);
    while (more)
        assert_true(learn_all(NULL, 0, now, &more));
    assert_int_equal(count_of(&all), 10);
    rules.keep_ms = 5;
    assert_true(learn_all(NULL, 0, now + 3005, &more)); /* these two were said at 3000 */
    assert_int_equal(count_of(&all), 2);
    assert_true(learn_all(NULL, 0, now + 3006, &more));
    assert_int_equal(count_of(&all), 0);
}

/* Whoever else changes it, the count is right again. */
static void test_forgetting_by_another(void **state)
{
    struct contacts    *other = contacts_open(path, 0, NULL, &err);
    struct mail_address one = address("U7@example.net"), domain = address("@example.net");
    uint64_t            count;
    char                text[40];

    (void)state;
    rules.max = 20;
    for (size_t i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "u%zu@example.net", i);
        learn(said(text, CONTACT_DELIVERED, now + i));
    }
    assert_true(contacts_forget(other, &one, &count, &err) && count == 1);
    assert_true(contacts_forget(other, &one, &count, &err) && count == 0);
    learn(said("v@example.net", CONTACT_DELIVERED, now + 50));
    assert_int_equal(known("u0@example.net", NULL), CONTACT_DELIVERED); /* there was room */
    assert_true(contacts_forget(other, &domain, &count, &err) && count == 20);
    assert_int_equal(known("u0@example.net", NULL), CONTACT_UNKNOWN);
    contacts_close(other);
}

/* What was forgotten is in none of the files. */
static void test_forgotten_is_overwritten(void **state)
{
    struct mail_address a = address("secret-name@example.net");
    uint64_t            count;
    char                command[160];

    (void)state;
    learn(said("secret-name@example.net", CONTACT_NO_MAILBOX, now));
    snprintf(command, sizeof command, "grep -rqa secret-name '%s'", base);
    assert_int_equal(system(command), 0);
    assert_true(contacts_forget(contacts, &a, &count, &err) && count == 1);
    assert_int_not_equal(system(command), 0);
}

/* ---- what fails ---- */

static void overwrite(off_t from, size_t len)
{
    char *garbage = malloc(len);
    int   fd = open(path, O_WRONLY);

    memset(garbage, 0x5a, len);
    assert_int_equal(pwrite(fd, garbage, len, from), len);
    close(fd);
    free(garbage);
}

static void reopen(unsigned flags, bool *ret_mended)
{
    contacts_close(contacts);
    contacts = contacts_open(path, flags, ret_mended, &err);
}

static void test_damage(void **state)
{
    char damaged[100];
    bool mended, more;

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        char text[40];

        snprintf(text, sizeof text, "u%u@example.net", i);
        learn(said(text, CONTACT_NO_MAILBOX, now + i));
    }
    reopen(0, &mended);
    assert_non_null(contacts);
    contacts_close(contacts);
    overwrite(4096, 200000); /* all but the first page, so it is not seen when it is opened */
    contacts = contacts_open(path, 0, NULL, &err);
    assert_non_null(contacts);
    struct contact c = said("new@example.net", CONTACT_FULL, now);
    assert_false(learn_all(&c, 1, now, &more));
    assert_true(contacts_is_damaged(contacts));
    assert_int_equal(err.class, ERR_PERMANENT);
    reopen(CONTACTS_READ, NULL); /* but it left a mark */
    assert_null(contacts);
    reopen(CONTACTS_CREATE | CONTACTS_MEND, &mended);
    assert_non_null(contacts);
    assert_true(mended);
    learn(c);
    assert_int_equal(known("new@example.net", NULL), CONTACT_FULL);
    snprintf(damaged, sizeof damaged, "%s.damaged", path);
    assert_int_equal(access(damaged, F_OK), 0);
    contacts_close(contacts);
    overwrite(0, 8192); /* and now it is seen at once */
    contacts = contacts_open(path, CONTACTS_CREATE, NULL, &err);
    assert_null(contacts);
    reopen(CONTACTS_CREATE | CONTACTS_MEND, &mended);
    assert_true(contacts && mended);
    reopen(CONTACTS_CREATE | CONTACTS_MEND, &mended);
    assert_true(contacts && !mended);
}

static void test_not_ours(void **state)
{
    sqlite3 *other;
    bool     mended = false;

    (void)state;
    contacts_close(contacts);
    contacts = NULL;
    assert_int_equal(unlink(path), 0);
    assert_null(contacts_open(path, CONTACTS_READ, NULL, &err));
    assert_int_equal(err.os_error, ENOENT);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "PRAGMA application_id = 7; CREATE TABLE x (y)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_null(contacts_open(path, CONTACTS_CREATE | CONTACTS_MEND, &mended, &err));
    assert_non_null(strstr(err.text, "another program"));
    assert_false(mended);
}

/* One call to the system after the other fails: what was not refused is known, nothing else is, and it goes on. */
static bool story(unsigned at, int code)
{
    struct contact      c = said("new@example.net", CONTACT_FULL, now + 1), k;
    struct mail_address a = address("old@example.net");
    bool                learned = false, more, hit;

    reopen(CONTACTS_CREATE, NULL);
    learn(said("old@example.net", CONTACT_MOVED, now));
    contacts_close(contacts);
    arm(at, 1, code);
    contacts = contacts_open(path, 0, NULL, &err);
    if (contacts) {
        learned = learn_all(&c, 1, now, &more);
        if (contacts_find(contacts, &a, 0, &arena, &k, &err) == CONTACTS_FOUND)
            assert_int_equal(k.outcome, CONTACT_MOVED);
    }
    hit = hits > 0;
    arm(0, 0, 0);
    reopen(CONTACTS_CREATE | CONTACTS_MEND, NULL);
    assert_non_null(contacts);
    if (learned)
        assert_int_equal(known("new@example.net", NULL), CONTACT_FULL);
    else
        known("new@example.net", NULL);
    arena_reset(&arena);
    return hit;
}

static void test_calls_fail(void **state)
{
    static const int codes[] = {SQLITE_IOERR, SQLITE_FULL, SQLITE_NOMEM, SQLITE_CORRUPT};
    unsigned         stories = 0;

    (void)state;
    vfs_begin();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        for (unsigned at = 1; story(at, codes[i]); at++)
            stories++;
    contacts_close(contacts);
    contacts = NULL;
    vfs_end();
    print_message("%u stories\n", stories);
    assert_true(stories > 40);
}

static void test_locked(void **state)
{
    struct contact c = said("new@example.net", CONTACT_FULL, now);
    sqlite3       *other;
    bool           more;

    (void)state;
    learn(said("old@example.net", CONTACT_MOVED, now));
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE; DELETE FROM contact", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(known("old@example.net", NULL), CONTACT_MOVED); /* readers do not wait */
    assert_false(learn_all(&c, 1, now, &more));
    assert_int_equal(err.class, ERR_TEMPORARY);
    assert_false(contacts_is_damaged(contacts));
    sqlite3_close(other);
    assert_true(learn_all(&c, 1, now, &more));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_word_counts),
        TEST(test_usual_news),
        TEST(test_domains),
        TEST(test_listings),
        TEST(test_old_ones_go),
        TEST(test_forgetting_by_another),
        TEST(test_forgotten_is_overwritten),
        TEST(test_damage),
        TEST(test_not_ours),
        TEST(test_calls_fail),
        TEST(test_locked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
