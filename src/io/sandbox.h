/* sandbox.h: what a process gives up for good before it meets anything from outside.
 *
 * Three walls, each of which holds without the others: no privileges (no capability, none to gain by execve, no core
 * file, no look into the process by others of its user); Landlock (Linux 5.13), which leaves it the files it names here
 * and of TCP the ports it names; seccomp, which leaves it the system calls of its profile (sandbox.def).
 *
 * All of it is inherited by threads that are started later, and cannot be taken back. Everything here must therefore
 * run while the process has one thread. */
#ifndef TACIT_IO_SANDBOX_H
#define TACIT_IO_SANDBOX_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* What this kernel can do; the same for all processes. */
struct sandbox_kernel {
    bool     has_seccomp;
    unsigned landlock; /* version of its interface (ABI); 0: it has none, or does not use it */
};
struct sandbox_kernel sandbox_kernel(void);
/* Version that moving a file from one directory to another needs: with an older one Landlock forbids it to all whom it
 * confines (Linux 5.19). */
enum { SANDBOX_LANDLOCK_MOVES = 2 };

/* No new privileges, no core files, and no look into the process for others of its user. The last is undone by a change
 * of user and by execve: to be called behind them. */
bool sandbox_harden(struct err *err);
/* Drops every capability. */
bool sandbox_drop_capabilities(struct err *err);

enum sandbox_access {
    SANDBOX_READ = 1,  /* read files */
    SANDBOX_WRITE = 2, /* write files that are there, cut them */
    SANDBOX_MAKE = 4,  /* list directories; make, rename and remove files in them */
    SANDBOX_DIRS = 8,  /* make directories; move files from one to another */
};
struct sandbox_path {
    const char *path; /* a file, or a directory with all that is in it; links are followed. What is not there is left
                         out, and stays forbidden when it is made later */
    unsigned    access;
};

/* One bit each: rows of sandbox.def name several. */
enum sandbox_profile {
    SANDBOX_FRONT = 1,
    SANDBOX_KEEPER = 2,
    SANDBOX_BACK = 4,
    SANDBOX_RESOLVER = 8,
    SANDBOX_CARRIER = 16,
    SANDBOX_CARRIER_SOCKETS = 32, /* it may connect to Unix sockets too */
};

struct sandbox_needs {
    enum sandbox_profile       profile;
    const struct sandbox_path *paths;
    size_t                     path_count;
    const uint16_t            *ports; /* of TCP, that it may connect to; it may bind none */
    size_t                     port_count;
    bool                       any_port;
};

/* Landlock and seccomp, as far as the kernel has them; false where it has them and refuses. sandbox_harden comes first.
 * From the first forbidden system call on the process does not exist any more (SIGSYS); a forbidden path or port is
 * EACCES. */
bool sandbox_confine(const struct sandbox_needs *needs, struct err *err);

/* For master, which must still bind, execute and change users: as root only the capabilities for that, and none of the
 * system calls that change or inspect the machine. Its children inherit that. */
bool sandbox_confine_master(struct err *err);

#endif
