/* verify.h: walks a lane from its oldest segment to its end without changing anything, and says what is there: for
 * `tacit spool verify` and `tacit spool dump`. It may run beside a writer; what comes after the moment of reading is
 * not seen. */
#ifndef TACIT_SPOOL_VERIFY_H
#define TACIT_SPOOL_VERIFY_H

#include "spool/lane.h"

struct verify_segment {
    uint64_t seq;
    uint64_t file_size;
    uint64_t records, groups; /* a record by itself is no group */
    uint64_t octets;          /* of payload */
    uint64_t damages;
    uint32_t end; /* behind the last whole record */
    bool     head_ok;
    bool     torn;  /* the last: behind the end stands the beginning of a record, which a crash cut short */
    bool     large; /* made for one record */
};
struct verify_damage {
    struct lane_place from;
    uint32_t          to;            /* octets [from.offset, to) */
    const char       *what, *remedy; /* each a sentence for a person, without a full stop */
};
enum verify_body { VERIFY_BODY_MISSING, VERIFY_BODY_DIFFERS, VERIFY_BODY_ORPHANED };

struct verify_body_ref {
    struct str name;
    uint64_t   size, xxh3;
};

/* All but `arg` may be NULL. Strings are valid during the call. */
struct verify_calls {
    void (*segment)(const struct verify_segment *s, void *arg); /* when it was read to its end */
    void (*damage)(const struct verify_damage *d, void *arg);
    void (*record)(const struct lane_record *r, void *arg);
    /* Whether the record refers to a body that must still be there: whoever knows the payloads, and that the message
     * was not finished, says so. Without it bodies are not looked at. */
    bool (*body_of)(const struct lane_record *r, struct verify_body_ref *ret_ref, void *arg);
    void (*body)(enum verify_body what, struct str name, void *arg);
    void *arg;
};
struct verify_sum {
    uint64_t segments, records, octets, damages, damaged_octets;
    uint64_t bodies, bodies_missing, bodies_differing, bodies_orphaned;
};
/* `contents`: reads the bodies too and compares their checksums, not only their sizes. False: it could not be done;
 * damage is no failure. */
bool lane_verify(const char *dir, bool contents, const struct verify_calls *calls, struct verify_sum *ret_sum,
                 struct err *err);

#endif
