/* Every system call of a delivery fails, in turn, in every way it can: once, a few times, or until somebody repairs the
 * machine. What must hold each time: the message lies in the mailbox whole or not at all, as was reported; never twice,
 * however often it is tried again; nothing stays in tmp/; and the quota is what the mailbox holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../spool/harness.h"
#include "deliver/maildir.h"
#include "deliver/quota.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENT = 150 * 1024, FOREVER = 1000000, QUOTA = 1 << 20, NAME = 300 };

static char     content[CONTENT], mailbox[300];
static unsigned runs;

/* What a mailbox is like before the delivery. */
struct scene {
    const char *name;
    bool        exists;   /* with one message that came before, counted in maildirsize */
    bool        leftover; /* half of it lies in tmp/ */
    bool        there;    /* it was delivered by a process that could not write that down */
    bool        seen;     /* and a reader has moved it */
    uint64_t    quota;
};
static const struct scene scenes[] = {
    {.name = "no mailbox"},
    {.name = "no mailbox, with a quota", .quota = QUOTA},
    {.name = "a mailbox", .exists = true},
    {.name = "a mailbox with a quota", .exists = true, .quota = QUOTA},
    {.name = "half of it is in tmp", .exists = true, .leftover = true},
    {.name = "it is there", .exists = true, .there = true, .quota = QUOTA},
    {.name = "it is there and seen", .exists = true, .there = true, .seen = true, .quota = QUOTA},
};

static struct maildir_delivery delivery(const struct scene *s, uint64_t number)
{
    return (struct maildir_delivery){.path = mailbox,
                                     .id = (uint64_t)1700000000123 << 22 | number,
                                     .mailbox = STR("alice@example.test"),
                                     .head = STR("Return-Path: <>\n"),
                                     .content = str_of(content, sizeof content),
                                     .content_fd = -1,
                                     .binary = true,
                                     .hostname = "h",
                                     .quota = s->quota,
                                     .look = s->there};
}

/* The files of message `number` (0: any) in a part of the mailbox; each must be whole. The last one's name. */
static unsigned messages(const char *part, uint64_t number, char ret_name[NAME])
{
    char           path[400], id[MAILDIR_STEM_MAX];
    DIR           *dir;
    struct dirent *entry;
    unsigned       count = 0;

    maildir_stem((uint64_t)1700000000123 << 22 | number, 0, id);
    *strchr(id, 'R') = 0;
    snprintf(path, sizeof path, "%s/%s", mailbox, part);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && (!number || strncmp(entry->d_name, id, strlen(id)) == 0)) {
            struct stat st;

            assert_int_equal(fstatat(dirfd(dir), entry->d_name, &st, 0), 0);
            if (strcmp(part, "tmp") != 0)
                assert_int_equal(st.st_size, CONTENT + 16);
            if (ret_name)
                snprintf(ret_name, NAME, "%s", entry->d_name);
            count++;
        }
    if (dir)
        closedir(dir);
    return count;
}

static unsigned in_mailbox(uint64_t number) { return messages("new", number, NULL) + messages("cur", number, NULL); }

static void set_up(const struct scene *s)
{
    struct maildir_delivery d = delivery(s, 1);
    char                    name[NAME], from[NAME + 400], to[NAME + 400];

    harness_clear();
    faults_arm(FAULT_NONE, 0, 0);
    if (!s->exists)
        return;
    assert_int_equal(maildir_deliver(&d, NULL), MAILDIR_DELIVERED);
    if (!s->there && !s->leftover)
        return;
    d = delivery(s, 2);
    d.look = false;
    assert_int_equal(maildir_deliver(&d, NULL), MAILDIR_DELIVERED);
    messages("new", 2, name);
    snprintf(from, sizeof from, "%s/new/%s", mailbox, name);
    if (s->leftover) {
        *strstr(name, ",S=") = 0;
        snprintf(to, sizeof to, "%s/tmp/%s", mailbox, name);
        assert_int_equal(rename(from, to), 0);
        assert_int_equal(truncate(to, 1000), 0);
    } else if (s->seen) {
        snprintf(to, sizeof to, "%s/cur/%s:2,S", mailbox, name);
        assert_int_equal(rename(from, to), 0);
    }
}

static void reported_is_true(enum maildir_result result)
{
    switch (result) {
    case MAILDIR_DELIVERED:
    case MAILDIR_FOUND:
        assert_int_equal(in_mailbox(2), 1);
        break;
    case MAILDIR_FAILED:
    case MAILDIR_OVER_QUOTA:
    case MAILDIR_TOO_LARGE:
        assert_int_equal(in_mailbox(2), 0);
        break;
    case MAILDIR_UNSURE:
        assert_true(in_mailbox(2) <= 1);
        break;
    }
}

