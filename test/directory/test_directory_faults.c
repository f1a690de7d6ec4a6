/* A directory that cannot be read, wholly or in part, for whatever reason, never says "absent": SQLite's calls to the
 * system fail one after the other, its file is garbage, cut, empty, locked or gone, and the text file is half-written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "files.h"

#include "directory/directory.h"
#include "io/file.h"
#include "io/loop.h"

enum { FOREVER = 1000000 };

static char         base[64], path[80];
static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    snprintf(base, sizeof base, "%s/tacit-directory-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(base));
    snprintf(path, sizeof path, "%s/users", base);
    arena_init(&arena, 4096, 4 << 20);
    return 0;
}

static void clear(void) { assert_true(files_clear(base)); }

static int tear_down(void **state)
{
    (void)state;
    clear();
    arena_done(&arena);
    return rmdir(base);
}

static enum directory_find find(struct directory *d, const char *local, struct directory_entry *ret_entry)
{
    struct mail_address a = {str_from(local), STR("example.test"), false};
    struct err          err = {0};
    enum directory_find found;

    found = directory_find(d, &a, 0, &arena, ret_entry, &err);
    if (found == DIRECTORY_FAILED)
        assert_int_not_equal(err.class, ERR_NONE);
    return found;
}

/* What may be said while things fail: the truth, or nothing. Gives how often it was nothing. */
static unsigned truth_or_nothing(struct directory *d)
{
    struct directory_entry e;
    enum directory_find    alice = find(d, "alice", &e), nobody;
    enum directory_find    team = find(d, "team", &e);

    assert_int_not_equal(alice, DIRECTORY_ABSENT);
    assert_int_not_equal(team, DIRECTORY_ABSENT);
    if (team == DIRECTORY_FOUND)
        assert_int_equal(e.target_count, 3);
    nobody = find(d, "nobody", &e);
    assert_int_not_equal(nobody, DIRECTORY_FOUND);
    arena_reset(&arena);
    return (alice == DIRECTORY_FAILED ? 1u : 0) + (team == DIRECTORY_FAILED) + (nobody == DIRECTORY_FAILED);
}

static struct directory_entry team(const char *local)
{
    static struct str targets[] = {STR("a@example.test"), STR("b@example.test"), STR("c@example.test")};

    return (struct directory_entry){.kind = ENTRY_ALIAS,
                                    .local = str_from(local),
                                    .domain = STR("example.test"),
                                    .targets = targets,
                                    .target_count = 3};
}

static void fill(const char *spec)
{
    struct err             err = {0};
    struct directory_entry alice = {.local = STR("alice"), .domain = STR("example.test")}, many = team("team");
    struct directory      *d = directory_open(spec, base, DIRECTORY_CREATE, &err);

    if (!d || !directory_add(d, &alice, &err) || !directory_add(d, &many, &err))
        fail_msg("%s", err.text);
    directory_close(d);
}

static struct directory *open_now(const char *spec)
{
    struct err        err = {0};
    struct directory *d = directory_open(spec, base, 0, &err);

    if (!d)
        fail_msg("%s", err.text);
    return d;
}

/* ---- SQLite's calls fail ---- */

/* Opens, asks, adds, asks; returns false when nothing failed any more. */
static bool sqlite_story(unsigned at, unsigned count, int code, bool patient)
{
    struct directory_entry many = team("many"), e;
    struct directory      *d;
    struct err             err;
    bool                   added;
    unsigned               hit_count, nothing;

    clear();
    arm(0, 0, 0);
    fill("sqlite:users");
    arm(at, count, code);
    d = directory_open("sqlite:users", base, patient ? DIRECTORY_PATIENT : 0, &err);
    if (!d) {
        assert_int_not_equal(hits, 0);
        d = open_now("sqlite:users");
    }
    truth_or_nothing(d);
    added = directory_add(d, &many, &err);
    truth_or_nothing(d);
    hit_count = hits;
    arm(0, 0, 0);
    nothing = truth_or_nothing(d); /* mended: whole again at once */
    assert_int_equal(nothing, 0);
    switch (find(d, "many", &e)) {
    case DIRECTORY_FOUND:
        assert_int_equal(e.target_count, 3);
        break;
    case DIRECTORY_ABSENT:
        assert_false(added);
        break;
    case DIRECTORY_FAILED:
        fail();
    }
    directory_close(d);
    return hit_count > 0;
}

static void test_sqlite_calls(void **state)
{
    static const int codes[] = {SQLITE_IOERR, SQLITE_FULL, SQLITE_NOMEM, SQLITE_CORRUPT};
    unsigned         stories = 0;

    (void)state;
    vfs_begin();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        for (unsigned at = 1; sqlite_story(at, 1, codes[i], at % 2); at++)
            stories++;
    vfs_end();
    print_message("%u stories\n", stories);
    assert_true(stories > 100);
}

/* ---- files that are not what they were ---- */

static void overwrite(const char *name, off_t from, const char *with_text, size_t len)
{
    int fd = open(name, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, with_text, len, from), len);
    close(fd);
}

static void copy_file(const char *from, const char *to)
{
    struct buf b;

    buf_init(&b, 1 << 24);
    assert_true(io_file_read_all(from, &b, NULL) && io_file_write_atomic(to, 0600, buf_str(&b), NULL));
    buf_done(&b);
}

