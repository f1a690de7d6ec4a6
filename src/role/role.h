/* role.h: what all processes but master have in common: they are started by master, told things by it, and watched.
 *
 * master starts itself again as `tacit serve --role NAME --index N --lane L` with descriptors 3 (channel to master,
 * io/ipc.h), 4 (the configuration as config_pack made it, a sealed memfd: exactly what master validated), 5 (counters),
 * 6 (log file). Everything else comes as messages on the channel, whenever master sees fit, also later (a peer was
 * restarted):
 *
 *   master -> role   LISTENER (number of the listen block, role's descriptor)   PEER (role, index, channel)
 *                    LOG (new log file)   START   DRAIN   (closing the channel: finish at once and exit)
 *   role -> master   READY   FAILED (why)   DRAINED   LACKS (role)
 *
 * The order at start: listeners and peers, then START; the role answers READY when it does its work. role.c keeps what
 * comes before START and calls start() first, then listener() and peer() for each, then sends READY: so all callbacks
 * find the state that start() made. On DRAIN the role takes no new work, ends what is open within the grace time,
 * answers DRAINED and exits; at the latest a second after the grace time. If the channel ends without DRAIN master has
 * died: the role does the same with a grace time of a second.
 *
 * A front's index is its lane less one, so that during a reload, when old and new fronts run side by side, no two have
 * the same. Carriers have numbers of their own for the same reason: the old one ends while the new one works, and both
 * have channels to back and the resolver, also to those that are started meanwhile. Of the carriers that back has
 * channels to, the one that was handed over last takes what is new. Work threads: io_work_start in start().
 *
 * A channel can end while both processes go on: memory ran out, or one let too much wait. Who lacks a peer for two
 * looks says LACKS, and again until it is handed a new channel; master makes one if that peer runs.
 *
 * Who has channels to whom; what else is sent to a role, it closes:
 *
 *   front ── keeper ── back ── carrier ── resolver ── front ── back
 *
 * A role is confined (confine.h) before start(), keeper and resolver as the last thing before READY.
 *
 * The message codec is control.h. Numbers of listeners that are no listen block: */
#ifndef TACIT_ROLE_ROLE_H
#define TACIT_ROLE_ROLE_H

#include "config/config.h"
#include "io/ipc.h"
#include "role/counters.h"

enum {
    LISTENER_METRICS = 0xfffd, /* to one front: for io/metrics.h */
    LISTENER_CONTROL = 0xfffe, /* to back: data/run/control.sock */
    LISTENER_SUBMIT = 0xffff,  /* to each front: data/run/submit.sock, class submitter */
};

struct role_context {
    enum role            role;
    unsigned             index; /* number among its like */
    unsigned             lane;  /* of front and back: the lane it writes, data/spool/lane-NN, unique among them */
    struct io_loop      *loop;
    const struct config *config; /* paths made absolute */
    struct counters     *counters;
    struct counter_slot *slot;
    void                *state;       /* the role's own */
    bool                 is_orphaned; /* master has ended: all roles drain at once, and none follows */
};

struct role_ops {
    /* False: the process ends; master tries again, unless this is the first start and err.class says that it is in
     * vain. */
    bool (*start)(struct role_context *c, struct err *err);
    /* Takes fd; may be NULL. */
    void (*listener)(struct role_context *c, unsigned listen_number, int fd);
    /* Takes fd, which replaces an older one; may be NULL. */
    void (*peer)(struct role_context *c, enum role peer, unsigned index, int fd);
    /* A bit (1u << role) for each peer that it cannot do without and has no channel to; NULL: there is none such. */
    unsigned (*lacks)(const struct role_context *c);
    /* Then role_drained when done. */
    void (*drain)(struct role_context *c, uint64_t grace_ms);
};

/* The whole life of a role's process; the exit status. */
int  role_run(const struct role_ops *ops, enum role role, unsigned index, unsigned lane);
void role_drained(struct role_context *c); /* reports and stops the loop */
/* Ends the process where it cannot go on; master starts it again. Says why; `err` may be NULL. */
void role_give_up(const char *what, const struct err *err) __attribute__((noreturn));

extern const struct role_ops front_ops, keeper_ops, back_ops, resolver_ops, carrier_ops;

/* What front and back say to each other on their channel: one octet of kind, then base/codec.h fields.
 *   front -> back  COMMITTED   var lane, u64 seq, u32 offset: everything before this place is durable
 *   back -> front  nothing yet */
enum peer_message { PEER_COMMITTED = 1 };

/* Where things are under data/. */
enum { LANE_BACK = 0, LANE_FRONT_FIRST = 1, LANE_MAX = 255 };
struct str role_lane_dir(const struct config *config, unsigned lane, struct arena *arena); /* data/spool/lane-NN */
/* deliver = "maildir:mail/{domain}/{local}": the directory below which all mailboxes of the domain are, data/mail.
 * STR_NONE: it goes into no directory. */
struct str role_mail_root(const struct config *config, const struct config_domain *domain, struct arena *arena);

#endif