/* Tried again as back does until it is through. */
static void through_at_last(const struct scene *s, enum maildir_result result, bool lasting)
{
    struct maildir_delivery d = delivery(s, 2);
    uint64_t                used;
    bool                    fits;

    for (int tries = 0; result != MAILDIR_DELIVERED && result != MAILDIR_FOUND; tries++) {
        assert_true(tries < 2);
        d.look = s->there || result == MAILDIR_UNSURE;
        result = maildir_deliver(&d, NULL);
        reported_is_true(result);
    }
    assert_int_equal(messages("tmp", 0, NULL), 0);
    assert_int_equal(in_mailbox(2), 1);
    assert_int_equal(in_mailbox(0), s->exists ? 2 : 1);
    if (s->quota) {
        assert_true(quota_fits(mailbox, s->quota, 1, &fits, &used, NULL));
        if (lasting) { /* where nothing could be mended too much may be noted, but not too little */
            assert_true(used >= (s->exists ? 2 : 1) * (CONTENT + 16));
            quota_forget(mailbox);
            assert_true(quota_fits(mailbox, s->quota, 1, &fits, &used, NULL));
        }
        assert_int_equal(used, (s->exists ? 2 : 1) * (CONTENT + 16));
    }
}

static void story(enum fault kind, unsigned count)
{
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        for (unsigned at = 1;; at++) {
            const struct scene     *s = &scenes[i];
            struct maildir_delivery d = delivery(s, 2);
            struct err              err = {0};
            enum maildir_result     result;
            struct fault_plan       plan;

            set_up(s);
            faults_arm(kind, at, count);
            result = maildir_deliver(&d, &err);
            plan = fault_plan;
            faults_arm(FAULT_NONE, 0, 0);
            if (!plan.hits)
                break;
            runs++;
            if (getenv("SHOW"))
                printf("%s, kind %d, %s (call %u): result %d %s\n", s->name, kind, plan.call, at, result, err.text);
            reported_is_true(result);
            if (result == MAILDIR_FAILED || result == MAILDIR_UNSURE)
                assert_int_not_equal(err.class, ERR_NONE);
            if ((kind == FAULT_SHORT && !s->quota) || (kind == FAULT_EINTR && count < FOREVER))
                assert_true(result == MAILDIR_DELIVERED || result == MAILDIR_FOUND);
            else if (strcmp(plan.call, "fsync") == 0 &&
                     kind != FAULT_SHORT) /* and not done again as if nothing had been */
                assert_true(result == MAILDIR_FAILED || result == MAILDIR_UNSURE);
            if (count == 1 && strcmp(plan.call, "unlinkat") != 0 && !s->there)
                assert_true(messages("tmp", 0, NULL) == 0 || s->leftover);
            through_at_last(s, result, count > 1);
        }
}

static void test_faults(void **state)
{
    static const enum fault kinds[] = {FAULT_ENOSPC, FAULT_EDQUOT, FAULT_EIO, FAULT_EINTR, FAULT_SHORT, FAULT_LATE};

    (void)state;
    snprintf(mailbox, sizeof mailbox, "%s/mail/alice", lane_dir_path);
    memset(content, 'x', sizeof content);
    faults_begin();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        story(kinds[i], 1);
        story(kinds[i], 3);
        if (kinds[i] != FAULT_EINTR && kinds[i] != FAULT_SHORT)
            story(kinds[i], FOREVER);
    }
    faults_end();
    print_message("%u deliveries with a fault\n", runs);
    assert_true(runs > 500);
}

/* The body cannot be read: nothing of the message may be seen. */
static void test_body(void **state)
{
    struct maildir_delivery d = delivery(&scenes[0], 2);
    char                    path[400];
    int                     fd;

    (void)state;
    harness_clear();
    snprintf(mailbox, sizeof mailbox, "%s/mail/alice", lane_dir_path);
    snprintf(path, sizeof path, "%s/body", lane_dir_path);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, content, sizeof content), sizeof content);
    d.content = STR_NONE;
    d.content_fd = fd;
    faults_begin();
    for (unsigned at = 1;; at++) {
        enum maildir_result result;

        faults_arm(FAULT_EIO, at, 1);
        result = maildir_deliver(&d, NULL);
        if (!fault_plan.hits)
            break;
        if (strcmp(fault_plan.call, "pread") == 0)
            assert_int_equal(result, MAILDIR_FAILED);
        reported_is_true(result);
        assert_true(messages("tmp", 0, NULL) == 0 || strcmp(fault_plan.call, "unlinkat") == 0);
        d.look = result == MAILDIR_UNSURE;
        if (result == MAILDIR_DELIVERED)
            harness_clear(); /* but the body is open */
    }
    faults_end();
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_faults, harness_begin, harness_end),
        cmocka_unit_test_setup_teardown(test_body, harness_begin, harness_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
