/* The power is cut at every moment of a delivery (test/spool/power.h). What was reported as delivered is in new/, whole
 * and once; what was not is whole there, or not at all; and when it is delivered again, as it is after a restart, each
 * message is there once. The same where the process died first, and the next one found what it had left, and where a
 * sync fails. Each kind of sync is left out in turn, and that must be noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../spool/harness.h"
#include "../spool/power.h"
#include "deliver/maildir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 4, CONTENT_MAX = 3000, QUOTA = 1 << 20, MARK_DELIVERED = 1 };

static char              mailbox[300], broken[300];
static bool              with_quota, delivered[MESSAGES];
static enum power_sync   mute_late;
static struct power_log *told;
static unsigned long     disks;

#define REQUIRE(condition, ...)                           \
    do {                                                  \
        if (!(condition)) {                               \
            snprintf(broken, sizeof broken, __VA_ARGS__); \
            return false;                                 \
        }                                                 \
    } while (0)

static uint64_t id_of(unsigned number) { return (uint64_t)1700000000123 << 22 | number; }

static size_t content_of(unsigned number, char out[CONTENT_MAX])
{
    size_t len = 700 + number * 600;

    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + (i * 7 + number * 13 + i / 512) % 26);
    return len;
}

static enum maildir_result deliver(unsigned number, bool look)
{
    char                    content[CONTENT_MAX];
    struct maildir_delivery d = {.path = mailbox,
                                 .id = id_of(number),
                                 .mailbox = STR("alice@example.test"),
                                 .content_fd = -1,
                                 .binary = true,
                                 .hostname = "h",
                                 .quota = with_quota ? QUOTA : 0,
                                 .look = look};

    d.content = str_of(content, content_of(number, content));
    return maildir_deliver(&d, NULL);
}

/* ---- the story ---- */

static bool needs[MESSAGES], sure[MESSAGES];

static void attempt(unsigned number)
{
    enum maildir_result result = deliver(number, !sure[number]);

    if (result == MAILDIR_DELIVERED || result == MAILDIR_FOUND) {
        power_mark(MARK_DELIVERED, number, number + 1);
        needs[number] = false;
    }
    sure[number] = result == MAILDIR_FAILED;
}

/* Messages are delivered, and tried again; a process that died is followed by one that cannot know what it did. */
static void tell(void)
{
    for (unsigned i = 0; i < MESSAGES; i++)
        needs[i] = sure[i] = true;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MESSAGES; i++)
            if (needs[i])
                attempt(i);
        if (round == 0 && power_die_at && power_changes >= power_die_at) {
            power_revive();
            power_muted = mute_late ? mute_late : power_muted;
            for (unsigned i = 0; i < MESSAGES; i++)
                sure[i] = false;
        }
    }
}

/* ---- what must hold ---- */

static void mark(unsigned what, unsigned from, unsigned to, void *arg)
{
    (void)what, (void)to, (void)arg;
    delivered[from] = true;
}

static bool is_whole(int dirfd, const char *name, unsigned number)
{
    char    content[CONTENT_MAX + 1], wanted[CONTENT_MAX];
    int     fd = openat(dirfd, name, O_RDONLY);
    ssize_t len = read(fd, content, sizeof content);

    close(fd);
    REQUIRE(len == (ssize_t)content_of(number, wanted) && memcmp(content, wanted, (size_t)len) == 0,
            "message %u in new/ is not whole", number);
    return true;
}

static bool count(unsigned there[MESSAGES])
{
    char           path[400], stem[MAILDIR_STEM_MAX];
    DIR           *dir;
    struct dirent *entry;
    bool           ok = true;

    memset(there, 0, MESSAGES * sizeof *there);
    snprintf(path, sizeof path, "%s/new", mailbox);
    dir = opendir(path);
    while (dir && ok && (entry = readdir(dir)))
        for (unsigned i = 0; i < MESSAGES && ok; i++) {
            maildir_stem(id_of(i), 0, stem);
            *strchr(stem, 'R') = 0;
            if (strncmp(entry->d_name, stem, strlen(stem)) == 0) {
                there[i]++;
                ok = is_whole(dirfd(dir), entry->d_name, i);
            }
        }
    if (dir)
        closedir(dir);
    return ok;
}

