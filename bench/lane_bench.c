/* lane_bench.c: how many records of 4 KiB a lane stores in a second, in batches of 1, 20, 100 and 200, and what the
 * disk's own fdatasync costs beside it: one overwritten page of a file that was written before, synced, over and over.
 * A lane that needs much more time for each batch than that has a fault.
 *
 *   tacit-lane-bench DIR [SECONDS] */
#include "spool/lane.h"
#include "spool/lane_format.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 4096, PAGE = 4096, PAGES = 4096 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

enum { TIMES_MAX = 200000 };
static double times[TIMES_MAX];

static void print(const char *what, size_t count, double seconds, size_t records)
{
    qsort(times, count, sizeof *times, compare);
    printf("%-28s %8.0f records/s %8.0f syncs/s   sync ms: median %.3f, 99%% %.3f, most %.3f\n", what,
           (double)records / seconds, (double)count / seconds, times[count / 2] * 1e3, times[count * 99 / 100] * 1e3,
           times[count - 1] * 1e3);
}

static int bench_disk(const char *dir, double limit)
{
    char   path[4096], page[PAGE];
    double start, end;
    size_t count = 0;
    int    fd;

    snprintf(path, sizeof path, "%s/bench-disk", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return perror(path), 1;
    memset(page, 'x', sizeof page);
    for (int i = 0; i < PAGES; i++)
        if (pwrite(fd, page, sizeof page, (off_t)i * PAGE) != PAGE)
            return perror(path), 1;
    fsync(fd);
    start = end = now();
    while (end - start < limit && count < TIMES_MAX) {
        double before = end;

        if (pwrite(fd, page, sizeof page, (off_t)(count % PAGES) * PAGE) != PAGE || fdatasync(fd) != 0)
            return perror(path), 1;
        end = now();
        times[count++] = end - before;
    }
    print("disk: one page and fdatasync", count, end - start, count);
    close(fd);
    unlink(path);
    return 0;
}

static int bench_lane(const char *dir, unsigned batch, double limit)
{
    static char         payload[RECORD];
    char                path[4096], what[64];
    struct err          err;
    struct lane_writer *w;
    struct str          part = {payload, sizeof payload};
    double              start, end, in_batches = 0;
    size_t              count = 0;
    uint64_t            released = 0;

    snprintf(path, sizeof path, "%s/bench-lane", dir);
    w = lane_writer_open(path, &(struct lane_options){0}, &err);
    if (!w)
        return fprintf(stderr, "%s\n", err.text), 1;
    start = end = now();
    while (end - start < limit && count < TIMES_MAX) {
        struct lane_place place = {0, 0};
        double            before;

        for (unsigned i = 0; i < batch; i++)
            if (!lane_append(w, 1, 0, &part, 1, &place, &err))
                return fprintf(stderr, "%s\n", err.text), 1;
        before = now();
        if (!lane_commit(w, &err))
            return fprintf(stderr, "%s\n", err.text), 1;
        end = now();
        times[count++] = end - before;
        in_batches += end - before;
        /* What a server does beside it, here in between: spares are made, segments are released. */
        if (lane_wants_spare(w) && !lane_prepare_spare(w, &err))
            return fprintf(stderr, "%s\n", err.text), 1;
        for (; released + 4 < place.seq; released++)
            if (!lane_release(path, released, &err))
                return fprintf(stderr, "%s\n", err.text), 1;
    }
    snprintf(what, sizeof what, "lane: batches of %u", batch);
    print(what, count, in_batches, count * batch);
    end = (double)lane_writer_committed(w).seq;
    lane_writer_close(w);
    for (; released <= (uint64_t)end; released++)
        lane_release(path, released, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 3;

    if (argc < 2 || argc > 3 || seconds <= 0) {
        fprintf(stderr, "usage: %s DIR [SECONDS]\n", argv[0]);
        return 2;
    }
    return bench_disk(argv[1], seconds) || bench_lane(argv[1], 1, seconds) || bench_lane(argv[1], 20, seconds) ||
           bench_lane(argv[1], 100, seconds) || bench_lane(argv[1], 200, seconds);
}
