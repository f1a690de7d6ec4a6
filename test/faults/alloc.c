/* alloc.c: see alloc.h. glibc's own functions stand behind names that it keeps for this purpose. */
#include "alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);

static struct alloc_plan  own;
struct alloc_plan        *alloc_plan = &own;
static _Thread_local bool mine;
static bool               everywhere; /* preloaded: all threads */

static bool fails(void)
{
    uint64_t call, at = atomic_load_explicit(&alloc_plan->at, memory_order_relaxed);

    if (!at || !(mine || everywhere))
        return false;
    call = atomic_fetch_add(&alloc_plan->calls, 1) + 1;
    if (call < at || call - at >= atomic_load(&alloc_plan->count))
        return false;
    atomic_fetch_add(&alloc_plan->hits, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }
void *aligned_alloc(size_t align, size_t size) { return fails() ? NULL : __libc_memalign(align, size); }

int posix_memalign(void **ret, size_t align, size_t size)
{
    void *at = fails() ? NULL : __libc_memalign(align, size);

    if (!at)
        return ENOMEM;
    *ret = at;
    return 0;
}

void alloc_begin(uint64_t at, uint64_t count)
{
    atomic_store(&alloc_plan->calls, 0);
    atomic_store(&alloc_plan->hits, 0);
    atomic_store(&alloc_plan->count, count);
    atomic_store(&alloc_plan->at, at);
    mine = true;
}

uint64_t alloc_end(void)
{
    mine = false;
    atomic_store(&alloc_plan->at, 0);
    return atomic_load(&alloc_plan->hits);
}

/* ---- preloaded ---- */

static bool role_is(const char *role)
{
    char    text[512] = {0};
    int     fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    bool    next = false;

    if (fd >= 0)
        close(fd);
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(text + at) + 1) {
        if (next)
            return strcmp(text + at, role) == 0;
        next = strcmp(text + at, "--role") == 0;
    }
    return false;
}

__attribute__((constructor)) static void begin(void)
{
    const char        *path = getenv("TACIT_ALLOC_PLAN");
    int                fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    struct alloc_plan *shared;

    if (fd < 0)
        return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED)
        return;
    if (!shared->role[0] || !role_is(shared->role)) {
        munmap(shared, sizeof *shared);
        return;
    }
    alloc_plan = shared;
    everywhere = true;
}

int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    int result = (int)syscall(SYS_renameat2, from_dirfd, from, to_dirfd, to, 0);

    if (result == 0 && everywhere && strstr(to, "/new/") && atomic_exchange(&alloc_plan->end_at_rename, 0))
        __builtin_trap(); /* as abrupt as SIGKILL, and needs no system call */
    return result;
}

static bool no_files(void)
{
    if (!everywhere || !atomic_load(&alloc_plan->no_files))
        return false;
    atomic_fetch_add(&alloc_plan->hits, 1);
    errno = EMFILE;
    return true;
}

int socket(int domain, int type, int protocol)
{
    return no_files() ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int memfd_create(const char *name, unsigned flags)
{
    return no_files() ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}