static bool check(void)
{
    unsigned there[MESSAGES];

    if (!count(there))
        return false;
    for (unsigned i = 0; i < MESSAGES; i++) {
        REQUIRE(!delivered[i] || there[i] > 0, "message %u, which was delivered, is lost", i);
        REQUIRE(there[i] < 2, "message %u is there twice", i);
    }
    /* The next process does again what no record says was done. */
    for (unsigned i = 0; i < MESSAGES; i++)
        if (!delivered[i]) {
            enum maildir_result result = deliver(i, true);

            REQUIRE(result == (there[i] ? MAILDIR_FOUND : MAILDIR_DELIVERED), "message %u cannot be delivered", i);
        }
    if (!count(there))
        return false;
    for (unsigned i = 0; i < MESSAGES; i++)
        REQUIRE(there[i] == 1, "message %u is there %u times in the end", i, there[i]);
    return true;
}

static bool cut_everywhere(bool every)
{
    for (size_t moment = power_failed(told); moment < power_moments(told); moment++) {
        memset(delivered, 0, sizeof delivered);
        power_each_mark(told, moment, mark, NULL);
        for (uint64_t i = 0; i < (every ? 12u : 4u); i++) {
            struct power_choice choice = {
                .how = i < 2 ? (enum power_how)i : POWER_RANDOM, .state = moment * 977 + i, .tear = i};

            disks++;
            power_build(told, moment, &choice);
            if (!check())
                return false;
        }
        for (uint64_t at = 0, end = 1; every && at < end; at += 5) {
            struct power_choice choice = {.how = POWER_TEAR, .tear = at};

            disks++;
            power_build(told, moment, &choice);
            if (!check())
                return false;
            end = choice.tear_max;
        }
    }
    return true;
}

static bool survives(unsigned die_at, unsigned fail_at, bool every, bool *ret_reached)
{
    bool ok;

    harness_clear();
    *broken = '\0';
    power_root = lane_dir_path;
    snprintf(mailbox, sizeof mailbox, "%s/mail/alice", lane_dir_path);
    told = power_record();
    power_die_at = die_at;
    power_fail_at = fail_at;
    tell();
    *ret_reached = die_at ? power_changes >= die_at : power_syncs >= fail_at;
    power_stop();
    power_muted = POWER_SYNC_NONE;
    ok = cut_everywhere(every);
    power_log_free(told);
    return ok;
}

static bool survives_failures(bool kill, enum power_sync muted)
{
    bool reached = true;

    for (unsigned at = 1; reached; at++) {
        power_muted = muted;
        if (!survives(kill ? at : 0, kill ? 0 : at, false, &reached))
            return false;
    }
    return true;
}

static void test_power_cut_anywhere(void **state)
{
    bool reached;

    (void)state;
    for (int quota = 0; quota < 2; quota++) {
        with_quota = quota;
        if (!survives(0, 0, true, &reached))
            fail_msg("%s", broken);
    }
    print_message("%lu disks\n", disks);
}

static void test_failed_sync_before(void **state)
{
    (void)state;
    with_quota = true;
    if (!survives_failures(false, POWER_SYNC_NONE))
        fail_msg("%s", broken);
}

static void test_killed_before(void **state)
{
    (void)state;
    with_quota = false;
    if (!survives_failures(true, POWER_SYNC_NONE))
        fail_msg("%s", broken);
    print_message("%lu disks\n", disks);
}

static void test_left_out_syncs_are_noticed(void **state)
{
    static const enum power_sync syncs[] = {POWER_SYNC_LETTER, POWER_SYNC_NEW, POWER_SYNC_MAILBOX, POWER_SYNC_PARENT};
    bool                         reached;

    (void)state;
    with_quota = false;
    for (size_t i = 0; i < sizeof syncs / sizeof *syncs; i++) {
        power_muted = syncs[i];
        power_muted_hits = 0;
        if (survives(0, 0, false, &reached))
            fail_msg("sync %d is left out, and nobody noticed", syncs[i]);
        assert_true(power_muted_hits > 0);
        print_message("%d: %s\n", syncs[i], broken);
    }
    /* What the next process finds, it must make durable. */
    mute_late = POWER_SYNC_NEW;
    if (survives_failures(true, POWER_SYNC_NONE))
        fail_msg("what was found is not synced, and nobody noticed");
    mute_late = POWER_SYNC_NONE;
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, harness_begin, harness_end)
    const struct CMUnitTest tests[] = {
        TEST(test_power_cut_anywhere),
        TEST(test_failed_sync_before),
        TEST(test_killed_before),
        TEST(test_left_out_syncs_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
