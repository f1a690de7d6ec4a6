/* master.h: the process that starts, watches, restarts and reloads the others, and binds the ports. Nothing from the
 * network reaches it: it listens for them and never accepts.
 *
 * What a process does is in role.h; what it is told, in control.h. */
#ifndef TACIT_MASTER_MASTER_H
#define TACIT_MASTER_MASTER_H

struct serve_options {
    const char *config_path;
};

/* Runs until SIGTERM or SIGINT; the exit status: 0, or 1 after one clear line on standard error. */
int master_run(const struct serve_options *o);

#endif