/* `ruin` is done to the file under an open directory; then nobody is absent, also to who opens it now. The backup takes
 * its place, and all is well again. */
static void ruined(void (*ruin)(void))
{
    char              away[100];
    struct directory *d, *late;
    unsigned          nothing;

    clear();
    fill("sqlite:users");
    snprintf(away, sizeof away, "%s/backup", base);
    copy_file(path, away);
    d = open_now("sqlite:users");
    assert_int_equal(truth_or_nothing(d), 0);
    ruin();
    truth_or_nothing(d); /* it may know the truth still */
    late = directory_open("sqlite:users", base, DIRECTORY_PATIENT, NULL);
    nothing = truth_or_nothing(late);
    assert_int_equal(nothing, 3);
    assert_null(directory_open("sqlite:users", base, 0, NULL));
    directory_close(late);
    truth_or_nothing(d);
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(truth_or_nothing(d), 0);
    directory_close(d);
}

static void make_garbage(void)
{
    static char garbage[1 << 16];

    memset(garbage, 0x5a, sizeof garbage);
    overwrite(path, 0, garbage, sizeof garbage);
}
static void make_empty(void) { assert_int_equal(truncate(path, 0), 0); }
static void cut(void) { assert_int_equal(truncate(path, 5000), 0); }
static void remove_it(void) { assert_int_equal(unlink(path), 0); }
static void make_directory(void)
{
    remove_it();
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(rmdir(path), 0);
}
static void replace_by_empty(void) { assert_true(io_file_write_atomic(path, 0600, STR(""), NULL)); }

static void test_sqlite_files(void **state)
{
    (void)state;
    ruined(make_garbage);
    ruined(make_empty);
    ruined(cut);
    ruined(remove_it);
    ruined(make_directory);
    ruined(replace_by_empty);
}

/* Another program holds the whole database. */
static void test_sqlite_locked(void **state)
{
    struct directory *d;
    sqlite3          *other;
    uint64_t          began_ms;

    (void)state;
    clear();
    fill("sqlite:users");
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                                  "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;"
                                  "UPDATE entry SET quota = 1; COMMIT",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    d = directory_open("sqlite:users", base, DIRECTORY_PATIENT, NULL);
    began_ms = io_wall_ms();
    assert_int_equal(truth_or_nothing(d), 3);
    assert_true(io_wall_ms() - began_ms < 4500); /* three looks of a quarter of a second, not of five each */
    sqlite3_close(other);
    assert_int_equal(truth_or_nothing(d), 0);
    directory_close(d);
}

/* ---- the text file ---- */

static void settle(void)
{
    struct timespec times[2];

    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= 5;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void empty_but_for_time(void)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){st.st_atim, st.st_mtim}, 0), 0);
}

/* Every beginning of the file, as somebody sees it who looks while it is written where it lies. */
static void test_text_half_written(void **state)
{
    struct buf             whole;
    struct directory      *d;
    struct directory_entry e;

    (void)state;
    clear();
    fill("file:users");
    buf_init(&whole, 1 << 16);
    assert_true(io_file_read_all(path, &whole, NULL));
    settle();
    d = open_now("file:users");
    for (size_t len = 0; len < whole.len; len++) {
        assert_int_equal(truncate(path, (off_t)len), 0);
        truth_or_nothing(d);
    }
    overwrite(path, 0, whole.data, whole.len);
    assert_int_equal(truth_or_nothing(d), 1); /* who is there is found at once; of nobody it is not said yet */
    settle();
    assert_int_equal(truth_or_nothing(d), 0);
    /* Emptied, and still with its old time: ext4 shows that for a moment. Once while it is known, once while it cannot
     * be read. */
    empty_but_for_time();
    assert_int_equal(truth_or_nothing(d), 3);
    overwrite(path, 0, "garbage\n", 8);
    settle();
    assert_int_equal(truth_or_nothing(d), 3);
    empty_but_for_time();
    assert_int_equal(truth_or_nothing(d), 3);
    assert_true(io_file_write_atomic(path, 0600, buf_str(&whole), NULL));
    settle();
    assert_int_equal(truth_or_nothing(d), 0);
    /* A file of another kind in its place, by renames as tacit itself does it: the truth at once. */
    assert_true(io_file_write_atomic(path, 0600, STR("alice@example.test mailbox\n"), NULL));
    assert_int_equal(find(d, "team", &e), DIRECTORY_ABSENT);
    assert_true(io_file_write_atomic(path, 0600, STR("alice@example.test mailbox\nteam@exam"), NULL));
    assert_int_equal(find(d, "nobody", &e), DIRECTORY_FAILED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(truth_or_nothing(d), 3);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(truth_or_nothing(d), 3);
    assert_int_equal(rmdir(path), 0);
    assert_true(io_file_write_atomic(path, 0600, buf_str(&whole), NULL));
    assert_true(truth_or_nothing(d) <= 1);
    settle();
    assert_int_equal(truth_or_nothing(d), 0);
    directory_close(d);
    buf_done(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sqlite_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sqlite_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sqlite_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_text_half_written, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
