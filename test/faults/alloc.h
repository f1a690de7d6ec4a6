/* alloc.h: allocations, and descriptors, that fail where a test wants it. alloc.c takes the place of malloc and its kin
 * in the program it is linked with, and in a whole server when it is preloaded. Not with AddressSanitizer, which has
 * taken it already. */
#ifndef TACIT_TEST_FAULTS_ALLOC_H
#define TACIT_TEST_FAULTS_ALLOC_H

#include <stdatomic.h>
#include <stdint.h>

/* Preloaded, it lies in the file that TACIT_ALLOC_PLAN names, so that a test can change it from outside; a process
 * whose
 * --role is another one counts nothing. All numbers little-endian as they lie here. */
struct alloc_plan {
    _Atomic uint64_t at;    /* the allocation to fail, from 1; 0: none */
    _Atomic uint64_t count; /* how many from there on */
    _Atomic uint64_t calls; /* made so far */
    _Atomic uint64_t hits;
    _Atomic uint64_t end_at_rename; /* 1: the process ends after its next rename into a new/ */
    _Atomic uint64_t no_files;      /* 1: there is no descriptor left for sockets and memory files */
    char             role[16];      /* empty: all */
};
extern struct alloc_plan *alloc_plan;

/* Counts, and fails, only what the calling thread allocates, until alloc_end. */
void     alloc_begin(uint64_t at, uint64_t count);
uint64_t alloc_end(void); /* how many failed */

#endif
